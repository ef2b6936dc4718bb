import { describe, expect, test } from "vitest";
import { Random } from "../testing/random.ts";
import { InitialSequenceNumbers, sipHash } from "./isn.ts";

const MASK = (1n << 64n) - 1n;

/** SipHash-2-4 as its paper writes it, on 64-bit integers. */
function referenceSipHash(key: Uint8Array, message: Uint8Array): bigint {
  const word = (bytes: Uint8Array, at: number) =>
    bytes.subarray(at, at + 8).reduceRight((value, byte) => (value << 8n) | BigInt(byte), 0n);
  const rotate = (value: bigint, bits: bigint) => ((value << bits) | (value >> (64n - bits))) & MASK;
  const k0 = word(key, 0);
  const k1 = word(key, 8);
  let v0 = k0 ^ 0x736f6d6570736575n;
  let v1 = k1 ^ 0x646f72616e646f6dn;
  let v2 = k0 ^ 0x6c7967656e657261n;
  let v3 = k1 ^ 0x7465646279746573n;
  const round = () => {
    v0 = (v0 + v1) & MASK;
    v1 = rotate(v1, 13n) ^ v0;
    v0 = rotate(v0, 32n);
    v2 = (v2 + v3) & MASK;
    v3 = rotate(v3, 16n) ^ v2;
    v0 = (v0 + v3) & MASK;
    v3 = rotate(v3, 21n) ^ v0;
    v2 = (v2 + v1) & MASK;
    v1 = rotate(v1, 17n) ^ v2;
    v2 = rotate(v2, 32n);
  };
  const padded = new Uint8Array((message.length & ~7) + 8);
  padded.set(message);
  padded[padded.length - 1] = message.length;
  for (let at = 0; at < padded.length; at += 8) {
    const m = word(padded, at);
    v3 ^= m;
    round();
    round();
    v0 ^= m;
  }
  v2 ^= 0xffn;
  for (let index = 0; index < 4; index++) round();
  return v0 ^ v1 ^ v2 ^ v3;
}

function counting(length: number): Uint8Array {
  return Uint8Array.from({ length }, (_, index) => index);
}

describe("SipHash-2-4", () => {
  test("the reference of this test gives the vectors of the paper and of its authors' code", () => {
    expect(referenceSipHash(counting(16), counting(15))).toBe(0xa129ca6149be45e5n);
    expect(referenceSipHash(counting(16), counting(12))).toBe(0x751e8fbc860ee5fbn);
  });

  test("gives the low half of the vector for twelve bytes", () => {
    const key = new Int32Array(counting(16).buffer);
    expect(sipHash(key, 0x03020100, 0x07060504, 0x0b0a0908) >>> 0).toBe(0x860ee5fb);
  });

  test("gives what the reference gives for any key and message", () => {
    const random = new Random(1);
    for (let round = 0; round < 300; round++) {
      const key = random.bytes(16);
      const message = random.bytes(12);
      const [a, b, c] = new Int32Array(message.buffer);
      const expected = Number(referenceSipHash(key, message) & 0xffff_ffffn);
      expect(sipHash(new Int32Array(key.buffer), a, b, c) >>> 0).toBe(expected);
    }
  });
});

describe("initial sequence numbers", () => {
  const tuple = { localAddress: 1, localPort: 80, remoteAddress: 2, remotePort: 40000 };
  const numbers = (seed: number) => {
    const random = new Random(seed);
    return new InitialSequenceNumbers((bytes) => random.fill(bytes));
  };

  test("of one four-tuple grow by 250 a millisecond, across every wrap", () => {
    const isn = numbers(1);
    let now = 1000;
    for (let round = 0; round < 200; round++) {
      const before = isn.next(tuple, now);
      expect(isn.next(tuple, now)).toBe(before);
      const step = 1 + round * 40_000;
      const after = isn.next(tuple, now + step);
      expect((after - before) | 0).toBe(step * 250);
      now += step;
    }
  });

  test("differ by each part of the four-tuple and by the key", () => {
    const isn = numbers(1);
    const seen = new Set([
      isn.next(tuple, 0),
      isn.next({ ...tuple, localAddress: 3 }, 0),
      isn.next({ ...tuple, localPort: 81 }, 0),
      isn.next({ ...tuple, remoteAddress: 3 }, 0),
      isn.next({ ...tuple, remotePort: 40001 }, 0),
      numbers(2).next(tuple, 0),
    ]);
    expect(seen.size).toBe(6);
    for (const each of seen) expect(each | 0).toBe(each);
  });
});
