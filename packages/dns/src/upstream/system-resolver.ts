import type { LookupAddress } from "node:dns";
import { lookup, lookupService } from "node:dns/promises";
import { isIP } from "node:net";
import type { Answer } from "dns-packet";
import type { Transport } from "../context.ts";
import { Class, type Query, Rcode, Type } from "../message.ts";
import type { Upstream, UpstreamAnswer } from "../resolver.ts";
import { buildResponse } from "../response.ts";
import { reverseAddress } from "../zones/reverse-names.ts";

/** How long an answer may be kept, in seconds: the system does not say. */
const TTL = 5;
/** How many look-ups wait for their turn; a further one is not answered. */
const MAX_WAITING = 512;
/** Labels of printable ASCII, which is what the codec writes as it is. */
const DOMAIN = /^(?=.{1,254}$)[\x21-\x2d\x2f-\x7e]{1,63}(?:\.[\x21-\x2d\x2f-\x7e]{1,63})*\.?$/;

/** The system's look-ups, so that tests may have others. */
export interface SystemCalls {
  /** The addresses of a name, of both families. Rejects with a `code` as Node's does. */
  lookup(name: string): Promise<readonly LookupAddress[]>;
  /** The name of an address. */
  reverse(address: string): Promise<string>;
}

export interface SystemResolverOptions {
  /** Asked for every type of record that the system's call does not look up. */
  readonly others: Upstream;
  /**
   * How many look-ups run at a time; 2 when it is not given. Each takes one of the four threads of libuv's pool, which
   * files and every other look-up of this process need too.
   */
  readonly concurrency?: number;
  /** Milliseconds after which a query is given up; 4500 when it is not given. */
  readonly timeout?: number;
  readonly calls?: SystemCalls;
}

const SYSTEM_CALLS: SystemCalls = {
  lookup: (name) => lookup(name, { all: true, order: "verbatim" }),
  reverse: async (address) => (await lookupService(address, 0)).hostname,
};

/**
 * Resolves names by the system's own call (getaddrinfo), for hosts where only that knows the answer: multicast DNS,
 * modules of the name service switch, profiles of a VPN. It says nothing of TTLs, of DNSSEC, and of other records than
 * addresses and names of addresses; those are asked of servers.
 */
export class SystemResolver implements Upstream {
  readonly #others: Upstream;
  readonly #calls: SystemCalls;
  readonly #concurrency: number;
  readonly #timeout: number;
  /** Starts a look-up; the oldest is the first. */
  readonly #waiting = new Set<() => void>();
  /** Ends a query, of those that wait and of those whose look-up runs. */
  readonly #unanswered = new Set<(message: Uint8Array | null) => void>();
  #running = 0;
  #closed = false;

  constructor({ others, concurrency = 2, timeout = 4500, calls = SYSTEM_CALLS }: SystemResolverOptions) {
    this.#others = others;
    this.#calls = calls;
    this.#concurrency = concurrency;
    this.#timeout = timeout;
  }

  get version(): unknown {
    return this.#others.version;
  }

  forward(query: Query, transport: Transport): Promise<UpstreamAnswer | null> {
    const { labels, type, class: asked } = query.question;
    // The root has no name that the call knows, and an escaped byte is none in text.
    const isText = labels.length > 0 && !labels.some((label) => label.includes("\\"));
    if (asked !== Class.IN || !isText) return this.#others.forward(query, transport);
    if (type === Type.A || type === Type.AAAA) return this.#inTime(query, () => this.#lookUp(query));
    const address = type === Type.PTR ? reverseAddress(labels) : null;
    if (address !== null) return this.#inTime(query, () => this.#reverse(query, address));
    return this.#others.forward(query, transport);
  }

  /** Gives up every query. Look-ups that run go on, as nothing ends them, but nobody waits for them. */
  close(): void {
    this.#closed = true;
    for (const finish of this.#unanswered) finish(null);
    this.#others.close();
  }

  /** Runs a look-up when it is its turn. Its thread cannot be had back before the call returns, so that is waited for. */
  #inTime(query: Query, run: () => Promise<Uint8Array | null>): Promise<UpstreamAnswer | null> {
    if (this.#closed || this.#waiting.size >= MAX_WAITING) return Promise.resolve(null);
    return new Promise((resolve) => {
      const start = () => {
        this.#running++;
        void run()
          .catch((error: unknown) => failureOf(query, error))
          .then((message) => {
            this.#running--;
            finish(message);
            this.#startNext();
          });
      };
      const finish = (message: Uint8Array | null) => {
        if (!this.#unanswered.delete(finish)) return;
        this.#waiting.delete(start);
        clearTimeout(timer);
        resolve(message === null ? null : { message, source: "the system's resolver" });
      };
      const timer = setTimeout(() => finish(null), this.#timeout);
      this.#unanswered.add(finish);
      this.#waiting.add(start);
      this.#startNext();
    });
  }

  #startNext(): void {
    if (this.#running >= this.#concurrency) return;
    const [start] = this.#waiting;
    if (start === undefined) return;
    this.#waiting.delete(start);
    start();
  }

  /** Both families are looked up, to tell a name without an address of one family from a name that does not exist. */
  async #lookUp(query: Query): Promise<Uint8Array> {
    const { name, labels, type } = query.question;
    const family = type === Type.A ? 4 : 6;
    const found = await this.#addresses(labels.join("."));
    const answers: Answer[] = [];
    for (const { address, family: of } of found) {
      // A zone means nothing to anybody else.
      if (of !== family || address.includes("%")) continue;
      answers.push({ type: family === 4 ? "A" : "AAAA", name, ttl: TTL, data: address });
    }
    return buildResponse(query, { rcode: Rcode.NOERROR, answers });
  }

  /**
   * The addresses of a name. With a dot at the end no search domain is added to it, but most modules of the name service
   * switch know no name with one, so that it is looked up without, as programs of the host do, when nothing else is found.
   */
  async #addresses(name: string): Promise<readonly LookupAddress[]> {
    try {
      return await this.#calls.lookup(`${name}.`);
    } catch (error) {
      if (codeOf(error) !== "ENOTFOUND") throw error;
      return this.#calls.lookup(name);
    }
  }

  async #reverse(query: Query, address: string): Promise<Uint8Array | null> {
    const data = await this.#calls.reverse(address);
    if (!DOMAIN.test(data)) return null;
    // An address without a name may stand for itself.
    if (isIP(data) !== 0) return buildResponse(query, { rcode: Rcode.NXDOMAIN });
    const { name } = query.question;
    return buildResponse(query, { rcode: Rcode.NOERROR, answers: [{ type: "PTR", name, ttl: TTL, data }] });
  }
}

/** What an error of the call means (getaddrinfo(3)); null for one that says nothing of the name. */
function failureOf(query: Query, error: unknown): Uint8Array | null {
  const code = codeOf(error);
  if (code === "ENODATA") return buildResponse(query, { rcode: Rcode.NOERROR });
  return code === "ENOTFOUND" ? buildResponse(query, { rcode: Rcode.NXDOMAIN }) : null;
}

function codeOf(error: unknown): unknown {
  return error instanceof Error && "code" in error ? error.code : undefined;
}
