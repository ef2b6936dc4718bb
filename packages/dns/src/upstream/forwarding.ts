import type { Transport } from "../context.ts";
import type { DnsLogger } from "../logger.ts";
import { Flag, messageFlags, messageRcode, type Query, Rcode } from "../message.ts";
import type { ServerSet } from "../policy/policy.ts";
import type { UpstreamAnswer } from "../resolver.ts";
import { formatServerAddress, type ServerAddress } from "../server-address.ts";
import type { BagItem } from "./bag.ts";
import type { Exchange, ExchangeHandler } from "./exchange.ts";
import type { ServerHealth } from "./server-health.ts";
import type { ServerSockets } from "./server-sockets.ts";

/** How often each server is asked where nothing else is said. */
const ATTEMPTS = 2;

const NO_SERVERS: ServerSet = { servers: [], serverTimeout: null, attempts: null };

export interface ForwardingOptions {
  readonly sockets: ServerSockets;
  readonly health: ServerHealth;
  readonly logger: DnsLogger | undefined;
  /** No server could be asked: whether there are others now, of which the query is then asked by a {@link Forwarding.restart}. */
  readonly policyChanged: () => boolean;
  /** Is given the answer, once. */
  readonly done: (answer: UpstreamAnswer | null) => void;
  /** Nothing is waited for any more. May be told more than once. */
  readonly ended: () => void;
}

/** One server that was asked. Times are in milliseconds. */
interface Asked extends ExchangeHandler {
  readonly server: ServerAddress;
  readonly since: number;
  /** When it will have failed if it has said nothing. */
  readonly lateAt: number;
  isLate: boolean;
  isResent: boolean;
  /** Null when it has answered or failed. */
  exchange: Exchange | null;
}

/**
 * One query on its way. A server that was slow goes on being listened to while the next is asked: the first useful
 * answer counts, whoever gives it. One that had to cut its answer off is asked again over TCP.
 */
export class Forwarding implements BagItem {
  bagIndex = 0;
  readonly query: Query;
  readonly #transport: Transport;
  readonly #options: ForwardingOptions;
  #set = NO_SERVERS;
  #order: readonly number[] = [];
  /** By the index of the server. */
  #asked: (Asked | undefined)[] = [];
  /** Servers that were asked and have not answered or failed. */
  #outstanding = 0;
  /** The one whose time passes before the next is asked. */
  #current: Asked | undefined;
  /** One that is tried beside the first. What becomes of that is waited for also when there is an answer. */
  #retried: Asked | undefined;
  /** The next step: each server once in order, then those that said nothing once more. */
  #step = 0;
  #nextStep = Number.POSITIVE_INFINITY;
  #deadline = Number.POSITIVE_INFINITY;
  #isHeld = false;
  /** The answer of a server that cannot help or that is cut off, for when there is no better one. */
  #second: UpstreamAnswer | null = null;
  #finished = false;

  constructor(query: Query, transport: Transport, options: ForwardingOptions) {
    this.query = query;
    this.#transport = transport;
    this.#options = options;
  }

  /**
   * @param set - null to wait for {@link restart}.
   * @param timeout - milliseconds after which the query is given up.
   */
  start(set: ServerSet | null, timeout: number): void {
    this.#deadline = performance.now() + timeout;
    if (set === null) this.hold();
    else this.restart(set);
  }

