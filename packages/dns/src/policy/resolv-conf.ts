/** The configuration of the host's resolver as resolv.conf(5) describes it. */
import { readFileSync } from "node:fs";
import { parseServerAddress, type ServerAddress } from "../server-address.ts";

/** Where the host keeps it. */
export const RESOLV_CONF_PATH = "/etc/resolv.conf";

/** What a resolv.conf says. */
export interface ResolvConf {
  /** At most three, as the resolvers of libc use. */
  readonly nameservers: readonly ServerAddress[];
  /** The domains in which a short name is looked up, without the dot at the end. */
  readonly search: readonly string[];
  /** Seconds to wait for one server, 1 to 30, or null when it is not given. */
  readonly timeout: number | null;
  /** How often each server is asked, 1 to 5, or null when it is not given. */
  readonly attempts: number | null;
  /** What could not be used. */
  readonly problems: readonly ResolvConfProblem[];
}

/** A line of a resolv.conf that was left out, or a part of it. */
export interface ResolvConfProblem {
  /** Counted from 1. */
  readonly line: number;
  readonly reason: string;
}

const MAX_NAMESERVERS = 3;
const MAX_TIMEOUT = 30;
const MAX_ATTEMPTS = 5;

const DOMAIN = /^(?=.{1,253}$)[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*$/i;

/** Whether a text is the name of a domain, without the dot at the end. The root is none. */
export function isDomain(text: string): boolean {
  return DOMAIN.test(text);
}

/** Keywords of the various systems that mean nothing to a server that forwards queries as they are. */
const IGNORED_KEYWORDS = new Set(["sortlist", "lookup", "family", "port", "search_order"]);

/** Reads the text of a resolv.conf. A line that does not fit is reported and left out, as libc leaves it out. */
export function parseResolvConf(text: string): ResolvConf {
  const nameservers: ServerAddress[] = [];
  const problems: ResolvConfProblem[] = [];
  let search: string[] = [];
  let timeout: number | null = null;
  let attempts: number | null = null;

  text.split(/\r?\n/).forEach((content, index) => {
    const report = (reason: string) => problems.push({ line: index + 1, reason });
    const [keyword, ...values] = content
      .split(/\s+[#;].*|^[#;].*/, 1)[0]
      .trim()
      .split(/\s+/);
    if (keyword === "") return;
    if (keyword === "nameserver") {
      const server = readNameserver(values[0] ?? "");
      if (server === undefined) report(`${JSON.stringify(values[0] ?? "")} is not an IP address`);
      else if (nameservers.length === MAX_NAMESERVERS) report(`only the first ${MAX_NAMESERVERS} servers are used`);
      else nameservers.push(server);
    } else if (keyword === "search" || keyword === "domain") {
      // The last of these lines holds; `domain` has one name.
      const names = keyword === "domain" ? values.slice(0, 1) : values;
      search = [];
      for (const name of names) {
        const domain = name.replace(/\.$/, "");
        if (isDomain(domain)) search.push(domain);
        // The root as a search domain is how systemd-resolved writes "none".
        else if (name !== ".") report(`${JSON.stringify(name)} is not a domain name`);
      }
    } else if (keyword === "options") {
      for (const option of values) {
        const match = /^(timeout|attempts):(.*)$/.exec(option);
        if (match === null) continue;
        const value = /^[1-9][0-9]{0,8}$/.test(match[2]) ? Number(match[2]) : undefined;
        if (value === undefined) report(`${JSON.stringify(option)} needs a whole number from 1 up`);
        else if (match[1] === "timeout") timeout = Math.min(value, MAX_TIMEOUT);
        else attempts = Math.min(value, MAX_ATTEMPTS);
      }
    } else if (!IGNORED_KEYWORDS.has(keyword)) {
      report(`${JSON.stringify(keyword)} is not a keyword of resolv.conf`);
    }
  });
  return { nameservers, search, timeout, attempts, problems };
}

/** A nameserver line has no port: what {@link parseServerAddress} takes beyond an address is refused. */
function readNameserver(text: string): ServerAddress | undefined {
  try {
    const server = parseServerAddress(text);
    return server.address === text ? server : undefined;
  } catch {
    return undefined;
  }
}

/**
 * The domains in which the host looks up short names, for guests to do the same; none when the file is not there.
 *
 * @throws the error of the file system when the file is there and cannot be read.
 */
export function hostSearchDomains(path: string = RESOLV_CONF_PATH): readonly string[] {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return [];
    throw error;
  }
  return parseResolvConf(text).search;
}
