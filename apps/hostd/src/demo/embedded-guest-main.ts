/** The embedded guest of the demonstration, a process of its own: arguments are the socket's path and the plan as JSON. */
import { createHash, randomBytes } from "node:crypto";
import { Agent, request } from "node:http";
import { dialPort, EmbeddedGuest } from "@hostd/guest";
import { formatIpv4 } from "@hostd/stack";
import { type Plan, REPORT_MARK, type StepId } from "./plan.ts";

const [path, planText] = process.argv.slice(2);
const plan = JSON.parse(planText) as Plan;

function report(id: StepId, text: string): void {
  process.stdout.write(`${REPORT_MARK} ${id} ${text}\n`);
}

const port = await dialPort({ transport: "unix", path, mode: "dial" });
const mac = Uint8Array.of(0x02, ...randomBytes(5));
const guest = new EmbeddedGuest({ port, mac, hostName: "hostd-demo" });

const lease = await guest.configure();
report("lease", `${formatIpv4(lease.address)}/${lease.prefixLength}`);

report("ping", `${(await guest.ping(plan.gateway)).toFixed(2)} ms`);

const [host] = await guest.resolve(plan.hostName);
report("host", host);

/** Makes one request to the host over the guest's own stack, and hands each chunk of the answer to `take`. */
async function http(method: string, url: string, take: (chunk: Buffer) => boolean, body?: () => Buffer | null) {
  const stream = await guest.connect(host, plan.httpPort);
  const agent = new Agent();
  agent.createConnection = () => stream;
  await new Promise<void>((resolve, reject) => {
    const outgoing = request({ agent, method, path: url, host: plan.hostName }, (response) => {
      response.on("data", (chunk: Buffer) => {
        if (!take(chunk)) stream.destroy();
      });
      response.on("close", resolve);
      response.on("error", () => resolve());
    });
    outgoing.on("error", reject);
    stream.on("error", () => resolve());
    const write = () => {
      for (;;) {
        const chunk = body?.() ?? null;
        if (chunk === null) {
          outgoing.end();
          return;
        }
        if (!outgoing.write(chunk)) break;
      }
    };
    outgoing.on("drain", write);
    write();
  });
}

const hash = createHash("sha256");
await http("GET", "/download", (chunk) => {
  hash.update(chunk);
  return true;
});
report("download", hash.digest("hex"));

report("lookup", (await guest.resolve(plan.outsideName)).join(" "));

const socket = guest.udp();
const datagram = randomBytes(plan.udpLength);
const sent = performance.now();
socket.send(host, plan.udpPort, datagram);
const echo = await socket.receive();
const same = datagram.equals(echo.data);
report(
  "udp",
  same ? `${echo.data.length} bytes in ${(performance.now() - sent).toFixed(2)} ms` : "other bytes came back",
);
socket.close();

const attempted = performance.now();
const outcome = await guest.connect(host, plan.closedPort).then(
  () => "accepted",
  (error: NodeJS.ErrnoException) => error.code ?? error.message,
);
report("refused", `${outcome} ${(performance.now() - attempted).toFixed(1)}`);

let received = 0;
const began = performance.now();
await http("GET", "/endless", (chunk) => {
  received += chunk.length;
  return performance.now() - began < plan.seconds * 1000;
});
report("down", String(Math.round(received / ((performance.now() - began) / 1000))));

let uploaded = 0;
const chunk = Buffer.alloc(256 * 1024);
const start = performance.now();
await http(
  "PUT",
  "/upload",
  () => true,
  () => {
    if (performance.now() - start > plan.seconds * 1000) return null;
    uploaded += chunk.length;
    return chunk;
  },
);
report("up", String(Math.round(uploaded / ((performance.now() - start) / 1000))));

await guest.close();
