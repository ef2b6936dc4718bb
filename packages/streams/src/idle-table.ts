import type { Clock } from "./clock.ts";

/** An entry of an {@link IdleTable}. The table writes `lastUsed`. */
export interface IdleEntry<Key = number> {
  readonly key: Key;
  /** Milliseconds without use after which the entry goes. */
  readonly idleLimit: number;
  lastUsed: number;
}

export interface IdleTableOptions<Entry> {
  /** How many entries there may be; beyond it the least recently used one goes. */
  readonly limit: number;
  readonly clock: Clock;
  /** Called once for each entry that leaves the table, whatever the reason. */
  readonly removed: (entry: Entry, reason: "idle" | "evicted" | "removed") => void;
}

/** How often idle entries are looked for, in milliseconds; also how coarse the order of use is. */
export const IDLE_RESOLUTION = 1000;

/**
 * A bounded table of entries that go when they are not used.
 *
 * The map's insertion order is the order of use. An entry is moved to its end at most once per tick of the coarse
 * clock, so use costs a comparison of two numbers.
 */
export class IdleTable<Entry extends IdleEntry<Key>, Key = number> {
  readonly #options: IdleTableOptions<Entry>;
  readonly #entries = new Map<Key, Entry>();
  #now = 0;
  #stopTimer: (() => void) | null = null;

  constructor(options: IdleTableOptions<Entry>) {
    this.#options = options;
  }

  get size(): number {
    return this.#entries.size;
  }

  /** Milliseconds on the coarse clock, at most {@link IDLE_RESOLUTION} behind while the table has entries. */
  get now(): number {
    return this.#now;
  }

  /** Every entry, the one that was not used for longest first; the table must not change meanwhile. */
  [Symbol.iterator](): IterableIterator<Entry> {
    return this.#entries.values();
  }

  get(key: Key): Entry | undefined {
    return this.#entries.get(key);
  }

  /** Adds an entry whose key is not in the table. */
  add(entry: Entry): void {
    const { limit, clock } = this.#options;
    if (this.#stopTimer === null) {
      this.#now = clock.now();
      this.#stopTimer = clock.every(IDLE_RESOLUTION, () => this.#tick());
    }
    if (this.#entries.size >= limit) {
      for (const oldest of this.#entries.values()) {
        this.#remove(oldest, "evicted");
        break;
      }
    }
    entry.lastUsed = this.#now;
    this.#entries.set(entry.key, entry);
  }

  /** Marks an entry of the table as used. */
  touch(entry: Entry): void {
    if (entry.lastUsed === this.#now) return;
    entry.lastUsed = this.#now;
    this.#entries.delete(entry.key);
    this.#entries.set(entry.key, entry);
  }

  /** Takes out `entry` if it is in the table. */
  remove(entry: Entry): void {
    if (this.#entries.get(entry.key) !== entry) return;
    this.#remove(entry, "removed");
    this.#stopWhenEmpty();
  }

  clear(): void {
    for (const entry of [...this.#entries.values()]) this.#remove(entry, "removed");
    this.#stopWhenEmpty();
  }

  #tick(): void {
    this.#now = this.#options.clock.now();
    for (const entry of this.#entries.values()) {
      // The last use may have been one tick later than it says.
      if (this.#now - entry.lastUsed >= entry.idleLimit + IDLE_RESOLUTION) this.#remove(entry, "idle");
    }
    this.#stopWhenEmpty();
  }

  #remove(entry: Entry, reason: "idle" | "evicted" | "removed"): void {
    this.#entries.delete(entry.key);
    this.#options.removed(entry, reason);
  }

  #stopWhenEmpty(): void {
    if (this.#entries.size > 0) return;
    this.#stopTimer?.();
    this.#stopTimer = null;
  }
}
