import { describe, expect, test } from "vitest";
import { Random } from "../random.ts";
import { ByteRanges } from "./byte-ranges.ts";

const LIMIT = 60;

describe("a set of byte ranges", () => {
  test.each([1, 2, 3])("is the set of its bytes, whatever is added and cut off (seed %i)", (seed) => {
    const random = new Random(seed);
    const ranges = new ByteRanges();
    const bytes = new Set<number>();
    for (let step = 0; step < 500; step++) {
      const from = random.below(LIMIT);
      if (random.oneIn(20)) {
        ranges.truncate(from);
        for (const at of bytes) if (at >= from) bytes.delete(at);
      } else {
        const to = from + random.below(6);
        ranges.add(from, to);
        for (let at = from; at < to; at++) bytes.add(at);
      }
      const listed = [...ranges].flatMap(([start, end]) => Array.from({ length: end - start }, (_, i) => start + i));
      expect(listed).toEqual([...bytes].sort((a, b) => a - b));
      const start = random.below(LIMIT);
      let end = start;
      while (bytes.has(end)) end++;
      expect(ranges.endOfRunFrom(start)).toBe(end);
      expect(ranges.contains(start, end)).toBe(true);
      expect(ranges.contains(start, end + 1)).toBe(false);
    }
  });

  test("joins ranges that touch", () => {
    const ranges = new ByteRanges();
    ranges.add(0, 1);
    ranges.add(5, 9);
    ranges.add(1, 5);
    expect([...ranges]).toEqual([[0, 9]]);
  });
});
