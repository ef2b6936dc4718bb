import type { Duplex } from "node:stream";
import type { QueryContext, Transport } from "./context.ts";
import type { DnsLogger } from "./logger.ts";
import { MAX_MESSAGE_LENGTH, readQuery } from "./message.ts";
import type { QueryResolver, Resolution } from "./resolver.ts";
import { buildErrorHeader, buildServFail, limitResponse, udpLimit } from "./response.ts";
import { StreamSession } from "./stream-session.ts";

export interface DnsServerOptions {
  readonly resolver: QueryResolver;
  readonly logger?: DnsLogger;
  /** How many queries may be in progress before further ones get SERVFAIL; 4096 when it is not given. */
  readonly maxInProgress?: number;
  /** How many TCP connections may be open before further ones are reset; 128 when it is not given. */
  readonly maxStreams?: number;
  /** How many queries of one TCP connection may be in progress before reading pauses; 64 when it is not given. */
  readonly maxPipelined?: number;
  /** Milliseconds after which a TCP connection without a query in progress is closed; 10000 when it is not given. */
  readonly idleTimeout?: number;
}

/**
 * What a server counted since it was made. Each query ends up in exactly one of `answeredLocally`, `forwarded`,
 * `failures` and `formErr`.
 */
export class DnsStatistics {
  /** Messages that were queries by their header. */
  queries = 0;
  /** Queries for names of our own. */
  answeredLocally = 0;
  /** Queries answered by a server of the host, whatever its answer says. */
  forwarded = 0;
  /** Queries that got SERVFAIL from us: no server answered, or too many were in progress. */
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
  readonly #maxInProgress: number;
  readonly #maxStreams: number;
  readonly #maxPipelined: number;
  readonly #idleTimeout: number;
  readonly #sessions = new Set<StreamSession>();
  #inProgress = 0;

  constructor(options: DnsServerOptions) {
    this.#resolver = options.resolver;
    this.#logger = options.logger;
    this.#maxInProgress = options.maxInProgress ?? 4096;
    this.#maxStreams = options.maxStreams ?? 128;
    this.#maxPipelined = options.maxPipelined ?? 64;
    this.#idleTimeout = options.idleTimeout ?? 10_000;
  }

  /**
   * Answers a datagram.
   *
   * @param message - the payload; it is kept until the answer is known and must not change.
   * @param reply - called at most once, later than this returns, with the payload to send back. Must not throw.
   */
  handleDatagram(message: Uint8Array, context: QueryContext, reply: (message: Uint8Array) => void): void {
    void this.#answer(message, context, "udp").then((answer) => {
      if (answer !== null) reply(answer);
    });
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
      answer: (message) => this.#answer(message, context, "tcp"),
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

  /** Never rejects. Null when the message gets no answer. */
  async #answer(message: Uint8Array, context: QueryContext, transport: Transport): Promise<Uint8Array | null> {
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
    let resolution: Resolution | null = null;
    if (this.#inProgress < this.#maxInProgress) {
      this.#inProgress++;
      try {
        resolution = await this.#resolver.resolve(query, context, transport);
      } catch (error) {
        this.#logger?.warn({ err: error, name: query.question.name }, "a query could not be resolved");
      }
      this.#inProgress--;
    }
    const { message: response, origin } = resolution ?? { message: buildServFail(query), origin: "failure" };
    if (origin === "local") this.statistics.answeredLocally++;
    else if (origin === "upstream") this.statistics.forwarded++;
    else this.statistics.failures++;
    const limit = transport === "udp" ? udpLimit(query) : MAX_MESSAGE_LENGTH;
    return limitResponse(response, query, limit);
  }
}
