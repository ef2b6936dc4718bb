import type { Ipv4 } from "@hostd/stack";
import type { IdleEntry } from "@hostd/streams";
import type { GuestFlow } from "./guest-flow.ts";
import type { UdpEndpoint } from "./udp-endpoint.ts";

/** A guest's address and port, and the port of the host that stands for them towards every destination. */
export class UdpMapping implements IdleEntry, GuestFlow {
  readonly key: number;
  readonly guestAddress: Ipv4;
  readonly guestPort: number;
  idleLimit: number;
  lastUsed = 0;
  /** The port on the host. */
  readonly port: number;
  main: UdpEndpoint | null = null;
  readonly siblings: UdpEndpoint[] = [];
  peerAddress: Ipv4 = 0;
  peerPort = 0;
  readonly openedAt: number;
  bytesFromGuest = 0;
  bytesToGuest = 0;

  constructor(key: number, guestAddress: Ipv4, guestPort: number, idleLimit: number, port: number, now: number) {
    this.key = key;
    this.guestAddress = guestAddress;
    this.guestPort = guestPort;
    this.idleLimit = idleLimit;
    this.port = port;
    this.openedAt = now;
  }
}
