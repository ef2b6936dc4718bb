import { copyAndSum, copyBytes, giveRegion, type PacketRegion, takeRegion } from "../memory/packet-memory.ts";
import { joinSums } from "../wire/checksum.ts";

/** Memory that bytes to be sent may be put into: `length` bytes at `offset`. */
export interface SendSpace {
  bytes: Uint8Array;
  offset: number;
  length: number;
}

/** So many flows may always have more queued than can leave at once. */
const FEW_FLOWS = 16;
/** What is queued of more flows stays in the processor's caches while it comes to no more than that, in bytes. */
const CACHED_BYTES = 4 * 1024 * 1024;

/**
 * What the send buffers of a stack hold together.
 *
 * What is queued long before it can leave is out of the processor's caches by then, twice: it was written to memory, and is
 * read from there. With a few flows that is no matter, as they are sent soon. With a thousand it is.
 */
export class SendQueues {
  /** Bytes queued, sent or not, and the flows that they are of. */
  bytes = 0;
  flows = 0;

  /** Whether owners may queue more than can leave at once. */
  get mayReadAhead(): boolean {
    return this.flows <= FEW_FLOWS || this.bytes < CACHED_BYTES;
  }
}

/**
 * The bytes of a flow that are not acknowledged yet: a ring that grows with its content and costs nothing while empty.
 */
export class SendBuffer {
  #ring: PacketRegion | null = null;
  /** Bytes of the ring, a power of two. */
  #size = 0;
  #start = 0;
  #length = 0;
  readonly #all: SendQueues;
  /** Whether it is one of the flows of {@link SendQueues}. */
  #isCounted = false;

  /** @param all - those of the stack. */
  constructor(all: SendQueues) {
    this.#all = all;
  }

  get length(): number {
    return this.#length;
  }

  /** Bytes of memory held. */
  get capacity(): number {
    return this.#size;
  }

  /** Adds a copy of `length` bytes at the end. The caller keeps the limit. */
  append(bytes: Uint8Array, offset: number, length: number): void {
    const ring = this.#withRoom(length);
    const at = (this.#start + this.#length) & (this.#size - 1);
    const first = Math.min(length, this.#size - at);
    copyBytes(bytes, offset, ring.bytes, ring.offset + at, first);
    if (first < length) copyBytes(bytes, offset + first, ring.bytes, ring.offset, length - first);
    this.#added(length);
  }

  /**
   * Free memory after the end for up to `most` bytes, for {@link fill} once they are there; `space` is set to it. It is
   * valid until the next call of any other method.
   */
  spaceFor(most: number, space: SendSpace): void {
    const ring = this.#withRoom(most);
    const at = (this.#start + this.#length) & (this.#size - 1);
    space.bytes = ring.bytes;
    space.offset = ring.offset + at;
    space.length = Math.min(most, this.#size - at);
  }

  /** Adds `length` bytes that were put into the memory of {@link spaceFor}. */
  fill(length: number): void {
    this.#added(length);
    if (this.#length === 0) this.clear();
  }

  /**
   * Copies up to 65536 bytes that begin `offset` bytes into the buffer to `target` at `at`.
   *
   * @param view - a view of `target` from its first byte.
   * @returns their sum (RFC 1071).
   */
  copy(offset: number, length: number, target: Uint8Array, view: DataView, at: number): number {
    const ring = this.#ring;
    if (ring === null || length === 0) return 0;
    const from = (this.#start + offset) & (this.#size - 1);
    const first = Math.min(length, this.#size - from);
    const sum = copyAndSum(ring.bytes, ring.offset + from, target, view, at, first);
    if (first === length) return sum;
    return joinSums(sum, first, copyAndSum(ring.bytes, ring.offset, target, view, at + first, length - first));
  }

  /** Drops `length` bytes from the front. */
  release(length: number): void {
    this.#length -= length;
    this.#all.bytes -= length;
    if (this.#length === 0) {
      this.clear();
      return;
    }
    this.#start = (this.#start + length) & (this.#size - 1);
  }

  /** Drops everything and gives the memory back. */
  clear(): void {
    if (this.#ring !== null) giveRegion(this.#ring);
    this.#ring = null;
    this.#size = 0;
    this.#start = 0;
    if (this.#isCounted) this.#all.flows--;
    this.#isCounted = false;
    this.#all.bytes -= this.#length;
    this.#length = 0;
  }

  #added(length: number): void {
    this.#length += length;
    this.#all.bytes += length;
    if (this.#isCounted || length === 0) return;
    this.#isCounted = true;
    this.#all.flows++;
  }

  /** The ring, grown if it has no room for `length` more bytes. */
  #withRoom(length: number): PacketRegion {
    const before = this.#ring;
    if (before !== null && this.#length + length <= this.#size) return before;
    const ring = takeRegion(Math.max(this.#length + length, 1));
    if (before !== null) {
      const first = Math.min(this.#length, this.#size - this.#start);
      copyBytes(before.bytes, before.offset + this.#start, ring.bytes, ring.offset, first);
      copyBytes(before.bytes, before.offset, ring.bytes, ring.offset + first, this.#length - first);
      giveRegion(before);
    }
    this.#ring = ring;
    this.#size = ring.size;
    this.#start = 0;
    return ring;
  }
}
