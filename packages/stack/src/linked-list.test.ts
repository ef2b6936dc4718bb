import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { describe, expect, test } from "vitest";
import { LinkedList, type ListEntry } from "./linked-list.ts";
import { Random } from "./testing/random.ts";

setFlagsFromString("--expose-gc");
const collect: (options: { type: "minor" }) => void = runInNewContext("gc");

describe("a linked list", () => {
  test("has what was added and has not left, the oldest first", () => {
    const random = new Random(3);
    const list = new LinkedList<number>();
    let expected: number[] = [];
    const places = new Map<number, ListEntry<number>>();
    for (let round = 0; round < 3000; round++) {
      if (random.oneIn(20)) {
        const first = list.shift();
        expect(first).toBe(expected.shift());
        if (first !== undefined) places.delete(first);
      }
      const item = random.below(40);
      const place = places.get(item);
      if (place === undefined) {
        places.set(item, list.add(item));
        expected.push(item);
      } else {
        places.delete(item);
        place.leave();
        expected = expected.filter((one) => one !== item);
      }
      expect([...list]).toEqual(expected);
      expect(list.size).toBe(expected.length);
      expect(list.first).toBe(expected[0]);
    }
  });

  test("is not changed by a place that was left, or is in another list", () => {
    const [list, other] = [new LinkedList<string>(), new LinkedList<string>()];
    const first = list.add("first");
    list.add("second");
    first.leave();
    first.leave();
    list.remove(other.add("elsewhere"));
    expect([...list]).toEqual(["second"]);
    expect([...other]).toEqual(["elsewhere"]);
  });

  test("is left by nothing that refers to what is still in it", () => {
    const list = new LinkedList<number>();
    const [before, place, after] = [list.add(1), list.add(2), list.add(3)];
    place.leave();
    expect(place).toMatchObject({ previous: null, next: null, list: null });
    expect(before.next).toBe(after);
    expect(after.previous).toBe(before);
  });
});

const nextTask = () => new Promise((resolve) => setImmediate(resolve));

/**
 * How many of 20,000 things that pass through an old collection, fifty at a time, stay when there are but young
 * collections of garbage.
 */
async function remaining(add: (thing: object) => () => void): Promise<number> {
  const leave = add({});
  for (let age = 0; age < 3; age++) {
    collect({ type: "minor" });
    await nextTask();
  }
  leave();
  const things: WeakRef<object>[] = [];
  const leaving: (() => void)[] = [];
  for (let batch = 0; batch < 400; batch++) {
    for (let number = 0; number < 50; number++) {
      if (leaving.length === 50) leaving.shift()?.();
      const thing = { batch, number };
      things.push(new WeakRef(thing));
      leaving.push(add(thing));
    }
    // What a weak reference was made to stays until its task is over.
    await nextTask();
    if (batch % 4 === 0) collect({ type: "minor" });
  }
  for (const each of leaving) each();
  await nextTask();
  collect({ type: "minor" });
  return things.filter((thing) => thing.deref() !== undefined).length;
}

describe("of what has passed through", () => {
  test("a linked list, nothing stays", async () => {
    const list = new LinkedList<object>();
    const count = await remaining((thing) => {
      const place = list.add(thing);
      return () => place.leave();
    });
    // The last ones were not collected twice.
    expect(count).toBeLessThan(500);
  });

  test("a set, most of it stays: else there is no need of the list", async () => {
    const set = new Set<object>();
    const count = await remaining((thing) => {
      set.add(thing);
      return () => set.delete(thing);
    });
    expect(count).toBeGreaterThan(5000);
  });
});
