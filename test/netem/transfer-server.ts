import { once } from "node:events";
import { type AddressInfo, createServer, type Server, type Socket } from "node:net";

/** How long a connection may be silent before it counts as left behind, in milliseconds. */
const PATIENCE = 20_000;
const CHUNK = Buffer.alloc(65536);

/** The server of timed transfers on the host's loopback. `transfer.py` describes what it speaks. */
export class TransferServer {
  readonly port: number;
  readonly #server: Server;

  private constructor(server: Server) {
    this.#server = server;
    this.port = (server.address() as AddressInfo).port;
  }

  static async start(): Promise<TransferServer> {
    const server = createServer(serve);
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    return new TransferServer(server);
  }

  /** Takes no more connections. Those that there are end with their clients. */
  close(): void {
    this.#server.close();
  }
}

function serve(socket: Socket): void {
  // The client resets the connection when it has what it wants.
  socket.on("error", () => {});
  socket.setTimeout(PATIENCE, () => socket.destroy());
  let header = "";
  const readHeader = (chunk: Buffer) => {
    const end = chunk.indexOf("\n");
    header += chunk.toString("latin1", 0, end < 0 ? chunk.length : end);
    if (end < 0) return;
    socket.off("data", readHeader);
    const [kind, size, seconds] = header.split(" ");
    if (kind === "up") receive(socket, Number(size), Number(seconds), chunk.subarray(end + 1));
    else send(socket, Number(size));
  };
  socket.on("data", readHeader);
}

function send(socket: Socket, size: number): void {
  let left = size;
  const write = () => {
    while (left > 0) {
      const chunk = CHUNK.subarray(0, Math.min(left, CHUNK.length));
      left -= chunk.length;
      if (!socket.write(chunk)) return;
    }
  };
  socket.on("drain", write);
  socket.resume();
  write();
}

function receive(socket: Socket, size: number, seconds: number, beginning: Buffer): void {
  let received = 0;
  let first = 0;
  let timer: NodeJS.Timeout | undefined;
  const report = () => {
    clearTimeout(timer);
    socket.off("data", take);
    socket.resume();
    socket.write(`${received} ${Math.round((performance.now() - first) * 1e6)}\n`);
  };
  const take = (chunk: Buffer) => {
    if (received === 0) {
      first = performance.now();
      timer = setTimeout(report, seconds * 1000);
    }
    received += chunk.length;
    if (received >= size) report();
  };
  socket.on("data", take);
  socket.once("close", () => clearTimeout(timer));
  if (beginning.length > 0) take(beginning);
}
