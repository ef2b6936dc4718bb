import { spawn } from "node:child_process";
import { createHash, type Hash, randomBytes } from "node:crypto";
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { createServer as createHttpServer, request as httpRequest, type IncomingMessage } from "node:http";
import { type AddressInfo, createServer, type Server, type Socket } from "node:net";
import type { Duplex } from "node:stream";
import { pipeline } from "node:stream/promises";
import { setTimeout } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import type { EmbeddedGuest } from "@hostd/guest";
import type { Lab } from "./lab.ts";

const BLOCK = randomBytes(1_000_000);

/** A TCP server on the host's loopback. */
export interface HostServer {
  readonly port: number;
  /** Every connection that was accepted, closed ones included. */
  readonly sockets: readonly Socket[];
}

/** Serves TCP on the host's loopback until the lab closes. */
export async function serveTcp(lab: Lab, serve: (socket: Socket) => void): Promise<HostServer> {
  return await listen(lab, createServer({ allowHalfOpen: true }, serve));
}

async function listen(lab: Lab, server: Server): Promise<HostServer> {
  const sockets: Socket[] = [];
  server.on("connection", (socket) => {
    sockets.push(socket);
    // Guests that vanish reset their connections.
    socket.on("error", () => {});
  });
  await new Promise<void>((resolve, reject) => server.once("error", reject).listen(0, "127.0.0.1", resolve));
  lab.defer(() => {
    server.close();
    for (const socket of sockets) socket.destroy();
  });
  return { port: (server.address() as AddressInfo).port, sockets };
}

/** Resolves once a connection is gone on the host's side. */
export async function closed(socket: Duplex): Promise<void> {
  if (!socket.closed) await new Promise<void>((resolve) => socket.once("close", () => resolve()));
}

/** A UDP socket on the host's loopback that sends everything back. */
export async function serveUdpEcho(lab: Lab): Promise<number> {
  const socket = createSocket("udp4");
  socket.on("message", (message, { port, address }) => socket.send(message, port, address));
  await new Promise<void>((resolve) => socket.bind(0, "127.0.0.1", resolve));
  lab.defer(() => socket.close());
  return socket.address().port;
}

/** The SHA-256 of the first `length` bytes that {@link serveFiles} serves. */
export function fileHash(length: number): string {
  const hash = createHash("sha256");
  for (const block of blocks(length)) hash.update(block);
  return hash.digest("hex");
}

function* blocks(length: number): Generator<Buffer> {
  for (let rest = length; rest > 0; rest -= BLOCK.length) yield BLOCK.subarray(0, Math.min(rest, BLOCK.length));
}

async function digest(stream: AsyncIterable<Buffer>, hash: Hash = createHash("sha256")): Promise<string> {
  for await (const chunk of stream) hash.update(chunk);
  return hash.digest("hex");
}

/** An HTTP server: `GET /<length>` downloads that many bytes, a `PUT` is answered with the SHA-256 of its body. */
export async function serveFiles(lab: Lab): Promise<HostServer> {
  const server = createHttpServer((request, response) => {
    if (request.method === "PUT") {
      void digest(request).then((hash) => response.end(hash));
    } else {
      // A guest that leaves early ends the pipeline; the socket's own error has been taken care of.
      pipeline(blocks(Number(request.url?.slice(1))), response).catch(() => {});
    }
  });
  return await listen(lab, server);
}

async function send(guest: EmbeddedGuest, address: string, port: number, path: string, body?: number) {
  const stream = await guest.connect(address, port);
  const request = httpRequest({
    method: body === undefined ? "GET" : "PUT",
    path,
    headers: { host: address, connection: "close" },
    createConnection: () => stream,
  });
  const response = new Promise<IncomingMessage>((resolve, reject) => {
    request.once("response", resolve);
    request.once("error", reject);
  });
  if (body === undefined) request.end();
  else await pipeline(blocks(body), request);
  return await response;
}

/** Downloads `length` bytes of {@link serveFiles} in a guest and gives their SHA-256. */
export async function download(guest: EmbeddedGuest, address: string, port: number, length: number): Promise<string> {
  return await digest(await send(guest, address, port, `/${length}`));
}

/** Uploads the same bytes and gives the SHA-256 that the server saw. */
export async function upload(guest: EmbeddedGuest, address: string, port: number, length: number): Promise<string> {
  const chunks = await (await send(guest, address, port, "/", length)).toArray();
  return Buffer.concat(chunks).toString();
}

/** Serves a download without an end. */
export async function serveEndless(lab: Lab): Promise<HostServer> {
  return await serveTcp(lab, (socket) => {
    const write = () => {
      while (!socket.destroyed && socket.write(BLOCK));
    };
    socket.on("drain", write);
    socket.resume();
    write();
  });
}

/**
 * Attaches a guest, in a process of its own, that downloads without an end, and stops the process when the link can
 * take no more of it.
 */
export async function attachStoppedGuest(lab: Lab): Promise<void> {
  const { port, sockets } = await serveEndless(lab);
  const program = fileURLToPath(new URL("./stopped-guest.ts", import.meta.url));
  const child = spawn(process.execPath, [program, lab.socket, String(port)], { stdio: ["ignore", "pipe", "inherit"] });
  lab.defer(() => child.kill("SIGKILL"));
  await once(child.stdout, "data");
  child.kill("SIGSTOP");
  const sent = () => sockets.reduce((sum, { bytesWritten }) => sum + bytesWritten, 0);
  for (let before = -1; before < sent(); ) {
    before = sent();
    await setTimeout(100);
  }
}
