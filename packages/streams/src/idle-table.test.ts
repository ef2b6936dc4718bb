import { describe, expect, test } from "vitest";
import { type IdleEntry, IdleTable } from "./idle-table.ts";
import { FakeClock } from "./testing/fake-clock.ts";

function makeTable(limit = 10) {
  const clock = new FakeClock();
  const removed: string[] = [];
  const table = new IdleTable<IdleEntry>({
    limit,
    clock,
    removed: (entry, reason) => removed.push(`${entry.key} ${reason}`),
  });
  const add = (key: number, idleLimit = 10_000): IdleEntry => {
    const entry = { key, idleLimit, lastUsed: 0 };
    table.add(entry);
    return entry;
  };
  return { clock, removed, table, add };
}

describe("IdleTable", () => {
  test("an entry goes after its idle time, not before", () => {
    const { clock, removed, table, add } = makeTable();
    add(1);
    clock.advance(10_000);
    expect(table.size).toBe(1);
    clock.advance(2000);
    expect(removed).toEqual(["1 idle"]);
    expect(table.get(1)).toBe(undefined);
  });

  test("an entry used just before a tick is kept for its whole idle time", () => {
    const { clock, table, add } = makeTable();
    const entry = add(1);
    clock.advance(999);
    table.touch(entry);
    clock.advance(10_000);
    expect(table.size).toBe(1);
  });

  test("use puts off the end", () => {
    const { clock, removed, table, add } = makeTable();
    const used = add(1);
    add(2);
    for (let second = 0; second < 30; second++) {
      clock.advance(1000);
      table.touch(used);
    }
    expect(removed).toEqual(["2 idle"]);
  });

  test("entries have idle times of their own", () => {
    const { clock, removed, add } = makeTable();
    add(1, 60_000);
    add(2, 5000);
    clock.advance(10_000);
    expect(removed).toEqual(["2 idle"]);
  });

  test("at the limit the least recently used entry makes way", () => {
    const { clock, removed, table, add } = makeTable(2);
    const first = add(1);
    add(2);
    clock.advance(1000);
    table.touch(first);
    add(3);
    expect(removed).toEqual(["2 evicted"]);
    expect(table.size).toBe(2);
  });

  test("an entry is removed once, and another with its key is left alone", () => {
    const { removed, table, add } = makeTable();
    const first = add(1);
    table.remove(first);
    add(1);
    table.remove(first);
    expect(removed).toEqual(["1 removed"]);
    expect(table.size).toBe(1);
  });

  test("the timer runs only while there are entries", () => {
    const { clock, table, add } = makeTable();
    expect(clock.timers).toBe(0);
    add(1);
    add(2);
    expect(clock.timers).toBe(1);
    table.clear();
    expect(clock.timers).toBe(0);
    add(3);
    clock.advance(20_000);
    expect(clock.timers).toBe(0);
  });
});
