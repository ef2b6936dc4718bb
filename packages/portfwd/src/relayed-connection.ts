import type { Socket } from "node:net";
import { adoptSocket } from "@hostd/native";
import type { CloseReason, FourTuple, ListEntry, TcpFlow } from "@hostd/stack";
import { Relay, type RelayOwner } from "@hostd/streams";
import type { AttachedVm, VmConnection } from "./attached-vm.ts";
import type { ConnectionOwner, GuestConnection } from "./guest-connection.ts";
import type { WaitingClient } from "./waiting-clients.ts";

/**
 * A client of the host and its TCP connection into the guest. The kernel has completed the client's handshake, so a
 * guest that does not take the connection shows as a reset. What the client sends stays in the kernel until the guest
 * answers.
 */
export class RelayedConnection implements GuestConnection, RelayOwner {
  readonly attached: AttachedVm;
  waiting: WaitingClient | null = null;
  inForward: ListEntry<GuestConnection> | null = null;
  inVm: ListEntry<VmConnection> | null = null;
  readonly #owner: ConnectionOwner;
  readonly #accepted: Socket;
  readonly #relay: Relay;
  #flow: TcpFlow | null = null;

  /** @param accepted - from a server with `pauseOnConnect`, never read from. */
  constructor(owner: ConnectionOwner, attached: AttachedVm, accepted: Socket) {
    this.attached = attached;
    this.#owner = owner;
    this.#accepted = accepted;
    this.#relay = new Relay(attached.relays, this);
  }

  /** The connection in the guest's network; null before {@link connect}. */
  get flow(): TcpFlow | null {
    return this.#flow;
  }

  /** The client's address and port; empty for one of a Unix socket. */
  get client(): { readonly address: string; readonly port: number } {
    const { remoteAddress = "", remotePort = 0 } = this.#accepted;
    return { address: remoteAddress, port: remotePort };
  }

  /**
   * Dials.
   *
   * @returns false when the stack has no room for it; nothing is told to the owner then.
   */
  connect(tuple: FourTuple): boolean {
    this.#flow = this.attached.vm.tcpDial(tuple, this.#relay);
    return this.#flow !== null;
  }

  /** Ends both sides with a reset. */
  reset(): void {
    this.#flow?.abort();
    this.#relay.abandon();
  }

  /** The client's socket came connected. */
  relayConnected(): void {}

  relayEstablished(flow: TcpFlow): void {
    this.#owner.opened(this);
    this.#relay.attach(adoptSocket(this.#accepted, this.#relay.socketOptions()));
    // It is gone already when the descriptor was closed meanwhile.
    if (this.#accepted.destroyed) this.reset();
    else this.#relay.start(flow);
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
}
