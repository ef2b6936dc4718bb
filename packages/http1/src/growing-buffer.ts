const SMALLEST = 1024;

/** Bytes that come in pieces of any size, at a cost that follows their number only. */
export class GrowingBuffer {
  length = 0;
  #bytes = Buffer.alloc(0);

  /** Copies the bytes from `start` to `end` to what is there. */
  add(bytes: Buffer, start = 0, end = bytes.length): void {
    const length = this.length + end - start;
    if (length > this.#bytes.length) {
      const larger = Buffer.allocUnsafe(Math.max(SMALLEST, 2 * length));
      this.#bytes.copy(larger, 0, 0, this.length);
      this.#bytes = larger;
    }
    bytes.copy(this.#bytes, this.length, start, end);
    this.length = length;
  }

  /** What is there, which later bytes leave as it is. */
  get content(): Buffer {
    return this.#bytes.subarray(0, this.length);
  }

  clear(): void {
    this.length = 0;
    this.#bytes = Buffer.alloc(0);
  }
}
