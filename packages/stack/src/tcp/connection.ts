import type { Ipv4 } from "../address.ts";
import type { Neighbor } from "../arp/neighbor-table.ts";
import type { ListEntry } from "../linked-list.ts";
import { type Sequence, sequenceAdd, sequenceAfter, sequenceDistance } from "../sequence.ts";
import type { Timed } from "../timer-queue.ts";
import { DEFAULT_MSS, type TcpOptions, TIMESTAMPS_LENGTH } from "../wire/tcp-options.ts";
import { type CongestionControl, createCongestionControl } from "./congestion/congestion-control.ts";
import type { CloseReason, TcpFlow, TcpHandler } from "./flow.ts";
import type { FlowEntry } from "./flow-table.ts";
import { LossRecovery } from "./loss-recovery.ts";
import type { PendingRequest } from "./pending-request.ts";
import { ReassemblyQueue } from "./reassembly-queue.ts";
import type { WindowTurn } from "./receive-load.ts";
import { RetransmissionQueue } from "./retransmission-queue.ts";
import { RoundTrip } from "./round-trip.ts";
import type { SackBlocks } from "./sack-blocks.ts";
import { SendBuffer, type SendSpace } from "./send-buffer.ts";
import type { ConnectionOwner, SharedState } from "./shared-state.ts";

/**
 * The states of a connection (RFC 9293, 3.3.2), and two of our own: in `requested` a peer's SYN waits for the owner's
 * answer, and `closed` is what an owner may still hold a reference to.
 */
export const State = {
  requested: 0,
  synSent: 1,
  synReceived: 2,
  established: 3,
  finWait1: 4,
  finWait2: 5,
  closeWait: 6,
  closing: 7,
  lastAck: 8,
  timeWait: 9,
  closed: 10,
} as const;

export type State = (typeof State)[keyof typeof State];

const STATE_NAMES = [
  "REQUESTED",
  "SYN-SENT",
  "SYN-RECEIVED",
  "ESTABLISHED",
  "FIN-WAIT-1",
  "FIN-WAIT-2",
  "CLOSE-WAIT",
  "CLOSING",
  "LAST-ACK",
  "TIME-WAIT",
  "CLOSED",
] as const;

/** The shift count this stack offers: windows of up to 8 MiB (RFC 7323, 2). */
export const WINDOW_SHIFT = 7;

/**
 * The smallest segment size that is believed of a peer (RFC 791's minimum MTU of 68, less both headers): one that asks
 * for segments without data would have us send forever.
 */
const MINIMUM_MSS = 28;
/** Bytes of data on a SYN that are kept. */
const MAX_EARLY_DATA = 1460;

const NEVER = Number.POSITIVE_INFINITY;
/** What {@link TcpConnection.sendSpace} hands out. */
const SPACE: SendSpace = { bytes: new Uint8Array(0), offset: 0, length: 0 };

/**
 * One connection: the variables of RFC 9293, 3.3.1 by longer names, and the owner's side of it. What a segment does to
 * them is in `receiver.ts`, what they make leave in `transmitter.ts`.
 */
export class TcpConnection implements TcpFlow, FlowEntry, Timed {
  readonly localAddress: Ipv4;
  readonly localPort: number;
  readonly remoteAddress: Ipv4;
  readonly remotePort: number;
  readonly ports: number;
  neighbor: Neighbor | null;
  state: State = State.closed;
  handler: TcpHandler | null = null;
  /** Whether this side opened it (RFC 9293, 3.6). */
  isActive = false;
  /** The SYN that it began with, while its owner has not answered. */
  request: PendingRequest | null = null;
  /** Its place among the half-open ones, or among those in TIME-WAIT. */
  place: ListEntry<TcpConnection> | null = null;
  /** When it was made, in milliseconds of the stack's clock. */
  readonly openedAt: number;
  /** Segments that were sent again, probes for a lost tail (RFC 8985, 7) included. */
  retransmittedSegments = 0;

