/** A hostd whose HTTP proxy guests use, with what is at the ends. */
import { createServer, type Server } from "node:http";
import type { AddressInfo, Socket } from "node:net";
import type { EmbeddedGuest } from "@hostd/guest";
import { playProxy } from "../../../packages/httpproxy/src/testing/upstream-harness.ts";
import { Peer } from "../../../packages/streams/src/testing/peer.ts";
import { askDaemon } from "./control.ts";
import { GATEWAY, HOST, type Lab } from "./lab.ts";

/** A name that hostd alone knows, for the loopback of this host. It is none of hostd's own, so that proxies are for it. */
export const ORIGIN = "origin.lab.test";
export const ZONES = [{ name: "lab.test", records: [{ name: "origin", address: HOST }] }];

export interface Origin {
  readonly port: number;
  /** What was asked for, with the Host. */
  readonly asked: string[];
  readonly sockets: ReadonlySet<Socket>;
}

/** A server on the loopback of this host that says what it was asked for. */
export async function serveOrigin(lab: Lab, address = "127.0.0.1"): Promise<Origin> {
  const asked: string[] = [];
  const sockets = new Set<Socket>();
  const server: Server = createServer(({ method, url, headers }, response) => {
    asked.push(`${method} ${url} ${headers.host}`);
    response.end(`origin has ${url}`);
  });
  server.on("connection", (socket: Socket) => {
    sockets.add(socket);
    socket.on("close", () => sockets.delete(socket));
  });
  await new Promise<void>((resolve) => server.listen(0, address, resolve));
  lab.defer(() => {
    server.closeAllConnections();
    server.close();
  });
  return { port: (server.address() as AddressInfo).port, asked, sockets };
}

export interface Answer {
  readonly status: number;
  readonly head: string;
  readonly body: string;
}

/** A connection of a guest on which HTTP is spoken. */
export class GuestHttp extends Peer {
  static async open(guest: EmbeddedGuest, port = 3128, address = GATEWAY): Promise<GuestHttp> {
    return new GuestHttp(await guest.connect(address, port));
  }

  /** Sends a head and waits for an answer with a length. */
  async ask(head: string): Promise<Answer> {
    this.clear();
    this.write(`${head}\r\n\r\n`);
    return await this.answer();
  }

  async answer(): Promise<Answer> {
    const read = () => /^HTTP\/1\.1 (\d+).*?\r\n\r\n/s.exec(this.text);
    const length = (head: string) => Number(/^content-length: (\d+)/im.exec(head)?.[1] ?? 0);
    await this.until(() => {
      const [head] = read() ?? [];
      return (head !== undefined && this.text.length >= head.length + length(head)) || this.isClosed;
    });
    const [head = "", status] = read() ?? [];
    return { status: Number(status), head, body: this.text.slice(head.length) };
  }

  get(url: string): Promise<Answer> {
    return this.ask(`GET ${url} HTTP/1.1\r\nHost: ${new URL(url).host}`);
  }

  connect(authority: string): Promise<Answer> {
    return this.ask(`CONNECT ${authority} HTTP/1.1\r\nHost: ${authority}`);
  }
}

/** What a proxy that is played has been asked for. */
export async function askedOf(proxy: Awaited<ReturnType<typeof playProxy>>): Promise<{ peer: Peer; head: string }> {
  const peer = await proxy.next();
  await peer.until(() => peer.text.includes("\r\n\r\n"));
  return { peer, head: peer.text };
}

/** A proxy on this host whose connections a test plays. */
export async function playUpstream() {
  const proxy = await playProxy();
  return { proxy, url: `http://127.0.0.1:${proxy.port}`, asked: () => askedOf(proxy) };
}

/** Sets the proxies at run time. */
export async function setProxy(api: string, upstream: string, noProxy?: string): Promise<void> {
  const { status, body } = await askDaemon(api, "PUT", "/v1/proxy", { upstream, ...(noProxy && { noProxy }) });
  if (status !== 200) throw new Error(body);
}
