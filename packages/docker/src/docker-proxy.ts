import { createServer, type Server, type Socket } from "node:net";
import type { Duplex } from "node:stream";
import { listenOnPrivateSocket } from "@hostd/frontends";
import type { RequestHead } from "@hostd/http1";
import { type Clock, FailureLog, type Logger, systemClock } from "@hostd/streams";
import { mayHijack, parseApiPath } from "./api-path.ts";
import type { Interception, Interceptor } from "./http/intercept.ts";
import type { LocalAnswer } from "./http/local-answer.ts";
import { ProxiedConnection } from "./http/proxied-connection.ts";

const DEFAULT_MAX_CONNECTIONS = 1024;
/** Clients above the limit that are answered so at one time; more are closed without an answer. */
const MAX_REFUSED = 64;
/** Paths whose connections become BuildKit's, which has an API of its own. */
const BUILDKIT: ReadonlySet<string> = new Set(["session", "grpc"]);

export interface DockerProxyOptions {
  /** The Unix socket to listen on, which only this user may open. */
  readonly path: string;
  /** The engine as messages name it, such as `tcp://192.168.65.3:2375`. */
  readonly engine: string;
  /**
   * Opens a connection to the engine, and gives it connected. It has `allowHalfOpen`, ends each direction by itself, and is
   * closed by `destroy`.
   */
  readonly dial: () => Promise<Duplex>;
  /** Looks at requests; all pass untouched unless given. */
  readonly intercept?: Interceptor;
  /**
   * Why no request may come in HTTP/2, of which `intercept` knows nothing. HTTP/2 passes unless given, and what is no API of
   * containers passes in any case: BuildKit's `POST /session` and `POST /grpc`.
   */
  readonly refuseHttp2?: string;
  /** The most clients at one time; 1024 unless given. */
  readonly maxConnections?: number;
  readonly logger: Logger;
  readonly clock?: Clock;
}

/** A Unix socket of the host on which an engine's API is served as if the engine listened there. */
export class DockerProxy {
  readonly path: string;
  readonly #options: DockerProxyOptions;
  readonly #server: Server;
  readonly #failures: FailureLog;
  readonly #connections = new Set<ProxiedConnection>();

  private constructor(options: DockerProxyOptions, server: Server) {
    this.path = options.path;
    this.#options = options;
    this.#server = server;
    this.#failures = new FailureLog(options.logger, options.clock ?? systemClock);
    server.on("connection", (client: Socket) => this.#accept(client));
  }

  /**
   * Listens.
   *
   * @throws {SocketPathError} when the path cannot be used.
   * @throws {NodeJS.ErrnoException} the system's error.
   */
  static async open(options: DockerProxyOptions): Promise<DockerProxy> {
    const server = createServer({ allowHalfOpen: true });
    const proxy = new DockerProxy(options, server);
    await listenOnPrivateSocket(server, options.path);
    server.on("error", (error) => {
      proxy.#failures.warn("accept", { err: error, path: options.path }, "a Docker client could not be accepted");
    });
    return proxy;
  }

  /** Clients that are connected. */
  get connections(): number {
    return this.#connections.size;
  }

  /** Listens no longer, and ends what is open. Idempotent. */
  async close(): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    for (const connection of this.#connections) connection.destroy();
    await closed;
  }

  #accept(client: Socket): void {
    const {
      maxConnections = DEFAULT_MAX_CONNECTIONS,
      dial,
      intercept = () => null,
      clock = systemClock,
    } = this.#options;
    if (this.#connections.size >= maxConnections + MAX_REFUSED) {
      client.on("error", () => {});
      client.destroy();
      return;
    }
    const isRefused = this.#connections.size >= maxConnections;
    if (isRefused) {
      this.#failures.warn("limit", { path: this.path, maxConnections }, "too many Docker clients; one is refused");
    }
    const connection = new ProxiedConnection(client, {
      intercept: isRefused ? () => null : (head) => this.#refuseUpgrade(head) ?? intercept(head),
      refuseHttp2: () => this.#refuseHttp2(),
      mayHijack: ({ method, target }) => mayHijack(method, target),
      dial: isRefused ? () => Promise.reject(new TooManyConnections()) : dial,
      unreachable: (error) => this.#unreachable(error),
      clock,
      closed: () => this.#connections.delete(connection),
    });
    this.#connections.add(connection);
  }

  #refuseHttp2(): string | null {
    const { refuseHttp2: reason } = this.#options;
    if (reason === undefined) return null;
    this.#failures.warn("http2", { path: this.path, reason }, "a Docker client that speaks HTTP/2 is refused");
    return `hostd takes HTTP/1.1 only: ${reason}`;
  }

  /** The other way into HTTP/2 (RFC 7540, 3.2), which an engine may take for any request. */
  #refuseUpgrade({ target, fields }: RequestHead): Interception | null {
    if (!fields.lists("upgrade", "h2c")) return null;
    const segments = parseApiPath(target)?.segments ?? [];
    if (segments.length === 1 && BUILDKIT.has(segments[0])) return null;
    const message = this.#refuseHttp2();
    return message === null ? null : { bodyLimit: 0, decide: async () => ({ kind: "answer", status: 403, message }) };
  }

  #unreachable(error: unknown): LocalAnswer {
    const { engine, maxConnections = DEFAULT_MAX_CONNECTIONS } = this.#options;
    if (error instanceof TooManyConnections) {
      const message =
        `hostd serves ${maxConnections} connections of Docker clients on ${this.path} already; ` +
        "end some of them, such as `docker logs -f`, `docker attach` and `docker events`, and try again";
      return { status: 503, message };
    }
    this.#failures.warn("dial", { err: error, engine }, "the Docker engine cannot be reached");
    const reason = error instanceof Error ? error.message : String(error);
    const message =
      `hostd cannot reach the Docker engine at ${engine}: ${reason}. ` +
      "Check that the VM is running and that dockerd listens there; `hostd doctor` tells more";
    return { status: 502, message };
  }
}

class TooManyConnections extends Error {
  override readonly name = "TooManyConnections";
}
