import { randomBytes } from "node:crypto";
import type { DnsLogger } from "../logger.ts";
import { type Query, Rcode, Type } from "../message.ts";
import type { Policy } from "../policy/policy.ts";
import { newQuery } from "../query.ts";
import { buildResponse } from "../response.ts";
import { formatServerAddress, type ServerAddress } from "../server-address.ts";
import type { Exchange } from "./exchange.ts";
import type { Forwarder } from "./forwarder.ts";
import { ServerSockets } from "./server-sockets.ts";

/** The domain of the names that are asked. It is reserved for private use, so that no public server is asked for it. */
const DOMAIN = ["loop-check", "hostd", "internal"];
/** For how long a query may be on its way, in milliseconds. */
const LIFETIME = 5000;
/** How many queries may be on their way. */
const MAX_OUTSTANDING = 64;
/** How soon a server is asked again at the earliest, in milliseconds. */
const INTERVAL = 60_000;

/** A server that was asked. */
interface Check {
  readonly server: ServerAddress;
  /** The label that it was asked for. */
  readonly label: string;
  /** When, in milliseconds. */
  readonly at: number;
  isLoop: boolean;
}

/**
 * Finds servers that ask us in turn: a name server of the host whose queries lead into a VM, which asks its own name
 * server, which is this one. Each server is asked for a name with a random label: all of them when the policy is new, and
 * one again when it leaves a query unanswered, as it does from the moment on when a loop begins. Where the name comes
 * back as a query, the server is asked no more until the policy changes.
 */
export class LoopCheck {
  readonly #forwarder: Forwarder;
  readonly #logger: DnsLogger | undefined;
  readonly #sockets = new ServerSockets();
  /** The last check of each server, by its address. */
  readonly #checks = new Map<string, Check>();
  readonly #outstanding = new Map<Exchange, NodeJS.Timeout>();
  #policy: Policy | null = null;
  #closed = false;

  constructor(forwarder: Forwarder, logger?: DnsLogger) {
    this.#forwarder = forwarder;
    this.#logger = logger;
    forwarder.health.onFailure((server, now) => this.#ask(server, now));
  }

  /** Asks the servers of a policy that was not checked before. */
  check(): void {
    const policy = this.#forwarder.version;
    if (policy === this.#policy) return;
    this.#policy = policy;
    this.#forget();
    const now = performance.now();
    for (const { set } of policy.routes.routes) {
      for (const server of set.servers) this.#ask(server, now);
    }
  }

  /** Answers a query that was ours, and excludes the server it was sent to; null for every other. */
  answer(query: Query): Uint8Array | null {
    const { labels } = query.question;
    if (labels.length !== DOMAIN.length + 1 || DOMAIN.some((label, index) => label !== labels[index + 1])) return null;
    const check = [...this.#checks.values()].find(({ label }) => label === labels[0]);
    // It may be that of another hostd, in whose loop this one is.
    if (check === undefined) return null;
    if (!check.isLoop) {
      check.isLoop = true;
      this.#forwarder.exclude(check.server);
      this.#logger?.warn(
        { server: formatServerAddress(check.server) },
        "this name server asks hostd in turn, so it is not asked any more: name another one with --dns-server",
      );
    }
    return buildResponse(query, { rcode: Rcode.NXDOMAIN });
  }

  close(): void {
    this.#closed = true;
    this.#forget();
  }

  #ask(server: ServerAddress, now: number): void {
    const key = formatServerAddress(server);
    const last = this.#checks.get(key);
    if (this.#closed || this.#outstanding.size >= MAX_OUTSTANDING) return;
    if (last !== undefined && (last.isLoop || now - last.at < INTERVAL)) return;
    const label = randomBytes(8).toString("hex");
    this.#checks.set(key, { server, label, at: now, isLoop: false });
    const query = newQuery([label, ...DOMAIN].join("."), Type.TXT);
    const end = () => this.#end(exchange);
    const exchange: Exchange = this.#sockets.ask("udp", server, query, { answered: end, failed: end });
    this.#outstanding.set(exchange, setTimeout(end, LIFETIME).unref());
  }

  #end(exchange: Exchange): void {
    clearTimeout(this.#outstanding.get(exchange));
    this.#outstanding.delete(exchange);
    exchange.close();
  }

  #forget(): void {
    for (const exchange of this.#outstanding.keys()) this.#end(exchange);
    this.#checks.clear();
    this.#sockets.retire();
  }
}