  // Send sequence space. `bufferStart` is the sequence number of the first byte of the send buffer.
  initialSend: Sequence = 0;
  sendUnacknowledged: Sequence = 0;
  sendNext: Sequence = 0;
  /** The end of what was ever sent; ahead of {@link sendNext} after a timeout. */
  sendMaximum: Sequence = 0;
  bufferStart: Sequence = 0;
  sendWindow = 0;
  largestSendWindow = 0;
  windowUpdateSequence: Sequence = 0;
  windowUpdateAcknowledgment: Sequence = 0;
  sendShift = 0;
  maximumSegment = DEFAULT_MSS;
  finQueued = false;
  sendBuffer: SendBuffer;
  /** Bytes that the send buffer may hold. */
  sendLimit = 0;
  acknowledgedSinceGrowth = 0;
  /** {@link send} took less than it was given, so the owner waits for {@link TcpHandler.writable}. */
  writableWanted = false;
  /** The same, at any time since growth was last considered. */
  sendHeldBack = false;

  // Receive sequence space. `receiveEdge` is the right edge of the window that was advertised; it never moves back.
  initialReceive: Sequence = 0;
  receiveNext: Sequence = 0;
  receiveEdge: Sequence = 0;
  receiveShift = 0;
  /** Bytes that the window and what the owner has not consumed may come to. */
  receiveLimit = 0;
  /** Bytes handed to the owner that it has not consumed. */
  unconsumed = 0;
  deliveredSinceGrowth = 0;
  outOfOrder = new ReassemblyQueue();
  /** Where the peer's stream ends, once a FIN told; valid when {@link finSeen}. */
  finSequence: Sequence = 0;
  finSeen = false;

  /** What it has of the windows that are open together; null until it is counted among them. */
  windowTurn: WindowTurn | null = null;

  // Acknowledgments.
  acknowledgeNow = false;
  /** The largest segment that the peer has sent: what counts as full-sized of it. */
  largestReceived = 0;
  /** Bytes received since the last acknowledgment left. */
  unacknowledgedBytes = 0;
  /** A control segment (SYN, SYN-ACK or a first FIN) is due even without data or acknowledgment. */
  synDue = false;

  // Loss and congestion.
  sent: RetransmissionQueue;
  readonly roundTrip = new RoundTrip();
  recovery: LossRecovery;
  congestion: CongestionControl;
  /** The congestion window, and not the peer's or a lack of data, was what the transmitter stopped at. */
  congestionLimited = false;
  /** Expiries of the retransmission timer since something was acknowledged. */
  retransmissions = 0;
  /** When our SYN left, while it was sent once; its acknowledgment is the first sample of the round trip. */
  synSentAt = -1;
  synTimedOut = false;
  lastSentAt = 0;
  /** Since when the peer has acknowledged nothing of what waits for it. */
  stalledSince = 0;
  /** Where the segment ends that is sent in parts, to find out whether a whole one is too large for the path. */
  smallerSegmentEnd: Sequence = 0;
  smallerSegmentSize = 0;
  /** How often such parts were acknowledged, and nothing beyond them. */
  smallerSegments = 0;
  isTryingSmaller = false;

  // The link's load (link-load.ts). What it has in flight is not on the link: far behind it, or taken for lost.
  isFarAway = false;
  /** It is in the queue for a turn, or has so many frames left of one. */
  isWaiting = false;
  turnFrames = 0;
  /** Bytes that it has sent of a turn in which the link took no more. */
  turnBytes = 0;
  /** It was held back, and has not sent everything since. */
  isBacklogged = false;
  /** Bytes that may be sent now, while the connection is paced, and when that was reckoned. */
  paceTokens = 0;
  pacedAt = 0;

  // Options in force, once both SYNs are known.
  /** Selective acknowledgments (RFC 2018). */
  selective = false;
  timestamps = false;
  timestampOffset = 0;
  /** TS.Recent and Last.ACK.sent of RFC 7323, 4.3, and when the former was set. */
  recentTimestamp = 0;
  recentTimestampAt = 0;
  lastAcknowledgmentSent: Sequence = 0;
  /** What is held beyond a gap, for the peer to know; null while there is nothing to tell. */
  blocks: SackBlocks | null = null;

