import { once } from "node:events";
import { type AddressInfo, createServer, isIPv6, type ListenOptions, type Server, type Socket } from "node:net";
import { listenOnPrivateSocket } from "@hostd/frontends";
import { resetSocket } from "@hostd/native";
import { isSocketPath, type ListenAddress, type SocketPath } from "./forward-rule.ts";
import { canonicalHost, isEveryHost } from "./host-address.ts";

/** Connections that the kernel holds until they are accepted; it has a limit of its own (net.core.somaxconn). */
const BACKLOG = 4096;
/** The idle time after which the host's kernel starts to ask whether the client is still there, in milliseconds. */
const KEEP_ALIVE_DELAY = 60_000;
/** Ports below this are for privileged programs. */
const FIRST_UNPRIVILEGED_PORT = 1024;

export interface StreamListenerHandlers {
  /** A client has connected; nothing was read from its socket, which is paused. */
  accepted(socket: Socket): void;
  /** A client could not be accepted, such as for want of descriptors. */
  failed(error: NodeJS.ErrnoException): void;
}

export interface StreamListenerOptions {
  /** The descriptor of a socket that listens there already; it is closed with the listener. */
  readonly descriptor?: number | undefined;
  /** For tests; that of the process unless given. */
  readonly platform?: NodeJS.Platform;
  /** For tests; has the server listen on a TCP port. */
  readonly bind?: (server: Server, options: ListenOptions) => void;
}

/** A TCP port or Unix socket of the host on which clients are accepted. */
export class StreamListener {
  /** Where it listens, with the port that the system chose. */
  readonly listening: ListenAddress | SocketPath;
  readonly #server: Server;

  private constructor(listening: ListenAddress | SocketPath, server: Server) {
    this.listening = listening;
    this.#server = server;
  }

  /**
   * Listens.
   *
   * @throws {NodeJS.ErrnoException} the system's error.
   * @throws {SocketPathError} when the path of a Unix socket cannot be used.
   */
  static async open(
    listen: ListenAddress | SocketPath,
    handlers: StreamListenerHandlers,
    {
      descriptor,
      platform = process.platform,
      bind = (server, options) => server.listen(options),
    }: StreamListenerOptions = {},
  ): Promise<StreamListener> {
    const open = async (
      start: (server: Server) => Promise<unknown>,
      accepts: (socket: Socket) => boolean = () => true,
    ) => {
      const server = createServer({
        // Nothing may be read before the socket has its `onread`.
        pauseOnConnect: true,
        allowHalfOpen: true,
        noDelay: true,
        keepAlive: true,
        keepAliveInitialDelay: KEEP_ALIVE_DELAY,
      });
      server.on("connection", (socket: Socket) => {
        if (accepts(socket)) handlers.accepted(socket);
        else resetSocket(socket);
      });
      await start(server);
      server.on("error", (error) => handlers.failed(error));
      return server;
    };
    if (descriptor !== undefined) {
      const passed = async (server: Server) => {
        server.listen({ fd: descriptor }, BACKLOG);
        await once(server, "listening");
      };
      return new StreamListener(listen, await open(passed));
    }
    if (isSocketPath(listen)) {
      const { path } = listen;
      return new StreamListener(listen, await open((server) => listenOnPrivateSocket(server, path, BACKLOG)));
    }
    const { host, port } = listen;
    const bindTo = (address: string) => async (server: Server) => {
      bind(server, {
        // Without a host Node takes `::` for both families, or 0.0.0.0 where there is no IPv6.
        ...(address === "" ? {} : { host: address }),
        port,
        backlog: BACKLOG,
        exclusive: true,
        // Each family is listened on by itself, so that `::` beside `0.0.0.0` is no conflict.
        ipv6Only: address !== "",
      });
      await once(server, "listening");
    };
    let server: Server;
    try {
      server = await open(bindTo(host));
    } catch (error) {
      if (platform !== "darwin" || !isForPrivileged(error as NodeJS.ErrnoException, listen)) throw error;
      // macOS lets anybody listen on a low port, but only on all addresses: what comes to others is reset.
      const wanted = canonicalHost(host);
      const isForHost = ({ localAddress = "" }: Socket) => canonicalHost(localAddress) === wanted;
      server = await open(bindTo(isIPv6(host) ? "::" : "0.0.0.0"), isForHost);
    }
    return new StreamListener({ host, port: (server.address() as AddressInfo).port }, server);
  }

  /** Stops listening; clients that were accepted stay. */
  close(): Promise<void> {
    return new Promise((resolve) => {
      // The callback waits for the clients too.
      this.#server.close();
      setImmediate(resolve);
    });
  }
}

function isForPrivileged({ code }: NodeJS.ErrnoException, { host, port }: ListenAddress): boolean {
  return code === "EACCES" && port < FIRST_UNPRIVILEGED_PORT && !isEveryHost(canonicalHost(host));
}
