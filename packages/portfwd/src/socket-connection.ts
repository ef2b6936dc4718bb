import type { Socket } from "node:net";
import type { Duplex } from "node:stream";
import { resetSocket } from "@hostd/native";
import type { CloseReason, ListEntry } from "@hostd/stack";
import type { AttachedVm, VmConnection } from "./attached-vm.ts";
import type { GuestSocket } from "./forward-rule.ts";
import type { ConnectionOwner, GuestConnection } from "./guest-connection.ts";
import type { SshTunnels } from "./ssh-tunnels.ts";
import { TunnelError } from "./tunnel-error.ts";
import type { WaitingClient } from "./waiting-clients.ts";

/** A client of the host and its stream to a Unix socket in the guest. */
export class SocketConnection implements GuestConnection {
  readonly attached: AttachedVm;
  waiting: WaitingClient | null = null;
  inForward: ListEntry<GuestConnection> | null = null;
  inVm: ListEntry<VmConnection> | null = null;
  readonly #owner: ConnectionOwner;
  readonly #accepted: Socket;
  readonly #tunnels: SshTunnels;
  #stream: Duplex | null = null;
  #reason: CloseReason = "finished";
  #hasEnded = false;

  /** @param accepted - from a server with `pauseOnConnect` and `allowHalfOpen`, never read from. */
  constructor(owner: ConnectionOwner, attached: AttachedVm, accepted: Socket, tunnels: SshTunnels) {
    this.attached = attached;
    this.#owner = owner;
    this.#accepted = accepted;
    this.#tunnels = tunnels;
  }

  /** Opens the stream. What the client sends stays in the kernel until it is open. */
  connect(target: GuestSocket): void {
    this.#tunnels.open(this.attached, target).then(
      (stream) => this.#opened(stream),
      (error: Error) => this.#end(error instanceof TunnelError ? error.reason : "refused"),
    );
  }

  /** Ends both sides at once. Idempotent. */
  reset(): void {
    if (this.#hasEnded) return;
    if (this.#stream !== null) {
      this.#stream.destroy();
      resetSocket(this.#accepted);
    }
    this.#end("aborted");
  }

  #opened(stream: Duplex): void {
    if (this.#hasEnded) {
      stream.destroy();
      return;
    }
    if (stream.destroyed) {
      // The SSH connection was lost right away. Nothing of the client was read, so it may be tried again.
      this.#end("unreachable");
      return;
    }
    this.#stream = stream;
    this.#owner.opened(this);
    this.#join(this.#accepted, stream);
    // It is gone already when the descriptor was closed meanwhile.
    if (this.#accepted.destroyed) this.reset();
  }

  #join(client: Socket, stream: Duplex): void {
    client.on("error", () => {
      this.#reason = "reset";
    });
    client.on("close", () => {
      // What the client sent before its end still goes to the guest.
      const isInOrder = client.errored === null && client.readableEnded && stream.readableEnded;
      if (!isInOrder) stream.destroy();
      this.#endWhenClosed(client, stream);
    });
    stream.on("error", (error) => {
      this.#reason = error instanceof TunnelError && error.reason === "detached" ? "detached" : "reset";
    });
    stream.on("close", () => {
      // The guest has ended both directions, if not all is over: as its TCP would, the client is told at its next write.
      if (stream.errored === null) client.destroySoon();
      else resetSocket(client);
      this.#endWhenClosed(client, stream);
    });
    client.pipe(stream);
    stream.pipe(client);
  }

  #endWhenClosed(client: Socket, stream: Duplex): void {
    if (client.closed && stream.closed) this.#end(this.#reason);
  }

  #end(reason: CloseReason): void {
    if (this.#hasEnded) return;
    this.#hasEnded = true;
    this.#owner.ended(this, reason);
  }
}
