import { expect, test } from "vitest";
import { Random } from "../testing/random.ts";
import { SendBuffer, SendQueues } from "./send-buffer.ts";

/** RFC 1071 word by word. */
function referenceSum(bytes: number[]): number {
  let sum = 0;
  for (let index = 0; index < bytes.length; index += 2) sum += (bytes[index] << 8) | (bytes[index + 1] ?? 0);
  return sum;
}

test("holds what was appended and not released, in order, at any size", () => {
  for (let seed = 0; seed < 5; seed++) {
    const random = new Random(seed);
    const buffer = new SendBuffer(new SendQueues());
    let model: number[] = [];
    for (let step = 0; step < 200; step++) {
      if (random.oneIn(2)) {
        const bytes = random.bytes(random.below(3000) + 10);
        const length = bytes.length - 10;
        buffer.append(bytes, 5, length);
        model.push(...bytes.subarray(5, 5 + length));
      } else {
        const length = random.below(Math.min(model.length, 4000) + 1);
        buffer.release(length);
        model = model.slice(length);
      }
      expect(buffer.length).toBe(model.length);
      const offset = random.below(model.length + 1);
      const length = random.below(model.length - offset + 1);
      const target = new Uint8Array(length + 4).fill(0xee);
      const sum = buffer.copy(offset, length, target, new DataView(target.buffer), 2);
      expect(sum % 0xffff).toBe(referenceSum(model.slice(offset, offset + length)) % 0xffff);
      const expected = [0xee, 0xee, ...model.slice(offset, offset + length), 0xee, 0xee];
      expect(expected.every((byte, index) => byte === target[index])).toBe(true);
    }
  }
});

test("takes a power of two of memory, and gives it back when it is empty", () => {
  const buffer = new SendBuffer(new SendQueues());
  expect(buffer.capacity).toBe(0);
  buffer.append(new Uint8Array(1), 0, 1);
  expect(buffer.capacity).toBe(4096);
  buffer.append(new Uint8Array(4096), 0, 4096);
  expect(buffer.capacity).toBe(8192);
  buffer.release(4097);
  expect(buffer.capacity).toBe(0);
  expect(buffer.length).toBe(0);
});

test("forgets everything when it is cleared", () => {
  const buffer = new SendBuffer(new SendQueues());
  buffer.append(Uint8Array.of(1, 2, 3), 0, 3);
  buffer.clear();
  buffer.clear();
  expect(buffer.length).toBe(0);
  expect(buffer.capacity).toBe(0);
  buffer.append(Uint8Array.of(4), 0, 1);
  const target = new Uint8Array(1);
  buffer.copy(0, 1, target, new DataView(target.buffer), 0);
  expect(target[0]).toBe(4);
});
