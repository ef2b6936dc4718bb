import type { Socket } from "node:net";
import { resetSocket } from "@hostd/native";
import { type CloseReason, type Ipv4, LinkedList } from "@hostd/stack";
import { FailureLog } from "@hostd/streams";
import type { AttachedVm } from "./attached-vm.ts";
import type { Forward, ForwardContext } from "./forward.ts";
import {
  formatListen,
  formatTarget,
  type GuestTarget,
  isGuestSocket,
  type ListenAddress,
  type SocketPath,
  type StreamRule,
} from "./forward-rule.ts";
import type { ConnectionOwner, GuestConnection } from "./guest-connection.ts";
import { RelayedConnection } from "./relayed-connection.ts";
import { SocketConnection } from "./socket-connection.ts";
import { StreamListener } from "./stream-listener.ts";
import type { WaitingClient } from "./waiting-clients.ts";

/** What became of the connections to a forward. */
export class StreamForwardStatistics {
  /** Connections that the guest answered. */
  connected = 0;
  /** Connections that the guest refused. */
  refused = 0;
  /** Connections that ended otherwise before the guest had answered. */
  failed = 0;
  /** Connections reset because there was no VM to lead them to. */
  droppedNoVm = 0;
  /** Connections reset because too many waited for the guest. */
  droppedPending = 0;
  /** Connections reset because there were too many of all forwards, or no room in the VM's stack. */
  droppedLimit = 0;
  /** Connections that wait for the guest now, be it for its answer or for a VM. */
  pending = 0;
  /** Connections that the guest has answered and that have not ended. */
  open = 0;
}

/** Ends of a connection that was not answered after which it is tried again while its client may wait. */
const WORTH_WAITING: readonly CloseReason[] = ["unreachable", "timeout", "detached"];

/** A TCP port or Unix socket of the host whose clients are led into the guest. */
export class StreamForward implements Forward, ConnectionOwner {
  #rule: StreamRule;
  /** Whether it leads anywhere. */
  #isLed = true;
  readonly #context: ForwardContext;
  readonly #failures: FailureLog;
  readonly #statistics = new StreamForwardStatistics();
  readonly #connections = new LinkedList<GuestConnection>();
  /** How many of them the guest has not answered. */
  #pending = 0;
  #listener!: StreamListener;
  #isClosed = false;

  private constructor(rule: StreamRule, context: ForwardContext) {
    this.#rule = rule;
    this.#context = context;
    this.#failures = new FailureLog(context.logger, context.clock);
  }

  /**
   * Listens on the host.
   *
   * @param descriptor - of a socket that listens there already.
   * @throws {NodeJS.ErrnoException} the system's error.
   */
  static async open(rule: StreamRule, context: ForwardContext, descriptor?: number): Promise<StreamForward> {
    const forward = new StreamForward(rule, context);
    const handlers = {
      accepted: (socket: Socket) => forward.#accepted(socket),
      failed: (error: NodeJS.ErrnoException) => forward.#failed(error),
    };
    forward.#listener = await StreamListener.open(rule.listen, handlers, { descriptor });
    return forward;
  }

  get rule(): StreamRule {
    return this.#rule;
  }

  get listening(): ListenAddress | SocketPath {
    return this.#listener.listening;
  }

  /** The connections that it led into guests. */
  get connections(): Iterable<GuestConnection> {
    return this.#connections;
  }

