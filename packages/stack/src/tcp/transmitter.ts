import type { Neighbor } from "../arp/neighbor-table.ts";
import type { Ipv4Output } from "../ipv4/output.ts";
import { type Sequence, sequenceAdd, sequenceAfter, sequenceBefore, sequenceDistance } from "../sequence.ts";
import type { StackStatistics } from "../statistics.ts";
import { PROTOCOL_TCP } from "../wire/ipv4.ts";
import {
  ACK,
  FIN,
  PSH,
  RST,
  SYN,
  type SynOptions,
  synOptionsLength,
  TCP_HEADER_LENGTH,
  writeSynOptions,
  writeTcpChecksum,
  writeTcpHeader,
} from "../wire/tcp.ts";
import { State, type TcpConnection, WINDOW_SHIFT } from "./connection.ts";

/** How long an acknowledgment may wait for data to ride on (RFC 1122, 4.2.3.2 allows 500 ms; Linux's value). */
const DELAYED_ACK_MS = 40;
/** Bytes one flow may send before the next flow has its turn. */
const TURN_BYTES = 256 * 1024;
const NEVER = Number.POSITIVE_INFINITY;

export interface TransmitterOptions {
  readonly output: Ipv4Output;
  readonly statistics: StackStatistics;
  readonly route: (address: number) => Neighbor | null;
  /** Has the timer queue look at the connection's deadlines again. */
  readonly reschedule: (connection: TcpConnection) => void;
}

/** What {@link Transmitter.run} leaves: nothing, more of the same flow, or a link that takes no more for now. */
export type TransmitResult = "done" | "more" | "blocked";

/** Decides what a connection sends, and builds the segments in the link's buffer. */
export class Transmitter {
  readonly #options: TransmitterOptions;

  constructor(options: TransmitterOptions) {
    this.#options = options;
  }

  /** Our own maximum segment size: what fits the link's MTU (RFC 9293, 3.7.1). */
  get maximumSegment(): number {
    return this.#options.output.maximumPayload - TCP_HEADER_LENGTH;
  }

  /** Sends what the connection has to send and may send, for at most one turn. */
  run(connection: TcpConnection, now: number): TransmitResult {
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
    if (connection.retransmitFirst) {
      connection.retransmitFirst = false;
      if (!this.#retransmitFirst(connection, now)) {
        connection.retransmitFirst = true;
        return "blocked";
      }
    }
    const result = this.#sendData(connection, now);
    if (result !== "done") return result;
    return this.#sendAcknowledgment(connection, now);
  }

  /** Sends a reset for a connection that is being aborted; lost when the link is full, which costs only time. */
  sendReset(connection: TcpConnection): void {
    this.#send(connection, RST | ACK, emptySequence(connection), 0, false);
  }

  /** Sends a bare acknowledgment at once, outside of the turn's order: a challenge (RFC 5961, 3.2). */
  sendChallenge(connection: TcpConnection): void {
    this.#send(connection, ACK, emptySequence(connection), 0, false);
  }

  #sendSyn(connection: TcpConnection, now: number): TransmitResult {
    if (!connection.synDue) return "done";
    const flags = connection.state === State.synSent ? SYN : SYN | ACK;
    if (!this.#send(connection, flags, connection.initialSend, 0, true)) return "blocked";
    connection.synDue = false;
    connection.acknowledgeNow = false;
    const end = sequenceAdd(connection.initialSend, 1);
    if (connection.sendMaximum === connection.initialSend) {
      this.#measure(connection, end, now);
      connection.sendMaximum = end;
    } else {
      // Karn: an acknowledgment could now belong to either copy (RFC 6298, 3).
      connection.roundTripStart = -1;
      this.#options.statistics.tcpRetransmissions++;
    }
    connection.sendNext = end;
    connection.retransmitAt = now + connection.timeout.milliseconds;
    this.#options.reschedule(connection);
    return "done";
  }

  #sendData(connection: TcpConnection, now: number): TransmitResult {
    // After an idle timeout the congestion window is no longer known to fit (RFC 5681, 4.1).
    if (connection.inFlight === 0 && now - connection.lastSentAt > connection.timeout.milliseconds) {
      connection.congestion.restartAfterIdle();
    }
    let turn = TURN_BYTES;
    for (;;) {
      const { sendBuffer, maximumSegment } = connection;
      const offset = sequenceDistance(connection.sendNext, connection.bufferStart);
      const unsent = sendBuffer.length - offset;
      const finUnsent = connection.finQueued && unsent >= 0;
      if (unsent <= 0 && !finUnsent) {
        connection.probeAt = NEVER;
        return "done";
      }
      const usable = Math.min(connection.sendWindow, connection.congestion.window) - connection.inFlight;
      const length = Math.min(maximumSegment, unsent, Math.max(0, usable));
      const fin = finUnsent && length === unsent && usable > length;
      if (!fin && (length === 0 || !this.#isWorthSending(connection, length, unsent))) {
        return this.#waitForWindow(connection, now);
      }
      if (turn <= 0) return "more";
      // PSH marks the end of what the application has given so far (RFC 9293, 3.9.1.2).
      const flags = ACK | (length > 0 && length === unsent ? PSH : 0) | (fin ? FIN : 0);
      if (!this.#sendFromBuffer(connection, flags, length, offset, now)) return "blocked";
      turn -= length + 1;
    }
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
      length >= connection.largestSendWindow >> 1 ||
      sequenceBefore(connection.sendNext, connection.sendMaximum)
    );
  }

