/** Something with a deadline: what a {@link TimerQueue} orders. The two fields belong to the queue. */
export interface Timed {
  /** Milliseconds on the stack's clock at which the queue will hand it out. */
  queuedAt: number;
  /** Its place in the heap, -1 while it is not queued. */
  queueIndex: number;
}

/**
 * Deadlines, earliest first: a binary heap whose entries know their places.
 *
 * Most deadlines of a TCP connection only ever move away (each acknowledgement restarts the retransmission timer), so
 * callers leave an entry queued at its former time, and look at the true deadline when it is handed out. That makes
 * the common restart a plain field write.
 */
export class TimerQueue<Entry extends Timed> {
  readonly #heap: Entry[] = [];

  get size(): number {
    return this.#heap.length;
  }

  /** The earliest deadline, or Infinity when none is queued. */
  get nextDeadline(): number {
    return this.#heap.length === 0 ? Number.POSITIVE_INFINITY : this.#heap[0].queuedAt;
  }

  /** Makes sure `entry` is handed out at `deadline` or before. */
  schedule(entry: Entry, deadline: number): void {
    if (entry.queueIndex >= 0) {
      if (entry.queuedAt <= deadline) return;
      entry.queuedAt = deadline;
      this.#up(entry.queueIndex);
      return;
    }
    entry.queuedAt = deadline;
    entry.queueIndex = this.#heap.length;
    this.#heap.push(entry);
    this.#up(entry.queueIndex);
  }

  /** Takes `entry` out; does nothing when it is not queued. */
  remove(entry: Entry): void {
    const index = entry.queueIndex;
    if (index < 0) return;
    entry.queueIndex = -1;
    const last = this.#heap.pop() as Entry;
    if (last === entry) return;
    this.#heap[index] = last;
    last.queueIndex = index;
    this.#up(index);
    this.#down(last.queueIndex);
  }

  /** Takes out and returns the earliest entry due at `now`, or null. */
  takeDue(now: number): Entry | null {
    if (this.#heap.length === 0 || this.#heap[0].queuedAt > now) return null;
    const entry = this.#heap[0];
    this.remove(entry);
    return entry;
  }

  #up(index: number): void {
    const heap = this.#heap;
    const entry = heap[index];
    while (index > 0) {
      const parent = (index - 1) >> 1;
      if (heap[parent].queuedAt <= entry.queuedAt) break;
      heap[index] = heap[parent];
      heap[index].queueIndex = index;
      index = parent;
    }
    heap[index] = entry;
    entry.queueIndex = index;
  }

  #down(index: number): void {
    const heap = this.#heap;
    const entry = heap[index];
    const size = heap.length;
    for (;;) {
      let child = 2 * index + 1;
      if (child >= size) break;
      if (child + 1 < size && heap[child + 1].queuedAt < heap[child].queuedAt) child++;
      if (heap[child].queuedAt >= entry.queuedAt) break;
      heap[index] = heap[child];
      heap[index].queueIndex = index;
      index = child;
    }
    heap[index] = entry;
    entry.queueIndex = index;
  }
}
