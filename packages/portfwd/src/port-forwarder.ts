import { isIPv4 } from "node:net";
import type { Duplex } from "node:stream";
import { type Ipv4, type Ipv4Network, isLoopback, networkContains, parseIpv4 } from "@hostd/stack";
import { type Clock, FailureLog, type Logger, systemClock } from "@hostd/streams";
import type { ActivatedSockets } from "./activated-sockets.ts";
import { AttachedVm, type ForwardVm } from "./attached-vm.ts";
import { BindError } from "./bind-error.ts";
import type { BindPolicy, Requester } from "./bind-policy.ts";
import { DatagramForward, type DatagramForwardStatistics } from "./datagram-forward.ts";
import type { Forward, ForwardContext } from "./forward.ts";
import {
  type ForwardRule,
  type GuestSocket,
  type GuestTarget,
  isGuestSocket,
  isSocketPath,
  type ListenAddress,
  type SocketPath,
} from "./forward-rule.ts";
import { openGuestStream } from "./guest-stream.ts";
import { findPortHolder } from "./port-holder.ts";
import { SshTunnels } from "./ssh-tunnels.ts";
import { StreamForward, type StreamForwardStatistics } from "./stream-forward.ts";
import { WaitingClients } from "./waiting-clients.ts";

/** How forwards behave. It may change while they are open, and holds then for what comes. */
export interface ForwardSettings {
  /** The gateway's address, which the guest sees the connections come from. */
  readonly gateway: Ipv4;
  /**
   * Has the guest see the clients' own addresses. Those of this host are seen as `host`, and those that the guest could
   * not answer to, because they are IPv6 or in its own network, as the gateway's. Null has it see the gateway's alone.
   */
  readonly clientAddresses?: { readonly host: Ipv4; readonly network: Ipv4Network } | null;
  /** What may be listened on; anything unless given. */
  readonly policy?: BindPolicy;
  /** Connections of one forward that may wait for the guest's answer; a further one is reset. 1024 unless given. */
  readonly maxPending?: number;
  /** Connections of all forwards, those that wait included; a further one is reset. 16384 unless given. */
  readonly maxConnections?: number;
  /** Bytes of memory for what the two ends of all connections into one VM have sent each other; 256 MiB unless given. */
  readonly maxQueuedBytes?: number;
  /** How long a connection may wait for a VM that answers, in milliseconds; 0, so not at all, unless given. */
  readonly waitTime?: number;
  /** UDP flows of one forward; beyond, the one unused for longest goes. 4096 unless given. */
  readonly maxDatagramFlows?: number;
  /** How long a UDP flow is kept without traffic, in milliseconds; 120 s unless given (RFC 4787, 4.3). */
  readonly datagramIdleTime?: number;
}

export interface PortForwarderOptions extends ForwardSettings {
  /** Sockets that were handed to the process. */
  readonly activated?: ActivatedSockets;
  readonly logger: Logger;
  /** For tests; the process's clock unless given. */
  readonly clock?: Clock;
}

/** What became of what came to a forward. */
export interface ForwardStatistics {
  readonly rule: ForwardRule;
  /** Where it listens, with the port that the system chose. */
  readonly listening: ListenAddress | SocketPath;
  /** For a stream. */
  readonly tcp?: Readonly<StreamForwardStatistics>;
  /** For datagrams. */
  readonly udp?: Readonly<DatagramForwardStatistics>;
}

/** What holds where the settings say nothing. */
const DEFAULT_SETTINGS = {
  maxPending: 1024,
  maxConnections: 16_384,
  maxQueuedBytes: 256 * 1024 * 1024,
  waitTime: 0,
  maxDatagramFlows: 4096,
  datagramIdleTime: 120_000,
};

/**
 * What of the host leads into guests. A forward stays while VMs come and go; each connection leads to a VM that is
 * attached when it comes.
 */
export class PortForwarder {
  readonly #activated: ActivatedSockets | undefined;
  readonly #failures: FailureLog;
  readonly #context: ForwardContext;
  readonly #forwards = new Set<StreamForward | DatagramForward>();
  /** The VMs, the one attached first in front. */
  readonly #vms = new Set<AttachedVm>();
  readonly #tunnels: SshTunnels;
  #isClosed = false;
  #settings: ForwardSettings & typeof DEFAULT_SETTINGS;

