import type { Duplex } from "node:stream";
import { TokenBucket } from "@hostd/stack";
import type { QueryContext, Transport } from "../context.ts";
import type { DnsLogger } from "../logger.ts";
import { MAX_MESSAGE_LENGTH, type Query, readQuery } from "../message.ts";
import { rcodeName, typeName } from "../presentation.ts";
import type { AskingLimit, QueryResolver, Resolution } from "../resolver.ts";
import { buildErrorHeader, buildServFail, limitResponse, udpLimit } from "../response.ts";
import type { QueryObserver } from "./query-observer.ts";
import { StreamSession } from "./stream-session.ts";

export interface DnsServerOptions {
  readonly resolver: QueryResolver;
  readonly logger?: DnsLogger;
  readonly observer?: QueryObserver;
  /**
   * How many queries may be in progress before further ones get SERVFAIL, unless they can be answered at once; 4096
   * when it is not given.
   */
  readonly maxInProgress?: number;
  /** How many TCP connections may be open before further ones are reset; 128 when it is not given. */
  readonly maxStreams?: number;
  /** How many queries of one TCP connection may be in progress before reading pauses; 64 when it is not given. */
  readonly maxPipelined?: number;
  /** How many queries per second may go beyond this host's own names and what is kept; 30000 when it is not given. */
  readonly maxForwardedPerSecond?: number;
  /** Milliseconds after which a TCP connection without a query in progress is closed; 10000 when it is not given. */
  readonly idleTimeout?: number;
  /** The time in milliseconds, from any start on. */
  readonly now?: () => number;
}

/**
 * What a server counted since it was made. Each query ends up in exactly one of `answeredLocally`, `answeredFromCache`,
 * `forwarded`, `failures` and `formErr`.
 */
export class DnsStatistics {
  /** Messages that were queries by their header. */
  queries = 0;
  /** Queries for names that this host knows: of its zones and of its hosts file. */
  answeredLocally = 0;
  /** Queries answered with what was kept of an earlier answer. */
  answeredFromCache = 0;
  /** Queries answered by a server of the host, whatever its answer says. */
  forwarded = 0;
  /** Queries that got SERVFAIL from us: no server answered, or too many were in progress or asked for. */
  failures = 0;
  /** Queries that could not be read (FORMERR) or ask for something other than a look-up (NOTIMP). */
  formErr = 0;
  /** What got no answer: messages that are no query, and TCP connections over the limit or already ended. */
  dropped = 0;
}

/**
 * A name server without sockets: its owner hands it what arrives on port 53, and sends what it answers. Its limits
 * are its clients' to use up, so each link has a server of its own; a resolver may be shared.
 */
export class DnsServer {
  readonly statistics = new DnsStatistics();
  readonly #resolver: QueryResolver;
  readonly #logger: DnsLogger | undefined;
  readonly #observer: QueryObserver | undefined;
  readonly #now: () => number;
  readonly #maxStreams: number;
  readonly #maxPipelined: number;
  readonly #idleTimeout: number;
  readonly #sessions = new Set<StreamSession>();
  readonly #limit: AskingLimit;
  #inProgress = 0;

  constructor(options: DnsServerOptions) {
    this.#resolver = options.resolver;
    this.#logger = options.logger;
    this.#observer = options.observer;
    this.#now = options.now ?? (() => performance.now());
    this.#maxStreams = options.maxStreams ?? 128;
    this.#maxPipelined = options.maxPipelined ?? 64;
    this.#idleTimeout = options.idleTimeout ?? 10_000;
    const maxInProgress = options.maxInProgress ?? 4096;
    const perSecond = options.maxForwardedPerSecond ?? 30_000;
    const bucket = new TokenBucket(perSecond, perSecond);
    this.#limit = {
      take: (isJoined) => this.#inProgress < maxInProgress && (isJoined || bucket.take(this.#now())),
    };
  }

  /**
   * Answers a datagram.
   *
   * @param message - the payload; it is kept until the answer is known and must not change.
   * @param reply - called at most once, be it before this returns, with the payload to send back. Must not throw.
   */
  handleDatagram(message: Uint8Array, context: QueryContext, reply: (message: Uint8Array) => void): void {
    const answer = this.#answer(message, context, "udp");
    if (answer instanceof Promise) {
      void answer.then((later) => {
        if (later !== null) reply(later);
      });
    } else if (answer !== null) {
      reply(answer);
    }
  }

  /** Serves a TCP connection until it ends. Errors of the stream end that stream alone. */
  serveStream(stream: Duplex, context: QueryContext): void {
    if (stream.destroyed || this.#sessions.size >= this.#maxStreams) {
      this.statistics.dropped++;
      stream.on("error", () => {});
      stream.destroy();
      return;
    }
    const session: StreamSession = new StreamSession(stream, {
      answer: async (message) => this.#answer(message, context, "tcp"),
      idleTimeout: this.#idleTimeout,
      maxPipelined: this.#maxPipelined,
      closed: () => this.#sessions.delete(session),
    });
    this.#sessions.add(session);
  }

  /** Ends every TCP connection. */
  close(): void {
    for (const session of this.#sessions) session.destroy();
  }

  /** Null when the message gets no answer. Never throws, never rejects. */
  #answer(
    message: Uint8Array,
    context: QueryContext,
    transport: Transport,
  ): Uint8Array | null | Promise<Uint8Array | null> {
    const reading = readQuery(message);
    if (reading.kind === "ignored") {
      this.statistics.dropped++;
      return null;
    }
    this.statistics.queries++;
    if (reading.kind === "error") {
      this.statistics.formErr++;
      return buildErrorHeader(message, reading.rcode);
    }
    const { query } = reading;
    const began = this.#observer?.isListening() === true ? this.#now() : null;
    let resolution: Resolution | Promise<Resolution>;
    try {
      resolution = this.#resolver.resolve(query, context, transport, this.#limit);
    } catch (error) {
      return this.#fail(query, context, transport, began, error);
    }
    if (!(resolution instanceof Promise)) return this.#finish(query, context, transport, began, resolution);
    this.#inProgress++;
    return resolution.then(
      (found) => {
        this.#inProgress--;
        return this.#finish(query, context, transport, began, found);
      },
      (error: unknown) => {
        this.#inProgress--;
        return this.#fail(query, context, transport, began, error);
      },
    );
  }

  #fail(query: Query, context: QueryContext, transport: Transport, began: number | null, error: unknown): Uint8Array {
    this.#logger?.warn({ err: error, name: query.question.name }, "a query could not be resolved");
    return this.#finish(query, context, transport, began, null);
  }

  /**
   * Counts an answer, and brings it to the size that the client takes.
   *
   * @param began - when the query came; null when nobody is to be told of it.
   */
  #finish(
    query: Query,
    context: QueryContext,
    transport: Transport,
    began: number | null,
    resolution: Resolution | null,
  ): Uint8Array {
    const { statistics } = this;
    const origin = resolution?.origin ?? "failure";
    if (origin === "failure") statistics.failures++;
    else if (origin === "upstream") statistics.forwarded++;
    else if (origin === "cache" || origin === "stale") statistics.answeredFromCache++;
    else statistics.answeredLocally++;
    const limit = transport === "udp" ? udpLimit(query) : MAX_MESSAGE_LENGTH;
    const message = resolution?.message ?? buildServFail(query);
    if (began !== null) {
      const { name, type } = query.question;
      const milliseconds = this.#now() - began;
      const what = { context, name, type: typeName(type), rcode: rcodeName(message), origin, milliseconds };
      this.#observer?.answered(what);
    }
    return limitResponse(message, query, limit);
  }
}
