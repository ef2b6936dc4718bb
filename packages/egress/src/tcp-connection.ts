import type { Socket, TcpNetConnectOpts } from "node:net";
import type { ListEntry, RejectReason, TcpRequest } from "@hostd/stack";
import { Relay, type RelayOwner, type RelayPool, type RelaySocketOptions } from "@hostd/streams";

/** How the host side is connected: `net.connect`, whose types lack the buffer size that its documentation has. */
export type ConnectOptions = Omit<TcpNetConnectOpts, "onread"> & RelaySocketOptions;

/** What a connection tells the table that it is in, and takes from it. */
export interface ConnectionOwner {
  readonly relays: RelayPool;
  connectSocket(options: ConnectOptions): Socket;
  /** The host answered and the guest's handshake was completed. */
  opened(connection: TcpConnection): void;
  /** The host could not be reached; says how the guest is to be told. */
  connectFailed(code: string): RejectReason;
  /** Nothing of the connection is left but sockets that are closing. Called once. */
  ended(connection: TcpConnection): void;
  /** A socket of {@link connectSocket} is closed. */
  socketClosed(): void;
}

/** The idle time after which the host's kernel starts to ask whether the other end is still there, in milliseconds. */
const KEEP_ALIVE_DELAY = 60_000;

/** What is needed until the guest's handshake is complete. */
interface Attempt {
  readonly request: TcpRequest;
  /** Addresses still to be tried, in order. */
  readonly candidates: string[];
}

/** One TCP connection of a guest, from its SYN on: connects a host socket, and then relays between the two. */
export class TcpConnection implements RelayOwner {
  /** Its place among those of its owner, who sets it. */
  place: ListEntry<TcpConnection> | null = null;
  readonly #owner: ConnectionOwner;
  readonly #relay: Relay;
  #attempt: Attempt | null;

  /** @param candidates - the host addresses to connect to; the next one is tried when one refuses. */
  constructor(owner: ConnectionOwner, request: TcpRequest, candidates: string[]) {
    this.#owner = owner;
    this.#attempt = { request, candidates };
    this.#relay = new Relay(owner.relays, this);
  }

  connect(): void {
    if (this.#attempt === null) return;
    this.#attempt.request.onCancel = () => this.#relay.abandon();
    this.#tryNext(this.#attempt);
  }

  /** Gives up: a request is turned down as `reason` says, a connection is reset on both sides. */
  abandon(reason: RejectReason): void {
    this.#attempt?.request.reject(reason);
    this.#relay.abandon();
  }

  #tryNext({ request, candidates }: Attempt): void {
    const socket = this.#owner.connectSocket({
      ...this.#relay.socketOptions(),
      host: candidates.shift() as string,
      port: request.localPort,
      autoSelectFamily: false,
      noDelay: true,
      keepAlive: true,
      keepAliveInitialDelay: KEEP_ALIVE_DELAY,
    });
    this.#relay.attach(socket);
  }

  relayConnected(): void {
    const attempt = this.#endAttempt();
    const flow = attempt === null ? null : attempt.request.accept(this.#relay);
    if (flow === null) {
      this.#relay.abandon();
      return;
    }
    this.#owner.opened(this);
    this.#relay.start(flow);
  }

  /** The host answers first, so there is nothing to wait for. */
  relayEstablished(): void {}

  relayFailed(code: string): void {
    const attempt = this.#attempt;
    if (attempt === null) return;
    if (code === "ECONNREFUSED" && attempt.candidates.length > 0) {
      this.#tryNext(attempt);
      return;
    }
    attempt.request.reject(this.#owner.connectFailed(code));
    this.#relay.abandon();
  }

  relaySocketClosed(): void {
    this.#owner.socketClosed();
  }

  relayEnded(): void {
    this.#endAttempt();
    this.#owner.ended(this);
  }

  /** Lets go of what only the attempt needs: there may be many idle connections. */
  #endAttempt(): Attempt | null {
    const attempt = this.#attempt;
    if (attempt !== null) attempt.request.onCancel = null;
    this.#attempt = null;
    return attempt;
  }
}
