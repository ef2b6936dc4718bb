import { createSocket, type Socket } from "node:dgram";
import { closeSync } from "node:fs";
import { openPingSocket, type PingSocketResult } from "@hostd/native";
import { copyBytes, type EchoRequest, formatIpv4, type Ipv4, parseIpv4 } from "@hostd/stack";
import { type Clock, type FailureLog, type IdleEntry, IdleTable } from "@hostd/streams";
import { classifyDestination, type DestinationConfig } from "./destination.ts";
import { ECHO_HEADER_LENGTH, MAX_ECHO_DATA, readEchoReply, writeEchoRequest } from "./echo-message.ts";
import type { GuestFlow } from "./guest-flow.ts";
import { literalLookup } from "./literal-lookup.ts";
import type { EchoFlow, EgressStack } from "./stack-port.ts";
import { REJECTED_DESTINATION_CODES, SOCKET_ERROR_CODES } from "./unreachable-code.ts";

export interface EchoLimits {
  /** Host sockets, one for each address and identifier of a guest; 64 unless given. */
  readonly maxEchoSockets?: number;
  /** Idle time of such a socket in milliseconds; 60 s unless given, as RFC 5508, REQ-1 asks for at least. */
  readonly echoIdleTime?: number;
  /** Echo requests sent in a second; 1000 unless given. */
  readonly maxEchoRate?: number;
}

export interface EchoEgressOptions extends EchoLimits {
  readonly stack: EgressStack;
  readonly destinations: DestinationConfig;
  readonly failures: FailureLog;
  readonly clock: Clock;
  /** `openPingSocket` unless given. */
  readonly openSocket?: () => PingSocketResult;
}

/** What became of echo requests. */
export class EchoEgressStatistics {
  /** Requests sent from the host. */
  sent = 0;
  /** Replies handed to guests. */
  received = 0;
  /** Requests to a destination that may not be reached. */
  rejectedDestination = 0;
  /** Requests beyond the rate, or while their socket was busy. */
  droppedRate = 0;
  /** Requests for which the host gave no socket. */
  droppedNoSocket = 0;
  /** Requests that the host would not send. */
  failed = 0;
  /** Messages that are no reply to the socket they came to. */
  ignored = 0;
  /** Sockets that were opened. */
  opened = 0;
  /** Sockets now. */
  sockets = 0;
}

/** How long a refused socket is not asked for again, in milliseconds. */
const RETRY_TIME = 10_000;

/** `dgram` wants a port; the kernel ignores it for ICMP. */
const ANY_PORT = 1;

/** A host socket for one identifier of one guest, so that identifiers of guests and of the host never mix. */
class EchoSocket implements IdleEntry, GuestFlow {
  readonly key: number;
  readonly idleLimit: number;
  lastUsed = 0;
  readonly guestAddress: Ipv4;
  /** The identifier of its requests. */
  readonly guestPort: number;
  /** The identifier in the requests; the kernel of Linux puts its own in its place. */
  readonly hostIdentifier: number;
  readonly socket: Socket;
  ttl = 0;
  peerAddress: Ipv4 = 0;
  readonly peerPort = 0;
  readonly openedAt: number;
  bytesFromGuest = 0;
  bytesToGuest = 0;

  constructor(
    key: number,
    request: EchoRequest,
    hostIdentifier: number,
    idleLimit: number,
    socket: Socket,
    now: number,
  ) {
    this.key = key;
    this.idleLimit = idleLimit;
    this.guestAddress = request.source;
    this.guestPort = request.identifier;
    this.hostIdentifier = hostIdentifier;
    this.socket = socket;
    this.openedAt = now;
  }
}

/**
 * Sends guests' echo requests from the host, and answers them when an answer came.
 *
 * The kernel tells such a socket only of failures to send; an ICMP error from the network leaves the request without
 * an answer. Where the host gives no socket all requests stay without one, and the log says once what to do.
 */
export class EchoEgress {
  readonly #options: EchoEgressOptions;
  readonly #idleTime: number;
  readonly #maxRate: number;
  readonly #sockets: IdleTable<EchoSocket>;
  readonly #statistics = new EchoEgressStatistics();
  #outgoing = Buffer.allocUnsafeSlow(ECHO_HEADER_LENGTH + MAX_ECHO_DATA);
  #nextIdentifier = process.pid & 0xffff;
  #retryAt = Number.NEGATIVE_INFINITY;
  #rateSecond = Number.NEGATIVE_INFINITY;
  #sentInSecond = 0;

