import { type FrameSink, Stack, type StackOptions } from "@hostd/stack";
import type { FrameConsumer, FramePort } from "./port.ts";

/** Sees every frame of a link: a capture. */
export interface FrameTap {
  frame(bytes: Uint8Array, offset: number, length: number): void;
  /** A turn is over: what was seen may be written out. */
  flush(): void;
}

export interface DriverOptions {
  readonly port: FramePort;
  /** Everything of {@link StackOptions} that does not depend on the event loop. */
  readonly stack: Omit<StackOptions, "now" | "randomBytes" | "wake">;
  /** Called after each batch of frames, before the stack sends: flows write what the batch brought them. */
  readonly endBatch?: () => void;
  /** The VM is gone and every connection has been ended. */
  readonly closed?: (fault: string | null) => void;
}

/**
 * Drives a {@link Stack} on a link: gives it the time and randomness, hands it frames, lets it send at the end of each
 * turn of the event loop in which something happened, and calls it when it is due.
 */
export class StackDriver implements FrameConsumer {
  readonly stack: Stack;
  readonly #port: FramePort;
  readonly #options: DriverOptions;
  readonly #turn = () => {
    this.#turnScheduled = false;
    this.#finishTurn();
  };
  /**
   * The stack is due. Timers run before input is read, so after a pause of the process acknowledgments that have already
   * arrived would count as lost: the stack is called once that input has been handed over.
   */
  readonly #due = () => {
    // Until then this timer counts as set for every deadline: one that is set beside it would be forgotten.
    this.#timerAt = Number.NEGATIVE_INFINITY;
    setImmediate(() => {
      this.#timer = null;
      if (this.#closed) return;
      this.#now = performance.now();
      this.stack.poll();
      this.#finishTurn();
    });
  };
  #turnScheduled = false;
  /** The time that the stack is told: read once for each batch of frames and each turn, as reading it takes a while. */
  #now = performance.now();
  /** Frames of one read are being handed over; the turn ends after them, so nothing needs to be scheduled. */
  #inBatch = false;
  #timer: NodeJS.Timeout | null = null;
  #timerAt = Number.POSITIVE_INFINITY;
  #closed = false;
  #tap: FrameTap | undefined;

  constructor(options: DriverOptions) {
    this.#options = options;
    this.#port = options.port;
    this.stack = new Stack({
      ...options.stack,
      now: () => this.#now,
      randomBytes: (bytes) => {
        crypto.getRandomValues(bytes as Uint8Array<ArrayBuffer>);
      },
      wake: () => this.#wake(),
    });
    this.stack.attach(options.port);
    options.port.start(this);
    this.#arm();
  }

  /** Who sees the frames of both directions. Set and taken away at any time; while there is none, it costs nothing. */
  get tap(): FrameTap | undefined {
    return this.#tap;
  }

  set tap(tap: FrameTap | undefined) {
    if (this.#closed) return;
    // The turn that is going on will end without it.
    this.#tap?.flush();
    this.#tap = tap;
    this.stack.attach(tap === undefined ? this.#port : new TappedSink(this.#port, tap));
  }

  receiveFrame(bytes: Uint8Array, view: DataView, offset: number, length: number): void {
    if (!this.#inBatch) this.#now = performance.now();
    this.#inBatch = true;
    this.#tap?.frame(bytes, offset, length);
    this.stack.receiveFrame(bytes, view, offset, length);
  }

  endBatch(): void {
    this.#options.endBatch?.();
    this.#inBatch = false;
    this.#finishTurn();
  }

  pending(): void {
    this.#wake();
  }

  writable(): void {
    this.#finishTurn();
  }

  closed(fault: string | null): void {
    if (this.#closed) return;
    this.#closed = true;
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    this.stack.detach();
    this.#tap?.flush();
    this.#options.closed?.(fault);
  }

  /** Resets every connection and closes the link. */
  close(): void {
    if (this.#closed) return;
    this.stack.tcp.abortAll();
    this.stack.flush();
    this.#port.flush();
    this.#port.close();
  }

  /** Closes the link without a word to the peer, as a machine does that loses its power. */
  vanish(): void {
    if (!this.#closed) this.#port.close();
  }

  #wake(): void {
    if (this.#turnScheduled || this.#inBatch || this.#closed) return;
    this.#turnScheduled = true;
    setImmediate(this.#turn);
  }

  #finishTurn(): void {
    if (this.#closed) return;
    this.#now = performance.now();
    this.stack.flush();
    this.#port.flush();
    this.#tap?.flush();
    this.#arm();
  }

  /** One timer serves every flow: it is set again only when the stack is due earlier than it. */
  #arm(): void {
    const deadline = this.stack.nextDeadline;
    if (this.#timer !== null) {
      if (this.#timerAt <= deadline) return;
      clearTimeout(this.#timer);
    }
    this.#timerAt = deadline;
    const delay = Math.max(1, Math.min(deadline - this.#now, 60_000));
    this.#timer = setTimeout(this.#due, delay);
    this.#timer.unref();
  }
}

/** Shows each committed frame to a tap on its way into the link. */
class TappedSink implements FrameSink {
  readonly #sink: FrameSink;
  readonly #tap: FrameTap;
  #offset = 0;

  constructor(sink: FrameSink, tap: FrameTap) {
    this.#sink = sink;
    this.#tap = tap;
  }

  get bytes(): Uint8Array {
    return this.#sink.bytes;
  }

  get view(): DataView {
    return this.#sink.view;
  }

  reserve(length: number): number {
    this.#offset = this.#sink.reserve(length);
    return this.#offset;
  }

  commit(length: number): void {
    this.#tap.frame(this.#sink.bytes, this.#offset, length);
    this.#sink.commit(length);
  }
}
