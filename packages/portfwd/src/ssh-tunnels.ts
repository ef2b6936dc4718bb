import type { Duplex } from "node:stream";
import type { Ipv4 } from "@hostd/stack";
import { type Clock, FailureLog, type Logger, systemClock } from "@hostd/streams";
import type { AttachedVm } from "./attached-vm.ts";
import { formatTarget, type GuestSocket } from "./forward-rule.ts";
import type { SshConnectionOptions } from "./ssh-connection.ts";
import { SshTunnel } from "./ssh-tunnel.ts";
import { TunnelError } from "./tunnel-error.ts";

export interface SshTunnelsOptions {
  readonly logger: Logger;
  /** The gateway's address, from which SSH servers are dialled. */
  readonly gateway: Ipv4;
  /** Bytes that clients of one SSH connection have not read; 256 MiB unless given. */
  readonly maxQueuedBytes?: number;
  /** For tests; the process's clock unless given. */
  readonly clock?: Clock;
}

/** SSH connections into guests, one for each server, user and key, over which streams to Unix sockets are opened. */
export class SshTunnels {
  readonly #logger: Logger;
  readonly #failures: FailureLog;
  readonly #connections: Omit<SshConnectionOptions, "ended">;
  readonly #tunnels = new Set<SshTunnel>();
  #isClosed = false;

  constructor({ logger, gateway, maxQueuedBytes = 256 * 1024 * 1024, clock = systemClock }: SshTunnelsOptions) {
    this.#logger = logger;
    this.#failures = new FailureLog(logger, clock);
    const outOfMemory = () => {
      const text = "a stream to a Unix socket in the guest was ended: the memory for data that nobody reads is used up";
      this.#failures.warn("memory", { limit: maxQueuedBytes }, text);
    };
    this.#connections = { gateway, clock, maxQueuedBytes, outOfMemory };
  }

  /**
   * Opens a stream to a Unix socket in the guest. The stream ends as a TCP connection does: it may end in one direction
   * and go on in the other, and has an error when the SSH connection or the VM goes. It closes without either end having
   * been sent when the guest has closed it for good.
   *
   * @param target - with the address of its server.
   * @throws {TunnelError} which is logged.
   */
  async open(attached: AttachedVm, target: GuestSocket): Promise<Duplex> {
    if (this.#isClosed) throw new TunnelError("aborted", "forwards are closed");
    try {
      return await this.#tunnel(attached, target).open(target.path);
    } catch (error) {
      this.#log(attached, target, error as Error);
      throw error;
    }
  }

  /** Ends all connections. No further one is made. */
  close(): void {
    this.#isClosed = true;
    for (const tunnel of [...this.#tunnels]) tunnel.reset();
  }

  #tunnel(attached: AttachedVm, target: GuestSocket): SshTunnel {
    for (const tunnel of this.#tunnels) if (tunnel.leadsTo(attached, target)) return tunnel;
    const ended = () => this.#tunnels.delete(tunnel);
    const tunnel = new SshTunnel(attached, target, { ...this.#connections, ended });
    this.#tunnels.add(tunnel);
    return tunnel;
  }

  #log({ vm }: AttachedVm, target: GuestSocket, error: Error): void {
    const guest = formatTarget(target);
    const fields = { vm: vm.name, guest };
    const message = `a Unix socket in the guest could not be reached over SSH: ${error.message}`;
    // Its targets are those of the forwards, so there are not many.
    if (error instanceof TunnelError && error.reason !== "refused") this.#logger.debug(fields, message);
    else this.#failures.warn(guest, fields, message);
  }
}
