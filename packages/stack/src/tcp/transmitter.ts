import type { Neighbor } from "../arp/neighbor-table.ts";
import type { Ipv4Output } from "../ipv4/output.ts";
import { type Sequence, sequenceAdd, sequenceAfter, sequenceDistance } from "../sequence.ts";
import type { StackStatistics } from "../statistics.ts";
import { PROTOCOL_TCP } from "../wire/ipv4.ts";
import { ACK, FIN, PSH, RST, SYN, TCP_HEADER_LENGTH, writeTcpChecksum, writeTcpHeader } from "../wire/tcp.ts";
import {
  type SynOptions,
  sackBlocksFitting,
  sackLength,
  synOptionsLength,
  TIMESTAMPS_LENGTH,
  writeSack,
  writeSynOptions,
  writeTimestamps,
} from "../wire/tcp-options.ts";
import { State, type TcpConnection, WINDOW_SHIFT } from "./connection.ts";
import type { LinkLoad } from "./link-load.ts";
import { MAXIMUM_RTO_MS } from "./round-trip.ts";
import type { SendQueues } from "./send-buffer.ts";
import type { TcpSettings } from "./settings.ts";

/** How long an acknowledgment may wait for data to ride on (RFC 1122, 4.2.3.2 allows 500 ms; Linux's value). */
const DELAYED_ACK_MS = 40;
/** Bytes one flow may send before the next flow has its turn. */
const TURN_BYTES = 256 * 1024;
/** Bytes of options that a header has room for. */
const MAX_OPTIONS = 40;
const NEVER = Number.POSITIVE_INFINITY;

export interface TransmitterOptions {
  readonly output: Ipv4Output;
  readonly statistics: StackStatistics;
  readonly settings: TcpSettings;
  readonly load: LinkLoad;
  readonly queues: SendQueues;
  readonly route: (address: number) => Neighbor | null;
  /** Has the timer queue look at the connection's deadlines again. */
  readonly reschedule: (connection: TcpConnection) => void;
}

/** What {@link Transmitter.run} leaves: nothing, more of the same flow, or a link that takes no more for now. */
export type TransmitResult = "done" | "more" | "blocked";

/** Decides what a connection sends, and builds the segments in the link's buffer. */
export class Transmitter {
  readonly #options: TransmitterOptions;
  /** The time of the segments being sent. */
  #now = 0;

  constructor(options: TransmitterOptions) {
    this.#options = options;
  }

  /** Our own maximum segment size: what fits the link's MTU (RFC 9293, 3.7.1). */
  get maximumSegment(): number {
    return this.#options.output.maximumPayload - TCP_HEADER_LENGTH;
  }

