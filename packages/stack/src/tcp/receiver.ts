import type { Ipv4 } from "../address.ts";
import { type Sequence, sequenceAdd, sequenceAfter, sequenceBefore, sequenceDistance } from "../sequence.ts";
import type { StackStatistics } from "../statistics.ts";
import {
  ACK,
  FIN,
  RST,
  readAcknowledgment,
  readFlags,
  readSequenceNumber,
  readTcpHeaderLength,
  readWindow,
  SYN,
  TCP_HEADER_LENGTH,
} from "../wire/tcp.ts";
import { TcpOptions } from "../wire/tcp-options.ts";
import { State, type TcpConnection } from "./connection.ts";
import type { CloseReason } from "./flow.ts";
import { SackBlocks } from "./sack-blocks.ts";

const NEVER = Number.POSITIVE_INFINITY;
/** After so long without a segment a peer's clock may have wrapped: 24 days (RFC 7323, 5.5). */
const TIMESTAMP_LIFETIME_MS = 24 * 24 * 60 * 60 * 1000;
/** How often small segments alone must arrive, so that an outage of the link is not taken for a small path. */
const SMALLER_SEGMENTS_THAT_TELL = 2;
/**
 * Answers per second and connection to segments without data that make no sense. Two ends that disagree on where they
 * are would otherwise acknowledge to each other for ever; one silence ends it.
 */
const ANSWERS_TO_NONSENSE = 3;
/** What is so much older than anything expected is not from this connection, nor is what it acknowledges. */
const MAX_AGE = 0x4000_0000;
/** What a segment without options says. */
const NO_OPTIONS = new TcpOptions();

export interface ReceiverOptions {
  readonly statistics: StackStatistics;
  /** The largest segment that fits the link and the path to an address. */
  readonly maximumSegment: (address: Ipv4) => number;
  readonly wake: (connection: TcpConnection) => void;
  readonly reschedule: (connection: TcpConnection) => void;
  /** Takes the connection out of every table and tells its handler. */
  readonly remove: (connection: TcpConnection, reason: CloseReason) => void;
  /** Both directions are closed: tells the handler and starts TIME-WAIT. */
  readonly enterTimeWait: (connection: TcpConnection) => void;
  /** TIME-WAIT starts anew, because its FIN came again. */
  readonly restartTimeWait: (connection: TcpConnection) => void;
  /** The handshake of a connection that the peer began is complete. */
  readonly established: (connection: TcpConnection) => void;
  /** The peer gets small segments and no large ones. */
  readonly pathTooSmall: (connection: TcpConnection, bytes: number) => void;
  /** Sends an acknowledgment now, and not at the end of the turn. */
  readonly acknowledge: (connection: TcpConnection) => void;
  /** Sends an acknowledgment that challenges the sender to show that it knows the connection (RFC 5961). */
  readonly challenge: (connection: TcpConnection) => void;
  /** Answers a segment that belongs to no connection with a reset. */
  readonly reset: (view: DataView, packet: number, segment: number, length: number) => void;
}

/** What a segment does to its connection (RFC 9293, 3.10.7). */
export class Receiver {
  readonly #options: ReceiverOptions;
  readonly #segmentOptions = new TcpOptions();

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
    if (dataLength > connection.largestReceived) connection.largestReceived = dataLength;
    let options = NO_OPTIONS;
    if (headerLength > TCP_HEADER_LENGTH) {
      options = this.#segmentOptions;
      options.read(view, segment);
    }
    connection.heardAt = now;

    // What nearly every segment is: in order, on an established connection, with nothing but ACK (and PSH).
    if (
      connection.state === State.established &&
      (flags & (SYN | FIN | RST | ACK)) === ACK &&
      sequence === connection.receiveNext &&
      connection.outOfOrder.isEmpty &&
      !connection.finSeen &&
      dataLength <= sequenceDistance(connection.receiveEdge, sequence) &&
      (!connection.timestamps ||
        (options.hasTimestamps && ((options.timestampValue - connection.recentTimestamp) | 0) >= 0))
    ) {
      // The value to echo is that of the first segment since the last acknowledgment (RFC 7323, 4.3).
      if (sequence === connection.lastAcknowledgmentSent) {
        connection.recentTimestamp = options.timestampValue;
        connection.recentTimestampAt = now;
      }
      if (!this.#acknowledge(connection, view, segment, sequence, dataLength, options, now)) return;
      if (dataLength > 0) {
        this.#deliver(connection, bytes, data, dataLength);
        this.#options.wake(connection);
      }
      return;
    }
    if (connection.state === State.synSent) {
      this.#receiveInSynSent(connection, bytes, view, packet, segment, length, options, now);
      return;
    }
    if (connection.state === State.synReceived && (flags & (RST | ACK)) === ACK) {
      // Nothing but our SYN can be acknowledged yet (RFC 9293, 3.10.7.4, fifth).
      if (!acknowledgesSyn(connection, readAcknowledgment(view, segment))) {
        this.#options.reset(view, packet, segment, length);
        return;
      }
    }
    // A SYN is for the checks that follow, so that a peer that has lost its memory is not shut out.
    if (
      connection.timestamps &&
      (flags & (RST | SYN)) === 0 &&
      !this.#acceptTimestamps(connection, options, dataLength, now)
    )
      return;
    this.#receiveInOrderOfChecks(connection, bytes, view, segment, flags, sequence, data, dataLength, options, now);
  }

