/** What systemd-resolved says about itself over D-Bus (org.freedesktop.resolve1(5)), as busctl(1) writes it in JSON. */
import type { ServerAddress } from "../server-address.ts";
import { canonicalAddress } from "../zones/reverse-names.ts";
import { type Policy, type Route, RouteTable } from "./policy.ts";
import { isDomain } from "./resolv-conf.ts";

/** Families of addresses as Linux numbers them. */
const AF_INET = 2;
const AF_INET6 = 10;
const DNS_PORT = 53;
/** The bit of ScopesMask for unicast DNS. */
const SCOPE_DNS = 1n;

/** A server of a link, or of the whole host. */
export interface ResolvedServer {
  /** The index of the link; 0 for the whole host. */
  readonly ifindex: number;
  /** Without a zone. */
  readonly server: ServerAddress;
}

/** A domain of a link, or of the whole host. */
export interface ResolvedDomain {
  readonly ifindex: number;
  /** In lower case, without the dot at the end; empty for every name (`~.`). */
  readonly domain: string;
  /** Whether it says only which servers to ask, and is no search domain. */
  readonly routingOnly: boolean;
}

/** What the properties of the Manager say. */
export interface ResolvedManager {
  readonly servers: readonly ResolvedServer[];
  /** Those that are asked when nothing else is configured. */
  readonly fallbackServers: readonly ServerAddress[];
  readonly domains: readonly ResolvedDomain[];
}

/** What the properties of a Link say. */
export interface ResolvedLink {
  /** Whether its servers are asked for names that are in no domain of any link. */
  readonly defaultRoute: boolean;
  /** Whether its servers are asked at all: the link is up and has an address. */
  readonly hasDns: boolean;
}

/**
 * Reads the answer of GetAll for org.freedesktop.resolve1.Manager. Servers and domains of unknown form are left out.
 *
 * @throws {Error} when it is no such answer.
 */
export function parseManager(text: string): ResolvedManager {
  const properties = parseProperties(text);
  // Versions before 246 have the properties without ports only.
  const servers = readServers(properties.get("DNSEx") ?? properties.get("DNS"));
  if (servers === null) throw new Error("busctl: systemd-resolved gave no list of servers");
  const domains: ResolvedDomain[] = [];
  for (const entry of listOf(properties.get("Domains")) ?? []) {
    const [ifindex, written, routingOnly] = listOf(entry) ?? [];
    if (typeof ifindex !== "number" || typeof written !== "string" || typeof routingOnly !== "boolean") continue;
    const domain = written.replace(/\.$/, "").toLowerCase();
    if (domain === "" || isDomain(domain)) domains.push({ ifindex, domain, routingOnly });
  }
  const fallback = readServers(properties.get("FallbackDNSEx") ?? properties.get("FallbackDNS")) ?? [];
  return { servers, fallbackServers: fallback.map(({ server }) => server), domains };
}

/**
 * Reads the answer of GetAll for org.freedesktop.resolve1.Link.
 *
 * @throws {Error} when it is no such answer.
 */
export function parseLink(text: string): ResolvedLink {
  const properties = parseProperties(text);
  const scopes = properties.get("ScopesMask");
  if (typeof scopes !== "number") throw new Error("busctl: systemd-resolved gave no scopes of a link");
  // Versions before 240 have no DefaultRoute and ask every link.
  return { defaultRoute: properties.get("DefaultRoute") !== false, hasDns: (BigInt(scopes) & SCOPE_DNS) !== 0n };
}

/**
 * The routes by which systemd-resolved asks: a name goes to the servers of all links that have the longest domain which
 * it is in, else to those of the links with DefaultRoute and of the whole host (systemd-resolved.service(8), "Protocols
 * and routing").
 *
 * @param links - by the index. The servers and domains of a link that is not there, or has no DNS, do not count.
 * @param nameOf - the name of a link, which a link-local address needs; null when it is not known.
 */
