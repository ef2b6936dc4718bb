import { type Clock, type Logger, systemClock } from "@hostd/streams";
import { formatProxy, type HostPort, type ProxyServer, type Route } from "../route.ts";
import { RouteError } from "./route-error.ts";

/** From a failure to the next try, in milliseconds: at first and at most. It doubles each time. */
const FIRST_DELAY = 1_000;
const LONGEST_DELAY = 30_000;
/** From one line of the log about a proxy that fails to the next one, in milliseconds. */
const LOG_INTERVAL = 60_000;
/** The most proxies that are known. */
const MAX_PROXIES = 100;

export interface UpstreamHealthOptions {
  readonly logger: Logger;
  /** For tests; the process's clock unless given. */
  readonly clock?: Clock;
}

/** How a proxy is. */
export interface UpstreamReport {
  /** Its URL without credentials. */
  readonly server: string;
  readonly state: "working" | "failing";
  /** For how long it has been so, in milliseconds. */
  readonly since: number;
  /** Why it fails; null when it works. */
  readonly reason: string | null;
  /** In how many milliseconds it is due to be tried again in its turn; null when it works. */
  readonly nextTry: number | null;
}

interface Entry {
  readonly server: ProxyServer;
  /** The last one; null when it works. */
  failure: RouteError | null;
  /** Since when it works or fails. */
  since: number;
  delay: number;
  /** When the delay since the last failure is over. */
  nextTry: number;
  /** Whether somebody tries at present whether it works again. */
  isProbed: boolean;
  /** The host that it was asked for last without an answer; null when it has answered since. */
  unansweredFor: string | null;
  /** Whether it was logged that it fails. */
  isLogged: boolean;
  loggedAt: number;
}

/**
 * Which proxies have failed of late. They are known by kind, host and port; those that nobody has used for long are
 * forgotten.
 */
export class UpstreamHealth {
  readonly #logger: Logger;
  readonly #clock: Clock;
  /** Those used last are last. */
  readonly #entries = new Map<string, Entry>();

  constructor({ logger, clock = systemClock }: UpstreamHealthOptions) {
    this.#logger = logger;
    this.#clock = clock;
  }

  /**
   * Puts proxies that have failed, and are not due to be tried again, behind the other routes. What is behind a refusal
   * is left out.
   */
  inOrder(routes: readonly Route[]): readonly Route[] {
    if (routes.length === 1) return routes;
    const refusal = routes.findIndex((route) => route.kind === "refuse");
    const open = refusal < 0 ? routes : routes.slice(0, refusal);
    const isWaiting = (route: Route) => route.kind === "proxy" && this.#isWaiting(this.#find(route.server));
    return [
      ...open.filter((route) => !isWaiting(route)),
      ...open.filter(isWaiting),
      ...(refusal < 0 ? [] : [routes[refusal]]),
    ];
  }

