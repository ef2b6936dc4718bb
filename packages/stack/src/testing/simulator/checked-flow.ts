import type { ParsedTcp } from "../frames.ts";
import { ByteRanges } from "./byte-ranges.ts";

/** What a peer takes that does not say (RFC 9293, 3.7.1). */
const DEFAULT_MSS = 536;
/** A smaller one is not believed: it would leave no room for data beside the options (RFC 791's smallest MTU). */
const SMALLEST_MSS = 28;
/** IPv4 and TCP headers without options. */
const HEADERS = 40;
/** Shift counts above it count as this (RFC 7323, 2.3). */
const LARGEST_SHIFT = 14;
const NEVER = Number.POSITIVE_INFINITY;

/**
 * One connection of a stack as an onlooker between stack and link knows it, who has seen what the stack received and
 * sent. Numbers are relative to the initial sequence numbers: the SYN is at 0, the first byte at 1.
 */
export class CheckedFlow {
  readonly #mtu: number;

  // What the stack sent.
  readonly #syn: ParsedTcp;
  #sentEnd = 1;
  #bytes = new Uint8Array(4096);
  #finAt = NEVER;
  #lastAcknowledgment = 0;
  #advertisedEdge = 0;
  #lastTimestamp: number | null = null;
  #lastEcho: number | null = null;
  #isReset = false;
  /** The peer reset it, which the stack may have believed. */
  #wasReset = false;

  // What it received.
  #peerSyn: ParsedTcp | null = null;
  readonly #received = new ByteRanges();
  #peerFinAt = NEVER;
  /** The furthest that the peer ever let it send. */
  #edge = 1;
  /** The same by the newest segment, which may have taken some of it back. */
  #newestEdge = 1;
  /** What the stack is sure to know to be acknowledged, and what it may know. */
  #acknowledged = 0;
  #highestAcknowledged = 0;
  #newestSequence = 0;
  #settles: { readonly acknowledgment: number; readonly edge: number } | null = null;
  #newestTimestamp: number | null = null;
  readonly #timestamps = new Set<number>();

  /**
   * @param segment - the stack's SYN or SYN-ACK.
   * @param requests - the peer's SYN that it answers, as often as it came.
   */
  constructor(mtu: number, segment: ParsedTcp, requests: readonly ParsedTcp[]) {
    this.#mtu = mtu;
    this.#syn = segment;
    for (const request of requests) this.#receiveSyn(request);
    this.#checkSyn(segment);
  }

