/** A set of bytes of a stream by their offsets: ranges that neither overlap nor touch, in order. */
export class ByteRanges {
  /** Beginnings and ends by turns. */
  #edges: number[] = [];

  /** Adds the bytes from `from` up to, but not including, `to`. */
  add(from: number, to: number): void {
    if (to <= from) return;
    const before: number[] = [];
    const after: number[] = [];
    for (const [start, end] of this) {
      if (end < from) before.push(start, end);
      else if (start > to) after.push(start, end);
      else {
        from = Math.min(from, start);
        to = Math.max(to, end);
      }
    }
    this.#edges = [...before, from, to, ...after];
  }

  /** Removes everything from `from` on. */
  truncate(from: number): void {
    const kept = [...this].filter(([start]) => start < from);
    this.#edges = kept.flatMap(([start, end]) => [start, Math.min(end, from)]);
  }

  /** Whether every byte of a range is in the set. */
  contains(from: number, to: number): boolean {
    return from >= to || this.endOfRunFrom(from) >= to;
  }

  /** Where the run of bytes ends that holds `from`, or `from` itself when there is none. */
  endOfRunFrom(from: number): number {
    for (const [start, end] of this) if (start <= from && from < end) return end;
    return from;
  }

  *[Symbol.iterator](): IterableIterator<[from: number, to: number]> {
    for (let index = 0; index < this.#edges.length; index += 2) yield [this.#edges[index], this.#edges[index + 1]];
  }
}
