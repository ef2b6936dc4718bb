import { expect, test } from "vitest";
import { TokenBucket } from "./token-bucket.ts";

function takeAll(bucket: TokenBucket, now: number): number {
  let taken = 0;
  while (bucket.take(now)) taken++;
  return taken;
}

test("a burst is allowed at once, and then the rate", () => {
  const bucket = new TokenBucket(100, 50);
  expect(takeAll(bucket, 1000)).toBe(50);
  expect(takeAll(bucket, 1009)).toBe(0);
  expect(takeAll(bucket, 1010)).toBe(1);
  expect(takeAll(bucket, 1110)).toBe(10);
});

test("tokens do not pile up beyond the burst", () => {
  const bucket = new TokenBucket(100, 50);
  expect(takeAll(bucket, 1_000_000_000)).toBe(50);
  expect(takeAll(bucket, 2_000_000_000)).toBe(50);
});

test("parts of a token add up over many refusals", () => {
  const bucket = new TokenBucket(1, 1);
  expect(bucket.take(0)).toBe(true);
  let taken = 0;
  for (let now = 1; now <= 10_000; now++) if (bucket.take(now)) taken++;
  expect(taken).toBeGreaterThanOrEqual(9);
  expect(taken).toBeLessThanOrEqual(10);
});