  constructor({ activated, logger, clock = systemClock, ...settings }: PortForwarderOptions) {
    this.#activated = activated;
    this.#settings = { ...DEFAULT_SETTINGS, ...settings };
    this.#failures = new FailureLog(logger, clock);
    this.#tunnels = new SshTunnels({
      logger,
      clock,
      gateway: settings.gateway,
      maxQueuedBytes: this.#settings.maxQueuedBytes,
    });
    const current = () => this.#settings;
    this.#context = {
      logger,
      clock,
      get maxPending() {
        return current().maxPending;
      },
      get waitTime() {
        return current().waitTime;
      },
      get maxDatagramFlows() {
        return current().maxDatagramFlows;
      },
      get datagramIdleTime() {
        return current().datagramIdleTime;
      },
      waiting: new WaitingClients(clock),
      tunnels: this.#tunnels,
      isFull: () => this.#isFull(),
      findVm: (address) => this.#findVm(address),
      sourceFor: (address, port) => this.#sourceFor(address, port),
      closed: (forward) => this.#forwards.delete(forward as StreamForward | DatagramForward),
    };
  }

  /** Replaces the settings. Forwards that are open stay, even if the new policy has them not. */
  configure(settings: ForwardSettings): void {
    this.#settings = { ...DEFAULT_SETTINGS, ...settings };
  }

  /**
   * Opens a forward.
   *
   * @throws {BindRefusedError} when the policy has it not.
   * @throws {BindError} when the host cannot listen there.
   */
  async listen(rule: ForwardRule, requester: Requester = "host"): Promise<Forward> {
    this.#settings.policy?.check(rule, requester);
    const descriptor = this.#activated?.take(rule);
    let forward: StreamForward | DatagramForward;
    try {
      forward =
        rule.protocol === "udp"
          ? await DatagramForward.open(rule, this.#context, descriptor)
          : await StreamForward.open(rule, this.#context, descriptor);
    } catch (error) {
      throw await bindError(rule, error as NodeJS.ErrnoException);
    }
    this.#forwards.add(forward);
    if (this.#isClosed) {
      await forward.close();
      throw new Error("hostd is closing");
    }
    return forward;
  }

  /**
   * Says why the user of this host may listen on none of some ports of an address, by the policy that holds now.
   *
   * @param host - an IP address; empty for every address.
   * @returns null when one of them may be listened on.
   */
  whyRefused(host: string, firstPort: number, lastPort: number): string | null {
    return this.#settings.policy?.whyRefused(host, firstPort, lastPort) ?? null;
  }

  /**
   * Opens a stream into the guest, as a forward does for its clients. It may end in one direction and go on in the other.
   *
   * @throws when no VM with a known address is attached, or the guest does not take it.
   */
  async connect(to: GuestTarget | GuestSocket): Promise<Duplex> {
    const server = isGuestSocket(to) ? to.server : to;
    const attached = this.#findVm(server.address);
    const remoteAddress = server.address ?? attached?.vm.address ?? null;
    if (attached === null || remoteAddress === null) throw new Error("no VM with a known address is attached");
    if (isGuestSocket(to)) {
      return await this.#tunnels.open(attached, { ...to, server: { ...server, address: remoteAddress } });
    }
    const localAddress = this.#settings.gateway;
    return await openGuestStream(attached, { localAddress, localPort: 0, remoteAddress, remotePort: to.port });
  }

  /** The name of the VM that {@link connect} would lead into now; null when there is none. */
  vmOf(to: GuestTarget | GuestSocket): string | null {
    return this.#findVm(isGuestSocket(to) ? to.server.address : to.address)?.vm.name ?? null;
  }

  /** Lets connections lead to a VM, until it is detached. */
  attach(vm: ForwardVm): AttachedVm {
    const attached = new AttachedVm(vm, {
      maxQueuedBytes: this.#settings.maxQueuedBytes,
      outOfMemory: () => this.#outOfMemory(),
      ready: () => this.#context.waiting.retry(),
      detached: () => this.#vms.delete(attached),
    });
    this.#vms.add(attached);
    return attached;
  }

  stats(): ForwardStatistics[] {
    return [...this.#forwards].map((forward) => {
      const { rule, listening } = forward;
      if (forward instanceof DatagramForward) return { rule, listening, udp: forward.stats() };
      return { rule, listening, tcp: forward.stats() };
    });
  }

  /** Closes all forwards, their connections by a reset, and waits until nobody listens any more. */
  async close(): Promise<void> {
    this.#isClosed = true;
    await Promise.all([...this.#forwards].map((forward) => forward.close()));
    this.#tunnels.close();
  }

  #isFull(): boolean {
    let connections = this.#context.waiting.size;
    for (const attached of this.#vms) connections += attached.connections.size;
    const { maxConnections } = this.#settings;
    if (connections < maxConnections) return false;
    this.#failures.warn(
      "forward-limit",
      { limit: maxConnections },
      "the limit of connections to published ports is reached; further ones are reset",
    );
    return true;
  }

  #findVm(address: Ipv4 | null): AttachedVm | null {
    let shownBy: AttachedVm | null = null;
    let first: AttachedVm | null = null;
    for (const attached of this.#vms) {
      const { vm } = attached;
      if (address === null ? vm.address !== null : vm.address === address) return attached;
      if (address === null) continue;
      // Anybody may claim an address; its own comes first.
      if (vm.has(address)) shownBy ??= attached;
      first ??= attached;
    }
    // One that has not been heard of may yet be there: the VM that is asked for it finds out.
    return shownBy ?? first;
  }

  #sourceFor(address: string | undefined, port = 0): { localAddress: Ipv4; localPort: number } {
    const { gateway, clientAddresses = null } = this.#settings;
    const byGateway = { localAddress: gateway, localPort: 0 };
    if (clientAddresses === null || address === undefined) return byGateway;
    const text = address.startsWith("::ffff:") ? address.slice(7) : address;
    const { host, network } = clientAddresses;
    if (text === "::1") return { localAddress: host, localPort: port };
    if (!isIPv4(text)) return byGateway;
    const client = parseIpv4(text);
    if (isLoopback(client)) return { localAddress: host, localPort: port };
    return networkContains(network, client) ? byGateway : { localAddress: client, localPort: port };
  }

  #outOfMemory(): void {
    this.#failures.warn(
      "forward-memory",
      { limit: this.#settings.maxQueuedBytes },
      "a connection to a published port was reset: the memory for queued data is used up",
    );
  }
}

async function bindError(rule: ForwardRule, error: NodeJS.ErrnoException): Promise<Error> {
  // What is no error of the system says itself what is wrong.
  if (error.code === undefined) return error;
  const { protocol, listen } = rule;
  const isTaken = error.code === "EADDRINUSE" && !isSocketPath(listen);
  const holder = isTaken ? await findPortHolder(protocol, listen) : null;
  return new BindError(rule, error, holder === null ? {} : { holder });
}