  nagle = false;
  keepAliveIdle: number;
  unansweredKeepAlives = 0;
  keepAliveSentAt = Number.NEGATIVE_INFINITY;
  userTimeout: number;
  /** When the peer's last segment came. */
  heardAt = 0;
  /** Answers to segments that make no sense, since {@link nonsenseSince}. */
  nonsenseAnswers = 0;
  nonsenseSince = 0;

  // Deadlines in milliseconds of the stack's clock; the earliest decides when the timer queue hands this out.
  retransmitAt = NEVER;
  /** What {@link retransmitAt} is for is a tail loss probe (RFC 8985, 7), not a retransmission. */
  timerIsProbe = false;
  reorderAt = NEVER;
  /** When the peer's closed window is probed; the doublings of the wait are its own. */
  probeAt = NEVER;
  probeBackoff = 0;
  unansweredProbes = 0;
  probeDue = false;
  delayedAckAt = NEVER;
  keepAliveAt = NEVER;
  keepAliveDue = false;
  paceAt = NEVER;
  /** When others are to be asked for what this waits for. */
  windowAt = NEVER;
  expireAt = NEVER;
  queuedAt = NEVER;
  queueIndex = -1;

  /** Whether the transmitter is going to look at it. */
  awake = false;
  /** Bytes of the shared budget that its buffers hold beyond their initial size. */
  reserved = 0;

  readonly #owner: ConnectionOwner;
  readonly #shared: SharedState;
  /** What {@link deliveredSinceGrowth} and {@link acknowledgedSinceGrowth} do not count any more. */
  #deliveredBefore = 0;
  #acknowledgedBefore = 0;

  constructor(
    owner: ConnectionOwner,
    shared: SharedState,
    localAddress: Ipv4,
    localPort: number,
    remoteAddress: Ipv4,
    remotePort: number,
    neighbor: Neighbor | null,
  ) {
    this.#owner = owner;
    this.#shared = shared;
    this.sendBuffer = new SendBuffer(shared.queues);
    this.sent = new RetransmissionQueue(shared.segments, shared.delivery, shared.load);
    this.recovery = new LossRecovery(shared.delivery, shared.statistics, shared.load);
    this.congestion = shared.congestionBeforeHandshake;
    this.keepAliveIdle = shared.settings.keepAliveIdle;
    this.userTimeout = shared.settings.userTimeout;
    this.localAddress = localAddress;
    this.localPort = localPort;
    this.remoteAddress = remoteAddress;
    this.remotePort = remotePort;
    this.ports = (remotePort << 16) | localPort;
    this.neighbor = neighbor;
    this.openedAt = owner.now();
  }

  /** Bytes of data that came from the peer, in order. Exact beyond 4 GiB, where sequence numbers wrap. */
  get bytesReceived(): number {
    return this.#deliveredBefore + this.deliveredSinceGrowth;
  }

  /** Bytes of data that the peer has acknowledged. */
  get bytesSent(): number {
    return this.#acknowledgedBefore + this.acknowledgedSinceGrowth;
  }

  /** The state's name as the RFC writes it. */
  get stateName(): string {
    return STATE_NAMES[this.state];
  }

  get sendRoom(): number {
    return this.finQueued || this.state === State.closed ? 0 : Math.max(0, this.sendLimit - this.sendBuffer.length);
  }

  /** How many more bytes could leave now, if they were queued, by the windows and the flow's turn on the link. */
  get sendable(): number {
    const { length } = this.sendBuffer;
    const room = Math.min(this.sendWindow, this.congestion.window) - length;
    // Without anything queued nothing would learn that the peer's window has opened.
    const fitting = length === 0 ? Math.max(room, this.maximumSegment) : Math.max(0, room);
    const turn = this.#shared.load.framesOf(this) * this.maximumSegment;
    return Math.min(this.sendRoom, fitting, Math.max(0, turn - this.unsent));
  }

  get sendQueued(): number {
    return this.sendBuffer.length;
  }

  /** Bytes queued and not sent. */
  get unsent(): number {
    return this.sendBuffer.length - sequenceDistance(this.sendNext, this.bufferStart);
  }

  /** Whether there is a segment's worth of new data that the peer's window has room for. */
  get canSendNew(): boolean {
    const room = this.sendWindow - sequenceDistance(this.sendNext, this.sendUnacknowledged);
    return this.unsent > 0 && room >= Math.min(this.unsent, this.maximumSegment);
  }

