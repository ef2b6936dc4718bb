/** Which way a request takes to its origin: what is decided, and by whom. */

/** A host and a port. The host is a name in lower case without a dot at its end, or an IP address without brackets. */
export interface HostPort {
  readonly host: string;
  readonly port: number;
}

/** What a client wants to reach, as a decision may depend on it. */
export interface Destination extends HostPort {
  /** `http` for a request that is read here; `https` for a tunnel, whatever is in it. */
  readonly scheme: "http" | "https";
  /** The address that the client has connected to, where it did not name a proxy: what goes direct goes there. */
  readonly address?: string;
}

/** What a proxy asks for in Basic authentication (RFC 7617), or in RFC 1929. */
export interface Credentials {
  readonly user: string;
  readonly password: string;
}

/**
 * A proxy that requests can be sent through. With `socks5` names are resolved here, with `socks5h` by the proxy; with
 * `https` the connection to the proxy is TLS.
 */
export interface ProxyServer extends HostPort {
  readonly kind: "http" | "https" | "socks5" | "socks5h";
  readonly credentials?: Credentials;
  /** With `https`: the certificates that its own is checked against, as PEM; those of Node unless given. */
  readonly ca?: string;
}

/** One way to an origin. */
export type Route =
  | { readonly kind: "direct" }
  | { readonly kind: "proxy"; readonly server: ProxyServer }
  /** Nowhere, by somebody's rule. */
  | { readonly kind: "refuse" };

export const DIRECT: Route = { kind: "direct" };
export const REFUSE: Route = { kind: "refuse" };

/** Which ways there are to a destination. */
export interface Decision {
  /** At least one, to be tried in their order until one leads to a connection. */
  readonly routes: readonly Route[];
  /** Where that is from, for people: `the exclusion ".corp.example" of the configuration`. */
  readonly reason: string;
}

/** Decides for each request. What it decides may be another thing for the next one. */
export interface Router {
  /** Never throws and never rejects. */
  decide(destination: Destination): Decision | Promise<Decision>;
  /** Whether everything goes direct, whatever it is, so that nobody needs to find out what it is. */
  readonly isAlwaysDirect: boolean;
}

/** A proxy as it is written for people: `http://proxy.example:3128`. Its credentials are left out. */
export function formatProxy({ kind, host, port }: ProxyServer): string {
  return `${kind}://${formatHostPort({ host, port })}`;
}

export function formatHostPort({ host, port }: HostPort): string {
  return `${host.includes(":") ? `[${host}]` : host}:${port}`;
}

/** A route as it is written for people. */
export function formatRoute(route: Route): string {
  return route.kind === "proxy" ? formatProxy(route.server) : route.kind;
}