  /** Whether it may have ended, by a reset or because both sides have closed: a SYN then begins another one. */
  get isOver(): boolean {
    return (
      this.#isReset ||
      this.#wasReset ||
      (this.#highestAcknowledged > this.#finAt && this.#lastAcknowledgment > this.#peerFinAt)
    );
  }

  /** The stack's initial sequence number, absolute. */
  get firstSequence(): number {
    return this.#syn.sequence;
  }

  /**
   * Takes in what the stack is about to receive.
   *
   * @param isCertain - false when the stack may drop it for reasons that are not TCP's.
   */
  receive(segment: ParsedTcp, isCertain: boolean): void {
    const { flags, payload, timestamps } = segment;
    if (flags.includes("R")) {
      this.#wasReset = true;
      return;
    }
    if (flags.includes("S")) {
      const known = this.#peerSyn?.sequence;
      if (known === undefined ? flags.includes("A") : known === segment.sequence) this.#receiveSyn(segment);
      return;
    }
    if (this.#peerSyn === null || !flags.includes("A")) return;
    if (timestamps !== undefined) this.#timestamps.add(timestamps[0]);
    const sequence = this.#fromPeer(segment.sequence);
    const acknowledgment = this.#fromStack(segment.acknowledgment);
    if (acknowledgment <= this.#sentEnd) this.#receiveWindow(segment, sequence, acknowledgment, isCertain);
    const end = sequence + payload.length;
    this.#received.add(sequence, end);
    if (flags.includes("F")) {
      this.#peerFinAt = end;
      this.#received.add(end, end + 1);
    }
  }

  /**
   * Takes in what the stack sends after its first SYN.
   *
   * @throws {Error} when it may not send it.
   */
  send(segment: ParsedTcp): void {
    const { flags, payload } = segment;
    if (flags.includes("R")) {
      this.#isReset = true;
      this.#require(payload.length === 0 && !/[SF]/.test(flags), segment, "a reset with data, SYN or FIN");
      return;
    }
    this.#require(!this.#isReset, segment, "something after the reset");
    if (flags.includes("S")) {
      this.#checkSyn(segment);
      return;
    }
    this.#require(flags.includes("A"), segment, "no ACK");
    this.#require(this.#peerSyn !== null, segment, "sent before the peer's SYN was received");
    this.#checkSequence(segment);
    this.#checkAcknowledgment(segment, this.#scales ? (this.#syn.windowScale ?? 0) : 0);
    this.#checkSack(segment);
    this.#checkTimestamps(segment);
  }

  get #scales(): boolean {
    return this.#syn.windowScale !== undefined && this.#peerSyn?.windowScale !== undefined;
  }

  /** A sequence number of the stack's side, relative. */
  #fromStack(sequence: number): number {
    return (sequence - this.#syn.sequence) | 0;
  }

  /** One of the peer's side. */
  #fromPeer(sequence: number): number {
    return (sequence - (this.#peerSyn?.sequence ?? 0)) | 0;
  }

  #receiveSyn(segment: ParsedTcp): void {
    if (segment.timestamps !== undefined) this.#timestamps.add(segment.timestamps[0]);
    if (this.#peerSyn !== null) return;
    this.#peerSyn = segment;
    this.#received.add(0, 1);
    this.#newestSequence = 1;
    this.#newestTimestamp = segment.timestamps?.[0] ?? null;
    if (segment.flags.includes("A")) this.#acknowledged = this.#highestAcknowledged = 1;
    // The window of a SYN is never scaled (RFC 7323, 2.2).
    this.#edge = 1 + segment.window;
    this.#newestEdge = this.#edge;
  }

  #receiveWindow(segment: ParsedTcp, sequence: number, acknowledgment: number, isCertain: boolean): void {
    const { window, timestamps } = segment;
    const shift = this.#scales ? Math.min(LARGEST_SHIFT, this.#peerSyn?.windowScale ?? 0) : 0;
    const edge = acknowledgment + window * 2 ** shift;
    this.#highestAcknowledged = Math.max(this.#highestAcknowledged, acknowledgment);
    this.#edge = Math.max(this.#edge, edge);
    this.#newestEdge = Math.max(this.#newestEdge, edge);
    // Only of a segment that is in the window, and newer in every respect, is it sure that the stack believes it.
    const isNewest =
      isCertain &&
      sequence >= Math.max(this.#newestSequence, this.#received.endOfRunFrom(0)) &&
      sequence <= this.#advertisedEdge &&
      acknowledgment === this.#highestAcknowledged &&
      !isBefore(timestamps?.[0], this.#newestTimestamp);
    if (!isNewest) return;
    this.#newestSequence = sequence;
    this.#newestTimestamp = timestamps?.[0] ?? null;
    this.#settles = { acknowledgment, edge };
  }

  /** The stack has taken in what was received: what waited for the peer's MAC may have left with the old numbers. */
  settle(): void {
    if (this.#settles === null) return;
    this.#acknowledged = this.#settles.acknowledgment;
    this.#newestEdge = this.#settles.edge;
    this.#settles = null;
  }

  #checkSyn(segment: ParsedTcp): void {
    const { flags, payload, mss, windowScale, sackPermitted, timestamps } = segment;
    this.#require(flags === "S" || flags === "SA", segment, "a SYN with other flags");
    this.#require(payload.length === 0, segment, "data on a SYN");
    this.#require(mss === this.#mtu - HEADERS, segment, "an MSS that is not that of the MTU");
    this.#require((windowScale ?? 0) <= LARGEST_SHIFT, segment, "a window scale above 14");
    if (flags === "SA") {
      const offered = this.#peerSyn;
      this.#require(
        offered !== null &&
          (windowScale === undefined || offered.windowScale !== undefined) &&
          (!sackPermitted || offered.sackPermitted) &&
          (timestamps === undefined || offered.timestamps !== undefined),
        segment,
        "an option that the peer did not offer",
      );
      this.#checkAcknowledgment(segment, 0);
    }
    this.#checkTimestamps(segment);
  }

  #checkSequence(segment: ParsedTcp): void {
    const { payload, flags, options } = segment;
    const sequence = this.#fromStack(segment.sequence);
    const hasFin = flags.includes("F");
    const length = payload.length + (hasFin ? 1 : 0);
    const end = sequence + length;
    // A keep-alive, which may carry a byte of garbage, and is only sent when nothing is outstanding (RFC 9293, 3.8.4).
    const isIdle = this.#highestAcknowledged === this.#sentEnd;
    if (isIdle && sequence === this.#sentEnd - 1 && payload.length <= 1 && !hasFin) return;

    this.#require(sequence >= 1 && sequence <= this.#sentEnd, segment, "a gap in what was sent");
    if (length === 0) {
      this.#require(sequence >= this.#acknowledged, segment, "a sequence number of the past");
      return;
    }
    this.#require(end > this.#acknowledged, segment, "sent again though it is acknowledged");
    const mss = Math.min(Math.max(this.#peerSyn?.mss ?? DEFAULT_MSS, SMALLEST_MSS), this.#mtu - HEADERS);
    const largest = Math.max(1, mss - options.length);
    this.#require(payload.length <= largest, segment, "more than the MSS leaves room for (RFC 6691)");
    // A probe of the window is one byte beyond it (RFC 9293, 3.8.6.1).
    const isProbe = length === 1 && sequence <= this.#edge;
    this.#require(end <= this.#edge || isProbe, segment, "beyond the window");
    const isNew = end > this.#sentEnd;
    this.#require(!isNew || end <= this.#newestEdge || isProbe, segment, "new data beyond a window that has shrunk");
    const dataEnd = sequence + payload.length;
    this.#require(payload.length === 0 || dataEnd <= this.#finAt, segment, "data after the FIN");
    if (hasFin) {
      const isRight = this.#finAt === NEVER ? dataEnd >= this.#sentEnd : dataEnd === this.#finAt;
      this.#require(isRight, segment, "a FIN at another place");
      this.#finAt = dataEnd;
    }
    this.#checkBytes(segment, sequence - 1);
    this.#sentEnd = Math.max(this.#sentEnd, end);
  }

  /** What is sent again has to be what was sent first. */
  #checkBytes(segment: ParsedTcp, at: number): void {
    const { payload } = segment;
    const known = Math.min(payload.length, this.#sentEnd - 1 - at);
    for (let index = 0; index < known; index++) {
      if (payload[index] !== this.#bytes[at + index]) this.#require(false, segment, "other bytes than the first time");
    }
    if (at + payload.length > this.#bytes.length) {
      const larger = new Uint8Array(2 * (at + payload.length));
      larger.set(this.#bytes);
      this.#bytes = larger;
    }
    this.#bytes.set(payload, at);
  }

  #checkAcknowledgment(segment: ParsedTcp, shift: number): void {
    const acknowledgment = this.#fromPeer(segment.acknowledgment);
    const edge = acknowledgment + segment.window * 2 ** shift;
    this.#require(acknowledgment >= this.#lastAcknowledgment, segment, "an acknowledgment number that went back");
    this.#require(acknowledgment <= this.#received.endOfRunFrom(0), segment, "an acknowledgment of what never came");
    // What scaling rounds off may be taken back (RFC 7323, 2.4), and after the FIN there is nothing to send.
    const isKept = edge > this.#advertisedEdge - 2 ** shift || acknowledgment > this.#peerFinAt;
    this.#require(isKept, segment, "a window whose right edge moved back");
    this.#lastAcknowledgment = acknowledgment;
    this.#advertisedEdge = Math.max(this.#advertisedEdge, edge);
  }

  /** RFC 2018, 3 and 4, and RFC 2883, 4. That the blocks are apart is checked where they are read. */
  #checkSack(segment: ParsedTcp): void {
    const { sack } = segment;
    if (sack.length === 0) return;
    const agreed = this.#syn.sackPermitted && this.#peerSyn?.sackPermitted === true;
    this.#require(agreed, segment, "SACK blocks that were not agreed on");
    for (const [index, [left, right]] of sack.entries()) {
      const from = this.#fromPeer(left);
      const to = this.#fromPeer(right);
      this.#require(this.#received.contains(from, to), segment, "a SACK block of what never came");
      // The first one may tell of a duplicate below the acknowledgment.
      const isDuplicate = index === 0 && to <= this.#lastAcknowledgment;
      this.#require(isDuplicate || from > this.#lastAcknowledgment, segment, "a SACK block below the acknowledgment");
    }
  }

  /** RFC 7323, 3.2 and 4.3. */
  #checkTimestamps(segment: ParsedTcp): void {
    const { flags, timestamps } = segment;
    if (!flags.includes("S")) {
      const agreed = this.#syn.timestamps !== undefined && this.#peerSyn?.timestamps !== undefined;
      this.#require((timestamps !== undefined) === agreed, segment, "timestamps against the agreement");
    }
    if (timestamps === undefined) return;
    const [value, echo] = timestamps;
    this.#require(!isBefore(value, this.#lastTimestamp), segment, "a timestamp that went back");
    this.#lastTimestamp = value;
    if (!flags.includes("A")) return;
    this.#require(this.#timestamps.has(echo), segment, "an echo of a timestamp that never came");
    this.#require(!isBefore(echo, this.#lastEcho), segment, "an echoed timestamp that went back");
    this.#lastEcho = echo;
  }

  #require(condition: boolean, segment: ParsedTcp, problem: string): void {
    if (condition) return;
    const { flags, payload, window, sourcePort, destinationPort, mss, windowScale, timestamps } = segment;
    const sack = segment.sack.map((block) => block.map((edge) => this.#fromPeer(edge)));
    throw new Error(
      `${problem}: ${sourcePort} > ${destinationPort} ${flags} seq ${this.#fromStack(segment.sequence)}, ` +
        `ack ${this.#fromPeer(segment.acknowledgment)}, win ${window}, data ${payload.length}, ` +
        `options ${JSON.stringify({ mss, windowScale, timestamps, sack })}; before it, sent up to ${this.#sentEnd}, ` +
        `acknowledged up to ${this.#acknowledged}, window up to ${this.#edge}, last ${this.#newestEdge}; ` +
        `received ${[...this.#received].join(" ")}, acknowledged ${this.#lastAcknowledgment}, ` +
        `advertised ${this.#advertisedEdge}`,
    );
  }
}

/** Whether a timestamp is older than another (RFC 7323, 5.2); false when there is none to compare. */
function isBefore(value: number | undefined, other: number | null): boolean {
  return value !== undefined && other !== null && ((value - other) | 0) < 0;
}
