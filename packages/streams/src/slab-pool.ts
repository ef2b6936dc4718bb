import { giveRegion, type PacketRegion, takeRegion } from "@hostd/stack";

const KIB = 1024;

/**
 * The sizes of slabs in bytes: a few segments of an interactive flow, of which there can be many; a batch of frames;
 * and what one write of a bulk transfer should carry.
 */
export const SLAB_SIZES: readonly number[] = [4 * KIB, 64 * KIB, 256 * KIB];
export const SMALLEST_SLAB = SLAB_SIZES[0];
export const LARGEST_SLAB = SLAB_SIZES[SLAB_SIZES.length - 1];

/** Memory for bytes on their way between a flow and a socket. */
export class Slab {
  readonly region: PacketRegion;
  /** Where the bytes begin in the region's memory. */
  start: number;
  /** Where they end. */
  end: number;
  /** The slab with the bytes that follow. */
  next: Slab | null = null;

  constructor(size: number) {
    this.region = takeRegion(size);
    this.start = this.region.offset;
    this.end = this.region.offset;
  }

  get size(): number {
    return this.region.size;
  }

  /** How many bytes it holds. */
  get length(): number {
    return this.end - this.start;
  }

  /** How many more it has room for. */
  get room(): number {
    return this.region.offset + this.region.size - this.end;
  }

  /** What it holds, in place. */
  get content(): Uint8Array {
    return this.region.bytes.subarray(this.start, this.end);
  }
}

/** Hands out slabs of a few sizes, with a limit on the memory of all of them. */
export class SlabPool {
  readonly #limit: number;
  #used = 0;

  /** @param limit - how many bytes of slabs may be in use at once. */
  constructor(limit: number) {
    this.#limit = limit;
  }

  /** Bytes of slabs in use. */
  get used(): number {
    return this.#used;
  }

  /** An empty slab for `length` bytes, at most {@link LARGEST_SLAB}; null at the limit. */
  take(length: number): Slab | null {
    const size = SLAB_SIZES.find((each) => each >= length) ?? LARGEST_SLAB;
    if (this.#used + size > this.#limit) return null;
    this.#used += size;
    return new Slab(size);
  }

  /** Takes a slab back. Nothing may refer to its memory any more. */
  release(slab: Slab): void {
    this.#used -= slab.size;
    slab.next = null;
    giveRegion(slab.region);
  }
}
