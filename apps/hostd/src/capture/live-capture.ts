import { type FrameTap, PcapEncoder } from "@hostd/frontends";
import type { FrameFilter } from "./frame-filter.ts";

/** Bytes that may wait for a reader; a packet for which there is no room is dropped. */
export const MAX_WAITING_BYTES = 4 * 1024 * 1024;

/** Where a capture is written to. */
export interface CaptureOutput {
  /** @param taken - to be called once the memory is not needed any more. */
  write(bytes: Uint8Array, taken: () => void): void;
  /** Nothing is written any more. */
  end(): void;
}

/** What is captured. */
export interface CaptureWish {
  /** The VM whose frames it is about; those of all when not given. */
  readonly vm?: string;
  /** As it was written. */
  readonly expression: string;
  readonly filter: FrameFilter;
  /** Bytes of a frame that are kept at most. */
  readonly snapLength: number;
}

/**
 * Writes the frames that a filter wants to a reader, as a pcap file. A reader that is too slow loses packets, and holds
 * up nobody.
 */
export class LiveCapture implements FrameTap {
  readonly id: number;
  readonly wish: CaptureWish;
  readonly startedAt = Date.now();
  readonly #output: CaptureOutput;
  readonly #ended: () => void;
  readonly #encoder: PcapEncoder;
  #packets = 0;
  #dropped = 0;
  #waiting = 0;
  #open = true;

  /** @param ended - called once, when the capture is over. */
  constructor(id: number, wish: CaptureWish, output: CaptureOutput, ended: () => void) {
    this.id = id;
    this.wish = wish;
    this.#output = output;
    this.#ended = ended;
    this.#encoder = new PcapEncoder({ snapLength: wish.snapLength });
    this.#waiting = this.#encoder.encoded.length;
  }

  /** Packets that were written, or wait for the reader. */
  get packets(): number {
    return this.#packets;
  }

  /** Packets that the filter wanted, and for which there was no room. */
  get dropped(): number {
    return this.#dropped;
  }

  /** Bytes that wait for the reader. */
  get waiting(): number {
    return this.#waiting;
  }

  frame(bytes: Uint8Array, offset: number, length: number): void {
    if (!this.#open || !this.wish.filter(bytes, offset, length)) return;
    const size = this.#encoder.recordLength(length);
    if (this.#waiting + size > MAX_WAITING_BYTES) {
      this.#dropped++;
      return;
    }
    if (!this.#encoder.add(bytes, offset, length)) {
      this.flush();
      this.#encoder.add(bytes, offset, length);
    }
    this.#waiting += size;
    this.#packets++;
  }

  /** Writes what was seen; the file's header the first time. */
  flush(): void {
    const { length } = this.#encoder.encoded;
    if (length === 0) return;
    const bytes = this.#encoder.encoded.slice();
    this.#encoder.clear();
    this.#output.write(bytes, () => {
      this.#waiting -= length;
    });
  }

  /** Sees no frame any more; what was captured until now is still written. */
  end(): void {
    if (!this.#open) return;
    this.#open = false;
    this.flush();
    this.#output.end();
    this.#ended();
  }
}
