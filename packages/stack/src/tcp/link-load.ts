import { State, type TcpConnection } from "./connection.ts";

/** What a flow may always have in flight while few share the link, and one that sends little while many do. */
const FLOOR = 2;
/** What a flow may have in flight after its turn, when so many share the link that they take turns: this part of the ring. */
const TURN_PART = 16;
/** What flows may take by what is free is so much less than the ring, in eighths of it: room for the floors. */
const SHARED_EIGHTHS = 7;
/** A flow may have so many times as much in flight as is free: so flows that share the ring come to equal parts. */
const SHARE_OF_FREE = 8;
/** A round trip that no queue on the link itself explains, in milliseconds: the frames wait somewhere behind it. */
export const LONG_ROUND_TRIP_MS = 5;
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
 * An eighth of the ring is kept for newcomers: each may have two frames in flight, however full it is. So with the few flows
 * that share it this way never more is in flight than the ring holds.
 *
 * With more flows than sixteenths of the ring a share would come to a few frames: a visit of each flow for every frame, and
 * two frames of each are more than the ring holds. So the flows that have more to send take turns, first come, first served.
 * A turn fills up what the flow has in flight to a sixteenth of the ring, as soon as acknowledgments have made room. The rest
 * of the ring is then for flows that send little.
 *
 * What is lost is not in flight any more once that is known, at the latest by the retransmission timeout. From there until
 * an acknowledgment comes the flow is not counted, so that flows which nobody acknowledges cannot fill the ring.
 *
 * A peer behind the guest, with a long way to it, has its frames elsewhere. Its flows are not counted. They are paced,
 * for the sake of the ring and of the queues on their way.
 */
export class LinkLoad {
  /** Segments in flight, of all flows that count. */
  frames = 0;
  readonly #ring: number;
  readonly #shared: number;
  readonly #turn: number;
  /** Flows that wait for their turn, from {@link #head} on. */
  #waiting: TcpConnection[] = [];
  #head = 0;
  /** Flows that have more to send than they may. */
  #backlogged = 0;

  /** @param ring - frames that the peer's receive ring holds. */
  constructor(ring: number) {
    this.#ring = ring;
    this.#shared = Math.floor((ring * SHARED_EIGHTHS) / 8);
    this.#turn = Math.max(FLOOR, Math.floor(ring / TURN_PART));
  }

  /**
   * Decides, from the shortest round trip a connection ever had, whether its frames count on the link. While the link
   * itself is full a long round trip says nothing of what is behind it.
   */
  classify(connection: TcpConnection): void {
    const isFarAway = connection.roundTrip.lowest > LONG_ROUND_TRIP_MS;
    if (isFarAway === connection.isFarAway || (isFarAway && this.frames > this.#ring >> 2)) return;
    connection.isFarAway = isFarAway;
    if (isFarAway) this.#leaves(connection);
    else connection.sent.countOn(this);
  }

  /**
   * Whether a connection may put one more frame on the link now. A far-away one that may not has
   * {@link TcpConnection.paceAt} set to when it may.
   */
  admits(connection: TcpConnection, now: number): boolean {
    if (connection.isFarAway) return this.#isPaced(connection, now);
    const inFlight = connection.sent.segmentsInFlight;
    if (connection.turnFrames > 0) {
      connection.turnFrames--;
      return true;
    }
    const takesTurns = this.#takesTurns;
    if (!takesTurns && inFlight < SHARE_OF_FREE * (this.#shared - this.frames)) return true;
    const isNewcomer = inFlight < FLOOR && !(takesTurns && connection.isBacklogged);
    if (isNewcomer && this.frames < this.#ring) return true;
    this.#holdBack(connection, takesTurns ? this.#turn : FLOOR);
    return false;
  }

  /**
   * The flow whose turn it is, now that the link has room; null when there is none. Its turn is over with
   * {@link endTurn}.
   */
  nextTurn(): TcpConnection | null {
    while (this.frames < this.#shared && this.#head < this.#waiting.length) {
      const connection = this.#waiting[this.#head++];
      if (2 * this.#head > this.#waiting.length) {
        this.#waiting = this.#waiting.slice(this.#head);
        this.#head = 0;
      }
      connection.isWaiting = false;
      if (connection.state === State.closed) continue;
      if (this.#takesTurns) connection.turnFrames = Math.max(0, this.#turn - connection.sent.segmentsInFlight);
      return connection;
    }
    return null;
  }

  /** What a flow has not used of its turn is lost. */
  endTurn(connection: TcpConnection): void {
    connection.turnFrames = 0;
  }

  /** How many frames a flow may have more in flight now, while flows take turns; without end while they do not. */
  framesOf(connection: TcpConnection): number {
    if (connection.turnFrames > 0) return connection.turnFrames;
    return connection.isFarAway || !this.#takesTurns ? Number.POSITIVE_INFINITY : 0;
  }

  /** Has a flow wait for a turn that has nothing to send yet, but could have. */
  queue(connection: TcpConnection): void {
    this.#holdBack(connection, this.#turn);
  }

  /** A flow has sent all it had, or is gone. */
  relieved(connection: TcpConnection): void {
    if (!connection.isBacklogged) return;
    connection.isBacklogged = false;
    this.#backlogged--;
  }

  /** Nothing of what a flow has in flight was acknowledged in time: it is not counted until something is. */
  timedOut(connection: TcpConnection): void {
    connection.isFarAway = true;
    this.#leaves(connection);
  }

  /** Notes that a flow has more than it may send, and puts it in line, unless it has `most` frames in flight. */
  #holdBack(connection: TcpConnection, most: number): void {
    if (!connection.isBacklogged) {
      connection.isBacklogged = true;
      this.#backlogged++;
    }
    // One with more in flight has acknowledgments on their way, which bring it back here.
    if (connection.isWaiting || connection.sent.segmentsInFlight >= most) return;
    connection.isWaiting = true;
    this.#waiting.push(connection);
  }

  get #takesTurns(): boolean {
    return this.#backlogged * this.#turn > this.#shared;
  }

  #leaves(connection: TcpConnection): void {
    this.relieved(connection);
    connection.sent.countOn(null);
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
