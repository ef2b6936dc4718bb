import { expect, test } from "vitest";
import { Random } from "../testing/random.ts";
import { BufferPool, SendBuffer } from "./send-buffer.ts";

test("holds what was appended and not released, in order, at any size", () => {
  for (let seed = 0; seed < 5; seed++) {
    const random = new Random(seed);
    const buffer = new SendBuffer(new BufferPool());
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
      buffer.copy(offset, length, target, 2);
      const expected = [0xee, 0xee, ...model.slice(offset, offset + length), 0xee, 0xee];
      expect(expected.every((byte, index) => byte === target[index])).toBe(true);
    }
  }
});

test("takes a power of two of memory, and gives it back when it is empty", () => {
  const pool = new BufferPool();
  const buffer = new SendBuffer(pool);
  expect(buffer.capacity).toBe(0);
  buffer.append(new Uint8Array(1), 0, 1);
  expect(buffer.capacity).toBe(4096);
  buffer.append(new Uint8Array(4096), 0, 4096);
  expect(buffer.capacity).toBe(8192);
  buffer.release(4097);
  expect(buffer.capacity).toBe(0);
  expect(buffer.length).toBe(0);
  const again = pool.take(8192);
  expect(again.length).toBe(8192);
});

test("forgets everything when it is cleared", () => {
  const buffer = new SendBuffer(new BufferPool());
  buffer.append(Uint8Array.of(1, 2, 3), 0, 3);
  buffer.clear();
  buffer.clear();
  expect(buffer.length).toBe(0);
  expect(buffer.capacity).toBe(0);
  buffer.append(Uint8Array.of(4), 0, 1);
  const target = new Uint8Array(1);
  buffer.copy(0, 1, target, 0);
  expect(target[0]).toBe(4);
});

test("the pool hands out the arrays it was given, each once, and keeps no more than 16 MiB", () => {
  const pool = new BufferPool();
  const array = pool.take(4096);
  pool.give(array);
  expect(pool.take(4096)).toBe(array);
  expect(pool.take(4096)).not.toBe(array);
  const large: Uint8Array[] = Array.from({ length: 5 }, () => new Uint8Array(4 * 1024 * 1024));
  for (const each of large) pool.give(each);
  const taken = large.map(() => pool.take(4 * 1024 * 1024));
  expect(taken.filter((each) => large.includes(each)).length).toBe(4);
});
