import { connect, type Socket } from "node:net";
import { formatIpv4, LinkedList, type RejectReason, type TcpRequest } from "@hostd/stack";
import { type FailureLog, RelayPool } from "@hostd/streams";
import { classifyDestination, type DestinationConfig, type RejectedDestination } from "./destination.ts";
import { type ConnectionOwner, type ConnectOptions, TcpConnection } from "./tcp-connection.ts";

export interface TcpLimits {
  /** Connections that wait for the host's answer; beyond it the oldest one is dropped. 1024 unless given. */
  readonly maxPending?: number;
  /** Connections in all; a SYN beyond it is not answered, so the guest tries again. 16384 unless given. */
  readonly maxConnections?: number;
  /** Bytes of memory for what the two ends of all connections have sent each other; 256 MiB unless given. */
  readonly maxQueuedBytes?: number;
}

export interface TcpEgressOptions extends TcpLimits {
  readonly destinations: DestinationConfig;
  readonly failures: FailureLog;
  /** `net.connect` unless given. */
  readonly connect?: (options: ConnectOptions) => Socket;
}

/** What became of the connections that guests asked for. */
export class TcpEgressStatistics {
  /** Connections that the host answered. */
  connected = 0;
  /** Requests to a destination that may not be reached. */
  rejectedDestination = 0;
  /** Requests that the host could not connect. */
  failed = 0;
  /** Requests dropped because too many were waiting. */
  droppedPending = 0;
  /** Requests not answered because there were too many connections. */
  droppedLimit = 0;
  /** Connections reset because there was no memory for what was sent. */
  droppedMemory = 0;
  /** Requests that wait for the host now. */
  pending = 0;
  /** Connections now. */
  open = 0;
  /** Bytes of memory in use for queued data now. */
  queuedBytes = 0;
}

/**
 * How a guest learns that its SYN goes nowhere. A crafted SYN to a loopback address gets the answer of a router that
 * filters; RFC 1122, 3.2.2 forbids an answer to broadcast and multicast.
 */
const DESTINATION_REASONS: Readonly<Record<RejectedDestination, RejectReason>> = {
  "own-address": "refused",
  "no-neighbor": "host-unreachable",
  loopback: "prohibited",
  "this-network": "prohibited",
  "link-local": "prohibited",
  broadcast: "silent",
  multicast: "silent",
};

/** How the host's error is told to the guest. */
const CONNECT_REASONS: ReadonlyMap<string, RejectReason> = new Map([
  ["ECONNREFUSED", "refused"],
  ["ECONNRESET", "refused"],
  ["EHOSTUNREACH", "host-unreachable"],
  ["EHOSTDOWN", "host-unreachable"],
  ["ENETUNREACH", "net-unreachable"],
  ["ENETDOWN", "net-unreachable"],
  ["EACCES", "prohibited"],
  ["EPERM", "prohibited"],
  // The guest's own kernel goes on until it times out, as it does behind any router.
  ["ETIMEDOUT", "silent"],
]);

/**
 * Connects each SYN of a guest to the same destination from the host, and completes the guest's handshake only when
 * the host's is complete.
 *
 * An error that is the host's own (no descriptors, no ports, no memory) passes, so it is logged and the SYN stays
 * unanswered: the guest sends it again, as it does when a network is overloaded.
 */
export class TcpEgress implements ConnectionOwner {
  readonly relays: RelayPool;
  readonly #options: TcpEgressOptions;
  readonly #maxPending: number;
  readonly #maxConnections: number;
  readonly #statistics = new TcpEgressStatistics();
  /** Requests that wait for the host, oldest first. */
  readonly #pending = new LinkedList<TcpConnection>();
  readonly #open = new LinkedList<TcpConnection>();
  /** Sockets whose 'close' has not come yet. */
  #sockets = 0;
  #closing: (() => void) | null = null;

  constructor(options: TcpEgressOptions) {
    this.#options = options;
    this.#maxPending = options.maxPending ?? 1024;
    this.#maxConnections = options.maxConnections ?? 16384;
    this.relays = new RelayPool(options.maxQueuedBytes ?? 256 * 1024 * 1024, () => this.#outOfMemory());
  }

  /** Takes a guest's SYN; the answer follows when the host's is there. */
  handle(request: TcpRequest): void {
    const destination = classifyDestination(request.localAddress, this.#options.destinations);
    if (destination.kind === "rejected") {
      this.#statistics.rejectedDestination++;
      request.reject(DESTINATION_REASONS[destination.reason]);
      return;
    }
    if (this.#closing !== null || this.#pending.size + this.#open.size >= this.#maxConnections) {
      this.#statistics.droppedLimit++;
      if (this.#closing === null) {
        this.#options.failures.warn(
          "tcp-limit",
          { limit: this.#maxConnections },
          "a guest has reached the limit of TCP connections; its further SYNs are not answered",
        );
      }
      request.reject("silent");
      return;
    }
    if (this.#pending.size >= this.#maxPending) this.#dropOldestPending();
    // A service may listen on either loopback address; both are "localhost" to its user.
    const candidates = destination.kind === "host-loopback" ? ["127.0.0.1", "::1"] : [formatIpv4(destination.address)];
    const connection = new TcpConnection(this, request, candidates);
    connection.place = this.#pending.add(connection);
    connection.connect();
  }

  /** Writes what the guests sent in a batch of frames. */
  flushBatch(): void {
    this.relays.flushBatch();
  }

  stats(): Readonly<TcpEgressStatistics> {
    this.#statistics.pending = this.#pending.size;
    this.#statistics.open = this.#open.size;
    this.#statistics.queuedBytes = this.relays.slabs.used;
    return { ...this.#statistics };
  }

  /** Resets all connections, leaves requests unanswered, and waits until every socket is closed. */
  close(): Promise<void> {
    return new Promise((resolve) => {
      const before = this.#closing;
      this.#closing = () => {
        before?.();
        resolve();
      };
      for (const connection of [...this.#pending, ...this.#open]) connection.abandon("silent");
      if (this.#sockets === 0) this.#closing();
    });
  }

  #dropOldestPending(): void {
    this.#statistics.droppedPending++;
    this.#options.failures.warn(
      "tcp-pending",
      { limit: this.#maxPending },
      "too many of a guest's connections wait for an answer of the host; the oldest are dropped",
    );
    this.#pending.first?.abandon("silent");
  }

  connectSocket(options: ConnectOptions): Socket {
    const socket = (this.#options.connect ?? connect)(options);
    this.#sockets++;
    return socket;
  }

  socketClosed(): void {
    this.#sockets--;
    if (this.#sockets === 0) this.#closing?.();
  }

  opened(connection: TcpConnection): void {
    connection.place?.leave();
    connection.place = this.#open.add(connection);
    this.#statistics.connected++;
  }

  connectFailed(code: string): RejectReason {
    this.#statistics.failed++;
    const reason = CONNECT_REASONS.get(code);
    if (reason !== undefined) return reason;
    this.#options.failures.warn(
      `tcp-connect-${code}`,
      { code },
      "the host could not connect a socket for a guest; the SYN stays unanswered",
    );
    return "silent";
  }

  #outOfMemory(): void {
    this.#statistics.droppedMemory++;
    this.#options.failures.warn(
      "tcp-memory",
      { queuedBytes: this.relays.slabs.used },
      "a guest's TCP connection was reset: the memory for queued data is used up",
    );
  }

  ended(connection: TcpConnection): void {
    connection.place?.leave();
    connection.place = null;
  }
}
