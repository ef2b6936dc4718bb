import { type Ipv4, isMulticast } from "../address.ts";
import type { Neighbor } from "../arp/neighbor-table.ts";
import type { Icmp } from "../icmp/icmp.ts";
import {
  UNREACHABLE_HOST,
  UNREACHABLE_NET,
  UNREACHABLE_PROHIBITED,
  type UnreachableCode,
} from "../icmp/unreachable.ts";
import type { Ipv4Output } from "../ipv4/output.ts";
import { LinkedList } from "../linked-list.ts";
import { type Sequence, sequenceAfter, sequenceDistance } from "../sequence.ts";
import type { StackStatistics } from "../statistics.ts";
import { TimerQueue } from "../timer-queue.ts";
import { TokenBucket } from "../token-bucket.ts";
import { IPV4_HEADER_LENGTH, PROTOCOL_TCP, readDestination, readSource } from "../wire/ipv4.ts";
import {
  ACK,
  checkTcpSegment,
  FIN,
  RST,
  readFlags,
  readSequenceNumber,
  readTcpDestinationPort,
  readTcpHeaderLength,
  readTcpPorts,
  readTcpSourcePort,
  readWindow,
  SYN,
  TCP_HEADER_LENGTH,
} from "../wire/tcp.ts";
import { DEFAULT_MSS, TcpOptions, TIMESTAMPS_LENGTH } from "../wire/tcp-options.ts";
import { BufferBudget } from "./buffer-budget.ts";
import { createCongestionControl } from "./congestion/congestion-control.ts";
import { State, TcpConnection } from "./connection.ts";
import type { CloseReason, FourTuple, RejectReason, TcpFlow, TcpHandler, TcpRequestHandler } from "./flow.ts";
import { FlowTable } from "./flow-table.ts";
import { InitialSequenceNumbers, TimestampOffsets } from "./isn.ts";
import { LinkLoad } from "./link-load.ts";
import { LossRecovery } from "./loss-recovery.ts";
import { nextMtu, PathMtuCache } from "./path-mtu.ts";
import { PendingRequest, type RequestOwner } from "./pending-request.ts";
import { ReassemblyQueue } from "./reassembly-queue.ts";
import { ReceiveLoad } from "./receive-load.ts";
import { Receiver } from "./receiver.ts";
import { ResetSender } from "./reset-sender.ts";
import { Delivery, RetransmissionQueue, SegmentRingPool } from "./retransmission-queue.ts";
import { SendBuffer, SendQueues } from "./send-buffer.ts";
import type { TcpSettings } from "./settings.ts";
import type { ConnectionOwner, SharedState } from "./shared-state.ts";
import { Timeouts } from "./timeouts.ts";
import { Transmitter } from "./transmitter.ts";
import { Turns } from "./turns.ts";

const NEVER = Number.POSITIVE_INFINITY;
/** Twice the maximum segment lifetime (RFC 9293, 3.4.2). On one link without routers nothing lives for 5 s. */
const TIME_WAIT_MS = 10_000;
/** Connections in TIME-WAIT; beyond, the oldest ends early, which only makes a stray duplicate draw a reset. */
const MAX_TIME_WAIT = 8192;
/** How long a request may wait for its owner: longer than any host's own connect takes to fail. */
const REQUEST_TIMEOUT_MS = 180_000;
/** Bytes of an IPv4 and a TCP header without options. */
const HEADERS_LENGTH = IPV4_HEADER_LENGTH + TCP_HEADER_LENGTH;
const CHALLENGES_PER_SECOND = 100;
const EPHEMERAL_FIRST = 49152;
const EPHEMERAL_COUNT = 65536 - EPHEMERAL_FIRST;

export interface TcpEnvironment {
  readonly output: Ipv4Output;
  readonly icmp: Icmp;
  readonly statistics: StackStatistics;
  readonly now: () => number;
  readonly randomBytes: (bytes: Uint8Array) => void;
  readonly route: (address: Ipv4) => Neighbor | null;
  /** Takes each SYN that no listener claims. */
  readonly request: TcpRequestHandler;
  /** There is something to send, found outside of {@link Tcp.receive}. */
  readonly wake: () => void;
  readonly settings: TcpSettings;
  /** Chooses the first sequence number of each connection; {@link InitialSequenceNumbers} when absent. */
  readonly initialSequence: ((tuple: FourTuple) => Sequence) | undefined;
}

