/** RFC 6298 asks for 1 s; on a link without a queue Linux's 200 ms is as safe and repairs a loss sooner. */
export const MINIMUM_RTO_MS = 200;
export const MAXIMUM_RTO_MS = 60_000;
const INITIAL_RTO_MS = 1000;

/** The retransmission timeout (RFC 6298): a smoothed round trip plus four times its variation, doubled per expiry. */
export class RetransmissionTimeout {
  #smoothed = 0;
  #variation = 0;
  #base = INITIAL_RTO_MS;
  #backoff = 0;

  /** The timeout in milliseconds, with the doublings of the expiries so far. */
  get milliseconds(): number {
    return Math.min(MAXIMUM_RTO_MS, this.#base * 2 ** this.#backoff);
  }

  /** The smoothed round-trip time in milliseconds, 0 before the first sample. */
  get smoothed(): number {
    return this.#smoothed;
  }

  /** Takes in a measured round trip, never one of a retransmitted segment (Karn's algorithm, RFC 6298, 3). */
  sample(milliseconds: number): void {
    if (this.#smoothed === 0) {
      this.#smoothed = milliseconds;
      this.#variation = milliseconds / 2;
    } else {
      this.#variation = 0.75 * this.#variation + 0.25 * Math.abs(this.#smoothed - milliseconds);
      this.#smoothed = 0.875 * this.#smoothed + 0.125 * milliseconds;
    }
    this.#base = Math.min(MAXIMUM_RTO_MS, Math.max(MINIMUM_RTO_MS, this.#smoothed + 4 * this.#variation));
    this.#backoff = 0;
  }

  /** Notes that the timer expired (RFC 6298, 5.5). */
  backOff(): void {
    // Past the cap more doublings change nothing.
    if (this.#backoff < 10) this.#backoff++;
  }

  /** Forgets the doublings, which were of window probes and say nothing of the path. */
  resetBackoff(): void {
    this.#backoff = 0;
  }
}
