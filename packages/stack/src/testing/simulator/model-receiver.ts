import { patternByte, type Random } from "../random.ts";
import { ByteRanges } from "./byte-ranges.ts";
import type { Pace } from "./transfer.ts";

export interface ModelReceiverOptions {
  /** Bytes of its buffer. */
  readonly buffer: number;
  /** How its owner reads; at once when absent. */
  readonly reads?: Pace;
  /** Whether it leaves every other segment without an acknowledgment of its own. */
  readonly delaysAcknowledgments?: boolean;
  /** Whether its buffer is now and then smaller, so that the right edge of its window moves back. */
  readonly shrinks?: boolean;
  /** Whether it now and then forgets data that it has received out of order (RFC 2018, 8). */
  readonly reneges?: boolean;
}

const DELAYED_ACK_MS = 40;
const NEVER = Number.POSITIVE_INFINITY;

/**
 * The receiving half of a {@link ModelPeer}: which bytes it has, how many more it takes, and when it acknowledges. It
 * checks that they are the pattern stream. Numbers are relative, the SYN being 0.
 */
export class ModelReceiver {
  /** Where the stream ends, once a FIN told. */
  finAt = NEVER;
  /** When an acknowledgment is due; whoever sends one sets it to Infinity. */
  acknowledgeAt = NEVER;
  /** When its owner reads next. */
  readAt = NEVER;
  readonly #options: ModelReceiverOptions;
  readonly #random: Random;
  readonly #received = new ByteRanges();
  #latest = 0;
  #read = 1;
  #shrunkBy = 0;

  constructor(options: ModelReceiverOptions, random: Random) {
    this.#options = options;
    this.#random = random;
    this.#received.add(0, 1);
  }

  /** The next sequence number that it waits for. */
  get next(): number {
    return this.#received.endOfRunFrom(0);
  }

  /** Whether it has the whole stream. */
  get isComplete(): boolean {
    return this.next > this.finAt;
  }

  /** Bytes that it takes beyond {@link next}. */
  get window(): number {
    return Math.max(0, this.#limit - this.next);
  }

  get #limit(): number {
    return this.#read + this.#options.buffer - this.#shrunkBy;
  }

  /** Takes in a segment at `sequence`. */
  receive(sequence: number, payload: Uint8Array, hasFin: boolean, now: number): void {
    const { reads, reneges, delaysAcknowledgments = false } = this.#options;
    const before = this.next;
    // An acknowledgment asks for none, but one from before the window may be a keep-alive.
    if (payload.length === 0 && !hasFin && sequence >= before) return;

    const from = Math.max(sequence, before);
    const to = Math.min(sequence + payload.length, this.#limit);
    for (let at = from; at < to; at++) {
      if (payload[at - sequence] !== patternByte(at - 1))
        throw new Error(`the byte at ${at - 1} of the stream is wrong`);
    }
    this.#received.add(from, to);
    if (from < to) this.#latest = from;
    if (hasFin && sequence + payload.length <= this.#limit) {
      this.finAt = sequence + payload.length;
      this.#received.add(this.finAt, this.finAt + 1);
    }
    const isInOrder = sequence === before && from < to && this.next === to;
    if (reneges && !isInOrder && this.#random.oneIn(20)) this.#received.truncate(this.next);
    // The first of two segments in order may wait for the second; the timer that it finds running is the first one's.
    const waits = isInOrder && delaysAcknowledgments && this.acknowledgeAt === NEVER;
    this.acknowledgeAt = waits ? now + DELAYED_ACK_MS : now;
    if (this.next === before) return;
    if (reads === undefined) this.#read = this.next;
    else if (this.readAt === NEVER) this.readAt = now + reads.every;
  }

  /** Its owner reads, and the peer is told of the window as long as it may send. */
  read(now: number): void {
    const { reads, buffer, shrinks } = this.#options;
    if (reads === undefined) return;
    this.#read = Math.min(this.next, this.#read + reads.bytes);
    this.readAt = this.#read < this.next ? now + reads.every : NEVER;
    this.#shrunkBy = shrinks && this.readAt !== NEVER && this.#random.oneIn(4) ? this.#random.below(buffer) : 0;
    if (!this.isComplete) this.acknowledgeAt = now;
  }

  /** What it has beyond {@link next}: at most `count` ranges, the one of the latest segment first (RFC 2018, 4). */
  blocks(count: number): [from: number, to: number][] {
    const { next } = this;
    const blocks = [...this.#received].filter(([from]) => from > next);
    const latest = blocks.findIndex(([from, to]) => from <= this.#latest && this.#latest < to);
    if (latest > 0) blocks.unshift(...blocks.splice(latest, 1));
    return blocks.slice(0, count);
  }
}
