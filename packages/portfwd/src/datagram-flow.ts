import { randomInt } from "node:crypto";
import type { Ipv4, ListEntry, UdpDatagram } from "@hostd/stack";
import type { IdleEntry } from "@hostd/streams";
import type { AttachedVm, VmConnection } from "./attached-vm.ts";

/** The ports of which one is chosen: those that are assigned to nothing (RFC 6335, section 6). */
const FIRST_DYNAMIC_PORT = 49152;
const END_OF_PORTS = 65536;
/** How often a port is chosen anew when the one before is taken. */
const PORT_ATTEMPTS = 16;

/** The forward that has a flow. */
export interface DatagramFlowOwner {
  /**
   * The guest has sent a datagram to the flow's source; valid only during the call.
   *
   * @returns false when it is no answer of the flow, but for whoever has that address in the outside.
   */
  answered(flow: DatagramFlow, datagram: UdpDatagram): boolean;
  /** The flow is to end: its VM is gone, or somebody has no use for it any more. */
  reset(flow: DatagramFlow): void;
}

/** Where a flow begins and leads. */
export interface DatagramFlowEnds {
  /** The client of the host. */
  readonly client: { readonly address: string; readonly port: number };
  /** What the guest sees as the client. */
  readonly source: Ipv4;
  /** Where its datagrams go in the guest, and the only place that answers are taken from. */
  readonly target: { readonly address: Ipv4; readonly port: number };
}

/** The datagrams between one client of the host and a port of the guest. */
export class DatagramFlow implements IdleEntry<string>, VmConnection {
  readonly key: string;
  readonly idleLimit: number;
  /** When it began, in milliseconds on the forwarder's clock. */
  readonly openedAt: number;
  /** Milliseconds on the forwarder's clock, some seconds behind at most. */
  lastUsed = 0;
  /** Bytes of data that the guest answered and that were led into it. */
  bytesFromGuest = 0;
  bytesToGuest = 0;
  readonly attached: AttachedVm;
  /** Its place in the VM's connections, which its owner sets. */
  inVm: ListEntry<VmConnection> | null = null;
  readonly client: DatagramFlowEnds["client"];
  readonly source: Ipv4;
  readonly target: DatagramFlowEnds["target"];
  readonly #owner: DatagramFlowOwner;
  #sourcePort = 0;
  #unlisten: (() => void) | null = null;

  /**
   * @param idleLimit - how long it is kept without traffic, in milliseconds.
   * @param now - the time on the forwarder's clock.
   */
  constructor(owner: DatagramFlowOwner, attached: AttachedVm, ends: DatagramFlowEnds, idleLimit: number, now: number) {
    this.key = clientKey(ends.client.address, ends.client.port);
    this.idleLimit = idleLimit;
    this.openedAt = now;
    this.attached = attached;
    this.client = ends.client;
    this.source = ends.source;
    this.target = ends.target;
    this.#owner = owner;
  }

  /** The port that the guest sees as the client's; 0 before {@link listen}. */
  get sourcePort(): number {
    return this.#sourcePort;
  }

  /**
   * Begins to take the guest's answers.
   *
   * @param ownPort - the port that the source is to have if it can; 0 for one that cannot be guessed.
   * @returns false when no port was found.
   */
  listen(ownPort: number): boolean {
    if (ownPort !== 0 && this.#listenOn(ownPort)) return true;
    for (let attempt = 0; attempt < PORT_ATTEMPTS; attempt++) {
      if (this.#listenOn(randomInt(FIRST_DYNAMIC_PORT, END_OF_PORTS))) return true;
    }
    return false;
  }

  /** Takes no more answers. */
  close(): void {
    this.#unlisten?.();
    this.#unlisten = null;
  }

  reset(): void {
    this.#owner.reset(this);
  }

  #listenOn(port: number): boolean {
    try {
      this.#unlisten = this.attached.vm.udpListen(this.source, port, (datagram) => {
        return this.#owner.answered(this, datagram);
      });
    } catch {
      return false;
    }
    this.#sourcePort = port;
    return true;
  }
}

/** The key of a client's flow. */
export function clientKey(address: string, port: number): string {
  return `${address} ${port}`;
}
