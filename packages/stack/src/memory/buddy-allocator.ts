/**
 * Hands out ranges of a memory in powers of two, the lowest free one first (Knuth, The Art of Computer Programming 1,
 * 2.5: the buddy system). A range that is given back joins with its neighbour, so that the memory does not fall to pieces.
 */
export class BuddyAllocator {
  readonly #smallest: number;
  readonly #size: number;
  /** Where the free ranges of each size begin; the smallest size first. */
  readonly #free: Set<number>[] = [];
  #used = 0;

  /**
   * @param size - bytes of the memory, a power of two.
   * @param smallest - bytes of the smallest range, a power of two.
   */
  constructor(size: number, smallest: number) {
    this.#size = size;
    this.#smallest = smallest;
    for (let bytes = smallest; bytes <= size; bytes *= 2) this.#free.push(new Set());
    this.#free[this.#free.length - 1].add(0);
  }

  /** Bytes handed out. */
  get used(): number {
    return this.#used;
  }

  /**
   * @param size - a power of two.
   * @returns where the range begins, or -1 when none is free.
   */
  take(size: number): number {
    const wanted = this.#order(size);
    let order = wanted;
    while (order < this.#free.length && this.#free[order].size === 0) order++;
    if (order >= this.#free.length) return -1;
    const at = lowest(this.#free[order]);
    this.#free[order].delete(at);
    // What is too large is halved; the upper half stays free.
    while (order > wanted) {
      order--;
      this.#free[order].add(at + this.#smallest * 2 ** order);
    }
    this.#used += this.#smallest * 2 ** wanted;
    return at;
  }

  /** Takes back a range that {@link take} handed out for `size`. */
  give(at: number, size: number): void {
    let order = this.#order(size);
    let bytes = this.#smallest * 2 ** order;
    this.#used -= bytes;
    while (bytes < this.#size) {
      const buddy = at ^ bytes;
      if (!this.#free[order].delete(buddy)) break;
      at = Math.min(at, buddy);
      order++;
      bytes *= 2;
    }
    this.#free[order].add(at);
  }

  #order(size: number): number {
    let order = 0;
    for (let bytes = this.#smallest; bytes < size; bytes *= 2) order++;
    return order;
  }
}

function lowest(offsets: Iterable<number>): number {
  let least = Number.POSITIVE_INFINITY;
  for (const offset of offsets) if (offset < least) least = offset;
  return least;
}
