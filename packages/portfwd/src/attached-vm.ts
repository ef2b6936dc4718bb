import type { FourTuple, Ipv4, TcpFlow, TcpHandler } from "@hostd/stack";
import { RelayPool } from "@hostd/streams";
import type { ForwardedConnection } from "./forwarded-connection.ts";

/** What forwards need of a VM. */
export interface ForwardVm {
  /** The VM's own address; null as long as it is not known. */
  readonly address: Ipv4 | null;
  /** Whether the VM, or a container behind it, has shown that it has an address. */
  has(address: Ipv4): boolean;
  /**
   * Opens a connection into the guest, from a port of the stack's choice when the tuple's local port is 0. How it goes
   * is told to `handler`, never before this returns.
   *
   * @returns null when there is no room for another connection.
   */
  tcpDial(tuple: FourTuple, handler: TcpHandler): TcpFlow | null;
}

export interface AttachedVmOptions {
  /** Bytes of memory for what the two ends of all connections have sent each other. */
  readonly maxQueuedBytes: number;
  /** A connection is reset because that memory is used up. */
  readonly outOfMemory: () => void;
  /** No new connection may lead to the VM. */
  readonly detached: () => void;
}

/** A VM from attach to detach, with the forwarded connections that lead into it. */
export class AttachedVm {
  readonly vm: ForwardVm;
  readonly relays: RelayPool;
  readonly connections = new Set<ForwardedConnection>();
  readonly #detached: () => void;

  constructor(vm: ForwardVm, { maxQueuedBytes, outOfMemory, detached }: AttachedVmOptions) {
    this.vm = vm;
    this.relays = new RelayPool(maxQueuedBytes, outOfMemory);
    this.#detached = detached;
  }

  /** Writes what the guest sent in a batch of frames; to be called after each batch. */
  flushBatch(): void {
    this.relays.flushBatch();
  }

  /** The VM is gone: resets its connections, and no new ones lead to it. Idempotent. */
  detach(): void {
    this.#detached();
    for (const connection of [...this.connections]) connection.reset();
  }
}
