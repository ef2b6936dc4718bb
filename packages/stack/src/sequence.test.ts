import { expect, test } from "vitest";
import { sequenceAdd, sequenceAfter, sequenceBefore, sequenceDistance } from "./sequence.ts";
import { Random } from "./testing/random.ts";

test("numbers wrap at 2^32 and stay signed 32-bit integers", () => {
  expect(sequenceAdd(-1, 1)).toBe(0);
  expect(sequenceAdd(-16, 32)).toBe(16);
  expect(sequenceAdd(0x7fff_ffff, 1)).toBe(-0x8000_0000);
  expect(sequenceAdd(-0x8000_0000, -1)).toBe(0x7fff_ffff);
});

test("distance is signed and counts across both wraps", () => {
  expect(sequenceDistance(16, -16)).toBe(32);
  expect(sequenceDistance(-16, 16)).toBe(-32);
  expect(sequenceDistance(-0x8000_0000, 0x7fff_ffff)).toBe(1);
  expect(sequenceDistance(5, 5)).toBe(0);
});

test("order holds anywhere for numbers within 2^31 of each other", () => {
  const random = new Random(1);
  for (let round = 0; round < 2000; round++) {
    const a = random.bits();
    const distance = 1 + random.below(0x7fff_fffe);
    const b = sequenceAdd(a, distance);
    expect(sequenceDistance(b, a)).toBe(distance);
    expect(sequenceAfter(b, a)).toBe(true);
    expect(sequenceBefore(a, b)).toBe(true);
    expect(sequenceAfter(a, b)).toBe(false);
    expect(sequenceBefore(b, a)).toBe(false);
  }
  expect(sequenceAfter(7, 7)).toBe(false);
  expect(sequenceBefore(7, 7)).toBe(false);
});
