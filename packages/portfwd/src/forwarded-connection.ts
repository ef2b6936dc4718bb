import type { Socket } from "node:net";
import { adoptSocket } from "@hostd/native";
import type { CloseReason, FourTuple, TcpFlow } from "@hostd/stack";
import { Relay, type RelayOwner } from "@hostd/streams";
import type { AttachedVm } from "./attached-vm.ts";

/** What a connection tells the forward that accepted it. */
export interface ConnectionOwner {
  /** The guest has answered. */
  opened(connection: ForwardedConnection): void;
  /** Nothing of the connection is left. Called once. */
  ended(connection: ForwardedConnection, reason: CloseReason): void;
}

/**
 * A client of the host and its connection into the guest. The kernel has completed the client's handshake, so a guest
 * that does not take the connection shows as a reset. What the client sends stays in the kernel until the guest answers.
 */
export class ForwardedConnection implements RelayOwner {
  /** The VM that it leads to. */
  readonly attached: AttachedVm;
  readonly #owner: ConnectionOwner;
  readonly #relay: Relay;
  #flow: TcpFlow | null = null;

  constructor(owner: ConnectionOwner, attached: AttachedVm) {
    this.attached = attached;
    this.#owner = owner;
    this.#relay = new Relay(attached.relays, this);
  }

  /** The client's socket came connected. */
  relayConnected(): void {}

  relayEstablished(flow: TcpFlow): void {
    this.#owner.opened(this);
    this.#relay.start(flow);
  }

  relayFailed(): void {
    this.reset();
  }

  relaySocketClosed(): void {}

  relayEnded(reason: CloseReason): void {
    // The client's end may be gone before the guest has answered, and nothing is to come of that answer then.
    this.#flow?.abort();
    this.#owner.ended(this, reason);
  }

  /**
   * Dials, and takes over the client's socket.
   *
   * @param accepted - from a server with `pauseOnConnect`, never read from.
   * @returns false when the stack has no room for it; the socket is left alone then.
   */
  connect(accepted: Socket, tuple: FourTuple): boolean {
    this.#flow = this.attached.vm.tcpDial(tuple, this.#relay);
    if (this.#flow === null) return false;
    this.#relay.attach(adoptSocket(accepted, this.#relay.socketOptions()));
    return true;
  }

  /** Ends both sides with a reset. */
  reset(): void {
    this.#flow?.abort();
    this.#relay.abandon();
  }
}