  /** Sends what the connection has to send and may send, for at most one turn. */
  run(connection: TcpConnection, now: number): TransmitResult {
    this.#now = now;
    switch (connection.state) {
      case State.synSent:
      case State.synReceived:
        return this.#sendSyn(connection, now);
      case State.requested:
      case State.closed:
        return "done";
      case State.timeWait:
        return this.#sendAcknowledgment(connection, now);
    }
    if (connection.recovery.probe.isDue && !this.#sendLossProbe(connection, now)) return "blocked";
    if (connection.keepAliveDue && !this.#sendKeepAlive(connection)) return "blocked";
    // After an idle timeout the congestion window is no longer known to fit (RFC 5681, 4.1).
    if (connection.sent.isEmpty && now - connection.lastSentAt > connection.roundTrip.timeout) {
      connection.congestion.restartAfterIdle(now);
    }
    if (connection.writableWanted && !this.#askOwner(connection)) return "done";
    const result = this.#sendData(connection, now);
    if (result !== "done") return result;
    return this.#sendAcknowledgment(connection, now);
  }

  /**
   * Asks the owner for more to send, if there is room enough to be worth its attention.
   *
   * @returns false when the connection is gone upon that.
   */
  #askOwner(connection: TcpConnection): boolean {
    const { load, queues } = this.#options;
    if (queues.mayReadAhead) {
      if (connection.sendRoom < connection.sendLimit >> 1) return true;
    } else if (load.framesOf(connection) === 0) {
      if (connection.unsent <= 0) load.queue(connection);
      return true;
    } else {
      const window = Math.min(connection.sendWindow, connection.congestion.window);
      const most = Math.min(connection.sendLimit, window, load.framesOf(connection) * connection.maximumSegment);
      if (connection.sendable < most >> 1) return true;
    }
    connection.writableWanted = false;
    // What it sends is looked at right after this.
    connection.awake = true;
    connection.handler?.writable(connection);
    connection.awake = false;
    return connection.state !== State.closed;
  }

  /** Sends a reset for a connection that is being aborted; lost when the link is full, which costs only time. */
  sendReset(connection: TcpConnection, now: number): void {
    this.#now = now;
    this.#send(connection, RST | ACK, emptySequence(connection), 0, false);
  }

  /** Sends a bare acknowledgment at once, outside of the turn's order; false when the link takes no more for now. */
  sendAcknowledgment(connection: TcpConnection, now: number): boolean {
    this.#now = now;
    return this.#send(connection, ACK, emptySequence(connection), 0, false);
  }

  #sendSyn(connection: TcpConnection, now: number): TransmitResult {
    if (!connection.synDue) return "done";
    const flags = connection.state === State.synSent ? SYN : SYN | ACK;
    if (!this.#send(connection, flags, connection.initialSend, 0, true)) return "blocked";
    connection.synDue = false;
    connection.acknowledgeNow = false;
    const end = sequenceAdd(connection.initialSend, 1);
    if (connection.sendMaximum === connection.initialSend) {
      connection.synSentAt = now;
      connection.stalledSince = now;
      connection.sendMaximum = end;
    } else {
      // Karn: an acknowledgment could now belong to either copy (RFC 6298, 3).
      connection.synSentAt = -1;
      connection.retransmittedSegments++;
      this.#options.statistics.tcpRetransmissions++;
    }
    connection.sendNext = end;
    connection.retransmitAt = now + connection.roundTrip.timeout;
    this.#options.reschedule(connection);
    return "done";
  }

  #sendData(connection: TcpConnection, now: number): TransmitResult {
    const { sent, recovery } = connection;
    if (sent.isEmpty && connection.probeAt === NEVER) connection.stalledSince = now;
    connection.congestionLimited = false;
    const result = this.#sendWhatFits(connection, now);
    // Whatever keeps what is in flight from going on, a timer runs for it.
    const isTimed = connection.retransmitAt !== NEVER || connection.probeAt !== NEVER;
    if (isTimed ? connection.timerIsProbe && connection.lastSentAt === now : !sent.isEmpty) {
      recovery.armTimer(connection, now);
      this.#options.reschedule(connection);
    }
    return result;
  }

  #sendWhatFits(connection: TcpConnection, now: number): TransmitResult {
    const { sent, recovery, congestion, sendBuffer } = connection;
    let turn = TURN_BYTES - connection.turnBytes;
    connection.turnBytes = 0;
    for (;;) {
      if (turn <= 0) return "more";
      if (sent.lostSegments > 0 && !recovery.prefersNewData) {
        const result = this.#retransmit(connection, now);
        if (result === "window") return this.#waitForWindow(connection, now);
        if (result !== "more") return result;
        turn -= connection.maximumSegment;
        continue;
      }
      const { maximumSegment } = connection;
      const offset = sequenceDistance(connection.sendNext, connection.bufferStart);
      const unsent = sendBuffer.length - offset;
      const finUnsent = connection.finQueued && unsent >= 0;
      if (unsent <= 0 && !finUnsent) {
        connection.probeAt = NEVER;
        if (!connection.isWaiting) this.#options.load.relieved(connection);
        return "done";
      }
      const room = connection.sendWindow - sequenceDistance(connection.sendNext, connection.sendUnacknowledged);
      const length = Math.min(maximumSegment, unsent, Math.max(0, room));
      const fin = finUnsent && length === unsent && room > length;
      if (!fin && (length === 0 || !this.#isWorthSending(connection, length, unsent))) {
        return this.#waitForWindow(connection, now);
      }
      const inFlight = recovery.inFlight(connection);
      if (inFlight > 0 && inFlight + length > congestion.window) {
        connection.congestionLimited = true;
        return "done";
      }
      // Nagle: a scrap waits for what it would otherwise be one of many of (RFC 9293, 3.7.4).
      if (connection.nagle && length < maximumSegment && !fin && !sent.isEmpty) return "done";
      if (sent.isFull || !this.#isAdmitted(connection, now)) return "done";
      // PSH marks the end of what the application has given so far (RFC 9293, 3.9.1.2).
      const flags = ACK | (length > 0 && length === unsent ? PSH : 0) | (fin ? FIN : 0);
      if (!this.#sendNew(connection, flags, length, offset, now)) {
        // What the owner was asked for is sent before others are asked, while it is in the caches.
        if (!this.#options.queues.mayReadAhead) connection.turnBytes = TURN_BYTES - turn;
        return "blocked";
      }
      turn -= length + 1;
    }
  }

  /** Sends the first lost segment again; `window` when it has to wait for the peer's. */
  #retransmit(connection: TcpConnection, now: number): TransmitResult | "window" {
    const { sent, recovery, congestion, sendBuffer, maximumSegment } = connection;
    let index = sent.firstLost();
    const start = sent.startOf(index);
    const inFlight = recovery.inFlight(connection);
    // Beyond the window of a peer that took it back, data waits as new data does (RFC 9293, 3.8.6, SHLD-16).
    const room = connection.sendWindow - sequenceDistance(start, connection.sendUnacknowledged);
    if (room <= 0) return "window";
    // A FIN takes a sequence number and no room.
    const hasFin = connection.finQueued && sequenceDistance(connection.finSendSequence, start) <= maximumSegment;
    const fitting = Math.min(room, maximumSegment + (hasFin ? 1 : 0));
    if (sent.lengthOf(index) > fitting) {
      // A scrap of a window is not worth a segment (3.8.6.2.1), unless the timer asks for one.
      const isScrap = room < maximumSegment >> 1 && room < connection.largestSendWindow >> 1;
      if (sent.isFull || (isScrap && !recovery.isRetransmissionDue)) return "window";
      sent.split(index, Math.min(room, maximumSegment));
    }
    // Small segments are sent again as one (RFC 9293, 3.8.1).
    while (!connection.isTryingSmaller && sent.joinNext(index, fitting)) index++;
    const length = sent.lengthOf(index);
    if (!recovery.isRetransmissionDue) {
      if (inFlight > 0 && inFlight + length > congestion.window) {
        connection.congestionLimited = true;
        return "done";
      }
      if (!this.#isAdmitted(connection, now)) return "done";
    }
    const offset = sequenceDistance(start, connection.bufferStart);
    const dataLength = Math.min(length, sendBuffer.length - offset);
    const fin = dataLength < length;
    const flags = ACK | (fin ? FIN : 0) | (dataLength > 0 && offset + dataLength === sendBuffer.length ? PSH : 0);
    if (!this.#send(connection, flags, start, dataLength, false, offset)) return "blocked";
    sent.retransmitted(index, now);
    recovery.sentAgain(connection, start, sequenceAdd(start, length), now);
    connection.lastSentAt = now;
    connection.probeAt = NEVER;
    connection.retransmittedSegments++;
    this.#options.statistics.tcpRetransmissions++;
    return "more";
  }

  /** A tail loss probe: new data if there is some, else the last segment again (RFC 8985, 7.3). */
  #sendLossProbe(connection: TcpConnection, now: number): boolean {
    const { sent, recovery, sendBuffer, maximumSegment } = connection;
    if (sent.isEmpty || recovery.probe.isOutstanding) {
      recovery.probe.isDue = false;
      return true;
    }
    if (connection.canSendNew && !sent.isFull) {
      const offset = sequenceDistance(connection.sendNext, connection.bufferStart);
      const length = Math.min(maximumSegment, connection.unsent);
      if (!this.#sendNew(connection, ACK | PSH, length, offset, now)) return false;
      recovery.probe.sent(connection.sendNext, false);
    } else {
      const index = sent.first + sent.length - 1;
      const start = sent.startOf(index);
      const offset = sequenceDistance(start, connection.bufferStart);
      const length = sent.lengthOf(index);
      const edge = sequenceAdd(connection.sendUnacknowledged, connection.sendWindow);
      if (sequenceAfter(sequenceAdd(start, length), edge)) {
        // The peer took its window back: what is beyond waits for the retransmission timer.
        recovery.probe.isDue = false;
        connection.retransmitAt = now + connection.roundTrip.timeout;
        this.#options.reschedule(connection);
        return true;
      }
      const dataLength = Math.min(length, sendBuffer.length - offset);
      const flags = ACK | PSH | (dataLength < length ? FIN : 0);
      if (!this.#send(connection, flags, start, dataLength, false, offset)) return false;
      sent.retransmitted(index, now);
      recovery.probe.sent(sequenceAdd(start, length), true);
      connection.retransmittedSegments++;
      this.#options.statistics.tcpRetransmissions++;
    }
    this.#options.statistics.tcpLossProbes++;
    recovery.armTimer(connection, now);
    this.#options.reschedule(connection);
    return true;
  }

  /** An old sequence number without data, to which the peer answers with an acknowledgment (RFC 9293, 3.8.4). */
  #sendKeepAlive(connection: TcpConnection): boolean {
    if (!this.#send(connection, ACK, sequenceAdd(connection.sendUnacknowledged, -1), 0, false)) return false;
    connection.keepAliveDue = false;
    return true;
  }

  /** Whether the link has room for one more frame of this connection; a connection that is held back has a timer set. */
  #isAdmitted(connection: TcpConnection, now: number): boolean {
    if (this.#options.load.admits(connection, now)) return true;
    if (connection.isFarAway) this.#options.reschedule(connection);
    return false;
  }

  /**
   * Silly window avoidance on the sending side (RFC 9293, 3.8.6.2.1) without Nagle's delay: the last bytes go at once,
   * a window's scrap waits until it is worth a segment, or for as long as a probe of the window would.
   */
  #isWorthSending(connection: TcpConnection, length: number, unsent: number): boolean {
    return (
      connection.probeDue ||
      length === connection.maximumSegment ||
      length === unsent ||
      length >= connection.largestSendWindow >> 1
    );
  }

  /** Data waits for the peer's window; with nothing in flight only a probe can learn that it opened (3.8.6.1). */
  #waitForWindow(connection: TcpConnection, now: number): TransmitResult {
    const { sent } = connection;
    if (sent.bytesInFlight > 0) return "done";
    if (connection.probeDue) {
      connection.probeDue = false;
      const sequence = sent.isEmpty ? connection.sendNext : sent.startOf(sent.first);
      const offset = sequenceDistance(sequence, connection.bufferStart);
      const data = connection.sendBuffer.length > offset;
      if (!this.#send(connection, data ? ACK : ACK | FIN, sequence, data ? 1 : 0, false, offset)) {
        connection.probeDue = true;
        return "blocked";
      }
      const end = sequenceAdd(sequence, 1);
      if (sequenceAfter(end, connection.sendMaximum)) connection.sendMaximum = end;
      if (!data) this.#finSent(connection);
      this.#options.statistics.tcpWindowProbes++;
      connection.probeBackoff++;
      this.#scheduleWindowProbe(connection, now);
    } else if (connection.probeAt === NEVER) {
      this.#scheduleWindowProbe(connection, now);
    }
    return "done";
  }

  /** The wait doubles as the retransmission timeout does, but is its own: it says nothing of the path (3.8.6.1). */
  #scheduleWindowProbe(connection: TcpConnection, now: number): void {
    const wait = connection.roundTrip.base * 2 ** Math.min(connection.probeBackoff, 10);
    connection.probeAt = now + Math.min(MAXIMUM_RTO_MS, wait);
    this.#options.reschedule(connection);
  }

  #sendNew(connection: TcpConnection, flags: number, length: number, offset: number, now: number): boolean {
    const sequence = connection.sendNext;
    if (!this.#send(connection, flags, sequence, length, false, offset)) return false;
    const fin = (flags & FIN) !== 0;
    const end = sequenceAdd(sequence, fin ? length + 1 : length);
    connection.sent.push(sequence, end, now);
    connection.recovery.sentNew(length);
    connection.sendNext = end;
    if (sequenceAfter(end, connection.sendMaximum)) connection.sendMaximum = end;
    if (fin) this.#finSent(connection);
    connection.lastSentAt = now;
    connection.probeAt = NEVER;
    connection.probeDue = false;
    return true;
  }

  #finSent(connection: TcpConnection): void {
    if (connection.state === State.established) connection.state = State.finWait1;
    else if (connection.state === State.closeWait) connection.state = State.lastAck;
  }

  #sendAcknowledgment(connection: TcpConnection, now: number): TransmitResult {
    // More than a full-sized segment is acknowledged at once, as Linux does (RFC 9293, 3.8.6.3: every second at least).
    const full = connection.largestReceived;
    if (connection.acknowledgeNow || connection.unacknowledgedBytes > full) {
      return this.#send(connection, ACK, emptySequence(connection), 0, false) ? "done" : "blocked";
    }
    if (connection.unacknowledgedBytes > 0 && connection.delayedAckAt === NEVER) {
      connection.delayedAckAt = now + DELAYED_ACK_MS;
      this.#options.reschedule(connection);
    }
    return "done";
  }

