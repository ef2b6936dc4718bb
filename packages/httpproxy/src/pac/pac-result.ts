import { DIRECT, type ProxyServer, REFUSE, type Route } from "../route.ts";
import { parseProxy } from "../settings/proxy-url.ts";
import { PacError } from "./pac-error.ts";

/** The most routes that are taken of one result. */
const MAX_ROUTES = 16;
/** How much of a part of a result a problem shows, in characters. */
const SHOWN = 100;
/** Docker Desktop's name for a proxy that stands for a refusal, with any port. */
const REJECT = "reject.docker.internal";

/** The URL schemes of the kinds of proxies. `SOCKS` is version 5, and names are the proxy's to resolve, as in browsers. */
const SCHEMES: ReadonlyMap<string, string> = new Map([
  ["PROXY", "http"],
  ["HTTP", "http"],
  ["HTTPS", "https"],
  ["SOCKS", "socks5h"],
  ["SOCKS5", "socks5h"],
]);

export interface PacResult {
  readonly routes: readonly Route[];
  /** What was left out and why, for people. */
  readonly problems: readonly string[];
}

/**
 * Reads what `FindProxyForURL` returns: `PROXY proxy.example:3128; SOCKS5 10.0.0.1:1080; DIRECT`. Nothing at all is
 * `DIRECT`. What is not known is left out, so that the others still serve.
 *
 * @throws {PacError} when nothing is left.
 */
export function parsePacResult(text: string): PacResult {
  const routes: Route[] = [];
  const problems: string[] = [];
  const parts = text.split(";").map((part) => part.trim());
  const entries = parts.filter((part) => part !== "");
  for (const entry of entries.slice(0, MAX_ROUTES)) {
    const route = readRoute(entry);
    if (typeof route === "string") problems.push(`${show(entry)}: ${route}`);
    else routes.push(route);
  }
  if (entries.length > MAX_ROUTES) problems.push(`only the first ${MAX_ROUTES} of ${entries.length} are taken`);
  if (entries.length === 0) routes.push(DIRECT);
  if (routes.length === 0) throw new PacError(`the PAC script names no way that can be taken: ${problems.join("; ")}`);
  return { routes, problems };
}

/** One way, or why there is none. */
function readRoute(entry: string): Route | string {
  const [word, address, ...rest] = entry.split(/\s+/);
  const keyword = word.toUpperCase();
  if (keyword === "DIRECT") return address === undefined ? DIRECT : "nothing comes after DIRECT";
  if (keyword === "SOCKS4") return "SOCKS 4 is not supported";
  const scheme = SCHEMES.get(keyword);
  if (scheme === undefined) return `allowed are DIRECT, ${[...SCHEMES.keys()].join(", ")}`;
  if (address === undefined || rest.length > 0) return `${keyword} and host:port are expected`;
  if (scheme === "http" && address.replace(/:.*$/s, "").toLowerCase() === REJECT) return REFUSE;
  const server = readServer(scheme, address);
  if (server === null) return "the host or the port is none; an IPv6 address is in brackets";
  return { kind: "proxy", server };
}

function readServer(scheme: string, address: string): ProxyServer | null {
  // A proxy that a script names has no user, and none of what else may be in a URL.
  if (/[@/?#]/.test(address)) return null;
  try {
    return parseProxy(`${scheme}://${address}`);
  } catch {
    return null;
  }
}

/** As JSON, which has no control characters. */
function show(entry: string): string {
  return JSON.stringify(entry.length > SHOWN ? `${entry.slice(0, SHOWN)}...` : entry);
}
