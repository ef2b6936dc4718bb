import { type Sequence, sequenceAdd, sequenceAfter, sequenceBefore, sequenceDistance } from "../sequence.ts";
import type { StackStatistics } from "../statistics.ts";
import {
  ACK,
  FIN,
  RST,
  readAcknowledgment,
  readFlags,
  readSequenceNumber,
  readSynOptions,
  readTcpHeaderLength,
  readWindow,
  SYN,
} from "../wire/tcp.ts";
import { State, type TcpConnection } from "./connection.ts";
import type { CloseReason } from "./flow.ts";

/** The duplicate acknowledgments that signal a loss (RFC 5681, 3.2). */
const DUPLICATES = 3;
const NEVER = Number.POSITIVE_INFINITY;

export interface ReceiverOptions {
  readonly statistics: StackStatistics;
  /** Our own maximum segment size. */
  readonly maximumSegment: () => number;
  readonly wake: (connection: TcpConnection) => void;
  readonly reschedule: (connection: TcpConnection) => void;
  /** Takes the connection out of every table and tells its handler. */
  readonly remove: (connection: TcpConnection, reason: CloseReason) => void;
  /** Both directions are closed: tells the handler and starts TIME-WAIT. */
  readonly enterTimeWait: (connection: TcpConnection) => void;
  /** TIME-WAIT starts anew, because its FIN came again. */
  readonly restartTimeWait: (connection: TcpConnection) => void;
  /** Sends an acknowledgment that challenges the sender to show that it knows the connection (RFC 5961). */
  readonly challenge: (connection: TcpConnection) => void;
  /** Answers a segment that belongs to no connection with a reset. */
  readonly reset: (view: DataView, packet: number, segment: number, length: number) => void;
}

/** What a segment does to its connection (RFC 9293, 3.10.7). */
export class Receiver {
  readonly #options: ReceiverOptions;

  constructor(options: ReceiverOptions) {
    this.#options = options;
  }

