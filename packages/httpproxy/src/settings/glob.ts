/** A pattern in which each `*` stands for any characters, none among them. */
export class Glob {
  readonly #start: string;
  readonly #end: string;
  /** What has to come between, in this order. */
  readonly #middle: readonly string[];

  /** @param pattern - has at least one `*`. */
  constructor(pattern: string) {
    const pieces = pattern.split("*");
    this.#start = pieces[0];
    this.#end = pieces[pieces.length - 1];
    this.#middle = pieces.slice(1, -1).filter((piece) => piece !== "");
  }

  /** Takes each piece where it comes first, which never has to be taken back, so no text makes it slow. */
  matches(text: string): boolean {
    if (!text.startsWith(this.#start) || !text.endsWith(this.#end)) return false;
    const end = text.length - this.#end.length;
    let from = this.#start.length;
    for (const piece of this.#middle) {
      const found = text.indexOf(piece, from);
      if (found === -1) return false;
      from = found + piece.length;
    }
    return from <= end;
  }
}
