/** The servers of the host, as queries are sent to them. */
import { randomInt } from "node:crypto";
import type { Transport } from "../context.ts";
import type { Query } from "../message.ts";
import { formatServerAddress, type ServerAddress } from "../server-address.ts";
import type { Exchange, ExchangeHandler } from "./exchange.ts";
import { tcpExchange } from "./tcp-exchange.ts";
import { UdpSocket } from "./udp-socket.ts";

/** How many sockets to one server take queries at a time. */
export const SOCKETS_PER_SERVER = 16;

/** For how long a socket takes queries at most, in milliseconds. */
export const SOCKET_LIFETIME = 2000;

/** The sockets to one server that take queries, each in a place of its own, which is empty until it is used. */
type Places = (UdpSocket | undefined)[];

/**
 * Sends queries to servers. Over UDP they share sockets, see docs/decisions/dns-upstream-sockets.md; each over TCP has a
 * connection of its own.
 */
export class ServerSockets {
  readonly #randomizeCase: boolean;
  readonly #servers = new Map<string, Places>();
  #rotation: NodeJS.Timeout | undefined;

  /** @param randomizeCase - whether letters of the names change their case at random in queries over UDP. */
  constructor(randomizeCase = false) {
    this.#randomizeCase = randomizeCase;
  }

  /**
   * Sends a query to a server, every byte as it came but the id, which is random (RFC 5452, section 9.2). Never throws,
   * and calls the handler later than it returns.
   */
  ask(transport: Transport, server: ServerAddress, query: Query, handler: ExchangeHandler): Exchange {
    if (transport === "tcp") return tcpExchange(server, query, handler);
    return this.#socketTo(server).ask(query, handler);
  }

  /**
   * Uses no UDP socket for another query, and closes each when nothing is outstanding on it, which may be at once.
   * Queries that come later get new ones.
   */
  retire(): void {
    clearTimeout(this.#rotation);
    this.#rotation = undefined;
    for (const places of this.#servers.values()) {
      for (const socket of places) socket?.retire();
    }
    this.#servers.clear();
  }

  #socketTo(server: ServerAddress): UdpSocket {
    const places = this.#placesOf(server);
    const place = randomInt(SOCKETS_PER_SERVER);
    const used = places[place];
    if (used !== undefined && !used.retired) return used;
    const socket = new UdpSocket(server, this.#randomizeCase);
    places[place] = socket;
    return socket;
  }

  #placesOf(server: ServerAddress): Places {
    const key = formatServerAddress(server);
    const known = this.#servers.get(key);
    if (known !== undefined) return known;
    const places: Places = new Array(SOCKETS_PER_SERVER).fill(undefined);
    this.#servers.set(key, places);
    this.#rotation ??= setTimeout(() => this.retire(), SOCKET_LIFETIME);
    return places;
  }
}
