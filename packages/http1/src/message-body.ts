import { MessageError, type RequestHead, type ResponseHead } from "./message-head.ts";

/** How the end of a body is known (RFC 9112, 6.3). */
export type BodyFraming =
  | { readonly kind: "length"; readonly length: number }
  | { readonly kind: "chunked" }
  /** It ends with the connection. */
  | { readonly kind: "close" };

const NO_BODY: BodyFraming = { kind: "length", length: 0 };

/** @throws {MessageError} when the head contradicts itself, so that two readers may see different ends. */
export function requestFraming(head: RequestHead): BodyFraming {
  return declaredFraming(head) ?? NO_BODY;
}

/**
 * @param method - that of the request.
 * @throws {MessageError} when the head contradicts itself.
 */
export function responseFraming(head: ResponseHead, method: string): BodyFraming {
  const { status } = head;
  if (method === "HEAD" || status === 204 || status === 304 || status < 200) return NO_BODY;
  return declaredFraming(head) ?? { kind: "close" };
}

/**
 * What a head says of the length of a body, which there need not be: a response to HEAD tells what GET would give.
 *
 * @returns null when it says nothing.
 * @throws {MessageError} when it contradicts itself.
 */
export function declaredFraming({ minor, fields }: RequestHead | ResponseHead): BodyFraming | null {
  const codings = fields.elements("transfer-encoding");
  const lengths = [...new Set(fields.elements("content-length"))];
  if (codings.length > 0) {
    if (lengths.length > 0) throw new MessageError("both Transfer-Encoding and Content-Length");
    // RFC 9112, 6.1: such a message is faulty.
    if (minor === 0) throw new MessageError("Transfer-Encoding in HTTP/1.0");
    if (codings.length > 1 || codings[0].toLowerCase() !== "chunked") {
      throw new MessageError("the Transfer-Encoding is not chunked alone", 501);
    }
    return { kind: "chunked" };
  }
  if (lengths.length === 0) return null;
  if (lengths.length > 1 || !/^\d{1,15}$/.test(lengths[0])) throw new MessageError("malformed Content-Length");
  return { kind: "length", length: Number(lengths[0]) };
}

/** Finds where a body ends in a stream of bytes, which it leaves as they are. */
export interface BodyScanner {
  /** Whether the body is over; true from the start for an empty one. */
  readonly isOver: boolean;
  /**
   * Looks at the next bytes from `start` on.
   *
   * @returns where the body ends in them, or their length when it goes on.
   * @throws {MessageError} when they are not as the framing says.
   */
  scan(bytes: Buffer, start: number): number;
  /** How many bytes come next that need not be looked at, as they say nothing of where the body ends. */
  readonly passable: number;
  /** Goes on behind some of those, which were passed on unseen. */
  skip(length: number): void;
}

/** @param onContent - is given the content of a chunked body, without its framing. */
export function makeBodyScanner(framing: BodyFraming, onContent?: (bytes: Buffer) => void): BodyScanner {
  if (framing.kind === "chunked") return new ChunkedScanner(onContent);
  return new LengthScanner(framing.kind === "length" ? framing.length : Number.POSITIVE_INFINITY);
}

class LengthScanner implements BodyScanner {
  #left: number;

  constructor(length: number) {
    this.#left = length;
  }

  get isOver(): boolean {
    return this.#left === 0;
  }

  scan(bytes: Buffer, start: number): number {
    const part = Math.min(this.#left, bytes.length - start);
    this.#left -= part;
    return start + part;
  }

  get passable(): number {
    return this.#left;
  }

  skip(length: number): void {
    this.#left -= length;
  }
}

/** The longest line with the size of a chunk, and the longest trailers, in bytes. */
const MAX_SIZE_LINE = 4096;
const MAX_TRAILERS = 64 * 1024;
const LF = 0x0a;
const CR = 0x0d;
/** A field of the trailers, as in a head, and an extension of a chunk (RFC 9112, 7.1.1 and 7.1.2). */
const TRAILER = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+:[^\0]*$/;
const SIZE = /^([0-9a-fA-F]{1,13})[ \t]*(?:;[^\0]*)?$/;

/** The chunked transfer coding (RFC 9112, 7.1). */
class ChunkedScanner implements BodyScanner {
  isOver = false;
  #state: "size" | "data" | "dataEnd" | "trailers" = "size";
  /** What is there of a line. */
  #line = "";
  #endsInCarriageReturn = false;
  #left = 0;
  #trailers = 0;
  readonly #onContent: ((bytes: Buffer) => void) | undefined;

  constructor(onContent?: (bytes: Buffer) => void) {
    this.#onContent = onContent;
  }

  scan(bytes: Buffer, start: number): number {
    let at = start;
    while (at < bytes.length && !this.isOver) {
      if (this.#state === "data") {
        const part = Math.min(this.#left, bytes.length - at);
        this.#onContent?.(bytes.subarray(at, at + part));
        at += part;
        this.#left -= part;
        if (this.#left === 0) this.#state = "dataEnd";
        continue;
      }
      const end = bytes.indexOf(LF, at);
      const limit = this.#state === "trailers" ? MAX_TRAILERS : MAX_SIZE_LINE;
      const stop = end < 0 ? bytes.length : end + 1;
      if (this.#line.length + stop - at > limit) throw new MessageError("a line of a chunk is too long");
      this.#addToLine(bytes.toString("latin1", at, stop));
      at = stop;
      if (end >= 0) this.#takeLine();
    }
    return at;
  }

  get passable(): number {
    return this.#state === "data" && this.#onContent === undefined ? this.#left : 0;
  }

  skip(length: number): void {
    if (length === 0) return;
    this.#left -= length;
    if (this.#left === 0) this.#state = "dataEnd";
  }

  #addToLine(part: string): void {
    const at = this.#endsInCarriageReturn ? -1 : part.indexOf("\r");
    const isAlone = (at >= 0 || this.#endsInCarriageReturn) && at < part.length - 1 && part.charCodeAt(at + 1) !== LF;
    // What follows it is not to be passed on: others may take it for the end of a line (RFC 9112, 2.2).
    if (isAlone) throw new MessageError("a lone CR in a line of a chunk");
    this.#endsInCarriageReturn = part.charCodeAt(part.length - 1) === CR;
    this.#line += part;
  }

  #takeLine(): void {
    const line = this.#line;
    this.#line = "";
    if (line.charCodeAt(line.length - 2) !== CR) throw new MessageError("a line of a chunk does not end in CR and LF");
    const text = line.slice(0, -2);
    if (this.#state === "dataEnd") {
      if (text !== "") throw new MessageError("a chunk is longer than it says");
      this.#state = "size";
    } else if (this.#state === "trailers") {
      this.#trailers += line.length;
      if (this.#trailers > MAX_TRAILERS) throw new MessageError("the trailers are too long");
      this.isOver = text === "";
      if (!this.isOver && !TRAILER.test(text)) throw new MessageError("malformed field in the trailers");
    } else {
      const size = SIZE.exec(text)?.[1];
      if (size === undefined) throw new MessageError("malformed size of a chunk");
      this.#left = Number.parseInt(size, 16);
      this.#state = this.#left === 0 ? "trailers" : "data";
    }
  }
}
