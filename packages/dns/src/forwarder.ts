/** Asking the servers of the host. */
import type { Transport } from "./context.ts";
import type { DnsLogger } from "./logger.ts";
import { messageRcode, type Query, Rcode } from "./message.ts";
import { formatServerAddress } from "./server-address.ts";
import type { ServerSet, ServerSource } from "./server-source.ts";
import { type Exchange, startExchange } from "./upstream.ts";

export interface ForwarderOptions {
  readonly source: ServerSource;
  /** Milliseconds to wait for one server before the next is asked too; 2000 when it is not given. */
  readonly serverTimeout?: number;
  /** Milliseconds after which a query is given up; 5000 when it is not given. */
  readonly totalTimeout?: number;
  readonly logger?: DnsLogger;
}

const SERVER_TIMEOUT = 2000;
const TOTAL_TIMEOUT = 5000;
const ATTEMPTS = 2;

/** Forwards queries as they came. */
export class Forwarder {
  readonly #options: ForwarderOptions;
  readonly #pending = new Set<Forwarding>();
  #warnedOfNoServer = false;
  #closed = false;

  constructor(options: ForwarderOptions) {
    this.#options = options;
  }

  /**
   * Asks the servers in turn, over the transport the client used.
   *
   * @returns the answer as it came with the client's id, or null when no server gave one in time.
   */
  forward(query: Query, transport: Transport): Promise<Uint8Array | null> {
    if (this.#closed) return Promise.resolve(null);
    const { source, serverTimeout = SERVER_TIMEOUT, totalTimeout = TOTAL_TIMEOUT, logger } = this.#options;
    const set = source.current();
    if (set.servers.length === 0) {
      if (!this.#warnedOfNoServer) logger?.warn({}, "there is no name server to ask: names outside the zones fail");
      this.#warnedOfNoServer = true;
      return Promise.resolve(null);
    }
    this.#warnedOfNoServer = false;
    return new Promise((resolve) => {
      const forwarding: Forwarding = new Forwarding(query, transport, set, {
        // A longer wait gains nothing, since a slow server is listened to until the end.
        serverTimeout: Math.min(set.serverTimeout ?? serverTimeout, serverTimeout),
        totalTimeout,
        logger,
        done: (answer) => {
          this.#pending.delete(forwarding);
          resolve(answer);
        },
      });
      this.#pending.add(forwarding);
      forwarding.start();
    });
  }

  /** Gives up every query, and each one that comes later. */
  close(): void {
    this.#closed = true;
    for (const forwarding of [...this.#pending]) forwarding.finish();
  }
}

interface ForwardingOptions {
  readonly serverTimeout: number;
  readonly totalTimeout: number;
  readonly logger: DnsLogger | undefined;
  readonly done: (answer: Uint8Array | null) => void;
}

/**
 * One query on its way. A server that was slow goes on being listened to while the next is asked: the first useful
 * answer counts, whoever gives it.
 */
class Forwarding {
  readonly #query: Query;
  readonly #transport: Transport;
  readonly #set: ServerSet;
  readonly #options: ForwardingOptions;
  /** The servers that were asked and have not answered or failed, by their index. */
  readonly #exchanges = new Map<number, Exchange>();
  /** The next step: each server once in order, then those that said nothing once more. */
  #step = 0;
  #stepTimer: NodeJS.Timeout | undefined;
  #deadline: NodeJS.Timeout | undefined;
  /** The answer of a server that cannot help, for when no other can either. */
  #unhelpful: Uint8Array | null = null;
  #finished = false;

  constructor(query: Query, transport: Transport, set: ServerSet, options: ForwardingOptions) {
    this.#query = query;
    this.#transport = transport;
    this.#set = set;
    this.#options = options;
  }

  start(): void {
    this.#deadline = setTimeout(() => this.finish(), this.#options.totalTimeout);
    this.#advance();
  }

  /** Ends with `answer`, or with the best there is. Idempotent. */
  finish(answer: Uint8Array | null = this.#unhelpful): void {
    if (this.#finished) return;
    this.#finished = true;
    clearTimeout(this.#stepTimer);
    clearTimeout(this.#deadline);
    for (const exchange of this.#exchanges.values()) exchange.close();
    this.#options.done(answer);
  }

  #advance(): void {
    clearTimeout(this.#stepTimer);
    const { servers, attempts } = this.#set;
    const steps = servers.length * (attempts ?? ATTEMPTS);
    while (this.#step < steps) {
      const step = this.#step++;
      if (step < servers.length) {
        this.#exchanges.set(step, this.#ask(step));
      } else {
        const exchange = this.#exchanges.get(step % servers.length);
        if (exchange === undefined) continue;
        exchange.resend();
      }
      this.#stepTimer = setTimeout(() => this.#advance(), this.#options.serverTimeout);
      return;
    }
    // Nothing is left to ask; a late answer still counts until the deadline.
    if (this.#exchanges.size === 0) this.finish();
  }

  #ask(index: number): Exchange {
    const server = this.#set.servers[index];
    return startExchange(this.#transport, server, this.#query, {
      answered: (message) => {
        this.#exchanges.delete(index);
        const rcode = messageRcode(message);
        // These say that this server cannot help, not that the name has no answer.
        if (rcode !== Rcode.SERVFAIL && rcode !== Rcode.REFUSED && rcode !== Rcode.NOTIMP) return this.finish(message);
        this.#unhelpful ??= message;
        this.#gaveUp(index);
      },
      failed: (error) => {
        this.#exchanges.delete(index);
        const fields = { server: formatServerAddress(server), reason: error.message };
        this.#options.logger?.debug(fields, "a name server cannot be asked");
        this.#gaveUp(index);
      },
    });
  }

  /** Goes on at once when the server that was asked last will not answer, or when none is left. */
  #gaveUp(index: number): void {
    const last = (this.#step - 1) % this.#set.servers.length;
    if (index === last || this.#exchanges.size === 0) this.#advance();
  }
}
