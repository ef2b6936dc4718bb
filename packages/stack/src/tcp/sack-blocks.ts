import { type Sequence, sequenceAfter, sequenceBefore } from "../sequence.ts";

/** What fits the options of a segment that carries nothing else (RFC 2018, 3). */
const MAX_BLOCKS = 4;
const NONE = new Int32Array(0);

/**
 * What a receiver reports in the SACK option (RFC 2018, 4): the stretches of data held ahead of a gap, the one with the
 * newest data first, and before them what came twice (D-SACK, RFC 2883).
 *
 * The last four stretches are remembered, which is as many as an option can carry. It allocates once, when it is first
 * told of something.
 */
export class SackBlocks {
  /** Pairs of edges: the D-SACK block, then the others by recency. No two of the others touch. */
  #edges: Int32Array = NONE;
  #blocks = 0;
  #hasDuplicate = false;

  /** Blocks there are to report. A segment carries as many of the first ones as its options have room for. */
  get count(): number {
    return this.#hasDuplicate ? this.#blocks + 1 : this.#blocks;
  }

  /** The first sequence number of a block, by the order in which they are reported. */
  start(index: number): Sequence {
    return this.#edges[this.#place(index)];
  }

  /** The sequence number that follows a block. */
  end(index: number): Sequence {
    return this.#edges[this.#place(index) + 1];
  }

  /**
   * A segment arrived that is held ahead of a gap, as part of the stretch [`start`, `end`). Its block becomes the first
   * to report, together with the blocks that it touches.
   *
   * RFC 2018 wants the block to be all of the stretch that holds the segment. The segment alone will do while there are
   * no more than four stretches; of what was forgotten only the caller knows.
   */
  held(start: Sequence, end: Sequence): void {
    if (!sequenceBefore(start, end)) return;
    const edges = this.#allocated();
    let kept = 0;
    for (let index = 0; index < this.#blocks; index++) {
      const left = edges[2 + 2 * index];
      const right = edges[3 + 2 * index];
      // A block that the new one touches touches no other: the union of the two meets no further one.
      if (sequenceAfter(left, end) || sequenceBefore(right, start)) {
        this.#put(kept++, left, right);
      } else {
        if (sequenceBefore(left, start)) start = left;
        if (sequenceAfter(right, end)) end = right;
      }
    }
    if (kept === MAX_BLOCKS) kept--;
    edges.copyWithin(4, 2, 2 + 2 * kept);
    this.#put(0, start, end);
    this.#blocks = kept + 1;
  }

  /**
   * [`start`, `end`), a segment or the first part of one that was there before, came again. It is reported once, as the
   * first block. When it lies within a block, that block follows (RFC 2883, 4), which needs {@link held} to have been
   * told of it; otherwise it lies below the cumulative acknowledgment. A later call replaces an earlier one: the report
   * is of the last segment.
   */
  duplicate(start: Sequence, end: Sequence): void {
    if (!sequenceBefore(start, end)) return;
    const edges = this.#allocated();
    edges[0] = start;
    edges[1] = end;
    this.#hasDuplicate = true;
    for (let index = 0; index < this.#blocks; index++) {
      const left = edges[2 + 2 * index];
      const right = edges[3 + 2 * index];
      if (!sequenceBefore(start, left) && !sequenceAfter(end, right)) {
        this.held(left, right);
        return;
      }
    }
  }

  /** What lies before `next` is acknowledged cumulatively: such blocks are forgotten, or begin at `next`. */
  advance(next: Sequence): void {
    let kept = 0;
    for (let index = 0; index < this.#blocks; index++) {
      const left = this.#edges[2 + 2 * index];
      const right = this.#edges[3 + 2 * index];
      if (sequenceAfter(right, next)) this.#put(kept++, sequenceBefore(left, next) ? next : left, right);
    }
    this.#blocks = kept;
  }

  /** The blocks were sent: what came twice is not reported again. */
  reported(): void {
    this.#hasDuplicate = false;
  }

  clear(): void {
    this.#edges = NONE;
    this.#blocks = 0;
    this.#hasDuplicate = false;
  }

  #place(index: number): number {
    return this.#hasDuplicate ? 2 * index : 2 * index + 2;
  }

  #put(index: number, start: Sequence, end: Sequence): void {
    this.#edges[2 + 2 * index] = start;
    this.#edges[3 + 2 * index] = end;
  }

  #allocated(): Int32Array {
    if (this.#edges === NONE) this.#edges = new Int32Array(2 * (MAX_BLOCKS + 1));
    return this.#edges;
  }
}
