import type { Socket } from "node:net";
import type { EchoRequest, Ipv4, Ipv4Network, TcpRequest, UdpDatagram } from "@hostd/stack";
import { type Clock, FailureLog, type Logger, systemClock } from "@hostd/streams";
import type { DestinationConfig } from "./destination.ts";
import type { GuestFlow } from "./guest-flow.ts";
import { EchoEgress, type EchoEgressOptions, EchoEgressStatistics, type EchoLimits } from "./icmp.ts";
import type { EgressStack } from "./stack-port.ts";
import { TcpEgress, TcpEgressStatistics, type TcpLimits } from "./tcp.ts";
import type { ConnectOptions } from "./tcp-connection.ts";
import { UdpEgress, UdpEgressStatistics, type UdpLimits } from "./udp.ts";

export interface EgressOptions extends TcpLimits, UdpLimits, EchoLimits {
  readonly stack: EgressStack;
  /** The address by which guests reach the host's loopback, usually 192.168.65.254; null when they may not. */
  readonly hostAddress: Ipv4 | null;
  /** The addresses that the stack answers for. */
  readonly ownAddresses: Iterable<Ipv4>;
  /** The network that guests share with the gateway. */
  readonly network: Ipv4Network;
  /** Whether link-local addresses lead to the host's links; true unless given. */
  readonly linkLocal?: boolean;
  readonly logger: Logger;
  /** For tests; the process's clock unless given. */
  readonly clock?: Clock;
  /** For tests; `net.connect` unless given. */
  readonly connect?: (options: ConnectOptions) => Socket;
  /** For tests; a socket of the kernel unless given. */
  readonly openSocket?: NonNullable<EchoEgressOptions["openSocket"]>;
}

export interface EgressStatistics {
  readonly tcp: Readonly<TcpEgressStatistics>;
  readonly udp: Readonly<UdpEgressStatistics>;
  readonly icmp: Readonly<EchoEgressStatistics>;
}

/** The statistics of a VM that has sent nothing. */
export function noEgressStatistics(): EgressStatistics {
  return { tcp: new TcpEgressStatistics(), udp: new UdpEgressStatistics(), icmp: new EchoEgressStatistics() };
}

/** The flows of one VM's guests out to the host and its network, each terminated as a socket of the host. */
export class Egress {
  readonly #tcp: TcpEgress;
  readonly #udp: UdpEgress;
  readonly #icmp: EchoEgress;
  #closed = false;

  constructor(options: EgressOptions) {
    const { hostAddress, network, linkLocal = true, clock = systemClock } = options;
    const destinations: DestinationConfig = {
      hostAddress,
      network,
      linkLocal,
      ownAddresses: new Set(options.ownAddresses),
    };
    const failures = new FailureLog(options.logger, clock);
    const shared = { ...options, destinations, clock, failures };
    this.#tcp = new TcpEgress(shared);
    this.#udp = new UdpEgress(shared);
    this.#icmp = new EchoEgress(shared);
  }

  /** Takes a SYN that no listener of the stack claims. */
  tcpRequest(request: TcpRequest): void {
    this.#tcp.handle(request);
  }

  /** Takes a datagram that no listener of the stack claims. Its time to live must be more than 1. */
  udpDatagram(datagram: UdpDatagram): void {
    if (!this.#closed) this.#udp.handle(datagram);
  }

  /** Takes an echo request for an address that is not the stack's. Its time to live must be more than 1. */
  echoRequest(request: EchoRequest): void {
    if (!this.#closed) this.#icmp.handle(request);
  }

  /** Writes what the guest sent in a batch of frames; to be called after each batch. */
  flushBatch(): void {
    this.#tcp.flushBatch();
  }

  /** The flows of UDP, the one that was not used for longest first. */
  udpFlows(): Iterable<GuestFlow> {
    return this.#udp.flows();
  }

  /** The flows of echo requests, the one that was not used for longest first. */
  echoFlows(): Iterable<GuestFlow> {
    return this.#icmp.flows();
  }

  /** Forgets a UDP flow by the guest's address and port; false when there is none. */
  endUdpFlow(guestAddress: Ipv4, guestPort: number): boolean {
    return this.#udp.endFlow(guestAddress, guestPort);
  }

  /** Forgets a flow of echo requests by the guest's address and their identifier; false when there is none. */
  endEchoFlow(guestAddress: Ipv4, identifier: number): boolean {
    return this.#icmp.endFlow(guestAddress, identifier);
  }

  stats(): EgressStatistics {
    return { tcp: this.#tcp.stats(), udp: this.#udp.stats(), icmp: this.#icmp.stats() };
  }

  /** Ends all flows, connections by a reset, and waits until their sockets are closed. */
  close(): Promise<void> {
    this.#closed = true;
    this.#udp.close();
    this.#icmp.close();
    return this.#tcp.close();
  }
}
