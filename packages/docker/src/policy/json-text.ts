/** The deepest nesting that is read. Docker's requests have about ten levels. */
const MAX_DEPTH = 64;

/** A JSON text that cannot be read, or that others might read otherwise. */
export class JsonTextError extends Error {
  override readonly name = "JsonTextError";
}

/** A value with the place in its text where it is: from `start` to before `end`, in UTF-16 units. */
export type JsonNode = { readonly start: number; readonly end: number } & (
  | { readonly kind: "object"; readonly members: readonly JsonMember[] }
  | { readonly kind: "array"; readonly elements: readonly JsonNode[] }
  | { readonly kind: "string"; readonly value: string }
  /** A number is left as it is written, since there is no telling what it would lose. */
  | { readonly kind: "number" | "true" | "false" | "null" }
);

export interface JsonMember {
  readonly name: string;
  readonly value: JsonNode;
}

/** Another text in the place of one. */
export interface JsonEdit {
  readonly start: number;
  readonly end: number;
  readonly text: string;
}

/** A JSON text (RFC 8259) of which parts can be replaced and all else stays as it is written. */
export class JsonText {
  readonly root: JsonNode;
  readonly #text: string;

  /**
   * @throws {JsonTextError} when it is no JSON text in UTF-8, is nested too deep, or an object has two members of one name,
   *   of which readers take one or the other (RFC 8259, 4).
   */
  constructor(bytes: Buffer) {
    this.#text = decode(bytes);
    this.root = new Reader(this.#text).read();
  }

  /** @param edits - of which no two overlap. */
  edit(edits: readonly JsonEdit[]): Buffer {
    let text = "";
    let at = 0;
    for (const edit of [...edits].sort((one, other) => one.start - other.start)) {
      text += this.#text.slice(at, edit.start) + edit.text;
      at = edit.end;
    }
    return Buffer.from(text + this.#text.slice(at));
  }
}

function decode(bytes: Buffer): string {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw new JsonTextError("it is not UTF-8");
  }
}

const LITERALS = ["true", "false", "null"] as const;
const NUMBER = /-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?/y;

class Reader {
  readonly #text: string;
  #at = 0;
  #depth = 0;

  constructor(text: string) {
    this.#text = text;
  }

  read(): JsonNode {
    const value = this.#value();
    this.#space();
    if (this.#at < this.#text.length) throw this.#error("something follows the value");
    return value;
  }

  #value(): JsonNode {
    this.#space();
    const start = this.#at;
    const first = this.#text[start];
    if (first === "{") return this.#nested(() => this.#object(start));
    if (first === "[") return this.#nested(() => this.#array(start));
    if (first === '"') return { kind: "string", start, value: this.#string(), end: this.#at };
    for (const kind of LITERALS) {
      if (!this.#text.startsWith(kind, start)) continue;
      this.#at += kind.length;
      return { kind, start, end: this.#at };
    }
    NUMBER.lastIndex = start;
    const number = NUMBER.exec(this.#text)?.[0];
    if (number === undefined) throw this.#error("no value");
    this.#at += number.length;
    return { kind: "number", start, end: this.#at };
  }

  #nested(read: () => JsonNode): JsonNode {
    if (++this.#depth > MAX_DEPTH) throw this.#error(`more than ${MAX_DEPTH} levels`);
    this.#at++;
    const value = read();
    this.#depth--;
    return value;
  }

  #object(start: number): JsonNode {
    const members: JsonMember[] = [];
    const names = new Set<string>();
    for (let isFirst = true; !this.#take("}"); isFirst = false) {
      if (!isFirst) this.#expect(",");
      this.#space();
      if (this.#text[this.#at] !== '"') throw this.#error("no name of a member");
      const name = this.#string();
      if (names.has(name)) throw this.#error(`the member ${JSON.stringify(name)} twice`);
      names.add(name);
      this.#expect(":");
      members.push({ name, value: this.#value() });
    }
    return { kind: "object", members, start, end: this.#at };
  }

  #array(start: number): JsonNode {
    const elements: JsonNode[] = [];
    for (let isFirst = true; !this.#take("]"); isFirst = false) {
      if (!isFirst) this.#expect(",");
      elements.push(this.#value());
    }
    return { kind: "array", elements, start, end: this.#at };
  }

  #string(): string {
    const start = this.#at;
    for (let at = start + 1; at < this.#text.length; at++) {
      const unit = this.#text[at];
      if (unit === "\\") at++;
      if (unit !== '"') continue;
      this.#at = at + 1;
      try {
        return JSON.parse(this.#text.slice(start, this.#at));
      } catch {
        throw this.#error("a malformed string");
      }
    }
    throw this.#error("a string without an end");
  }

  #space(): void {
    while (" \t\r\n".includes(this.#text[this.#at] ?? "-")) this.#at++;
  }

  /** Goes past a sign if it is there. */
  #take(sign: string): boolean {
    this.#space();
    if (this.#text[this.#at] !== sign) return false;
    this.#at++;
    return true;
  }

  #expect(sign: string): void {
    if (!this.#take(sign)) throw this.#error(`no ${sign}`);
  }

  #error(what: string): JsonTextError {
    return new JsonTextError(`${what} at character ${this.#at}`);
  }
}
