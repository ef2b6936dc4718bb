import type { FrameSink } from "../link.ts";

/** Bytes around each reserved frame that nobody may write to. */
const GUARD = 32;
const GUARD_BYTE = 0xa5;

/**
 * A link that keeps every frame it is given until {@link take}, and refuses when told to.
 *
 * Each frame is built in memory of its own at an odd offset, between guards that show a write outside of it.
 */
export class TraceLink implements FrameSink {
  bytes = new Uint8Array(0);
  view = new DataView(this.bytes.buffer);
  /** How many more frames are taken; 0 refuses. */
  room = Number.POSITIVE_INFINITY;
  /** How many frames were refused. */
  refused = 0;
  readonly #frames: Uint8Array[] = [];
  #reserved = -1;

  /** Frames sent and not taken. */
  get waiting(): number {
    return this.#frames.length;
  }

  reserve(length: number): number {
    if (this.room <= 0) {
      this.refused++;
      return -1;
    }
    this.bytes = new Uint8Array(length + 2 * GUARD + 1).fill(GUARD_BYTE);
    this.view = new DataView(this.bytes.buffer);
    this.#reserved = length;
    return GUARD + 1;
  }

  commit(length: number): void {
    if (length > this.#reserved) throw new Error(`committed ${length} bytes of ${this.#reserved} reserved`);
    const start = GUARD + 1;
    const end = start + this.#reserved;
    for (let index = 0; index < this.bytes.length; index++) {
      if ((index < start || index >= end) && this.bytes[index] !== GUARD_BYTE) {
        throw new Error(`a write at ${index - start}, outside of the ${this.#reserved} bytes reserved`);
      }
    }
    this.#reserved = -1;
    this.room--;
    this.#frames.push(this.bytes.slice(start, start + length));
  }

  /** The oldest frame that was sent and not taken, or null. */
  take(): Uint8Array | null {
    return this.#frames.shift() ?? null;
  }
}
