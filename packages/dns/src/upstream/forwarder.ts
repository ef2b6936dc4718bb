/** Asking the servers of the host. */
import type { Transport } from "../context.ts";
import type { DnsLogger } from "../logger.ts";
import type { Query } from "../message.ts";
import type { Policy, PolicySource, Route } from "../policy/policy.ts";
import type { Upstream, UpstreamAnswer } from "../resolver.ts";
import { formatServerAddress, type ServerAddress } from "../server-address.ts";
import { Bag } from "./bag.ts";
import { Forwarding } from "./forwarding.ts";
import { ServerHealth, type ServerReport, type WaitBounds } from "./server-health.ts";
import { ServerSockets } from "./server-sockets.ts";

export interface ForwarderOptions {
  readonly source: PolicySource;
  /** Milliseconds after which a query is given up; 4500 when it is not given. */
  readonly totalTimeout?: number;
  /** How long a server is waited for before the next is asked too; 300 to 1000 milliseconds when it is not given. */
  readonly waitBounds?: WaitBounds;
  /** Whether letters of the name change their case at random, and have to come back so; false when it is not given. */
  readonly randomizeCase?: boolean;
  readonly logger?: DnsLogger;
}

/** A route and how its servers are doing, for people. */
export interface RouteReport {
  /** Empty for every name that no other route is for. */
  readonly domain: string;
  readonly from: string;
  readonly servers: readonly ServerReport[];
}

const TOTAL_TIMEOUT = 4500;

/**
 * How often it is looked whether a query has waited for long enough, in milliseconds, which is how much later a wait may
 * end. It spares each query two timers of its own.
 */
const TICK = 20;

/** How many queries are asked anew in a tick when the policy changes: a server's buffer has no room for thousands at once. */
const RESTARTS_PER_TICK = 100;

/**
 * Forwards queries as they came, each to the servers that the policy of the host has for its name. When the policy
 * changes, those that are on their way are asked anew.
 */
export class Forwarder implements Upstream {
  readonly health: ServerHealth;
  readonly #options: ForwarderOptions;
  readonly #totalTimeout: number;
  readonly #sockets: ServerSockets;
  readonly #pending = new Bag<Forwarding>();
  /** Those that are to be asked anew. */
  #restarting: Forwarding[] = [];
  /** Servers that ask us in turn, which are not asked. */
  readonly #excluded = new Set<string>();
  #policy: Policy;
  /** When the policy changed last, in milliseconds. */
  #changedAt = Number.NEGATIVE_INFINITY;
  #tickTimer: NodeJS.Timeout | undefined;
  #warnedOfNoServer = false;
  #closed = false;

  constructor(options: ForwarderOptions) {
    this.#options = options;
    this.#totalTimeout = options.totalTimeout ?? TOTAL_TIMEOUT;
    this.health = new ServerHealth(options.waitBounds);
    this.#sockets = new ServerSockets(options.randomizeCase ?? false);
    this.#policy = options.source.current();
  }

  /** The policy that holds, which another one takes the place of when it changes. */
  get version(): Policy {
    this.#follow();
    return this.#policy;
  }

  /** Which servers a name is asked of; null when there are none. */
  routeOf(labels: readonly string[]): Route | null {
    this.#follow();
    const route = this.#policy.routes.find(labels);
    if (route === null || this.#excluded.size === 0) return route;
    const servers = route.set.servers.filter((server) => !this.#excluded.has(formatServerAddress(server)));
    return { ...route, set: { ...route.set, servers } };
  }

  forward(query: Query, transport: Transport): Promise<UpstreamAnswer | null> {
    if (this.#closed) return Promise.resolve(null);
    const { labels } = query.question;
    const route = this.routeOf(labels);
    const set = hasServers(route) ? route.set : null;
    if (set === null) {
      this.#warnOfNoServer();
      if (!this.#isBetweenNetworks(labels)) return Promise.resolve(null);
    } else {
      this.#warnedOfNoServer = false;
    }
    return new Promise((resolve) => {
      const forwarding: Forwarding = new Forwarding(query, transport, {
        sockets: this.#sockets,
        health: this.health,
        logger: this.#options.logger,
        policyChanged: () => this.#hasChanged(),
        done: resolve,
        ended: () => this.#pending.remove(forwarding),
      });
      this.#pending.add(forwarding);
      this.#tickTimer ??= setTimeout(() => this.#tick(), TICK);
      forwarding.start(set, this.#totalTimeout);
    });
  }

  /** Asks a server no more until the policy changes, because what it is asked comes back here. */
  exclude(server: ServerAddress): void {
    this.#excluded.add(formatServerAddress(server));
    for (const forwarding of this.#pending.snapshot()) {
      if (!forwarding.isFor(server)) continue;
      const route = this.routeOf(forwarding.query.question.labels);
      if (hasServers(route)) forwarding.restart(route.set);
      else forwarding.close();
    }
  }

  report(): RouteReport[] {
    this.#follow();
    return this.#policy.routes.routes.map(({ domain, from, set }) => {
      const servers = this.health.report(set.servers).map((report): ServerReport => {
        return this.#excluded.has(report.server) ? { ...report, state: "excluded" } : report;
      });
      return { domain, from, servers };
    });
  }

  /** Gives up every query, and each one that comes later. */
  close(): void {
    this.#closed = true;
    clearTimeout(this.#tickTimer);
    for (const forwarding of this.#pending.snapshot()) forwarding.close();
    this.#sockets.retire();
  }

  #tick(): void {
    this.#follow();
    this.#restartSome();
    const now = performance.now();
    for (const forwarding of this.#pending.snapshot()) forwarding.tick(now);
    this.#tickTimer = this.#pending.size === 0 ? undefined : setTimeout(() => this.#tick(), TICK);
  }

  /** Whether the policy is another one than a moment ago. */
  #hasChanged(): boolean {
    const before = this.#policy;
    this.#options.source.recheck?.();
    this.#follow();
    return this.#policy !== before;
  }

  /** Takes over a policy that has changed, with the queries that are on their way. */
  #follow(): void {
    const policy = this.#options.source.current();
    if (policy === this.#policy) return;
    this.#policy = policy;
    this.#changedAt = performance.now();
    this.#excluded.clear();
    this.health.reset();
    // A socket keeps the address of this host that its packets came from, which may be gone.
    this.#sockets.retire();
    this.#restarting = this.#pending.snapshot();
    for (const forwarding of this.#restarting) forwarding.hold();
  }

  /** Asks the next of them anew. */
  #restartSome(): void {
    for (const forwarding of this.#restarting.splice(0, RESTARTS_PER_TICK)) {
      if (!this.#pending.has(forwarding)) continue;
      const route = this.routeOf(forwarding.query.question.labels);
      // Without a server there may be one again before the time is over.
      if (hasServers(route)) forwarding.restart(route.set);
    }
  }

  /** Whether there was another policy a moment ago, and there may be another in a moment that has a server for a name. */
  #isBetweenNetworks(labels: readonly string[]): boolean {
    if (performance.now() - this.#changedAt >= this.#totalTimeout) return false;
    return !hasServers(this.#policy.routes.find(labels));
  }

  #warnOfNoServer(): void {
    if (!this.#warnedOfNoServer) {
      this.#options.logger?.warn({}, "there is no name server to ask: names outside the zones fail");
    }
    this.#warnedOfNoServer = true;
  }
}

function hasServers(route: Route | null): route is Route {
  return route !== null && route.set.servers.length > 0;
}
