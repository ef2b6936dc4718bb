/** Memory for bytes on their way between a flow and a socket. */
export class Slab {
  readonly buffer: Buffer;
  /** Where the bytes begin. */
  start = 0;
  /** Where the bytes end. */
  end = 0;
  /** The slab with the bytes that follow. */
  next: Slab | null = null;

  constructor(size: number) {
    // Not a part of Node's shared pool, which would be kept alive as a whole.
    this.buffer = Buffer.allocUnsafeSlow(size);
  }

  get size(): number {
    return this.buffer.length;
  }
}

const KIB = 1024;

/**
 * The sizes of slabs in bytes: a few segments of an interactive flow, of which there can be many; a batch of frames;
 * and what one write of a bulk transfer should carry.
 */
export const SLAB_SIZES: readonly number[] = [4 * KIB, 64 * KIB, 256 * KIB];
export const SMALLEST_SLAB = SLAB_SIZES[0];
export const LARGEST_SLAB = SLAB_SIZES[SLAB_SIZES.length - 1];

/** How many bytes of free slabs of each size are kept. */
const RETAINED_BYTES = 4 * KIB * KIB;

/** Slabs of a few sizes, kept for reuse, with a limit on the memory handed out. */
export class SlabPool {
  readonly #limit: number;
  /** The free slabs of each size. */
  readonly #free: readonly Slab[][] = SLAB_SIZES.map(() => []);
  #used = 0;

  /** @param limit how many bytes of slabs may be in use at once. */
  constructor(limit: number) {
    this.#limit = limit;
  }

  /** Bytes of slabs in use. */
  get used(): number {
    return this.#used;
  }

  /** An empty slab for `length` bytes, which may be more than the largest size; null at the limit. */
  take(length: number): Slab | null {
    let index = 0;
    while (index < SLAB_SIZES.length && SLAB_SIZES[index] < length) index++;
    const size = index < SLAB_SIZES.length ? SLAB_SIZES[index] : length;
    if (this.#used + size > this.#limit) return null;
    this.#used += size;
    return (index < SLAB_SIZES.length ? this.#free[index].pop() : undefined) ?? new Slab(size);
  }

  /** Takes a slab back. Nothing may refer to its memory any more. */
  release(slab: Slab): void {
    this.#used -= slab.size;
    slab.start = 0;
    slab.end = 0;
    slab.next = null;
    const index = SLAB_SIZES.indexOf(slab.size);
    if (index >= 0 && this.#free[index].length * slab.size < RETAINED_BYTES) this.#free[index].push(slab);
  }
}
