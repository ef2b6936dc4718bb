/** The longest line that is kept until its end comes, in bytes. An event has the labels of its container. */
const MAX_LINE = 1024 * 1024;
const LF = 0x0a;

/** A stream of JSON texts that is no such thing. Where the next one begins cannot be told. */
export class JsonLinesError extends Error {
  override readonly name = "JsonLinesError";
}

/** Takes JSON texts, each on a line of its own, out of a stream of bytes that is cut anywhere. */
export class JsonLines {
  readonly #parts: Buffer[] = [];
  #length = 0;

  /**
   * Takes the next bytes.
   *
   * @returns the values that they complete.
   * @throws {JsonLinesError} when a line is no JSON text or too long.
   */
  push(bytes: Buffer): unknown[] {
    const values: unknown[] = [];
    let start = 0;
    for (let end = bytes.indexOf(LF); end >= 0; end = bytes.indexOf(LF, start)) {
      const line = this.#complete(bytes.subarray(start, end));
      start = end + 1;
      if (line.trim() !== "") values.push(parse(line));
    }
    this.#keep(bytes.subarray(start));
    return values;
  }

  #complete(end: Buffer): string {
    this.#keep(end);
    const line = Buffer.concat(this.#parts, this.#length).toString();
    this.#parts.length = 0;
    this.#length = 0;
    return line;
  }

  #keep(part: Buffer): void {
    if (part.length === 0) return;
    this.#length += part.length;
    if (this.#length > MAX_LINE) throw new JsonLinesError(`a line is longer than ${MAX_LINE} bytes`);
    this.#parts.push(part);
  }
}

function parse(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    throw new JsonLinesError("a line is no JSON text");
  }
}
