import type { Ipv4, UnreachableCode } from "@hostd/stack";

/** The two ends of a UDP flow as the guest sees them. */
export interface UdpFlow {
  readonly source: Ipv4;
  readonly sourcePort: number;
  readonly destination: Ipv4;
  readonly destinationPort: number;
}

/** The fields that tell one ICMP echo request of a guest from another. */
export interface EchoFlow {
  readonly source: Ipv4;
  readonly destination: Ipv4;
  readonly identifier: number;
  readonly sequence: number;
}

/** What egress needs of the stack: ways to answer a guest. No method throws; what cannot be sent is dropped there. */
export interface EgressStack {
  /**
   * Sends a datagram into the guest; the bytes are copied before this returns. `ttl` is 64 unless given.
   *
   * @returns false when it was dropped, as one is for which the link to the guest has no room.
   */
  udpSend(
    source: Ipv4,
    sourcePort: number,
    destination: Ipv4,
    destinationPort: number,
    bytes: Uint8Array,
    offset: number,
    length: number,
    ttl?: number,
  ): boolean;

  /**
   * Sends ICMP destination unreachable about a datagram of the guest.
   *
   * @param flow as the guest sent it: the source is the guest.
   * @param from the address the error comes from; null for the gateway's.
   */
  udpUnreachable(code: UnreachableCode, flow: UdpFlow, from: Ipv4 | null): void;

  /** Sends an ICMP echo reply into the guest; the bytes are copied before this returns. `ttl` is 64 unless given. */
  echoReply(
    source: Ipv4,
    destination: Ipv4,
    identifier: number,
    sequence: number,
    bytes: Uint8Array,
    offset: number,
    length: number,
    ttl?: number,
  ): void;

  /** Sends ICMP destination unreachable about an echo request of the guest; see {@link udpUnreachable}. */
  echoUnreachable(code: UnreachableCode, request: EchoFlow, from: Ipv4 | null): void;
}
