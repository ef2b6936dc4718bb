import { constants } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { decodePac, MAX_PAC_BYTES, tooLarge } from "./fetch-pac.ts";
import { PacError } from "./pac-error.ts";

/** Does not wait for whoever writes to a pipe. */
const READ = constants.O_RDONLY | (constants.O_NONBLOCK ?? 0);

/** A PAC file of this host, which is read again once it has another time or size. */
export class PacFile {
  readonly #url: URL;
  #state = "";

  constructor(url: URL) {
    this.#url = url;
  }

  /**
   * Its text; null when it is as it was at the last call.
   *
   * @throws {PacError} and what file systems throw.
   */
  async read(): Promise<string | null> {
    const file = await open(this.#url, READ);
    try {
      const status = await file.stat();
      if (!status.isFile()) throw new PacError("it is not a regular file");
      if (status.size > MAX_PAC_BYTES) throw tooLarge();
      const state = `${status.ino} ${status.mtimeMs} ${status.size}`;
      if (state === this.#state) return null;
      const text = decodePac(await readUpTo(file, status.size));
      this.#state = state;
      return text;
    } finally {
      await file.close();
    }
  }

  /** Has the next call read it, whatever its state. */
  forget(): void {
    this.#state = "";
  }
}

/** The first bytes of a file, which may be growing or shrinking. */
async function readUpTo(file: FileHandle, length: number): Promise<Buffer> {
  const bytes = Buffer.alloc(length);
  for (let filled = 0; ; ) {
    const { bytesRead } = await file.read(bytes, filled, length - filled);
    filled += bytesRead;
    if (bytesRead === 0 || filled === length) return bytes.subarray(0, filled);
  }
}
