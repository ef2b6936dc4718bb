import { describe, expect, test } from "vitest";
import { LARGEST_SLAB, SlabPool, SMALLEST_SLAB } from "./slab-pool.ts";

describe("SlabPool", () => {
  test.each([
    [1, 4096],
    [4096, 4096],
    [4097, 65536],
    [65536, 65536],
    [65537, 262144],
    [262144, 262144],
  ])("%i bytes take a slab of %i", (length, size) => {
    const pool = new SlabPool(1024 * 1024);
    expect(pool.take(length)?.size).toBe(size);
    expect(pool.used).toBe(size);
  });

  test("a slab's memory is handed out again when it comes back, and not before", () => {
    const pool = new SlabPool(1024 * 1024);
    const first = pool.take(100);
    const second = pool.take(100);
    if (first === null || second === null) throw new Error("no slab");
    expect(second.region).not.toBe(first.region);
    first.end += 5;
    expect(first).toMatchObject({ length: 5, room: 4091 });
    pool.release(first);
    expect(pool.used).toBe(4096);
    const third = pool.take(200);
    expect(third?.region).toBe(first.region);
    expect(third).toMatchObject({ length: 0, room: 4096, next: null });
  });

  test("no slab goes beyond the limit, and one is there again after a release", () => {
    const pool = new SlabPool(2 * LARGEST_SLAB);
    const first = pool.take(LARGEST_SLAB);
    pool.take(LARGEST_SLAB);
    expect(pool.take(1)).toBe(null);
    if (first !== null) pool.release(first);
    expect(pool.take(1)?.size).toBe(SMALLEST_SLAB);
  });
});