  /** The clock of the timestamps option (RFC 7323, 4.1), which ticks once a millisecond. */
  timestamp(now: number): number {
    return (now + this.timestampOffset) | 0;
  }

  /** The sequence number of our FIN; meaningful when {@link finQueued}. */
  get finSendSequence(): Sequence {
    return sequenceAdd(this.bufferStart, this.sendBuffer.length);
  }

  /** Whether the handshake is done and the connection is not gone, so that segments carry an acknowledgment. */
  get isSynchronized(): boolean {
    return this.state >= State.established && this.state <= State.timeWait;
  }

  /** Takes it out of the list that it is in, if any. */
  leavePlace(): void {
    this.place?.leave();
    this.place = null;
  }

  /** Whether the peer may still send data that the owner is to see. */
  get canReceive(): boolean {
    return this.state >= State.established && this.state <= State.finWait2;
  }

  send(bytes: Uint8Array, offset: number, length: number): number {
    const taken = Math.min(length, this.sendRoom);
    if (taken < length) {
      this.writableWanted = true;
      this.sendHeldBack = true;
    }
    if (taken > 0) {
      this.sendBuffer.append(bytes, offset, taken);
      this.#owner.wake(this);
    }
    return taken;
  }

  hasSendRoom(bytes: number): boolean {
    if (this.sendRoom >= bytes) return true;
    this.writableWanted = true;
    this.sendHeldBack = true;
    return false;
  }

  sendSpace(most: number): Readonly<SendSpace> | null {
    const room = this.#shared.queues.mayReadAhead ? this.sendRoom : this.sendable;
    if (room === 0) {
      this.writableWanted = true;
      this.sendHeldBack = true;
      return null;
    }
    this.sendBuffer.spaceFor(Math.min(most, room), SPACE);
    return SPACE;
  }

  sendFilled(length: number): void {
    this.sendBuffer.fill(length);
    if (length > 0) this.#owner.wake(this);
  }

  consumed(length: number): void {
    this.unconsumed = Math.max(0, this.unconsumed - length);
    // After its FIN the peer has nothing left to send into a wider window.
    if (this.state === State.closed || this.finSeen) return;
    this.#growReceiveLimit();
    // A window update is worth a segment of its own only when the peer may be waiting for it, and when it opens the
    // window by a useful amount (silly window avoidance, RFC 9293, 3.8.6.2.2).
    const offered = sequenceDistance(this.receiveEdge, this.receiveNext);
    const opened = this.receiveLimit - this.unconsumed - offered;
    const useful = Math.min(this.receiveLimit >> 1, 2 * this.maximumSegment);
    if (offered > this.receiveLimit >> 1 || opened < useful) return;
    if (this.#shared.windows.admits(this, opened, this.#owner.now())) {
      this.acknowledgeNow = true;
      this.#owner.wake(this);
    }
  }

  shutdown(): void {
    if (this.finQueued || this.state === State.closed) return;
    this.finQueued = true;
    this.#owner.wake(this);
  }

  abort(): void {
    if (this.state !== State.closed) this.#owner.abort(this);
  }

  /** When a timestamp of ours was current, in milliseconds of the stack's clock. */
  timeOf(timestamp: number, now: number): number {
    return now - ((this.timestamp(now) - timestamp) | 0);
  }

  setNagle(on: boolean): void {
    this.nagle = on;
    if (!on && this.isSynchronized) this.#owner.wake(this);
  }

