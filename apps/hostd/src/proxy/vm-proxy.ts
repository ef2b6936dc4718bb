import { classifyDestination, type DestinationConfig } from "@hostd/egress";
import { isLookedInto } from "@hostd/httpproxy";
import { formatIpv4, type TcpRequest } from "@hostd/stack";
import { FlowStream } from "@hostd/streams";
import type { HostdConfig } from "../config/resolve.ts";
import type { Logger } from "../logging.ts";
import type { ProxyConnections, ProxyCounts } from "./proxy-connections.ts";
import type { ProxyService } from "./proxy-service.ts";

export interface VmProxyOptions {
  readonly service: ProxyService;
  readonly config: HostdConfig;
  readonly destinations: DestinationConfig;
  /** The addresses of a name as the VM would find them. */
  readonly resolve: (name: string) => Promise<readonly string[]>;
  readonly logger: Logger;
}

/** The HTTP proxy of one VM. What serves its connections is loaded with the first of them, which waits for it. */
export class VmProxy {
  readonly #options: VmProxyOptions;
  #connections: ProxyConnections | null = null;
  #loading: Promise<ProxyConnections> | null = null;
  #isClosed = false;

  constructor(options: VmProxyOptions) {
    this.#options = options;
    const { service, config } = options;
    if (config.proxy.enabled || service.transparentPorts !== "none") service.look();
  }

  counts(): ProxyCounts {
    return this.#connections?.counts() ?? { connections: 0, tunnels: 0 };
  }

  /** Takes a connection of a client that knows of the proxy. */
  serve(request: TcpRequest): void {
    this.#take(request, (connections, stream) => connections.serve(stream));
  }

  /**
   * Takes a connection that a guest makes to an origin, if there is a proxy that it may have to go through. It is accepted
   * before the origin has answered then.
   *
   * @returns whether it did.
   */
  takeOver(request: TcpRequest): boolean {
    const { localAddress, localPort } = request;
    const { service, destinations, config } = this.#options;
    const { other } = config.proxy;
    const { router, transparentPorts: ports } = service;
    if (!isLookedInto(localPort, { ports, other, router })) return false;
    if (classifyDestination(localAddress, destinations).kind !== "outside") return false;
    const host = formatIpv4(localAddress);
    if (other === "direct" && service.isDirect(host, localPort)) return false;
    this.#take(request, (connections, stream) => connections.serveTransparently(stream, { host, port: localPort }));
    return true;
  }

  /** Breaks all connections off. */
  close(): void {
    this.#isClosed = true;
    this.#connections?.close();
  }

  #take(request: TcpRequest, serve: (connections: ProxyConnections, stream: FlowStream) => void): void {
    const accept = (connections: ProxyConnections) => {
      const stream = this.#isClosed ? null : FlowStream.accept(request);
      if (stream !== null) serve(connections, stream);
    };
    if (this.#connections !== null) {
      accept(this.#connections);
      return;
    }
    this.#loading ??= this.#load();
    this.#loading.then(accept, (error: unknown) => {
      this.#options.logger.error({ err: error }, "the HTTP proxy cannot be loaded");
      request.reject("refused");
    });
  }

  async #load(): Promise<ProxyConnections> {
    const { ProxyConnections } = await import("./proxy-connections.ts");
    this.#connections = new ProxyConnections(this.#options);
    return this.#connections;
  }
}
