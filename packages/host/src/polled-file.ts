import { type BigIntStats, readFileSync, statSync } from "node:fs";

/** How long a file is taken as unchanged, in milliseconds. */
const CHECK_INTERVAL = 1000;

/** How long a file may be unless another limit is given, in bytes. */
const MAX_SIZE = 1024 * 1024;

/** What a look at a file found out. */
export type FileState =
  | { readonly kind: "text"; readonly text: string }
  /** It cannot be read, is no file or too long, or is not there. */
  | { readonly kind: "unreadable"; readonly reason: string; readonly isMissing: boolean };

export interface PolledFileOptions {
  /** How long the file may be, in bytes; 1 MiB unless given. */
  readonly maxSize?: number;
}

/**
 * A file that others may change at any time. It is looked at when it is needed and at most once per second: that sees
 * every way a file is replaced, renamed and mounted, which a watch of the file or of its folder does not.
 */
export class PolledFile {
  readonly path: string;
  readonly #now: () => number;
  readonly #maxSize: number;
  #version = "";
  #nextCheck = Number.NEGATIVE_INFINITY;

  /** @param now - the time in milliseconds, from any start on. */
  constructor(path: string, now: () => number, { maxSize = MAX_SIZE }: PolledFileOptions = {}) {
    this.path = path;
    this.#now = now;
    this.#maxSize = maxSize;
  }

  /** Has the next {@link changed} look, however soon it comes. */
  recheck(): void {
    this.#nextCheck = Number.NEGATIVE_INFINITY;
  }

  /** What it is now, when that has changed since it was last asked for; null when it has not. */
  changed(): FileState | null {
    const now = this.#now();
    if (now < this.#nextCheck) return null;
    this.#nextCheck = now + CHECK_INTERVAL;
    let version: string;
    let state: FileState;
    try {
      const stat = statSync(this.path, { bigint: true });
      version = [stat.dev, stat.ino, stat.size, stat.mtimeNs, stat.ctimeNs].join(" ");
      if (version === this.#version) return null;
      state = this.#read(stat);
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      version = reason;
      if (version === this.#version) return null;
      const isMissing = error instanceof Error && "code" in error && error.code === "ENOENT";
      state = { kind: "unreadable", reason, isMissing };
    }
    this.#version = version;
    return state;
  }

  #read(stat: BigIntStats): FileState {
    // Reading a pipe or a device would wait.
    if (!stat.isFile()) return { kind: "unreadable", reason: "it is no file", isMissing: false };
    if (stat.size > this.#maxSize) {
      return { kind: "unreadable", reason: `it is longer than ${this.#maxSize} bytes`, isMissing: false };
    }
    return { kind: "text", text: readFileSync(this.path, "utf8") };
  }
}