  /**
   * Builds and sends one segment; every segment with ACK also acknowledges and advertises the window.
   *
   * @param offset - where the segment's data begins in the send buffer.
   * @returns false when the link takes no more for now.
   */
  #send(
    connection: TcpConnection,
    flags: number,
    sequence: Sequence,
    length: number,
    syn: boolean,
    offset = 0,
  ): boolean {
    const { output, statistics } = this.#options;
    let { neighbor } = connection;
    if (neighbor === null || !neighbor.resolved) {
      neighbor = this.#options.route(connection.remoteAddress);
      if (neighbor === null) return true;
      connection.neighbor = neighbor;
    }
    const options: SynOptions | null = syn ? this.#synOptions(connection) : null;
    const blocks = options === null ? this.#blocksToReport(connection, length) : 0;
    const headerLength = TCP_HEADER_LENGTH + this.#optionsLength(connection, options, blocks);
    const { localAddress, remoteAddress } = connection;
    const segment = output.begin(neighbor, localAddress, remoteAddress, PROTOCOL_TCP, headerLength + length, true);
    if (segment < 0) return false;
    const { view } = output;
    const acknowledgment = (flags & ACK) !== 0 ? connection.receiveNext : 0;
    const window = connection.advertiseWindow(syn ? 0 : connection.receiveShift, this.#now);
    writeTcpHeader(
      view,
      segment,
      connection.localPort,
      connection.remotePort,
      sequence,
      acknowledgment,
      headerLength,
      flags,
      window,
    );
    if (headerLength > TCP_HEADER_LENGTH) this.#writeOptions(connection, view, segment, options, blocks);
    const payload = segment + headerLength;
    const payloadSum = length > 0 ? connection.sendBuffer.copy(offset, length, output.bytes, view, payload) : 0;
    writeTcpChecksum(view, segment, headerLength + length, localAddress, remoteAddress, headerLength, payloadSum);
    output.commit();
    statistics.tcpSegmentsSent++;
    if ((flags & ACK) !== 0) this.#acknowledged(connection, blocks);
    return true;
  }

  /** Notes that an acknowledgment left, and with it `blocks` blocks of selective ones. */
  #acknowledged(connection: TcpConnection, blocks: number): void {
    connection.unacknowledgedBytes = 0;
    connection.delayedAckAt = NEVER;
    connection.lastAcknowledgmentSent = connection.receiveNext;
    if (blocks > 0) connection.blocks?.reported();
    // A full segment of data had no room for the blocks: they go in a segment of their own.
    else if (connection.blocks !== null && connection.blocks.count > 0) return;
    connection.acknowledgeNow = false;
  }

  /** How many blocks of selective acknowledgment fit a segment with so much data. */
  #blocksToReport(connection: TcpConnection, length: number): number {
    const { blocks } = connection;
    if (blocks === null || blocks.count === 0) return 0;
    const room = MAX_OPTIONS - (connection.timestamps ? TIMESTAMPS_LENGTH : 0);
    const free = length === 0 ? room : Math.min(room, connection.maximumSegment - length);
    return Math.min(blocks.count, sackBlocksFitting(free));
  }

  #optionsLength(connection: TcpConnection, options: SynOptions | null, blocks: number): number {
    if (options !== null) return synOptionsLength(options);
    return (connection.timestamps ? TIMESTAMPS_LENGTH : 0) + (blocks > 0 ? sackLength(blocks) : 0);
  }

  #writeOptions(
    connection: TcpConnection,
    view: DataView,
    segment: number,
    options: SynOptions | null,
    blocks: number,
  ): void {
    let at = segment + TCP_HEADER_LENGTH;
    const value = connection.timestamp(this.#now);
    if (options !== null) {
      writeSynOptions(view, at, options, value, connection.recentTimestamp);
      return;
    }
    if (connection.timestamps) {
      writeTimestamps(view, at, value, connection.recentTimestamp);
      at += TIMESTAMPS_LENGTH;
    }
    if (blocks > 0 && connection.blocks !== null) writeSack(view, at, connection.blocks, blocks);
  }

  /** A SYN offers what this stack has, a SYN-ACK what both sides have (RFC 7323, 2.2 and 3.2; RFC 2018, 2). */
  #synOptions(connection: TcpConnection): SynOptions {
    const { settings } = this.#options;
    const isOffer = connection.state === State.synSent;
    return {
      maximumSegmentSize: this.maximumSegment,
      windowShift: isOffer || connection.receiveShift > 0 ? WINDOW_SHIFT : -1,
      sackPermitted: isOffer ? settings.selectiveAcknowledgments : connection.selective,
      timestamps: isOffer ? settings.timestamps : connection.timestamps,
    };
  }
}

/**
 * The sequence number of a segment that has none of its own: past all that was sent, so that it is not old to the peer
 * after a timeout; but within its window, as the byte of a window probe is not.
 */
function emptySequence(connection: TcpConnection): Sequence {
  const edge = sequenceAdd(connection.sendUnacknowledged, connection.sendWindow);
  return connection.isSynchronized && sequenceAfter(connection.sendMaximum, edge) ? edge : connection.sendMaximum;
}