export function resolvedPolicy(
  manager: ResolvedManager,
  links: ReadonlyMap<number, ResolvedLink>,
  nameOf: (ifindex: number) => string | null,
): Policy {
  const byLink = new Map<number, ServerAddress[]>();
  // It lists links in no order that would last, and asks them at once.
  for (const { ifindex, server } of manager.servers.toSorted((a, b) => a.ifindex - b.ifindex)) {
    if (ifindex !== 0 && links.get(ifindex)?.hasDns !== true) continue;
    const reachable = withZone(server, ifindex, nameOf);
    if (reachable === null) continue;
    const servers = byLink.get(ifindex) ?? [];
    servers.push(reachable);
    byLink.set(ifindex, servers);
  }

  const members = new Map<string, number[]>();
  const search: string[] = [];
  for (const { ifindex, domain, routingOnly } of manager.domains.toSorted((a, b) => a.ifindex - b.ifindex)) {
    if (!byLink.has(ifindex)) continue;
    const of = members.get(domain) ?? [];
    if (!of.includes(ifindex)) of.push(ifindex);
    members.set(domain, of);
    if (!routingOnly && domain !== "" && !search.includes(domain)) search.push(domain);
  }
  if (!members.has("")) {
    const isDefault = (ifindex: number) => ifindex === 0 || links.get(ifindex)?.defaultRoute === true;
    members.set("", [...byLink.keys()].filter(isDefault));
  }

  const label = (ifindex: number) => (ifindex === 0 ? "all links" : (nameOf(ifindex) ?? `link ${ifindex}`));
  const routes: Route[] = [];
  for (const [domain, of] of members) {
    let servers = of.flatMap((ifindex) => byLink.get(ifindex) ?? []);
    let from = `systemd-resolved (${of.map(label).join(", ")})`;
    if (of.length === 0) {
      servers = [...manager.fallbackServers];
      from = "systemd-resolved (fallback servers)";
    }
    if (servers.length > 0) routes.push({ domain, set: { servers, serverTimeout: null, attempts: null }, from });
  }
  return { routes: new RouteTable(routes), search };
}

/** The properties of an answer of GetAll; a value is what JSON says, unchecked. */
function parseProperties(text: string): ReadonlyMap<string, unknown> {
  let answer: unknown;
  try {
    answer = JSON.parse(text);
  } catch {
    answer = null;
  }
  const [properties] = listOf(isRecord(answer) ? answer.data : null) ?? [];
  if (!isRecord(properties)) throw new Error("busctl: the answer is no list of properties in JSON");
  const values = new Map<string, unknown>();
  for (const [name, property] of Object.entries(properties)) {
    if (isRecord(property)) values.set(name, property.data);
  }
  return values;
}

/** Reads a list of type a(iiayqs) or a(iiay); null when it is none. */
function readServers(value: unknown): ResolvedServer[] | null {
  const entries = listOf(value);
  if (entries === null) return null;
  const servers: ResolvedServer[] = [];
  for (const entry of entries) {
    const [ifindex, family, bytes, port = 0] = listOf(entry) ?? [];
    const address = readAddress(family, listOf(bytes));
    if (typeof ifindex !== "number" || !isWholeNumber(port, 0xffff) || address === null) continue;
    const server: ServerAddress = { ...address, port: port === 0 ? DNS_PORT : port };
    servers.push({ ifindex, server });
  }
  return servers;
}

function readAddress(family: unknown, bytes: readonly unknown[] | null): Omit<ServerAddress, "port"> | null {
  if (bytes === null) return null;
  const octets = bytes.filter((byte) => isWholeNumber(byte, 0xff));
  if (octets.length !== bytes.length) return null;
  if (family === AF_INET && octets.length === 4) return { address: octets.join("."), family: 4 };
  if (family !== AF_INET6 || octets.length !== 16) return null;
  const digits = octets.map((octet) => octet.toString(16).padStart(2, "0")).join("");
  return { address: canonicalAddress(digits.replace(/(.{4})(?=.)/g, "$1:")), family: 6 };
}

/** A link-local address (RFC 4291, 2.5.6) needs the name of its link. */
function withZone(
  server: ServerAddress,
  ifindex: number,
  nameOf: (ifindex: number) => string | null,
): ServerAddress | null {
  if (!/^fe[89ab].:/.test(server.address)) return server;
  const name = nameOf(ifindex);
  return name === null ? null : { ...server, address: `${server.address}%${name}` };
}

function isWholeNumber(value: unknown, max: number): value is number {
  return Number.isInteger(value) && Number(value) >= 0 && Number(value) <= max;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function listOf(value: unknown): readonly unknown[] | null {
  return Array.isArray(value) ? value : null;
}
