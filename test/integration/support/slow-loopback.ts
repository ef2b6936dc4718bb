/**
 * Has a guest answer a client faster than the host can send, in a network namespace whose loopback interface
 * portfwd-udp.test.ts has made slow, and prints what became of the answers.
 */
import { execFileSync } from "node:child_process";
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { parseIpv4 } from "@hostd/stack";
import { PortForwarder } from "../../../packages/portfwd/src/port-forwarder.ts";
import { FakeVm } from "../../../packages/portfwd/src/testing/fake-vm.ts";
import { RecordingLogger } from "../../../packages/streams/src/testing/recording-logger.ts";

const ANSWERS = 200;
const HOST = "127.0.0.1";

const logger = new RecordingLogger();
const forwarder = new PortForwarder({ gateway: parseIpv4("192.168.65.1"), logger });
const to = { address: null, port: 53 };
await forwarder.listen({ protocol: "udp", listen: { host: HOST, port: 0 }, to });
const vm = new FakeVm();
forwarder.attach(vm);
const [{ listening }] = forwarder.stats();
if ("path" in listening) throw new Error("it is a Unix socket");

const client = createSocket("udp4");
client.bind(0, HOST);
await once(client, "listening");
client.send("question", listening.port, HOST);
const question = await vm.datagram();
const answer = Buffer.alloc(60_000);
const before = process.memoryUsage().external;
for (let count = 0; count < ANSWERS; count++) vm.answer(question, answer);
const held = process.memoryUsage().external - before;
const { answered, droppedUnsent, failed } = forwarder.stats()[0].udp ?? {};

// What waits goes out once the interface is fast again, and so does what comes later.
execFileSync("tc", ["qdisc", "del", "dev", "lo", "root"]);
const last = new Promise<void>((resolve) => {
  client.on("message", (data) => {
    if (String(data) === "last") resolve();
  });
});
// The first may find too much that still waits.
const timer = setInterval(() => vm.answer(question, Buffer.from("last")), 20);
await last;
clearInterval(timer);
client.close();
await forwarder.close();
console.log(JSON.stringify({ answered, droppedUnsent, failed, held, log: logger.lines }));
