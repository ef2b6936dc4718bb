import type { Socket, TcpNetConnectOpts } from "node:net";
import type { RejectReason, TcpRequest } from "@hostd/stack";
import { Relay, type RelayPool, type RelaySocketOptions } from "@hostd/streams";

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
  /** Nothing of the connection is left. Called once. */
  ended(connection: TcpConnection): void;
}

/** The idle time after which the host's kernel starts to ask whether the other end is still there, in milliseconds. */
const KEEP_ALIVE_DELAY = 60_000;

/** One TCP connection of a guest, from its SYN on: connects a host socket, and then relays between the two. */
export class TcpConnection {
  readonly #owner: ConnectionOwner;
  readonly #request: TcpRequest;
  /** Addresses still to be tried, in order. */
  readonly #candidates: string[];
  readonly #relay: Relay;

  /** @param candidates - the host addresses to connect to; the next one is tried when one refuses. */
  constructor(owner: ConnectionOwner, request: TcpRequest, candidates: string[]) {
    this.#owner = owner;
    this.#request = request;
    this.#candidates = candidates;
    this.#relay = new Relay(owner.relays, () => {
      request.onCancel = null;
      owner.ended(this);
    });
  }

  connect(): void {
    this.#request.onCancel = () => this.#relay.abandon();
    this.#tryNext();
  }

  /** Gives up: a request is turned down as `reason` says, a connection is reset on both sides. */
  abandon(reason: RejectReason): void {
    this.#request.reject(reason);
    this.#relay.abandon();
  }

  #tryNext(): void {
    const socket = this.#owner.connectSocket({
      ...this.#relay.socketOptions,
      host: this.#candidates.shift() as string,
      port: this.#request.localPort,
      autoSelectFamily: false,
      noDelay: true,
      keepAlive: true,
      keepAliveInitialDelay: KEEP_ALIVE_DELAY,
    });
    this.#relay.attach(socket, (code) => this.#failed(code));
    socket.once("connect", () => this.#connected());
  }

  #connected(): void {
    const flow = this.#request.accept(this.#relay);
    if (flow === null) {
      this.#relay.abandon();
      return;
    }
    this.#owner.opened(this);
    this.#relay.start(flow);
  }

  #failed(code: string): void {
    if (code === "ECONNREFUSED" && this.#candidates.length > 0) {
      this.#tryNext();
      return;
    }
    this.#request.reject(this.#owner.connectFailed(code));
    this.#relay.abandon();
  }
}