  /** Protection against wrapped sequence numbers (RFC 7323, 5.3, R1): false when the segment is an old one. */
  #acceptTimestamps(connection: TcpConnection, options: TcpOptions, dataLength: number, now: number): boolean {
    if (!options.hasTimestamps) {
      // Every segment of such a connection has the option (RFC 7323, 3.2).
      this.#options.statistics.tcpTimestampRejects++;
      return false;
    }
    const isOlder = ((options.timestampValue - connection.recentTimestamp) | 0) < 0;
    if (!isOlder || isTimestampOutdated(connection, now)) return true;
    this.#options.statistics.tcpTimestampRejects++;
    if (dataLength > 0 || mayAnswerNonsense(connection, now)) {
      connection.acknowledgeNow = true;
      this.#options.wake(connection);
    }
    return false;
  }

  /** Challenges an acknowledgment of what cannot be acknowledged. */
  #challenge(connection: TcpConnection, dataLength: number, now: number): void {
    if (dataLength > 0 || mayAnswerNonsense(connection, now)) this.#options.challenge(connection);
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
    options: TcpOptions,
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
      if (ahead < 0 && dataLength > 0) this.#reportDuplicate(connection, sequence, dataLength);
      if (dataLength > 0 || fin || mayAnswerNonsense(connection, now)) {
        connection.acknowledgeNow = true;
        this.#options.wake(connection);
      }
      if (connection.state === State.timeWait && fin) this.#options.restartTimeWait(connection);
      // A duplicate's acknowledgment may still be news; one from beyond the window is not believed, and the handshake
      // is completed only from within it.
      if (ahead > window || ahead < -MAX_AGE || connection.state === State.synReceived) return;
      this.#acknowledge(connection, view, segment, sequence, dataLength, options, now);
      return;
    }
    if (
      connection.timestamps &&
      options.hasTimestamps &&
      !sequenceAfter(sequence, connection.lastAcknowledgmentSent) &&
      (sequenceAfter(options.timestampValue, connection.recentTimestamp) || isTimestampOutdated(connection, now))
    ) {
      connection.recentTimestamp = options.timestampValue;
      connection.recentTimestampAt = now;
    }
    if (ahead < 0) {
      start = connection.receiveNext;
      const skip = Math.min(dataLength, -ahead);
      if (skip > 0) this.#reportDuplicate(connection, sequence, skip);
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
    if (!this.#acknowledge(connection, view, segment, sequence, dataLength, options, now)) return;
    if ((flags & SYN) !== 0) {
      // The window of a SYN is never scaled (RFC 7323, 2.2).
      connection.sendWindow = readWindow(view, segment);
      connection.largestSendWindow = connection.sendWindow;
    }
    if (connection.state === State.synReceived && !this.#establish(connection, now)) return;
    this.#options.wake(connection);
    this.#receiveText(connection, bytes, start, data, dataLength, fin);
  }

  /** Takes in the data and the FIN of a segment, trimmed to the window (RFC 9293, 3.10.7.4, seventh and eighth). */
  #receiveText(
    connection: TcpConnection,
    bytes: Uint8Array,
    start: Sequence,
    data: number,
    dataLength: number,
    fin: boolean,
  ): void {
    if (!connection.canReceive) return;
    if (fin) {
      // Even ahead of a gap, which the acknowledgment then tells of.
      connection.acknowledgeNow = true;
      if (!connection.finSeen) connection.finSequence = sequenceAdd(start, dataLength);
      connection.finSeen = true;
    }
    if (dataLength > 0 && start !== connection.receiveNext) {
      this.#hold(connection, bytes, start, data, dataLength);
    } else {
      if (dataLength > 0) this.#deliver(connection, bytes, data, dataLength);
      if (!connection.outOfOrder.isEmpty) this.#drain(connection, dataLength > 0);
    }
    if (connection.finSeen && connection.receiveNext === connection.finSequence && connection.canReceive) {
      this.#receiveFin(connection);
    }
  }

  /** Keeps data that is ahead of a gap, and tells the peer at once (RFC 5681, 4.2; RFC 2018, 4). */
  #hold(connection: TcpConnection, bytes: Uint8Array, start: Sequence, data: number, dataLength: number): void {
    const { outOfOrder } = connection;
    const end = sequenceAdd(start, dataLength);
    // What was held before, and is therefore reported as a duplicate (RFC 2883, 4.2).
    const held = outOfOrder.isEmpty ? end : outOfOrder.firstHeld(start, end);
    const heldEnd = outOfOrder.heldUntil(held);
    const result = outOfOrder.insert(start, bytes, data, dataLength);
    this.#options.statistics.tcpOutOfOrder++;
    if (connection.selective) {
      const blocks = connection.blocks ?? new SackBlocks();
      connection.blocks = blocks;
      // The first block is the whole stretch that the segment is part of (RFC 2018, 4).
      const at = result === "refused" ? held : start;
      blocks.held(outOfOrder.heldFrom(at), outOfOrder.heldUntil(at));
      if (held !== end) blocks.duplicate(held, sequenceBefore(heldEnd, end) ? heldEnd : end);
    }
    this.#options.acknowledge(connection);
  }

  /**
   * Delivers what was held and is in order now.
   *
   * @param isNews - whether a segment came that filled a gap or a part of one.
   */
  #drain(connection: TcpConnection, isNews: boolean): void {
    // It is acknowledged at once (RFC 5681, 4.2).
    if (isNews) connection.acknowledgeNow = true;
    for (;;) {
      const held = connection.outOfOrder.take(connection.receiveNext);
      if (held === null || !connection.canReceive) break;
      this.#deliver(connection, held, 0, held.length);
      connection.acknowledgeNow = true;
    }
    connection.blocks?.advance(connection.receiveNext);
  }

  /** Reports data that had come before (RFC 2883, 4). */
  #reportDuplicate(connection: TcpConnection, start: Sequence, length: number): void {
    if (!connection.selective || !connection.isSynchronized || connection.state === State.timeWait) return;
    connection.blocks ??= new SackBlocks();
    connection.blocks.duplicate(start, sequenceAdd(start, length));
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
    connection.windowIsOver();
    // What was held beyond the end is not part of the stream.
    connection.outOfOrder.clear();
    connection.blocks?.clear();
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
    let reason: CloseReason = "reset";
    // Both streams have ended; but what was not acknowledged may never have arrived.
    const isOver = state === State.lastAck || state === State.closing;
    if (isOver && connection.sendBuffer.length === 0) reason = "finished";
    // A connection of ours that the peer's crossed (RFC 9293, 3.10.7.4, second).
    else if (state === State.synReceived && connection.isActive) reason = "refused";
    this.#options.remove(connection, reason);
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
    options: TcpOptions,
    now: number,
  ): boolean {
    const acknowledgment = readAcknowledgment(view, segment);
    const window = readWindow(view, segment) << connection.sendShift;
    const advanced = sequenceDistance(acknowledgment, connection.sendUnacknowledged);
    connection.unansweredProbes = 0;

    if (sequenceAfter(acknowledgment, connection.sendMaximum)) {
      // It acknowledges what was never sent (RFC 9293, 3.10.7.4; RFC 5961, 5.2).
      this.#challenge(connection, dataLength, now);
      return false;
    }
    if (advanced < 0) {
      // Older than any window we could have had: not from this connection (RFC 5961, 5.2).
      if (-advanced > Math.max(connection.largestSendWindow, 65535)) {
        this.#challenge(connection, dataLength, now);
        return false;
      }
      return true;
    }
    // All that was sent was acknowledged before.
    if (connection.state === State.timeWait) return true;
    const { sent } = connection;
    // An answer to a window probe is no sign of a loss: nothing else is in flight then.
    const isDuplicate =
      advanced === 0 &&
      dataLength === 0 &&
      window === connection.sendWindow &&
      !sent.isEmpty &&
      (readFlags(view, segment) & (SYN | FIN)) === 0;
    if (advanced > 0) this.#advance(connection, acknowledgment, now);
    if (advanced > 0 || isDuplicate || options.sackBlocks > 0) {
      connection.recovery.acknowledged(connection, acknowledgment, advanced, options, isDuplicate, now);
      this.#options.reschedule(connection);
      this.#options.wake(connection);
    }
    // Only a segment that is newer than the last one that set the window may set it again (3.10.7.4, "Send Window"). One
    // that acknowledges more is newer in any case: its window counts from there.
    if (
      advanced > 0 ||
      sequenceBefore(connection.windowUpdateSequence, sequence) ||
      (connection.windowUpdateSequence === sequence &&
        !sequenceBefore(acknowledgment, connection.windowUpdateAcknowledgment))
    ) {
      if (window !== connection.sendWindow) {
        if (window > connection.sendWindow) {
          connection.probeBackoff = 0;
          connection.stalledSince = now;
        }
        connection.sendWindow = window;
        if (window > connection.largestSendWindow) connection.largestSendWindow = window;
        this.#options.wake(connection);
      }
      connection.windowUpdateSequence = sequence;
      connection.windowUpdateAcknowledgment = acknowledgment;
    }
    return this.#ownFinAcknowledged(connection);
  }

  /** The edge of what the peer has moves forward: what it has is not needed any more. */
  #advance(connection: TcpConnection, acknowledgment: Sequence, now: number): void {
    connection.retransmissions = 0;
    connection.stalledSince = now;
    connection.probeBackoff = 0;
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
    if (connection.isTryingSmaller) this.#checkSmaller(connection, acknowledgment);
  }

  /** A segment was sent in parts, after it had been lost repeatedly: have they alone arrived? (RFC 4821, 7.7) */
  #checkSmaller(connection: TcpConnection, acknowledgment: Sequence): void {
    connection.isTryingSmaller = false;
    if (sequenceAfter(acknowledgment, connection.smallerSegmentEnd)) {
      connection.smallerSegments = 0;
    } else if (++connection.smallerSegments >= SMALLER_SEGMENTS_THAT_TELL) {
      connection.smallerSegments = 0;
      this.#options.pathTooSmall(connection, connection.smallerSegmentSize);
    }
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
  #establish(connection: TcpConnection, now: number): boolean {
    connection.state = State.established;
    if (connection.synSentAt >= 0) {
      connection.roundTrip.sample(now - connection.synSentAt, now);
      connection.synSentAt = -1;
    }
    if (connection.sent.isEmpty) connection.retransmitAt = NEVER;
    if (connection.synTimedOut) {
      // After a lost SYN the path is taken to be bad (RFC 5681, 3.1; RFC 6298, 5.7).
      connection.congestion.window = connection.maximumSegment;
      connection.roundTrip.synTimedOut();
    }
    connection.restartKeepAlive(now);
    this.#options.established(connection);
    connection.handler?.established(connection);
    return !isClosed(connection);
  }

  /** RFC 9293, 3.10.7.3. */
  #receiveInSynSent(
    connection: TcpConnection,
    bytes: Uint8Array,
    view: DataView,
    packet: number,
    segment: number,
    length: number,
    options: TcpOptions,
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
    const sequence = readSequenceNumber(view, segment);
    const largest = Math.min(options.maximumSegmentSize, this.#options.maximumSegment(connection.remoteAddress));
    connection.startReceiving(sequence, readWindow(view, segment), largest, options, now);
    const headerLength = readTcpHeaderLength(view, segment);
    const data = segment + headerLength;
    const room = sequenceDistance(connection.receiveEdge, connection.receiveNext);
    const dataLength = Math.min(length - headerLength, Math.max(0, room));
    const fin = (flags & FIN) !== 0 && dataLength === length - headerLength;
    if (!acceptable) {
      // Simultaneous open: both SYNs crossed, so ours goes out again with an acknowledgment.
      connection.state = State.synReceived;
      connection.synDue = true;
      connection.keepEarlyText(bytes, data, dataLength, fin);
      this.#options.wake(connection);
      return;
    }
    connection.windowUpdateAcknowledgment = acknowledgment;
    this.#advance(connection, acknowledgment, now);
    connection.acknowledgeNow = true;
    this.#options.wake(connection);
    if (!this.#establish(connection, now)) return;
    this.#receiveText(connection, bytes, connection.receiveNext, data, dataLength, fin);
  }
}

/** Whether the peer's clock may have wrapped since its last timestamp (RFC 7323, 5.5). */
function isTimestampOutdated(connection: TcpConnection, now: number): boolean {
  return now - connection.recentTimestampAt > TIMESTAMP_LIFETIME_MS;
}

function mayAnswerNonsense(connection: TcpConnection, now: number): boolean {
  if (now - connection.nonsenseSince > 1000) {
    connection.nonsenseSince = now;
    connection.nonsenseAnswers = 0;
  }
  return ++connection.nonsenseAnswers <= ANSWERS_TO_NONSENSE;
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