/** All connections of a stack (RFC 9293): finds the one a segment is for, makes and ends them, and keeps their time. */
export class Tcp implements ConnectionOwner, RequestOwner {
  readonly #options: TcpEnvironment;
  readonly #shared: SharedState;
  readonly #turns: Turns;
  readonly #flows: FlowTable<TcpConnection>;
  readonly #timers = new TimerQueue<TcpConnection>();
  readonly #initialSequence: (tuple: FourTuple) => Sequence;
  readonly #transmitter: Transmitter;
  readonly #receiver: Receiver;
  readonly #resets: ResetSender;
  readonly #timeouts: Timeouts;
  readonly #budget: BufferBudget;
  readonly #timestampOffsets: TimestampOffsets;
  readonly #paths = new PathMtuCache();
  readonly #synOptions = new TcpOptions();
  readonly #challenges = new TokenBucket(CHALLENGES_PER_SECOND, CHALLENGES_PER_SECOND);
  /** By port, then by address; address 0 listens on every address. */
  readonly #listeners = new Map<number, Map<Ipv4, TcpRequestHandler>>();
  /** Connections that peers began and whose handshake is not complete, requests included, oldest first. */
  readonly #halfOpen = new LinkedList<TcpConnection>();
  /** Connections in TIME-WAIT, oldest first. */
  readonly #timeWait = new LinkedList<TcpConnection>();
  #nextEphemeral: number;

