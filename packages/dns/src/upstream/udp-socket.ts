import { randomInt } from "node:crypto";
import { createSocket, type Socket } from "node:dgram";
import type { LookupOneOptions } from "node:dns";
import type { AddressInfo } from "node:net";
import { HEADER_LENGTH, ID_COUNT, isAnswerTo, messageId, type Query, setMessageId } from "../message.ts";
import type { ServerAddress } from "../server-address.ts";
import { Bag, type BagItem } from "./bag.ts";
import type { Exchange, ExchangeHandler } from "./exchange.ts";
import { isSameNameCase, randomizeNameCase, restoreNameCase } from "./name-case.ts";

/** How many queries a socket is used for. */
export const QUERIES_PER_SOCKET = 256;

/**
 * After how many datagrams that answer nothing a socket is used for no more queries: whoever sends them knows its port
 * (RFC 5452, section 9.3). Late and doubled answers count too, which costs no more than another socket.
 */
export const STRAYS_PER_SOCKET = 16;

/**
 * A socket that is connected to a server, from a port that the kernel chose at random, and the queries that wait for
 * an answer on it. It is retired after {@link QUERIES_PER_SOCKET} queries, or when its owner says so, and closes when
 * it is retired and nothing is outstanding.
 */
export class UdpSocket {
  readonly #socket: Socket;
  /** Where answers come from; null when the socket could not be connected. */
  readonly #peer: AddressInfo | null;
  readonly #outstanding = new Bag<UdpExchange>();
  #queries = 0;
  #strays = 0;
  #retired = false;
  #closed = false;

  readonly #randomizeCase: boolean;

  /** @param randomizeCase - whether the names of queries have random case, see {@link randomizeNameCase}. */
  constructor(server: ServerAddress, randomizeCase = false) {
    this.#randomizeCase = randomizeCase;
    const type = server.family === 4 ? "udp4" : "udp6";
    this.#socket = createSocket({ type, lookup: literalLookup });
    let bound = true;
    // Told later, as the socket may fail before the query that it was made for is known.
    const failed = (error: Error) => process.nextTick(() => this.#fail(error));
    this.#socket.on("error", (error) => {
      bound = false;
      failed(error);
    });
    this.#socket.on("message", (message, from) => this.#receive(message, from));
    this.#socket.bind({ port: 0, exclusive: true });
    // A socket that is not bound would wait for that forever, and could not even be closed.
    if (bound) {
      // Only a connected socket is told that the port is closed (ICMP port unreachable).
      this.#socket.connect(server.port, server.address, (error?: Error) => {
        if (error !== undefined) failed(error);
      });
    }
    this.#peer = peerOf(this.#socket);
  }

  /** Whether the socket is used for no more queries. */
  get retired(): boolean {
    return this.#retired;
  }

  /** Sends a query under an id that no other has that is outstanding here. Must not be called once retired. */
  ask(query: Query, handler: ExchangeHandler): Exchange {
    let id: number;
    do id = randomInt(ID_COUNT);
    while (this.#find(id) !== undefined);
    // A copy in memory that Node pools: `slice` of a Buffer would share that of the query.
    const message = Buffer.from(query.message);
    setMessageId(message, id);
    if (this.#randomizeCase) randomizeNameCase(message, query.question);
    const exchange = new UdpExchange(this, id, query, message, handler);
    this.#outstanding.add(exchange);
    if (++this.#queries === QUERIES_PER_SOCKET) this.retire();
    this.send(exchange);
    return exchange;
  }

  /** Sends the query of an exchange, unless that has ended. */
  send(exchange: UdpExchange): void {
    if (this.#peer === null || !this.#outstanding.has(exchange)) return;
    this.#socket.send(exchange.message, (error) => {
      if (error !== null) this.#sendFailed(exchange, error);
    });
  }

  /** Stops waiting for an answer. Idempotent. */
  abandon(exchange: UdpExchange): void {
    this.#outstanding.remove(exchange);
    this.#closeIfDone();
  }

  /** Takes no more queries. Those that are outstanding go on. Idempotent. */
  retire(): void {
    this.#retired = true;
    this.#closeIfDone();
  }

  #find(id: number): UdpExchange | undefined {
    for (const exchange of this.#outstanding.items) {
      if (exchange.id === id) return exchange;
    }
    return undefined;
  }

  #closeIfDone(): void {
    if (!this.#retired || this.#outstanding.size > 0 || this.#closed) return;
    this.#closed = true;
    this.#socket.close();
  }

  #receive(message: Buffer, from: AddressInfo): void {
    if (this.#closed) return;
    const exchange = message.length < HEADER_LENGTH ? undefined : this.#find(messageId(message));
    if (exchange === undefined || !this.#isPeer(from) || !this.#isAnswerTo(message, exchange)) {
      if (++this.#strays === STRAYS_PER_SOCKET) this.retire();
      return;
    }
    this.abandon(exchange);
    const { query } = exchange;
    setMessageId(message, messageId(query.message));
    if (this.#randomizeCase) restoreNameCase(message, query);
    exchange.handler.answered(message);
  }

  #isAnswerTo(message: Buffer, { query, id, message: sent }: UdpExchange): boolean {
    if (!isAnswerTo(message, query, id)) return false;
    return !this.#randomizeCase || isSameNameCase(message, sent, query.question);
  }

  /** The kernel filters by the sender once the socket is connected, but not what came while it was only bound. */
  #isPeer(from: AddressInfo): boolean {
    return from.port === this.#peer?.port && from.address === this.#peer.address;
  }

  /** An error of the socket is one of every query on it: the kernel does not say which of them met a closed port. */
  #fail(error: Error): void {
    this.#retired = true;
    for (const exchange of this.#outstanding.snapshot()) this.#failExchange(exchange, error);
    this.#closeIfDone();
  }

  /**
   * The kernel tells with the next datagram that an earlier one met a closed port. Every other error is of this
   * datagram alone, but may be that of a route that has changed since the socket was connected.
   */
  #sendFailed(exchange: UdpExchange, error: NodeJS.ErrnoException): void {
    if (error.code === "ECONNREFUSED") {
      this.#fail(error);
    } else {
      this.retire();
      this.#failExchange(exchange, error);
    }
  }

  #failExchange(exchange: UdpExchange, error: Error): void {
    if (!this.#outstanding.has(exchange)) return;
    this.abandon(exchange);
    exchange.handler.failed(error);
  }
}

/** A query that is outstanding on a {@link UdpSocket}. */
export class UdpExchange implements Exchange, BagItem {
  bagIndex = 0;
  readonly #socket: UdpSocket;
  readonly id: number;
  readonly query: Query;
  /** The query as it is sent. */
  readonly message: Buffer;
  readonly handler: ExchangeHandler;

  constructor(socket: UdpSocket, id: number, query: Query, message: Buffer, handler: ExchangeHandler) {
    this.#socket = socket;
    this.id = id;
    this.query = query;
    this.message = message;
    this.handler = handler;
  }

  resend(): void {
    this.#socket.send(this);
  }

  close(): void {
    this.#socket.abandon(this);
  }
}

/** Answers at once, so that a socket is bound and connected before the call returns; Node's own waits for a tick. */
function literalLookup(
  address: string,
  _options: LookupOneOptions,
  callback: (error: null, address: string, family: number) => void,
): void {
  callback(null, address, address.includes(":") ? 6 : 4);
}

function peerOf(socket: Socket): AddressInfo | null {
  try {
    return socket.remoteAddress();
  } catch {
    return null;
  }
}
