import { type Sequence, sequenceAdd, sequenceAfter, sequenceBefore, sequenceDistance } from "../sequence.ts";

/** Chunks kept for one flow: more than 1000 gaps in one window are nothing that a network does. */
const MAX_CHUNKS = 1024;
/** Bytes that a chunk grows to. Stretches that touch are one chunk unless they are larger together. */
const CHUNK_BYTES = 65_536;
/** About what the runtime spends on a chunk besides its bytes: V8 takes 280 to 340 for the objects alone. */
const CHUNK_OVERHEAD = 384;

interface Chunk {
  start: Sequence;
  /** The first `length` bytes are data, what follows is room to grow. */
  bytes: Uint8Array;
  length: number;
}

/**
 * What became of a segment:
 * - `held`: all of its bytes are held now, and some of them are new;
 * - `duplicate`: all of its bytes were held before;
 * - `refused`: not all of its bytes are held, so that it must not be acknowledged selectively as a whole.
 */
export type InsertResult = "held" | "duplicate" | "refused";

/**
 * Data that arrived ahead of a gap, as copies.
 *
 * Data that touches is kept together in chunks of up to 64 KiB, in whichever order it came, so that the chunks number
 * at most one for each stretch without a gap and one more for every 32 KiB. There are at most 1024; what needs another
 * is refused. No chunk is allocated larger than twice its data. The memory is thus at most twice the bytes held and
 * 384 KiB, which is what a peer takes that sends every other byte of a window.
 *
 * What is held must lie within 2^31 bytes, as everything within a window does.
 */
export class ReassemblyQueue {
  /** By sequence number, without overlaps. */
  readonly #chunks: Chunk[] = [];
  #bytes = 0;
  #memory = 0;

  get isEmpty(): boolean {
    return this.#chunks.length === 0;
  }

  /** Bytes of data held. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Bytes allocated, with an estimate of what the runtime adds. */
  get memory(): number {
    return this.#memory;
  }

