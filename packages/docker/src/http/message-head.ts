import { GrowingBuffer } from "./growing-buffer.ts";

/** The longest head of a message, in bytes: what Go's server takes (`http.DefaultMaxHeaderBytes` and 4096 more). */
export const MAX_HEAD = 1024 * 1024 + 4096;

const LF = 0x0a;
const CR = 0x0d;
const TAB = 0x09;
const SPACE = 0x20;

/** What is wrong with a message. It cannot be told where it ends, so nothing after it can be understood. */
export class MessageError extends Error {
  override readonly name = "MessageError";
  /** What a server answers to such a request. */
  readonly status: number;

  constructor(message: string, status = 400) {
    super(message);
    this.status = status;
  }
}

/** The fields of a head, as they are written. */
export class Fields {
  readonly #values = new Map<string, string[]>();

  constructor(lines: Iterable<readonly [name: string, value: string]>) {
    for (const [name, value] of lines) {
      const key = name.toLowerCase();
      const values = this.#values.get(key);
      if (values === undefined) this.#values.set(key, [value]);
      else values.push(value);
    }
  }

  /** The values of a field, one for each line of it. `name` is in lower case. */
  all(name: string): readonly string[] {
    return this.#values.get(name) ?? [];
  }

  /** Whether a field that is a list has an element (RFC 9110, 5.6.1). Both are in lower case, as options compare. */
  lists(name: string, element: string): boolean {
    return this.elements(name).some((part) => part.toLowerCase() === element);
  }

  /** The elements of a field that is a list, over all its lines. */
  elements(name: string): string[] {
    return this.all(name).flatMap((value) => value.split(",").map((part) => part.trim()));
  }
}

export interface RequestHead {
  readonly method: string;
  /** As it is written: a path with its query, or an absolute URL. */
  readonly target: string;
  /** Of the version, which is 1.0 or 1.1. */
  readonly minor: number;
  readonly fields: Fields;
}

export interface ResponseHead {
  readonly status: number;
  readonly minor: number;
  readonly fields: Fields;
}

/** Gathers the head of a message from a stream of bytes, in time and memory that follow its length. */
export class HeadReader {
  /** Whether the empty line was read that ends the head. */
  isComplete = false;
  readonly #bytes = new GrowingBuffer();
  /** Of the line that is being read. */
  #lineLength = 0;
  #lineBegin = 0;
  #hasLines = false;

  /** Whether it has more than {@link MAX_HEAD} bytes. */
  get isTooLong(): boolean {
    return this.#bytes.length > MAX_HEAD;
  }

  /** Whether anything but empty lines was read, which may stand before a message (RFC 9112, 2.2). */
  get hasBegun(): boolean {
    return this.#hasLines || this.#lineLength > (this.#lineBegin === CR ? 1 : 0);
  }

  /**
   * Reads the next bytes from `start` on.
   *
   * @returns where the head ends in them, or their length when it goes on.
   */
  read(bytes: Buffer, start: number): number {
    let at = start;
    while (at < bytes.length && !this.isComplete) {
      const lineFeed = bytes.indexOf(LF, at);
      const stop = lineFeed < 0 ? bytes.length : lineFeed;
      if (this.#lineLength === 0 && stop > at) this.#lineBegin = bytes[at];
      this.#lineLength += stop - at;
      at = stop;
      if (lineFeed < 0) break;
      at++;
      const isEmpty = this.#lineLength === 0 || (this.#lineLength === 1 && this.#lineBegin === CR);
      this.isComplete = isEmpty && this.#hasLines;
      if (!isEmpty) this.#hasLines = true;
      this.#lineLength = 0;
    }
    this.#bytes.add(bytes, start, at);
    return at;
  }

  /** Gives what was read, and begins anew. */
  take(): Buffer {
    const taken = this.#bytes.content;
    this.#bytes.clear();
    this.isComplete = false;
    this.#lineLength = 0;
    this.#hasLines = false;
    return taken;
  }
}

/**
 * Reads the head of a request (RFC 9112, 2 and 3).
 *
 * @param bytes - a whole one, with its empty line.
 * @throws {MessageError} when it is none.
 */
export function readRequestHead(bytes: Buffer): RequestHead {
  const { first, fields } = readLines(bytes);
  const match = /^([!#$%&'*+.^_`|~0-9A-Za-z-]+) ([^\0-\x20\x7f]+) HTTP\/1\.([01])$/.exec(first);
  if (match === null) throw new MessageError("malformed request line");
  const [, method, target, minor] = match;
  return { method, target, minor: Number(minor), fields };
}

/**
 * Reads the head of a response (RFC 9112, 4).
 *
 * @param bytes - a whole one, with its empty line.
 * @throws {MessageError} when it is none.
 */
export function readResponseHead(bytes: Buffer): ResponseHead {
  const { first, fields } = readLines(bytes);
  const match = /^HTTP\/1\.([01]) ([1-9][0-9]{2})(?: .*)?$/.exec(first);
  if (match === null) throw new MessageError("malformed status line");
  return { status: Number(match[2]), minor: Number(match[1]), fields };
}

function readLines(bytes: Buffer): { first: string; fields: Fields } {
  const text = bytes.toString("latin1");
  // A lone CR, or an LF that others may not take for the end of a line, could hide a field (RFC 9112, 2.2).
  if (/\r(?!\n)|(?<!\r)\n|\0/.test(text)) throw new MessageError("a line of the head does not end in CR and LF");
  const [first, ...lines] = text
    .replace(/^(?:\r\n)+/, "")
    .split("\r\n")
    .slice(0, -2);
  return { first, fields: new Fields(lines.map(readField)) };
}

function readField(line: string): [name: string, value: string] {
  const name = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+(?=:)/.exec(line)?.[0];
  if (name === undefined) throw new MessageError("malformed field in the head");
  return [name, trimWhitespace(line, name.length + 1)];
}

/** What is there from `start` on without the spaces and tabs around it, and nothing else (RFC 9110, 5.6.3). */
function trimWhitespace(line: string, start: number): string {
  const isWhitespace = (at: number) => line.charCodeAt(at) === SPACE || line.charCodeAt(at) === TAB;
  let from = start;
  let to = line.length;
  while (from < to && isWhitespace(from)) from++;
  while (to > from && isWhitespace(to - 1)) to--;
  return line.slice(from, to);
}
