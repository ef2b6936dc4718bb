import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import type { Duplex } from "node:stream";
import { FakeClock } from "../../../streams/src/testing/fake-clock.ts";
import { cleanUp, Peer, settle } from "../../../streams/src/testing/peer.ts";
import { HttpProxy } from "../explicit/http-proxy.ts";
import {
  type Decision,
  type Destination,
  DIRECT,
  formatHostPort,
  type ProxyServer,
  type Route,
  type Router,
} from "../route.ts";
import type { Connector, Upstream } from "../upstream/connector.ts";
import { UpstreamError } from "../upstream/upstream-error.ts";
import { type PlayedProxy, playProxy } from "./upstream-harness.ts";

export const PROXY: ProxyServer = { kind: "http", host: "proxy.test", port: 3128 };
export const THROUGH_PROXY: Route = { kind: "proxy", server: PROXY };

/** A router whose decisions a test makes. */
export class PlayedRouter implements Router {
  readonly isAlwaysDirect = false;
  routes: readonly Route[] = [DIRECT];
  /** What decisions wait for; they are made at once unless given. */
  wait: Promise<void> | null = null;
  readonly decided: Destination[] = [];

  decide(destination: Destination): Decision | Promise<Decision> {
    this.decided.push(destination);
    const decision = { routes: this.routes, reason: "a rule of the test" };
    return this.wait === null ? decision : this.wait.then(() => decision);
  }
}

/** What a connector was asked for. */
export interface Asked {
  readonly kind: "tunnel" | "request";
  readonly destination: Destination;
  readonly signal: AbortSignal;
}

/** A connector to servers that a test plays, by their names and those of proxies. */
export class PlayedConnector implements Connector {
  readonly servers = new Map<string, PlayedProxy>();
  readonly asked: Asked[] = [];
  readonly sockets: Socket[] = [];
  /** What connections wait for; they are made at once unless given. */
  wait: Promise<void> | null = null;
  /** What comes of the next ones in place of a connection. */
  failure: Error | null = null;

  async tunnel(destination: Destination, decision: Decision, signal: AbortSignal): Promise<Duplex> {
    this.asked.push({ kind: "tunnel", destination, signal });
    return await this.#dial(formatHostPort(destination), decision, signal);
  }

  async request(destination: Destination, decision: Decision, signal: AbortSignal): Promise<Upstream> {
    this.asked.push({ kind: "request", destination, signal });
    const [route] = decision.routes;
    const proxy = route.kind === "proxy" && route.server.kind === "http" ? route.server : null;
    return { stream: await this.#dial(formatHostPort(proxy ?? destination), decision, signal), proxy };
  }

  async #dial(name: string, { reason, routes: [route] }: Decision, signal: AbortSignal): Promise<Socket> {
    await this.wait;
    signal.throwIfAborted();
    if (this.failure !== null) throw this.failure;
    if (route.kind === "refuse") throw new UpstreamError(`${name} is refused by ${reason}`, 403, route);
    const server = this.servers.get(name);
    if (server === undefined) throw new UpstreamError(`${name} refused the connection`, 502, route);
    const socket = await dialTcp(server.port);
    this.sockets.push(socket);
    return socket;
  }
}

async function dialTcp(port: number): Promise<Socket> {
  const socket = connect({ host: "127.0.0.1", port, allowHalfOpen: true, noDelay: true });
  socket.on("error", () => {});
  cleanUp(() => socket.destroy());
  await once(socket, "connect");
  return socket;
}

/** A proxy with clients and origins that a test plays, all over TCP. */
export interface ExplicitHarness {
  readonly proxy: HttpProxy;
  readonly clock: FakeClock;
  readonly router: PlayedRouter;
  readonly connector: PlayedConnector;
  /** The origin `a.test`, at port 80. */
  readonly origin: PlayedProxy;
  /** A client's connection. */
  connect(): Promise<Peer>;
  /** The socket of a client's connection that nobody reads. */
  connectUnread(): Promise<Socket>;
  /** Another server, by its name and port. */
  serve(name: string, play?: (peer: Peer) => unknown): Promise<PlayedProxy>;
}

export interface HarnessOptions {
  readonly via?: string;
  /** In place of the played one. */
  readonly connector?: (clock: FakeClock) => Connector;
  /** How connections are served; by the explicit proxy unless given. */
  readonly serve?: (proxy: HttpProxy, client: Socket) => void;
}

export async function startExplicit(options: HarnessOptions = {}): Promise<ExplicitHarness> {
  const clock = new FakeClock();
  const router = new PlayedRouter();
  const connector = new PlayedConnector();
  const { via, serve: serveClient = (to, client) => to.serve(client) } = options;
  const proxy = new HttpProxy({
    router,
    connector: options.connector?.(clock) ?? connector,
    clock,
    ...(via !== undefined && { via }),
  });
  cleanUp(() => proxy.close());
  const server = createServer({ allowHalfOpen: true, noDelay: true }, (client) => serveClient(proxy, client));
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  cleanUp(() => server.close());
  const { port } = server.address() as AddressInfo;
  const serve = async (name: string, play?: (peer: Peer) => unknown) => {
    const played = await playProxy(play);
    connector.servers.set(name, played);
    return played;
  };
  const origin = await serve("a.test:80");
  const connectUnread = () => dialTcp(port);
  return {
    proxy,
    clock,
    router,
    connector,
    origin,
    connectUnread,
    serve,
    connect: async () => new Peer(await connectUnread()),
  };
}

/** A request of a client to the proxy, with fields that end in CR and LF each. */
export function request(method: string, url: string, fields = "", body = ""): string {
  return `${method} ${url} HTTP/1.1\r\nHost: ${new URL(url).host}\r\n${fields}\r\n${body}`;
}

/** The same as an origin gets it. */
export function forwarded(method: string, path: string, fields = "", body = ""): string {
  return `${method} ${path} HTTP/1.1\r\nHost: a.test\r\n${fields}\r\n${body}`;
}

/** A response with a length. */
export function response(body: string, fields = "", status = "200 OK"): string {
  return `HTTP/1.1 ${status}\r\n${fields}Content-Length: ${body.length}\r\n\r\n${body}`;
}

/** Waits until the proxy has nothing left. */
export async function isIdle(proxy: HttpProxy): Promise<void> {
  for (let turn = 0; turn < 1000; turn++) {
    const { connections, tunnels } = proxy.counts();
    if (connections === 0 && tunnels === 0) return;
    await settle(1);
  }
  throw new Error(`the proxy still has ${JSON.stringify(proxy.counts())}`);
}
