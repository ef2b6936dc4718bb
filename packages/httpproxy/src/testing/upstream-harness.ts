import { once } from "node:events";
import { type AddressInfo, createServer as createTcpServer, type Socket } from "node:net";
import { createServer as createTlsServer, type TlsOptions } from "node:tls";
import { EventLog } from "../../../streams/src/testing/event-log.ts";
import { FakeClock } from "../../../streams/src/testing/fake-clock.ts";
import { cleanUp, Peer } from "../../../streams/src/testing/peer.ts";
import { RecordingLogger } from "../../../streams/src/testing/recording-logger.ts";
import type { Decision, Destination, ProxyServer, Route } from "../route.ts";
import { dialTcp } from "../upstream/dial-proxy.ts";
import { UpstreamConnector, type UpstreamConnectorOptions } from "../upstream/upstream-connector.ts";
import { UpstreamError } from "../upstream/upstream-error.ts";

export const ESTABLISHED = "HTTP/1.1 200 Connection established\r\n\r\n";

export const ORIGIN: Destination = { scheme: "https", host: "origin.test", port: 443 };

/** A proxy whose connections a test plays. */
export interface PlayedProxy {
  readonly port: number;
  /** All connections. */
  readonly peers: readonly Peer[];
  /** The next connection that nobody has taken. */
  next(): Promise<Peer>;
  close(): void;
}

/**
 * @param play - what it does with each connection.
 * @param tls - for one that is reached by TLS.
 */
export async function playProxy(play: (peer: Peer) => unknown = () => {}, tls?: TlsOptions): Promise<PlayedProxy> {
  const peers = new EventLog<Peer>();
  let taken = 0;
  const accept = (socket: Socket) => {
    const peer = new Peer(socket);
    peers.push(peer);
    play(peer);
  };
  const server =
    tls === undefined
      ? createTcpServer({ allowHalfOpen: true }, accept)
      : createTlsServer({ ...tls, allowHalfOpen: true }, accept);
  server.on("tlsClientError", () => {});
  server.on("connection", (socket: Socket) => {
    socket.on("error", () => {});
    cleanUp(() => socket.destroy());
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  cleanUp(() => server.close());
  return {
    port: (server.address() as AddressInfo).port,
    peers: peers.events,
    next: async () => {
      taken++;
      return (await peers.take(taken))[taken - 1];
    },
    close: () => server.close(),
  };
}

/** A connector to proxies on the loopback, by whatever name. */
export class UpstreamHarness {
  readonly clock = new FakeClock();
  readonly logger = new RecordingLogger();
  readonly connector: UpstreamConnector;
  /** The sockets to proxies. */
  readonly sockets: Socket[] = [];

  constructor(options: Partial<UpstreamConnectorOptions> = {}) {
    this.connector = new UpstreamConnector({
      dialOrigin: () => Promise.reject(new Error("no direct route was expected")),
      dialProxy: async ({ port }, signal) => {
        const socket = await dialTcp({ host: "127.0.0.1", port }, signal);
        this.sockets.push(socket);
        cleanUp(() => socket.destroy());
        return socket;
      },
      resolve: () => Promise.reject(new Error("no name was expected to be looked up")),
      logger: this.logger,
      clock: this.clock,
      ...options,
    });
  }

  /** A tunnel to {@link ORIGIN}. */
  async tunnel(routes: readonly Route[], signal = neverAborted(), destination = ORIGIN): Promise<Peer> {
    return new Peer(await this.connector.tunnel(destination, decision(routes), signal));
  }

  /** The error of a tunnel that there is not. */
  async failure(routes: readonly Route[], destination = ORIGIN): Promise<UpstreamError> {
    return await failureOf(this.tunnel(routes, neverAborted(), destination));
  }

  /** How many connections to proxies there are. */
  get open(): number {
    return this.sockets.filter((socket) => !socket.destroyed).length;
  }

  get log(): string[] {
    return this.logger.lines.map(({ level, fields, message }) => `${level} ${JSON.stringify(fields)} ${message}`);
  }
}

export function decision(routes: readonly Route[]): Decision {
  return { routes, reason: "a rule of the test" };
}

export function through(kind: ProxyServer["kind"], port: number, rest: Partial<ProxyServer> = {}): Route {
  return { kind: "proxy", server: { kind, host: "proxy.test", port, ...rest } };
}

export function neverAborted(): AbortSignal {
  return new AbortController().signal;
}

export async function failureOf(work: Promise<unknown>): Promise<UpstreamError> {
  const error = await work.then(
    () => null,
    (reason: unknown) => reason,
  );
  if (error instanceof UpstreamError) return error;
  throw new Error("it did not fail as expected", { cause: error });
}

/** Answers what an HTTP proxy is asked. */
export function answering(answer: string): (peer: Peer) => Promise<void> {
  return async (peer) => {
    await peer.until(() => peer.text.includes("\r\n\r\n") || peer.isClosed);
    peer.write(answer);
  };
}

/** An error as Node's sockets have it. */
export function withCode(code: string): NodeJS.ErrnoException {
  return Object.assign(new Error(`connect ${code} somewhere`), { code });
}
