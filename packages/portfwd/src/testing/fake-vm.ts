import { type FourTuple, type Ipv4, parseIpv4, type TcpFlow, type TcpHandler } from "@hostd/stack";
import { EventLog } from "../../../streams/src/testing/event-log.ts";
import { type FakeGuestOptions, PlayedFlow } from "../../../streams/src/testing/fake-tcp.ts";
import type { ForwardVm } from "../attached-vm.ts";

/** A VM whose guest is played by the test. */
export class FakeVm implements ForwardVm {
  address: Ipv4 | null;
  /** Addresses behind it that it has shown. */
  readonly shown = new Set<Ipv4>();
  /** Whether there is no room for another connection. */
  isFull = false;
  /** Every connection that was dialled. */
  readonly flows = new EventLog<PlayedFlow>();
  readonly #options: FakeGuestOptions;

  constructor(options: FakeGuestOptions = {}, address: string | null = "192.168.65.3") {
    this.#options = options;
    this.address = address === null ? null : parseIpv4(address);
  }

  has(address: Ipv4): boolean {
    return this.shown.has(address);
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
}
