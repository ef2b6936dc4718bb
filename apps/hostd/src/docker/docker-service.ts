import { once } from "node:events";
import { connect } from "node:net";
import type { Duplex } from "node:stream";
import {
  type Answered,
  CreatePolicy,
  DockerProxy,
  EngineClient,
  type Interceptor,
  PortKeeper,
  type PortReport,
  PortReservations,
  parseApiPath,
  readApiCall,
} from "@hostd/docker";
import type { PortForwarder } from "@hostd/portfwd";
import { formatIpv4 } from "@hostd/stack";
import { type EngineAddress, formatEngine } from "../config/engine.ts";
import type { HostdConfig } from "../config/resolve.ts";
import type { ForwardBook } from "../forwards/forward-book.ts";
import type { Logger } from "../logging.ts";
import { ForwardPublisher } from "./port-publisher.ts";

/** The longest body of a request that makes something, in bytes. */
const MAX_BODY = 8 * 1024 * 1024;

export interface DockerServiceOptions {
  readonly config: HostdConfig;
  /** Where the engine's API is served. */
  readonly path: string;
  readonly forwarder: PortForwarder;
  readonly forwards: ForwardBook;
  readonly logger: Logger;
}

/** The engine in the VM for the Docker clients of this host: its API on a socket, and its containers' ports. */
export class DockerService {
  readonly #proxy: DockerProxy;
  readonly #keeper: PortKeeper;
  readonly #client: EngineClient;

  private constructor(proxy: DockerProxy, keeper: PortKeeper, client: EngineClient) {
    this.#proxy = proxy;
    this.#keeper = keeper;
    this.#client = client;
  }

  /** @throws when the socket cannot be listened on. */
  static async open({ config, path, forwarder, forwards, logger }: DockerServiceOptions): Promise<DockerService> {
    const { upstream, defaultAddress, forbiddenMounts, hostGateway } = config.docker;
    const dial = () => dialEngine(upstream, forwarder);
    const client = new EngineClient({ dial });
    const publisher = new ForwardPublisher(forwards, () => defaultAddress);
    const keeper = new PortKeeper({ client, publisher, logger });
    const reservations = new PortReservations(keeper, logger);
    const policy = new CreatePolicy({
      forbiddenMounts,
      ...(hostGateway ? { hostGateway: formatIpv4(config.host) } : {}),
    });
    const engine = formatEngine(upstream);
    const intercept = interceptor(policy, reservations);
    const proxy = await DockerProxy.open({ path, engine, dial, intercept, logger });
    keeper.start();
    logger.info(`the Docker engine at ${engine} is served on unix://${path}`);
    return new DockerService(proxy, keeper, client);
  }

  /** The ports of all containers, with those that could not be had. */
  ports(): readonly PortReport[] {
    return this.#keeper.list();
  }

  async close(): Promise<void> {
    await this.#proxy.close();
    await this.#keeper.close();
    this.#client.close();
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
  if ("user" in engine || !("path" in engine)) return await forwarder.connect(engine);
  const socket = connect({ path: engine.path, allowHalfOpen: true });
  await once(socket, "connect");
  return socket;
}
