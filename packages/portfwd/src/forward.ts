import type { Ipv4 } from "@hostd/stack";
import type { Clock, Logger } from "@hostd/streams";
import type { AttachedVm } from "./attached-vm.ts";
import type { ForwardRule, GuestTarget, ListenAddress, SocketPath } from "./forward-rule.ts";
import type { SshTunnels } from "./ssh-tunnels.ts";
import type { WaitingClients } from "./waiting-clients.ts";

/** Something of the host that leads into the guest, until it is closed. */
export interface Forward {
  readonly rule: ForwardRule;
  /** Where it listens, with the port that the system chose. */
  readonly listening: ListenAddress | SocketPath;
  /**
   * Has it lead somewhere else from now on; null has clients wait, as for a VM that boots. What is open stays.
   */
  retarget(to: GuestTarget | null): void;
  /**
   * Stops listening, and ends what is open unless that is to be kept. Resolves once nobody listens any more.
   */
  close(options?: { readonly keepConnections?: boolean }): Promise<void>;
}

/** What a forward takes from the one that keeps them all. */
export interface ForwardContext {
  readonly logger: Logger;
  readonly clock: Clock;
  /** Connections of one forward that may wait for the guest at once. */
  readonly maxPending: number;
  /** How long a connection may wait for a VM that answers, in milliseconds; 0 for not at all. */
  readonly waitTime: number;
  /** UDP flows of one forward. */
  readonly maxDatagramFlows: number;
  /** How long a UDP flow is kept without traffic, in milliseconds. */
  readonly datagramIdleTime: number;
  readonly waiting: WaitingClients;
  readonly tunnels: SshTunnels;
  /** Whether there are as many connections of all forwards as there may be; logs that itself. */
  isFull(): boolean;
  /** The VM that connections to `address` lead to; null when there is none. */
  findVm(address: Ipv4 | null): AttachedVm | null;
  /**
   * What the guest sees a client's connection come from; a port of 0 is one of the stack's choice. Without an address
   * it is a client of a Unix socket.
   */
  sourceFor(address: string | undefined, port: number | undefined): { localAddress: Ipv4; localPort: number };
  /** Called once when the listener is closed. */
  closed(forward: Forward): void;
}
