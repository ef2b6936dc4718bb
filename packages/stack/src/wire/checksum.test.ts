import { expect, test } from "vitest";
import { naiveChecksum } from "../testing/frames.ts";
import { Random } from "../testing/random.ts";
import { complement, fold, pseudoHeaderSum, sum } from "./checksum.ts";

test("the sum is that of a word-by-word reference at every alignment and length up to 200", () => {
  const random = new Random(1);
  for (let offset = 0; offset < 8; offset++) {
    for (let length = 0; length <= 200; length++) {
      const bytes = random.bytes(offset + length + 5);
      const expected = naiveChecksum(bytes.subarray(offset, offset + length));
      expect(complement(sum(new DataView(bytes.buffer), offset, length))).toBe(expected);
    }
  }
});

test.each([65_535, 65_536, 65_520, 1500, 1501])("the sum of %i bytes of any kind is right", (length) => {
  const random = new Random(length);
  for (const bytes of [random.bytes(length), new Uint8Array(length).fill(0xff), new Uint8Array(length)]) {
    expect(complement(sum(new DataView(bytes.buffer), 0, length))).toBe(naiveChecksum(bytes));
  }
});

test("the sum of bytes with their checksum is 0xffff, and of any other bytes is not", () => {
  const random = new Random(2);
  for (let round = 0; round < 200; round++) {
    const bytes = random.bytes(40);
    const view = new DataView(bytes.buffer);
    view.setUint16(10, 0);
    view.setUint16(10, complement(sum(view, 0, 40)));
    expect(sum(view, 0, 40)).toBe(0xffff);
    bytes[random.below(40)] ^= 1 << random.below(8);
    expect(sum(view, 0, 40)).not.toBe(0xffff);
  }
});

test("the example of RFC 1071, 3", () => {
  const bytes = Uint8Array.of(0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7);
  expect(sum(new DataView(bytes.buffer), 0, 8)).toBe(0xddf2);
  expect(complement(0xddf2)).toBe(0x220d);
});

test("carries are folded into 16 bits, however many there are", () => {
  expect(fold(0)).toBe(0);
  expect(fold(0xffff)).toBe(0xffff);
  expect(fold(0x1_0000)).toBe(1);
  expect(fold(0xffff_ffff)).toBe(0xffff);
  expect(fold(0x1_ffff)).toBe(1);
  expect(fold(-1 >>> 0)).toBe(0xffff);
});

test("the sum of a pseudo-header is that of its twelve bytes", () => {
  const random = new Random(3);
  for (let round = 0; round < 200; round++) {
    const bytes = random.bytes(12);
    const view = new DataView(bytes.buffer);
    bytes[8] = 0;
    const sumOfFields = pseudoHeaderSum(view.getInt32(0), view.getInt32(4), bytes[9], view.getUint16(10));
    expect(complement(sumOfFields)).toBe(naiveChecksum(bytes));
  }
});
