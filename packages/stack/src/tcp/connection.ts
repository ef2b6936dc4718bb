import type { Ipv4 } from "../address.ts";
import type { Neighbor } from "../arp/neighbor-table.ts";
import { type Sequence, sequenceAdd, sequenceAfter, sequenceDistance } from "../sequence.ts";
import type { Timed } from "../timer-queue.ts";
import { DEFAULT_MSS } from "../wire/tcp.ts";
import { NewReno } from "./congestion.ts";
import type { CloseReason, TcpFlow, TcpHandler } from "./flow.ts";
import type { FlowEntry } from "./flow-table.ts";
import { ReassemblyQueue } from "./reassembly-queue.ts";
import { RetransmissionTimeout } from "./round-trip.ts";
import { type BufferPool, SendBuffer } from "./send-buffer.ts";

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

/** What a connection asks of the TCP it belongs to. */
export interface ConnectionOwner {
  /** Has the connection looked at by the transmitter before the turn ends. */
  wake(connection: TcpConnection): void;
  /** Sends a reset, takes the connection out of every table and tells its handler. */
  abort(connection: TcpConnection): void;
  /** Asks for `bytes` more of the memory that buffers may promise; false when there is none left. */
  reserve(connection: TcpConnection, bytes: number): boolean;
}

const NEVER = Number.POSITIVE_INFINITY;

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
  readonly sendBuffer: SendBuffer;
  sendLimit: number;
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
  receiveLimit: number;
  /** Bytes handed to the owner that it has not consumed. */
  unconsumed = 0;
  deliveredSinceGrowth = 0;
  readonly outOfOrder = new ReassemblyQueue();
  /** Where the peer's stream ends, once a FIN told; valid when {@link finSeen}. */
  finSequence: Sequence = 0;
  finSeen = false;

  // Acknowledgments.
  acknowledgeNow = false;
  /** Bytes received since the last acknowledgment left. */
  unacknowledgedBytes = 0;
  /** A control segment (SYN, SYN-ACK or a first FIN) is due even without data or acknowledgment. */
  synDue = false;

  // Loss.
  readonly timeout = new RetransmissionTimeout();
  congestion = new NewReno(DEFAULT_MSS);
  duplicateAcknowledgments = 0;
  inRecovery = false;
  recoveryPoint: Sequence = 0;
  /** The one segment at `sendUnacknowledged` is to be sent again. */
  retransmitFirst = false;
  retransmissions = 0;
  /** The sequence number whose acknowledgment ends a round-trip measurement; valid when `roundTripStart` is not -1. */
  roundTripSequence: Sequence = 0;
  roundTripStart = -1;
  lastSentAt = 0;

  // Deadlines in milliseconds of the stack's clock; the earliest decides when the timer queue hands this out.
  retransmitAt = NEVER;
  probeAt = NEVER;
  unansweredProbes = 0;
  probeDue = false;
  delayedAckAt = NEVER;
  expireAt = NEVER;
  queuedAt = NEVER;
  queueIndex = -1;

  /** Whether the transmitter is going to look at it. */
  awake = false;
  /** Bytes of the shared budget that its buffers hold beyond their initial size. */
  reserved = 0;

  readonly #owner: ConnectionOwner;

  constructor(
    owner: ConnectionOwner,
    pool: BufferPool,
    localAddress: Ipv4,
    localPort: number,
    remoteAddress: Ipv4,
    remotePort: number,
    neighbor: Neighbor | null,
    bufferLimit: number,
  ) {
    this.#owner = owner;
    this.sendBuffer = new SendBuffer(pool);
    this.localAddress = localAddress;
    this.localPort = localPort;
    this.remoteAddress = remoteAddress;
    this.remotePort = remotePort;
    this.ports = (remotePort << 16) | localPort;
    this.neighbor = neighbor;
    this.sendLimit = bufferLimit;
    this.receiveLimit = bufferLimit;
  }

  /** The state's name as the RFC writes it. */
  get stateName(): string {
    return STATE_NAMES[this.state];
  }

  get sendRoom(): number {
    return this.finQueued || this.state === State.closed ? 0 : Math.max(0, this.sendLimit - this.sendBuffer.length);
  }

  get sendQueued(): number {
    return this.sendBuffer.length;
  }

  /** Bytes sent and not acknowledged, SYN and FIN included. */
  get inFlight(): number {
    return sequenceDistance(this.sendNext, this.sendUnacknowledged);
  }

  /** The sequence number of our FIN; meaningful when {@link finQueued}. */
  get finSendSequence(): Sequence {
    return sequenceAdd(this.bufferStart, this.sendBuffer.length);
  }

  /** Whether the handshake is done and the connection is not gone, so that segments carry an acknowledgment. */
  get isSynchronized(): boolean {
    return this.state >= State.established && this.state <= State.timeWait;
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
    if (offered <= this.receiveLimit >> 1 && opened >= useful) {
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

  /** Sets the first sequence number of our side; called once before the SYN leaves. */
  startSending(sequence: Sequence): void {
    this.initialSend = sequence;
    this.sendUnacknowledged = sequence;
    this.sendNext = sequence;
    this.sendMaximum = sequence;
    this.bufferStart = sequenceAdd(sequence, 1);
    this.recoveryPoint = sequence;
    this.synDue = true;
  }

  /** Takes over what the peer's SYN said. */
  startReceiving(sequence: Sequence, window: number, maximumSegment: number, windowShift: number): void {
    // What our own SYN offered, when it went first, stands.
    const offered = sequenceDistance(this.receiveEdge, this.receiveNext);
    this.initialReceive = sequence;
    this.receiveNext = sequenceAdd(sequence, 1);
    this.receiveEdge = sequenceAdd(this.receiveNext, offered);
    this.maximumSegment = Math.max(MINIMUM_MSS, maximumSegment);
    this.congestion = new NewReno(this.maximumSegment);
    // Both sides must have offered scaling, or neither scales (RFC 7323, 2.2).
    this.sendShift = Math.max(0, windowShift);
    this.receiveShift = windowShift >= 0 ? WINDOW_SHIFT : 0;
    // The window of a SYN is never scaled (RFC 7323, 2.2).
    this.sendWindow = window;
    this.largestSendWindow = window;
    this.windowUpdateSequence = sequence;
  }

  /**
   * The window field to send, which also fixes how much the peer may send: the edge that is kept to never moves back
   * (RFC 9293, 3.8.6), and moves forward only by a useful amount (3.8.6.2.2).
   *
   * @param shift - the scaling in force; 0 in a SYN.
   */
  advertiseWindow(shift: number): number {
    let window = sequenceDistance(this.receiveEdge, this.receiveNext);
    const room = this.receiveLimit - this.unconsumed;
    if (room - window >= Math.min(this.receiveLimit >> 1, this.maximumSegment)) window = room;
    // Rounding down takes back up to a scaling unit of what was offered before (RFC 7323, 2.4), so it is done only
    // where rounding up would promise more than there is room for. What was offered is accepted in any case.
    let field = (window + (1 << shift) - 1) >> shift;
    if (field << shift > room) field = window >> shift;
    field = Math.min(0xffff, field);
    const edge = sequenceAdd(this.receiveNext, field << shift);
    if (sequenceAfter(edge, this.receiveEdge)) this.receiveEdge = edge;
    return field;
  }

  /** Lets the receive buffer grow when the owner keeps up with a flow that fills it. */
  #growReceiveLimit(): void {
    if (this.unconsumed > this.receiveLimit >> 2 || this.deliveredSinceGrowth < this.receiveLimit) return;
    this.deliveredSinceGrowth = 0;
    if (this.receiveLimit >= MAXIMUM_BUFFER || this.receiveShift === 0) return;
    if (this.#owner.reserve(this, this.receiveLimit)) this.receiveLimit *= 2;
  }

  /** Lets the send buffer grow when it was what held the flow back. */
  growSendLimit(acknowledged: number): void {
    this.acknowledgedSinceGrowth += acknowledged;
    if (this.acknowledgedSinceGrowth < this.sendLimit) return;
    this.acknowledgedSinceGrowth = 0;
    const heldBack = this.sendHeldBack;
    this.sendHeldBack = this.writableWanted;
    if (!heldBack || this.sendLimit >= MAXIMUM_BUFFER) return;
    if (this.#owner.reserve(this, this.sendLimit)) this.sendLimit *= 2;
  }

  /** The earliest of the deadlines. */
  get deadline(): number {
    return Math.min(this.retransmitAt, this.probeAt, this.delayedAckAt, this.expireAt);
  }

  /** Ends the connection for its owner and gives its memory back; the caller has taken it out of the tables. */
  finish(state: State, reason: CloseReason): void {
    this.state = state;
    this.retransmitAt = NEVER;
    this.probeAt = NEVER;
    this.delayedAckAt = NEVER;
    this.outOfOrder.clear();
    this.sendBuffer.clear();
    const { handler } = this;
    this.handler = null;
    handler?.closed(this, reason);
  }
}

/** The largest buffer of one flow in one direction, in bytes. */
export const MAXIMUM_BUFFER = 4 * 1024 * 1024;
