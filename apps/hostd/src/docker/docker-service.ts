import { once } from "node:events";
import { connect } from "node:net";
import type { Duplex } from "node:stream";
import {
  type Answered,
  ContainerDirectory,
  CreatePolicy,
  DockerProxy,
  EngineClient,
  EngineWatch,
  type Interceptor,
  PortKeeper,
  PortReservations,
  parseApiPath,
  readApiCall,
} from "@hostd/docker";
import type { PortForwarder, SocketPath } from "@hostd/portfwd";
import { formatIpv4 } from "@hostd/stack";
import { type EngineAddress, formatEngine } from "../config/engine.ts";
import type { HostdConfig } from "../config/resolve.ts";
import type { DnsService } from "../dns/service.ts";
import type { ForwardBook } from "../forwards/forward-book.ts";
import type { Logger } from "../logging.ts";
import { noProxyList, PROXY_URL } from "../proxy/guest-environment.ts";
import type { ContainerNames } from "./container-names.ts";
import { ContainerZone } from "./container-zone.ts";
import { ForwardPublisher } from "./port-publisher.ts";
import { portRule } from "./port-rules.ts";

/** The longest body of a request that makes something, in bytes. */
const MAX_BODY = 8 * 1024 * 1024;

export interface DockerServiceOptions {
  readonly config: HostdConfig;
  /** Where the engine's API is served. */
  readonly path: string;
  readonly forwarder: PortForwarder;
  readonly forwards: ForwardBook;
  readonly dns: DnsService;
  /** Who is told whose containers there are. */
  readonly containers: ContainerNames;
  readonly logger: Logger;
}

/**
 * The engine in the VM for the Docker clients of this host: its API on a socket, its containers' ports, and their names.
 */
export class DockerService {
  readonly #parts: AsyncDisposableStack;

  private constructor(parts: AsyncDisposableStack) {
    this.#parts = parts;
  }

  /** @throws when the socket cannot be listened on. */
  static async open(options: DockerServiceOptions): Promise<DockerService> {
    const { config, path, forwarder, forwards, dns, containers, logger } = options;
    const { upstream, defaultAddress, reach, forbiddenMounts, hostGateway, injectProxyEnv, zone } = config.docker;
    const dial = () => dialEngine(upstream, forwarder);
    const client = new EngineClient({ dial });
    const publisher = new ForwardPublisher(forwards, () => defaultAddress, reach);
    const keeper = new PortKeeper({ client, publisher, logger, reach });
    const reservations = new PortReservations(keeper, logger);
    const policy = new CreatePolicy({
      forbiddenMounts,
      refusePort: portRule(config.docker, forwarder),
      ...(hostGateway ? { hostGateway: formatIpv4(config.host) } : {}),
      ...(injectProxyEnv && config.proxy.enabled
        ? { proxyEnvironment: { proxy: PROXY_URL, noProxy: noProxyList(config) } }
        : {}),
    });
    const engine = formatEngine(upstream);
    const intercept = interceptor(policy, reservations);
    const proxy = await DockerProxy.open({
      path,
      engine,
      dial,
      intercept,
      ...(forbiddenMounts.length > 0 ? { refuseHttp2: "docker.forbiddenMounts cannot be judged in HTTP/2" } : {}),
      logger,
    });
    const isFor = ({ link }: { readonly link: string }) => containers.areIn(link);
    const names = zone === undefined ? null : new ContainerZone({ name: zone, dns, isFor, logger });
    const directory: ContainerDirectory = new ContainerDirectory({
      client,
      logger,
      changed: () => names?.update(directory.names),
    });
    const vm = () => (isOfHost(upstream) ? undefined : forwarder.vmOf(upstream));
    containers.use({ address: engine, zone, directory, vm, ports: () => keeper.list() });
    const watch = new EngineWatch({ client, watchers: [keeper, directory], logger });
    watch.start();
    logger.info(`the Docker engine at ${engine} is served on unix://${path}`);
    const parts = new AsyncDisposableStack();
    // The last is closed first.
    parts.defer(() => client.close());
    parts.defer(() => keeper.close());
    parts.defer(() => directory.close());
    parts.defer(() => names?.close());
    parts.defer(() => containers.use(null));
    parts.defer(() => watch.close());
    parts.defer(() => proxy.close());
    return new DockerService(parts);
  }

  async close(): Promise<void> {
    await this.#parts.disposeAsync();
  }
}

/** What is done about the requests that say or change what is published. */
function interceptor(policy: CreatePolicy, reservations: PortReservations): Interceptor {
  return ({ method, target }) => {
    if (method !== "POST") return null;
    const path = parseApiPath(target);
    // Podman's own API says it in words of its own; its events tell of the ports.
    if (path === null || path.isLibpod) return null;
    const [collection, ...rest] = path.segments;
    const last = rest.at(-1);
    if (collection === "volumes" && rest.length === 1 && last === "create") {
      return { bodyLimit: MAX_BODY, decide: async (body) => policy.judgeVolume(body) };
    }
    if (collection === "services" && ((rest.length === 1 && last === "create") || last === "update")) {
      return { bodyLimit: MAX_BODY, decide: async (body) => policy.judgeService(body) };
    }
    const call = readApiCall(method, target);
    if (call?.kind === "create") {
      return { bodyLimit: MAX_BODY, decide: async (body) => policy.judgeContainer(body) };
    }
    if (call?.kind !== "start" && call?.kind !== "restart") return null;
    const { kind, container } = call;
    return {
      bodyLimit: 0,
      decide: async () => {
        const reservation = await reservations.before(container, kind);
        if (reservation.kind === "refused") {
          return { kind: "answer", status: reservation.status, message: reservation.message };
        }
        const answered: Answered = (head) => reservation.after(head === null ? null : head.status);
        return { kind: "pass", answered };
      },
    };
  };
}

async function dialEngine(engine: EngineAddress, forwarder: PortForwarder): Promise<Duplex> {
  if (!isOfHost(engine)) return await forwarder.connect(engine);
  const socket = connect({ path: engine.path, allowHalfOpen: true });
  await once(socket, "connect");
  return socket;
}

/** Whether it is a socket of this host, behind which the VM is not known. */
function isOfHost(engine: EngineAddress): engine is SocketPath {
  return "path" in engine && !("user" in engine);
}
