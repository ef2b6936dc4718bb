import { readFileSync, statSync } from "node:fs";

/** How long a file is taken as unchanged, in milliseconds. */
const CHECK_INTERVAL = 1000;

/** What a look at a file found out. */
export type FileState =
  | { readonly kind: "text"; readonly text: string }
  /** It cannot be read, or is not there. */
  | { readonly kind: "unreadable"; readonly reason: string; readonly isMissing: boolean };

/**
 * A file that others may change at any time. It is looked at when it is needed and at most once per second: that sees
 * every way a file is replaced, renamed and mounted, which a watch of the file or of its folder does not.
 */
export class PolledFile {
  readonly path: string;
  readonly #now: () => number;
  #version = "";
  #nextCheck = Number.NEGATIVE_INFINITY;

  /** @param now - the time in milliseconds, from any start on. */
  constructor(path: string, now: () => number) {
    this.path = path;
    this.#now = now;
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
      const { dev, ino, size, mtimeNs, ctimeNs } = statSync(this.path, { bigint: true });
      version = [dev, ino, size, mtimeNs, ctimeNs].join(" ");
      if (version === this.#version) return null;
      state = { kind: "text", text: readFileSync(this.path, "utf8") };
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
}
