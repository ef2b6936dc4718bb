import type { Ipv4 } from "../address.ts";

/** What a {@link FlowTable} finds: something with a four-tuple, its ports in one number. */
export interface FlowEntry {
  readonly remoteAddress: Ipv4;
  readonly localAddress: Ipv4;
  /** The remote port in the high half, the local port in the low half, as a segment from the peer carries them. */
  readonly ports: number;
}

const INITIAL_SLOTS = 64;

/** Mixes a four-tuple into 32 bits; the multipliers are those of the murmur3 finalizer. */
function hash(remoteAddress: Ipv4, localAddress: Ipv4, ports: number, seed: number): number {
  let value = seed ^ ports;
  value = Math.imul(value ^ (value >>> 16), 0x85ebca6b);
  value = Math.imul(value ^ remoteAddress, 0xc2b2ae35);
  value = Math.imul(value ^ (value >>> 13) ^ localAddress, 0x85ebca6b);
  return value ^ (value >>> 16);
}

/**
 * Flows by four-tuple: open addressing with linear probing, keyed by numbers so that a look-up allocates nothing.
 * The seed keeps a guest from choosing four-tuples that collide.
 */
export class FlowTable<Entry extends FlowEntry> {
  readonly #seed: number;
  #slots: (Entry | null)[] = new Array(INITIAL_SLOTS).fill(null);
  #size = 0;

  constructor(seed: number) {
    this.#seed = seed;
  }

  get size(): number {
    return this.#size;
  }

  get(remoteAddress: Ipv4, localAddress: Ipv4, ports: number): Entry | null {
    const slots = this.#slots;
    const mask = slots.length - 1;
    let at = hash(remoteAddress, localAddress, ports, this.#seed) & mask;
    for (;;) {
      const entry = slots[at];
      if (entry === null) return null;
      if (entry.ports === ports && entry.remoteAddress === remoteAddress && entry.localAddress === localAddress) {
        return entry;
      }
      at = (at + 1) & mask;
    }
  }

  /** Adds an entry whose four-tuple is not in the table. */
  add(entry: Entry): void {
    if (2 * (this.#size + 1) > this.#slots.length) this.#resize(2 * this.#slots.length);
    this.#place(entry);
    this.#size++;
  }

  /** Takes an entry out; does nothing when it is not there. */
  delete(entry: Entry): void {
    const slots = this.#slots;
    const mask = slots.length - 1;
    let at = this.#home(entry) & mask;
    while (slots[at] !== entry) {
      if (slots[at] === null) return;
      at = (at + 1) & mask;
    }
    // Move back whatever probed past this slot, so that no probe meets a gap (Knuth, algorithm 6.4R).
    let gap = at;
    for (;;) {
      at = (at + 1) & mask;
      const moved = slots[at];
      if (moved === null) break;
      const home = this.#home(moved) & mask;
      if (((at - home) & mask) >= ((at - gap) & mask)) {
        slots[gap] = moved;
        gap = at;
      }
    }
    slots[gap] = null;
    this.#size--;
    if (slots.length > INITIAL_SLOTS && 8 * this.#size < slots.length) this.#resize(slots.length / 2);
  }

  /** Every entry; the table must not change meanwhile. */
  *[Symbol.iterator](): IterableIterator<Entry> {
    for (const entry of this.#slots) if (entry !== null) yield entry;
  }

  #home(entry: Entry): number {
    return hash(entry.remoteAddress, entry.localAddress, entry.ports, this.#seed);
  }

  #place(entry: Entry): void {
    const mask = this.#slots.length - 1;
    let at = this.#home(entry) & mask;
    while (this.#slots[at] !== null) at = (at + 1) & mask;
    this.#slots[at] = entry;
  }

  #resize(slots: number): void {
    const entries = this.#slots;
    this.#slots = new Array(slots).fill(null);
    for (const entry of entries) if (entry !== null) this.#place(entry);
  }
}
