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

/** A field of a head: its name as it is written, and its value. */
export type Field = readonly [name: string, value: string];

const NONE: readonly string[] = [];

/** The fields of a head, as they are written. */
export class Fields {
  /** One for each line, in their order. */
  readonly lines: readonly Field[];
  /** The names of the lines in lower case, as they compare. */
  readonly keys: readonly string[];

  constructor(lines: readonly Field[]) {
    this.lines = lines;
    this.keys = lines.map(([name]) => name.toLowerCase());
  }

  /** The values of a field, one for each line of it. `name` is in lower case. */
  all(name: string): readonly string[] {
    let values: string[] | null = null;
    for (let index = 0; index < this.keys.length; index++) {
      if (this.keys[index] !== name) continue;
      values ??= [];
      values.push(this.lines[index][1]);
    }
    return values ?? NONE;
  }

  /** Whether a field that is a list has an element (RFC 9110, 5.6.1). Both are in lower case, as options compare. */
  lists(name: string, element: string): boolean {
    return this.elements(name).some((part) => part.toLowerCase() === element);
  }

  /** The elements of a field that is a list, over all its lines. */
  elements(name: string): readonly string[] {
    const values = this.all(name);
    if (values.length === 0) return values;
    return values.flatMap((value) => value.split(",").map((part) => trimWhitespace(part, 0)));
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
  /** The reason phrase; often empty. */
  readonly reason: string;
  readonly minor: number;
  readonly fields: Fields;
}

/** Gathers the head of a message from a stream of bytes, in time and memory that follow its length. */
export class HeadReader {
  /** Whether the empty line was read that ends the head. */
  isComplete = false;
  readonly #bytes = new GrowingBuffer();
  /** The head, when all of it came at once. */
  #whole: Buffer | null = null;
  /** Of the line that is being read. */
  #lineLength = 0;
  #lineBegin = 0;
  #hasLines = false;
  readonly #maximum: number;

  /** @param maximum - the longest head, in bytes. */
  constructor(maximum = MAX_HEAD) {
    this.#maximum = maximum;
  }

  /** Whether it has more bytes than a head may have. */
  get isTooLong(): boolean {
    return (this.#whole ?? this.#bytes).length > this.#maximum;
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
    if (this.isComplete) return start;
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
    // Most come at once, and need not be copied.
    if (this.isComplete && this.#bytes.length === 0) this.#whole = bytes.subarray(start, at);
    else this.#bytes.add(bytes, start, at);
    return at;
  }

  /** Gives what was read, which may be in the bytes that were given, and begins anew. */
  take(): Buffer {
    const taken = this.#whole ?? this.#bytes.content;
    this.#whole = null;
    if (this.#bytes.length > 0) this.#bytes.clear();
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
  const match = /^HTTP\/1\.([01]) ([1-9][0-9]{2})(?: (.*))?$/.exec(first);
  if (match === null) throw new MessageError("malformed status line");
  const [, minor, status, reason = ""] = match;
  return { status: Number(status), reason, minor: Number(minor), fields };
}

function readLines(bytes: Buffer): { first: string; fields: Fields } {
  const lines = bytes.toString("latin1").split("\r\n");
  // A lone CR, or an LF that others may not take for the end of a line, could hide a field (RFC 9112, 2.2).
  if (lines.some((line) => /[\r\n\0]/.test(line)))
    throw new MessageError("a line of the head does not end in CR and LF");
  const begin = lines.findIndex((line) => line !== "");
  return { first: lines[begin], fields: new Fields(lines.slice(begin + 1, -2).map(readField)) };
}

function readField(line: string): Field {
  const colon = line.indexOf(":");
  const name = line.slice(0, Math.max(0, colon));
  if (!/^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/.test(name)) throw new MessageError("malformed field in the head");
  return [name, trimWhitespace(line, colon + 1)];
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
