import { lookup } from "node:dns/promises";
import { isIP, isIPv4, type Socket } from "node:net";
import type { Duplex } from "node:stream";
import { type Clock, type Logger, systemClock } from "@hostd/streams";
import {
  type Decision,
  type Destination,
  DIRECT,
  formatHostPort,
  type HostPort,
  type ProxyServer,
  REFUSE,
  type Route,
} from "../route.ts";
import { Attempt } from "./attempt.ts";
import { requestTunnel } from "./connect-request.ts";
import type { Connector, DialOrigin, Upstream } from "./connector.ts";
import { dialTcp, startTls } from "./dial-proxy.ts";
import { codeOf, describeFailure, RouteError, theProxy, unanswered } from "./route-error.ts";
import { requestSocks } from "./socks.ts";
import { UpstreamError } from "./upstream-error.ts";
import { UpstreamHealth } from "./upstream-health.ts";

const CONNECT_TIMEOUT = 10_000;
const ANSWER_TIMEOUT = 30_000;
/** The most addresses of an origin that a SOCKS proxy is asked for. */
const MAX_ADDRESSES = 4;

export interface UpstreamConnectorOptions {
  /** Makes the connections of direct routes. */
  readonly dialOrigin: DialOrigin;
  /** Connects to a proxy from this host; by TCP unless given. Either end of the connection may close alone. */
  readonly dialProxy?: (server: HostPort, signal: AbortSignal) => Promise<Socket>;
  /** Finds the addresses of an origin, for `socks5`; by the host's resolver unless given. */
  readonly resolve?: (host: string) => Promise<readonly string[]>;
  /** What is known of proxies; of its own unless given. */
  readonly health?: UpstreamHealth;
  readonly logger: Logger;
  /** For tests; the process's clock unless given. */
  readonly clock?: Clock;
  /** For a connection to the origin or to the proxy, with its TLS, in milliseconds; 10 s unless given. */
  readonly connectTimeout?: number;
  /**
   * For the answer of a proxy that is to connect to the origin, in milliseconds; 30 s unless given. It takes as long as the
   * origin takes.
   */
  readonly answerTimeout?: number;
}

/**
 * Finds a way to an origin over the routes that were decided on: direct, and over HTTP and SOCKS proxies. It goes on to
 * the next route when a proxy cannot be reached, does not answer, or says that it is unable for now (503); what a proxy
 * says about the origin counts, and so does a rule that refuses.
 *
 * Both ends of what it gives may close alone. Whoever takes a connection has to listen to it at once. An aborted signal
 * leaves nothing behind; then its reason is thrown.
 */
export class UpstreamConnector implements Connector {
  readonly health: UpstreamHealth;
  readonly #options: Required<Omit<UpstreamConnectorOptions, "health">>;

  constructor(options: UpstreamConnectorOptions) {
    this.#options = {
      dialProxy: dialTcp,
      resolve: resolveHost,
      clock: systemClock,
      connectTimeout: CONNECT_TIMEOUT,
      answerTimeout: ANSWER_TIMEOUT,
      ...options,
    };
    this.health = options.health ?? new UpstreamHealth(this.#options);
  }

  async tunnel(destination: Destination, decision: Decision, signal: AbortSignal): Promise<Duplex> {
    const { stream } = await this.#open(destination, decision, signal, true);
    return stream;
  }

  async request(destination: Destination, decision: Decision, signal: AbortSignal): Promise<Upstream> {
    return await this.#open(destination, decision, signal, false);
  }

