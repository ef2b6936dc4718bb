import { once } from "node:events";
import { parseIpv4 } from "@hostd/stack";
import { describe, expect, test } from "vitest";
import type { FakeGuestOptions } from "../../streams/src/testing/fake-tcp.ts";
import { pattern, sha256 } from "../../streams/src/testing/pattern.ts";
import type { PortForwarderOptions } from "./port-forwarder.ts";
import { FakeVm } from "./testing/fake-vm.ts";
import { countDescriptors, dialForward, failure, listen, makeForwarder, rule, until } from "./testing/harness.ts";

const WAIT_TIME = 10_000;
const ADDRESS = parseIpv4("192.168.65.3");

async function open(options: Partial<PortForwarderOptions> = {}) {
  const made = makeForwarder({ waitTime: WAIT_TIME, ...options });
  return { ...made, forward: await listen(made.forwarder, rule()) };
}

/** A forward whose VM has an address, with one client that waits for the VM's answer. */
async function dialled(guest: FakeGuestOptions = { answers: false }) {
  const opened = await open();
  const vm = new FakeVm(guest);
  const attached = opened.forwarder.attach(vm);
  const socket = dialForward(opened.forward);
  return { ...opened, attached, flow: await vm.flow(), socket, vm };
}

describe("a client that comes before a VM", () => {
  test("is held, and led to the VM once that is attached and its address is known", async () => {
    const { clock, forward, forwarder, logger } = await open();
    const socket = dialForward(forward);
    await until(() => forward.stats().pending === 1);
    clock.advance(WAIT_TIME / 2);
    const vm = new FakeVm({}, null);
    const attached = forwarder.attach(vm);
    attached.ready();
    expect(forward.stats()).toMatchObject({ pending: 1, open: 0 });
    expect(vm.flows.events).toEqual([]);
    vm.address = ADDRESS;
    attached.ready();
    const [flow] = vm.flows.events;
    await flow.until(() => forward.stats().open === 1);
    socket.write("hello");
    await flow.until(() => flow.receivedBytes === 5);
    expect(clock.timers).toBe(0);
    expect(logger.lines).toEqual([]);
  });

  test("is led to a VM that nobody told about, before long", async () => {
    const { clock, forward, forwarder } = await open();
    dialForward(forward);
    await until(() => forward.stats().pending === 1);
    const vm = new FakeVm();
    forwarder.attach(vm);
    clock.advance(250);
    expect(vm.flows.events).toHaveLength(1);
    expect(clock.timers).toBe(0);
  });

  test("is reset when its time is over, and not before; the log says so once", async () => {
    const { clock, forward, logger } = await open();
    const [first, second] = [dialForward(forward), dialForward(forward)];
    await until(() => forward.stats().pending === 2);
    clock.advance(WAIT_TIME - 1);
    expect(forward.stats()).toMatchObject({ pending: 2, droppedNoVm: 0 });
    const resets = Promise.all([failure(first), failure(second)]);
    clock.advance(1);
    expect(await resets).toEqual(["ECONNRESET", "ECONNRESET"]);
    expect(forward.stats()).toMatchObject({ pending: 0, droppedNoVm: 2 });
    expect(clock.timers).toBe(0);
    expect(logger.lines).toMatchObject([
      { level: "warn", message: "a connection to a published port was reset: no VM with a known address is attached" },
    ]);
  });

  test("is reset at once when nobody may wait", async () => {
    const { clock, forward } = await open({ waitTime: 0 });
    expect(await failure(dialForward(forward))).toBe("ECONNRESET");
    expect(forward.stats()).toMatchObject({ pending: 0, droppedNoVm: 1 });
    expect(clock.timers).toBe(0);
  });

  test("is reset when as many wait as may; the log says so once", async () => {
    const { clock, forward, forwarder, logger } = await open({ maxPending: 2 });
    dialForward(forward);
    dialForward(forward);
    await until(() => forward.stats().pending === 2);
    for (let count = 0; count < 2; count++) expect(await failure(dialForward(forward))).toBe("ECONNRESET");
    clock.advance(1000);
    expect(forward.stats()).toMatchObject({ pending: 2, droppedPending: 2 });
    expect(logger.lines).toMatchObject([{ level: "warn", fields: { limit: 2 } }]);
    // Those that wait for the VM's answer count as well.
    const vm = new FakeVm({ answers: false });
    forwarder.attach(vm).ready();
    expect(vm.flows.events).toHaveLength(2);
    expect(await failure(dialForward(forward))).toBe("ECONNRESET");
    vm.flows.events[0].disappear("unreachable");
    expect(await failure(dialForward(forward))).toBe("ECONNRESET");
    expect(forward.stats()).toMatchObject({ pending: 2, droppedPending: 4 });
    clock.advance(250);
    expect(vm.flows.events).toHaveLength(3);
  });

  test("is reset when the forward is closed, and no other forward's", async () => {
    const { clock, forward, forwarder } = await open();
    const other = await listen(forwarder, rule());
    const socket = dialForward(forward);
    dialForward(other);
    await until(() => forward.stats().pending + other.stats().pending === 2);
    const reset = failure(socket);
    await forward.close({ keepConnections: true });
    expect(await reset).toBe("ECONNRESET");
    expect([forward.stats().pending, other.stats().pending]).toEqual([0, 1]);
    expect(clock.timers).toBe(1);
    await other.close();
    expect(clock.timers).toBe(0);
  });

  test("has all that it sent meanwhile and its end passed on", async () => {
    const { forward, forwarder } = await open();
    // More than the kernel holds for it.
    const bytes = pattern(16 * 1024 * 1024);
    const socket = dialForward(forward);
    socket.end(bytes);
    await until(() => forward.stats().pending === 1);
    expect(socket.writableLength).toBeGreaterThan(0);
    const vm = new FakeVm();
    forwarder.attach(vm).ready();
    const [flow] = vm.flows.events;
    await flow.until(() => flow.shutdownCalled);
    await flow.until(() => flow.receivedBytes === bytes.length);
    expect(sha256(flow.received)).toBe(sha256(bytes));
  });

  test.each(["resets its connection", "closes its connection"])("and %s leaves nothing behind", async (how) => {
    const { clock, forward, forwarder } = await open();
    const descriptors = countDescriptors();
    const socket = dialForward(forward);
    await once(socket, "connect");
    await until(() => forward.stats().pending === 1);
    if (how === "resets its connection") socket.resetAndDestroy();
    else socket.destroy();
    await once(socket, "close");
    const vm = new FakeVm();
    const attached = forwarder.attach(vm);
    attached.ready();
    const [flow] = vm.flows.events;
    if (how === "closes its connection") {
      // It may have closed only its half, so the guest is told its end and may answer.
      await flow.until(() => flow.shutdownCalled);
      flow.end();
      expect(await flow.closed()).toBe("finished");
    } else {
      expect(await flow.closed()).toBe("aborted");
    }
    await until(() => countDescriptors() <= descriptors);
    expect(forward.stats()).toMatchObject({ pending: 0, open: 0 });
    expect(attached.connections.size).toBe(0);
    expect(clock.timers).toBe(0);
  });
});

