import type { Mac } from "./address.ts";
import { type Ipv4, type Ipv4Network, isLoopback, isMulticast, networkBroadcast, networkContains } from "./address.ts";
import { Neighbor, NeighborTable } from "./arp/neighbor-table.ts";
import type { EchoHandler } from "./icmp/echo.ts";
import { Icmp, type ReceivedUnreachable } from "./icmp/icmp.ts";
import {
  FRAGMENTATION_NEEDED,
  UNREACHABLE_PORT,
  UNREACHABLE_PROTOCOL,
  type UnreachableCode,
} from "./icmp/unreachable.ts";
import { Ipv4Output } from "./ipv4/output.ts";
import { Reassembler } from "./ipv4/reassembly.ts";
import { type FrameSink, NullLink } from "./link.ts";
import type { Sequence } from "./sequence.ts";
import { StackStatistics } from "./statistics.ts";
import type { FourTuple, TcpFlow, TcpHandler, TcpRequest, TcpRequestHandler } from "./tcp/flow.ts";
import { DEFAULT_TCP_SETTINGS, type TcpSettings } from "./tcp/settings.ts";
import { Tcp } from "./tcp/tcp.ts";
import type { UdpDatagram, UdpHandler } from "./udp/datagram.ts";
import { Udp } from "./udp/udp.ts";
import {
  ETHERNET_HEADER_LENGTH,
  ETHERTYPE_ARP,
  ETHERTYPE_IPV4,
  isGroupMac,
  isWholeEthernetHeader,
  type MacHalves,
  macFromHalves,
  macHalves,
  readDestinationHigh,
  readDestinationLow,
  readEtherType,
  readSourceHigh,
  readSourceLow,
} from "./wire/ethernet.ts";
import { REASSEMBLY_TIME_EXCEEDED, TTL_EXCEEDED } from "./wire/icmpv4.ts";
import {
  checkIpv4Header,
  isFragment,
  PROTOCOL_ICMP,
  PROTOCOL_TCP,
  PROTOCOL_UDP,
  readDestination,
  readDontFragment,
  readHeaderLength,
  readProtocol,
  readSource,
  readTotalLength,
  readTtl,
} from "./wire/ipv4.ts";

/** How often old neighbours are looked for. */
const HOUSEKEEPING_MS = 60_000;

/** What a stack is told of traffic that is not for itself. None may throw. */
export interface StackHandlers {
  /** A SYN for an address that is not the stack's own. */
  tcpRequest: TcpRequestHandler;
  /** A datagram for an address that is not the stack's own. */
  udpDatagram: UdpHandler;
  /** An echo request for an address that is not answered for. */
  echoRequest: EchoHandler;
  /** An answer to {@link Stack.sendEchoRequest}. */
  echoReply?: EchoHandler;
  /** ICMP destination unreachable about something this stack sent by UDP. */
  udpUnreachable?: (error: ReceivedUnreachable) => void;
}

export interface StackOptions {
  readonly mac: Mac;
  /** The stack's own addresses, the first being the one its errors come from. May be empty until one is leased. */
  readonly addresses: readonly Ipv4[];
  /**
   * Addresses that ARP and echo requests are answered for, while their TCP and UDP go to the {@link StackHandlers}:
   * the address that stands for the host.
   */
  readonly proxiedAddresses?: readonly Ipv4[];
  /** The network on the link: addresses in it are asked for by ARP. */
  readonly network: Ipv4Network;
  /** The largest IP packet on the link, in bytes: 576 to 65520. */
  readonly mtu: number;
  /** Milliseconds of a clock that never goes back. */
  readonly now: () => number;
  /** Fills an array from a cryptographic source. */
  readonly randomBytes: (bytes: Uint8Array) => void;
  readonly handlers: StackHandlers;
  /** Something waits to be sent: {@link Stack.flush} is to be called in this turn of the event loop. */
  readonly wake: () => void;
  /**
   * Whether a source address is accepted from a MAC. Without one every address is accepted that could be a host's, from
   * the MAC that showed it first.
   */
  readonly acceptsSource?: (source: Ipv4, macHigh: number, macLow: number) => boolean;
  readonly tcp?: Partial<TcpSettings>;
  /** Chooses the first sequence number of each connection; RFC 6528's way when absent. */
  readonly initialSequence?: (tuple: FourTuple) => Sequence;
}

