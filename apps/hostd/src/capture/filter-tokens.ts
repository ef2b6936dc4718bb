import { FilterError } from "./filter-error.ts";

/** A word of a filter, a sign for `and`, `or` or `not`, or a parenthesis. */
export interface Token {
  /** As it was written, but `and`, `or` and `not` for the signs, and empty at the end. */
  readonly text: string;
  /** Its first character, counted from 1. */
  readonly position: number;
}

const SIGNS: ReadonlyMap<string, string> = new Map([
  ["&&", "and"],
  ["||", "or"],
  ["!", "not"],
]);

/**
 * Takes a filter apart. The last token is the end, which has no text.
 *
 * @throws {FilterError} for a character that no filter has.
 */
export function readTokens(expression: string): Token[] {
  const tokens: Token[] = [];
  const pattern = /\s*(?:(&&|\|\||[!()])|([\w.:/-]+)|(\S))/gy;
  for (let match = pattern.exec(expression); match !== null; match = pattern.exec(expression)) {
    const [, sign, word, other] = match;
    const written = sign ?? word ?? other;
    const position = pattern.lastIndex - written.length + 1;
    if (other !== undefined) {
      const allowed = "words, addresses, numbers, ( ) and && || !";
      throw new FilterError(expression, position, `${JSON.stringify(other)} is not understood; allowed: ${allowed}`);
    }
    tokens.push({ text: SIGNS.get(written) ?? written, position });
  }
  tokens.push({ text: "", position: expression.trimEnd().length + 1 });
  return tokens;
}
