import { makeWallClock } from "./wall-clock.ts";

const FILE_HEADER_LENGTH = 24;
const RECORD_HEADER_LENGTH = 16;
/** The classic format with times in microseconds, which every reader knows. */
const MAGIC = 0xa1b2c3d4;
const LINKTYPE_ETHERNET = 1;
const BUFFER_BYTES = 1024 * 1024;

/** The most bytes of a frame that are kept, which is what tcpdump and Wireshark take at most too. */
export const MAX_SNAP_LENGTH = 262144;

export interface PcapEncoderOptions {
  /** Bytes of a frame that are kept at most; {@link MAX_SNAP_LENGTH} if not given. */
  readonly snapLength?: number;
  /** The wall clock in milliseconds, with fractions. */
  readonly now?: () => number;
}

/**
 * Lays frames out in the classic pcap format (draft-ietf-opsawg-pcap), which Wireshark, tshark and tcpdump read: the
 * file's header at first, then a record for each frame. What was laid out is taken away piece by piece.
 */
export class PcapEncoder {
  readonly #snapLength: number;
  readonly #now: () => number;
  readonly #bytes = new Uint8Array(BUFFER_BYTES);
  readonly #view = new DataView(this.#bytes.buffer);
  #length = FILE_HEADER_LENGTH;

  constructor({ snapLength = MAX_SNAP_LENGTH, now = makeWallClock() }: PcapEncoderOptions = {}) {
    this.#snapLength = Math.min(snapLength, MAX_SNAP_LENGTH);
    this.#now = now;
    const view = this.#view;
    view.setUint32(0, MAGIC, true);
    view.setUint16(4, 2, true);
    view.setUint16(6, 4, true);
    view.setUint32(16, this.#snapLength, true);
    view.setUint32(20, LINKTYPE_ETHERNET, true);
  }

  /** What has been laid out since the last {@link clear}; valid until then. */
  get encoded(): Uint8Array {
    return this.#bytes.subarray(0, this.#length);
  }

  /** Bytes of the record of a frame of `length` bytes. */
  recordLength(length: number): number {
    return RECORD_HEADER_LENGTH + Math.min(length, this.#snapLength);
  }

  /**
   * Lays out a frame with the present time.
   *
   * @returns false when there is no room for it; there is after {@link clear}.
   */
  add(bytes: Uint8Array, offset: number, length: number): boolean {
    const at = this.#length;
    const end = at + this.recordLength(length);
    if (end > BUFFER_BYTES) return false;
    const view = this.#view;
    const now = this.#now();
    const seconds = Math.floor(now / 1000);
    const captured = end - at - RECORD_HEADER_LENGTH;
    view.setUint32(at, seconds, true);
    view.setUint32(at + 4, Math.floor((now - seconds * 1000) * 1000), true);
    view.setUint32(at + 8, captured, true);
    view.setUint32(at + 12, length, true);
    this.#bytes.set(bytes.subarray(offset, offset + captured), at + RECORD_HEADER_LENGTH);
    this.#length = end;
    return true;
  }

  /** Forgets what has been laid out: it was written or copied. */
  clear(): void {
    this.#length = 0;
  }
}
