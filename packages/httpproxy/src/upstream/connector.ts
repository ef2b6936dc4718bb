import type { Duplex } from "node:stream";
import type { Decision, Destination, HostPort, ProxyServer } from "../route.ts";

/**
 * Opens connections to origins from this host, as the guest may reach them: it knows the guest's names, `host.docker.internal`
 * among them, and which addresses are out of bounds. Both ends of a connection may close alone.
 *
 * @throws when there is none; with `code` as Node's sockets have it, or an UpstreamError that says why.
 */
export type DialOrigin = (origin: HostPort & Pick<Destination, "address">, signal: AbortSignal) => Promise<Duplex>;

/** A connection on which a request can be made. */
export interface Upstream {
  readonly stream: Duplex;
  /**
   * The HTTP proxy at its other end, which wants to be told the whole URL and its credentials; null when what is sent
   * comes to the origin as it is.
   */
  readonly proxy: ProxyServer | null;
}

/** Finds a way to an origin among those that were decided on. */
export interface Connector {
  /**
   * A connection to the origin itself, through proxies or not, for bytes of any kind.
   *
   * @throws {UpstreamError} when no route leads there.
   */
  tunnel(destination: Destination, decision: Decision, signal: AbortSignal): Promise<Duplex>;
  /**
   * A connection for requests of plain HTTP to the origin.
   *
   * @throws {UpstreamError} when no route leads there.
   */
  request(destination: Destination, decision: Decision, signal: AbortSignal): Promise<Upstream>;
}
