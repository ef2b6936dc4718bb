import { hostCommands, type RunCommand } from "@hostd/host";
/** The name servers of a macOS host, as `scutil --dns` lists them (scutil(8)). */
import type { DnsLogger } from "../logger.ts";
import { formatServerAddress, parseServerAddress, type ServerAddress } from "../server-address.ts";
import { BackgroundReader } from "./background-reader.ts";
import { type Policy, type Route, RouteTable } from "./policy.ts";
import { isDomain } from "./resolv-conf.ts";
import { unlessChanged } from "./same-policy.ts";

const SCUTIL = "/usr/sbin/scutil";
/** It says nothing cheaper, so that it is asked every time. */
const MAX_AGE = 1000;
/** The order of a resolver for which scutil shows none (configd's default). */
const DEFAULT_ORDER = 200_000;
const MAX_RESOLVERS = 1024;
const MILLISECONDS = 1000;

/** One resolver of the list. */
interface ResolverEntry {
  domain: string;
  readonly search: string[];
  readonly nameservers: string[];
  port: number | null;
  /** Seconds for a name, or null. */
  timeout: number | null;
  options: string;
  order: number;
  isReachable: boolean;
}

/** What `scutil --dns` says. */
export interface ScutilDns {
  readonly policy: Policy;
  /** What could not be used, each in one line. */
  readonly problems: readonly string[];
}

/**
 * Reads what `scutil --dns` writes: the resolvers of its first block. Those of the other blocks are for programs that ask
 * for an interface or a service, and those of multicast DNS have no servers. A resolver without a domain is for every
 * name. Of several for the same domain those of the lowest order are taken, before others that cannot be reached.
 *
 * @throws {Error} when the text is something else.
 */
export function parseScutilDns(text: string): ScutilDns {
  const problems: string[] = [];
  const byDomain = new Map<string, ResolverEntry[]>();
  const search: string[] = [];
  for (const entry of readEntries(text)) {
    if (/\b[mp]dns\b/.test(entry.options)) continue;
    const domain = entry.domain.replace(/\.$/, "").toLowerCase();
    if (domain !== "" && !isDomain(domain)) {
      problems.push(`${JSON.stringify(entry.domain)} is not a domain name`);
      continue;
    }
    if (domain === "") addSearch(entry.search, search, problems);
    if (entry.nameservers.length > 0) byDomain.set(domain, [...(byDomain.get(domain) ?? []), entry]);
  }
  const routes: Route[] = [];
  for (const [domain, entries] of byDomain) {
    const reachable = entries.filter(({ isReachable }) => isReachable);
    const candidates = reachable.length > 0 ? reachable : entries;
    const order = Math.min(...candidates.map((entry) => entry.order));
    const chosen = candidates.filter((entry) => entry.order === order);
    const servers = new Map<string, ServerAddress>();
    for (const server of chosen.flatMap((entry) => readServers(entry, problems))) {
      servers.set(formatServerAddress(server), server);
    }
    if (servers.size === 0) continue;
    const [{ timeout }] = chosen;
    // The time is that for a name, which its servers share (resolver(5) of macOS).
    const serverTimeout = timeout === null ? null : Math.ceil((timeout * MILLISECONDS) / servers.size);
    routes.push({
      domain,
      set: { servers: [...servers.values()], serverTimeout, attempts: null },
      from: "scutil --dns",
    });
  }
  return { policy: { routes: new RouteTable(routes), search }, problems };
}

/** The resolvers of the first block. */
function readEntries(text: string): ResolverEntry[] {
  const lines = text.split(/\r?\n/);
  const start = lines.findIndex((line) => line.trim() === "DNS configuration");
  if (start === -1) throw new Error("scutil: the output is no list of resolvers");
  const entries: ResolverEntry[] = [];
  for (const line of lines.slice(start + 1)) {
    // The block of scoped queries begins.
    if (line.startsWith("DNS configuration")) break;
    if (/^resolver #\d+/.test(line)) {
      if (entries.length === MAX_RESOLVERS) break;
      entries.push(newEntry());
      continue;
    }
    const match = /^\s+([a-z_]+(?: [a-z]+)?)(?:\[\d+\])?\s*: (.*)$/.exec(line);
    const entry = entries.at(-1);
    if (match !== null && entry !== undefined) readField(entry, match[1], match[2].trim());
  }
  return entries;
}

function newEntry(): ResolverEntry {
  return {
    domain: "",
    search: [],
    nameservers: [],
    port: null,
    timeout: null,
    options: "",
    order: DEFAULT_ORDER,
    isReachable: true,
  };
}

function readField(entry: ResolverEntry, name: string, value: string): void {
  if (name === "domain") entry.domain = value;
  else if (name === "search domain") entry.search.push(value);
  else if (name === "nameserver") entry.nameservers.push(value);
  else if (name === "options") entry.options = value;
  else if (name === "reach") entry.isReachable = !value.includes("Not Reachable");
  else if (/^-?\d{1,9}$/.test(value)) {
    const number = Number(value);
    // It is written as a signed number of 16 bits.
    if (name === "port") entry.port = number & 0xffff;
    else if (name === "timeout" && number > 0) entry.timeout = number;
    else if (name === "order") entry.order = number;
  }
}

function addSearch(found: readonly string[], search: string[], problems: string[]): void {
  for (const written of found) {
    const domain = written.replace(/\.$/, "");
    if (!isDomain(domain)) problems.push(`${JSON.stringify(written)} is not a domain name`);
    else if (!search.includes(domain)) search.push(domain);
  }
}

function readServers({ nameservers, port }: ResolverEntry, problems: string[]): ServerAddress[] {
  const servers: ServerAddress[] = [];
  for (const text of nameservers) {
    try {
      const server = parseServerAddress(text);
      if (server.address !== text) throw new RangeError("more than an address");
      servers.push(port === null || port === 0 ? server : { ...server, port });
    } catch {
      problems.push(`${JSON.stringify(text)} is not an IP address`);
    }
  }
  return servers;
}

export interface ScutilOptions {
  readonly logger?: DnsLogger;
  /** The time in milliseconds, from any start on. */
  readonly now?: () => number;
  /** Runs scutil. */
  readonly run?: RunCommand;
}

/** Follows what `scutil --dns` says, within a second when it is asked. */
export class Scutil {
  readonly #reader: BackgroundReader<Policy>;
  readonly #run: RunCommand;
  readonly #logger: DnsLogger | undefined;
  #policy: Policy | null = null;
  #problems = "";

  constructor({ logger, now = () => performance.now(), run = hostCommands().run }: ScutilOptions = {}) {
    this.#run = run;
    this.#logger = logger;
    this.#reader = new BackgroundReader({
      read: (signal) => this.#read(signal),
      version: () => "",
      maxAge: MAX_AGE,
      now,
      onFailure: (reason) => logger?.warn({ reason }, "cannot read the name servers of macOS"),
    });
  }

  /** What was read last, the same object until something has changed; null before the first. */
  current(): Policy | null {
    return this.#reader.current();
  }

  /** Resolves when what is being read is known. */
  settled(): Promise<void> {
    return this.#reader.settled();
  }

  close(): void {
    this.#reader.close();
  }

  async #read(signal: AbortSignal): Promise<Policy> {
    const { policy, problems } = parseScutilDns(await this.#run({ program: SCUTIL, args: ["--dns"] }, signal));
    const text = problems.join("; ");
    if (text !== "" && text !== this.#problems)
      this.#logger?.warn({ problems }, "scutil --dns lists what cannot be used");
    this.#problems = text;
    this.#policy = unlessChanged(this.#policy, policy);
    return this.#policy;
  }
}
