import { type FrameSink, giveRegion, type PacketRegion, takeRegion } from "@hostd/stack";

/** Bytes of one batch: a Unix socket takes some more than 208 KiB in one write, so larger ones would be split again. */
const BATCH_BYTES = 256 * 1024;
/** Bytes that may wait for the transport before {@link BatchWriter.reserve} refuses: a VM that stops reading. */
const MAX_QUEUED_BYTES = 4 * 1024 * 1024;
/** Batches kept for reuse: as many as can be on their way at once, or a slow reader would have each one made anew. */
const MAX_SPARE_BATCHES = Math.ceil(MAX_QUEUED_BYTES / BATCH_BYTES);

/** How a batch leaves. */
export interface BatchTransport {
  /**
   * Writes `length` bytes that begin at `offset`.
   *
   * @param written - called when the memory may be reused, if that was not so when this returned.
   * @returns whether everything was written at once, so that the memory may be reused.
   */
  write(bytes: Uint8Array, offset: number, length: number, written: () => void): boolean;
  /** Writes the prefix of a frame of `length` bytes at `offset`, in the room kept in front of each frame. */
  writePrefix(view: DataView, offset: number, length: number): void;
  /** The first frame of a batch was committed. */
  pending(): void;
  /** There is room again after a refusal. */
  writable(): void;
}

/**
 * A {@link FrameSink} that gathers frames, each behind its prefix, and hands them to a transport in few large writes.
 */
export class BatchWriter implements FrameSink {
  bytes: Uint8Array;
  view: DataView;
  readonly #transport: BatchTransport;
  readonly #prefixLength: number;
  readonly #spare: PacketRegion[] = [];
  #batch = takeRegion(BATCH_BYTES);
  #length = 0;
  #reserved = 0;
  #queuedBytes = 0;
  #refused = false;
  #closed = false;

  /** @param prefixLength - bytes of framing in front of each frame. */
  constructor(transport: BatchTransport, prefixLength: number) {
    this.#transport = transport;
    this.#prefixLength = prefixLength;
    this.bytes = this.#batch.bytes;
    this.view = this.#batch.view;
  }

  /** Bytes handed to the transport that it has not written. */
  get queuedBytes(): number {
    return this.#queuedBytes;
  }

  reserve(length: number): number {
    const needed = this.#prefixLength + length;
    if (this.#length + needed > BATCH_BYTES) {
      if (needed > BATCH_BYTES) return -1;
      this.flush();
    }
    if (this.#closed || this.#queuedBytes > MAX_QUEUED_BYTES) {
      this.#refused = true;
      return -1;
    }
    this.#reserved = length;
    return this.#batch.offset + this.#length + this.#prefixLength;
  }

  commit(length: number): void {
    if (length > this.#reserved) throw new RangeError(`commit of ${length} bytes, ${this.#reserved} were reserved`);
    this.#transport.writePrefix(this.view, this.#batch.offset + this.#length, length);
    if (this.#length === 0) this.#transport.pending();
    this.#length += this.#prefixLength + length;
    this.#reserved = 0;
  }

  /** Hands what was committed to the transport. */
  flush(): void {
    if (this.#length === 0 || this.#closed) return;
    const batch = this.#batch;
    const length = this.#length;
    this.#length = 0;
    this.#queuedBytes += length;
    const atOnce = this.#transport.write(batch.bytes, batch.offset, length, () => {
      this.#written(length);
      this.#keep(batch);
    });
    if (atOnce) {
      this.#queuedBytes -= length;
      return;
    }
    // The transport still reads from this memory.
    this.#batch = this.#spare.pop() ?? takeRegion(BATCH_BYTES);
    this.bytes = this.#batch.bytes;
    this.view = this.#batch.view;
  }

  /** Drops what is queued and refuses every frame from now on. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#length = 0;
    for (const region of this.#spare) giveRegion(region);
    this.#spare.length = 0;
    giveRegion(this.#batch);
  }

  /** Keeps the memory of a batch that has left. */
  #keep(batch: PacketRegion): void {
    if (!this.#closed && this.#spare.length < MAX_SPARE_BATCHES) this.#spare.push(batch);
    else giveRegion(batch);
  }

  #written(length: number): void {
    this.#queuedBytes -= length;
    if (this.#refused && !this.#closed && this.#queuedBytes <= MAX_QUEUED_BYTES / 2) {
      this.#refused = false;
      this.#transport.writable();
    }
  }
}
