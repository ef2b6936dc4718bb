import type { FrameSink } from "@hostd/stack";

/** Bytes of one batch. A Unix socket takes about 208 KiB in one write, so larger batches would only be split again. */
const BATCH_BYTES = 192 * 1024;
/** Bytes that may wait for the transport before {@link BatchWriter.reserve} refuses: a VM that stops reading. */
const MAX_QUEUED_BYTES = 4 * 1024 * 1024;
/** Batches kept for reuse: as many as can be on their way at once, or a slow reader would have each one made anew. */
const MAX_SPARE_BATCHES = Math.ceil(MAX_QUEUED_BYTES / BATCH_BYTES);

/** How a batch leaves. */
export interface BatchTransport {
  /**
   * Writes `bytes`.
   *
   * @param written - called when the memory may be reused, if that was not so when this returned.
   * @returns whether everything was written at once, so that the memory may be reused.
   */
  write(bytes: Uint8Array, written: () => void): boolean;
  /** Writes the prefix of a frame of `length` bytes at `offset`, in the room kept in front of each frame. */
  writePrefix(view: DataView, offset: number, length: number): void;
  /** The first frame of a batch was committed. */
  pending(): void;
  /** There is room again after a refusal. */
  writable(): void;
}

class Batch {
  readonly bytes = new Uint8Array(BATCH_BYTES);
  readonly view = new DataView(this.bytes.buffer);
}

/**
 * A {@link FrameSink} that gathers frames, each behind its prefix, and hands them to a transport in few large writes.
 */
export class BatchWriter implements FrameSink {
  bytes: Uint8Array;
  view: DataView;
  readonly #transport: BatchTransport;
  readonly #prefixLength: number;
  readonly #spare: Batch[] = [];
  #batch = new Batch();
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
    return this.#length + this.#prefixLength;
  }

  commit(length: number): void {
    if (length > this.#reserved) throw new RangeError(`commit of ${length} bytes, ${this.#reserved} were reserved`);
    this.#transport.writePrefix(this.view, this.#length, length);
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
    const atOnce = this.#transport.write(batch.bytes.subarray(0, length), () => {
      this.#written(length);
      if (this.#spare.length < MAX_SPARE_BATCHES) this.#spare.push(batch);
    });
    if (atOnce) {
      this.#queuedBytes -= length;
      return;
    }
    // The transport still reads from this memory.
    this.#batch = this.#spare.pop() ?? new Batch();
    this.bytes = this.#batch.bytes;
    this.view = this.#batch.view;
  }

  /** Drops what is queued and refuses every frame from now on. */
  close(): void {
    this.#closed = true;
    this.#length = 0;
  }

  #written(length: number): void {
    this.#queuedBytes -= length;
    if (this.#refused && !this.#closed && this.#queuedBytes <= MAX_QUEUED_BYTES / 2) {
      this.#refused = false;
      this.#transport.writable();
    }
  }
}
