/** The escapes that Go's strconv.Quote has letters for. */
const LETTERS: Readonly<Record<string, string>> = {
  '"': '\\"',
  "\\": "\\\\",
  "\x07": "\\a",
  "\b": "\\b",
  "\f": "\\f",
  "\n": "\\n",
  "\r": "\\r",
  "\t": "\\t",
  "\v": "\\v",
};

/** What Go takes for printable: letters, marks, numbers, punctuation, symbols, and the space of ASCII. */
const PRINTABLE = /^[\p{L}\p{M}\p{N}\p{P}\p{S} ]$/u;

/** Puts a text in double quotes as Go's `%q` does: what is not printable is escaped, so the result is one line. */
export function goQuote(text: string): string {
  let quoted = "";
  for (const character of text.toWellFormed()) {
    quoted += LETTERS[character] ?? (PRINTABLE.test(character) ? character : escapeOf(character));
  }
  return `"${quoted}"`;
}

function escapeOf(character: string): string {
  const code = character.codePointAt(0) ?? 0;
  const hex = code.toString(16);
  if (code < 0x80) return `\\x${hex.padStart(2, "0")}`;
  return code < 0x1_0000 ? `\\u${hex.padStart(4, "0")}` : `\\U${hex.padStart(8, "0")}`;
}
