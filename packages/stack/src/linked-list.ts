/** A place in a {@link LinkedList}. */
export class ListEntry<Item> {
  readonly item: Item;
  /** Of the list alone, as are the two below; null once the entry has left. */
  list: LinkedList<Item> | null;
  previous: ListEntry<Item> | null;
  next: ListEntry<Item> | null = null;

  /** For {@link LinkedList.add}. */
  constructor(item: Item, list: LinkedList<Item>, previous: ListEntry<Item> | null) {
    this.item = item;
    this.list = list;
    this.previous = previous;
  }

  /** Takes the item out of the list; does nothing when it is out. */
  leave(): void {
    this.list?.remove(this);
  }
}

/**
 * Things that come and go quickly, in the order in which they came.
 *
 * A `Set` or `Map` would do as well but for V8's garbage collection: the tables through which it goes refer each to the
 * next. Once one of them is old, the later ones stay until the next full collection, and so does everything that was in
 * them at the time. What has left this list refers to nothing of it any more.
 */
export class LinkedList<Item> {
  #first: ListEntry<Item> | null = null;
  #last: ListEntry<Item> | null = null;
  #size = 0;

  get size(): number {
    return this.#size;
  }

  /** The item that is in it for longest; undefined when it is empty. */
  get first(): Item | undefined {
    return this.#first?.item;
  }

  /** Adds an item at the end, and gives its place, by which alone it is taken out again. */
  add(item: Item): ListEntry<Item> {
    const entry = new ListEntry(item, this, this.#last);
    if (this.#last === null) this.#first = entry;
    else this.#last.next = entry;
    this.#last = entry;
    this.#size++;
    return entry;
  }

  /** Takes out the item that is in it for longest; undefined when it is empty. */
  shift(): Item | undefined {
    const first = this.#first;
    first?.leave();
    return first?.item;
  }

  /** Takes out the item at a place; does nothing when that is not in this list. */
  remove(entry: ListEntry<Item>): void {
    if (entry.list !== this) return;
    const { previous, next } = entry;
    if (previous === null) this.#first = next;
    else previous.next = next;
    if (next === null) this.#last = previous;
    else next.previous = previous;
    entry.list = null;
    entry.previous = null;
    entry.next = null;
    this.#size--;
  }

  /** The items, the oldest first. The list must not change meanwhile; `[...list]` may be gone through while it does. */
  *[Symbol.iterator](): Generator<Item, void, void> {
    for (let entry = this.#first; entry !== null; entry = entry.next) yield entry.item;
  }
}
