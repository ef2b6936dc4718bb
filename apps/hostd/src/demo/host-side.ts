import { createHash, randomBytes } from "node:crypto";
import { createSocket, type Socket } from "node:dgram";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { DnsServer, Forwarder, fixedServers, Resolver, Zones } from "@hostd/dns";
import { formatIpv4, parseIpv4 } from "@hostd/stack";

const DOWNLOAD_BYTES = 20 * 1024 * 1024;
const CHUNK_BYTES = 256 * 1024;
const UDP_BYTES = 4000;
/** A domain reserved for tests (RFC 6761), so that it cannot be anybody's. */
const OUTSIDE_ZONE = "demo.test";

/** The servers that the guest of the demonstration uses, all on the host's loopback with ports of their own. */
export class HostSide {
  readonly outsideName = `printer.${OUTSIDE_ZONE}`;
  /** The answer to {@link outsideName}: of a documentation range (RFC 5737). */
  readonly outsideAddress = formatIpv4(parseIpv4("203.0.113.0") + 1 + (randomBytes(1)[0] % 250));
  readonly download = randomBytes(DOWNLOAD_BYTES);
  readonly downloadHash = createHash("sha256").update(this.download).digest("hex");
  readonly udpLength = UDP_BYTES;
  httpPort = 0;
  udpPort = 0;
  dnsPort = 0;
  closedPort = 0;
  readonly #http = createServer((request, response) => this.#serve(request, response));
  readonly #udp = createSocket("udp4");
  readonly #dns = createSocket("udp4");

  async start(): Promise<void> {
    this.httpPort = await listen(this.#http);
    this.#udp.on("message", (message, { address, port }) => this.#udp.send(message, port, address));
    this.udpPort = await bind(this.#udp);
    this.#serveNames();
    this.dnsPort = await bind(this.#dns);
    // A port that was free a moment ago is one where nobody listens.
    const closed = createServer();
    this.closedPort = await listen(closed);
    await new Promise((resolve) => closed.close(resolve));
  }

  close(): void {
    this.#http.closeAllConnections();
    this.#http.close();
    this.#udp.close();
    this.#dns.close();
  }

  #serve(request: IncomingMessage, response: ServerResponse): void {
    response.on("error", () => {});
    if (request.method === "PUT" || request.method === "POST") {
      request.resume();
      request.on("end", () => response.end("thanks\n"));
    } else if (request.url === "/download") {
      response.writeHead(200, { "content-length": DOWNLOAD_BYTES }).end(this.download);
    } else {
      endless(response);
    }
  }

  /** A name server that knows one zone, as a company's does: what the host can resolve, the guest can. */
  #serveNames(): void {
    const records = [{ name: "printer", type: "A", address: this.outsideAddress }] as const;
    const server = new DnsServer({
      resolver: new Resolver({
        zones: new Zones([{ name: OUTSIDE_ZONE, records }]),
        upstream: new Forwarder({ source: fixedServers([]) }),
      }),
    });
    this.#dns.on("message", (message, { address, port }) => {
      const context = { link: "", client: parseIpv4(address), vmAddress: null };
      server.handleDatagram(message, context, (answer) => this.#dns.send(answer, port, address));
    });
  }
}

/** Sends zeros until the client has enough. */
function endless(response: ServerResponse): void {
  const chunk = Buffer.alloc(CHUNK_BYTES);
  response.writeHead(200, { "content-type": "application/octet-stream" });
  const write = () => {
    while (!response.destroyed && response.write(chunk));
  };
  response.on("drain", write);
  write();
}

async function listen(server: Server): Promise<number> {
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return (server.address() as AddressInfo).port;
}

async function bind(socket: Socket): Promise<number> {
  await new Promise<void>((resolve) => socket.bind(0, "127.0.0.1", resolve));
  return socket.address().port;
}
