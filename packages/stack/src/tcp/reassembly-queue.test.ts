import fc from "fast-check";
import { expect, test } from "vitest";
import { Random } from "../testing/random.ts";
import { ReassemblyQueue } from "./reassembly-queue.ts";

test("keeps of each byte the first that came, and hands out what follows without a gap", () => {
  const insertion = fc.record({ at: fc.nat(120), length: fc.integer({ min: 1, max: 40 }), next: fc.nat(20) });
  fc.assert(
    fc.property(fc.array(insertion, { maxLength: 40 }), fc.integer({ min: -80, max: 0 }), (insertions, base) => {
      const queue = new ReassemblyQueue();
      const model = new Map<number, number>();
      let mark = 0;
      let next = 0;
      for (const { at, length, next: moved } of insertions) {
        const bytes = Uint8Array.from({ length: length + 2 }, () => (mark = (mark + 1) & 255));
        queue.insert((base + at) | 0, bytes, 1, length);
        for (let index = 0; index < length; index++) {
          if (!model.has(at + index)) model.set(at + index, bytes[index + 1]);
        }
        expect(queue.isEmpty).toBe(model.size === 0);
        expect(queue.bytes).toBe(model.size);
        // What comes in order overtakes part of what is held.
        next += moved;
        for (;;) {
          const held = queue.take((base + next) | 0);
          for (const at of model.keys()) if (at < next) model.delete(at);
          if (held === null) break;
          for (const byte of held) {
            expect(byte).toBe(model.get(next));
            model.delete(next++);
          }
        }
        expect(model.has(next)).toBe(false);
        expect(queue.bytes).toBe(model.size);
      }
    }),
    { seed: 1, numRuns: 500 },
  );
});

test("keeps copies", () => {
  const queue = new ReassemblyQueue();
  const bytes = Uint8Array.of(1, 2, 3);
  queue.insert(10, bytes, 0, 3);
  bytes.fill(9);
  expect(queue.take(10)).toEqual(Uint8Array.of(1, 2, 3));
});

test("hands out nothing while there is a gap, and drops what has been overtaken", () => {
  const queue = new ReassemblyQueue();
  queue.insert(-5, new Uint8Array(3), 0, 3);
  queue.insert(5, new Uint8Array(3), 0, 3);
  expect(queue.take(-6)).toBeNull();
  expect(queue.bytes).toBe(6);
  expect(queue.take(0)).toBeNull();
  expect(queue.bytes).toBe(3);
  expect(queue.take(6)?.length).toBe(2);
  expect(queue.isEmpty).toBe(true);
});

test("holds a bounded number of segments, and what it holds stays right", () => {
  const random = new Random(4);
  const queue = new ReassemblyQueue();
  for (let round = 0; round < 20_000; round++) {
    queue.insert(random.below(60_000), random.bytes(1), 0, 1);
  }
  expect(queue.bytes).toBe(1024);
  queue.insert(0, new Uint8Array(60_000), 0, 60_000);
  expect(queue.bytes).toBe(1024);
  let taken = 0;
  for (let at = 0; at < 60_000; at++) taken += queue.take(at)?.length ?? 0;
  expect(taken).toBe(1024);
  queue.insert(0, new Uint8Array(1), 0, 1);
  queue.clear();
  expect(queue.isEmpty).toBe(true);
  expect(queue.bytes).toBe(0);
});
