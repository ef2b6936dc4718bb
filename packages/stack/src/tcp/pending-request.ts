import type { Ipv4 } from "../address.ts";
import type { TcpConnection } from "./connection.ts";
import type { RejectReason, TcpFlow, TcpHandler, TcpRequest } from "./flow.ts";

/** What a request asks of the TCP it belongs to. */
export interface RequestOwner {
  /** Completes the handshake. */
  accept(request: PendingRequest, handler: TcpHandler): TcpFlow;
  /** Turns the request down. */
  reject(request: PendingRequest, reason: RejectReason): void;
}

/** A SYN that waits for its owner's answer, with the connection that an acceptance brings to life. */
export class PendingRequest implements TcpRequest {
  readonly connection: TcpConnection;
  cancelled = false;
  onCancel: (() => void) | null = null;
  #answered = false;
  readonly #owner: RequestOwner;

  constructor(owner: RequestOwner, connection: TcpConnection) {
    this.#owner = owner;
    this.connection = connection;
  }

  get localAddress(): Ipv4 {
    return this.connection.localAddress;
  }

  get localPort(): number {
    return this.connection.localPort;
  }

  get remoteAddress(): Ipv4 {
    return this.connection.remoteAddress;
  }

  get remotePort(): number {
    return this.connection.remotePort;
  }

  accept(handler: TcpHandler): TcpFlow | null {
    if (this.cancelled || this.#answered) return null;
    this.#answered = true;
    return this.#owner.accept(this, handler);
  }

  reject(reason: RejectReason): void {
    if (this.cancelled || this.#answered) return;
    this.#answered = true;
    this.#owner.reject(this, reason);
  }

  /** Called by the stack when the request can no longer be answered. */
  cancel(): void {
    this.cancelled = true;
    this.onCancel?.();
  }
}