  /**
   * Why a proxy is not to be tried now at all; null when it is to be tried. Only one that was silent is not: each try
   * takes long.
   */
  refusal(server: ProxyServer): RouteError | null {
    const entry = this.#find(server);
    if (entry?.failure?.finding !== "late" || !this.#isWaiting(entry)) return null;
    const { message, status, route, finding } = entry.failure;
    const seconds = Math.ceil(Math.max(0, entry.nextTry - this.#clock.now()) / 1000);
    const when = entry.isProbed ? "it is being tried again" : `it is tried again in ${seconds} s`;
    return new RouteError(`${message}; ${when}`, status, route ?? { kind: "proxy", server }, { finding });
  }

  /** @returns whether this is the try that is due; then {@link endProbe} is to be called when it is over. */
  beginProbe(server: ProxyServer): boolean {
    const entry = this.#find(server);
    if (entry === undefined || entry.failure === null || this.#isWaiting(entry)) return false;
    entry.isProbed = true;
    return true;
  }

  endProbe(server: ProxyServer): void {
    const entry = this.#find(server);
    if (entry !== undefined) entry.isProbed = false;
  }

  /** There is a connection to the proxy. Whether it answers is not known yet. */
  reached(server: ProxyServer): void {
    const entry = this.#entry(server);
    if (entry.failure !== null && entry.failure.finding !== "unanswered") this.#works(entry);
  }

  /** The proxy has answered, whatever it was. */
  worked(server: ProxyServer): void {
    const entry = this.#entry(server);
    entry.unansweredFor = null;
    if (entry.failure !== null) this.#works(entry);
  }

  /** A try with the proxy has failed, asked for `destination`. */
  failed(server: ProxyServer, destination: HostPort, error: RouteError): void {
    if (error.finding === "nothing") return;
    if (error.finding === "alive") {
      this.worked(server);
      return;
    }
    const entry = this.#entry(server);
    if (error.finding === "unanswered" && entry.failure === null) {
      // A proxy may be silent because of the origin, as when that one is. With a second one it is the proxy's own fault.
      const other = entry.unansweredFor;
      entry.unansweredFor = destination.host;
      if (other === null || other === destination.host) return;
    }
    this.#fails(entry, error);
  }

  /** Has all proxies tried anew, as when the settings or the host's network are others. */
  reset(): void {
    this.#entries.clear();
  }

  report(): UpstreamReport[] {
    const now = this.#clock.now();
    return [...this.#entries.values()].map(({ server, failure, since, nextTry }) => ({
      server: formatProxy(server),
      state: failure === null ? "working" : "failing",
      since: Math.round(now - since),
      reason: failure?.message ?? null,
      nextTry: failure === null ? null : Math.max(0, Math.ceil(nextTry - now)),
    }));
  }

  #fails(entry: Entry, error: RouteError): void {
    const now = this.#clock.now();
    // Many that were tried at once fail at once.
    const isFurther = entry.failure !== null && now >= entry.nextTry;
    if (entry.failure === null) {
      entry.since = now;
      entry.delay = FIRST_DELAY;
    } else if (isFurther) {
      entry.delay = Math.min(2 * entry.delay, LONGEST_DELAY);
    }
    if (entry.failure === null || isFurther) entry.nextTry = now + entry.delay;
    entry.failure = error;
    if (entry.isLogged || now - entry.loggedAt < LOG_INTERVAL) return;
    entry.isLogged = true;
    entry.loggedAt = now;
    const fields = { proxy: formatProxy(entry.server), reason: error.message };
    this.#logger.warn(fields, "an upstream proxy fails; it is tried again until it works");
  }

  #works(entry: Entry): void {
    const now = this.#clock.now();
    const failedFor = Math.round(now - entry.since);
    entry.failure = null;
    entry.since = now;
    entry.unansweredFor = null;
    if (!entry.isLogged) return;
    entry.isLogged = false;
    this.#logger.info({ proxy: formatProxy(entry.server), failedFor }, "an upstream proxy works again");
  }

  #isWaiting(entry: Entry | undefined): boolean {
    if (entry === undefined || entry.failure === null) return false;
    return entry.isProbed || this.#clock.now() < entry.nextTry;
  }

  #find(server: ProxyServer): Entry | undefined {
    return this.#entries.get(formatProxy(server));
  }

  #entry({ kind, host, port }: ProxyServer): Entry {
    const server = { kind, host, port };
    const key = formatProxy(server);
    const entry = this.#entries.get(key) ?? {
      server,
      failure: null,
      since: this.#clock.now(),
      delay: FIRST_DELAY,
      nextTry: 0,
      isProbed: false,
      unansweredFor: null,
      isLogged: false,
      loggedAt: Number.NEGATIVE_INFINITY,
    };
    this.#entries.delete(key);
    this.#entries.set(key, entry);
    if (this.#entries.size > MAX_PROXIES) this.#entries.delete([...this.#entries.keys()][0]);
    return entry;
  }
}
