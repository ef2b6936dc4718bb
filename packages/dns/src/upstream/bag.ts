/** What is in a {@link Bag} knows its place there. */
export interface BagItem {
  /** Used by the bag alone; any number before it is added. */
  bagIndex: number;
}

/**
 * Objects that come and go quickly, in no order. A `Set` or `Map` would do as well but for V8's garbage collection: the
 * tables through which it goes refer each to the next, so that once one of them is old, the later ones and all that was
 * in them stay until the next full collection.
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
