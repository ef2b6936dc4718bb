import type { CloseReason, ListEntry } from "@hostd/stack";
import type { AttachedVm, VmConnection } from "./attached-vm.ts";
import type { WaitingClient } from "./waiting-clients.ts";

/** A client of the host and its connection into the guest. */
export interface GuestConnection extends VmConnection {
  /** The VM that it leads to. */
  readonly attached: AttachedVm;
  /** Its client as it was accepted, while the guest has not answered. This and what follows is the forward's. */
  waiting: WaitingClient | null;
  inForward: ListEntry<GuestConnection> | null;
  inVm: ListEntry<VmConnection> | null;
}

/** What a connection tells the forward that accepted its client. */
export interface ConnectionOwner {
  /** The guest has answered. From now on the client's socket belongs to the connection. */
  opened(connection: GuestConnection): void;
  /**
   * Nothing of the connection is left. Called once. Before {@link opened} the client's socket is as it was accepted, and
   * its owner decides what becomes of it.
   */
  ended(connection: GuestConnection, reason: CloseReason): void;
}
