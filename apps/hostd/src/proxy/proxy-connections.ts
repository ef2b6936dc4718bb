/** The connections of guests that are read here, or joined to upstream ones. Loaded with the first of them. */
import type { DestinationConfig } from "@hostd/egress";
import type { Destination, HostPort } from "@hostd/httpproxy";
import { HttpProxy, TransparentProxy, type Trial, tryRequest, UpstreamConnector } from "@hostd/httpproxy";
import type { FlowStream } from "@hostd/streams";
import type { HostdConfig } from "../config/resolve.ts";
import type { Logger } from "../logging.ts";
import { originDialer } from "./dial-origin.ts";
import type { ProxyService } from "./proxy-service.ts";

export interface ProxyConnectionsOptions {
  readonly service: Pick<ProxyService, "router" | "health">;
  readonly config: HostdConfig;
  readonly destinations: DestinationConfig;
  /** The addresses of a name as the VM would find them. */
  readonly resolve: (name: string) => Promise<readonly string[]>;
  readonly logger: Logger;
}

/** How many connections there are. */
export interface ProxyCounts {
  /** Of clients whose requests are read, or of which it is not known yet what they speak. */
  readonly connections: number;
  readonly tunnels: number;
}

export class ProxyConnections {
  readonly #explicit: HttpProxy;
  readonly #transparent: TransparentProxy;

  constructor({ service, config, destinations, resolve, logger }: ProxyConnectionsOptions) {
    const { router, health } = service;
    const connector = new UpstreamConnector({
      dialOrigin: originDialer({ destinations, resolve }),
      resolve,
      health,
      logger,
    });
    const { via, other } = config.proxy;
    this.#explicit = new HttpProxy({ router, connector, ...(via === undefined ? {} : { via }) });
    this.#transparent = new TransparentProxy({
      other,
      router,
      connector,
      serveHttp: (stream, original) => this.#explicit.serveTransparently(stream, original),
      logger,
    });
  }

  counts(): ProxyCounts {
    const { connections, tunnels } = this.#explicit.counts();
    const { sniffed, tunnels: others } = this.#transparent.counts();
    return { connections: connections + sniffed, tunnels: tunnels + others };
  }

  /** Serves a client that knows of the proxy. */
  serve(stream: FlowStream): void {
    this.#explicit.serve(stream);
  }

  /** Serves a client that believes to be connected to an origin. */
  serveTransparently(stream: FlowStream, original: HostPort): void {
    this.#transparent.handle(stream, original);
  }

  /** Has a request made, as a guest would make it. */
  async try(destination: Destination): Promise<Trial> {
    return await tryRequest(this.#explicit, destination);
  }

  /** Breaks all connections off, and takes no more. */
  close(): void {
    this.#explicit.close();
    this.#transparent.close();
  }
}
