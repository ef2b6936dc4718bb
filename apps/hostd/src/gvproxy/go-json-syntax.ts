/** The syntax of JSON as Go's encoding/json checks it, with its words for what is wrong. */
import { goQuote } from "./go-quote.ts";

/** A body that Go's decoder does not take, in its words. */
export class GoJsonError extends Error {
  override readonly name = "GoJsonError";
}

/** How deep objects and lists may stand in each other. */
const MAX_DEPTH = 10_000;

const SPACE = new Set([" ", "\t", "\r", "\n"]);
const LITERALS: Readonly<Record<string, string>> = { t: "true", f: "false", n: "null" };
const ESCAPES = new Set(["b", "f", "n", "r", "t", "\\", "/", '"']);

/**
 * Finds the first JSON value of a text, as a decoder of a stream reads it: what follows it is left alone.
 *
 * @param text - one character for each byte (latin1), as Go looks at bytes.
 * @returns the value's text, with its bytes decoded as UTF-8.
 * @throws {GoJsonError} when there is none: `EOF` where there is nothing but space.
 */
export function firstGoJson(text: string): string {
  const scanner = new Scanner(text);
  scanner.skipSpace();
  if (scanner.isAtEnd) throw new GoJsonError("EOF");
  const start = scanner.at;
  scanner.value();
  return Buffer.from(text.slice(start, scanner.at), "latin1").toString("utf8");
}

class Scanner {
  readonly #text: string;
  at = 0;

  constructor(text: string) {
    this.#text = text;
  }

  get isAtEnd(): boolean {
    return this.at >= this.#text.length;
  }

  skipSpace(): void {
    while (SPACE.has(this.#text[this.at])) this.at++;
  }

  /** Moves behind a value; what stands in each other is kept in a list, as a body may have any depth. */
  value(): void {
    const open: ("object" | "array")[] = [];
    do {
      const opened = this.#begin();
      if (opened !== null) {
        open.push(opened);
        if (open.length > MAX_DEPTH) this.#fail(opened === "object" ? "{" : "[", "exceeded max depth");
        if (!this.#isEmpty(opened)) {
          if (opened === "object") this.#key();
          continue;
        }
        open.pop();
      }
      this.#closeEnded(open);
    } while (open.length > 0);
  }

  /** A scalar whole, or the beginning of an object or a list. */
  #begin(): "object" | "array" | null {
    this.skipSpace();
    const character = this.#next();
    if (character === "{") return "object";
    if (character === "[") return "array";
    if (character === '"') this.#string();
    else if (character === "-" || isDigit(character)) this.#number(character);
    else if (Object.hasOwn(LITERALS, character)) this.#literal(LITERALS[character]);
    else this.#fail(character, "looking for beginning of value");
    return null;
  }

  /** Moves behind the end of an object or list that has nothing in it. */
  #isEmpty(kind: "object" | "array"): boolean {
    this.skipSpace();
    if (this.#text[this.at] !== (kind === "object" ? "}" : "]")) return false;
    this.at++;
    return true;
  }

  #key(): void {
    this.skipSpace();
    const context = "looking for beginning of object key string";
    const character = this.#next();
    if (character !== '"') this.#fail(character, context);
    this.#string();
    this.skipSpace();
    const colon = this.#next();
    if (colon !== ":") this.#fail(colon, "after object key");
  }

  /** Moves behind the ends of what ends here, or to the next value of what goes on. */
  #closeEnded(open: ("object" | "array")[]): void {
    for (let kind = open.at(-1); kind !== undefined; kind = open.at(-1)) {
      this.skipSpace();
      const context = kind === "object" ? "after object key:value pair" : "after array element";
      const character = this.#next();
      if (character === ",") {
        if (kind === "object") this.#key();
        return;
      }
      if (character !== (kind === "object" ? "}" : "]")) this.#fail(character, context);
      open.pop();
    }
  }

  #string(): void {
    for (;;) {
      const character = this.#next();
      if (character === '"') return;
      if (character < " ") this.#fail(character, "in string literal");
      if (character !== "\\") continue;
      const escaped = this.#next();
      if (escaped === "u") {
        for (let digits = 0; digits < 4; digits++) {
          const digit = this.#next();
          if (!/[0-9a-fA-F]/.test(digit)) this.#fail(digit, "in \\u hexadecimal character escape");
        }
      } else if (!ESCAPES.has(escaped)) {
        this.#fail(escaped, "in string escape code");
      }
    }
  }

  #number(first: string): void {
    let digit = first;
    if (digit === "-") {
      digit = this.#next();
      if (!isDigit(digit)) this.#fail(digit, "in numeric literal");
    }
    if (digit !== "0") this.#digits();
    if (this.#text[this.at] === ".") {
      this.at++;
      this.#firstDigit("after decimal point in numeric literal");
    }
    if (this.#text[this.at] === "e" || this.#text[this.at] === "E") {
      this.at++;
      if (this.#text[this.at] === "+" || this.#text[this.at] === "-") this.at++;
      this.#firstDigit("in exponent of numeric literal");
    }
  }

  #firstDigit(context: string): void {
    const digit = this.#next();
    if (!isDigit(digit)) this.#fail(digit, context);
    this.#digits();
  }

  #digits(): void {
    while (!this.isAtEnd && isDigit(this.#text[this.at])) this.at++;
  }

  #literal(word: string): void {
    for (const expected of word.slice(1)) {
      const context = `in literal ${word} (expecting '${expected}')`;
      const character = this.#next();
      if (character !== expected) this.#fail(character, context);
    }
  }

  #next(): string {
    if (this.isAtEnd) throw new GoJsonError("unexpected EOF");
    return this.#text[this.at++];
  }

  #fail(character: string, context: string): never {
    throw new GoJsonError(`invalid character ${quoteCharacter(character)} ${context}`);
  }
}

function isDigit(character: string): boolean {
  return character >= "0" && character <= "9";
}

function quoteCharacter(character: string): string {
  if (character === "'") return "'\\''";
  if (character === '"') return "'\"'";
  return `'${goQuote(character).slice(1, -1)}'`;
}
