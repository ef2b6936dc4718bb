/** Beyond any buffer of ours, growth would only be forgotten more slowly after a loss. */
const MAXIMUM_WINDOW = 16 * 1024 * 1024;

/**
 * Congestion control: Reno (RFC 5681) with the NewReno recovery (RFC 6582) and an initial window of ten segments
 * (RFC 6928).
 */
export class NewReno {
  /** The congestion window in bytes. */
  window: number;
  #threshold = Number.POSITIVE_INFINITY;
  readonly #segment: number;

  /** @param segment - the sender's maximum segment size in bytes. */
  constructor(segment: number) {
    this.#segment = segment;
    this.window = Math.min(10 * segment, Math.max(2 * segment, 14600));
  }

  /** New data was acknowledged outside of recovery (RFC 5681, 3.1, with appropriate byte counting of RFC 3465). */
  acknowledged(bytes: number): void {
    if (this.window >= MAXIMUM_WINDOW) return;
    if (this.window < this.#threshold) {
      this.window += Math.min(bytes, 2 * this.#segment);
    } else {
      this.window += Math.max(1, Math.floor((this.#segment * Math.min(bytes, this.#segment)) / this.window));
    }
  }

  /** The third duplicate acknowledgment (RFC 5681, 3.2, steps 2 and 3). */
  enterRecovery(inFlight: number): void {
    this.#threshold = Math.max(Math.floor(inFlight / 2), 2 * this.#segment);
    this.window = this.#threshold + 3 * this.#segment;
  }

  /** One more duplicate during recovery: a segment has left the network (RFC 5681, 3.2, step 4). */
  inflate(): void {
    this.window += this.#segment;
  }

  /** An acknowledgment in recovery that leaves data of before it outstanding (RFC 6582, 3.2, step 3). */
  partialAcknowledgment(bytes: number): void {
    this.window = Math.max(this.#segment, this.window - bytes + (bytes >= this.#segment ? this.#segment : 0));
  }

  /** Everything that was outstanding when recovery began has been acknowledged. */
  leaveRecovery(): void {
    this.window = Math.max(2 * this.#segment, this.#threshold);
  }

  /** The retransmission timer expired (RFC 5681, 3.1): back to one segment. */
  timedOut(inFlight: number): void {
    this.#threshold = Math.max(Math.floor(inFlight / 2), 2 * this.#segment);
    this.window = this.#segment;
  }

  /** The sender was idle for longer than a timeout: what the window said of the path is old (RFC 5681, 4.1). */
  restartAfterIdle(): void {
    this.window = Math.min(this.window, 10 * this.#segment);
  }
}
