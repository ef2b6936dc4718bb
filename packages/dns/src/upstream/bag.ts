/** What is in a {@link Bag} knows its place there. */
export interface BagItem {
  /** Used by the bag alone; any number before it is added. */
  bagIndex: number;
}

/**
 * Objects that come and go quickly, in no order, and that are gone through as often. Why not in a `Set`, which its
 * tables make costly, the stack's `LinkedList` tells; this is its like for what has no order.
 */
export class Bag<Item extends BagItem> {
  readonly #items: Item[] = [];

  get size(): number {
    return this.#items.length;
  }

  /** Adds an item that is in no bag. */
  add(item: Item): void {
    item.bagIndex = this.#items.push(item) - 1;
  }

  has(item: Item): boolean {
    return this.#items[item.bagIndex] === item;
  }

  /** Takes an item out; one that is not in the bag is left alone. */
  remove(item: Item): void {
    if (!this.has(item)) return;
    const last = this.#items.pop();
    if (last === undefined || last === item) return;
    this.#items[item.bagIndex] = last;
    last.bagIndex = item.bagIndex;
  }

  /** What is in the bag, until that changes. */
  get items(): readonly Item[] {
    return this.#items;
  }

  /** What is in the bag now, for going through it while that changes. */
  snapshot(): Item[] {
    return this.#items.slice();
  }
}
