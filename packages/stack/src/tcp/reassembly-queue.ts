import { type Sequence, sequenceAdd, sequenceAfter, sequenceBefore, sequenceDistance } from "../sequence.ts";

/** Segments kept for one flow. A window of data in segments of one byte must not cost a hundred times its size. */
const MAX_SEGMENTS = 1024;

interface HeldSegment {
  readonly start: Sequence;
  readonly bytes: Uint8Array;
}

/** Data that arrived ahead of a gap, as copies ordered by sequence number and without overlaps. */
export class ReassemblyQueue {
  readonly #segments: HeldSegment[] = [];
  #bytes = 0;

  get isEmpty(): boolean {
    return this.#segments.length === 0;
  }

  /** Bytes held. */
  get bytes(): number {
    return this.#bytes;
  }

  /**
   * Keeps the part of `length` bytes, of sequence number `start` onwards, that is not held yet. What was there first
   * stays, so that a sender cannot change its mind about bytes. Does nothing when too many segments are held.
   */
  insert(start: Sequence, bytes: Uint8Array, offset: number, length: number): void {
    const segments = this.#segments;
    // Most often the segment follows the last one held.
    let index = segments.length;
    while (index > 0 && sequenceAfter(segments[index - 1].start, start)) index--;
    if (index > 0) {
      const before = segments[index - 1];
      const overlap = sequenceDistance(sequenceAdd(before.start, before.bytes.length), start);
      if (overlap > 0) {
        if (overlap >= length) return;
        start = sequenceAdd(start, overlap);
        offset += overlap;
        length -= overlap;
      }
    }
    while (length > 0 && index < segments.length) {
      const after = segments[index];
      const room = sequenceDistance(after.start, start);
      if (room >= length) break;
      if (room > 0) {
        this.#insertAt(index, start, bytes, offset, room);
        index++;
      }
      const skip = room + after.bytes.length;
      if (skip >= length) return;
      start = sequenceAdd(start, skip);
      offset += skip;
      length -= skip;
      index++;
    }
    if (length > 0) this.#insertAt(index, start, bytes, offset, length);
  }

  /** Takes out the segment that holds the byte at `next`, without what comes before it; null when there is none. */
  take(next: Sequence): Uint8Array | null {
    const segments = this.#segments;
    while (segments.length > 0 && !sequenceAfter(segments[0].start, next)) {
      const { start, bytes } = segments.shift() as HeldSegment;
      this.#bytes -= bytes.length;
      const end = sequenceAdd(start, bytes.length);
      if (sequenceBefore(next, end)) return bytes.subarray(sequenceDistance(next, start));
    }
    return null;
  }

  clear(): void {
    this.#segments.length = 0;
    this.#bytes = 0;
  }

  #insertAt(index: number, start: Sequence, bytes: Uint8Array, offset: number, length: number): void {
    if (this.#segments.length >= MAX_SEGMENTS) return;
    this.#segments.splice(index, 0, { start, bytes: bytes.slice(offset, offset + length) });
    this.#bytes += length;
  }
}
