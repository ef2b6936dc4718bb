import { createServer, type Socket } from "node:net";
import { listenOnPrivateSocket, type TcpAddress, type UnixAddress } from "@hostd/frontends";

/** What serves the requests of a connection: a server of node:http. */
export interface ConnectionServer {
  emit(event: "connection", socket: Socket): unknown;
}

export interface ApiListenerOptions {
  /** Loads what serves the requests. Only when somebody asks: importing node:http brings all of fetch with it, 20 MB. */
  load(): Promise<ConnectionServer>;
  /**
   * Looks at a connection before that, as for requests that take it over.
   *
   * @param socket - paused and not read from.
   * @returns whether it keeps the connection; if not, everything it read has been put back.
   */
  intercept?(socket: Socket): Promise<boolean>;
}

/** A socket on which an API is served. */
export interface ApiListener {
  /** Where, with the port that the system chose. */
  readonly address: UnixAddress | TcpAddress;
  /** Stops listening and ends the connections, but for those that were taken over. */
  close(): Promise<void>;
}

/**
 * Serves an API over HTTP. A Unix socket may only be opened by this user.
 *
 * @throws when the address cannot be listened on.
 */
export async function listenForApi(
  address: UnixAddress | TcpAddress,
  { load, intercept }: ApiListenerOptions,
): Promise<ApiListener> {
  const sockets = new Set<Socket>();
  let loading: Promise<ConnectionServer> | null = null;
  const serve = async (socket: Socket) => {
    if (intercept !== undefined && (await intercept(socket))) {
      sockets.delete(socket);
      return;
    }
    loading ??= load();
    const server = await loading;
    if (socket.destroyed) return;
    server.emit("connection", socket);
    socket.resume();
  };
  const server = createServer({ allowHalfOpen: true, pauseOnConnect: true }, (socket) => {
    sockets.add(socket);
    socket.on("error", () => {});
    socket.once("close", () => sockets.delete(socket));
    serve(socket).catch(() => socket.destroy());
  });
  if (address.transport === "unix") await listenOnPrivateSocket(server, address.path);
  else {
    const { host, port } = address;
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject);
      server.listen({ host, port }, () => {
        server.removeListener("error", reject);
        resolve();
      });
    });
  }
  // Such as too many open files: whoever asks is not answered, and nothing else happens.
  server.on("error", () => {});
  const bound = server.address();
  return {
    address:
      address.transport === "tcp" && typeof bound === "object" && bound !== null
        ? { ...address, port: bound.port }
        : address,
    close: async () => {
      // Its callback would wait for those that were taken over too.
      server.close();
      for (const socket of sockets) socket.destroy();
      await new Promise<void>((resolve) => setImmediate(resolve));
    },
  };
}
