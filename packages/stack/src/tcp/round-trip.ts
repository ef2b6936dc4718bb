import type { Sequence } from "../sequence.ts";

/**
 * RFC 6298 asks for a timeout of 1 s at least. On a link without a queue 200 ms is as safe and repairs a loss sooner; as
 * Linux does, it is kept above the smoothed round trip, which grows with the load.
 */
export const MINIMUM_VARIATION_MS = 200;
export const MAXIMUM_RTO_MS = 60_000;
const INITIAL_RTO_MS = 1000;
/** The timeout to begin with when it turned out too short for a SYN (RFC 6298, 5.7). */
const RTO_AFTER_SYN_TIMEOUT_MS = 3000;
/** For how long the shortest round trip stands, in milliseconds; a path may become longer. */
const MINIMUM_LASTS_MS = 60_000;

/** The round-trip time of a connection and its retransmission timeout (RFC 6298). */
export class RoundTrip {
  /** Whether there has been a sample. */
  isKnown = false;
  /** The smoothed round-trip time in milliseconds, 0 before the first sample. */
  smoothed = 0;
  /** The shortest round trip of the last minute or two, in milliseconds; Infinity before the first sample. */
  minimum = Number.POSITIVE_INFINITY;
  /** The shortest round trip there ever was, in milliseconds; 0 before the first sample. */
  lowest = 0;
  /** The sequence number whose acknowledgment ends the round trip being counted. */
  roundEnd: Sequence = 0;
  #variation = 0;
  #base = INITIAL_RTO_MS;
  #backoff = 0;
  #recentMinimum = Number.POSITIVE_INFINITY;
  #recentSince = 0;

  /** The timeout in milliseconds, with the doublings of the expiries so far. */
  get timeout(): number {
    return Math.min(MAXIMUM_RTO_MS, this.#base * 2 ** this.#backoff);
  }

  /** The timeout in milliseconds before any doubling. */
  get base(): number {
    return this.#base;
  }

  /** Takes in a measured round trip, never one of a retransmitted segment (Karn's algorithm, RFC 6298, 3). */
  sample(milliseconds: number, now: number): void {
    if (!this.isKnown) {
      this.isKnown = true;
      this.lowest = milliseconds;
      this.smoothed = milliseconds;
      this.#variation = milliseconds / 2;
    } else {
      this.#variation = 0.75 * this.#variation + 0.25 * Math.abs(this.smoothed - milliseconds);
      this.smoothed = 0.875 * this.smoothed + 0.125 * milliseconds;
    }
    this.#base = Math.min(MAXIMUM_RTO_MS, this.smoothed + Math.max(MINIMUM_VARIATION_MS, 4 * this.#variation));
    this.#backoff = 0;
    this.observeMinimum(milliseconds, now);
  }

  /** Takes in a round trip for the shortest one alone. */
  observeMinimum(milliseconds: number, now: number): void {
    if (now - this.#recentSince > MINIMUM_LASTS_MS) {
      this.minimum = this.#recentMinimum;
      this.#recentMinimum = Number.POSITIVE_INFINITY;
      this.#recentSince = now;
    }
    if (milliseconds < this.#recentMinimum) this.#recentMinimum = milliseconds;
    if (milliseconds < this.minimum) this.minimum = milliseconds;
    if (milliseconds < this.lowest) this.lowest = milliseconds;
  }

  /** Notes that the timer expired (RFC 6298, 5.5). */
  backOff(): void {
    // Past the cap more doublings change nothing.
    if (this.#backoff < 10) this.#backoff++;
  }

  /** A SYN had to be sent again. Without a sample since, a longer timeout is begun with. */
  synTimedOut(): void {
    if (this.isKnown) return;
    this.#base = RTO_AFTER_SYN_TIMEOUT_MS;
    this.#backoff = 0;
  }

  /** The timeout turned out spurious: its doubling says nothing of the path. */
  undoBackOff(): void {
    this.#backoff = 0;
  }
}
