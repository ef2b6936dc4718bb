/** A whole life of hostd in a process of its own, which has to end by itself when everything is closed. */
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { type AddressInfo, connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { dialPort, EmbeddedGuest } from "@hostd/guest";
import { createLogger, parseConfig, startDaemon } from "hostd";

const folder = await mkdtemp(join(tmpdir(), "hostd-life-"));
const socket = join(folder, "vm.sock");
// A name server that never answers.
const silent = createSocket("udp4");
await new Promise<void>((resolve) => silent.bind(0, "127.0.0.1", resolve));
const config = parseConfig(
  {
    qemu: [`unix://${socket}`, `dial+unix://${join(folder, "nobody.sock")}`, "tcp://127.0.0.1:0"],
    api: `unix://${join(folder, "api.sock")}`,
    state: join(folder, "state"),
    capture: join(folder, "life.pcap"),
    forwards: [{ listen: 0, to: 80 }],
    dns: { servers: [`127.0.0.1:${silent.address().port}`] },
    log: { level: "silent" },
  },
  "test",
);
const daemon = await startDaemon(config, createLogger(config.log));
const port = await dialPort({ transport: "unix", path: socket, mode: "dial" });
const guest = new EmbeddedGuest({ port, mac: Uint8Array.of(2, 0, 0, 0, 0, 1) });
await guest.configure();

const server = createServer((connection) => connection.on("error", () => {}).write("hello"));
await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
// One of everything that could hold the process: an open flow each way, an unanswered query over UDP and TCP, a UDP
// mapping.
const stream = await guest.connect("192.168.65.254", (server.address() as AddressInfo).port);
stream.on("error", () => {});
await once(stream, "data");
guest.listen(80, (inward) => inward.on("error", () => {}).write("hello"));
const client = connect(Number(daemon.forwards[0].split(":")[1]), "127.0.0.1").on("error", () => {});
await once(client, "data");
const names = await guest.connect("192.168.65.1", 53);
names.on("error", () => {});
names.write(Buffer.from("001d00010100000100000000000003777777047465737400000100010000", "hex"));
const datagrams = guest.udp();
datagrams.send("192.168.65.254", 9, new Uint8Array(3));
datagrams.receive(100).catch(() => {});
guest.resolve("www.test", 100).catch(() => {});
await guest.ping("192.168.65.1");

await daemon.close();
await guest.closed;
server.close();
silent.close();
await rm(folder, { recursive: true });
console.log("closed");
