import type { Socket } from "node:dgram";
import { once } from "node:events";
import type { Ipv4, UdpDatagram } from "@hostd/stack";
import { FailureLog, IdleTable } from "@hostd/streams";
import type { AttachedVm } from "./attached-vm.ts";
import { clientKey, DatagramFlow, type DatagramFlowOwner } from "./datagram-flow.ts";
import { DatagramSender, MAX_DATAGRAM } from "./datagram-sender.ts";
import { bindDatagramSocket } from "./datagram-socket.ts";
import type { Forward, ForwardContext } from "./forward.ts";
import { type DatagramRule, formatListen, type GuestTarget, type ListenAddress } from "./forward-rule.ts";

/** What became of the datagrams that came to a forward. */
export class DatagramForwardStatistics {
  /** Flows that are open now, one for each client. */
  flows = 0;
  /** Datagrams led into the guest, and answers of the guest led back. */
  received = 0;
  answered = 0;
  /** Datagrams dropped because there was no VM to lead them to. */
  droppedNoVm = 0;
  /** Datagrams dropped because the VM's link had no room. */
  droppedLink = 0;
  /** Datagrams of new clients dropped because there were too many connections of all forwards, or no free port. */
  droppedLimit = 0;
  /** Datagrams from port 0, which cannot be answered, or longer than IPv4 allows. */
  droppedInvalid = 0;
  /** Answers dropped because too many waited for the host to send them. */
  droppedUnsent = 0;
  /** Answers that the host did not send, and datagrams that it could not receive, whatever the reason. */
  failed = 0;
  /** Flows that were not used for their idle time. */
  expired = 0;
  /** Flows that made way for those of other clients. */
  evicted = 0;
}

/**
 * A UDP port of the host whose datagrams are led into the guest. Each client has a flow, by which the guest's answers
 * find back to it; they are sent from the port itself.
 *
 * Nothing is kept for a guest that is not there: datagrams that come before a VM with a known address is attached are
 * lost, and so may be those that come in a burst before the guest has told its MAC by ARP.
 *
 * On every address of the host, the system chooses the source of an answer by the route to the client. Where the host
 * has several addresses on that way, a client of another one than that sees the answer come from elsewhere.
 */
export class DatagramForward implements Forward, DatagramFlowOwner {
  #rule: DatagramRule;
  /** Whether it leads anywhere. */
  #isLed = true;
  readonly listening: ListenAddress;
  readonly #context: ForwardContext;
  readonly #failures: FailureLog;
  readonly #socket: Socket;
  readonly #sender: DatagramSender;
  readonly #statistics = new DatagramForwardStatistics();
  readonly #flows: IdleTable<DatagramFlow, string>;
  /** The flow of the last datagram; datagrams come in runs. */
  #recent: DatagramFlow | null = null;
  #closing: Promise<unknown> | null = null;

