import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import type { Duplex } from "node:stream";
import { cleanUp } from "./peer.ts";

/** The two ends of a TCP connection on loopback, which allow half-open ones; they go with the test. */
export async function socketPair(): Promise<[Socket, Socket]> {
  const server = createServer({ allowHalfOpen: true }).listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  const dialled = connect({ port, host: "127.0.0.1", allowHalfOpen: true });
  const [[accepted]] = (await Promise.all([once(server, "connection"), once(dialled, "connect")])) as [[Socket], []];
  server.close();
  for (const socket of [dialled, accepted]) {
    socket.on("error", () => {});
    cleanUp(() => socket.destroy());
  }
  return [dialled, accepted];
}

/** All that a stream brings. Unlike `toArray` it leaves the other direction as it is. */
export async function readToEnd(stream: Duplex): Promise<Buffer[]> {
  const parts: Buffer[] = [];
  stream.on("data", (part: Buffer) => parts.push(part));
  await once(stream, "end");
  return parts;
}
