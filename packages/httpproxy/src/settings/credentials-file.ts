import { type BigIntStats, closeSync, constants, fstatSync, lstatSync, openSync, readSync } from "node:fs";
import type { Credentials } from "../route.ts";
import { whyNotBasic } from "./credentials.ts";

/** The largest file that is read, in bytes. */
const MAX_SIZE = 4096;

/** Nothing waits at open(2) for the writer of a pipe, and no symbolic link leads elsewhere. Windows has neither flag. */
const OPEN_FLAGS = constants.O_RDONLY | (constants.O_NOFOLLOW ?? 0) | (constants.O_NONBLOCK ?? 0);

/** A file that no credentials can be taken from. The message names the file and says why, and has nothing of its text. */
export class CredentialsFileError extends Error {
  override readonly name = "CredentialsFileError";

  constructor(path: string, reason: string, options?: ErrorOptions) {
    super(`cannot take credentials from ${path}: ${reason}`, options);
  }
}

export interface CredentialsFileOptions {
  /** Whose the file has to be; the user of this process unless given. Windows has none. */
  readonly uid?: number | undefined;
}

/**
 * Credentials in a file: one line, `user:password`. It has to be a regular file of this user that nobody else may read
 * or write. It is looked at with each use, so another password holds for the next request.
 */
export class CredentialsFile {
  readonly path: string;
  readonly #uid: number | undefined;
  #version = "";
  #credentials: Credentials | null = null;

  constructor(path: string, { uid = process.geteuid?.() }: CredentialsFileOptions = {}) {
    this.path = path;
    this.#uid = uid;
  }

  /**
   * What is in it now.
   *
   * @throws {CredentialsFileError} when it is not there, may be read by others, or has something else in it.
   */
  read(): Credentials {
    if (this.#credentials !== null && this.#isUnchanged()) return this.#credentials;
    const { text, version } = this.#open();
    this.#credentials = this.#parse(text);
    this.#version = version;
    return this.#credentials;
  }

  #isUnchanged(): boolean {
    try {
      return versionOf(lstatSync(this.path, { bigint: true })) === this.#version;
    } catch {
      // Opening it says why.
      return false;
    }
  }

  #open(): { readonly text: Uint8Array; readonly version: string } {
    let file: number;
    try {
      file = openSync(this.path, OPEN_FLAGS);
    } catch (error) {
      throw this.#failure(whyNotOpened(error), error);
    }
    try {
      const stats = fstatSync(file, { bigint: true });
      this.#check(stats);
      const buffer = new Uint8Array(MAX_SIZE + 1);
      let length = 0;
      for (let read = 1; read > 0 && length < buffer.length; length += read) {
        read = readSync(file, buffer, length, buffer.length - length, null);
      }
      if (length > MAX_SIZE) throw this.#failure(`it is larger than ${MAX_SIZE} bytes`);
      return { text: buffer.subarray(0, length), version: versionOf(stats) };
    } catch (error) {
      throw error instanceof CredentialsFileError ? error : this.#failure(messageOf(error), error);
    } finally {
      closeSync(file);
    }
  }

  #check(stats: BigIntStats): void {
    if (!stats.isFile()) throw this.#failure("it is no regular file");
    if (this.#uid === undefined) return;
    if (stats.uid !== BigInt(this.#uid)) {
      throw this.#failure(`it belongs to user ${stats.uid}, not to user ${this.#uid}, who runs this`);
    }
    const mode = Number(stats.mode) & 0o777;
    if ((mode & 0o077) !== 0) {
      throw this.#failure(`its mode is ${mode.toString(8).padStart(4, "0")}; allowed: 0600 and 0400`);
    }
  }

  #parse(bytes: Uint8Array): Credentials {
    let text: string;
    try {
      text = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
    } catch {
      // Without the cause: a message could have something of the text in it.
      throw this.#failure("it is not UTF-8");
    }
    const line = text.replace(/\r?\n$/, "");
    if (line === "") throw this.#failure("it is empty; allowed: one line, user:password");
    if (line.includes("\n")) throw this.#failure("it has more than one line; allowed: one line, user:password");
    const colon = line.indexOf(":");
    if (colon <= 0) throw this.#failure("there is no user with a colon after it; allowed: one line, user:password");
    const credentials = { user: line.slice(0, colon), password: line.slice(colon + 1) };
    const reason = whyNotBasic(credentials);
    if (reason !== null) throw this.#failure(reason);
    return credentials;
  }

  #failure(reason: string, cause?: unknown): CredentialsFileError {
    return new CredentialsFileError(this.path, reason, cause === undefined ? undefined : { cause });
  }
}

/** Changes with whatever is done to a file, but for reading it. */
function versionOf({ dev, ino, size, mtimeNs, ctimeNs }: BigIntStats): string {
  return `${dev} ${ino} ${size} ${mtimeNs} ${ctimeNs}`;
}

function whyNotOpened(error: unknown): string {
  const code = error instanceof Error && "code" in error ? error.code : null;
  if (code === "ENOENT") return "there is no such file";
  // O_NOFOLLOW, open(2).
  if (code === "ELOOP") return "it is a symbolic link; allowed: the file itself";
  return messageOf(error);
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
