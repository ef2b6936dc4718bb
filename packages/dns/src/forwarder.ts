/** Asking the servers of the host. */
import { Bag, type BagItem } from "./bag.ts";
import type { Transport } from "./context.ts";
import type { Exchange, ExchangeHandler } from "./exchange.ts";
import type { DnsLogger } from "./logger.ts";
import { messageRcode, type Query, Rcode } from "./message.ts";
import { formatServerAddress } from "./server-address.ts";
import type { ServerSet, ServerSource } from "./server-source.ts";
import { Upstreams } from "./upstreams.ts";

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

/**
 * How often it is looked whether a query has waited for long enough, in milliseconds, which is how much later a wait may
 * end. It spares each query two timers of its own.
 */
const TICK = 20;

/** Forwards queries as they came. */
export class Forwarder {
  readonly #options: ForwarderOptions;
  readonly #upstreams = new Upstreams();
  readonly #pending = new Bag<Forwarding>();
  #tickTimer: NodeJS.Timeout | undefined;
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
    const { source, logger } = this.#options;
    const set = source.current();
    if (set.servers.length === 0) {
      if (!this.#warnedOfNoServer) logger?.warn({}, "there is no name server to ask: names outside the zones fail");
      this.#warnedOfNoServer = true;
      return Promise.resolve(null);
    }
    this.#warnedOfNoServer = false;
    return new Promise((resolve) => {
      const forwarding: Forwarding = new Forwarding(query, transport, set, this.#upstreams, this.#options, (answer) => {
        this.#pending.remove(forwarding);
        resolve(answer);
      });
      this.#pending.add(forwarding);
      this.#tickTimer ??= setTimeout(() => this.#tick(), TICK);
      forwarding.start();
    });
  }

  /** Gives up every query, and each one that comes later. */
  close(): void {
    this.#closed = true;
    clearTimeout(this.#tickTimer);
    for (const forwarding of this.#pending.snapshot()) forwarding.finish();
    this.#upstreams.retireSockets();
  }

  #tick(): void {
    const now = performance.now();
    for (const forwarding of this.#pending.snapshot()) forwarding.tick(now);
    this.#tickTimer = this.#pending.size === 0 ? undefined : setTimeout(() => this.#tick(), TICK);
  }
}

/**
 * One query on its way. A server that was slow goes on being listened to while the next is asked: the first useful
 * answer counts, whoever gives it.
 */
class Forwarding implements BagItem {
  bagIndex = 0;
  readonly #query: Query;
  readonly #transport: Transport;
  readonly #set: ServerSet;
  readonly #upstreams: Upstreams;
  readonly #options: ForwarderOptions;
  readonly #done: (answer: Uint8Array | null) => void;
  /** The servers that were asked and have not answered or failed, by their index. */
  readonly #exchanges: (Exchange | null)[] = [];
  /** How many those are. */
  #asked = 0;
  /** The next step: each server once in order, then those that said nothing once more. */
  #step = 0;
  #nextStep = Number.POSITIVE_INFINITY;
  #deadline = Number.POSITIVE_INFINITY;
  /** The answer of a server that cannot help, for when no other can either. */
  #unhelpful: Uint8Array | null = null;
  #finished = false;

  constructor(
    query: Query,
    transport: Transport,
    set: ServerSet,
    upstreams: Upstreams,
    options: ForwarderOptions,
    done: (answer: Uint8Array | null) => void,
  ) {
    this.#query = query;
    this.#transport = transport;
    this.#set = set;
    this.#upstreams = upstreams;
    this.#options = options;
    this.#done = done;
  }

  start(): void {
    const now = performance.now();
    this.#deadline = now + (this.#options.totalTimeout ?? TOTAL_TIMEOUT);
    this.#advance(now);
  }

  /** Does what is due at `now`. */
  tick(now: number): void {
    if (now >= this.#deadline) this.finish();
    else if (now >= this.#nextStep) this.#advance(now);
  }

  /** Ends with `answer`, or with the best there is. Idempotent. */
  finish(answer: Uint8Array | null = this.#unhelpful): void {
    if (this.#finished) return;
    this.#finished = true;
    for (const exchange of this.#exchanges) exchange?.close();
    this.#done(answer);
  }

  /** A server has answered. */
  answered(index: number, message: Uint8Array): void {
    this.#exchanges[index] = null;
    this.#asked--;
    const rcode = messageRcode(message);
    // These say that this server cannot help, not that the name has no answer.
    if (rcode === Rcode.SERVFAIL || rcode === Rcode.REFUSED || rcode === Rcode.NOTIMP) {
      this.#unhelpful ??= message;
      this.#gaveUp(index);
    } else {
      this.finish(message);
    }
  }

  /** A server cannot be asked. */
  failed(index: number, error: Error): void {
    this.#exchanges[index] = null;
    this.#asked--;
    const fields = { server: formatServerAddress(this.#set.servers[index]), reason: error.message };
    this.#options.logger?.debug(fields, "a name server cannot be asked");
    this.#gaveUp(index);
  }

  #advance(now: number): void {
    const { servers, attempts } = this.#set;
    const steps = servers.length * (attempts ?? ATTEMPTS);
    while (this.#step < steps) {
      const step = this.#step++;
      if (step < servers.length) {
        this.#ask(step);
      } else {
        const exchange = this.#exchanges[step % servers.length];
        if (exchange === null) continue;
        exchange.resend();
      }
      this.#nextStep = now + this.#serverTimeout();
      return;
    }
    // Nothing is left to ask; a late answer still counts until the deadline.
    this.#nextStep = Number.POSITIVE_INFINITY;
    if (this.#asked === 0) this.finish();
  }

  #serverTimeout(): number {
    const { serverTimeout = SERVER_TIMEOUT } = this.#options;
    // A longer wait gains nothing, since a slow server is listened to until the end.
    return Math.min(this.#set.serverTimeout ?? serverTimeout, serverTimeout);
  }

  #ask(index: number): void {
    const server = this.#set.servers[index];
    this.#asked++;
    this.#exchanges[index] = this.#upstreams.ask(this.#transport, server, this.#query, new AskedServer(this, index));
  }

  /** Goes on at once when the server that was asked last will not answer, or when none is left. */
  #gaveUp(index: number): void {
    const last = (this.#step - 1) % this.#set.servers.length;
    if (index === last || this.#asked === 0) this.#advance(performance.now());
  }
}

/** Tells a {@link Forwarding} what one server said. */
class AskedServer implements ExchangeHandler {
  readonly #forwarding: Forwarding;
  readonly #index: number;

  constructor(forwarding: Forwarding, index: number) {
    this.#forwarding = forwarding;
    this.#index = index;
  }

  answered(message: Uint8Array): void {
    this.#forwarding.answered(this.#index, message);
  }

  failed(error: Error): void {
    this.#forwarding.failed(this.#index, error);
  }
}
