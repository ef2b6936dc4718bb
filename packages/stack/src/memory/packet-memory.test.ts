import { afterEach, describe, expect, test } from "vitest";
import { Random } from "../testing/random.ts";
import { joinSums, sum } from "../wire/checksum.ts";
import { KERNEL_MEMORY_BYTES, kernelBytes, kernelView } from "./kernel.ts";
import { copyAndSum, copyBytes, giveRegion, type PacketRegion, takeRegion } from "./packet-memory.ts";

const held: PacketRegion[] = [];

function take(size: number): PacketRegion {
  const region = takeRegion(size);
  held.push(region);
  return region;
}

afterEach(() => {
  for (const region of held.splice(0)) giveRegion(region);
});

/** A copy of bytes outside of the fast memory, where plain JavaScript sums them. */
function outside(bytes: Uint8Array): { bytes: Uint8Array; view: DataView } {
  const copy = bytes.slice();
  return { bytes: copy, view: new DataView(copy.buffer) };
}

/** RFC 1071 word by word, from the first byte of `bytes`. */
function referenceSum(bytes: Uint8Array): number {
  let total = 0;
  for (let index = 0; index < bytes.length; index += 2) total += (bytes[index] << 8) | (bytes[index + 1] ?? 0);
  while (total > 0xffff) total = (total & 0xffff) + Math.floor(total / 0x10000);
  return total;
}

test("this platform has the fast memory, or everything here would test the slow way twice", () => {
  expect(kernelBytes.length).toBe(KERNEL_MEMORY_BYTES);
});

describe("a region", () => {
  test.each([
    [1, 4096],
    [4096, 4096],
    [4097, 8192],
    [1_000_000, 1_048_576],
  ])("for %i bytes has %i of the fast memory", (wanted, size) => {
    const region = take(wanted);
    expect(region.size).toBe(size);
    expect(region.bytes).toBe(kernelBytes);
    expect(region.view).toBe(kernelView);
  });

  test("is of the heap when the fast memory is used up, and works as well", () => {
    const large = KERNEL_MEMORY_BYTES / 4;
    for (let count = 0; count < 4; count++) take(large);
    const region = take(large);
    expect(region.bytes).not.toBe(kernelBytes);
    expect(region).toMatchObject({ offset: 0, size: large });
    region.bytes.set([1, 2, 3, 4], 100);
    const other = take(4096);
    expect(copyAndSum(region.bytes, 100, other.bytes, other.view, other.offset, 4)).toBe(0x0406);
    expect([...other.bytes.subarray(other.offset, other.offset + 4)]).toEqual([1, 2, 3, 4]);
  });

  test("overlaps no other one", () => {
    const random = new Random(7);
    const regions = Array.from({ length: 50 }, () => take(1 + random.below(50_000)));
    const ranges = regions.map(({ offset, size }) => [offset, offset + size]).sort(([a], [b]) => a - b);
    for (let index = 1; index < ranges.length; index++)
      expect(ranges[index][0]).toBeGreaterThanOrEqual(ranges[index - 1][1]);
  });
});

describe("the sum of the fast memory", () => {
  test("is that of RFC 1071 at every length to 300 and every alignment", () => {
    const random = new Random(1);
    const region = take(65536);
    region.bytes.set(random.bytes(65536), region.offset);
    for (let length = 0; length <= 300; length++) {
      const at = region.offset + ((length * 7) % 64);
      const expected = referenceSum(region.bytes.subarray(at, at + length));
      expect(sum(kernelView, at, length), `${length} bytes at ${at}`).toBe(expected);
      const copy = outside(region.bytes.subarray(at, at + length));
      expect(sum(copy.view, 0, length)).toBe(expected);
    }
  });

  test.each([
    ["ones", 0xff],
    ["zeros", 0],
  ])("does not overflow at 65536 bytes of %s", (_name, byte) => {
    const region = take(65536);
    region.bytes.fill(byte, region.offset, region.offset + 65536);
    const expected = byte === 0 ? 0 : 0xffff;
    expect(sum(region.view, region.offset, 65536)).toBe(expected);
    const target = take(65536);
    expect(copyAndSum(region.bytes, region.offset, target.bytes, target.view, target.offset, 65536)).toBe(expected);
  });

  test("taken while copying is the same, the copy is exact, and nothing beside it is touched", () => {
    const random = new Random(2);
    const source = take(65536);
    const target = take(131072);
    source.bytes.set(random.bytes(65536), source.offset);
    for (let round = 0; round < 400; round++) {
      const length = round < 200 ? round : random.below(65536);
      const from = source.offset + random.below(65536 - length + 1);
      const to = target.offset + 64 + random.below(1000);
      target.bytes.fill(0xee, to - 1, to + length + 1);
      const expected = referenceSum(source.bytes.subarray(from, from + length));
      expect(copyAndSum(source.bytes, from, target.bytes, target.view, to, length)).toBe(expected);
      const copied = Buffer.from(target.bytes.subarray(to, to + length));
      expect(copied.equals(source.bytes.subarray(from, from + length)), `${length} bytes`).toBe(true);
      expect([target.bytes[to - 1], target.bytes[to + length]]).toEqual([0xee, 0xee]);
    }
  });

  test("of two parts is that of the whole, wherever it is cut", () => {
    const { bytes, view } = outside(new Random(3).bytes(101));
    for (let cut = 0; cut <= 101; cut++) {
      expect(joinSums(sum(view, 0, cut), cut, sum(view, cut, 101 - cut))).toBe(referenceSum(bytes));
    }
  });
});

test.each([
  ["within the fast memory", true, true],
  ["into it", false, true],
  ["out of it", true, false],
  ["outside of it", false, false],
])("copies %s", (_name, isSourceFast, isTargetFast) => {
  const content = new Random(4).bytes(5000);
  const source = isSourceFast ? take(8192) : { bytes: new Uint8Array(8192), offset: 0 };
  const target = isTargetFast ? take(8192) : { bytes: new Uint8Array(8192), offset: 0 };
  source.bytes.set(content, source.offset + 3);
  copyBytes(source.bytes, source.offset + 3, target.bytes, target.offset + 11, 5000);
  expect(Buffer.from(target.bytes.slice(target.offset + 11, target.offset + 5011)).equals(content)).toBe(true);
});
