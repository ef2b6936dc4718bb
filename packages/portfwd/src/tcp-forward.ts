import { once } from "node:events";
import { type AddressInfo, createServer, type Server, type Socket } from "node:net";
import type { CloseReason, Ipv4 } from "@hostd/stack";
import { type Clock, FailureLog, type Logger } from "@hostd/streams";
import type { AttachedVm } from "./attached-vm.ts";
import { BindError } from "./bind-error.ts";
import { type ForwardRule, formatGuestTarget, formatListenAddress, type ListenAddress } from "./forward-rule.ts";
import { type ConnectionOwner, ForwardedConnection } from "./forwarded-connection.ts";

/** Connections that the kernel holds until they are accepted; it has a limit of its own (net.core.somaxconn). */
const BACKLOG = 4096;
/** The idle time after which the host's kernel starts to ask whether the client is still there, in milliseconds. */
const KEEP_ALIVE_DELAY = 60_000;

/** What became of the connections to a forward. */
export class TcpForwardStatistics {
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
  /** Connections that wait for the guest now. */
  pending = 0;
  /** Connections that the guest has answered and that have not ended. */
  open = 0;
}

/** What a forward takes from the one that keeps them all. */
export interface ForwardContext {
  /** The address that the connections come from in the guest's eyes. */
  readonly localAddress: Ipv4;
  readonly logger: Logger;
  readonly clock: Clock;
  /** Connections that may wait for the guest at once. */
  readonly maxPending: number;
  /** Whether there are as many connections of all forwards as there may be; logs that itself. */
  isFull(): boolean;
  /** The VM that connections to `address` lead to; null when there is none. */
  findVm(address: Ipv4 | null): AttachedVm | null;
  /** Called once when the listener is closed. */
  closed(forward: TcpForward): void;
}

/** A TCP port of the host whose connections the stack dials into the guest. */
export class TcpForward implements ConnectionOwner {
  readonly rule: ForwardRule;
  /** Where it listens, with the port that the system chose. */
  readonly address: ListenAddress;
  readonly #context: ForwardContext;
  readonly #server: Server;
  readonly #failures: FailureLog;
  /** The address as it is logged. */
  readonly #name: string;
  readonly #statistics = new TcpForwardStatistics();
  /** Connections that wait for the guest. */
  readonly #pending = new Set<ForwardedConnection>();
  /** All connections. */
  readonly #connections = new Set<ForwardedConnection>();
  #closing: Promise<void> | null = null;

  private constructor(rule: ForwardRule, server: Server, context: ForwardContext) {
    this.rule = rule;
    this.#context = context;
    this.#server = server;
    this.#failures = new FailureLog(context.logger, context.clock);
    this.address = { host: rule.listen.host, port: (server.address() as AddressInfo).port };
    this.#name = formatListenAddress(this.address);
    server.on("connection", (accepted: Socket) => this.#accept(accepted));
    server.on("error", (error: NodeJS.ErrnoException) => {
      const code = error.code ?? "unknown";
      this.#failures.warn(`accept-${code}`, { listen: this.#name, code }, "connections could not be accepted");
    });
  }

  /**
   * Listens on the host.
   *
   * @throws {BindError} when the address cannot be listened on.
   */
  static async listen(rule: ForwardRule, context: ForwardContext): Promise<TcpForward> {
    const server = createServer({
      // Nothing may be read before the socket has its `onread`.
      pauseOnConnect: true,
      noDelay: true,
      keepAlive: true,
      keepAliveInitialDelay: KEEP_ALIVE_DELAY,
    });
    const { host, port } = rule.listen;
    // Each family is listened on by itself, so that `::` beside `0.0.0.0` is no conflict.
    server.listen({ host, port, backlog: BACKLOG, exclusive: true, ipv6Only: true });
    try {
      await once(server, "listening");
    } catch (error) {
      throw new BindError(rule.listen, error as NodeJS.ErrnoException);
    }
    return new TcpForward(rule, server, context);
  }

  stats(): Readonly<TcpForwardStatistics> {
    this.#statistics.pending = this.#pending.size;
    this.#statistics.open = this.#connections.size - this.#pending.size;
    return { ...this.#statistics };
  }

  /** Stops listening, resets the connections, and waits until all sockets are closed. */
  close(): Promise<void> {
    this.#closing ??= new Promise((resolve) => {
      this.#server.close(() => resolve());
      this.#context.closed(this);
      for (const connection of [...this.#connections]) connection.reset();
    });
    return this.#closing;
  }

  opened(connection: ForwardedConnection): void {
    this.#pending.delete(connection);
    this.#statistics.connected++;
  }

  ended(connection: ForwardedConnection, reason: CloseReason): void {
    this.#connections.delete(connection);
    connection.attached.connections.delete(connection);
    if (!this.#pending.delete(connection)) return;
    if (reason === "refused") this.#statistics.refused++;
    else this.#statistics.failed++;
    const { to } = this.rule;
    this.#context.logger.debug(
      { listen: this.#name, guest: formatGuestTarget(to), reason },
      "the guest did not take a connection",
    );
  }

  #accept(accepted: Socket): void {
    const { maxPending, localAddress } = this.#context;
    const { to } = this.rule;
    const attached = this.#context.findVm(to.address);
    const remoteAddress = to.address ?? attached?.vm.address ?? null;
    if (attached === null || remoteAddress === null) {
      this.#statistics.droppedNoVm++;
      this.#drop(accepted, "vm", {}, "no VM with a known address is attached");
      return;
    }
    if (this.#pending.size >= maxPending) {
      this.#statistics.droppedPending++;
      this.#drop(accepted, "pending", { limit: maxPending }, "too many wait for an answer of the guest");
      return;
    }
    if (this.#context.isFull()) {
      this.#statistics.droppedLimit++;
      accepted.resetAndDestroy();
      return;
    }
    const connection = new ForwardedConnection(this, attached);
    const tuple = { localAddress, localPort: 0, remoteAddress, remotePort: to.port };
    if (!connection.connect(accepted, tuple)) {
      this.#statistics.droppedLimit++;
      this.#drop(accepted, "room", {}, "the VM's stack has no room for another one");
      return;
    }
    this.#pending.add(connection);
    this.#connections.add(connection);
    attached.connections.add(connection);
  }

  #drop(accepted: Socket, kind: string, fields: object, reason: string): void {
    accepted.resetAndDestroy();
    const all = { listen: this.#name, ...fields };
    this.#failures.warn(kind, all, `a connection to a published port was reset: ${reason}`);
  }
}
