import { createHash } from "node:crypto";
import { createSocket, type Socket as UdpSocket } from "node:dgram";
import { createServer as createHttpServer, type IncomingMessage, type ServerResponse } from "node:http";
import { type AddressInfo, createServer, type Server } from "node:net";

/** Bytes that look random and are the same in every run: SHA-256 of a counter, one after the other. */
export function patternBytes(length: number): Buffer {
  const bytes = Buffer.alloc(length);
  // A block of 1 MiB is enough variety; what is tested is order and place, and each block has its own start.
  const block = Buffer.alloc(1024 * 1024);
  for (let at = 0; at < block.length; at += 32) createHash("sha256").update(String(at)).digest().copy(block, at);
  for (let at = 0; at < length; at += block.length) {
    block.copy(bytes, at, 0, Math.min(block.length, length - at));
    if (at + 8 <= length) bytes.writeBigUInt64BE(BigInt(at), at);
  }
  return bytes;
}

export function sha256(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}

/** Servers on the host's loopback that the guest reaches through hostd. */
export class HostServers {
  /** What `GET /download` and the raw download send. */
  readonly content: Buffer;
  readonly contentHash: string;
  httpPort = 0;
  rawDownloadPort = 0;
  rawUploadPort = 0;
  /** Answers with the number of bytes received, after the client's end of stream. */
  countPort = 0;
  udpEchoPort = 0;
  /** Nothing listens here. */
  closedPort = 0;
  /** Hash of each body that came in by `PUT /upload` or raw upload, in the order of their ends. */
  readonly uploads: string[] = [];
  readonly #servers: Server[] = [];
  #udp: UdpSocket | null = null;

  constructor(contentLength: number) {
    this.content = patternBytes(contentLength);
    this.contentHash = sha256(this.content);
  }

  async start(): Promise<void> {
    this.httpPort = await this.#listen(createHttpServer((request, response) => this.#serveHttp(request, response)));
    this.rawDownloadPort = await this.#listen(createServer((socket) => void socket.end(this.content)));
    this.rawUploadPort = await this.#listen(
      createServer({ allowHalfOpen: true }, (socket) => {
        const hash = createHash("sha256");
        socket.on("data", (chunk) => hash.update(chunk));
        socket.on("end", () => {
          const digest = hash.digest("hex");
          this.uploads.push(digest);
          socket.end(`${digest}\n`);
        });
      }),
    );
    this.countPort = await this.#listen(
      createServer({ allowHalfOpen: true }, (socket) => {
        let count = 0;
        socket.on("data", (chunk) => {
          count += chunk.length;
        });
        socket.on("end", () => socket.end(`received ${count}\n`));
      }),
    );
    const closed = createServer();
    this.closedPort = await this.#listen(closed);
    await new Promise((resolve) => closed.close(resolve));
    const udp = createSocket("udp4");
    this.#udp = udp;
    udp.on("message", (message, { port, address }) => udp.send(message, port, address));
    await new Promise<void>((resolve) => udp.bind(0, "127.0.0.1", resolve));
    this.udpEchoPort = udp.address().port;
  }

  async close(): Promise<void> {
    this.#udp?.close();
    await Promise.all(this.#servers.map((server) => new Promise((resolve) => server.close(resolve))));
  }

  #serveHttp(request: IncomingMessage, response: ServerResponse): void {
    const { pathname } = new URL(request.url ?? "/", "http://host");
    if (pathname === "/download") {
      response.writeHead(200, { "content-length": this.content.length }).end(this.content);
    } else if (pathname === "/small") {
      response.writeHead(200, { "content-length": 100_000 }).end(this.content.subarray(0, 100_000));
    } else if (pathname === "/upload" && request.method === "PUT") {
      const hash = createHash("sha256");
      request.on("data", (chunk) => hash.update(chunk));
      request.on("end", () => {
        const digest = hash.digest("hex");
        this.uploads.push(digest);
        response.end(`${digest}\n`);
      });
    } else {
      response.writeHead(404).end("not here\n");
    }
  }

  async #listen(server: Server): Promise<number> {
    // A guest that is killed resets its connections; that is no failure of the test.
    server.on("connection", (socket) => socket.on("error", () => {}));
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    this.#servers.push(server);
    return (server.address() as AddressInfo).port;
  }
}
