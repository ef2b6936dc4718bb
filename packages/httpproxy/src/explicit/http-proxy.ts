import type { Duplex } from "node:stream";
import { LinkedList } from "@hostd/stack";
import { type Clock, systemClock } from "@hostd/streams";
import type { HostPort, Router } from "../route.ts";
import type { Connector } from "../upstream/connector.ts";
import { ProxyConnection } from "./proxy-connection.ts";
import { type RequestReader, readExplicitRequest, transparentReader } from "./proxy-request.ts";
import { resetStream } from "./tunnel.ts";

/** How long a connection to a server is kept that no request goes out on, and how often that is looked at, in milliseconds. */
const IDLE_TIME = 60_000;
const SWEEP_TIME = 10_000;

export interface HttpProxyOptions {
  readonly router: Router;
  readonly connector: Connector;
  /** The name under which it writes itself into Via (RFC 9110, 7.6.3); nothing is written unless given. */
  readonly via?: string;
  /** For tests; the process's clock unless given. */
  readonly clock?: Clock;
}

/** What is going on at the moment. */
export interface HttpProxyCounts {
  readonly connections: number;
  readonly tunnels: number;
}

/** A forward proxy (RFC 9110, 3.7) for the connections that it is given. */
export class HttpProxy {
  readonly #options: HttpProxyOptions;
  readonly #clock: Clock;
  readonly #connections = new LinkedList<ProxyConnection>();
  readonly #tunnels = new LinkedList<Duplex>();
  #stopSweeping: (() => void) | null = null;
  #isClosed = false;

  constructor(options: HttpProxyOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
  }

  counts(): HttpProxyCounts {
    return { connections: this.#connections.size, tunnels: this.#tunnels.size };
  }

  /** Serves a client that knows of the proxy. */
  serve(client: Duplex): void {
    this.#serve(client, readExplicitRequest);
  }

  /** Serves a client that believes to be connected to an origin, in plain HTTP. */
  serveTransparently(client: Duplex, original: HostPort): void {
    this.#serve(client, transparentReader(original));
  }

  /** Breaks all connections off, and takes no more. */
  close(): void {
    this.#isClosed = true;
    for (const connection of [...this.#connections]) connection.destroy();
    for (const tunnel of [...this.#tunnels]) resetStream(tunnel);
    this.#stopSweeping?.();
    this.#stopSweeping = null;
  }

  #serve(client: Duplex, readRequest: RequestReader): void {
    if (this.#isClosed || client.destroyed) {
      client.on("error", () => {});
      resetStream(client);
      return;
    }
    const { router, connector, via = null } = this.#options;
    const connection = new ProxyConnection(client, {
      router,
      connector,
      readRequest,
      via,
      clock: this.#clock,
      closed: () => {
        place.leave();
        this.#ended();
      },
      tunnelled: (stream) => this.#addTunnel(stream),
    });
    const place = this.#connections.add(connection);
    this.#stopSweeping ??= this.#clock.every(SWEEP_TIME, () => this.#sweep());
  }

  /** In a method of its own, so that a tunnel does not keep what it was made by. */
  #addTunnel(stream: Duplex): void {
    const place = this.#tunnels.add(stream);
    stream.once("close", () => place.leave());
  }

  #ended(): void {
    if (this.#connections.size > 0) return;
    this.#stopSweeping?.();
    this.#stopSweeping = null;
  }

  #sweep(): void {
    const time = this.#clock.now() - IDLE_TIME;
    for (const connection of [...this.#connections]) connection.closeIdleUpstream(time);
  }
}