  stats(): Readonly<StreamForwardStatistics> {
    this.#statistics.pending = this.#pending + this.#context.waiting.count(this);
    this.#statistics.open = this.#connections.size - this.#pending;
    return { ...this.#statistics };
  }

  retarget(to: GuestTarget | null): void {
    const { to: before } = this.#rule;
    const isSame = to !== null && !isGuestSocket(before) && before.address === to.address && before.port === to.port;
    if (isSame && this.#isLed) return;
    this.#isLed = to !== null;
    if (to !== null) this.#rule = { ...this.#rule, to };
    // Where they are dialled nobody may answer any more, as at the old address of a container, for minutes.
    const clients = this.#context.waiting.takeAll(this);
    for (const connection of [...this.#connections]) {
      const client = this.#takeWaiting(connection);
      if (client === null) continue;
      connection.reset();
      clients.push(client);
    }
    for (const client of clients) this.connect(client);
  }

  async close({ keepConnections = false }: { readonly keepConnections?: boolean } = {}): Promise<void> {
    const closing = this.#isClosed ? Promise.resolve() : this.#listener.close();
    this.#isClosed = true;
    this.#context.closed(this);
    for (const { socket } of this.#context.waiting.takeAll(this)) resetSocket(socket);
    for (const connection of [...this.#connections]) {
      if (!keepConnections || connection.waiting !== null) connection.reset();
    }
    await closing;
  }

  /** Leads a client into the guest, or has it wait. */
  connect(client: WaitingClient): void {
    const { socket } = client;
    const { to } = this.#rule;
    const { maxPending } = this.#context;
    const target = isGuestSocket(to) ? to.server : to;
    const attached = this.#isLed ? this.#context.findVm(target.address) : null;
    const address = target.address ?? attached?.vm.address ?? null;
    if (this.#pending + this.#context.waiting.count(this) >= maxPending) {
      this.#statistics.droppedPending++;
      this.#drop(socket, "pending", { limit: maxPending }, "too many wait for an answer of the guest");
      return;
    }
    if (this.#context.isFull()) {
      this.#statistics.droppedLimit++;
      resetSocket(socket);
      return;
    }
    if (attached === null || address === null) {
      if (this.#context.waiting.add(client)) return;
      this.#statistics.droppedNoVm++;
      const reason = this.#isLed ? "no VM with a known address is attached" : "it does not lead anywhere yet";
      this.#drop(socket, "vm", {}, reason);
      return;
    }
    const connection = isGuestSocket(to)
      ? this.#openSocket(attached, socket, { ...to, server: { ...target, address } })
      : this.#dial(attached, socket, address, to.port);
    if (connection === null) {
      this.#statistics.droppedLimit++;
      this.#drop(socket, "room", {}, "the VM's stack has no room for another one");
      return;
    }
    connection.waiting = client;
    this.#pending++;
    connection.inForward = this.#connections.add(connection);
    connection.inVm = attached.connections.add(connection);
  }

  opened(connection: GuestConnection): void {
    this.#takeWaiting(connection);
    this.#statistics.connected++;
  }

  ended(connection: GuestConnection, reason: CloseReason): void {
    connection.inForward?.leave();
    connection.inVm?.leave();
    const client = this.#takeWaiting(connection);
    if (client === null) return;
    const isWorthWaiting = WORTH_WAITING.includes(reason) || connection.attached.isDetached;
    if (isWorthWaiting && !this.#isClosed && this.#context.waiting.add(client)) return;
    resetSocket(client.socket);
    if (reason === "refused") this.#statistics.refused++;
    else this.#statistics.failed++;
    const { to } = this.#rule;
    const address = isGuestSocket(to) ? null : to.address;
    const container = address === null ? null : (connection.attached.vm.containerAt?.(address) ?? null);
    this.#context.logger.debug(
      { listen: this.#name, guest: formatTarget(to), ...(container === null ? {} : { container }), reason },
      "the guest did not take a connection",
    );
  }

  /** The client of a connection that the guest has not answered, which is not pending any more. */
  #takeWaiting(connection: GuestConnection): WaitingClient | null {
    const client = connection.waiting;
    if (client !== null) this.#pending--;
    connection.waiting = null;
    return client;
  }

  #dial(attached: AttachedVm, socket: Socket, remoteAddress: Ipv4, remotePort: number): GuestConnection | null {
    const connection = new RelayedConnection(this, attached, socket);
    const { localAddress, localPort } = this.#context.sourceFor(socket.remoteAddress, socket.remotePort);
    const tuple = { localAddress, localPort, remoteAddress, remotePort };
    if (connection.connect(tuple)) return connection;
    // The client's own port may be in use by another connection, such as one that is not quite over.
    return localPort !== 0 && connection.connect({ ...tuple, localPort: 0 }) ? connection : null;
  }

  #openSocket(
    attached: AttachedVm,
    socket: Socket,
    target: Parameters<SocketConnection["connect"]>[0],
  ): GuestConnection {
    const connection = new SocketConnection(this, attached, socket, this.#context.tunnels);
    connection.connect(target);
    return connection;
  }

  #accepted(socket: Socket): void {
    // Errors come only once it is read from, when somebody else listens to them.
    this.connect({ forward: this, socket, until: this.#context.clock.now() + this.#context.waitTime });
  }

  #failed(error: NodeJS.ErrnoException): void {
    const code = error.code ?? "unknown";
    this.#failures.warn(`accept-${code}`, { listen: this.#name, code }, "connections could not be accepted");
  }

  #drop(socket: Socket, kind: string, fields: object, reason: string): void {
    resetSocket(socket);
    const all = { listen: this.#name, ...fields };
    this.#failures.warn(kind, all, `a connection to a published port was reset: ${reason}`);
  }

  /** The address as it is logged. */
  get #name(): string {
    return formatListen(this.#listener.listening);
  }
}
