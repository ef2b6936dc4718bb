import { closeSync, openSync, writeSync } from "node:fs";
import type { FrameTap } from "./driver.ts";

const FILE_HEADER_LENGTH = 24;
const RECORD_HEADER_LENGTH = 16;
/** The classic format with times in microseconds, which every reader knows. */
const MAGIC = 0xa1b2c3d4;
const LINKTYPE_ETHERNET = 1;
const SNAP_LENGTH = 262144;
const BUFFER_BYTES = 1024 * 1024;

/**
 * Writes frames to a capture file in the classic pcap format (draft-ietf-opsawg-pcap), which Wireshark, tshark and
 * tcpdump read.
 */
export class PcapWriter implements FrameTap {
  readonly path: string;
  readonly #now: () => number;
  readonly #bytes = new Uint8Array(BUFFER_BYTES);
  readonly #view = new DataView(this.#bytes.buffer);
  readonly #onFault: (error: Error) => void;
  #file: number | null;
  #length = 0;

  /**
   * Creates the file, replacing one that is there.
   *
   * @param onFault - told once when writing fails (a full disk); the capture ends there and nothing else does.
   * @param now - the wall clock in milliseconds, with fractions.
   * @throws when the file cannot be created.
   */
  constructor(
    path: string,
    onFault: (error: Error) => void,
    now: () => number = () => performance.timeOrigin + performance.now(),
  ) {
    this.path = path;
    this.#now = now;
    this.#onFault = onFault;
    this.#file = openSync(path, "w", 0o600);
    const view = this.#view;
    view.setUint32(0, MAGIC, true);
    view.setUint16(4, 2, true);
    view.setUint16(6, 4, true);
    view.setUint32(16, SNAP_LENGTH, true);
    view.setUint32(20, LINKTYPE_ETHERNET, true);
    this.#length = FILE_HEADER_LENGTH;
    this.flush();
  }

  frame(bytes: Uint8Array, offset: number, length: number): void {
    if (this.#file === null) return;
    const captured = Math.min(length, SNAP_LENGTH);
    if (this.#length + RECORD_HEADER_LENGTH + captured > BUFFER_BYTES) this.flush();
    const view = this.#view;
    const at = this.#length;
    const now = this.#now();
    const seconds = Math.floor(now / 1000);
    view.setUint32(at, seconds, true);
    view.setUint32(at + 4, Math.floor((now - seconds * 1000) * 1000), true);
    view.setUint32(at + 8, captured, true);
    view.setUint32(at + 12, length, true);
    this.#bytes.set(bytes.subarray(offset, offset + captured), at + RECORD_HEADER_LENGTH);
    this.#length = at + RECORD_HEADER_LENGTH + captured;
  }

  flush(): void {
    if (this.#file === null || this.#length === 0) return;
    try {
      let written = 0;
      while (written < this.#length) written += writeSync(this.#file, this.#bytes, written, this.#length - written);
    } catch (error) {
      closeSync(this.#file);
      this.#file = null;
      this.#onFault(error as Error);
    }
    this.#length = 0;
  }

  close(): void {
    this.flush();
    if (this.#file !== null) closeSync(this.#file);
    this.#file = null;
  }
}
