import { parseIpv4 } from "@hostd/stack";
import { RecordingLogger } from "../../../streams/src/testing/recording-logger.ts";
import { ActivatedSockets } from "../activated-sockets.ts";
import type { ForwardRule } from "../forward-rule.ts";
import { PortForwarder } from "../port-forwarder.ts";
import { FakeVm } from "./fake-vm.ts";

/**
 * A process that sockets are handed to: opens the forwards of its first argument in their order to a guest that echoes,
 * and says how that went. A line with a forward's number has that one closed, and opened again without what was handed over.
 */
const rules = JSON.parse(process.argv[2]) as ForwardRule[];
const activated = ActivatedSockets.fromEnvironment(process.env, process.pid);
const forwarder = new PortForwarder({ gateway: parseIpv4("192.168.65.1"), logger: new RecordingLogger(), activated });
const vm = new FakeVm();
forwarder.attach(vm);

async function echoStreams(): Promise<void> {
  for (let count = 1; ; count++) {
    const flow = await vm.flow(count);
    await flow.until(() => flow.receivedBytes > 0);
    flow.segment(flow.received);
    flow.end();
  }
}

async function echoDatagrams(): Promise<void> {
  for (let count = 1; ; count++) {
    const datagram = await vm.datagram(count);
    vm.answer(datagram, datagram.payload);
  }
}

const forwards = [];
try {
  for (const rule of rules) forwards.push(await forwarder.listen(rule));
} catch (error) {
  console.log(JSON.stringify({ error: String(error) }));
  process.exit();
}
void echoStreams();
void echoDatagrams();
const report = () =>
  console.log(
    JSON.stringify({ listening: forwarder.stats().map((each) => each.listening), unused: activated.unused() }),
  );
report();
for await (const line of process.stdin.setEncoding("utf8")) {
  const index = Number(line);
  await forwards[index].close();
  console.log("closed");
  forwards[index] = await forwarder.listen(rules[index]);
  report();
}
await forwarder.close();
