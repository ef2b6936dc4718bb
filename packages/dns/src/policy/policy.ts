/** Which servers a name is asked of: what the configuration and the host say about that. */
import type { ServerAddress } from "../server-address.ts";

/** Servers in the order in which they are asked. */
export interface ServerSet {
  readonly servers: readonly ServerAddress[];
  /** Milliseconds to wait for one server before the next is asked too; null leaves it to the forwarder. */
  readonly serverTimeout: number | null;
  /** How often each server is asked; null leaves it to the forwarder. */
  readonly attempts: number | null;
}

/** The servers for a domain and all below it. */
export interface Route {
  /** In lower case, without the dot at the end; empty for every name. */
  readonly domain: string;
  readonly set: ServerSet;
  /** Where this is from, for people: a file, the configuration, a link. */
  readonly from: string;
}

/** What holds at one time. Another object holds after a change, and the same one as long as nothing has changed. */
export interface Policy {
  readonly routes: RouteTable;
  /** The domains in which a short name is looked up, without the dot at the end. */
  readonly search: readonly string[];
}

/** Knows what holds now. */
export interface PolicySource {
  current(): Policy;
  /** No server could be asked: the next {@link current} looks anew, where that takes no time. */
  recheck?(): void;
}

/** Finds the route of a name: that of the longest domain which it is in. */
export class RouteTable {
  readonly routes: readonly Route[];
  readonly #byDomain = new Map<string, Route>();

  /** @param routes - of two for one domain the first holds. */
  constructor(routes: readonly Route[]) {
    const kept: Route[] = [];
    for (const route of routes) {
      if (this.#byDomain.has(route.domain)) continue;
      this.#byDomain.set(route.domain, route);
      kept.push(route);
    }
    this.routes = kept;
  }

  /** @param labels - of the name, in lower case. */
  find(labels: readonly string[]): Route | null {
    if (this.#byDomain.size > 1 || !this.#byDomain.has("")) {
      for (let start = 0; start < labels.length; start++) {
        const route = this.#byDomain.get(start === 0 ? labels.join(".") : labels.slice(start).join("."));
        if (route !== undefined) return route;
      }
    }
    return this.#byDomain.get("") ?? null;
  }
}

/** A policy that does not change. */
export function fixedPolicy(policy: Policy): PolicySource {
  return { current: () => policy };
}

/** Servers for every name that were configured. */
export function fixedServers(servers: readonly ServerAddress[], from = "the configuration"): PolicySource {
  const set = { servers, serverTimeout: null, attempts: null };
  return fixedPolicy({ routes: new RouteTable([{ domain: "", set, from }]), search: [] });
}

/** Rules that come before what another source says: a name that one of them is for is never asked of another server. */
export class RulesFirst implements PolicySource {
  readonly #rules: readonly Route[];
  readonly #source: PolicySource;
  #underlying: Policy | null = null;
  #joined: Policy | null = null;

  constructor(rules: readonly Route[], source: PolicySource) {
    this.#rules = rules;
    this.#source = source;
  }

  recheck(): void {
    this.#source.recheck?.();
  }

  current(): Policy {
    const underlying = this.#source.current();
    if (this.#joined === null || underlying !== this.#underlying) {
      this.#underlying = underlying;
      // A domain of the host inside that of a rule is for the rule.
      const others = underlying.routes.routes.filter(
        ({ domain }) => !this.#rules.some((rule) => isIn(domain, rule.domain)),
      );
      this.#joined = { routes: new RouteTable([...this.#rules, ...others]), search: underlying.search };
    }
    return this.#joined;
  }
}

function isIn(domain: string, outer: string): boolean {
  return outer === "" || domain === outer || domain.endsWith(`.${outer}`);
}
