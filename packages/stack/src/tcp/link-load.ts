import type { TcpConnection } from "./connection.ts";

/** A flow may always have two frames in flight, so that each makes progress however many share the link. */
const FLOOR = 2;
/** What flows may take by what is free is so much less than the ring, in eighths of it: room for the floors. */
const SHARED_EIGHTHS = 7;
/** A flow may have so many times as much in flight as is free: so flows that share the ring come to equal parts. */
const SHARE_OF_FREE = 8;
/** A round trip that no queue on the link itself explains, in milliseconds: the frames wait somewhere behind it. */
const LONG_ROUND_TRIP_MS = 5;
/** How much faster than a window per round trip a far-away flow may be, in slow start and after (as Linux has it). */
const SLOW_START_GAIN = 2;
const AVOIDANCE_GAIN = 1.2;
/** What a paced flow may send at once: so many segments, or what is due in so many milliseconds. */
const BURST_SEGMENTS = 10;
const BURST_MS = 2;

/**
 * What is in flight on the link, against what the peer's network card can hold.
 *
 * The guest's receive ring has room for some hundred frames. Where the transport does not push back when it is full, a
 * burst beyond it is lost, and a window of some megabytes is such a burst. On the link itself nothing is under way for
 * long: what is not acknowledged is in the ring or was just taken out of it. So the frames in flight, of all flows
 * together, are kept to the ring's size. How much of it one flow may take follows what is free (the dynamic threshold of
 * shared-memory switches: Choudhury and Hahne 1998), so that one that stops acknowledging keeps no more than it had.
 * An eighth of the ring is kept for newcomers: each may have two frames in flight, however full it is. So with up to 16
 * flows and a ring of 256 never more is in flight than the ring holds, and beyond that two frames for each flow.
 *
 * A peer behind the guest, with a long way to it, has its frames elsewhere. Its flows are not counted. They are paced,
 * for the sake of the ring and of the queues on their way.
 */
export class LinkLoad {
  /** Segments in flight, of all flows that count. */
  frames = 0;
  readonly #ring: number;
  readonly #shared: number;

  /** @param ring - frames that the peer's receive ring holds. */
  constructor(ring: number) {
    this.#ring = ring;
    this.#shared = Math.floor((ring * SHARED_EIGHTHS) / 8);
  }

  /**
   * Decides, from the shortest round trip a connection ever had, whether its frames count on the link. While the link
   * itself is full a long round trip says nothing of what is behind it.
   */
  classify(connection: TcpConnection): void {
    const isFarAway = connection.roundTrip.lowest > LONG_ROUND_TRIP_MS;
    if (isFarAway === connection.isFarAway || (isFarAway && this.frames > this.#ring >> 2)) return;
    connection.isFarAway = isFarAway;
    connection.sent.countOn(isFarAway ? null : this);
  }

  /**
   * Whether a connection may put one more frame on the link now. A far-away one that may not has
   * {@link TcpConnection.paceAt} set to when it may.
   */
  admits(connection: TcpConnection, now: number): boolean {
    if (connection.isFarAway) return this.#isPaced(connection, now);
    const share = SHARE_OF_FREE * (this.#shared - this.frames);
    return connection.sent.segmentsInFlight < Math.max(share, FLOOR);
  }

  /** A bucket that fills by the congestion window per round trip. */
  #isPaced(connection: TcpConnection, now: number): boolean {
    const { congestion, roundTrip, maximumSegment } = connection;
    const gain = congestion.window < congestion.threshold ? SLOW_START_GAIN : AVOIDANCE_GAIN;
    const rate = (gain * congestion.window) / Math.max(roundTrip.smoothed, LONG_ROUND_TRIP_MS);
    const burst = Math.min(
      Math.max(BURST_SEGMENTS * maximumSegment, BURST_MS * rate),
      (this.#ring >> 1) * maximumSegment,
    );
    connection.paceTokens = Math.min(burst, connection.paceTokens + (now - connection.pacedAt) * rate);
    connection.pacedAt = now;
    if (connection.paceTokens > 0) {
      connection.paceTokens -= maximumSegment;
      return true;
    }
    connection.paceAt = now + Math.max(1, -connection.paceTokens / rate);
    return false;
  }
}
