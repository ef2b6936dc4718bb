import { closeSync, openSync, writeSync } from "node:fs";
import type { FrameTap } from "./driver.ts";
import { PcapEncoder } from "./pcap-encoder.ts";

/** Writes frames to a capture file, which Wireshark, tshark and tcpdump read. */
export class PcapWriter implements FrameTap {
  readonly path: string;
  readonly #encoder: PcapEncoder;
  readonly #onFault: (error: Error) => void;
  #file: number | null;

  /**
   * Creates the file, replacing one that is there.
   *
   * @param onFault - told once when writing fails (a full disk); the capture ends there and nothing else does.
   * @param now - the wall clock in milliseconds, with fractions.
   * @throws when the file cannot be created.
   */
  constructor(path: string, onFault: (error: Error) => void, now?: () => number) {
    this.path = path;
    this.#encoder = new PcapEncoder(now === undefined ? {} : { now });
    this.#onFault = onFault;
    this.#file = openSync(path, "w", 0o600);
    this.flush();
  }

  frame(bytes: Uint8Array, offset: number, length: number): void {
    if (this.#file === null || this.#encoder.add(bytes, offset, length)) return;
    this.flush();
    this.#encoder.add(bytes, offset, length);
  }

  flush(): void {
    const { encoded } = this.#encoder;
    if (this.#file === null || encoded.length === 0) return;
    try {
      let written = 0;
      while (written < encoded.length) written += writeSync(this.#file, encoded, written, encoded.length - written);
    } catch (error) {
      closeSync(this.#file);
      this.#file = null;
      this.#onFault(error as Error);
    }
    this.#encoder.clear();
  }

  close(): void {
    this.flush();
    if (this.#file !== null) closeSync(this.#file);
    this.#file = null;
  }
}
