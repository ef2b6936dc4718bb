/** Messages in a TCP stream: each after its length in two bytes (RFC 1035, 4.2.2). */

/** Prefixes a message of at most 65535 bytes with its length. */
export function frameMessage(message: Uint8Array): Uint8Array {
  const framed = new Uint8Array(2 + message.length);
  framed[0] = message.length >>> 8;
  framed[1] = message.length & 0xff;
  framed.set(message, 2);
  return framed;
}

/** Cuts a stream into messages. It holds at most one, and copies each byte once however the stream is cut. */
export class MessageReader {
  #prefixBytes = 0;
  #length = 0;
  #message: Uint8Array | null = null;
  #filled = 0;

  /**
   * Reads on from `offset` in `chunk` to the end of the message at most, and returns the offset after what was read.
   * {@link take} has to be called before the next call.
   */
  read(chunk: Uint8Array, offset: number): number {
    let next = offset;
    while (this.#prefixBytes < 2 && next < chunk.length) {
      this.#length = (this.#length << 8) | chunk[next++];
      this.#prefixBytes++;
    }
    if (this.#prefixBytes < 2) return next;
    this.#message ??= new Uint8Array(this.#length);
    const end = Math.min(chunk.length, next + this.#length - this.#filled);
    this.#message.set(chunk.subarray(next, end), this.#filled);
    this.#filled += end - next;
    return end;
  }

  /** Takes the message out if it is complete. It is the caller's own. */
  take(): Uint8Array | null {
    const message = this.#message;
    if (message === null || this.#filled < this.#length) return null;
    this.#prefixBytes = 0;
    this.#length = 0;
    this.#message = null;
    this.#filled = 0;
    return message;
  }
}
