import type { Timestamps } from "./frames.ts";

/** What the peer's timestamps count from: they cross the wrap within the first milliseconds. */
export const PEER_TIMESTAMP = -5;

/** The timestamps of a segment as a test writes them; what is undefined follows from the clock and the stack's values. */
export type TimestampsToSend = readonly [value: number | undefined, echo: number | undefined];

/** What matters of a segment here. Sequence numbers are relative, as in the traces; timestamps are as in the header. */
export interface TimedSegment {
  readonly flags: string;
  readonly seq: number;
  /** Of no meaning without ACK. */
  readonly ack: number;
  /** Of data and FIN. */
  readonly length: number;
  readonly timestamps: Timestamps | undefined;
}

/**
 * The timestamps of one connection (RFC 7323) as its peer keeps them: what it sends, and what the stack has to echo. It
 * takes everything that the stack sends for received.
 */
export class PeerTimestamps {
  /**
   * Whether every segment of the stack has to carry the option where it was agreed on, with the right echo, and nowhere
   * else. Off for what RFC 7323 leaves open.
   */
  checks = true;
  readonly #now: () => number;
  readonly #startedAt: number;
  #peerOffers: boolean | null = null;
  #stackOffers: boolean | null = null;
  /** Whether either side has sent anything but a SYN. */
  #pastSyn = false;
  /** The value of the stack's SYN. */
  #stackStart = 0;
  #stackLatest = 0;
  /** What the stack has to echo, and what it acknowledged last: TS.Recent and Last.ACK.sent of RFC 7323, 4.3. */
  #recent = 0;
  #stackAcknowledged = 0;
  /** The same of the peer, and what it may acknowledge next. */
  #echo = 0;
  #acknowledged = 0;
  /** The end of what the stack has sent: a test may have the peer acknowledge more. */
  #stackEnd = 0;
  #unacknowledged: { readonly seq: number; readonly end: number; readonly value: number }[] = [];

  constructor(now: () => number) {
    this.#now = now;
    this.#startedAt = Math.floor(now());
  }

  /** Whether both SYNs had the option. */
  get agreed(): boolean {
    return this.#peerOffers === true && this.#stackOffers === true;
  }

  /** Milliseconds since the peer was made. */
  get clock(): number {
    return Math.floor(this.#now()) - this.#startedAt;
  }

  /** The option of a segment that the peer sends now. */
  next(ts: TimestampsToSend | false | undefined, ack: number | undefined): Timestamps | undefined {
    if (ts === false || (ts === undefined && !this.agreed)) return undefined;
    const [value = this.clock, echo] = ts ?? [];
    const absolute = (PEER_TIMESTAMP + value) | 0;
    // Without ACK there is nothing to echo (RFC 7323, 3.2).
    if (ack === undefined) return [absolute, 0];
    return [absolute, echo === undefined ? this.#echoFor(ack) : (this.#stackStart + echo) | 0];
  }

  /** Takes note of a segment that the peer sends. */
  sent({ flags, seq, ack, length, timestamps }: TimedSegment): void {
    if (flags.includes("A") && ack <= this.#stackEnd) {
      this.#echo = this.#echoFor(ack);
      this.#acknowledged = Math.max(this.#acknowledged, ack);
      this.#unacknowledged = this.#unacknowledged.filter(({ end }) => end > this.#acknowledged);
    }
    const isSyn = flags.includes("S");
    if (isSyn) this.#peerOffers ??= timestamps !== undefined;
    // A SYN to an established connection is not taken for one of it (RFC 5961, 4.2).
    const isStray = isSyn && this.#pastSyn;
    if (!isSyn) this.#pastSyn = true;
    if (timestamps === undefined || flags.includes("R") || isStray) return;
    const [value] = timestamps;
    const last = this.#stackAcknowledged;
    const isAcceptable = length === 0 ? seq === last : seq <= last && seq + length > last;
    if (isSyn || (isAcceptable && ((value - this.#recent) | 0) >= 0)) this.#recent = value;
  }

  /** Takes note of a segment that the stack sends, and checks its option. */
  received({ flags, seq, ack, length, timestamps }: TimedSegment): void {
    const isSyn = flags.includes("S");
    const isReset = flags.includes("R");
    if (!isSyn && !isReset) this.#pastSyn = true;
    if (isSyn) {
      if (this.#stackOffers !== true && timestamps !== undefined) this.#stackStart = timestamps[0];
      this.#stackOffers = timestamps !== undefined;
    }
    if (this.checks) {
      if (timestamps === undefined) {
        // A reset need not carry them (RFC 7323, 3.2).
        if (this.agreed && !isSyn && !isReset)
          throw new Error("a segment without timestamps, though they were agreed on");
      } else {
        this.#check(flags, timestamps);
      }
    }
    if (flags.includes("A")) this.#stackAcknowledged = Math.max(this.#stackAcknowledged, ack);
    this.#stackEnd = Math.max(this.#stackEnd, seq + length + (isSyn ? 1 : 0));
    if (timestamps === undefined || isReset) return;
    const [value] = timestamps;
    this.#stackLatest = value;
    if (isSyn) this.#echo = value;
    else if (length > 0) this.#unacknowledged.push({ seq, end: seq + length, value });
    else if (seq <= this.#acknowledged) this.#echo = value;
  }

  /** The option of a segment of the stack's in the numbers that tests are written in. */
  relative({ flags, timestamps }: Pick<TimedSegment, "flags" | "timestamps">): Timestamps | false {
    if (timestamps === undefined) return false;
    const [value, echo] = timestamps;
    return [(value - this.#stackStart) | 0, flags.includes("A") ? (echo - PEER_TIMESTAMP) | 0 : echo];
  }

  #check(flags: string, [value, echo]: Timestamps): void {
    const isSyn = flags.includes("S");
    if (!flags.includes("A")) {
      if (!this.agreed && !isSyn) throw new Error("timestamps that were not agreed on");
      if (echo !== 0) throw new Error("an echo of timestamps without ACK");
      return;
    }
    // What leaves before the stack's SYN is of an earlier connection.
    if (this.#stackOffers === null) return;
    if (this.#peerOffers === false) throw new Error("timestamps to a peer that did not offer them");
    if (isSyn) return;
    if (((value - this.#stackLatest) | 0) < 0) throw new Error("the clock of the stack's timestamps runs backwards");
    if (echo === this.#recent || flags.includes("R")) return;
    const [actual, right] = [echo, this.#recent].map((absolute) => (absolute - PEER_TIMESTAMP) | 0);
    throw new Error(`the stack echoes the timestamp ${actual}, not ${right}`);
  }

  /** What the peer echoes with an acknowledgment: the value of the segment that moves it on (RFC 7323, 4.3). */
  #echoFor(ack: number): number {
    let echo = this.#echo;
    if (ack <= this.#acknowledged) return echo;
    for (const { seq, end, value } of this.#unacknowledged) {
      if (seq <= this.#acknowledged && end > this.#acknowledged) echo = value;
    }
    return echo;
  }
}
