import type { Duplex } from "node:stream";

/** Bytes that are kept of a stream while nobody may take them; beyond them it is not read. */
const MAX_HELD = 64 * 1024;

export interface HeldReaderHandlers {
  /**
   * Takes the next bytes from `start` on.
   *
   * @returns up to where they were taken: their length, unless the reader is held by then.
   */
  take(bytes: Buffer, start: number): number;
  /** The stream has come to its end, or is closed, and all that came before was taken. A close may follow an end. */
  finished(by: "end" | "close"): void;
}

/**
 * Reads a stream for somebody who at times must not take anything, for one or several reasons. Some bytes are read
 * nevertheless, so that the stream's end is noticed.
 */
export class HeldReader<Reason extends string> {
  readonly #source: Duplex;
  readonly #handlers: HeldReaderHandlers;
  readonly #reasons = new Set<Reason>();
  #queue: Buffer[] = [];
  #queued = 0;
  #finishes: ("end" | "close")[] = [];
  #isDelivering = false;
  #isDiscarding = false;

  readonly #onData = (bytes: Buffer) => this.add(bytes);
  readonly #onEnd = () => this.#finish("end");
  readonly #onClose = () => this.#finish("close");

  constructor(source: Duplex, handlers: HeldReaderHandlers) {
    this.#source = source;
    this.#handlers = handlers;
    source.on("data", this.#onData);
    source.on("end", this.#onEnd);
    source.on("close", this.#onClose);
    // Neither is told twice.
    if (source.readableEnded) this.#finishes.push("end");
    if (source.closed) this.#finishes.push("close");
    if (this.#finishes.length > 0) process.nextTick(() => this.#deliver());
  }

  get isHeld(): boolean {
    return this.#reasons.size > 0;
  }

  isHeldFor(reason: Reason): boolean {
    return this.#reasons.has(reason);
  }

  /** Whether nothing that has come is left to be taken. */
  get isEmpty(): boolean {
    return this.#queue.length === 0;
  }

  /** Whether more has come behind the bytes that are being taken. */
  get hasMore(): boolean {
    return this.#queue.length > 1;
  }

  /** Has nothing taken until the reason is released. */
  hold(reason: Reason): void {
    if (!this.#isDiscarding) this.#reasons.add(reason);
  }

  /** Has the bytes taken that have come meanwhile, unless it is held for another reason. */
  release(reason: Reason): void {
    if (this.#reasons.delete(reason)) this.#deliver();
  }

  /** Drops what is there and comes from now on, so that the stream comes to its end. Nothing is handled any more. */
  discard(): void {
    this.#isDiscarding = true;
    this.#reasons.clear();
    this.#queue = [];
    this.#queued = 0;
    this.#source.resume();
  }

  /**
   * Lets go of the stream, for somebody else to read on. Nothing is handled any more.
   *
   * @returns the bytes that were read of it and not taken.
   */
  detach(): Buffer {
    const queue = this.#queue;
    this.#source.pause();
    this.#source.off("data", this.#onData);
    this.#source.off("end", this.#onEnd);
    this.#source.off("close", this.#onClose);
    this.#isDiscarding = true;
    this.#reasons.clear();
    this.#queue = [];
    this.#finishes = [];
    return queue.length === 1 ? queue[0] : Buffer.concat(queue);
  }

  /** Puts bytes behind those that have come. */
  add(bytes: Buffer): void {
    if (this.#isDiscarding) return;
    this.#queue.push(bytes);
    this.#queued += bytes.length;
    this.#deliver();
    if (this.#queued >= MAX_HELD) this.#source.pause();
  }

  #finish(by: "end" | "close"): void {
    this.#finishes.push(by);
    this.#deliver();
  }

  #deliver(): void {
    // What is called from here may hold and release.
    if (this.#isDelivering) return;
    this.#isDelivering = true;
    while (!this.isHeld && this.#queue.length > 0) {
      const [bytes] = this.#queue;
      const taken = this.#handlers.take(bytes, 0);
      // It may have been told to discard.
      if (this.#queue[0] !== bytes) break;
      this.#queued -= taken;
      if (taken === bytes.length) this.#queue.shift();
      else this.#queue[0] = bytes.subarray(taken);
    }
    this.#isDelivering = false;
    if (this.isHeld || this.#isDiscarding) return;
    if (this.#source.isPaused()) this.#source.resume();
    while (!this.isHeld && this.#finishes.length > 0) {
      const [by] = this.#finishes.splice(0, 1);
      this.#handlers.finished(by);
    }
  }
}