  constructor(options: TcpEnvironment) {
    this.#options = options;
    const random = new Uint8Array(6);
    options.randomBytes(random);
    const view = new DataView(random.buffer);
    this.#flows = new FlowTable(view.getInt32(0));
    this.#nextEphemeral = view.getUint16(4) % EPHEMERAL_COUNT;
    const numbers = new InitialSequenceNumbers(options.randomBytes);
    this.#initialSequence = options.initialSequence ?? ((tuple) => numbers.next(tuple, options.now()));
    this.#timestampOffsets = new TimestampOffsets(options.randomBytes);
    const { output, statistics, route, settings } = options;
    const load = new LinkLoad(settings.receiveRing);
    const reschedule = (connection: TcpConnection) => this.reschedule(connection);
    const windows = new ReceiveLoad(settings.receiveRing, reschedule);
    const queues = new SendQueues();
    const segments = new SegmentRingPool();
    const delivery = new Delivery();
    this.#shared = {
      segments,
      delivery,
      load,
      windows,
      queues,
      congestionBeforeHandshake: createCongestionControl(settings.congestionControl, DEFAULT_MSS),
      spent: {
        sendBuffer: new SendBuffer(queues),
        outOfOrder: new ReassemblyQueue(),
        sent: new RetransmissionQueue(segments, delivery, load),
        recovery: new LossRecovery(delivery, statistics, load),
      },
      statistics,
      settings,
    };
    this.#budget = new BufferBudget(settings.bufferBudget);
    const remove = (connection: TcpConnection, reason: CloseReason) => this.#remove(connection, reason);
    const wake = (connection: TcpConnection) => this.wake(connection);
    const abort = (connection: TcpConnection, reason: CloseReason) => this.abort(connection, reason);
    this.#timeouts = new Timeouts({ wake, abort, remove }, settings, statistics, windows);
    this.#transmitter = new Transmitter({ output, statistics, settings, load, queues, route, reschedule });
    this.#turns = new Turns(this.#transmitter, load, windows, statistics);
    this.#resets = new ResetSender({ output, statistics, route });
    this.#receiver = new Receiver({
      statistics,
      maximumSegment: (address) => this.#maximumSegmentTo(address),
      wake,
      reschedule,
      established: (connection) => connection.leavePlace(),
      remove,
      enterTimeWait: (connection) => this.#enterTimeWait(connection),
      restartTimeWait: (connection) => this.#restartTimeWait(connection),
      pathTooSmall: (connection, bytes) => {
        this.#limitPath(connection, bytes + HEADERS_LENGTH + (connection.timestamps ? TIMESTAMPS_LENGTH : 0));
      },
      acknowledge: (connection) => this.#acknowledge(connection),
      challenge: (connection) => this.#challenge(connection),
      reset: (view, packet, segment, length) => this.#resets.answer(view, packet, segment, length),
    });
  }

  /** Connections of any state, requests and TIME-WAIT included. */
  get size(): number {
    return this.#flows.size;
  }

  /** Bytes of the budget that buffers have been promised. */
  get reservedBytes(): number {
    return this.#budget.reserved;
  }

  /** When {@link poll} is next due. */
  get nextDeadline(): number {
    return this.#timers.nextDeadline;
  }

  /** Every connection, requests and TIME-WAIT included. */
  connections(): Iterable<TcpConnection> {
    return this.#flows;
  }

  /**
   * Hands the SYNs for an address and port to `handler`; address 0 stands for every address.
   *
   * @throws {Error} when the pair is taken.
   * @returns a function that ends the listening; connections live on.
   */
  listen(address: Ipv4, port: number, handler: TcpRequestHandler): () => void {
    let byAddress = this.#listeners.get(port);
    if (byAddress === undefined) {
      byAddress = new Map();
      this.#listeners.set(port, byAddress);
    }
    if (byAddress.has(address)) throw new Error(`TCP port ${port} is taken`);
    byAddress.set(address, handler);
    return () => {
      if (byAddress.get(address) !== handler) return;
      byAddress.delete(address);
      if (byAddress.size === 0 && this.#listeners.get(port) === byAddress) this.#listeners.delete(port);
    };
  }

  /** Whether somebody listens on an address and port. */
  isListening(address: Ipv4, port: number): boolean {
    return this.#listenerFor(address, port) !== undefined;
  }

  /**
   * Opens a connection to the peer's side of the link. How it goes is told to `handler`, never before this returns.
   *
   * @param tuple - a local port of 0 has one chosen from the ephemeral range (RFC 6056, 3.3.2).
   * @returns null when the four-tuple is in use, no ephemeral port is free, or there are too many connections.
   */
  dial(tuple: FourTuple, handler: TcpHandler): TcpFlow | null {
    const { localAddress, remoteAddress, remotePort } = tuple;
    if (this.#isFull()) return null;
    const localPort = tuple.localPort === 0 ? this.#choosePort(tuple) : tuple.localPort;
    if (localPort === 0 || this.#flows.get(remoteAddress, localAddress, (remotePort << 16) | localPort) !== null) {
      return null;
    }
    const connection = this.#newConnection(localAddress, localPort, remoteAddress, remotePort);
    connection.handler = handler;
    connection.isActive = true;
    connection.state = State.synSent;
    this.#startSending(connection);
    this.#options.statistics.tcpDialed++;
    return connection;
  }

  /** Takes in a segment of `length` bytes at `segment`, of the packet at `packet`. */
  receive(bytes: Uint8Array, view: DataView, packet: number, segment: number, length: number): void {
    const { statistics } = this.#options;
    const source = readSource(view, packet);
    const destination = readDestination(view, packet);
    const fault = checkTcpSegment(view, segment, length, source, destination);
    if (fault !== null) {
      if (fault === "malformed") statistics.dropMalformed++;
      else statistics.dropChecksum++;
      return;
    }
    statistics.tcpSegmentsReceived++;
    const connection = this.#flows.get(source, destination, readTcpPorts(view, segment));
    if (connection === null) {
      this.#receiveUnknown(bytes, view, packet, segment, length);
    } else if (connection.state === State.requested) {
      this.#receiveRequested(connection, bytes, view, packet, segment, length);
    } else if (connection.state === State.timeWait && this.#isNewerSyn(connection, view, segment)) {
      this.#remove(connection, "finished");
      this.#receiveUnknown(bytes, view, packet, segment, length);
    } else {
      this.#receiver.receive(connection, bytes, view, packet, segment, length, this.#options.now());
    }
  }

  /** The peer could not deliver a segment of ours: ends the attempt of a {@link dial} (RFC 5461, 4.2 for the rest). */
  receiveUnreachable(tuple: FourTuple, sequence: number): void {
    const ports = (tuple.remotePort << 16) | tuple.localPort;
    const connection = this.#flows.get(tuple.remoteAddress, tuple.localAddress, ports);
    if (connection === null || connection.state !== State.synSent || sequence !== connection.initialSend) return;
    this.#remove(connection, "unreachable");
  }

  /**
   * A router on the way to the peer could not pass on a segment of ours (RFC 1191). What it says is believed only of a
   * segment that is in flight, which an outsider cannot know (RFC 5927, 4).
   *
   * @param mtu - what the router's next link carries, 0 when it does not say.
   */
  receiveFragmentationNeeded(tuple: FourTuple, sequence: number, mtu: number): void {
    const ports = (tuple.remotePort << 16) | tuple.localPort;
    const connection = this.#flows.get(tuple.remoteAddress, tuple.localAddress, ports);
    if (connection === null || connection.sent.isEmpty) return;
    const ahead = sequenceDistance(sequence, connection.sendUnacknowledged);
    if (ahead < 0 || !sequenceAfter(connection.sendNext, sequence)) return;
    const optionsLength = connection.timestamps ? TIMESTAMPS_LENGTH : 0;
    const next = nextMtu(connection.maximumSegment + optionsLength + HEADERS_LENGTH, mtu);
    if (next !== NEVER) this.#limitPath(connection, next);
  }

  /**
   * Lets every connection with something to send have its turns.
   *
   * @returns false when the link took no more; what is left goes on at the next call.
   */
  flush(now: number): boolean {
    return this.#turns.run(now);
  }

  /** Does what is due at `now`: retransmissions, probes, delayed acknowledgments, and the ends of waits. */
  poll(now: number): void {
    for (;;) {
      const connection = this.#timers.takeDue(now);
      if (connection === null) return;
      const { request } = connection;
      if (request === null) this.#timeouts.expire(connection, now);
      else if (connection.expireAt <= now) this.#cancel(request);
      if (connection.state !== State.closed) this.reschedule(connection);
    }
  }

  /** Ends every connection without a word to the peer, because the VM is gone. */
  detach(): void {
    for (const connection of [...this.#flows]) {
      const { request } = connection;
      if (request !== null) this.#cancel(request);
      else this.#remove(connection, "detached");
    }
  }

  /** Ends every connection with a reset, because this side is going away. */
  abortAll(): void {
    for (const connection of [...this.#flows]) this.end(connection);
  }

  /** Ends a connection with a reset, whatever its state, and tells its owner. */
  end(connection: TcpConnection): void {
    const { request } = connection;
    if (request !== null) {
      request.reject("refused");
      request.cancel();
    } else if (connection.state === State.timeWait) {
      this.#remove(connection, "finished");
    } else {
      this.abort(connection);
    }
  }

  wake(connection: TcpConnection): void {
    if (this.#turns.wake(connection)) this.#options.wake();
  }

  abort(connection: TcpConnection, reason: CloseReason = "aborted"): void {
    if (connection.state === State.timeWait || connection.state === State.closed) return;
    // In SYN-SENT there is nothing yet that the peer would have to forget (RFC 9293, 3.10.5).
    if (connection.state !== State.synSent) this.#transmitter.sendReset(connection, this.now());
    this.#remove(connection, reason);
  }

  reserve(connection: TcpConnection, bytes: number): boolean {
    return this.#budget.reserve(connection, bytes, this.#flows, this.now());
  }

  /** Completes the handshake of a request. */
  accept(request: PendingRequest, handler: TcpHandler): TcpFlow {
    const { connection } = request;
    connection.request = null;
    connection.handler = handler;
    connection.state = State.synReceived;
    connection.expireAt = NEVER;
    this.#startSending(connection);
    this.#options.statistics.tcpAccepted++;
    return connection;
  }

  /** Turns a request down. */
  reject(request: PendingRequest, reason: RejectReason): void {
    const { connection } = request;
    connection.request = null;
    this.#remove(connection, "aborted");
    this.#options.statistics.tcpRejected++;
    if (reason === "silent") return;
    if (reason === "refused") {
      const { localAddress, localPort, remoteAddress, remotePort, receiveNext } = connection;
      this.#resets.send(localAddress, localPort, remoteAddress, remotePort, 0, receiveNext, RST | ACK);
      return;
    }
    this.#options.icmp.unreachableFlow(
      { source: connection.remoteAddress, destination: connection.localAddress },
      PROTOCOL_TCP,
      connection.ports,
      connection.initialReceive,
      REJECT_CODES[reason],
      null,
    );
  }

  #isFull(): boolean {
    return this.#flows.size - this.#timeWait.size >= this.#options.settings.maximumConnections;
  }

  #newConnection(localAddress: Ipv4, localPort: number, remoteAddress: Ipv4, remotePort: number): TcpConnection {
    const neighbor = this.#options.route(remoteAddress);
    const connection = new TcpConnection(
      this,
      this.#shared,
      localAddress,
      localPort,
      remoteAddress,
      remotePort,
      neighbor,
    );
    this.#budget.start(connection, this.#flows, this.now());
    this.#flows.add(connection);
    return connection;
  }

  now(): number {
    return this.#options.now();
  }

  /** The largest segment, without options, that fits the link and the path to an address. */
  #maximumSegmentTo(address: Ipv4): number {
    return Math.min(this.#transmitter.maximumSegment, this.#paths.get(address, this.now()) - HEADERS_LENGTH);
  }

  #limitPath(connection: TcpConnection, mtu: number): void {
    this.#paths.limit(connection.remoteAddress, mtu, this.now());
    connection.limitSegment(mtu - HEADERS_LENGTH - (connection.timestamps ? TIMESTAMPS_LENGTH : 0));
  }

  #startSending(connection: TcpConnection): void {
    const { localAddress, remoteAddress } = connection;
    connection.timestampOffset = this.#timestampOffsets.of(localAddress, remoteAddress);
    connection.startSending(this.#initialSequence(connection));
    this.wake(connection);
  }

  #choosePort({ localAddress, remoteAddress, remotePort }: FourTuple): number {
    for (let tries = 0; tries < EPHEMERAL_COUNT; tries++) {
      const port = EPHEMERAL_FIRST + this.#nextEphemeral;
      this.#nextEphemeral = (this.#nextEphemeral + 1) % EPHEMERAL_COUNT;
      if (this.#flows.get(remoteAddress, localAddress, (remotePort << 16) | port) === null) return port;
    }
    return 0;
  }

  #listenerFor(address: Ipv4, port: number): TcpRequestHandler | undefined {
    const byAddress = this.#listeners.get(port);
    return byAddress === undefined ? undefined : (byAddress.get(address) ?? byAddress.get(0));
  }

  /** A segment without a connection (RFC 9293, 3.10.7.1 and 3.10.7.2). */
  #receiveUnknown(bytes: Uint8Array, view: DataView, packet: number, segment: number, length: number): void {
    const flags = readFlags(view, segment);
    if ((flags & RST) !== 0) return;
    if ((flags & (SYN | ACK)) !== SYN) {
      this.#resets.answer(view, packet, segment, length);
      return;
    }
    const { statistics } = this.#options;
    const localAddress = readDestination(view, packet);
    const localPort = readTcpDestinationPort(view, segment);
    const remotePort = readTcpSourcePort(view, segment);
    if (localPort === 0 || remotePort === 0 || isMulticast(localAddress) || localAddress === -1) {
      statistics.dropAddress++;
      return;
    }
    if (this.#isFull()) {
      statistics.dropConnectionLimit++;
      return;
    }
    if (this.#halfOpen.size >= this.#options.settings.maximumHalfOpen) this.#evictHalfOpen();
    const now = this.now();
    const remoteAddress = readSource(view, packet);
    const connection = this.#newConnection(localAddress, localPort, remoteAddress, remotePort);
    const options = this.#synOptions;
    options.read(view, segment);
    connection.state = State.requested;
    const largest = Math.min(options.maximumSegmentSize, this.#maximumSegmentTo(remoteAddress));
    connection.startReceiving(readSequenceNumber(view, segment), readWindow(view, segment), largest, options, now);
    const headerLength = readTcpHeaderLength(view, segment);
    connection.keepEarlyText(bytes, segment + headerLength, length - headerLength, (flags & FIN) !== 0);
    connection.expireAt = now + REQUEST_TIMEOUT_MS;
    this.reschedule(connection);
    connection.place = this.#halfOpen.add(connection);
    const request = new PendingRequest(this, connection);
    connection.request = request;
    (this.#listenerFor(localAddress, localPort) ?? this.#options.request)(request);
  }

  /** A segment for a request that its owner has not answered. */
  #receiveRequested(
    connection: TcpConnection,
    bytes: Uint8Array,
    view: DataView,
    packet: number,
    segment: number,
    length: number,
  ): void {
    const { request } = connection;
    if (request === null) return;
    const flags = readFlags(view, segment);
    const sequence = readSequenceNumber(view, segment);
    if ((flags & RST) !== 0) {
      if (sequence === connection.receiveNext) this.#cancel(request);
    } else if ((flags & (SYN | ACK)) === SYN && sequence !== connection.initialReceive) {
      // The peer gave the first attempt up and uses the port again.
      this.#cancel(request);
      this.#receiveUnknown(bytes, view, packet, segment, length);
    }
    // Otherwise it is the SYN again, which asks for nothing new.
  }

  /** Whether a segment for a connection in TIME-WAIT opens a new one (RFC 9293, 3.6.1; RFC 6191, 2). */
  #isNewerSyn(connection: TcpConnection, view: DataView, segment: number): boolean {
    if ((readFlags(view, segment) & (SYN | ACK | RST)) !== SYN) return false;
    const options = this.#synOptions;
    options.read(view, segment);
    if (connection.timestamps && options.hasTimestamps) {
      const later = (options.timestampValue - connection.recentTimestamp) | 0;
      if (later !== 0) return later > 0;
    }
    // A SYN beyond what was received cannot be an old duplicate.
    return sequenceAfter(readSequenceNumber(view, segment), connection.receiveNext);
  }

  /** Gives up the oldest connection whose handshake is not complete. */
  #evictHalfOpen(): void {
    const oldest = this.#halfOpen.first;
    if (oldest === undefined) return;
    this.#options.statistics.dropConnectionLimit++;
    if (oldest.request !== null) this.#cancel(oldest.request);
    else this.#remove(oldest, "timeout");
  }

  #cancel(request: PendingRequest): void {
    request.connection.request = null;
    this.#remove(request.connection, "aborted");
    request.cancel();
  }

  reschedule(connection: TcpConnection): void {
    if (connection.state === State.closed) return;
    const { deadline } = connection;
    if (deadline !== NEVER) this.#timers.schedule(connection, deadline);
  }

  #enterTimeWait(connection: TcpConnection): void {
    this.#budget.release(connection);
    const oldest = this.#timeWait.first;
    if (oldest !== undefined && this.#timeWait.size >= MAX_TIME_WAIT) this.#remove(oldest, "finished");
    connection.leavePlace();
    connection.place = this.#timeWait.add(connection);
    this.#restartTimeWait(connection);
    this.wake(connection);
    connection.finish(State.timeWait, "finished");
  }

  #restartTimeWait(connection: TcpConnection): void {
    connection.expireAt = this.#options.now() + TIME_WAIT_MS;
    this.reschedule(connection);
  }

  #remove(connection: TcpConnection, reason: CloseReason): void {
    if (connection.state === State.closed) return;
    this.#flows.delete(connection);
    this.#timers.remove(connection);
    connection.leavePlace();
    this.#budget.release(connection);
    connection.finish(State.closed, reason);
  }

  #challenge(connection: TcpConnection): void {
    // Before our SYN has left there is no number that the peer could be challenged with.
    if (connection.sendMaximum === connection.initialSend || !this.#challenges.take(this.now())) return;
    this.#options.statistics.tcpChallengeAcks++;
    this.#transmitter.sendAcknowledgment(connection, this.now());
  }

  /** Acknowledges at once; what the link does not take now goes at the end of the turn. */
  #acknowledge(connection: TcpConnection): void {
    connection.acknowledgeNow = true;
    if (!this.#transmitter.sendAcknowledgment(connection, this.now())) this.wake(connection);
  }
}

const REJECT_CODES: Record<Exclude<RejectReason, "refused" | "silent">, UnreachableCode> = {
  "net-unreachable": UNREACHABLE_NET,
  "host-unreachable": UNREACHABLE_HOST,
  prohibited: UNREACHABLE_PROHIBITED,
};
