import { sendNow } from "@hostd/native";
import {
  copyBytes,
  formatIpv4,
  type Ipv4,
  parseIpv4,
  type UdpDatagram,
  UNREACHABLE_PORT,
  type UnreachableCode,
} from "@hostd/stack";
import { type Clock, type FailureLog, IdleTable } from "@hostd/streams";
import { classifyDestination, type DestinationConfig } from "./destination.ts";
import type { GuestFlow } from "./guest-flow.ts";
import type { EgressStack, UdpFlow } from "./stack-port.ts";
import { bindMainSocket, connectSibling, type EndpointHandler, UdpEndpoint } from "./udp-endpoint.ts";
import { UdpMapping } from "./udp-mapping.ts";
import { REJECTED_DESTINATION_CODES, SOCKET_ERROR_CODES } from "./unreachable-code.ts";

export interface UdpLimits {
  /** Mappings, one host socket each; beyond it the least recently used one goes. 2048 unless given. */
  readonly maxMappings?: number;
  /** Sockets connected to single destinations, in all mappings together. 2048 unless given. */
  readonly maxSiblings?: number;
  /** Idle time of a mapping in milliseconds; 120 s unless given, which is what RFC 4787, REQ-5 asks for at least. */
  readonly idleTime?: number;
  /** Idle time of a mapping that has only been used for DNS, in milliseconds; 30 s unless given. */
  readonly dnsIdleTime?: number;
}

export interface UdpEgressOptions extends UdpLimits {
  readonly stack: EgressStack;
  readonly destinations: DestinationConfig;
  readonly failures: FailureLog;
  readonly clock: Clock;
}

/** What became of datagrams. */
export class UdpEgressStatistics {
  /** Datagrams of guests handed to the host. */
  sent = 0;
  /** Datagrams handed to guests. */
  received = 0;
  /** Datagrams to a destination that may not be reached. */
  rejectedDestination = 0;
  /** Datagrams to or from port 0, or longer than IPv4 allows. */
  droppedInvalid = 0;
  /** Datagrams for which the host had no socket. */
  droppedNoSocket = 0;
  /** Datagrams dropped because their socket had too many waiting. */
  droppedQueue = 0;
  /** Datagrams that the host would not send, whatever the reason. */
  failed = 0;
  /** Datagrams to a guest from a source that no guest may see. */
  droppedSource = 0;
  /** ICMP errors sent to guests. */
  unreachable = 0;
  /** Mappings that were made. */
  opened = 0;
  /** Mappings that were not used for their idle time. */
  expired = 0;
  /** Mappings that made way for others. */
  evicted = 0;
  /** Mappings now. */
  mappings = 0;
  /** Connected sockets now. */
  siblings = 0;
}

/** The largest payload of a UDP datagram in IPv4, in bytes. */
const MAX_PAYLOAD = 65507;
const DNS_PORT = 53;
const HOST_LOOPBACK = "127.0.0.1";

/** Destinations of one mapping that have a connected socket. */
const SIBLINGS_PER_MAPPING = 4;
/** How long a sibling must have been unused before another destination takes its place, in milliseconds. */
const SIBLING_IDLE = 10_000;
/**
 * How long a sibling is used, in milliseconds: `connect` has fixed its source address, and the host's routes may have
 * changed since. The guest cannot know, so it would not open another socket.
 */
const SIBLING_LIFETIME = 30_000;
/** Datagrams and bytes that may wait for one socket in Node. */
const MAX_QUEUED_DATAGRAMS = 256;
const MAX_QUEUED_BYTES = 256 * 1024;

/** Errors that say nothing about a sibling's route and source address. */
const HARMLESS_ERRORS: ReadonlySet<string> = new Set(["ECONNREFUSED", "EMSGSIZE", "ENOBUFS", "ENOMEM", "EAGAIN"]);

/**
 * Sends guests' datagrams from the host, with a mapping and a filtering that do not depend on the destination (RFC
 * 4787, REQ-1 and REQ-8): a guest's address and port is one port of the host, and what anyone sends there reaches the
 * guest with its true source.
 *
 * See docs/decisions/udp-mapping.md for the sockets of a mapping.
 */
