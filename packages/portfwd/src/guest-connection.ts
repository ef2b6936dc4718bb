import type { CloseReason } from "@hostd/stack";
import type { AttachedVm, VmConnection } from "./attached-vm.ts";

/** A client of the host and its connection into the guest. */
export interface GuestConnection extends VmConnection {
  /** The VM that it leads to. */
  readonly attached: AttachedVm;
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
