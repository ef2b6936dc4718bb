/**
 * Proportional rate reduction (RFC 6937): in a recovery what may be sent follows what arrives, so that the window comes
 * down to the threshold over a round trip and not at once.
 */
export class RateReduction {
  /** Bytes that were outstanding when the recovery began. */
  #flight = 0;
  /** Bytes that have arrived since. */
  #delivered = 0;
  /** Bytes that were sent since, old and new. */
  #sent = 0;

  begin(flight: number): void {
    this.#flight = flight;
    this.#delivered = 0;
    this.#sent = 0;
  }

  sent(bytes: number): void {
    this.#sent += bytes;
  }

  /**
   * The congestion window after an acknowledgment (RFC 6937, 3).
   *
   * @param delivered - bytes that it told of.
   * @param isSafe - it moved the edge forward without showing another loss, so that slow start may go on (RFC 9937).
   * @param isUrgent - a segment is to be sent again whatever the window (RFC 6582, 3.2, step 3).
   */
  window(
    delivered: number,
    inFlight: number,
    threshold: number,
    segment: number,
    isSafe: boolean,
    isUrgent: boolean,
  ): number {
    this.#delivered += delivered;
    let room: number;
    if (inFlight > threshold) {
      room = Math.ceil((this.#delivered * threshold) / this.#flight) - this.#sent;
    } else {
      const limit = Math.max(this.#delivered - this.#sent, delivered) + (isSafe ? segment : 0);
      room = Math.min(threshold - inFlight, limit);
    }
    // The first retransmission goes at once.
    if (this.#sent === 0 || isUrgent) room = Math.max(room, segment);
    return inFlight + Math.max(0, room);
  }
}