  async #open(destination: HostPort, decision: Decision, signal: AbortSignal, isTunnel: boolean): Promise<Upstream> {
    const failures: RouteError[] = [];
    for (const route of this.health.inOrder(decision.routes)) {
      try {
        if (route.kind === "refuse") throw refusal(destination, decision);
        if (route.kind === "direct") return await this.#openDirect(destination, signal);
        return await this.#openThrough(route.server, destination, signal, isTunnel);
      } catch (error) {
        if (!(error instanceof RouteError)) throw error;
        failures.push(error);
        if (error.isFinal) break;
      }
    }
    throw allFailed(failures);
  }

  async #openDirect(destination: HostPort, signal: AbortSignal): Promise<Upstream> {
    const { dialOrigin, clock, connectTimeout } = this.#options;
    const attempt = new Attempt(signal, clock);
    return await attempt.run(async () => {
      attempt.limit(connectTimeout, () => late(formatHostPort(destination), DIRECT, connectTimeout));
      try {
        return { stream: attempt.own(await dialOrigin(destination, attempt.signal)), proxy: null };
      } catch (error) {
        throw directFailure(destination, error);
      }
    });
  }

  async #openThrough(
    server: ProxyServer,
    destination: HostPort,
    signal: AbortSignal,
    isTunnel: boolean,
  ): Promise<Upstream> {
    const refused = this.health.refusal(server);
    if (refused !== null) throw refused;
    const isProbe = this.health.beginProbe(server);
    const attempt = new Attempt(signal, this.#options.clock);
    try {
      return await attempt.run(async () => {
        if (server.kind === "socks5" || server.kind === "socks5h") {
          return { stream: await this.#openSocks(attempt, server, destination), proxy: null };
        }
        const stream = await this.#reach(attempt, server);
        this.health.reached(server);
        if (!isTunnel) return { stream, proxy: server };
        this.#limitAnswer(attempt, server, destination);
        await requestTunnel(stream, server, destination);
        this.health.worked(server);
        return { stream, proxy: null };
      });
    } catch (error) {
      if (error instanceof RouteError) this.health.failed(server, destination, error);
      throw error;
    } finally {
      if (isProbe) this.health.endProbe(server);
    }
  }

  /** Connects to a proxy, by TLS where it is one for that. */
  async #reach(attempt: Attempt, server: ProxyServer): Promise<Duplex> {
    const { dialProxy, connectTimeout } = this.#options;
    const route = { kind: "proxy", server } as const;
    attempt.limit(connectTimeout, () => late(theProxy(server), route, connectTimeout));
    let socket: Socket;
    try {
      socket = attempt.own(await dialProxy({ host: server.host, port: server.port }, attempt.signal));
    } catch (cause) {
      const isLate = codeOf(cause) === "ETIMEDOUT";
      const options = { finding: isLate ? "late" : "unreachable", cause } as const;
      throw new RouteError(`${theProxy(server)} ${describeFailure(cause)}`, isLate ? 504 : 502, route, options);
    }
    return server.kind === "https" ? await startTls(attempt, socket, server) : socket;
  }

  #limitAnswer(attempt: Attempt, server: ProxyServer, destination: HostPort): void {
    const { answerTimeout } = this.#options;
    attempt.limit(answerTimeout, () => {
      return unanswered(server, destination, `gave no answer within ${answerTimeout / 1000} s`, { status: 504 });
    });
  }

  async #openSocks(attempt: Attempt, server: ProxyServer, destination: HostPort): Promise<Duplex> {
    const hosts = server.kind === "socks5" ? await this.#addresses(attempt, server, destination) : [destination.host];
    for (const [index, host] of hosts.entries()) {
      const stream = await this.#reach(attempt, server);
      let hasAnswered = false;
      const answered = () => {
        if (hasAnswered) return;
        hasAnswered = true;
        this.health.reached(server);
        this.#limitAnswer(attempt, server, destination);
      };
      try {
        await requestSocks(stream, server, destination, { host, port: destination.port }, answered);
        this.health.worked(server);
        return stream;
      } catch (error) {
        stream.destroy();
        const isAboutAddress = error instanceof RouteError && error.finding === "alive" && error.status >= 500;
        if (!isAboutAddress || index === hosts.length - 1) throw error;
      }
    }
    throw new TypeError("a name without an address");
  }

  /** The addresses of an origin, those of IPv4 first: proxies without IPv6 are not rare. */
  async #addresses(attempt: Attempt, server: ProxyServer, { host, port }: HostPort): Promise<string[]> {
    if (isIP(host) !== 0) return [host];
    const { resolve, connectTimeout } = this.#options;
    const route = { kind: "proxy", server } as const;
    const notResolved = (why: string, status: 502 | 504, cause?: unknown) => {
      const message = `${formatHostPort({ host, port })} ${why}, and ${theProxy(server)} is not to look its name up`;
      return new RouteError(message, status, route, { cause });
    };
    attempt.limit(connectTimeout, () => notResolved("could not be looked up in time", 504));
    let addresses: string[];
    try {
      addresses = (await resolve(host)).filter((address) => isIP(address) !== 0);
    } catch (error) {
      throw notResolved(describeFailure(error), 502, error);
    }
    if (addresses.length === 0) throw notResolved("has no address", 502);
    const isSecond = (address: string) => Number(!isIPv4(address));
    return addresses.sort((one, other) => isSecond(one) - isSecond(other)).slice(0, MAX_ADDRESSES);
  }
}

async function resolveHost(host: string): Promise<string[]> {
  const found = await lookup(host, { all: true });
  return found.map(({ address }) => address);
}

function late(who: string, route: Route, milliseconds: number): RouteError {
  const message = `${who} did not answer within ${milliseconds / 1000} s`;
  return new RouteError(message, 504, route, { finding: route.kind === "proxy" ? "late" : "nothing" });
}

function directFailure(destination: HostPort, cause: unknown): RouteError {
  // Who was to connect knows better what to say of it.
  if (cause instanceof UpstreamError) {
    return new RouteError(cause.message, cause.status, DIRECT, { isFinal: cause.status === 403, cause });
  }
  const message = `${formatHostPort(destination)} ${describeFailure(cause)}`;
  const code = codeOf(cause);
  // Another route is no way around what does not allow it.
  const isForbidden = code === "EACCES" || code === "EPERM";
  const status = isForbidden ? 403 : code === "ETIMEDOUT" ? 504 : 502;
  return new RouteError(message, status, DIRECT, { isFinal: isForbidden, cause });
}

function refusal(destination: HostPort, { reason }: Decision): RouteError {
  const message = `connections to ${formatHostPort(destination)} are refused by ${reason}`;
  return new RouteError(message, 403, REFUSE, { isFinal: true });
}

function allFailed(failures: readonly RouteError[]): UpstreamError {
  const last = failures.at(-1);
  if (last === undefined) return new UpstreamError("there is no route", 502, null);
  if (failures.length === 1) return last;
  const message = failures.map((failure) => failure.message).join("; ");
  return new UpstreamError(message, last.status, last.route, { cause: last });
}
