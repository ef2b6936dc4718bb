import { describe, expect, test } from "vitest";
import { Random } from "../testing/random.ts";
import { BuddyAllocator } from "./buddy-allocator.ts";

describe("BuddyAllocator", () => {
  test("hands out the lowest range, halving what is too large", () => {
    const allocator = new BuddyAllocator(65536, 4096);
    expect(allocator.take(4096)).toBe(0);
    expect(allocator.take(16384)).toBe(16384);
    expect(allocator.take(4096)).toBe(4096);
    expect(allocator.take(8192)).toBe(8192);
    expect(allocator.take(32768)).toBe(32768);
    expect(allocator.take(4096)).toBe(-1);
    expect(allocator.used).toBe(65536);
  });

  test("refuses what is larger than the memory, and takes it whole when it fits", () => {
    const allocator = new BuddyAllocator(65536, 4096);
    expect(allocator.take(131072)).toBe(-1);
    expect(allocator.take(65536)).toBe(0);
    expect(allocator.take(4096)).toBe(-1);
  });

  test("never hands out a byte twice, and is whole again when everything is back", () => {
    for (let seed = 1; seed <= 20; seed++) {
      const random = new Random(seed);
      const pages = 256;
      const allocator = new BuddyAllocator(pages * 4096, 4096);
      const taken = new Set<number>();
      const held: { at: number; size: number }[] = [];
      for (let step = 0; step < 500; step++) {
        if (random.oneIn(2) && held.length > 0) {
          const [range] = held.splice(random.below(held.length), 1);
          allocator.give(range.at, range.size);
          for (let page = range.at / 4096; page < (range.at + range.size) / 4096; page++) taken.delete(page);
        } else {
          const size = 4096 * 2 ** random.below(6);
          const at = allocator.take(size);
          if (at < 0) continue;
          expect(at % size).toBe(0);
          for (let page = at / 4096; page < (at + size) / 4096; page++) {
            expect(taken.has(page) || page >= pages, `seed ${seed}, page ${page}`).toBe(false);
            taken.add(page);
          }
          held.push({ at, size });
        }
        expect(allocator.used).toBe(taken.size * 4096);
      }
      for (const { at, size } of held) allocator.give(at, size);
      expect(allocator.take(pages * 4096)).toBe(0);
    }
  });
});
