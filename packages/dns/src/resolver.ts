import type { Answer } from "dns-packet";
import { AnswerCache, type AnswerCacheOptions, type CacheEntry, cacheKey } from "./cache/answer-cache.ts";
import { StoredAnswer } from "./cache/stored-answer.ts";
import type { QueryContext, Transport } from "./context.ts";
import type { HostNames } from "./hosts/host-names.ts";
import { messageRcode, type Query, Rcode } from "./message.ts";
import { queryFor } from "./query.ts";
import { buildAliasAnswer, buildResponse, buildServFail } from "./response.ts";
import type { LoopCheck } from "./upstream/loop-check.ts";
import { specialAnswer } from "./zones/special-names.ts";
import type { Zones } from "./zones/zones.ts";

/** Where an answer is from. `failure` is SERVFAIL of our own: nobody answered, or too much is going on. */
export type Origin = "zone" | "hosts" | "special" | "cache" | "stale" | "upstream" | "failure";

/** The answer to a query. */
export interface Resolution {
  readonly message: Uint8Array;
  readonly origin: Origin;
  /** Which zone, file or server it is from, or why there is none, for people. */
  readonly source: string;
}

/** Decides which queries may wait for an answer from beyond this host. */
export interface AskingLimit {
  /**
   * Whether one more may wait now.
   *
   * @param isJoined - whether somebody is asking the same, so that nobody is asked for this one. Otherwise it counts as
   *   asked when this is true.
   */
  take(isJoined: boolean): boolean;
}

/** Finds the answer to each query. */
export interface QueryResolver {
  /** The answer, at once where it is known. */
  resolve(
    query: Query,
    context: QueryContext,
    transport: Transport,
    limit: AskingLimit,
  ): Resolution | Promise<Resolution>;
}

/** An answer from beyond this host's own names, and who gave it. */
export interface UpstreamAnswer {
  readonly message: Uint8Array;
  readonly source: string;
}

/** Asks whoever knows the names that are not ours. */
export interface Upstream {
  /** The answer with the query's id; null when nobody gave one in time. Never rejects. */
  forward(query: Query, transport: Transport): Promise<UpstreamAnswer | null>;
  /** Changes whenever answers that were given before may not hold any more. */
  readonly version: unknown;
  close(): void;
}

export interface ResolverOptions {
  readonly zones: Zones;
  readonly hosts?: HostNames;
  /** Knows the queries by which servers are found that ask us in turn. */
  readonly loopCheck?: LoopCheck;
  readonly upstream: Upstream;
  readonly cache?: AnswerCacheOptions;
  /** The time in milliseconds, from any start on. */
  readonly now?: () => number;
}

const NO_CACHE: AnswerCacheOptions = { maxEntries: 0, maxBytes: 0, staleTime: 0 };

/** For how long a client waits before it gets an answer that has outlived its time (RFC 8767, section 5). */
const STALE_AFTER = 1800;

/** A question that is being asked, and everybody who waits for its answer. */
interface Flight {
  readonly waiters: ((answer: FlightAnswer) => void)[];
}

/** How a flight ended. */
interface FlightAnswer {
  /** Null when nobody answered, or with something that can be given to nobody but the one who asked. */
  readonly answer: StoredAnswer | null;
  readonly failed: boolean;
  readonly source: string;
}

/**
 * Answers names of our zones from them, those of the hosts file from that, and asks beyond for every other. Answers from
 * beyond are kept for as long as they say; what several ask at the same time is asked once.
 */
export class Resolver implements QueryResolver {
  readonly zones: Zones;
  readonly cache: AnswerCache;
  readonly #hosts: HostNames | undefined;
  readonly #loopCheck: LoopCheck | undefined;
  readonly #upstream: Upstream;
  readonly #now: () => number;
  readonly #flights = new Map<string, Flight>();
  #version: unknown;

  constructor(options: ResolverOptions) {
    const { zones, hosts, loopCheck, upstream, cache = NO_CACHE, now = () => performance.now() } = options;
    this.zones = zones;
    this.cache = new AnswerCache(cache);
    this.#hosts = hosts;
    this.#loopCheck = loopCheck;
    this.#upstream = upstream;
    this.#now = now;
  }

