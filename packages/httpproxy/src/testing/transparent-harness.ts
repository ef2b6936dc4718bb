import { once } from "node:events";
import { createServer } from "node:net";
import { join } from "node:path";
import type { Duplex } from "node:stream";
import { FakeClock } from "../../../streams/src/testing/fake-clock.ts";
import {
  cleanUp,
  dialPath,
  makeFolder,
  Peer,
  type PlayedServer,
  startServer,
} from "../../../streams/src/testing/peer.ts";
import { RecordingLogger } from "../../../streams/src/testing/recording-logger.ts";
import { type Decision, type Destination, DIRECT, type HostPort } from "../route.ts";
import { TransparentProxy, type TransparentProxyOptions } from "../transparent/transparent-proxy.ts";
import type { Connector } from "../upstream/connector.ts";

export const ORIGINAL: HostPort = { host: "192.0.2.7", port: 443 };

/** A connector and a router whose part a test plays. */
export class PlayedRoutes {
  /** What the next connection goes by, and what comes of it. */
  decision: Decision = { routes: [DIRECT], reason: "the test" };
  open: (signal: AbortSignal) => Promise<Duplex>;
  isAlwaysDirect = false;
  readonly decided: Destination[] = [];
  readonly tunnels: { readonly destination: Destination; readonly decision: Decision }[] = [];

  constructor(open: (signal: AbortSignal) => Promise<Duplex>) {
    this.open = open;
  }

  decide(destination: Destination): Decision {
    this.decided.push(destination);
    return this.decision;
  }

  readonly connector: Connector = {
    tunnel: (destination, decision, signal) => {
      this.tunnels.push({ destination, decision });
      return this.open(signal);
    },
    request: () => Promise.reject(new Error("a tunnel is asked for, and no request")),
  };
}

export interface TransparentHarness {
  readonly proxy: TransparentProxy;
  readonly routes: PlayedRoutes;
  /** Where tunnels lead, unless the test says otherwise. */
  readonly origin: PlayedServer;
  readonly logger: RecordingLogger;
  readonly clock: FakeClock;
  /** Connections of plain HTTP, which are not read yet. */
  readonly http: { readonly stream: Duplex; readonly original: HostPort }[];
  /** A guest's connection, with nothing sent. */
  readonly connect: () => Promise<Duplex>;
  /** The same, played. */
  readonly play: () => Promise<Peer>;
}

export async function startTransparent(
  options: Partial<TransparentProxyOptions> = {},
  original: HostPort = ORIGINAL,
): Promise<TransparentHarness> {
  const origin = await startServer();
  const routes = new PlayedRoutes(() => origin.dial());
  const logger = new RecordingLogger();
  const clock = new FakeClock();
  const http: { stream: Duplex; original: HostPort }[] = [];
  const proxy = new TransparentProxy({
    other: "direct",
    router: routes,
    connector: routes.connector,
    serveHttp: (stream, to) => {
      http.push({ stream, original: to });
      cleanUp(() => stream.destroy());
    },
    logger,
    clock,
    ...options,
  });
  cleanUp(() => proxy.close());
  const path = join(await makeFolder(), "guest.sock");
  const server = createServer({ allowHalfOpen: true }, (socket) => proxy.handle(socket, original));
  server.listen(path);
  await once(server, "listening");
  cleanUp(() => server.close());
  const connect = () => dialPath(path);
  return { proxy, routes, origin, logger, clock, http, connect, play: async () => new Peer(await connect()) };
}