export class UdpEgress implements EndpointHandler {
  readonly #stack: EgressStack;
  readonly #destinations: DestinationConfig;
  readonly #failures: FailureLog;
  readonly #clock: Clock;
  readonly #maxSiblings: number;
  readonly #idleTime: number;
  readonly #dnsIdleTime: number;
  readonly #mappings: IdleTable<UdpMapping>;
  readonly #statistics = new UdpEgressStatistics();
  /** The mapping of the last datagram; datagrams come in runs. */
  #recent: UdpMapping | null = null;
  /** Where a payload is copied for sending, as the frame's memory is reused before a busy socket sends. */
  #outgoing = Buffer.allocUnsafeSlow(MAX_PAYLOAD);

  constructor(options: UdpEgressOptions) {
    this.#stack = options.stack;
    this.#destinations = options.destinations;
    this.#failures = options.failures;
    this.#clock = options.clock;
    this.#maxSiblings = options.maxSiblings ?? 2048;
    this.#idleTime = options.idleTime ?? 120_000;
    this.#dnsIdleTime = options.dnsIdleTime ?? 30_000;
    this.#mappings = new IdleTable({
      limit: options.maxMappings ?? 2048,
      clock: options.clock,
      removed: (mapping, reason) => {
        if (reason === "idle") this.#statistics.expired++;
        if (reason === "evicted") this.#statistics.evicted++;
        this.#closeMapping(mapping);
      },
    });
  }

  /** Sends a datagram of a guest. */
  handle(datagram: UdpDatagram): void {
    const { source, sourcePort, destination, destinationPort, length } = datagram;
    if (sourcePort === 0 || destinationPort === 0 || length > MAX_PAYLOAD) {
      this.#statistics.droppedInvalid++;
      return;
    }
    const known = this.#findMapping(source, sourcePort);
    const sibling = known === undefined ? null : this.#findSibling(known, destination, destinationPort);
    if (sibling !== null) {
      this.#use(sibling.mapping, destinationPort);
      this.#send(sibling, datagram, "");
      return;
    }
    const target = classifyDestination(destination, this.#destinations);
    if (target.kind === "rejected") {
      this.#statistics.rejectedDestination++;
      const code = REJECTED_DESTINATION_CODES[target.reason];
      if (code !== null) this.#unreachable(code, { source, sourcePort, destination, destinationPort });
      return;
    }
    const mapping = known ?? this.#addMapping(source, sourcePort, destinationPort);
    if (mapping === null || mapping.main === null) return;
    this.#use(mapping, destinationPort);
    const address = target.kind === "host-loopback" ? HOST_LOOPBACK : this.#textOf(mapping.main, target.address);
    const endpoint = this.#addSibling(mapping, destination, destinationPort, address) ?? mapping.main;
    this.#send(endpoint, datagram, address);
  }

  /** The host's port that stands for a guest's address and port; null when there is none. */
  hostPort(guestAddress: Ipv4, guestPort: number): number | null {
    return this.#mappings.get(keyOf(guestAddress, guestPort))?.port ?? null;
  }

  /** The mappings, the one that was not used for longest first. */
  flows(): Iterable<GuestFlow> {
    return this.#mappings;
  }

  /** Forgets a mapping; false when there is none. */
  endFlow(guestAddress: Ipv4, guestPort: number): boolean {
    const mapping = this.#mappings.get(keyOf(guestAddress, guestPort));
    if (mapping !== undefined) this.#mappings.remove(mapping);
    return mapping !== undefined;
  }

  stats(): Readonly<UdpEgressStatistics> {
    this.#statistics.mappings = this.#mappings.size;
    return { ...this.#statistics };
  }

  /** Closes all sockets. */
  close(): void {
    this.#mappings.clear();
  }

  #findMapping(address: Ipv4, port: number): UdpMapping | undefined {
    const recent = this.#recent;
    if (recent !== null && recent.guestAddress === address && recent.guestPort === port) return recent;
    const mapping = this.#mappings.get(keyOf(address, port));
    if (mapping !== undefined) this.#recent = mapping;
    return mapping;
  }

  #addMapping(address: Ipv4, port: number, destinationPort: number): UdpMapping | null {
    let bound: ReturnType<typeof bindMainSocket>;
    try {
      bound = bindMainSocket();
    } catch (error) {
      this.#statistics.droppedNoSocket++;
      this.#warn("udp-bind", error);
      return null;
    }
    const idleTime = destinationPort === DNS_PORT ? this.#dnsIdleTime : this.#idleTime;
    const mapping = new UdpMapping(keyOf(address, port), address, port, idleTime, bound.port, this.#clock.now());
    this.#mappings.add(mapping);
    this.#statistics.opened++;
    mapping.main = new UdpEndpoint(mapping, null, bound.socket, this.#mappings.now, this);
    this.#recent = mapping;
    return mapping;
  }

  #closeMapping(mapping: UdpMapping): void {
    if (this.#recent === mapping) this.#recent = null;
    mapping.main?.close();
    this.#statistics.siblings -= mapping.siblings.length;
    for (const sibling of mapping.siblings) sibling.close();
    mapping.siblings.length = 0;
  }

  #use(mapping: UdpMapping, destinationPort: number): void {
    if (destinationPort !== DNS_PORT) mapping.idleLimit = this.#idleTime;
    this.#mappings.touch(mapping);
  }

  #findSibling(mapping: UdpMapping, address: Ipv4, port: number): UdpEndpoint | null {
    for (const sibling of mapping.siblings) {
      if (sibling.peerPort !== port || sibling.peerAddress !== address) continue;
      const { now } = this.#mappings;
      if (now - sibling.createdAt >= SIBLING_LIFETIME) {
        this.#closeSibling(sibling);
        return null;
      }
      sibling.lastUsed = now;
      return sibling;
    }
    return null;
  }

  /** A connected socket for this destination, or null when the main socket has to do. */
  #addSibling(mapping: UdpMapping, address: Ipv4, port: number, hostAddress: string): UdpEndpoint | null {
    const { now } = this.#mappings;
    if (mapping.siblings.length >= SIBLINGS_PER_MAPPING) {
      const oldest = mapping.siblings.reduce((one, other) => (other.lastUsed < one.lastUsed ? other : one));
      // A flow with many destinations would open a socket for each datagram.
      if (now - oldest.lastUsed < SIBLING_IDLE) return null;
      this.#closeSibling(oldest);
    }
    if (this.#statistics.siblings >= this.#maxSiblings) return null;
    const socket = connectSibling(mapping.port, hostAddress, port);
    if (socket === null) return null;
    const sibling = new UdpEndpoint(mapping, { address, port }, socket, now, this);
    mapping.siblings.push(sibling);
    this.#statistics.siblings++;
    return sibling;
  }

  #closeSibling(sibling: UdpEndpoint): void {
    const { siblings } = sibling.mapping;
    const index = siblings.indexOf(sibling);
    if (index < 0) return;
    siblings.splice(index, 1);
    this.#statistics.siblings--;
    sibling.close();
  }

  #send(endpoint: UdpEndpoint, datagram: UdpDatagram, address: string): void {
    const { bytes, offset, length } = datagram;
    const { socket, mapping } = endpoint;
    let queued = 0;
    if (endpoint.busy) {
      queued = socket.getSendQueueCount();
      if (queued >= MAX_QUEUED_DATAGRAMS || socket.getSendQueueSize() + length > MAX_QUEUED_BYTES) {
        this.#statistics.droppedQueue++;
        return;
      }
    }
    const ttl = Math.max(1, datagram.ttl - 1);
    if (endpoint.ttl !== ttl) {
      endpoint.ttl = ttl;
      socket.setTTL(ttl);
    }
    this.#statistics.sent++;
    mapping.bytesFromGuest += length;
    mapping.peerAddress = datagram.destination;
    mapping.peerPort = datagram.destinationPort;
    // Not every system takes a write of no bytes for a datagram.
    if (queued === 0 && endpoint.descriptor >= 0 && length > 0) {
      endpoint.busy = false;
      try {
        if (sendNow(endpoint.descriptor, bytes, offset, length)) return;
      } catch (error) {
        this.failed(endpoint, error as NodeJS.ErrnoException);
        return;
      }
    }
    const memory = queued === 0 ? this.#outgoing : Buffer.allocUnsafeSlow(length);
    copyBytes(bytes, offset, memory, 0, length);
    if (endpoint.peerAddress === null) {
      socket.send(memory, 0, length, datagram.destinationPort, address, endpoint.sent);
    } else {
      socket.send(memory, 0, length, endpoint.sent);
    }
    endpoint.busy = socket.getSendQueueCount() > 0;
    // What the kernel did not take at once is sent from this memory later.
    if (endpoint.busy && memory === this.#outgoing) this.#outgoing = Buffer.allocUnsafeSlow(MAX_PAYLOAD);
  }

  received(endpoint: UdpEndpoint, bytes: Uint8Array, address: string, port: number): void {
    const source = this.#guestViewOf(endpoint, address);
    if (source === null || port === 0) this.#statistics.droppedSource++;
    else this.#deliver(endpoint, source, port, bytes, 0, bytes.length);
  }

  receivedFromPeer(endpoint: UdpEndpoint, bytes: Uint8Array, offset: number, length: number): boolean {
    const { peerAddress, peerPort } = endpoint;
    return peerAddress !== null && this.#deliver(endpoint, peerAddress, peerPort, bytes, offset, length);
  }

  #deliver(
    endpoint: UdpEndpoint,
    source: Ipv4,
    port: number,
    bytes: Uint8Array,
    offset: number,
    length: number,
  ): boolean {
    const { mapping } = endpoint;
    this.#mappings.touch(mapping);
    endpoint.lastUsed = this.#mappings.now;
    this.#statistics.received++;
    const { guestAddress, guestPort } = mapping;
    if (!this.#stack.udpSend(source, port, guestAddress, guestPort, bytes, offset, length)) return false;
    mapping.bytesToGuest += length;
    return true;
  }

  failed(endpoint: UdpEndpoint, error: NodeJS.ErrnoException & { address?: string; port?: number }): void {
    const { mapping } = endpoint;
    const code = error.code ?? "unknown";
    const unreachable = SOCKET_ERROR_CODES.get(code);
    const destination =
      endpoint.peerAddress ?? (error.address === undefined ? null : this.#guestViewOf(endpoint, error.address));
    const destinationPort = endpoint.peerAddress === null ? (error.port ?? 0) : endpoint.peerPort;
    this.#statistics.failed++;
    if (unreachable !== undefined && destination !== null) {
      const { guestAddress: source, guestPort: sourcePort } = mapping;
      this.#unreachable(unreachable, { source, sourcePort, destination, destinationPort });
    } else if (code !== "EMSGSIZE") {
      this.#warn("udp-send", error);
    }
    if (endpoint.peerAddress !== null && !HARMLESS_ERRORS.has(code)) this.#closeSibling(endpoint);
  }

  #unreachable(code: UnreachableCode, flow: UdpFlow): void {
    this.#statistics.unreachable++;
    // Only the destination itself knows of its ports.
    this.#stack.udpUnreachable(code, flow, code === UNREACHABLE_PORT ? flow.destination : null);
  }

  #textOf(endpoint: UdpEndpoint, address: Ipv4): string {
    if (endpoint.numberAddress !== address || endpoint.textAddress === "") {
      endpoint.numberAddress = address;
      endpoint.textAddress = formatIpv4(address);
    }
    return endpoint.textAddress;
  }

  /** The address by which a guest knows an address of the host's; null for one that it may not see. */
  #guestViewOf(endpoint: UdpEndpoint, address: string): Ipv4 | null {
    if (address === HOST_LOOPBACK) return this.#destinations.hostAddress;
    if (endpoint.textAddress !== address) {
      endpoint.textAddress = address;
      endpoint.numberAddress = parseIpv4(address);
    }
    return endpoint.numberAddress >>> 24 === 127 ? null : endpoint.numberAddress;
  }

  #warn(kind: string, error: unknown): void {
    const code = (error as NodeJS.ErrnoException).code ?? "unknown";
    this.#failures.warn(`${kind}-${code}`, { code }, "the host did not send a guest's UDP datagrams; they are dropped");
  }
}

function keyOf(address: Ipv4, port: number): number {
  return (address >>> 0) * 65536 + port;
}
