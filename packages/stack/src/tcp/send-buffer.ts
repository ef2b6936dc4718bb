const SMALLEST = 4096;
/** Arrays kept for reuse, so that a busy flow's buffer is not new garbage after each pause. */
const POOLED_BYTES = 16 * 1024 * 1024;

/** Arrays of powers of two that lie ready, shared by the flows of one stack. */
export class BufferPool {
  readonly #spare = new Map<number, Uint8Array[]>();
  #bytes = 0;

  /** An array of `size` bytes, a power of two; its content is whatever it was. */
  take(size: number): Uint8Array {
    const array = this.#spare.get(size)?.pop();
    if (array === undefined) return new Uint8Array(size);
    this.#bytes -= size;
    return array;
  }

  give(array: Uint8Array): void {
    if (this.#bytes + array.length > POOLED_BYTES) return;
    this.#bytes += array.length;
    const spare = this.#spare.get(array.length);
    if (spare === undefined) this.#spare.set(array.length, [array]);
    else spare.push(array);
  }
}

const EMPTY = new Uint8Array(0);

/**
 * The bytes of a flow that are not acknowledged yet: a ring that grows with its content and costs nothing while empty.
 */
export class SendBuffer {
  readonly #pool: BufferPool;
  #ring: Uint8Array = EMPTY;
  #start = 0;
  #length = 0;

  constructor(pool: BufferPool) {
    this.#pool = pool;
  }

  get length(): number {
    return this.#length;
  }

  /** Bytes of memory held. */
  get capacity(): number {
    return this.#ring.length;
  }

  /** Adds a copy of `length` bytes at the end. The caller keeps the limit. */
  append(bytes: Uint8Array, offset: number, length: number): void {
    if (this.#length + length > this.#ring.length) this.#grow(this.#length + length);
    const ring = this.#ring;
    const at = (this.#start + this.#length) & (ring.length - 1);
    const first = Math.min(length, ring.length - at);
    ring.set(bytes.subarray(offset, offset + first), at);
    if (first < length) ring.set(bytes.subarray(offset + first, offset + length), 0);
    this.#length += length;
  }

  /** Copies `length` bytes that begin `offset` bytes into the buffer to `target` at `at`. */
  copy(offset: number, length: number, target: Uint8Array, at: number): void {
    const ring = this.#ring;
    const from = (this.#start + offset) & (ring.length - 1);
    const first = Math.min(length, ring.length - from);
    target.set(ring.subarray(from, from + first), at);
    if (first < length) target.set(ring.subarray(0, length - first), at + first);
  }

  /** Drops `length` bytes from the front. */
  release(length: number): void {
    this.#length -= length;
    if (this.#length === 0) {
      this.clear();
      return;
    }
    this.#start = (this.#start + length) & (this.#ring.length - 1);
  }

  /** Drops everything and gives the memory back. */
  clear(): void {
    if (this.#ring !== EMPTY) this.#pool.give(this.#ring);
    this.#ring = EMPTY;
    this.#start = 0;
    this.#length = 0;
  }

  #grow(needed: number): void {
    let size = Math.max(SMALLEST, this.#ring.length);
    while (size < needed) size *= 2;
    const ring = this.#pool.take(size);
    if (this.#length > 0) this.copy(0, this.#length, ring, 0);
    if (this.#ring !== EMPTY) this.#pool.give(this.#ring);
    this.#ring = ring;
    this.#start = 0;
  }
}