  /** Asks other servers, and forgets those that were asked and what they said. */
  restart(set: ServerSet): void {
    if (this.#finished) {
      // The server that was being retried is no longer of interest.
      this.close();
      return;
    }
    const now = performance.now();
    for (const asked of this.#asked) asked?.exchange?.close();
    this.#set = set;
    this.#asked = new Array(set.servers.length).fill(undefined);
    this.#outstanding = 0;
    this.#step = 0;
    this.#isHeld = false;
    this.#second = null;
    const { order, retried } = this.#options.health.order(set.servers, now);
    this.#order = order;
    this.#retried = retried === null ? undefined : this.#ask(retried, this.#transport, now);
    this.#advance(now);
  }

  /** Asks nobody until {@link restart}, as there is nobody to ask. Those that were asked may still answer. */
  hold(): void {
    if (this.#finished) {
      this.close();
      return;
    }
    this.#isHeld = true;
    this.#nextStep = Number.POSITIVE_INFINITY;
  }

  /** Whether a server is among those that are asked. */
  isFor(server: ServerAddress): boolean {
    const address = formatServerAddress(server);
    return this.#set.servers.some((one) => formatServerAddress(one) === address);
  }

  /** Does what is due at `now`. */
  tick(now: number): void {
    for (const asked of this.#asked) {
      if (asked === undefined || asked.exchange === null || asked.isLate || now < asked.lateAt) continue;
      asked.isLate = true;
      this.#options.health.failed(asked.server, now);
    }
    if (this.#finished) {
      if (this.#retried?.isLate !== false) this.close();
    } else if (now >= this.#deadline) {
      this.#finish();
    } else if (now >= this.#nextStep) {
      this.#advance(now);
    }
  }

  /** Ends with the best answer there is, if it has not ended. Idempotent. */
  close(): void {
    this.#retried?.exchange?.close();
    this.#retried = undefined;
    this.#finish();
    this.#options.ended();
  }

  #finish(answer: UpstreamAnswer | null = this.#second): void {
    if (this.#finished) return;
    this.#finished = true;
    for (const asked of this.#asked) if (asked !== this.#retried) asked?.exchange?.close();
    this.#options.done(answer);
    const isRetrying = this.#retried !== undefined && this.#retried.exchange !== null && !this.#retried.isLate;
    if (!isRetrying) this.close();
  }

  #advance(now: number): void {
    if (this.#isHeld) return;
    const { servers, serverTimeout, attempts } = this.#set;
    const count = this.#order.length;
    const steps = count * (attempts ?? ATTEMPTS);
    while (this.#step < steps) {
      const isFirstTime = this.#step < count;
      const index = this.#order[this.#step++ % count];
      let asked = this.#asked[index];
      if (asked === undefined) {
        asked = this.#ask(index, this.#transport, now);
      } else {
        if (asked.exchange === null || isFirstTime) continue;
        asked.isResent = true;
        asked.exchange.resend();
      }
      this.#current = asked;
      const wait = this.#options.health.wait(servers[index]);
      this.#nextStep = now + Math.min(serverTimeout ?? wait, wait);
      return;
    }
    // Nothing is left to ask; a late answer still counts until the deadline.
    this.#nextStep = Number.POSITIVE_INFINITY;
    if (this.#outstanding > 0) return;
    // Where the servers have just become others, this query waits for them.
    const nobodyAnswered = this.#second === null;
    if (!nobodyAnswered || !this.#options.policyChanged()) this.#finish();
  }

  #ask(index: number, transport: Transport, now: number): Asked {
    const server = this.#set.servers[index];
    const isSecondTransport = transport !== this.#transport;
    const asked: Asked = {
      server,
      since: now,
      // One that has answered over UDP is alive, whatever becomes of TCP.
      lateAt: isSecondTransport ? Number.POSITIVE_INFINITY : now + this.#options.health.wait(server),
      isLate: false,
      isResent: false,
      exchange: null,
      answered: (message) => this.#answered(asked, index, transport, message),
      failed: (error) => this.#failed(asked, !isSecondTransport, error),
    };
    this.#asked[index] = asked;
    this.#outstanding++;
    asked.exchange = this.#options.sockets.ask(transport, server, this.query, asked);
    return asked;
  }

  #answered(asked: Asked, index: number, transport: Transport, message: Uint8Array): void {
    const now = performance.now();
    asked.exchange = null;
    this.#outstanding--;
    // A connection takes more round trips than one, and of a query that was sent twice it is not known which was answered.
    const roundTrip = transport === "udp" && !asked.isResent ? now - asked.since : null;
    this.#options.health.answered(asked.server, now, roundTrip);
    if (this.#finished) {
      this.close();
      return;
    }
    const answer = { message, source: formatServerAddress(asked.server) };
    if (transport === "udp" && (messageFlags(message) & Flag.TC) !== 0) {
      this.#second = answer;
      const again = this.#ask(index, "tcp", now);
      if (this.#current === asked) this.#current = again;
      return;
    }
    const rcode = messageRcode(message);
    // These say that this server cannot help, not that the name has no answer.
    if (rcode === Rcode.SERVFAIL || rcode === Rcode.REFUSED || rcode === Rcode.NOTIMP) {
      this.#second ??= answer;
      this.#gaveUp(asked, now);
    } else {
      this.#finish(answer);
    }
  }

  #failed(asked: Asked, isFailure: boolean, error: Error): void {
    const now = performance.now();
    asked.exchange = null;
    this.#outstanding--;
    if (isFailure) this.#options.health.failed(asked.server, now);
    if (this.#finished) {
      this.close();
      return;
    }
    const fields = { server: formatServerAddress(asked.server), reason: error.message };
    this.#options.logger?.debug(fields, "a name server cannot be asked");
    this.#gaveUp(asked, now);
  }

  /** Goes on at once when the server whose time is passing will not answer, or when none is left. */
  #gaveUp(asked: Asked, now: number): void {
    if (asked === this.#current || this.#outstanding === 0) this.#advance(now);
  }
}
