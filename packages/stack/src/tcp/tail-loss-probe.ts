import { type Sequence, sequenceBefore } from "../sequence.ts";

/** What a receiver may let an acknowledgment of a single segment wait, in milliseconds (RFC 8985, 7.2). */
const DELAYED_ACK_MS = 200;
/** The shortest probe timeout, in milliseconds: a pause of either side's scheduler is no loss. */
const MINIMUM_MS = 10;
/** The same while nothing was ever lost: some receivers let any acknowledgment wait for 40 ms when they do not read. */
const CLEAN_MINIMUM_MS = 50;

/**
 * The tail loss probe (RFC 8985, 7): when acknowledgments stop coming, the last segment is sent again well before the
 * retransmission timeout, so that the acknowledgment it draws shows what was lost before it.
 */
export class TailLossProbe {
  /** A probe was sent, and what it led to is not known yet. */
  isOutstanding = false;
  /** The probe is to be sent as soon as the link takes it. */
  isDue = false;
  #end: Sequence = 0;
  #isRetransmission = false;

  /**
   * How long to wait for an acknowledgment before probing, in milliseconds (RFC 8985, 7.2).
   *
   * @param isClean - nothing was ever lost on this connection.
   */
  timeout(smoothed: number, segmentsInFlight: number, isClean: boolean): number {
    const shortest = isClean ? CLEAN_MINIMUM_MS : MINIMUM_MS;
    return Math.max(2 * smoothed, shortest) + (segmentsInFlight === 1 ? DELAYED_ACK_MS : 0);
  }

  /** Notes that the probe was sent, and ends at `end`. */
  sent(end: Sequence, isRetransmission: boolean): void {
    this.isDue = false;
    this.isOutstanding = true;
    this.#end = end;
    this.#isRetransmission = isRetransmission;
  }

  /**
   * Takes in an acknowledgment (RFC 8985, 7.4.2).
   *
   * @returns whether it shows that the probe made good for a loss, which the congestion control has to hear of.
   */
  acknowledged(acknowledgment: Sequence, isDuplicate: boolean, reportsDuplicate: boolean): boolean {
    if (!this.isOutstanding || sequenceBefore(acknowledgment, this.#end)) return false;
    if (!this.#isRetransmission || reportsDuplicate) {
      this.isOutstanding = false;
      return false;
    }
    if (acknowledgment !== this.#end) {
      this.isOutstanding = false;
      return true;
    }
    // The original and the probe have both arrived, at a peer that does not report it.
    if (isDuplicate) this.isOutstanding = false;
    return false;
  }

  /** The segments in flight are taken care of by a recovery, or gone. */
  cancel(): void {
    this.isOutstanding = false;
    this.isDue = false;
  }
}
