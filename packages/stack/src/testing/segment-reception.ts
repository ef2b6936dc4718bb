import { sequenceAfter } from "../sequence.ts";
import type { SackBlock } from "./frames.ts";

/** Blocks that the options of a segment with timestamps have room for. */
const MAX_BLOCKS = 3;

/** What a peer has of the stack's stream: the receiving side of a TCP that keeps everything (RFC 2018, RFC 2883). */
export class Reception {
  /** The next byte in order, null before the SYN. */
  expected: number | null = null;
  /** What it has of what follows, the latest first. */
  readonly #held: SackBlock[] = [];
  #duplicate: SackBlock | null = null;

  /** The blocks to report with the next acknowledgment. */
  get blocks(): SackBlock[] {
    const blocks = this.#duplicate === null ? this.#held : [this.#duplicate, ...this.#held];
    return blocks.slice(0, MAX_BLOCKS);
  }

  start(sequence: number): void {
    this.expected = sequence;
    this.#held.length = 0;
    this.#duplicate = null;
  }

  /** What the peer has acknowledged it has, however that came to be. */
  skipTo(sequence: number): void {
    this.expected ??= sequence;
    if (!sequenceAfter(sequence, this.expected)) return;
    this.expected = sequence;
    for (let index = this.#held.length - 1; index >= 0; index--) {
      const [start, end] = this.#held[index];
      if (sequenceAfter(start, sequence)) continue;
      if (sequenceAfter(end, this.expected)) this.expected = end;
      this.#held.splice(index, 1);
    }
  }

  /** Takes in a segment from `start` to `end`. */
  takeIn(start: number, end: number): void {
    const expected = this.expected ?? start;
    this.#duplicate = null;
    const isHeld = this.#held.some(([from, to]) => !sequenceAfter(from, start) && !sequenceAfter(end, to));
    if (isHeld || !sequenceAfter(end, expected)) {
      this.#duplicate = [start, end];
      return;
    }
    let [first, last] = [start, end];
    for (let index = this.#held.length - 1; index >= 0; index--) {
      const [from, to] = this.#held[index];
      if (sequenceAfter(from, last) || sequenceAfter(first, to)) continue;
      if (sequenceAfter(first, from)) first = from;
      if (sequenceAfter(to, last)) last = to;
      this.#held.splice(index, 1);
    }
    if (sequenceAfter(first, expected)) this.#held.unshift([first, last]);
    else this.expected = last;
  }

  /** The blocks have been reported; a duplicate is reported once. */
  reported(): void {
    this.#duplicate = null;
  }
}
