/** Which servers a query is forwarded to. */
import { readFileSync, statSync } from "node:fs";
import type { DnsLogger } from "./logger.ts";
import { parseResolvConf, RESOLV_CONF_PATH } from "./resolv-conf.ts";
import { formatServerAddress, type ServerAddress } from "./server-address.ts";

/** Servers in the order in which they are asked. */
export interface ServerSet {
  readonly servers: readonly ServerAddress[];
  /** Milliseconds to wait for one server before the next is asked too; null leaves it to the forwarder. */
  readonly serverTimeout: number | null;
  /** How often each server is asked; null leaves it to the forwarder. */
  readonly attempts: number | null;
}

/** Knows the servers to ask now. */
export interface ServerSource {
  current(): ServerSet;
}

/** Servers that were configured. */
export function fixedServers(servers: readonly ServerAddress[]): ServerSource {
  const set = { servers, serverTimeout: null, attempts: null };
  return { current: () => set };
}

export interface ResolvConfFileOptions {
  /** The file; {@link RESOLV_CONF_PATH} when it is not given. */
  readonly path?: string;
  readonly logger?: DnsLogger;
  /** The time in milliseconds, from any start on. */
  readonly now?: () => number;
}

/** How long the file is taken as unchanged, in milliseconds. */
const CHECK_INTERVAL = 1000;

/**
 * The servers of a resolv.conf, which is read again when it has changed. It is looked at when a query comes and at
 * most once per second: that sees every way a file is replaced, renamed and mounted, which a watch does not.
 */
export class ResolvConfFile implements ServerSource {
  readonly #path: string;
  readonly #logger: DnsLogger | undefined;
  readonly #now: () => number;
  #set: ServerSet = { servers: [], serverTimeout: null, attempts: null };
  #version: string | null = null;
  #nextCheck = Number.NEGATIVE_INFINITY;

  constructor({ path = RESOLV_CONF_PATH, logger, now = () => performance.now() }: ResolvConfFileOptions = {}) {
    this.#path = path;
    this.#logger = logger;
    this.#now = now;
  }

  current(): ServerSet {
    const now = this.#now();
    if (now >= this.#nextCheck) {
      this.#nextCheck = now + CHECK_INTERVAL;
      this.#check();
    }
    return this.#set;
  }

  #check(): void {
    let version: string;
    let text: string;
    try {
      const { dev, ino, size, mtimeNs, ctimeNs } = statSync(this.#path, { bigint: true });
      version = [dev, ino, size, mtimeNs, ctimeNs].join(" ");
      if (version === this.#version) return;
      text = readFileSync(this.#path, "utf8");
    } catch (error) {
      // A file that is gone is often about to be replaced, so the servers last read stay.
      const reason = error instanceof Error ? error.message : String(error);
      if (this.#version !== reason) this.#logger?.warn({ path: this.#path, reason }, "cannot read the name servers");
      this.#version = reason;
      return;
    }
    this.#version = version;
    const { nameservers, timeout, attempts, problems } = parseResolvConf(text);
    this.#set = { servers: nameservers, serverTimeout: timeout === null ? null : timeout * 1000, attempts };
    for (const problem of problems) this.#logger?.warn({ path: this.#path, ...problem }, "a line was left out");
    const servers = nameservers.map(formatServerAddress);
    this.#logger?.info({ path: this.#path, servers }, "name servers read");
  }
}