  /** Takes in a checked segment of `length` bytes for a connection that is past `requested`. */
  receive(
    connection: TcpConnection,
    bytes: Uint8Array,
    view: DataView,
    packet: number,
    segment: number,
    length: number,
    now: number,
  ): void {
    const flags = readFlags(view, segment);
    const sequence = readSequenceNumber(view, segment);
    const headerLength = readTcpHeaderLength(view, segment);
    const data = segment + headerLength;
    const dataLength = length - headerLength;

    // What nearly every segment is: in order, on an established connection, with nothing but ACK (and PSH).
    if (
      connection.state === State.established &&
      (flags & (SYN | FIN | RST | ACK)) === ACK &&
      sequence === connection.receiveNext &&
      connection.outOfOrder.isEmpty &&
      !connection.finSeen &&
      dataLength <= sequenceDistance(connection.receiveEdge, sequence)
    ) {
      if (!this.#acknowledge(connection, view, segment, sequence, dataLength, now)) return;
      if (dataLength > 0) {
        this.#deliver(connection, bytes, data, dataLength);
        this.#options.wake(connection);
      }
      return;
    }
    if (connection.state === State.synSent) {
      this.#receiveInSynSent(connection, view, packet, segment, length, now);
      return;
    }
    if (connection.state === State.synReceived && (flags & (RST | ACK)) === ACK) {
      // Nothing but our SYN can be acknowledged yet (RFC 9293, 3.10.7.4, fifth).
      if (!acknowledgesSyn(connection, readAcknowledgment(view, segment))) {
        this.#options.reset(view, packet, segment, length);
        return;
      }
    }
    this.#receiveInOrderOfChecks(connection, bytes, view, segment, flags, sequence, data, dataLength, now);
  }

  /** The checks of RFC 9293, 3.10.7.4 in their order. */
  #receiveInOrderOfChecks(
    connection: TcpConnection,
    bytes: Uint8Array,
    view: DataView,
    segment: number,
    flags: number,
    sequence: Sequence,
    data: number,
    dataLength: number,
    now: number,
  ): void {
    const window = sequenceDistance(connection.receiveEdge, connection.receiveNext);
    let ahead = sequenceDistance(sequence, connection.receiveNext);

    if ((flags & RST) !== 0) {
      // Only the exact next sequence number resets; anything else in the window is challenged (RFC 5961, 3.2).
      if (ahead === 0) this.#receiveReset(connection);
      else if (ahead > 0 && ahead < window) this.#options.challenge(connection);
      return;
    }
    if ((flags & SYN) !== 0) {
      if (connection.state === State.synReceived && sequence === connection.initialReceive) {
        if ((flags & ACK) === 0) {
          connection.synDue = true;
          this.#options.wake(connection);
          return;
        }
        // A simultaneous open: the peer's SYN again, now with the acknowledgment of ours.
        sequence = sequenceAdd(sequence, 1);
        ahead = sequenceDistance(sequence, connection.receiveNext);
      } else {
        this.#options.challenge(connection);
        return;
      }
    }
    if ((flags & ACK) === 0) return;

    // Trim what was received before and what does not fit the window; what is left may be empty.
    let start = sequence;
    let fin = (flags & FIN) !== 0;
    const end = sequenceAdd(sequence, dataLength + (fin ? 1 : 0));
    const outside =
      ahead > window ||
      (ahead < 0 && !sequenceAfter(end, connection.receiveNext)) ||
      (ahead === window && dataLength > 0);
    if (outside) {
      // A keep-alive, a window probe, a retransmission or nonsense: the answer is an acknowledgment (3.10.7.4, first).
      connection.acknowledgeNow = true;
      this.#options.wake(connection);
      if (connection.state === State.timeWait && fin) this.#options.restartTimeWait(connection);
      // A duplicate's acknowledgment may still be news; one from beyond the window is not believed, and the handshake
      // is completed only from within it.
      if (ahead > window || connection.state === State.synReceived) return;
      this.#acknowledge(connection, view, segment, sequence, dataLength, now);
      return;
    }
    if (ahead < 0) {
      start = connection.receiveNext;
      const skip = Math.min(dataLength, -ahead);
      data += skip;
      dataLength -= skip;
      connection.acknowledgeNow = true;
    }
    const room = sequenceDistance(connection.receiveEdge, start);
    if (dataLength > room) {
      dataLength = room;
      fin = false;
      connection.acknowledgeNow = true;
    }
    if (!this.#acknowledge(connection, view, segment, sequence, dataLength, now)) return;
    if ((flags & SYN) !== 0) {
      // The window of a SYN is never scaled (RFC 7323, 2.2).
      connection.sendWindow = readWindow(view, segment);
      connection.largestSendWindow = connection.sendWindow;
    }
    if (connection.state === State.synReceived && !this.#establish(connection)) return;
    this.#options.wake(connection);
    if (!canReceive(connection)) return;
    if (fin) {
      // Even ahead of a gap, which the acknowledgment then tells of.
      connection.acknowledgeNow = true;
      if (!connection.finSeen) connection.finSequence = sequenceAdd(start, dataLength);
      connection.finSeen = true;
    }
    if (dataLength > 0) this.#receiveData(connection, bytes, start, data, dataLength);
    if (connection.finSeen && connection.receiveNext === connection.finSequence && canReceive(connection)) {
      this.#receiveFin(connection);
    }
  }

  #receiveData(connection: TcpConnection, bytes: Uint8Array, start: Sequence, data: number, dataLength: number): void {
    if (start !== connection.receiveNext) {
      connection.outOfOrder.insert(start, bytes, data, dataLength);
      this.#options.statistics.tcpOutOfOrder++;
      // A duplicate acknowledgment at once tells the sender of the gap (RFC 5681, 4.2).
      connection.acknowledgeNow = true;
      return;
    }
    this.#deliver(connection, bytes, data, dataLength);
    if (connection.outOfOrder.isEmpty) return;
    // A segment that fills a gap is acknowledged at once (RFC 5681, 4.2).
    connection.acknowledgeNow = true;
    for (;;) {
      const held = connection.outOfOrder.take(connection.receiveNext);
      if (held === null || !canReceive(connection)) break;
      this.#deliver(connection, held, 0, held.length);
    }
  }

  #deliver(connection: TcpConnection, bytes: Uint8Array, offset: number, length: number): void {
    connection.receiveNext = sequenceAdd(connection.receiveNext, length);
    connection.unconsumed += length;
    connection.unacknowledgedBytes += length;
    connection.deliveredSinceGrowth += length;
    connection.handler?.data(connection, bytes, offset, length);
  }

