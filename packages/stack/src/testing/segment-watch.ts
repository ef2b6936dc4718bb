import { sequenceAfter, sequenceDistance } from "../sequence.ts";
import type { ParsedTcp } from "./frames.ts";
import { patternByte } from "./random.ts";

/** What the stack may never be made to go below: segments of at least so much, headers without options excluded. */
const SMALLEST_SEGMENT = 48;
/** The maximum segment size to assume without the option (RFC 9293, 3.7.1). */
const DEFAULT_MSS = 536;
const MAX_WINDOW_SHIFT = 14;

/** What the peer sent, in the terms of its own header. */
export interface PeerSegment {
  readonly flags: string;
  /** Absolute. */
  readonly sequence: number;
  readonly acknowledgment: number;
  readonly window: number;
  readonly length: number;
  readonly mss: number | undefined;
  readonly windowScale: number | undefined;
  /** The values of the timestamps options in it. */
  readonly timestamps: readonly number[];
  /** Whether the options are those of a good peer, so that it is known what the stack makes of them. */
  readonly isUsual: boolean;
  /** Whether it comes before the handshake is complete, so that a SYN counts. */
  readonly isEarly: boolean;
  /** Whether the stack has to take its acknowledgment and window in, as far as its place and options go. */
  readonly isAcceptable: boolean;
}

/** A stretch of sequence numbers that the peer has sent data in. */
interface Stretch {
  start: number;
  end: number;
}

/**
 * Holds every segment that the stack sends on one connection against what a TCP may send, from what both sides have
 * said and nothing that the stack knows by itself.
 */
export class SegmentWatch {
  /** The stack's first sequence number, null before its SYN. */
  initial: number | null = null;
  /** The end of all that the stack sent. */
  maximum = 0;
  /** The last timestamp value that the stack sent. */
  timestampValue = 0;
  /** Segments of the stack's that carried nothing new: bare acknowledgments, and what was sent again. */
  bare = 0;
  resets = 0;
  repeated = 0;
  repeatedBytes = 0;
  /** What the watch saw, by name, for who wants to know how far a run came. */
  readonly seen = new Set<string>();
  /** Bytes of the owner's stream so far, and whether it has ended. */
  written = 0;
  ended = false;
  /** Segments may get lost within the stack, while it does not know the peer's MAC. */
  isBlind: boolean;

  readonly #mtu: number;
  #hasTimestamps = false;
  #hasSack = false;
  /** The largest segment, options included, that the peer's SYNs allow. */
  #segmentLimit = SMALLEST_SEGMENT;
  #hasMss = false;
  #synWindow = 0;
  /** Whether every SYN of the peer's was usual, so that the scaling is known. */
  #isScalingKnown = true;
  #peerShift: number | null = null;
  #stackShift: number | null = null;
  #acknowledgment: number | null = null;
  /** The right edge of the window that the stack advertised. */
  #edge: number | null = null;
  /** The furthest right edge that the peer's window may have for the stack. */
  #limit: number | null = null;
  #largestWindow = 0;
  #hasShrunk = false;
  #peerEnded = false;
  #finSent: number | null = null;
  /** The highest sequence number among the peer's segments: only what is not below it sets the window for sure. */
  #highest: number | null = null;
  readonly #peerTimestamps = new Set<number>();
  readonly #stretches: Stretch[] = [];

  constructor(mtu: number, isBlind: boolean) {
    this.#mtu = mtu;
    this.isBlind = isBlind;
  }

  /** Whether segments carry timestamps and selective acknowledgments, as far as the stack's SYN tells. */
  get hasTimestamps(): boolean {
    return this.#hasTimestamps;
  }

  get hasSack(): boolean {
    return this.#hasSack;
  }

  /** The furthest right edge that the peer's window may have. */
  get peerEdge(): number {
    return this.#limit ?? this.maximum;
  }

  /** The right edge of the stack's window, 0 before the first one. */
  get edge(): number {
    return this.#edge ?? 0;
  }

  /** Takes note of a segment before the stack gets it. */
  peerSent(segment: PeerSegment): void {
    const { flags, sequence, length } = segment;
    if (flags.includes("F")) this.#peerEnded = true;
    for (const value of segment.timestamps) this.#peerTimestamps.add(value);
    if (flags.includes("S") && segment.isEarly) this.#peerSyn(segment);
    const start = flags.includes("S") ? sequence + 1 : sequence;
    if (length > 0) this.#addStretch(start | 0, (start + length) | 0);
    if (flags.includes("A") && this.initial !== null) this.#peerAcknowledged(segment, this.initial);
  }

