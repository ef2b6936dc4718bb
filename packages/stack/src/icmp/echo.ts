import type { Ipv4 } from "../address.ts";

/** An ICMP echo request for an address that is not the stack's own, in place, valid only during the call. */
export interface EchoRequest {
  readonly source: Ipv4;
  readonly destination: Ipv4;
  readonly identifier: number;
  readonly sequence: number;
  /** The time to live it arrived with; a router sends it on with one less. */
  readonly ttl: number;
  readonly bytes: Uint8Array;
  /** Where the data after the echo header begins in {@link bytes}. */
  readonly offset: number;
  readonly length: number;
}

/** Takes echo requests. Must not throw, and must copy what it keeps. */
export type EchoHandler = (request: EchoRequest) => void;