describe("a client whose VM", () => {
  test.each(["unreachable", "timeout", "detached"] as const)(
    "does not answer (%s) is tried again until it does",
    async (reason) => {
      const { clock, flow, forward, socket, vm } = await dialled();
      socket.write("hello");
      flow.disappear(reason);
      expect(forward.stats()).toMatchObject({ pending: 1, failed: 0 });
      clock.advance(250);
      vm.flows.events[1].disappear(reason);
      clock.advance(250);
      const again = vm.flows.events[2];
      again.establish();
      await again.until(() => again.receivedBytes === 5);
      expect(again.received.toString()).toBe("hello");
      expect(forward.stats()).toMatchObject({ connected: 1, failed: 0, pending: 0, open: 1 });
    },
  );

  test("does not answer until its time is over is reset", async () => {
    const { clock, flow, forward, logger, socket, vm } = await dialled();
    const reset = failure(socket);
    flow.disappear("unreachable");
    for (let passed = 0; passed < WAIT_TIME; passed += 250) {
      clock.advance(250);
      vm.flows.events.at(-1)?.disappear("unreachable");
    }
    expect(await reset).toBe("ECONNRESET");
    expect(vm.flows.events).toHaveLength(WAIT_TIME / 250 + 1);
    expect(forward.stats()).toMatchObject({ failed: 1, pending: 0 });
    expect(logger.lines).toMatchObject([{ level: "debug", fields: { reason: "unreachable" } }]);
    clock.advance(WAIT_TIME);
    expect(clock.timers).toBe(0);
  });

  test("refuses it is reset at once", async () => {
    const { clock, flow, forward, socket } = await dialled();
    flow.disappear("refused");
    expect(await failure(socket)).toBe("ECONNRESET");
    expect(forward.stats()).toMatchObject({ refused: 1, failed: 0, pending: 0 });
    expect(clock.timers).toBe(0);
  });

  test("is detached before it has answered waits for the next VM", async () => {
    const { attached, flow, forward, forwarder, socket } = await dialled();
    socket.write("hello");
    attached.detach();
    expect(flow.closeReason).toBe("aborted");
    expect(forward.stats()).toMatchObject({ pending: 1, failed: 0 });
    const next = new FakeVm();
    forwarder.attach(next).ready();
    const [again] = next.flows.events;
    await again.until(() => again.receivedBytes === 5);
    expect(again.received.toString()).toBe("hello");
  });

  test("is detached after it has answered is reset", async () => {
    const { attached, flow, forward, socket } = await dialled();
    flow.establish();
    const reset = failure(socket);
    attached.detach();
    expect(await reset).toBe("ECONNRESET");
    expect(forward.stats()).toMatchObject({ pending: 0, open: 0 });
  });

  test("has no room is reset, although it may wait", async () => {
    const { forward, forwarder } = await open();
    const vm = new FakeVm();
    vm.isFull = true;
    forwarder.attach(vm);
    expect(await failure(dialForward(forward))).toBe("ECONNRESET");
    expect(forward.stats()).toMatchObject({ droppedLimit: 1, pending: 0 });
  });
});