  #peerSyn({ mss, window, windowScale, isUsual }: PeerSegment): void {
    // The window of a SYN is never scaled (RFC 7323, 2.2).
    this.#synWindow = Math.max(this.#synWindow, window);
    if (this.initial !== null) this.#mayReach((this.initial + 1 + window) | 0);
    this.#hasMss = true;
    this.#segmentLimit = Math.max(this.#segmentLimit, isUsual ? (mss ?? DEFAULT_MSS) : Math.max(mss ?? 0, DEFAULT_MSS));
    if (!isUsual) this.#isScalingKnown = false;
    this.#peerShift = windowScale === undefined ? null : Math.min(windowScale, MAX_WINDOW_SHIFT);
  }

  #addStretch(start: number, end: number): void {
    for (const each of this.#stretches) {
      if (sequenceAfter(start, each.end) || sequenceAfter(each.start, end)) continue;
      if (sequenceAfter(each.start, start)) each.start = start;
      if (sequenceAfter(end, each.end)) each.end = end;
      return;
    }
    this.#stretches.push({ start, end });
  }

  #peerAcknowledged(segment: PeerSegment, initial: number): void {
    const { flags, sequence, acknowledgment, window, isAcceptable } = segment;
    // What is beyond the stack's window is not the highest, but half of all numbers further it is an old one.
    const isBeyond = this.#edge !== null && sequenceAfter(sequence, this.#edge);
    const isHighest = !isBeyond && (this.#highest === null || !sequenceAfter(this.#highest, sequence));
    if (isHighest) this.#highest = sequence;
    // Nothing believes an acknowledgment of what was not sent.
    if (sequenceAfter(acknowledgment, this.maximum) || sequenceAfter(initial, acknowledgment)) return;
    const isScaled = !flags.includes("S");
    const shift = !isScaled ? 0 : this.#isScalingKnown ? this.#shiftOfPeer() : MAX_WINDOW_SHIFT;
    const scaled = window << shift;
    this.#largestWindow = Math.max(this.#largestWindow, scaled);
    const edge = (acknowledgment + scaled) | 0;
    if (isAcceptable && isHighest && this.#isScalingKnown && isScaled) {
      if (this.#limit !== null && sequenceAfter(this.#limit, edge)) this.#hasShrunk = true;
      this.#limit = edge;
    } else {
      this.#mayReach(edge);
      // A window that is not taken in leaves the one before, counted from the new acknowledgment (RFC 9293, 3.3.1).
      if (!isHighest) this.#mayReach((acknowledgment + this.#largestWindow) | 0);
    }
  }

  #mayReach(edge: number): void {
    if (this.#limit === null || sequenceAfter(edge, this.#limit)) this.#limit = edge;
  }

  /** Both sides must have offered scaling, or neither scales (RFC 7323, 2.2). */
  #shiftOfPeer(): number {
    return this.#stackShift === null ? 0 : (this.#peerShift ?? 0);
  }

  /**
   * Takes in a segment of the stack's.
   *
   * @throws {Error} when no TCP may send it.
   */
  stackSent(segment: ParsedTcp): void {
    const { flags } = segment;
    if (flags.includes("R")) {
      this.resets++;
      if (segment.payload.length > 0) throw new Error("a reset with data");
      return;
    }
    if (flags.includes("S")) this.#stackSyn(segment);
    if (this.initial === null) throw new Error(`${flags} before a SYN`);
    if (flags.includes("A")) this.#checkAcknowledgment(segment);
    else if (flags !== "S") throw new Error(`${flags} without ACK`);
    this.#checkTimestamps(segment);
    this.#checkSack(segment);
    if (!flags.includes("S")) this.#checkData(segment, this.initial);
  }

  #stackSyn({ sequence, payload, windowScale, timestamps, sackPermitted, mss }: ParsedTcp): void {
    if (payload.length > 0) throw new Error("data on a SYN");
    if (mss !== this.#mtu - 40) throw new Error(`a SYN with the MSS ${mss}`);
    if (this.initial !== null && this.initial !== sequence) throw new Error("a second SYN, of another number");
    if (this.initial !== null) this.repeated++;
    this.initial = sequence;
    this.maximum = (sequence + 1) | 0;
    this.#stackShift = windowScale ?? null;
    this.#hasTimestamps = timestamps !== undefined;
    this.#hasSack = sackPermitted;
    this.#mayReach((this.maximum + this.#synWindow) | 0);
  }

  #checkAcknowledgment({ acknowledgment, window, flags }: ParsedTcp): void {
    if (this.#acknowledgment !== null && sequenceAfter(this.#acknowledgment, acknowledgment)) {
      throw new Error(`the acknowledgment goes back by ${sequenceDistance(this.#acknowledgment, acknowledgment)}`);
    }
    this.#acknowledgment = acknowledgment;
    const shift = flags.includes("S") ? 0 : this.#peerShift === null ? 0 : (this.#stackShift ?? 0);
    // What was offered may be rounded down by less than a unit of the scaling (RFC 7323, 2.4).
    const edge = (acknowledgment + (window << shift)) | 0;
    if (!this.#isScalingKnown && !flags.includes("S")) return;
    if (this.#edge !== null && sequenceDistance(acknowledgment, this.#edge) > this.#slack) {
      throw new Error("what was beyond the window is acknowledged");
    }
    // The field of a SYN that is sent again may be too narrow for what was offered since.
    if (this.#edge !== null && !flags.includes("S") && sequenceDistance(this.#edge, edge) >= 1 << shift) {
      throw new Error(`the right edge of the window goes back by ${sequenceDistance(this.#edge, edge)}`);
    }
    if (this.#edge === null || sequenceAfter(edge, this.#edge)) this.#edge = edge;
    if (window === 0) this.seen.add("window closed by the stack");
  }

  /** What was offered before the rounding stands, and a FIN counts even where the window is closed. */
  get #slack(): number {
    const shift = this.#peerShift === null ? 0 : (this.#stackShift ?? 0);
    return (1 << shift) - 1 + (this.#peerEnded ? 1 : 0);
  }

  #checkTimestamps({ flags, timestamps }: ParsedTcp): void {
    if (flags.includes("S")) return;
    if (timestamps === undefined) {
      if (this.#hasTimestamps && this.seen.has("timestamps")) throw new Error("a segment without timestamps");
      this.#hasTimestamps = false;
      return;
    }
    if (!this.#hasTimestamps) throw new Error("timestamps that were not offered");
    const [value, echo] = timestamps;
    if (this.seen.has("timestamps") && sequenceAfter(this.timestampValue, value)) {
      throw new Error("the clock of timestamps goes back");
    }
    if (!this.#peerTimestamps.has(echo)) throw new Error(`an echo of ${echo}, which the peer never sent`);
    this.timestampValue = value;
    this.seen.add("timestamps");
  }

  #checkSack({ sack, acknowledgment }: ParsedTcp): void {
    for (const [index, [start, end]] of sack.entries()) {
      if (!sequenceAfter(end, start)) throw new Error("an empty or inverted SACK block");
      const isHeld = this.#stretches.some((each) => !sequenceAfter(each.start, start) && !sequenceAfter(end, each.end));
      // A FIN takes a number as well, and may be part of a duplicate.
      if (!isHeld && index > 0) throw new Error(`a SACK block at ${start} of ${(end - start) | 0} that was not sent`);
      if (sequenceDistance(start, acknowledgment) < 0) {
        if (index > 0) throw new Error("a D-SACK block that is not the first");
        this.seen.add("D-SACK sent");
      } else {
        this.seen.add("SACK sent");
        // What came from half of all numbers away may look like either.
        const beyond = this.#isScalingKnown && this.#edge !== null ? sequenceDistance(end, this.#edge) : 0;
        if (beyond > this.#slack && beyond < 1 << 30) throw new Error("what was beyond the window is held");
      }
    }
  }

  #checkData({ flags, sequence, payload, options }: ParsedTcp, initial: number): void {
    const { length } = payload;
    const hasFin = flags.includes("F");
    const bytes = length + (hasFin ? 1 : 0);
    const end = (sequence + bytes) | 0;
    const at = sequenceDistance(sequence, initial) - 1;
    if (this.isBlind && sequenceAfter(sequence, this.maximum)) this.maximum = sequence;
    if (bytes === 0) {
      this.bare++;
      // A keep-alive is one below (RFC 9293, 3.8.4).
      if (sequenceAfter(sequence, this.maximum)) throw new Error("an acknowledgment from beyond what was sent");
      return;
    }
    if (at < 0 || at + length > this.written || (hasFin && (!this.ended || at + length !== this.written))) {
      // The one byte of a keep-alive is garbage of before what was acknowledged.
      throw new Error(`data from ${at} to ${at + bytes} of a stream of ${this.written}`);
    }
    for (let index = 0; index < length; index++) {
      if (payload[index] !== patternByte(at + index)) throw new Error(`the byte at ${at + index} is wrong`);
    }
    const largest = this.#hasMss ? this.#segmentLimit : DEFAULT_MSS;
    if (length + options.length > Math.min(largest, this.#mtu - 40)) {
      throw new Error(`a segment of ${length} and ${options.length} with an MSS of ${largest}`);
    }
    if (hasFin) {
      const fin = (end - 1) | 0;
      if (this.#finSent !== null && this.#finSent !== fin) throw new Error("a FIN at another place");
      this.#finSent = fin;
    }
    const fresh = sequenceDistance(end, this.maximum);
    if (fresh <= 0) {
      this.repeated++;
      this.repeatedBytes += length;
      return;
    }
    if (fresh > bytes) throw new Error("a gap in what is sent");
    const beyond = this.#limit === null ? 0 : sequenceDistance(end, this.#limit);
    if (beyond > 0) {
      // One byte, or the FIN, from the window's edge on is how a closed window is asked (RFC 9293, 3.8.6.1).
      if (fresh > 1 || (beyond > 1 && !this.#hasShrunk)) {
        throw new Error(`${beyond} bytes beyond the window of the peer, ${fresh} of them new`);
      }
      this.seen.add("window probe");
    }
    this.maximum = end;
  }
}
