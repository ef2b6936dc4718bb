/**
 * A client of `bench/http-proxy.ts`, in a process of its own:
 *
 *   node client.ts get PORT ORIGIN LENGTH        a body of so many bytes, by a proxy on PORT, or by the origin itself
 *   node client.ts connect PORT ORIGIN LENGTH    the same through a tunnel
 *   node client.ts tunnels PORT ORIGIN COUNT     so many tunnels, which are held until its parent goes
 *   node client.ts flows PORT ORIGIN COUNT       so many connections
 *
 * It tells its parent the seconds that it took.
 */
import { once } from "node:events";
import { connect, type Socket } from "node:net";

const ADDRESS = "127.77.0.1";
/** Connections that are made at once. */
const AT_ONCE = 50;

const [role, port, origin, count] = process.argv.slice(2);

async function dial(): Promise<Socket> {
  const socket = connect({ host: ADDRESS, port: Number(port), noDelay: true });
  await once(socket, "connect");
  return socket;
}

/** Reads a head, and gives the number of bytes that are read behind it. */
async function readHead(socket: Socket): Promise<number> {
  for (let text = ""; ; ) {
    const [bytes]: Buffer[] = await once(socket, "data");
    text += bytes.toString("latin1");
    const end = text.indexOf("\r\n\r\n");
    if (end < 0) continue;
    if (!text.startsWith("HTTP/1.1 200 ")) throw new Error(text.slice(0, text.indexOf("\r\n")));
    return text.length - end - 4;
  }
}

async function openTunnel(): Promise<Socket> {
  const socket = await dial();
  socket.write(`CONNECT ${ADDRESS}:${origin} HTTP/1.1\r\nHost: ${ADDRESS}:${origin}\r\n\r\n`);
  await readHead(socket);
  return socket;
}

async function get(socket: Socket, target: string): Promise<void> {
  socket.write(`GET ${target} HTTP/1.1\r\nHost: ${ADDRESS}:${origin}\r\n\r\n`);
  let received = await readHead(socket);
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  socket.on("data", ({ length }: Buffer) => {
    received += length;
    if (received >= Number(count)) resolve();
  });
  socket.on("close", () => reject(new Error(`closed after ${received} bytes`)));
  if (received < Number(count)) await promise;
  socket.destroy();
}

async function openAll(open: () => Promise<Socket>): Promise<void> {
  for (let left = Number(count); left > 0; left -= AT_ONCE) {
    const sockets = await Promise.all(Array.from({ length: Math.min(left, AT_ONCE) }, open));
    for (const socket of sockets) socket.on("close", () => process.exit(1));
  }
}

const path = `/${count}`;
const startedAt = performance.now();
if (role === "get") await get(await dial(), port === origin ? path : `http://${ADDRESS}:${origin}${path}`);
else if (role === "connect") await get(await openTunnel(), path);
else if (role === "tunnels") await openAll(openTunnel);
else if (role === "flows") await openAll(dial);
else throw new RangeError(`unknown: ${role}`);
process.send?.({ seconds: (performance.now() - startedAt) / 1000 });
process.on("disconnect", () => process.exit());
if (role === "get" || role === "connect") process.disconnect?.();