  private constructor(rule: DatagramRule, context: ForwardContext, socket: Socket) {
    this.#rule = rule;
    this.listening = { host: rule.listen.host, port: socket.address().port };
    this.#context = context;
    this.#failures = new FailureLog(context.logger, context.clock);
    this.#socket = socket;
    this.#sender = new DatagramSender(socket, (error) => this.#failed("send", error));
    this.#flows = new IdleTable({
      get limit() {
        return context.maxDatagramFlows;
      },
      clock: context.clock,
      removed: (flow, reason) => this.#removed(flow, reason),
    });
    socket.on("message", (bytes, { address, port }) => this.#received(bytes, address, port));
    socket.on("error", (error) => this.#failed("receive", error));
  }

  /**
   * Listens on the host.
   *
   * @param descriptor - of a socket that is bound there already.
   * @throws {NodeJS.ErrnoException} the system's error.
   */
  static async open(rule: DatagramRule, context: ForwardContext, descriptor?: number): Promise<DatagramForward> {
    return new DatagramForward(rule, context, await bindDatagramSocket(rule.listen, descriptor));
  }

  get rule(): DatagramRule {
    return this.#rule;
  }

  retarget(to: GuestTarget | null): void {
    this.#isLed = to !== null;
    if (to !== null) this.#rule = { ...this.#rule, to };
  }

  /** The flows that are open, the one that was not used for longest first. */
  flows(): Iterable<DatagramFlow> {
    return this.#flows;
  }

  stats(): Readonly<DatagramForwardStatistics> {
    this.#statistics.flows = this.#flows.size;
    return { ...this.#statistics };
  }

  /** Stops listening. Flows end whatever the options say, as answers need the port. */
  async close(): Promise<void> {
    if (this.#closing === null) {
      this.#closing = once(this.#socket, "close");
      this.#socket.close();
      this.#flows.clear();
      this.#context.closed(this);
    }
    await this.#closing;
  }

  answered(flow: DatagramFlow, { source, sourcePort, bytes, offset, length }: UdpDatagram): boolean {
    const { client, target } = flow;
    if (source !== target.address || sourcePort !== target.port) return false;
    this.#flows.touch(flow);
    if (this.#sender.send(bytes, offset, length, client.port, client.address)) {
      this.#statistics.answered++;
      flow.bytesFromGuest += length;
    } else {
      this.#statistics.droppedUnsent++;
    }
    return true;
  }

  reset(flow: DatagramFlow): void {
    this.#flows.remove(flow);
  }

  #received(bytes: Uint8Array, address: string, port: number): void {
    // IPv6 has room for 20 bytes more.
    if (port === 0 || bytes.length > MAX_DATAGRAM) {
      this.#statistics.droppedInvalid++;
      return;
    }
    const { to } = this.#rule;
    const attached = this.#isLed ? this.#context.findVm(to.address) : null;
    const target = to.address ?? attached?.vm.address ?? null;
    if (attached === null || target === null) {
      this.#statistics.droppedNoVm++;
      this.#dropped("vm", this.#isLed ? "no VM with a known address is attached" : "it does not lead anywhere yet");
      return;
    }
    const flow = this.#findFlow(address, port, attached, target) ?? this.#addFlow(address, port, attached, target);
    if (flow === null) {
      this.#statistics.droppedLimit++;
      return;
    }
    this.#flows.touch(flow);
    if (attached.vm.udpSend(flow.source, flow.sourcePort, target, to.port, bytes, 0, bytes.length)) {
      this.#statistics.received++;
      flow.bytesToGuest += bytes.length;
    } else {
      this.#statistics.droppedLink++;
    }
  }

  /** A client's flow, if it leads where datagrams go now. */
  #findFlow(address: string, port: number, attached: AttachedVm, target: Ipv4): DatagramFlow | null {
    let flow = this.#recent;
    if (flow === null || flow.client.port !== port || flow.client.address !== address) {
      flow = this.#flows.get(clientKey(address, port)) ?? null;
      if (flow === null) return null;
      this.#recent = flow;
    }
    const isSame = flow.target.address === target && flow.target.port === this.#rule.to.port;
    if (flow.attached === attached && isSame) return flow;
    flow.reset();
    return null;
  }

  #addFlow(address: string, port: number, attached: AttachedVm, target: Ipv4): DatagramFlow | null {
    if (this.#context.isFull()) return null;
    const { localAddress: source, localPort } = this.#context.sourceFor(address, port);
    const ends = { client: { address, port }, source, target: { address: target, port: this.#rule.to.port } };
    const { datagramIdleTime, clock } = this.#context;
    const flow = new DatagramFlow(this, attached, ends, datagramIdleTime, clock.now());
    if (!flow.listen(localPort)) {
      this.#dropped("ports", "there is no free port towards the guest");
      return null;
    }
    this.#flows.add(flow);
    flow.inVm = attached.connections.add(flow);
    return flow;
  }

  #removed(flow: DatagramFlow, reason: "idle" | "evicted" | "removed"): void {
    if (this.#recent === flow) this.#recent = null;
    if (reason === "idle") this.#statistics.expired++;
    if (reason === "evicted") this.#statistics.evicted++;
    flow.close();
    flow.inVm?.leave();
  }

  #failed(action: "send" | "receive", error: NodeJS.ErrnoException): void {
    // What still waited is told to have failed by the socket's end.
    if (this.#closing !== null) return;
    this.#statistics.failed++;
    const code = error.code ?? "unknown";
    const what = action === "send" ? "the host did not send answers" : "the host did not receive datagrams";
    this.#failures.warn(`${action}-${code}`, { ...this.#fields, code }, `${what} of a published port`);
  }

  #dropped(kind: string, reason: string): void {
    this.#failures.warn(kind, this.#fields, `datagrams to a published port were dropped: ${reason}`);
  }

  get #fields(): object {
    return { listen: formatListen(this.listening) };
  }
}
