import { type FourTuple, type Ipv4, LinkedList, type TcpFlow, type TcpHandler, type UdpHandler } from "@hostd/stack";
import { RelayPool } from "@hostd/streams";

/** What forwards need of a VM. */
export interface ForwardVm {
  /** That by which people know it. */
  readonly name: string;
  /** The VM's own address; null as long as it is not known. */
  readonly address: Ipv4 | null;
  /** Whether the VM, or a container behind it, has shown that it has an address. */
  has(address: Ipv4): boolean;
  /** The name of the container behind the VM that has an address, for the log; null when none is known to. */
  containerAt?(address: Ipv4): string | null;
  /**
   * Opens a connection into the guest, from a port of the stack's choice when the tuple's local port is 0. How it goes
   * is told to `handler`, never before this returns.
   *
   * @returns null when there is no room for another connection, or the tuple is in use.
   */
  tcpDial(tuple: FourTuple, handler: TcpHandler): TcpFlow | null;
  /**
   * Sends a datagram into the guest.
   *
   * @returns whether the link took it.
   */
  udpSend(
    source: Ipv4,
    sourcePort: number,
    destination: Ipv4,
    destinationPort: number,
    bytes: Uint8Array,
    offset: number,
    length: number,
  ): boolean;
  /**
   * Takes the guest's datagrams to an address and port, be it one of the gateway or of a client beyond it.
   *
   * @throws {Error} when the pair is taken.
   * @returns a function that ends that.
   */
  udpListen(address: Ipv4, port: number, handler: UdpHandler): () => void;
}

/** Something that leads into a VM and ends with it. */
export interface VmConnection {
  /** Ends it at once, TCP by a reset. */
  reset(): void;
}

export interface AttachedVmOptions {
  /** Bytes of memory for what the two ends of all connections have sent each other. */
  readonly maxQueuedBytes: number;
  /** A connection is reset because that memory is used up. */
  readonly outOfMemory: () => void;
  /** The VM's address has become known, or it answers now. */
  readonly ready: () => void;
  /** No new connection may lead to the VM. */
  readonly detached: () => void;
}

/** A VM from attach to detach, with what leads into it. */
export class AttachedVm {
  readonly vm: ForwardVm;
  readonly relays: RelayPool;
  readonly connections = new LinkedList<VmConnection>();
  readonly #options: AttachedVmOptions;
  #isDetached = false;

  constructor(vm: ForwardVm, options: AttachedVmOptions) {
    this.vm = vm;
    this.relays = new RelayPool(options.maxQueuedBytes, options.outOfMemory);
    this.#options = options;
  }

  get isDetached(): boolean {
    return this.#isDetached;
  }

  /** Tells that the VM's address has become known: connections that wait for it are opened. */
  ready(): void {
    this.#options.ready();
  }

  /** Writes what the guest sent in a batch of frames; to be called after each batch. */
  flushBatch(): void {
    this.relays.flushBatch();
  }

  /** The VM is gone: ends its connections, and no new ones lead to it. Idempotent. */
  detach(): void {
    this.#isDetached = true;
    this.#options.detached();
    for (const connection of [...this.connections]) connection.reset();
  }
}