  constructor(options: EchoEgressOptions) {
    this.#options = options;
    this.#idleTime = options.echoIdleTime ?? 60_000;
    this.#maxRate = options.maxEchoRate ?? 1000;
    this.#sockets = new IdleTable({
      limit: options.maxEchoSockets ?? 64,
      clock: options.clock,
      removed: (echoSocket) => {
        echoSocket.socket.close();
      },
    });
  }

  /** Sends an echo request of a guest. */
  handle(request: EchoRequest): void {
    const destination = classifyDestination(request.destination, this.#options.destinations);
    if (destination.kind !== "outside") {
      this.#statistics.rejectedDestination++;
      // The host's address and its own are answered by the stack.
      if (destination.kind === "host-loopback" || destination.reason === "own-address") return;
      const code = REJECTED_DESTINATION_CODES[destination.reason];
      if (code !== null) this.#options.stack.echoUnreachable(code, flowOf(request), null);
      return;
    }
    if (request.length > MAX_ECHO_DATA) {
      this.#statistics.failed++;
      return;
    }
    if (!this.#withinRate()) {
      this.#statistics.droppedRate++;
      return;
    }
    const key = keyOf(request.source, request.identifier);
    const known = this.#sockets.get(key);
    if (known !== undefined) this.#sockets.touch(known);
    const echoSocket = known ?? this.#open(key, request);
    if (echoSocket === null) this.#statistics.droppedNoSocket++;
    else this.#send(echoSocket, request, destination.address);
  }

  /** The addresses and identifiers that have a socket, the one that was not used for longest first. */
  flows(): Iterable<GuestFlow> {
    return this.#sockets;
  }

  /** Forgets an address and identifier; false when there is no such flow. */
  endFlow(guestAddress: Ipv4, identifier: number): boolean {
    const echoSocket = this.#sockets.get(keyOf(guestAddress, identifier));
    if (echoSocket !== undefined) this.#sockets.remove(echoSocket);
    return echoSocket !== undefined;
  }

  stats(): Readonly<EchoEgressStatistics> {
    this.#statistics.sockets = this.#sockets.size;
    return { ...this.#statistics };
  }

  /** Closes all sockets. */
  close(): void {
    this.#sockets.clear();
  }

  #withinRate(): boolean {
    const now = this.#options.clock.now();
    if (now - this.#rateSecond >= 1000) {
      this.#rateSecond = now;
      this.#sentInSecond = 0;
    }
    return ++this.#sentInSecond <= this.#maxRate;
  }

  #open(key: number, request: EchoRequest): EchoSocket | null {
    const { clock, failures, openSocket = openPingSocket } = this.#options;
    const now = clock.now();
    if (now < this.#retryAt) return null;
    const opened = openSocket();
    if (opened.descriptor === null) {
      this.#retryAt = now + RETRY_TIME;
      failures.warn("echo-socket", { code: opened.code }, `guests' pings stay unanswered: ${opened.reason}`);
      return null;
    }
    const socket = createSocket({ type: "udp4", lookup: literalLookup });
    try {
      socket.bind({ fd: opened.descriptor, exclusive: true });
    } catch (error) {
      socket.close();
      closeSync(opened.descriptor);
      this.#retryAt = now + RETRY_TIME;
      failures.warn("echo-socket", { error }, "guests' pings stay unanswered: the ICMP echo socket cannot be used");
      return null;
    }
    this.#nextIdentifier = (this.#nextIdentifier + 1) & 0xffff;
    const echoSocket = new EchoSocket(key, request, this.#nextIdentifier, this.#idleTime, socket, now);
    socket.on("message", (message, { address }) => this.#received(echoSocket, message, address));
    socket.on("error", (error: NodeJS.ErrnoException) => {
      this.#statistics.failed++;
      failures.warn(`echo-receive-${error.code}`, { code: error.code }, "an ICMP echo socket reported an error");
    });
    this.#sockets.add(echoSocket);
    this.#statistics.opened++;
    return echoSocket;
  }

  #send(echoSocket: EchoSocket, request: EchoRequest, address: Ipv4): void {
    const { socket } = echoSocket;
    if (socket.getSendQueueCount() > 0) {
      this.#statistics.droppedRate++;
      return;
    }
    const ttl = Math.max(1, request.ttl - 1);
    if (echoSocket.ttl !== ttl) {
      echoSocket.ttl = ttl;
      socket.setTTL(ttl);
    }
    const message = this.#outgoing;
    copyBytes(request.bytes, request.offset, message, ECHO_HEADER_LENGTH, request.length);
    writeEchoRequest(message, echoSocket.hostIdentifier, request.sequence, request.length);
    const flow = flowOf(request);
    socket.send(message, 0, ECHO_HEADER_LENGTH + request.length, ANY_PORT, formatIpv4(address), (error) => {
      if (error !== null) this.#failed(flow, (error as NodeJS.ErrnoException).code ?? "unknown");
    });
    this.#statistics.sent++;
    echoSocket.peerAddress = request.destination;
    echoSocket.bytesFromGuest += request.length;
    // What the kernel did not take at once is sent from this memory later.
    if (socket.getSendQueueCount() > 0) this.#outgoing = Buffer.allocUnsafeSlow(message.length);
  }

  #failed(flow: EchoFlow, code: string): void {
    this.#statistics.failed++;
    const unreachable = SOCKET_ERROR_CODES.get(code);
    if (unreachable !== undefined) this.#options.stack.echoUnreachable(unreachable, flow, null);
    else this.#options.failures.warn(`echo-send-${code}`, { code }, "the host did not send a guest's ping");
  }

  #received(echoSocket: EchoSocket, message: Buffer, address: string): void {
    const reply = readEchoReply(message);
    // The kernel of Linux has chosen the identifier, and delivers the replies to it only.
    const foreign = process.platform !== "linux" && reply?.identifier !== echoSocket.hostIdentifier;
    if (reply === null || foreign) {
      this.#statistics.ignored++;
      return;
    }
    this.#sockets.touch(echoSocket);
    this.#statistics.received++;
    const { guestAddress, guestPort } = echoSocket;
    const { sequence, offset, length } = reply;
    echoSocket.bytesToGuest += length;
    this.#options.stack.echoReply(parseIpv4(address), guestAddress, guestPort, sequence, message, offset, length);
  }
}

function keyOf(address: Ipv4, identifier: number): number {
  return (address >>> 0) * 65536 + identifier;
}

function flowOf(request: EchoRequest): EchoFlow {
  const { source, destination, identifier, sequence } = request;
  return { source, destination, identifier, sequence };
}
