import { sum } from "../wire/checksum.ts";
import { BuddyAllocator } from "./buddy-allocator.ts";
import { KERNEL_MEMORY_BYTES, kernelBytes, kernelCopy, kernelCopySum, kernelView } from "./kernel.ts";

/**
 * A range of memory for packets or parts of streams. {@link bytes} and {@link view} are those of the whole memory that
 * the range is in, and all offsets into it count from their start.
 */
export interface PacketRegion {
  readonly bytes: Uint8Array;
  readonly view: DataView;
  /** Where the range begins. */
  readonly offset: number;
  /** Bytes of the range, a power of two. */
  readonly size: number;
}

/** Smaller ranges are not worth the bookkeeping. */
const SMALLEST = 4096;
/** Bytes of ranges that are kept as they are for the next one who asks: a busy flow's buffer comes and goes. */
const SPARE_BYTES = 16 * 1024 * 1024;

const allocator = kernelBytes.length === KERNEL_MEMORY_BYTES ? new BuddyAllocator(KERNEL_MEMORY_BYTES, SMALLEST) : null;
/** Ranges that lie ready, by the logarithm of their size over {@link SMALLEST}. */
const spare: PacketRegion[][] = [];
let spareBytes = 0;

/**
 * A range of at least `size` bytes: of the memory that {@link kernelBytes} is, in which sums and copies are fastest, for
 * as long as it has room, and beyond that of the heap. What it contains is whatever was there before.
 */
export function takeRegion(size: number): PacketRegion {
  let order = 0;
  let bytes = SMALLEST;
  while (bytes < size) {
    bytes *= 2;
    order++;
  }
  const ready = spare[order]?.pop();
  if (ready !== undefined) {
    spareBytes -= bytes;
    return ready;
  }
  const offset = allocator?.take(bytes) ?? -1;
  if (offset >= 0) return { bytes: kernelBytes, view: kernelView, offset, size: bytes };
  const own = new Uint8Array(bytes);
  return { bytes: own, view: new DataView(own.buffer), offset: 0, size: bytes };
}

/** Gives back a range that nothing refers to any more. */
export function giveRegion(region: PacketRegion): void {
  const { size } = region;
  if (spareBytes + size <= SPARE_BYTES) {
    let order = 0;
    for (let bytes = SMALLEST; bytes < size; bytes *= 2) order++;
    while (spare.length <= order) spare.push([]);
    spare[order].push(region);
    spareBytes += size;
  } else if (region.bytes === kernelBytes) {
    allocator?.give(region.offset, size);
  }
}

/** Copies bytes, without the view that `TypedArray.set` needs of a part of `source` where that can be avoided. */
export function copyBytes(
  source: Uint8Array,
  sourceOffset: number,
  target: Uint8Array,
  targetOffset: number,
  length: number,
): void {
  if (source === kernelBytes && target === kernelBytes) kernelCopy(sourceOffset, targetOffset, length);
  else target.set(source.subarray(sourceOffset, sourceOffset + length), targetOffset);
}

/**
 * Copies up to 65536 bytes and sums them on the way. The ranges may not overlap.
 *
 * @param targetView - a view of `target` from its first byte.
 * @returns their one's complement sum, 0 to 0xffff, as if they began at an even offset (RFC 1071).
 */
export function copyAndSum(
  source: Uint8Array,
  sourceOffset: number,
  target: Uint8Array,
  targetView: DataView,
  targetOffset: number,
  length: number,
): number {
  if (source === kernelBytes && target === kernelBytes) return kernelCopySum(sourceOffset, targetOffset, length);
  target.set(source.subarray(sourceOffset, sourceOffset + length), targetOffset);
  return sum(targetView, targetOffset, length);
}