  resolve(
    query: Query,
    context: QueryContext,
    transport: Transport,
    limit: AskingLimit,
  ): Resolution | Promise<Resolution> {
    if (query.edns !== null && query.edns.version > 0) {
      const message = buildResponse(query, { rcode: Rcode.BADVERS });
      return { message, origin: "special", source: "there is no such version of EDNS (RFC 6891, 6.1.3)" };
    }
    // First of all: a zone of ours may have the domain that is asked for.
    const check = this.#loopCheck?.answer(query) ?? null;
    if (check !== null) return { message: check, origin: "special", source: "a check for loops" };
    const own = this.zones.answer(query, context);
    if (own !== null) {
      if (own.kind === "answer") return { message: own.message, origin: "zone", source: own.zone };
      return this.#resolveAlias(query, context, transport, limit, own.zone, own.aliases, own.target);
    }
    const special = specialAnswer(query);
    if (special !== null) return { message: special, origin: "special", source: "a name of special use" };
    const known = this.#hosts?.answer(query) ?? null;
    if (known !== null) return { message: known, origin: "hosts", source: this.#hosts?.source ?? "" };
    return this.#resolveBeyond(query, transport, limit);
  }

  /** Gives up the queries that wait for an answer from beyond: they end with SERVFAIL. */
  close(): void {
    this.#loopCheck?.close();
    this.#upstream.close();
  }

  #resolveBeyond(query: Query, transport: Transport, limit: AskingLimit): Resolution | Promise<Resolution> {
    const { version } = this.#upstream;
    if (version !== this.#version) {
      this.#version = version;
      this.#loopCheck?.check();
      this.cache.clear();
      // Whoever asks from now on is not to get what is on its way from before.
      this.#flights.clear();
    }
    const key = cacheKey(query);
    if (key === null) return this.#askAlone(query, transport, limit);
    const now = this.#now();
    const entry = this.cache.find(key, now);
    const kept = this.cache.answer(query, entry, now);
    if (kept !== null && entry !== null) {
      const isStale = now >= entry.expiresAt;
      return { message: kept, origin: isStale ? "stale" : "cache", source: isStale ? "kept past its time" : "kept" };
    }
    const flight = this.#flights.get(key);
    if (!limit.take(flight !== undefined)) return entry === null ? tooMany(query) : this.#stale(query, entry);
    const answer =
      flight === undefined ? this.#begin(key, query, transport, entry) : this.#join(flight, query, transport, limit);
    return entry === null ? answer : this.#orStale(answer, query, entry);
  }

  /** Asks what nobody else is asking. */
  async #begin(key: string, query: Query, transport: Transport, entry: CacheEntry | null): Promise<Resolution> {
    const version = this.#version;
    const flight: Flight = { waiters: [] };
    this.#flights.set(key, flight);
    const resolution = await this.#ask(query, transport).catch(() => nobodyAnswered(query));
    if (this.#flights.get(key) === flight) this.#flights.delete(key);
    const answer = resolution.origin === "upstream" ? StoredAnswer.from(resolution.message, query) : null;
    const now = this.#now();
    if (answer !== null && version === this.#version && !isFailure(resolution)) this.cache.store(key, answer, now);
    else if (entry !== null && isFailure(resolution)) this.cache.notRenewed(entry, now);
    const { origin, source } = resolution;
    for (const waiter of flight.waiters) waiter({ answer, failed: origin === "failure", source });
    return resolution;
  }

  /** Waits for what somebody else is asking. */
  async #join(flight: Flight, query: Query, transport: Transport, limit: AskingLimit): Promise<Resolution> {
    const { answer, failed, source } = await new Promise<FlightAnswer>((resolve) => flight.waiters.push(resolve));
    if (failed) return { message: buildServFail(query), origin: "failure", source };
    if (answer === null) return this.#askAlone(query, transport, limit);
    return { message: answer.reply(query, 0), origin: "upstream", source };
  }

  /** What has outlived its time stands in for an answer that does not come, or that is none. */
  #orStale(answer: Promise<Resolution>, query: Query, entry: CacheEntry): Promise<Resolution> {
    return new Promise((resolve) => {
      const timer = setTimeout(() => {
        // Whoever asks from now on need not wait as long.
        this.cache.notRenewed(entry, this.#now());
        resolve(this.#stale(query, entry));
      }, STALE_AFTER);
      void answer.then((resolution) => {
        clearTimeout(timer);
        resolve(isFailure(resolution) ? this.#stale(query, entry) : resolution);
      });
    });
  }

  #stale(query: Query, entry: CacheEntry): Resolution {
    return { message: this.cache.staleAnswer(query, entry), origin: "stale", source: "kept past its time" };
  }

  /** Asks for one client alone. */
  #askAlone(query: Query, transport: Transport, limit: AskingLimit): Resolution | Promise<Resolution> {
    return limit.take(false) ? this.#ask(query, transport) : tooMany(query);
  }

  async #ask(query: Query, transport: Transport): Promise<Resolution> {
    const answer = await this.#upstream.forward(query, transport);
    return answer === null ? nobodyAnswered(query) : { ...answer, origin: "upstream" };
  }

  /** A name of ours that leads to one that is not: the answer has both. */
  async #resolveAlias(
    query: Query,
    context: QueryContext,
    transport: Transport,
    limit: AskingLimit,
    zone: string,
    aliases: Answer[],
    target: string,
  ): Promise<Resolution> {
    const { message, origin, source } = await this.resolve(queryFor(query, target), context, transport, limit);
    const answer = buildAliasAnswer(query, aliases, message);
    if (origin === "failure") return { message: answer, origin, source };
    return { message: answer, origin: "zone", source: zone };
  }
}

function nobodyAnswered(query: Query): Resolution {
  return { message: buildServFail(query), origin: "failure", source: "no server answered" };
}

function tooMany(query: Query): Resolution {
  return { message: buildServFail(query), origin: "failure", source: "too many queries at a time" };
}

/** Whether an answer says only that there is none now: all but NOERROR and NXDOMAIN (RFC 8767, section 4). */
function isFailure({ origin, message }: Resolution): boolean {
  const rcode = messageRcode(message);
  return origin === "failure" || (origin === "upstream" && rcode !== Rcode.NOERROR && rcode !== Rcode.NXDOMAIN);
}