  /** Data waits for the peer's window; with nothing in flight only a probe can learn that it opened (3.8.6.1). */
  #waitForWindow(connection: TcpConnection, now: number): TransmitResult {
    if (connection.inFlight > 0) return "done";
    if (connection.probeDue) {
      connection.probeDue = false;
      const data = connection.sendBuffer.length > sequenceDistance(connection.sendNext, connection.bufferStart);
      const offset = sequenceDistance(connection.sendNext, connection.bufferStart);
      const flags = data ? ACK : ACK | FIN;
      if (!this.#send(connection, flags, connection.sendNext, data ? 1 : 0, false, offset)) {
        connection.probeDue = true;
        return "blocked";
      }
      const end = sequenceAdd(connection.sendNext, 1);
      if (sequenceAfter(end, connection.sendMaximum)) connection.sendMaximum = end;
      if (!data) this.#finSent(connection);
      connection.timeout.backOff();
      connection.probeAt = now + connection.timeout.milliseconds;
      this.#options.reschedule(connection);
    } else if (connection.probeAt === NEVER) {
      connection.probeAt = now + connection.timeout.milliseconds;
      this.#options.reschedule(connection);
    }
    return "done";
  }

  #sendFromBuffer(connection: TcpConnection, flags: number, length: number, offset: number, now: number): boolean {
    const sequence = connection.sendNext;
    if (!this.#send(connection, flags, sequence, length, false, offset)) return false;
    const fin = (flags & FIN) !== 0;
    const end = sequenceAdd(sequence, length + (fin ? 1 : 0));
    if (sequenceBefore(sequence, connection.sendMaximum)) {
      this.#options.statistics.tcpRetransmissions++;
    } else {
      this.#measure(connection, end, now);
    }
    connection.sendNext = end;
    if (sequenceAfter(end, connection.sendMaximum)) connection.sendMaximum = end;
    if (fin) this.#finSent(connection);
    connection.lastSentAt = now;
    connection.probeAt = NEVER;
    connection.probeDue = false;
    if (connection.retransmitAt === NEVER) {
      connection.retransmitAt = now + connection.timeout.milliseconds;
      this.#options.reschedule(connection);
    }
    return true;
  }

  #finSent(connection: TcpConnection): void {
    if (connection.state === State.established) connection.state = State.finWait1;
    else if (connection.state === State.closeWait) connection.state = State.lastAck;
  }

  /** Sends the first unacknowledged segment again (RFC 5681, 3.2, step 3). */
  #retransmitFirst(connection: TcpConnection, now: number): boolean {
    const offset = sequenceDistance(connection.sendUnacknowledged, connection.bufferStart);
    const sent = sequenceDistance(connection.sendMaximum, connection.sendUnacknowledged);
    if (sent <= 0) return true;
    const length = Math.min(connection.maximumSegment, connection.sendBuffer.length - offset, sent);
    const fin = connection.finQueued && sent > length && offset + length === connection.sendBuffer.length;
    if (!this.#send(connection, ACK | (fin ? FIN : 0), connection.sendUnacknowledged, length, false, offset)) {
      return false;
    }
    this.#options.statistics.tcpRetransmissions++;
    // Karn: an acknowledgment could now belong to either copy (RFC 6298, 3).
    connection.roundTripStart = -1;
    connection.retransmitAt = now + connection.timeout.milliseconds;
    this.#options.reschedule(connection);
    return true;
  }

  #sendAcknowledgment(connection: TcpConnection, now: number): TransmitResult {
    // At least every second full-sized segment is acknowledged at once (RFC 9293, 3.8.6.3).
    if (connection.acknowledgeNow || connection.unacknowledgedBytes >= 2 * connection.maximumSegment) {
      return this.#send(connection, ACK, emptySequence(connection), 0, false) ? "done" : "blocked";
    }
    if (connection.unacknowledgedBytes > 0 && connection.delayedAckAt === NEVER) {
      connection.delayedAckAt = now + DELAYED_ACK_MS;
      this.#options.reschedule(connection);
    }
    return "done";
  }

  #measure(connection: TcpConnection, end: Sequence, now: number): void {
    if (connection.roundTripStart >= 0) return;
    connection.roundTripSequence = end;
    connection.roundTripStart = now;
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
    const headerLength = TCP_HEADER_LENGTH + (options === null ? 0 : synOptionsLength(options));
    const { localAddress, remoteAddress } = connection;
    const segment = output.begin(neighbor, localAddress, remoteAddress, PROTOCOL_TCP, headerLength + length, true);
    if (segment < 0) return false;
    const { view } = output;
    const acknowledgment = (flags & ACK) !== 0 ? connection.receiveNext : 0;
    const window = connection.advertiseWindow(syn ? 0 : connection.receiveShift);
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
    if (options !== null) writeSynOptions(view, segment + TCP_HEADER_LENGTH, options);
    if (length > 0) connection.sendBuffer.copy(offset, length, output.bytes, segment + headerLength);
    writeTcpChecksum(view, segment, headerLength + length, localAddress, remoteAddress);
    output.commit();
    statistics.tcpSegmentsSent++;
    if ((flags & ACK) !== 0) {
      connection.acknowledgeNow = false;
      connection.unacknowledgedBytes = 0;
      connection.delayedAckAt = NEVER;
    }
    return true;
  }

  #synOptions(connection: TcpConnection): SynOptions {
    const scaling = connection.state === State.synSent || connection.receiveShift > 0;
    return { maximumSegmentSize: this.maximumSegment, windowShift: scaling ? WINDOW_SHIFT : -1 };
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
