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
    [262145, 262145],
  ])("%i bytes take a slab of %i", (length, size) => {
    const pool = new SlabPool(1024 * 1024);
    expect(pool.take(length)?.size).toBe(size);
    expect(pool.used).toBe(size);
  });

  test("a slab that comes back is handed out again, empty", () => {
    const pool = new SlabPool(1024 * 1024);
    const slab = pool.take(100);
    if (slab === null) throw new Error("no slab");
    slab.start = 3;
    slab.end = 5;
    slab.next = slab;
    pool.release(slab);
    expect(pool.used).toBe(0);
    expect(pool.take(200)).toBe(slab);
    expect(slab).toMatchObject({ start: 0, end: 0, next: null });
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