/**
 * One end of a link as a host and router: Ethernet, ARP, IPv4, ICMP, UDP and TCP over a {@link FrameSink}.
 *
 * The owner hands in frames with {@link receiveFrame} and calls {@link flush} after each batch of them, and whenever
 * {@link StackOptions.wake} asks for it; it calls {@link poll} no later than {@link nextDeadline}. Nothing here does I/O
 * or knows the time by itself, and nothing a peer sends makes a method throw.
 */
export class Stack {
  readonly statistics = new StackStatistics();
  readonly mtu: number;
  readonly #options: StackOptions;
  readonly #mac: MacHalves;
  readonly #neighbors: NeighborTable;
  readonly #output: Ipv4Output;
  readonly #reassembler = new Reassembler();
  readonly #icmp: Icmp;
  readonly #udp: Udp;
  readonly #tcp: Tcp;
  readonly #broadcast: Neighbor;
  readonly #proxied: Set<Ipv4>;
  #own: Set<Ipv4>;
  #address: Ipv4;
  #network: Ipv4Network;
  #networkBroadcast: Ipv4;
  #router: Ipv4 | null = null;
  #link: FrameSink = new NullLink();
  #housekeepingAt: number;

  // Where the frame being received came from.
  #frameSourceHigh = 0;
  #frameSourceLow = 0;

  // The source that was accepted last: the next packet is most often from it, and costs two comparisons.
  #lastSource: Ipv4 = 0;
  #lastSourceHigh = -1;
  #lastSourceLow = 0;
  #lastSourceUntil = 0;

