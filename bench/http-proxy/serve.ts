/**
 * One of the servers that `bench/http-proxy.ts` measures, in a process of its own:
 *
 *   node serve.ts proxy PORT          the HTTP proxy, everything direct
 *   node serve.ts relay PORT TARGET   what a proxy cannot be cheaper than: joins each connection with one to TARGET
 *   node serve.ts origin PORT         answers GET /LENGTH with so many bytes, and holds connections
 *
 * It tells its parent when it listens, and answers each message with the memory that it has after a collection.
 */
import { connect, createServer, type Socket } from "node:net";
import { HttpProxy } from "../../packages/httpproxy/src/explicit/http-proxy.ts";
import { joinTunnel } from "../../packages/httpproxy/src/explicit/tunnel.ts";
import { DIRECT, type HostPort, type Router } from "../../packages/httpproxy/src/route.ts";
import { UpstreamConnector } from "../../packages/httpproxy/src/upstream/upstream-connector.ts";

const ADDRESS = "127.77.0.1";
const BLOCK = Buffer.alloc(256 * 1024, "x");

const [role, port, target] = process.argv.slice(2);

function dial({ host, port }: HostPort): Promise<Socket> {
  const { promise, resolve, reject } = Promise.withResolvers<Socket>();
  const socket = connect({ host, port, allowHalfOpen: true, noDelay: true });
  socket.once("error", reject);
  socket.once("connect", () => {
    socket.off("error", reject);
    resolve(socket);
  });
  return promise;
}

function makeProxy(): (client: Socket) => void {
  const decision = { routes: [DIRECT], reason: "the benchmark" };
  const router: Router = { decide: () => decision, isAlwaysDirect: true };
  const quiet = () => {};
  const logger = { trace: quiet, debug: quiet, info: quiet, warn: quiet, error: quiet };
  const proxy = new HttpProxy({ router, connector: new UpstreamConnector({ dialOrigin: dial, logger }) });
  return (client) => proxy.serve(client);
}

async function relay(client: Socket): Promise<void> {
  joinTunnel(client, await dial({ host: ADDRESS, port: Number(target) }));
}

function answer(client: Socket): void {
  let text = "";
  client.on("error", () => {});
  client.on("data", (bytes: Buffer) => {
    text += bytes.toString("latin1");
    const end = text.indexOf("\r\n\r\n");
    if (end < 0) return;
    const length = Number(/^GET \S*\/(\d+) /.exec(text)?.[1]);
    text = text.slice(end + 4);
    client.write(`HTTP/1.1 200 OK\r\nContent-Length: ${length}\r\n\r\n`);
    let left = length;
    const write = () => {
      while (left > 0) {
        const part = Math.min(left, BLOCK.length);
        left -= part;
        if (!client.write(BLOCK.subarray(0, part))) {
          client.once("drain", write);
          return;
        }
      }
    };
    write();
  });
}

const roles: Readonly<Record<string, () => (client: Socket) => unknown>> = {
  proxy: makeProxy,
  relay: () => relay,
  origin: () => answer,
};
const serve = roles[role]?.();
if (serve === undefined) throw new RangeError(`${role} is none of ${Object.keys(roles).join(", ")}`);
const server = createServer({ allowHalfOpen: true, noDelay: true }, serve);
server.listen({ host: ADDRESS, port: Number(port), backlog: 4096 }, () => process.send?.("listening"));
process.on("message", () => {
  for (let turn = 0; turn < 3; turn++) globalThis.gc?.();
  const { heapUsed, external } = process.memoryUsage();
  process.send?.({ heap: heapUsed + external });
});
process.on("disconnect", () => process.exit());