describe("a forward that is to lead somewhere else", () => {
  test("has clients wait while it leads nowhere, and leads them to the new place then", async () => {
    const { forward, forwarder, clock } = await open();
    const vm = new FakeVm();
    forwarder.attach(vm);
    forward.retarget(null);
    dialForward(forward);
    await until(() => forward.stats().pending === 1);
    clock.advance(WAIT_TIME / 2);
    expect(vm.flows.events).toEqual([]);
    const container = parseIpv4("172.17.0.2");
    forward.retarget({ address: container, port: 8080 });
    expect(forward.rule.to).toEqual({ address: container, port: 8080 });
    const [flow] = vm.flows.events;
    expect(flow).toMatchObject({ remoteAddress: container, remotePort: 8080 });
    await flow.until(() => forward.stats().open === 1);
    expect(clock.timers).toBe(0);
  });

  test("dials the new place for clients whom the old one has not answered", async () => {
    const { forward, forwarder } = await open();
    const vm = new FakeVm({ answers: false });
    forwarder.attach(vm);
    const [old, place] = ["172.17.0.4", "172.17.0.2"].map(parseIpv4);
    forward.retarget({ address: old, port: 80 });
    const socket = dialForward(forward);
    const silent = await vm.flow();
    expect(silent).toMatchObject({ remoteAddress: old, remotePort: 80 });
    forward.retarget({ address: place, port: 80 });
    const flow = await vm.flow(2);
    expect(flow).toMatchObject({ remoteAddress: place, remotePort: 80 });
    expect(silent.closeReason).toBe("aborted");
    flow.establish();
    socket.write("hello");
    await flow.until(() => flow.receivedBytes === 5);
    expect(forward.stats()).toMatchObject({ open: 1, pending: 0, failed: 0 });
  });

  test("keeps the connections that are open", async () => {
    const { forward, forwarder } = await open();
    const vm = new FakeVm();
    forwarder.attach(vm);
    const socket = dialForward(forward);
    const flow = await vm.flow();
    await flow.until(() => forward.stats().open === 1);
    forward.retarget(null);
    socket.write("hello");
    await flow.until(() => flow.receivedBytes === 5);
    expect(forward.stats()).toMatchObject({ open: 1 });
  });

  test("says so when a client's time is over and it leads nowhere", async () => {
    const { forward, forwarder, logger } = await open({ waitTime: 0 });
    forwarder.attach(new FakeVm());
    forward.retarget(null);
    expect(await failure(dialForward(forward))).toBe("ECONNRESET");
    expect(logger.lines).toMatchObject([
      { message: "a connection to a published port was reset: it does not lead anywhere yet" },
    ]);
  });
});