  constructor(options: StackOptions) {
    const { statistics } = this;
    const { now, handlers, mtu } = options;
    this.#options = options;
    this.mtu = mtu;
    this.#mac = macHalves(options.mac);
    this.#own = new Set(options.addresses);
    this.#address = options.addresses[0] ?? 0;
    this.#proxied = new Set(options.proxiedAddresses);
    this.#network = options.network;
    this.#networkBroadcast = networkBroadcast(options.network);
    this.#housekeepingAt = now() + HOUSEKEEPING_MS;
    this.#broadcast = Neighbor.permanent(-1, 0xffff, -1);
    const link = () => this.#link;
    const address = () => this.#address;
    const answersFor = (candidate: Ipv4) => this.answersFor(candidate);
    const route = (destination: Ipv4) => this.#route(destination);
    this.#neighbors = new NeighborTable({ mac: this.#mac, address, answersFor, link, statistics });
    this.#output = new Ipv4Output({ mac: this.#mac, mtu, link, neighbors: this.#neighbors, route, statistics, now });
    this.#icmp = new Icmp({
      output: this.#output,
      statistics,
      now,
      address,
      answersFor,
      echoRequest: handlers.echoRequest,
      echoReply: (reply) => handlers.echoReply?.(reply),
      unreachable: (error) => this.#receiveUnreachable(error),
    });
    this.#udp = new Udp({ output: this.#output, statistics, forward: (datagram) => this.#forwardUdp(datagram) });
    this.#tcp = new Tcp({
      output: this.#output,
      icmp: this.#icmp,
      statistics,
      now,
      randomBytes: options.randomBytes,
      route,
      request: (request) => this.#forwardTcp(request),
      wake: options.wake,
      settings: { ...DEFAULT_TCP_SETTINGS, ...options.tcp },
      initialSequence: options.initialSequence,
    });
  }

  /** The address that errors come from and ARP requests are made by. */
  get address(): Ipv4 {
    return this.#address;
  }

  /** Connections, listeners and limits of TCP, for inspection. */
  get tcp(): Tcp {
    return this.#tcp;
  }

  get neighbors(): NeighborTable {
    return this.#neighbors;
  }

  /** When {@link poll} is next due, in milliseconds of the clock. */
  get nextDeadline(): number {
    return Math.min(
      this.#tcp.nextDeadline,
      this.#neighbors.nextDeadline,
      this.#reassembler.nextDeadline,
      this.#housekeepingAt,
    );
  }

  /** The MAC that the packet being received came from; for handlers, during their call. */
  get frameSource(): Mac {
    return macFromHalves(this.#frameSourceHigh, this.#frameSourceLow);
  }

  /** Sets where frames go. */
  attach(link: FrameSink): void {
    this.#link = link;
  }

  /** The VM is gone: ends every connection and drops frames from now on. */
  detach(): void {
    this.#link = new NullLink();
    this.#tcp.detach();
  }

  /** Sets address and network, as a host does that has been leased them; `router` leads to every other network. */
  configure(address: Ipv4, network: Ipv4Network, router: Ipv4 | null): void {
    this.#own = new Set([address]);
    this.#address = address;
    this.#network = network;
    this.#networkBroadcast = networkBroadcast(network);
    this.#router = router;
    this.#lastSourceUntil = 0;
  }

  /** Sets the host that leads to addresses outside of the network: the VM, for the containers behind it. */
  setRouter(router: Ipv4 | null): void {
    this.#router = router;
  }

  /** Whether ARP and echo requests for `address` are answered by this stack. */
  answersFor(address: Ipv4): boolean {
    return this.#own.has(address) || this.#proxied.has(address);
  }

  /** Takes in one frame, in place. What it causes to be sent leaves at the latest with the next {@link flush}. */
  receiveFrame(bytes: Uint8Array, view: DataView, frame: number, length: number): void {
    const { statistics } = this;
    statistics.framesReceived++;
    statistics.bytesReceived += length;
    if (!isWholeEthernetHeader(length)) {
      statistics.dropMalformed++;
      return;
    }
    const destinationHigh = readDestinationHigh(view, frame);
    const ours = destinationHigh === this.#mac.high && readDestinationLow(view, frame) === this.#mac.low;
    if ((!ours && !isGroupMac(destinationHigh)) || isGroupMac(readSourceHigh(view, frame))) {
      statistics.dropUnhandled++;
      return;
    }
    const packet = frame + ETHERNET_HEADER_LENGTH;
    switch (readEtherType(view, frame)) {
      case ETHERTYPE_IPV4:
        this.#receiveIpv4(bytes, view, frame, packet, length - ETHERNET_HEADER_LENGTH);
        return;
      case ETHERTYPE_ARP:
        this.#neighbors.receive(view, packet, length - ETHERNET_HEADER_LENGTH, this.#options.now());
        return;
      default:
        statistics.dropUnhandled++;
    }
  }

  /** Sends what is waiting; returns false when the link took no more, and the owner calls again once it does. */
  flush(): boolean {
    return this.#tcp.flush(this.#options.now());
  }

  /** Does what is due by now. */
  poll(): void {
    const now = this.#options.now();
    // First who does not answer ARP, so that connections to them end at once.
    this.#neighbors.poll(now);
    this.#tcp.poll(now);
    if (this.#reassembler.nextDeadline <= now) {
      this.statistics.dropFragment += this.#reassembler.expire(now, (bytes, view) => {
        if (this.#reaches(readDestination(view, 0))) {
          this.#icmp.timeExceeded(bytes, view, 0, REASSEMBLY_TIME_EXCEEDED);
        }
      });
    }
    if (this.#housekeepingAt <= now) {
      this.#housekeepingAt = now + HOUSEKEEPING_MS;
      this.#neighbors.forgetOld(now);
    }
  }

  /** Listens for connections to an own address (0 for any) and port; see {@link Tcp.listen}. */
  tcpListen(address: Ipv4, port: number, handler: TcpRequestHandler): () => void {
    return this.#tcp.listen(address, port, handler);
  }

  /** Opens a connection into the guest; see {@link Tcp.dial}. */
  tcpDial(tuple: FourTuple, handler: TcpHandler): TcpFlow | null {
    return this.#tcp.dial(tuple, handler);
  }

  /** Listens for datagrams to an own address (0 for any, broadcast included) and port; see {@link Udp.listen}. */
  udpListen(address: Ipv4, port: number, handler: UdpHandler): () => void {
    return this.#udp.listen(address, port, handler);
  }

  /** Sends a datagram into the guest; see {@link Udp.send}. */
  udpSend(
    source: Ipv4,
    sourcePort: number,
    destination: Ipv4,
    destinationPort: number,
    bytes: Uint8Array,
    offset: number,
    length: number,
    ttl?: number,
  ): boolean {
    return this.#udp.send(source, sourcePort, destination, destinationPort, bytes, offset, length, ttl);
  }

  /** Sends a datagram to a MAC, whatever the address: a DHCP reply to a client that has none. */
  udpSendToMac(
    mac: Mac,
    source: Ipv4,
    sourcePort: number,
    destination: Ipv4,
    destinationPort: number,
    bytes: Uint8Array,
  ): void {
    const { high, low } = macHalves(mac);
    const neighbor = Neighbor.permanent(destination, high, low);
    const { length } = bytes;
    this.#udp.send(source, sourcePort, destination, destinationPort, bytes, 0, length, undefined, neighbor);
  }

  /**
   * Sends ICMP destination unreachable about a datagram that the guest sent some time ago.
   *
   * @param from - the address the error comes from; null for the stack's own.
   */
  udpUnreachable(
    code: UnreachableCode,
    flow: { source: Ipv4; sourcePort: number; destination: Ipv4; destinationPort: number },
    from: Ipv4 | null,
  ): void {
    const ports = (flow.sourcePort << 16) | flow.destinationPort;
    this.#icmp.unreachableFlow(flow, PROTOCOL_UDP, ports, 8 << 16, code, from);
  }

  /** Sends an echo reply; see {@link Icmp.sendEchoReply}. */
  echoReply(
    source: Ipv4,
    destination: Ipv4,
    identifier: number,
    sequence: number,
    bytes: Uint8Array,
    offset: number,
    length: number,
    ttl?: number,
  ): void {
    this.#icmp.sendEchoReply(source, destination, identifier, sequence, bytes, offset, length, ttl);
  }

  /** Sends an echo request from the stack's own address. */
  sendEchoRequest(destination: Ipv4, identifier: number, sequence: number, bytes: Uint8Array, ttl?: number): void {
    this.#icmp.sendEchoRequest(this.#address, destination, identifier, sequence, bytes, 0, bytes.length, ttl);
  }

  /** Sends ICMP destination unreachable about an echo request that the guest sent some time ago. */
  echoUnreachable(
    code: UnreachableCode,
    request: { source: Ipv4; destination: Ipv4; identifier: number; sequence: number },
    from: Ipv4 | null,
  ): void {
    const identity = (request.identifier << 16) | request.sequence;
    this.#icmp.unreachableFlow(request, PROTOCOL_ICMP, ECHO_REQUEST_WORD, identity, code, from);
  }

  #receiveIpv4(bytes: Uint8Array, view: DataView, frame: number, packet: number, available: number): void {
    const { statistics } = this;
    const fault = checkIpv4Header(view, packet, available);
    if (fault !== null) {
      if (fault === "malformed") statistics.dropMalformed++;
      else statistics.dropChecksum++;
      return;
    }
    const source = readSource(view, packet);
    const destination = readDestination(view, packet);
    // A packet for one host has no business in a frame for all (RFC 1122, 3.3.6).
    if (isGroupMac(readDestinationHigh(view, frame)) && this.#reaches(destination)) {
      statistics.dropAddress++;
      return;
    }
    if (!this.#acceptSource(view, frame, source, destination, readProtocol(view, packet))) {
      statistics.dropAddress++;
      return;
    }
    if (!isFragment(view, packet)) {
      this.#receivePacket(bytes, view, packet, source, destination);
      return;
    }
    const whole = this.#reassembler.add(bytes, view, packet, this.#options.now());
    if (whole === "incomplete") return;
    if (whole === "invalid") {
      statistics.dropFragment++;
      return;
    }
    statistics.datagramsReassembled++;
    this.#receivePacket(whole.bytes, whole.view, 0, source, destination);
  }

  /** Takes in a whole packet whose header and source are sound. */
  #receivePacket(bytes: Uint8Array, view: DataView, packet: number, source: Ipv4, destination: Ipv4): void {
    const { statistics } = this;
    const reaches = this.#reaches(destination);
    // This is where a router would send it on (RFC 1812, 5.3.1).
    const isExpired = readTtl(view, packet) <= 1;
    const isTooLarge = readTotalLength(view, packet) > this.mtu && readDontFragment(view, packet);
    if ((isExpired || isTooLarge) && reaches && !this.answersFor(destination)) {
      if (isExpired) {
        statistics.dropTtl++;
        this.#icmp.timeExceeded(bytes, view, packet, TTL_EXCEEDED);
      } else {
        statistics.dropMalformed++;
        this.#icmp.fragmentationNeeded(bytes, view, packet, this.mtu);
      }
      return;
    }
    const payload = packet + readHeaderLength(view, packet);
    const length = packet + readTotalLength(view, packet) - payload;
    switch (readProtocol(view, packet)) {
      case PROTOCOL_TCP:
        if (reaches && source !== 0) this.#tcp.receive(bytes, view, packet, payload, length);
        else statistics.dropAddress++;
        return;
      case PROTOCOL_UDP:
        if (!this.#udp.receive(bytes, view, packet, payload, length)) {
          statistics.dropUnhandled++;
          if (reaches) this.#icmp.unreachable(bytes, view, packet, UNREACHABLE_PORT, destination);
        }
        return;
      case PROTOCOL_ICMP:
        if (reaches && source !== 0) this.#icmp.receive(bytes, view, packet, payload, length);
        else statistics.dropAddress++;
        return;
      default:
        statistics.dropUnhandled++;
        if (this.answersFor(destination)) {
          this.#icmp.unreachable(bytes, view, packet, UNREACHABLE_PROTOCOL, destination);
        }
    }
  }

  /** Whether a packet for `destination` is for one host: here, or somewhere this stack stands for. */
  #reaches(destination: Ipv4): boolean {
    return destination !== -1 && destination !== this.#networkBroadcast && !isMulticast(destination);
  }

  /**
   * The source filter: drops what no host may send from, and what another MAC has shown, and learns where the rest is
   * (RFC 1812, 5.3.7 and 5.3.8).
   */
  #acceptSource(view: DataView, frame: number, source: Ipv4, destination: Ipv4, protocol: number): boolean {
    const high = readSourceHigh(view, frame);
    const low = readSourceLow(view, frame);
    this.#frameSourceHigh = high;
    this.#frameSourceLow = low;
    const now = this.#options.now();
    if (
      source === this.#lastSource &&
      low === this.#lastSourceLow &&
      high === this.#lastSourceHigh &&
      now < this.#lastSourceUntil
    ) {
      return true;
    }
    // A host without an address may only look for one (RFC 1122, 3.2.1.3).
    if (source === 0) return protocol === PROTOCOL_UDP && (!this.#reaches(destination) || this.answersFor(destination));
    if (source >>> 24 === 0 || isLoopback(source) || !this.#reaches(source) || source >>> 28 === 15) return false;
    if (this.answersFor(source)) return false;
    if (this.#options.acceptsSource?.(source, high, low) === false) return false;
    if (!this.#neighbors.observe(source, high, low, now)) return false;
    this.#lastSource = source;
    this.#lastSourceHigh = high;
    this.#lastSourceLow = low;
    this.#lastSourceUntil = now + 1000;
    return true;
  }

  #route(destination: Ipv4): Neighbor | null {
    if (destination === -1 || destination === this.#networkBroadcast) return this.#broadcast;
    const known = this.#neighbors.find(destination);
    if (known?.resolved) return known;
    if (networkContains(this.#network, destination)) return this.#neighbors.get(destination);
    return this.#router === null ? null : this.#neighbors.get(this.#router);
  }

  #forwardTcp(request: TcpRequest): void {
    if (this.#own.has(request.localAddress)) request.reject("refused");
    else this.#options.handlers.tcpRequest(request);
  }

  #forwardUdp(datagram: UdpDatagram): boolean {
    if (this.#own.has(datagram.destination)) return false;
    if (datagram.source === 0 || !this.#reaches(datagram.destination)) {
      this.statistics.dropAddress++;
      return true;
    }
    this.#options.handlers.udpDatagram(datagram);
    return true;
  }

  #receiveUnreachable(error: ReceivedUnreachable): void {
    if (error.protocol === PROTOCOL_UDP) {
      this.#options.handlers.udpUnreachable?.(error);
      return;
    }
    const tuple = {
      localAddress: error.source,
      localPort: error.sourcePort,
      remoteAddress: error.destination,
      remotePort: error.destinationPort,
    };
    if (error.code === FRAGMENTATION_NEEDED) this.#tcp.receiveFragmentationNeeded(tuple, error.sequence, error.mtu);
    else this.#tcp.receiveUnreachable(tuple, error.sequence);
  }
}

/** Type 8 (echo request), code 0, and a checksum of zero: the first word of an echo request that is quoted. */
const ECHO_REQUEST_WORD = 8 << 24;
