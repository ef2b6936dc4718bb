import type { Ipv4 } from "../address.ts";

/** A UDP datagram in place in a receive buffer, valid only during the call that hands it over. */
export interface UdpDatagram {
  readonly source: Ipv4;
  readonly sourcePort: number;
  readonly destination: Ipv4;
  readonly destinationPort: number;
  /** The time to live it arrived with; a router sends it on with one less (RFC 1812, 5.3.1). */
  readonly ttl: number;
  readonly bytes: Uint8Array;
  /** Where the payload begins in {@link bytes}. */
  readonly offset: number;
  /** Bytes of payload, 0 to 65507. */
  readonly length: number;
}

/**
 * Takes datagrams. Must not throw, and must copy what it keeps. By returning false a listener leaves one to whom it would
 * go without a listener.
 */
export type UdpHandler = (datagram: UdpDatagram) => unknown;