  #receiveFin(connection: TcpConnection): void {
    connection.receiveNext = sequenceAdd(connection.receiveNext, 1);
    // A FIN is taken in though the window is closed; the window is not to become negative by it.
    if (sequenceBefore(connection.receiveEdge, connection.receiveNext)) connection.receiveEdge = connection.receiveNext;
    connection.acknowledgeNow = true;
    const { handler } = connection;
    switch (connection.state) {
      case State.established:
        connection.state = State.closeWait;
        handler?.end(connection);
        return;
      case State.finWait1:
        connection.state = State.closing;
        handler?.end(connection);
        return;
      case State.finWait2:
        handler?.end(connection);
        if (!isClosed(connection)) this.#options.enterTimeWait(connection);
        return;
    }
  }

  #receiveReset(connection: TcpConnection): void {
    const { state } = connection;
    if (state === State.timeWait) {
      // TIME-WAIT is not to be ended by a reset (RFC 1337, 3).
      return;
    }
    this.#options.remove(connection, state === State.lastAck || state === State.closing ? "finished" : "reset");
  }

  /**
   * Takes in the acknowledgment and the window of a segment.
   *
   * @returns false when the segment is to be dropped or the connection is gone.
   */
  #acknowledge(
    connection: TcpConnection,
    view: DataView,
    segment: number,
    sequence: Sequence,
    dataLength: number,
    now: number,
  ): boolean {
    const acknowledgment = readAcknowledgment(view, segment);
    const window = readWindow(view, segment) << connection.sendShift;
    const advanced = sequenceDistance(acknowledgment, connection.sendUnacknowledged);
    connection.unansweredProbes = 0;

    if (sequenceAfter(acknowledgment, connection.sendMaximum)) {
      // It acknowledges what was never sent (RFC 9293, 3.10.7.4; RFC 5961, 5.2).
      this.#options.challenge(connection);
      return false;
    }
    if (advanced < 0) {
      // Older than any window we could have had: not from this connection (RFC 5961, 5.2).
      if (-advanced > Math.max(connection.largestSendWindow, 65535)) {
        this.#options.challenge(connection);
        return false;
      }
      return true;
    }
    if (advanced > 0) {
      this.#advance(connection, acknowledgment, advanced, now);
    } else if (
      dataLength === 0 &&
      window === connection.sendWindow &&
      // An answer to a window probe is no sign of a loss: nothing else is in flight then.
      connection.sendNext !== connection.sendUnacknowledged &&
      connection.isSynchronized
    ) {
      this.#countDuplicate(connection);
    }
    // Only a segment that is newer than the last one that set the window may set it again (3.10.7.4, "Send Window").
    if (
      sequenceBefore(connection.windowUpdateSequence, sequence) ||
      (connection.windowUpdateSequence === sequence &&
        !sequenceBefore(acknowledgment, connection.windowUpdateAcknowledgment))
    ) {
      if (window !== connection.sendWindow) {
        // The doublings of the probes' interval say nothing of the path.
        if (connection.sendWindow === 0) connection.timeout.resetBackoff();
        connection.sendWindow = window;
        if (window > connection.largestSendWindow) connection.largestSendWindow = window;
        this.#options.wake(connection);
      }
      connection.windowUpdateSequence = sequence;
      connection.windowUpdateAcknowledgment = acknowledgment;
    }
    return this.#ownFinAcknowledged(connection);
  }

  #advance(connection: TcpConnection, acknowledgment: Sequence, advanced: number, now: number): void {
    if (connection.roundTripStart >= 0 && !sequenceBefore(acknowledgment, connection.roundTripSequence)) {
      // A measured time of zero would read as "no sample yet".
      connection.timeout.sample(Math.max(0.01, now - connection.roundTripStart));
      connection.roundTripStart = -1;
    }
    // The doublings of the timeout stay until there is a new sample (RFC 6298, 5.7): a round trip above the timeout is
    // never measured otherwise.
    connection.retransmissions = 0;
    connection.sendUnacknowledged = acknowledgment;
    if (sequenceBefore(connection.sendNext, acknowledgment)) connection.sendNext = acknowledgment;
    const fromBuffer = Math.min(
      connection.sendBuffer.length,
      Math.max(0, sequenceDistance(acknowledgment, connection.bufferStart)),
    );
    if (fromBuffer > 0) {
      connection.sendBuffer.release(fromBuffer);
      connection.bufferStart = sequenceAdd(connection.bufferStart, fromBuffer);
      connection.growSendLimit(fromBuffer);
    }
    this.#recover(connection, acknowledgment, advanced);
    connection.retransmitAt = connection.sendMaximum === acknowledgment ? NEVER : now + connection.timeout.milliseconds;
    if (connection.retransmitAt !== NEVER) this.#options.reschedule(connection);
    this.#options.wake(connection);
    // Half a buffer of room is worth the owner's attention; less would have it woken for every acknowledgment.
    if (connection.writableWanted && connection.sendRoom >= connection.sendLimit >> 1) {
      connection.writableWanted = false;
      connection.handler?.writable(connection);
    }
  }

  #recover(connection: TcpConnection, acknowledgment: Sequence, advanced: number): void {
    connection.duplicateAcknowledgments = 0;
    if (!connection.inRecovery) {
      // The point moves along, so that it is never so old that the comparison wraps.
      const covered = sequenceAdd(acknowledgment, -1);
      if (sequenceAfter(covered, connection.recoveryPoint)) connection.recoveryPoint = covered;
      connection.congestion.acknowledged(advanced);
      return;
    }
    if (sequenceBefore(acknowledgment, connection.recoveryPoint)) {
      // What follows the acknowledged part was lost as well (RFC 6582, 3.2, step 3).
      connection.congestion.partialAcknowledgment(advanced);
      connection.retransmitFirst = true;
      return;
    }
    connection.inRecovery = false;
    connection.congestion.leaveRecovery();
  }

  #countDuplicate(connection: TcpConnection): void {
    connection.duplicateAcknowledgments++;
    if (connection.inRecovery) {
      connection.congestion.inflate();
      this.#options.wake(connection);
      return;
    }
    // Until more than the last recovery or timeout covered is acknowledged, duplicates may come from what was sent again
    // then (RFC 6582, 3.2, step 2).
    if (
      connection.duplicateAcknowledgments < DUPLICATES ||
      !sequenceAfter(connection.sendUnacknowledged, connection.recoveryPoint)
    ) {
      return;
    }
    connection.inRecovery = true;
    connection.recoveryPoint = connection.sendMaximum;
    connection.congestion.enterRecovery(sequenceDistance(connection.sendMaximum, connection.sendUnacknowledged));
    connection.retransmitFirst = true;
    this.#options.statistics.tcpFastRetransmissions++;
    this.#options.wake(connection);
  }

  /** Moves on when our FIN has been acknowledged; false when that ends the connection. */
  #ownFinAcknowledged(connection: TcpConnection): boolean {
    if (!connection.finQueued || connection.sendBuffer.length > 0) return true;
    if (!sequenceAfter(connection.sendUnacknowledged, connection.finSendSequence)) return true;
    switch (connection.state) {
      case State.finWait1:
        connection.state = State.finWait2;
        return true;
      case State.closing:
        this.#options.enterTimeWait(connection);
        return false;
      case State.lastAck:
        this.#options.remove(connection, "finished");
        return false;
      default:
        return true;
    }
  }

  /** Our SYN was acknowledged: false when the owner ended the connection upon hearing so. */
  #establish(connection: TcpConnection): boolean {
    connection.state = State.established;
    connection.handler?.established(connection);
    return !isClosed(connection);
  }

  /** RFC 9293, 3.10.7.3. */
  #receiveInSynSent(
    connection: TcpConnection,
    view: DataView,
    packet: number,
    segment: number,
    length: number,
    now: number,
  ): void {
    const flags = readFlags(view, segment);
    const acknowledgment = readAcknowledgment(view, segment);
    const acceptable = (flags & ACK) !== 0 && acknowledgesSyn(connection, acknowledgment);
    if ((flags & ACK) !== 0 && !acceptable) {
      if ((flags & RST) === 0) this.#options.reset(view, packet, segment, length);
      return;
    }
    if ((flags & RST) !== 0) {
      if (acceptable) this.#options.remove(connection, "refused");
      return;
    }
    if ((flags & SYN) === 0) return;
    const options = readSynOptions(view, segment);
    const sequence = readSequenceNumber(view, segment);
    connection.startReceiving(
      sequence,
      readWindow(view, segment),
      Math.min(options.maximumSegmentSize, this.#options.maximumSegment()),
      options.windowShift,
    );
    if (!acceptable) {
      // Simultaneous open: both SYNs crossed, so ours goes out again with an acknowledgment.
      connection.state = State.synReceived;
      connection.synDue = true;
      this.#options.wake(connection);
      return;
    }
    // Data on a SYN-ACK is left for the peer to send again: it is rare and the window was not known to it.
    connection.state = State.established;
    connection.windowUpdateAcknowledgment = acknowledgment;
    this.#advance(connection, acknowledgment, 1, now);
    connection.acknowledgeNow = true;
    this.#options.wake(connection);
    connection.handler?.established(connection);
  }
}

/** Whether an acknowledgment is of our SYN, which is all that was sent in SYN-SENT and SYN-RECEIVED. */
function acknowledgesSyn(connection: TcpConnection, acknowledgment: Sequence): boolean {
  return (
    sequenceAfter(acknowledgment, connection.initialSend) && !sequenceAfter(acknowledgment, connection.sendMaximum)
  );
}

/** A look at the state that the compiler does not take for the one set before a handler ran. */
function isClosed(connection: TcpConnection): boolean {
  return connection.state === State.closed;
}

/** Whether the peer may still send data that its owner is to see. */
function canReceive(connection: TcpConnection): boolean {
  return connection.state >= State.established && connection.state <= State.finWait2;
}
