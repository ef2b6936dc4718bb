import { once } from "node:events";
import { type AddressInfo, createServer, type Server, type Socket } from "node:net";
import { EventLog } from "./event-log.ts";

/** A TCP server on a loopback address whose connections the test plays. */
export class HostServer {
  readonly sockets = new EventLog<Socket>();
  readonly #server: Server;

  private constructor(server: Server, serve: (socket: Socket) => void) {
    this.#server = server;
    server.on("connection", (socket) => {
      // Tests that look for a reset listen themselves.
      socket.on("error", () => {});
      this.sockets.push(socket);
      serve(socket);
    });
  }

  /** @param serve what the server does with each connection; nothing is read unless it does. */
  static async listen(address = "127.0.0.1", serve: (socket: Socket) => void = () => {}): Promise<HostServer> {
    const server = createServer({ allowHalfOpen: true });
    const host = new HostServer(server, serve);
    server.listen(0, address);
    await once(server, "listening");
    return host;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  /** The first connection. */
  async socket(): Promise<Socket> {
    return (await this.sockets.take(1))[0];
  }

  async close(): Promise<void> {
    for (const socket of this.sockets.events) socket.destroy();
    if (!this.#server.listening) return;
    this.#server.close();
    await once(this.#server, "close");
  }
}

/** A port of 127.0.0.1 on which nothing listens: one that was just given and given back. */
export async function closedPort(): Promise<number> {
  const server = await HostServer.listen();
  const { port } = server;
  await server.close();
  return port;
}

/** Reads a socket to its end. */
export async function readAll(socket: Socket): Promise<Buffer> {
  const chunks: Buffer[] = [];
  socket.on("data", (chunk: Buffer) => chunks.push(chunk));
  await once(socket, "end");
  return Buffer.concat(chunks);
}
