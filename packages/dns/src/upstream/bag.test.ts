import { expect, test } from "vitest";
import { seededRandom } from "../testing/messages.ts";
import { Bag, type BagItem } from "./bag.ts";

class Item implements BagItem {
  bagIndex = 0;
}

test("a bag holds what was added and not removed, whatever the order", () => {
  const random = seededRandom(8);
  const items = Array.from({ length: 50 }, () => new Item());
  const bag = new Bag<Item>();
  const expected = new Set<Item>();
  for (let round = 0; round < 5000; round++) {
    const item = items[random() % items.length];
    if (expected.has(item)) bag.remove(item);
    else bag.add(item);
    if (!expected.delete(item)) expected.add(item);
    expect(bag.size).toBe(expected.size);
    expect(items.every((one) => bag.has(one) === expected.has(one))).toBe(true);
  }
  expect(new Set(bag.snapshot())).toEqual(expected);
  expect(bag.items).toEqual(bag.snapshot());
});

test("an item that is not in the bag is not removed", () => {
  const bag = new Bag<Item>();
  const [first, second] = [new Item(), new Item()];
  bag.add(first);
  bag.remove(second);
  expect(bag.snapshot()).toEqual([first]);
  bag.remove(first);
  bag.remove(first);
  expect(bag.size).toBe(0);
});

test("a snapshot does not change with the bag", () => {
  const bag = new Bag<Item>();
  const items = [new Item(), new Item(), new Item()];
  for (const item of items) bag.add(item);
  for (const item of bag.snapshot()) bag.remove(item);
  expect(bag.size).toBe(0);
});