  setKeepAlive(idle: number): void {
    this.keepAliveIdle = idle;
    this.restartKeepAlive(this.#owner.now());
  }

  setUserTimeout(milliseconds: number): void {
    this.userTimeout = milliseconds;
    this.#owner.reschedule(this);
  }

  /** The peer was heard of, or a setting has changed: the idle time starts. */
  restartKeepAlive(now: number): void {
    this.unansweredKeepAlives = 0;
    this.keepAliveDue = false;
    const isOpen = this.isSynchronized && this.state !== State.timeWait;
    this.keepAliveAt = this.keepAliveIdle > 0 && isOpen ? now + this.keepAliveIdle : NEVER;
    if (this.keepAliveAt !== NEVER) this.#owner.reschedule(this);
  }

  /** Sets the first sequence number of our side; called once before the SYN leaves. */
  startSending(sequence: Sequence): void {
    this.initialSend = sequence;
    this.sendUnacknowledged = sequence;
    this.sendNext = sequence;
    this.sendMaximum = sequence;
    this.bufferStart = sequenceAdd(sequence, 1);
    this.roundTrip.roundEnd = sequence;
    this.recovery.start(sequence);
    this.synDue = true;
  }

  /**
   * Takes over what the peer's SYN said.
   *
   * @param maximumSegment - the largest segment by both sides' word and the path's, without options.
   */
  startReceiving(sequence: Sequence, window: number, maximumSegment: number, options: TcpOptions, now: number): void {
    const { settings } = this.#shared;
    // What our own SYN offered, when it went first, stands.
    const offered = sequenceDistance(this.receiveEdge, this.receiveNext);
    this.initialReceive = sequence;
    this.receiveNext = sequenceAdd(sequence, 1);
    this.receiveEdge = sequenceAdd(this.receiveNext, offered);
    this.lastAcknowledgmentSent = this.receiveNext;
    this.selective = settings.selectiveAcknowledgments && options.sackPermitted;
    this.timestamps = settings.timestamps && options.hasTimestamps;
    this.recentTimestamp = this.timestamps ? options.timestampValue : 0;
    this.recentTimestampAt = now;
    this.heardAt = now;
    // The options of every segment are part of what the size allows (RFC 6691, 3).
    this.maximumSegment = Math.max(MINIMUM_MSS, maximumSegment - (this.timestamps ? TIMESTAMPS_LENGTH : 0));
    this.congestion = createCongestionControl(settings.congestionControl, this.maximumSegment);
    // Both sides must have offered scaling, or neither scales (RFC 7323, 2.2).
    this.sendShift = Math.max(0, options.windowShift);
    this.receiveShift = options.windowShift >= 0 ? WINDOW_SHIFT : 0;
    // The window of a SYN is never scaled (RFC 7323, 2.2).
    this.sendWindow = window;
    this.largestSendWindow = window;
    this.windowUpdateSequence = sequence;
  }

  /**
   * Keeps the data and the FIN of a SYN until the handshake is complete (RFC 9293, 3.10.7.3 and 3.10.7.4). More than a
   * usual segment is left for the peer to send again, so that a SYN costs little.
   */
  keepEarlyText(bytes: Uint8Array, offset: number, length: number, fin: boolean): void {
    if (length > MAX_EARLY_DATA) return;
    if (length > 0) this.outOfOrder.insert(this.receiveNext, bytes, offset, length);
    if (!fin) return;
    this.finSeen = true;
    this.finSequence = sequenceAdd(this.receiveNext, length);
  }

  /** The path carries no larger segments than `bytes` of data: what is in flight is cut down to that (RFC 1191, 6.4). */
  limitSegment(bytes: number): void {
    if (bytes >= this.maximumSegment) return;
    this.maximumSegment = Math.max(MINIMUM_MSS, bytes);
    this.congestion.setSegment(this.maximumSegment);
    this.sent.resegment(this.maximumSegment);
    this.recovery.segmentsCut(this);
    this.#owner.wake(this);
  }

  /**
   * The window field to send, which also fixes how much the peer may send: the edge that is kept to never moves back
   * (RFC 9293, 3.8.6), and moves forward only by a useful amount (3.8.6.2.2).
   *
   * @param shift - the scaling in force; 0 in a SYN.
   */
  advertiseWindow(shift: number, now: number): number {
    let window = sequenceDistance(this.receiveEdge, this.receiveNext);
    const room = this.receiveLimit - this.unconsumed;
    if (room - window >= Math.min(this.receiveLimit >> 1, this.maximumSegment)) {
      window += this.#shared.windows.open(this, room - window, now);
    }
    // Rounding down takes back up to a scaling unit of what was offered before (RFC 7323, 2.4), so it is done only
    // where rounding up would promise more than there is room for. What was offered is accepted in any case.
    let field = (window + (1 << shift) - 1) >> shift;
    if (field << shift > room) field = window >> shift;
    field = Math.min(0xffff, field);
    const edge = sequenceAdd(this.receiveNext, field << shift);
    if (sequenceAfter(edge, this.receiveEdge)) this.receiveEdge = edge;
    this.#shared.windows.update(this);
    return field;
  }

  /** Lets the receive buffer grow when the owner keeps up with a flow that fills it. */
  #growReceiveLimit(): void {
    // Half a window is early enough for the next to be open before a sender in slow start needs it.
    if (this.unconsumed > this.receiveLimit >> 2 || this.deliveredSinceGrowth < this.receiveLimit >> 1) return;
    this.#deliveredBefore += this.deliveredSinceGrowth;
    this.deliveredSinceGrowth = 0;
    const most = Math.min(MAXIMUM_BUFFER, this.#shared.windows.usefulBuffer(this));
    if (this.receiveLimit >= most || this.receiveShift === 0) return;
    if (this.#owner.reserve(this, this.receiveLimit)) this.receiveLimit *= 2;
  }

  /**
   * Lets the send buffer grow when it was what held the flow back: to two congestion windows, so that there is a whole
   * one when the owner is asked for more. What the link's or the peer's limits keep back is better left with the owner.
   */
  growSendLimit(acknowledged: number): void {
    this.acknowledgedSinceGrowth += acknowledged;
    if (this.acknowledgedSinceGrowth < this.sendLimit >> 2) return;
    this.#acknowledgedBefore += this.acknowledgedSinceGrowth;
    this.acknowledgedSinceGrowth = 0;
    const heldBack = this.sendHeldBack;
    this.sendHeldBack = this.writableWanted;
    if (!heldBack || this.sendLimit >= Math.min(MAXIMUM_BUFFER, 2 * this.congestion.window)) return;
    if (this.#owner.reserve(this, this.sendLimit)) this.sendLimit *= 2;
  }

  /** The peer has sent all: its window is of no use to it any more. */
  windowIsOver(): void {
    this.#shared.windows.leave(this);
  }

  /** The earliest of the deadlines. */
  get deadline(): number {
    let deadline = this.retransmitAt;
    if (this.reorderAt < deadline) deadline = this.reorderAt;
    if (this.probeAt < deadline) deadline = this.probeAt;
    if (this.delayedAckAt < deadline) deadline = this.delayedAckAt;
    if (this.keepAliveAt < deadline) deadline = this.keepAliveAt;
    if (this.paceAt < deadline) deadline = this.paceAt;
    if (this.windowAt < deadline) deadline = this.windowAt;
    if (this.expireAt < deadline) deadline = this.expireAt;
    // Only while something waits does the user's patience run.
    if (this.userTimeout > 0 && (this.retransmitAt !== NEVER || this.probeAt !== NEVER)) {
      deadline = Math.min(deadline, this.stalledSince + this.userTimeout);
    }
    return deadline;
  }

  /** Ends the connection for its owner and gives its memory back; the caller has taken it out of the tables. */
  finish(state: State, reason: CloseReason): void {
    this.state = state;
    this.retransmitAt = NEVER;
    this.reorderAt = NEVER;
    this.probeAt = NEVER;
    this.delayedAckAt = NEVER;
    this.keepAliveAt = NEVER;
    this.paceAt = NEVER;
    this.windowAt = NEVER;
    this.#shared.windows.leave(this);
    this.outOfOrder.clear();
    this.blocks = null;
    this.sent.clear();
    this.#shared.load.relieved(this);
    this.sendBuffer.clear();
    if (state === State.timeWait) this.#letGo();
    const { handler } = this;
    this.handler = null;
    handler?.closed(this, reason);
  }

  /** Gives up what it has no use for any more: there may be thousands in TIME-WAIT. */
  #letGo(): void {
    const { spent, congestionBeforeHandshake } = this.#shared;
    this.sendBuffer = spent.sendBuffer;
    this.outOfOrder = spent.outOfOrder;
    this.sent = spent.sent;
    this.recovery = spent.recovery;
    this.congestion = congestionBeforeHandshake;
  }
}

/** The largest buffer of one flow in one direction, in bytes. */
export const MAXIMUM_BUFFER = 4 * 1024 * 1024;