  /**
   * Keeps the part of `length` (at least 1) bytes, of sequence number `start` onwards, that is not held yet. What was
   * there first stays, so that a sender cannot change its mind about bytes.
   */
  insert(start: Sequence, bytes: Uint8Array, offset: number, length: number): InsertResult {
    const chunks = this.#chunks;
    let result: InsertResult = "duplicate";
    while (length > 0) {
      const index = this.#indexAfter(start);
      let done = index > 0 ? Math.min(length, sequenceDistance(endOf(chunks[index - 1]), start)) : 0;
      if (done <= 0) {
        done = index < chunks.length ? Math.min(length, sequenceDistance(chunks[index].start, start)) : length;
        if (!this.#fill(index, start, bytes, offset, done)) result = "refused";
        else if (result === "duplicate") result = "held";
      }
      start = sequenceAdd(start, done);
      offset += done;
      length -= done;
    }
    return result;
  }

  /**
   * Takes out the chunk that holds the byte at `next`, without what comes before it; null when there is none. What lies
   * before `next` is dropped.
   */
  take(next: Sequence): Uint8Array | null {
    const chunks = this.#chunks;
    while (chunks.length > 0 && !sequenceAfter(chunks[0].start, next)) {
      const { start, bytes, length } = this.#remove(0);
      this.#bytes -= length;
      const skip = sequenceDistance(next, start);
      if (skip < length) return bytes.subarray(skip, length);
    }
    return null;
  }

  /** The first byte of [`start`, `end`) that is held, `end` when none is. */
  firstHeld(start: Sequence, end: Sequence): Sequence {
    const chunks = this.#chunks;
    const index = this.#indexAfter(start);
    if (index > 0 && sequenceAfter(endOf(chunks[index - 1]), start)) return start;
    return index < chunks.length && sequenceBefore(chunks[index].start, end) ? chunks[index].start : end;
  }

  /** Where the stretch without a gap begins that holds the byte at `at`; `at` when that byte is not held. */
  heldFrom(at: Sequence): Sequence {
    const chunks = this.#chunks;
    let index = this.#indexAfter(at) - 1;
    if (index < 0 || !sequenceAfter(endOf(chunks[index]), at)) return at;
    while (index > 0 && endOf(chunks[index - 1]) === chunks[index].start) index--;
    return chunks[index].start;
  }

  /** Where the stretch without a gap ends that holds the byte at `at`; `at` when that byte is not held. */
  heldUntil(at: Sequence): Sequence {
    const chunks = this.#chunks;
    let index = this.#indexAfter(at) - 1;
    if (index < 0 || !sequenceAfter(endOf(chunks[index]), at)) return at;
    while (index + 1 < chunks.length && endOf(chunks[index]) === chunks[index + 1].start) index++;
    return endOf(chunks[index]);
  }

  /** Whether every byte of [`start`, `end`) is held. */
  isHeld(start: Sequence, end: Sequence): boolean {
    return !sequenceBefore(this.heldUntil(start), end);
  }

  clear(): void {
    this.#chunks.length = 0;
    this.#bytes = 0;
    this.#memory = 0;
  }

  /** The index of the first chunk that starts after `at`. */
  #indexAfter(at: Sequence): number {
    const chunks = this.#chunks;
    let high = chunks.length;
    // Most often a segment follows the last one held.
    if (high === 0 || !sequenceAfter(chunks[high - 1].start, at)) return high;
    let low = 0;
    high--;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (sequenceAfter(chunks[middle].start, at)) high = middle;
      else low = middle + 1;
    }
    return low;
  }

  /** Keeps bytes that lie between the chunk at `index` and the one before it; false when not all found room. */
  #fill(index: number, start: Sequence, bytes: Uint8Array, offset: number, length: number): boolean {
    const chunks = this.#chunks;
    const end = sequenceAdd(start, length);
    if (index > 0 && endOf(chunks[index - 1]) === start) {
      const before = chunks[index - 1];
      const part = Math.min(length, CHUNK_BYTES - before.length);
      this.#append(before, bytes, offset, part);
      this.#bytes += part;
      offset += part;
      length -= part;
    }
    while (length > 0) {
      const after = index < chunks.length ? chunks[index] : null;
      if (after !== null && after.start === end && after.length + length <= CHUNK_BYTES) {
        this.#prepend(after, bytes, offset, length);
        this.#bytes += length;
        break;
      }
      if (chunks.length >= MAX_CHUNKS) return false;
      const part = Math.min(length, CHUNK_BYTES);
      const chunk = { start: sequenceAdd(end, -length), bytes: new Uint8Array(part), length: part };
      chunk.bytes.set(bytes.subarray(offset, offset + part));
      chunks.splice(index++, 0, chunk);
      this.#memory += part + CHUNK_OVERHEAD;
      this.#bytes += part;
      offset += part;
      length -= part;
    }
    this.#join(index);
    return true;
  }

  /** Makes the chunk at `index` and the one before it one, when they touch and are small enough. */
  #join(index: number): void {
    const chunks = this.#chunks;
    if (index === 0 || index === chunks.length) return;
    const before = chunks[index - 1];
    const after = chunks[index];
    if (endOf(before) !== after.start || before.length + after.length > CHUNK_BYTES) return;
    // Into the larger, so that the chunks are not allocated anew again and again.
    if (before.bytes.length < after.bytes.length) {
      this.#prepend(after, before.bytes, 0, before.length);
      this.#remove(index - 1);
    } else {
      this.#append(before, after.bytes, 0, after.length);
      this.#remove(index);
    }
  }

  #remove(index: number): Chunk {
    const [chunk] = this.#chunks.splice(index, 1);
    this.#memory -= chunk.bytes.length + CHUNK_OVERHEAD;
    return chunk;
  }

  #append(chunk: Chunk, bytes: Uint8Array, offset: number, length: number): void {
    this.#reserve(chunk, chunk.length + length);
    chunk.bytes.set(bytes.subarray(offset, offset + length), chunk.length);
    chunk.length += length;
  }

  #prepend(chunk: Chunk, bytes: Uint8Array, offset: number, length: number): void {
    this.#reserve(chunk, chunk.length + length);
    chunk.bytes.copyWithin(length, 0, chunk.length);
    chunk.bytes.set(bytes.subarray(offset, offset + length));
    chunk.start = sequenceAdd(chunk.start, -length);
    chunk.length += length;
  }

  /** Sees to it that a chunk can hold `needed` bytes, of at most {@link CHUNK_BYTES}. */
  #reserve(chunk: Chunk, needed: number): void {
    const { length: size } = chunk.bytes;
    if (needed <= size) return;
    const grown = new Uint8Array(Math.min(CHUNK_BYTES, Math.max(needed, 2 * size)));
    grown.set(chunk.bytes.subarray(0, chunk.length));
    chunk.bytes = grown;
    this.#memory += grown.length - size;
  }
}

function endOf(chunk: Chunk): Sequence {
  return sequenceAdd(chunk.start, chunk.length);
}
