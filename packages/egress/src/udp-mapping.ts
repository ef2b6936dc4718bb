import type { Ipv4 } from "@hostd/stack";
import type { IdleEntry } from "./idle-table.ts";
import type { UdpEndpoint } from "./udp-endpoint.ts";

/** A guest's address and port, and the port of the host that stands for them towards every destination. */
export class UdpMapping implements IdleEntry {
  readonly key: number;
  readonly guestAddress: Ipv4;
  readonly guestPort: number;
  idleLimit: number;
  lastUsed = 0;
  /** The port on the host. */
  readonly port: number;
  main: UdpEndpoint | null = null;
  readonly siblings: UdpEndpoint[] = [];

  constructor(key: number, guestAddress: Ipv4, guestPort: number, idleLimit: number, port: number) {
    this.key = key;
    this.guestAddress = guestAddress;
    this.guestPort = guestPort;
    this.idleLimit = idleLimit;
    this.port = port;
  }
}
