import { isIP } from "node:net";
import { formatHostPort, formatProxy, type HostPort, type ProxyServer, type Route } from "../route.ts";
import { UpstreamError } from "./upstream-error.ts";

/**
 * What a failed try tells of the proxy. `unreachable`: there is no connection to it. `late`: there was none in time.
 * `unanswered`: there is one, but no answer that can be understood. `alive`: it answered. `nothing`: it was not asked.
 */
export type Finding = "unreachable" | "late" | "unanswered" | "alive" | "nothing";

export interface RouteErrorOptions extends ErrorOptions {
  readonly finding?: Finding;
  /** Whether other routes are not to be tried; no unless given. */
  readonly isFinal?: boolean;
}

/** One route did not lead to a connection. */
export class RouteError extends UpstreamError {
  readonly finding: Finding;
  readonly isFinal: boolean;

  constructor(
    message: string,
    status: UpstreamError["status"],
    route: Route,
    { finding = "nothing", isFinal = false, ...options }: RouteErrorOptions = {},
  ) {
    super(message, status, withoutSecrets(route), options);
    this.finding = finding;
    this.isFinal = isFinal;
  }
}

/** Errors are logged with all that they hold. */
function withoutSecrets(route: Route): Route {
  if (route.kind !== "proxy") return route;
  const { kind, host, port } = route.server;
  return { kind: "proxy", server: { kind, host, port } };
}

/** A proxy as the subject of a sentence. */
export function theProxy(server: ProxyServer): string {
  return `the proxy ${formatProxy(server)}`;
}

/** What it does, by codes of Node and of getaddrinfo. */
const FAILURES: ReadonlyMap<string, string> = new Map([
  ["ECONNREFUSED", "refused the connection"],
  ["ECONNRESET", "reset the connection"],
  ["EPIPE", "reset the connection"],
  ["ECONNABORTED", "reset the connection"],
  ["EHOSTUNREACH", "cannot be reached: there is no way to its address"],
  ["ENETUNREACH", "cannot be reached: there is no way to its network"],
  ["EADDRNOTAVAIL", "cannot be reached: its address is none to connect to"],
  ["EHOSTDOWN", "cannot be reached: its host is down"],
  ["ETIMEDOUT", "did not answer in time"],
  ["ENOTFOUND", "cannot be reached: its name is not known"],
  ["ENODATA", "cannot be reached: its name has no address"],
  ["EAI_NODATA", "cannot be reached: its name has no address"],
  ["EAI_AGAIN", "cannot be reached: its name could not be looked up for now"],
  ["EACCES", "may not be connected to"],
  ["EPERM", "may not be connected to"],
  ["EMFILE", "cannot be connected to: too many files are open on this host"],
  ["ENFILE", "cannot be connected to: too many files are open on this host"],
]);

/** The code that Node's errors have; undefined for another error. */
export function codeOf(error: unknown): string | undefined {
  if (!(error instanceof Error) || !("code" in error)) return undefined;
  return typeof error.code === "string" ? error.code : undefined;
}

/** What somebody does who could not be connected to, as the rest of a sentence. The error's own text is not in it. */
export function describeFailure(error: unknown): string {
  const code = codeOf(error);
  if (code === undefined) return "could not be connected to";
  return FAILURES.get(code) ?? `could not be connected to (${code})`;
}

/** @throws {RouteError} when no proxy could be told where to go, or something else would be told to it. */
export function checkDestination({ host, port }: HostPort, server: ProxyServer): void {
  const isName = /^[\w.-]{1,255}$/.test(host);
  if (isName || (isIP(host) !== 0 && !host.includes("%"))) return;
  const message = `${theProxy(server)} cannot be asked for port ${port} of what is neither a host's name nor an address`;
  throw new RouteError(message, 502, { kind: "proxy", server }, { isFinal: true });
}

/** There was no answer that could be understood, of a proxy that was asked for a connection. */
export function unanswered(
  server: ProxyServer,
  destination: HostPort,
  text: string,
  { status = 502, cause }: { readonly status?: 502 | 504; readonly cause?: unknown } = {},
): RouteError {
  const message = `${theProxy(server)} ${text}, asked for a connection to ${formatHostPort(destination)}`;
  return new RouteError(message, status, { kind: "proxy", server }, { finding: "unanswered", cause });
}
