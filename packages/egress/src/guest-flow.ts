import type { Ipv4 } from "@hostd/stack";

/** A flow of a guest that is no connection, of UDP or of ICMP echo, for inspection. It lasts as long as it is used. */
export interface GuestFlow {
  readonly guestAddress: Ipv4;
  /** The port; the identifier of echo requests. */
  readonly guestPort: number;
  /** Where the guest sent last, as it knows it. */
  readonly peerAddress: Ipv4;
  /** Its port; 0 for echo requests. */
  readonly peerPort: number;
  /** When it began, in milliseconds of the clock. */
  readonly openedAt: number;
  /** When it was last used, up to a second too early. */
  readonly lastUsed: number;
  /** Bytes of data, without headers, that the guest sent and that were handed to it. */
  readonly bytesFromGuest: number;
  readonly bytesToGuest: number;
}
