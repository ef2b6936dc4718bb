import { type FourTuple, type Ipv4, parseIpv4, type TcpFlow, type TcpHandler, type UdpHandler } from "@hostd/stack";
import { EventLog } from "../../../streams/src/testing/event-log.ts";
import { type FakeGuestOptions, PlayedFlow } from "../../../streams/src/testing/fake-tcp.ts";
import type { ForwardVm } from "../attached-vm.ts";

/** A datagram that the guest received. */
export interface GuestDatagram {
  readonly source: Ipv4;
  readonly sourcePort: number;
  readonly destination: Ipv4;
  readonly destinationPort: number;
  readonly payload: Buffer;
}

/** The memory that the guest's datagrams are in; overwritten after each, as a link's is. */
const frame = Buffer.alloc(65536);
const FRAME_OFFSET = 20;

/** A VM whose guest is played by the test. */
export class FakeVm implements ForwardVm {
  name = "vm";
  address: Ipv4 | null;
  /** Addresses behind it that it has shown. */
  readonly shown = new Set<Ipv4>();
  /** Names of the containers behind it. */
  readonly containers = new Map<Ipv4, string>();
  /** Whether there is no room for another connection. */
  isFull = false;
  /** Every connection that was dialled. */
  readonly flows = new EventLog<PlayedFlow>();
  /** Whether the link takes no datagram. */
  isLinkFull = false;
  /** Every datagram that the guest received. */
  readonly datagrams = new EventLog<GuestDatagram>();
  /** Who takes the guest's datagrams to an address and port. */
  readonly #listeners = new Map<string, UdpHandler>();
  readonly #options: FakeGuestOptions;

  constructor(options: FakeGuestOptions = {}, address: string | null = "192.168.65.3") {
    this.#options = options;
    this.address = address === null ? null : parseIpv4(address);
  }

  has(address: Ipv4): boolean {
    return this.shown.has(address);
  }

  containerAt(address: Ipv4): string | null {
    return this.containers.get(address) ?? null;
  }

  tcpDial(tuple: FourTuple, handler: TcpHandler): TcpFlow | null {
    if (this.isFull) return null;
    const flow = new PlayedFlow(tuple, handler, this.#options);
    this.flows.push(flow);
    return flow;
  }

  /** The connection that was dialled as the `count`th. */
  async flow(count = 1): Promise<PlayedFlow> {
    return (await this.flows.take(count))[count - 1];
  }

  udpSend(
    source: Ipv4,
    sourcePort: number,
    destination: Ipv4,
    destinationPort: number,
    bytes: Uint8Array,
    offset: number,
    length: number,
  ): boolean {
    if (this.isLinkFull) return false;
    const payload = Buffer.from(bytes.slice(offset, offset + length));
    this.datagrams.push({ source, sourcePort, destination, destinationPort, payload });
    return true;
  }

  udpListen(address: Ipv4, port: number, handler: UdpHandler): () => void {
    const key = `${address} ${port}`;
    if (this.#listeners.has(key)) throw new Error(`UDP port ${port} is taken`);
    this.#listeners.set(key, handler);
    return () => {
      if (this.#listeners.get(key) === handler) this.#listeners.delete(key);
    };
  }

  /** Pairs of an address and a port that the guest's datagrams are taken to. */
  get listening(): number {
    return this.#listeners.size;
  }

  /** The datagram that the guest received as the `count`th. */
  async datagram(count = 1): Promise<GuestDatagram> {
    return (await this.datagrams.take(count))[count - 1];
  }

  /**
   * The guest answers a datagram, from where it was sent to unless told otherwise.
   *
   * @returns whether it was taken.
   */
  answer(
    { source, sourcePort, destination, destinationPort }: Omit<GuestDatagram, "payload">,
    payload: Uint8Array,
    from: { readonly address?: Ipv4; readonly port?: number } = {},
  ): boolean {
    frame.set(payload, FRAME_OFFSET);
    const taken = this.#listeners.get(`${source} ${sourcePort}`)?.({
      source: from.address ?? destination,
      sourcePort: from.port ?? destinationPort,
      destination: source,
      destinationPort: sourcePort,
      ttl: 64,
      bytes: frame,
      offset: FRAME_OFFSET,
      length: payload.length,
    });
    frame.fill(0xee, FRAME_OFFSET, FRAME_OFFSET + payload.length);
    return taken !== undefined && taken !== false;
  }
}
