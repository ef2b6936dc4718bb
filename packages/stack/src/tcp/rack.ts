import { type Sequence, sequenceAfter, sequenceBefore } from "../sequence.ts";

/** Recoveries without a D-SACK after which a widened reordering window falls back (RFC 8985, 6.2, step 4). */
const PERSISTENCE = 16;

/**
 * The state of RACK (RFC 8985, 5 and 6): which of the segments that have arrived was sent last, and how much later than
 * that one a segment may arrive without being lost.
 */
export class Rack {
  /** When the latest of the delivered segments was sent; -1 before the first. */
  #sentAt = -1;
  #end: Sequence = 0;
  /** The round trip of that segment in milliseconds. */
  roundTrip = 0;
  /** The highest sequence number that has arrived. */
  #forwardAcknowledgment: Sequence = 0;
  reorderingSeen = false;
  #multiplier = 1;
  #persist = PERSISTENCE;
  /** When a D-SACK last widened the window: they do so once per round trip. */
  #widenedAt = Number.NEGATIVE_INFINITY;
  /** When the segment was sent that drew the acknowledgment, by its echoed timestamp, to a millisecond. */
  echoedAt = Number.POSITIVE_INFINITY;
  /** The shortest round trip known; whoever feeds {@link delivered} keeps it. */
  minimumRoundTrip = Number.POSITIVE_INFINITY;

  /** Sets where the sequence numbers start. */
  start(sequence: Sequence): void {
    this.#forwardAcknowledgment = sequence;
    this.#end = sequence;
  }

  /** Takes in a segment that has arrived, sent at `sentAt` (RFC 8985, 6.2, steps 1 to 3). */
  delivered(sentAt: number, end: Sequence, retransmitted: boolean, now: number): void {
    if (sequenceAfter(end, this.#forwardAcknowledgment)) this.#forwardAcknowledgment = end;
    else if (!retransmitted && sequenceBefore(end, this.#forwardAcknowledgment)) this.reorderingSeen = true;
    const roundTrip = now - sentAt;
    // Sooner than any round trip takes, or by the echo of an earlier time: it was the first copy that arrived.
    if (retransmitted && (roundTrip < this.minimumRoundTrip || this.echoedAt < sentAt - 1)) return;
    this.roundTrip = roundTrip;
    if (this.isSentAfter(sentAt, end)) return;
    this.#sentAt = sentAt;
    this.#end = end;
  }

  /** Whether the latest delivered segment was sent after one that was sent at `sentAt` and ends at `end`. */
  isSentAfter(sentAt: number, end: Sequence): boolean {
    return this.#sentAt > sentAt || (this.#sentAt === sentAt && sequenceAfter(this.#end, end));
  }

  /**
   * The reordering window in milliseconds (RFC 8985, 6.2, step 4).
   *
   * @param isUrgent - in recovery, or with as many segments selectively acknowledged as would begin one.
   * @param smoothed - the smoothed round trip.
   */
  reorderingWindow(isUrgent: boolean, smoothed: number): number {
    if (!this.reorderingSeen && isUrgent) return 0;
    return Math.min((this.#multiplier * this.minimumRoundTrip) / 4, smoothed);
  }

  /** A D-SACK has shown a retransmission that was not needed. */
  spurious(smoothed: number, now: number): void {
    if (now - this.#widenedAt < smoothed) return;
    this.#widenedAt = now;
    this.#multiplier = Math.min(this.#multiplier + 1, 255);
    this.#persist = PERSISTENCE;
  }

  /** A recovery has ended. */
  recovered(): void {
    if (--this.#persist > 0) return;
    this.#persist = PERSISTENCE;
    this.#multiplier = 1;
  }
}
