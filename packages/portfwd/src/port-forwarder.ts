import type { Ipv4 } from "@hostd/stack";
import { type Clock, FailureLog, type Logger, systemClock } from "@hostd/streams";
import { AttachedVm, type ForwardVm } from "./attached-vm.ts";
import type { ForwardRule, ListenAddress } from "./forward-rule.ts";
import { type ForwardContext, TcpForward, type TcpForwardStatistics } from "./tcp-forward.ts";

export interface ForwardLimits {
  /** Connections of one forward that may wait for the guest's answer; a further one is reset. 1024 unless given. */
  readonly maxPending?: number;
  /** Connections of all forwards, those that wait included; a further one is reset. 16384 unless given. */
  readonly maxConnections?: number;
  /** Bytes of memory for what the two ends of all connections into one VM have sent each other; 256 MiB unless given. */
  readonly maxQueuedBytes?: number;
}

export interface PortForwarderOptions extends ForwardLimits {
  /** The gateway's address, which the guest sees the connections come from. */
  readonly gateway: Ipv4;
  readonly logger: Logger;
  /** For tests; the process's clock unless given. */
  readonly clock?: Clock;
}

/** What became of the connections of one forward. */
export interface ForwardStatistics {
  readonly rule: ForwardRule;
  /** Where it listens, with the port that the system chose. */
  readonly address: ListenAddress;
  readonly tcp: Readonly<TcpForwardStatistics>;
}

/** The most connections of all forwards together, unless another limit is given. */
export const MAX_FORWARDED_CONNECTIONS = 16_384;

/**
 * The ports of the host that lead into guests. A forward stays while VMs come and go; each connection leads to a VM that
 * is attached when it comes.
 */
export class PortForwarder {
  readonly #maxConnections: number;
  readonly #maxQueuedBytes: number;
  readonly #failures: FailureLog;
  readonly #context: ForwardContext;
  readonly #forwards = new Set<TcpForward>();
  /** The VMs, the one attached first in front. */
  readonly #vms = new Set<AttachedVm>();

  constructor(options: PortForwarderOptions) {
    const { logger, clock = systemClock } = options;
    this.#maxConnections = options.maxConnections ?? MAX_FORWARDED_CONNECTIONS;
    this.#maxQueuedBytes = options.maxQueuedBytes ?? 256 * 1024 * 1024;
    this.#failures = new FailureLog(logger, clock);
    this.#context = {
      localAddress: options.gateway,
      logger,
      clock,
      maxPending: options.maxPending ?? 1024,
      isFull: () => this.#isFull(),
      findVm: (address) => this.#findVm(address),
      closed: (forward) => this.#forwards.delete(forward),
    };
  }

  /**
   * Opens a forward.
   *
   * @throws {BindError} when the host's address cannot be listened on.
   */
  async listen(rule: ForwardRule): Promise<TcpForward> {
    const forward = await TcpForward.listen(rule, this.#context);
    this.#forwards.add(forward);
    return forward;
  }

  /** Lets connections lead to a VM, until it is detached. */
  attach(vm: ForwardVm): AttachedVm {
    const attached = new AttachedVm(vm, {
      maxQueuedBytes: this.#maxQueuedBytes,
      outOfMemory: () => this.#outOfMemory(),
      detached: () => this.#vms.delete(attached),
    });
    this.#vms.add(attached);
    return attached;
  }

  stats(): ForwardStatistics[] {
    return [...this.#forwards].map((forward) => ({
      rule: forward.rule,
      address: forward.address,
      tcp: forward.stats(),
    }));
  }

  /** Closes all forwards, their connections by a reset, and waits until every socket is closed. */
  async close(): Promise<void> {
    await Promise.all([...this.#forwards].map((forward) => forward.close()));
  }

  #isFull(): boolean {
    let connections = 0;
    for (const attached of this.#vms) connections += attached.connections.size;
    if (connections < this.#maxConnections) return false;
    this.#failures.warn(
      "forward-limit",
      { limit: this.#maxConnections },
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

  #outOfMemory(): void {
    this.#failures.warn(
      "forward-memory",
      { limit: this.#maxQueuedBytes },
      "a connection to a published port was reset: the memory for queued data is used up",
    );
  }
}
