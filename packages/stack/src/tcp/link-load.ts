import type { TcpConnection } from "./connection.ts";

/** A flow may always have this many frames in flight, so that each makes progress however many share the link. */
const SMALLEST_SHARE = 10;
/** A flow may have so many times as much in flight as is free: so flows that share the ring come to equal parts. */
const SHARE_OF_FREE = 8;
/** A round trip that no queue on the link itself explains, in milliseconds: the frames wait somewhere behind it. */
const LONG_ROUND_TRIP_MS = 5;

/**
 * What is in flight on the link, against what the peer's network card can hold.
 *
 * The guest's receive ring has room for some hundred frames. Where the transport does not push back when it is full, a
 * burst beyond it is lost, and a window of some megabytes is such a burst. On the link itself nothing is under way for
 * long: what is not acknowledged is in the ring or was just taken out of it. So the frames in flight, of all flows
 * together, are kept to the ring's size. How much of it one flow may take follows what is free (the dynamic threshold of
 * shared-memory switches: Choudhury and Hahne 1998), so that one that stops acknowledging keeps no more than it had.
 *
 * A peer behind the guest, with a long way to it, has its frames elsewhere. Its flows are not counted, and only kept
 * from bursts: half a ring per millisecond.
 */
export class LinkLoad {
  /** Segments in flight, of all flows that count. */
  frames = 0;
  readonly #ring: number;

  /** @param ring - frames that the peer's receive ring holds. */
  constructor(ring: number) {
    this.#ring = ring;
  }

  /** Decides, from the shortest round trip of a connection, whether its frames count on the link. */
  classify(connection: TcpConnection): void {
    connection.sent.countOn(connection.roundTrip.minimum > LONG_ROUND_TRIP_MS ? null : this);
    connection.isFarAway = connection.roundTrip.minimum > LONG_ROUND_TRIP_MS;
  }

  /** Whether a connection may put one more frame on the link now. */
  admits(connection: TcpConnection, now: number): boolean {
    if (!connection.isFarAway) {
      const share = SHARE_OF_FREE * (this.#ring - this.frames);
      return connection.sent.segmentsInFlight < Math.max(share, SMALLEST_SHARE);
    }
    if (now - connection.burstAt >= 1) {
      connection.burstAt = now;
      connection.burstFrames = 0;
    }
    return ++connection.burstFrames <= this.#ring >> 1;
  }
}
