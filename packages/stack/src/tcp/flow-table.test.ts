import { expect, test } from "vitest";
import { Random } from "../testing/random.ts";
import { type FlowEntry, FlowTable } from "./flow-table.ts";

function key({ remoteAddress, localAddress, ports }: FlowEntry): string {
  return `${remoteAddress} ${localAddress} ${ports}`;
}

test("finds what was put in and not taken out, with many entries that share all but one field", () => {
  for (let seed = 0; seed < 5; seed++) {
    const random = new Random(seed);
    const table = new FlowTable<FlowEntry>(random.bits());
    const model = new Map<string, FlowEntry>();
    // Fewer values than slots, so that probes run into each other and around the end.
    const anyEntry = (): FlowEntry => ({
      remoteAddress: random.below(4) - 2,
      localAddress: random.below(8) - 4,
      ports: random.below(16) << 16,
    });
    for (let step = 0; step < 5000; step++) {
      const candidate = anyEntry();
      const known = model.get(key(candidate));
      expect(table.get(candidate.remoteAddress, candidate.localAddress, candidate.ports)).toBe(known ?? null);
      // The table grows in one half of the run and shrinks in the other.
      if (known === undefined && (step < 2500 || random.oneIn(4))) {
        table.add(candidate);
        model.set(key(candidate), candidate);
      } else if (known !== undefined && (step >= 2500 || random.oneIn(4))) {
        table.delete(known);
        model.delete(key(known));
        table.delete(known);
        table.delete(candidate);
      }
      expect(table.size).toBe(model.size);
      if (step % 100 === 0) {
        expect([...table].map(key).sort()).toEqual([...model.keys()].sort());
        const found = (each: FlowEntry) => table.get(each.remoteAddress, each.localAddress, each.ports) === each;
        expect([...model.values()].every(found)).toBe(true);
      }
    }
  }
});

test("keeps many entries apart, and gives its memory back", () => {
  const table = new FlowTable<FlowEntry>(7);
  const entries = Array.from({ length: 20_000 }, (_, index) => ({
    remoteAddress: index & 0xff,
    localAddress: 5,
    ports: ((index >> 8) << 16) | 80,
  }));
  for (const each of entries) table.add(each);
  expect(table.size).toBe(20_000);
  expect(entries.every((each) => table.get(each.remoteAddress, 5, each.ports) === each)).toBe(true);
  for (const each of entries) table.delete(each);
  expect(table.size).toBe(0);
  expect([...table]).toEqual([]);
  expect(entries.every((each) => table.get(each.remoteAddress, 5, each.ports) === null)).toBe(true);
});
