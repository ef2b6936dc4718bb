/** Name servers on the loopback address for tests; each ends with the test that made it. */
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { createServer, type Socket } from "node:net";
import { onTestFinished } from "vitest";
import { frameMessage, MessageReader } from "../framing.ts";
import type { ServerAddress } from "../server-address.ts";

/** A server and the queries it received. */
export interface TestServer {
  readonly address: ServerAddress;
  readonly received: Uint8Array[];
}

/** Where a query came from, and a way to answer it. */
export interface Received {
  readonly message: Uint8Array;
  readonly port: number;
  reply(message: Uint8Array): void;
}

const LOOPBACK = "127.0.0.1";

/** A UDP server that hands each query to `handle`. */
export async function udpServer(handle: (received: Received) => void): Promise<TestServer> {
  const socket = createSocket("udp4");
  const received: Uint8Array[] = [];
  socket.on("message", (message, { address, port }) => {
    received.push(message);
    handle({ message, port, reply: (answer) => socket.send(answer, port, address) });
  });
  socket.bind(0, LOOPBACK);
  await once(socket, "listening");
  onTestFinished(() => {
    socket.close();
  });
  return { address: { address: LOOPBACK, family: 4, port: socket.address().port }, received };
}

/** A UDP server that hands over its queries one after the other. */
export async function heldServer(): Promise<TestServer & { next(): Promise<Received> }> {
  const waiting: ((received: Received) => void)[] = [];
  const arrived: Received[] = [];
  const server = await udpServer((received) => {
    const next = waiting.shift();
    if (next === undefined) arrived.push(received);
    else next(received);
  });
  const next = (): Promise<Received> => {
    const received = arrived.shift();
    return received === undefined ? new Promise((resolve) => waiting.push(resolve)) : Promise.resolve(received);
  };
  return { ...server, next };
}

/** Whether no UDP socket has this port. */
export async function isPortFree(port: number): Promise<boolean> {
  const socket = createSocket("udp4");
  socket.bind(port);
  try {
    await once(socket, "listening");
    return true;
  } catch {
    return false;
  } finally {
    socket.close();
  }
}

/** A TCP server that hands each query to `handle`. */
export async function tcpServer(handle: (received: Received, socket: Socket) => void): Promise<TestServer> {
  const received: Uint8Array[] = [];
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    const reader = new MessageReader();
    sockets.add(socket);
    socket.on("error", () => {});
    socket.on("data", (chunk) => {
      if (typeof chunk === "string") return;
      for (let offset = 0; offset < chunk.length; ) {
        offset = reader.read(chunk, offset);
        const message = reader.take();
        if (message === null) continue;
        received.push(message);
        const port = socket.remotePort ?? 0;
        handle({ message, port, reply: (answer) => socket.write(frameMessage(answer)) }, socket);
      }
    });
  });
  server.listen(0, LOOPBACK);
  await once(server, "listening");
  onTestFinished(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  const bound = server.address();
  if (bound === null || typeof bound === "string") throw new Error("the server has no port");
  return { address: { address: LOOPBACK, family: 4, port: bound.port }, received };
}

/** An address at which nothing listens. */
export async function closedPort(): Promise<ServerAddress> {
  const socket = createSocket("udp4");
  socket.bind(0, LOOPBACK);
  await once(socket, "listening");
  const { port } = socket.address();
  socket.close();
  await once(socket, "close");
  return { address: LOOPBACK, family: 4, port };
}
