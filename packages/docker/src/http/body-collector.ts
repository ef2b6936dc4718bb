import { type BodyFraming, type BodyScanner, GrowingBuffer, MessageError, makeBodyScanner } from "@hostd/http1";

/** Bytes that the framing of any chunked body may have, however short. */
const FRAMING_ALLOWANCE = 64 * 1024;

/** Gathers a body, with and without its framing. */
export class BodyCollector {
  readonly #limit: number;
  readonly #scanner: BodyScanner;
  readonly #isChunked: boolean;
  readonly #raw = new GrowingBuffer();
  readonly #content = new GrowingBuffer();

  /**
   * @param limit - the most bytes that its content may have. Its framing may have as many, and a little more.
   * @throws {MessageError} when it is known to be longer.
   */
  constructor(framing: BodyFraming, limit: number) {
    this.#limit = limit;
    this.#isChunked = framing.kind === "chunked";
    if (framing.kind === "length" && framing.length > limit) throw tooLong(limit);
    this.#scanner = makeBodyScanner(framing, (bytes) => {
      if (this.#content.length + bytes.length > limit) throw tooLong(limit);
      this.#content.add(bytes);
    });
  }

  get isOver(): boolean {
    return this.#scanner.isOver;
  }

  /**
   * Takes the next bytes from `start` on.
   *
   * @returns where the body ends in them, or their length when it goes on.
   * @throws {MessageError} when they are not as the framing says, or too many.
   */
  take(bytes: Buffer, start: number): number {
    const end = this.#scanner.scan(bytes, start);
    if (this.#raw.length + end - start > 2 * this.#limit + FRAMING_ALLOWANCE) throw tooLong(this.#limit);
    this.#raw.add(bytes, start, end);
    return end;
  }

  /** The body as it came. */
  get raw(): Buffer {
    return this.#raw.content;
  }

  /** The body without its framing. */
  get content(): Buffer {
    return this.#isChunked ? this.#content.content : this.#raw.content;
  }
}

function tooLong(limit: number): MessageError {
  return new MessageError(`the body has more than ${limit} bytes`, 413);
}
