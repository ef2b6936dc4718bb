import { once } from "node:events";
import type { Socket } from "node:net";
import { parseIpv4 } from "@hostd/stack";
import { describe, expect, test } from "vitest";
import type { FakeGuestOptions, PlayedFlow } from "../../streams/src/testing/fake-tcp.ts";
import { readAll } from "../../streams/src/testing/host-server.ts";
import { pattern, sha256 } from "../../streams/src/testing/pattern.ts";
import type { AttachedVm } from "./attached-vm.ts";
import type { PortForwarderOptions } from "./port-forwarder.ts";
import type { StreamForward } from "./stream-forward.ts";
import { FakeVm } from "./testing/fake-vm.ts";
import {
  countDescriptors,
  dialForward,
  failure,
  GATEWAY,
  GUEST_PORT,
  listen,
  makeForwarder,
  rule,
  ruleFrom,
  until,
} from "./testing/harness.ts";

async function open(guest: FakeGuestOptions = {}, options: Partial<PortForwarderOptions> = {}) {
  const { forwarder, logger } = makeForwarder(options);
  const vm = new FakeVm(guest);
  const attached = forwarder.attach(vm);
  return { attached, forward: await listen(forwarder, rule()), logger, vm };
}

/** A connection that the guest has answered, as its two ends. */
async function connected(
  guest: FakeGuestOptions = {},
): Promise<{ attached: AttachedVm; flow: PlayedFlow; forward: StreamForward; socket: Socket }> {
  const { attached, forward, vm } = await open(guest);
  const socket = dialForward(forward);
  const flow = await vm.flow();
  await flow.until(() => forward.stats().open === 1);
  return { attached, flow, forward, socket };
}

const turn = () => new Promise<void>((resolve) => setImmediate(resolve));

describe("a connection", () => {
  test("is dialled from the gateway to the guest's port, and bytes go both ways", async () => {
    const { flow, forward, socket } = await connected();
    expect(flow).toMatchObject({ localAddress: GATEWAY, localPort: 0, remotePort: GUEST_PORT });
    socket.write("ping");
    await flow.until(() => flow.receivedBytes === 4);
    expect(flow.received.toString()).toBe("ping");
    flow.segment(Buffer.from("pong"));
    const [answer] = await once(socket, "data");
    expect(answer.toString()).toBe("pong");
    expect(flow.consumedBytes).toBe(4);
    expect(forward.stats()).toMatchObject({ connected: 1, pending: 0, open: 1 });
  });

  test("is not read before the guest has answered, and then from its first byte on to its end", async () => {
    const { forward, vm } = await open({ answers: false });
    const socket = dialForward(forward);
    const flow = await vm.flow();
    await new Promise<void>((resolve) => socket.end("early", () => resolve()));
    for (let count = 0; count < 10; count++) await turn();
    expect(flow.largestQueue).toBe(0);
    expect(flow.shutdownCalled).toBe(false);
    expect(forward.stats()).toMatchObject({ pending: 1, open: 0 });
    flow.establish();
    await flow.until(() => flow.shutdownCalled);
    expect(flow.received.toString()).toBe("early");
  });

  test("whose guest speaks first gets what the guest sent with its answer", async () => {
    const { forward, vm } = await open({ answers: false });
    const socket = dialForward(forward);
    const flow = await vm.flow();
    flow.establish();
    flow.segment(Buffer.from("220 ready"));
    flow.end();
    expect((await readAll(socket)).toString()).toBe("220 ready");
    socket.end();
    expect(await flow.closed()).toBe("finished");
  });

  test.each(["refused", "unreachable", "timeout", "detached"] as const)(
    "that the guest does not take (%s) is reset, with nothing left of it",
    async (reason) => {
      const { forward, logger, vm } = await open({ answers: false });
      const socket = dialForward(forward);
      const flow = await vm.flow();
      socket.write("request");
      flow.disappear(reason);
      expect(await failure(socket)).toBe("ECONNRESET");
      const refused = reason === "refused" ? 1 : 0;
      expect(forward.stats()).toMatchObject({ connected: 0, refused, failed: 1 - refused, pending: 0, open: 0 });
      expect(logger.lines).toMatchObject([{ level: "debug", fields: { guest: "80", reason } }]);
    },
  );

  test("that a container does not take is logged with the container's name", async () => {
    const { forward, logger, vm } = await open({ answers: false });
    const address = parseIpv4("172.17.0.2");
    vm.containers.set(address, "web");
    forward.retarget({ address, port: 80 });
    const socket = dialForward(forward);
    (await vm.flow()).disappear("refused");
    expect(await failure(socket)).toBe("ECONNRESET");
    expect(logger.lines).toMatchObject([{ fields: { guest: "172.17.0.2:80", container: "web", reason: "refused" } }]);
  });

  test("whose client is gone by the time of the guest's answer is reset in the guest", async () => {
    const { forward, vm } = await open({ answers: false });
    const socket = dialForward(forward);
    const flow = await vm.flow();
    socket.resetAndDestroy();
    await once(socket, "close");
    flow.establish();
    expect(await flow.closed()).toBe("aborted");
    expect(forward.stats()).toMatchObject({ pending: 0, open: 0 });
  });

  test("that the stack has no room for is reset, and the log says so once", async () => {
    const { forward, logger, vm } = await open();
    vm.isFull = true;
    for (let count = 0; count < 3; count++) expect(await failure(dialForward(forward))).toBe("ECONNRESET");
    expect(forward.stats()).toMatchObject({ droppedLimit: 3, pending: 0, open: 0 });
    expect(logger.lines).toHaveLength(1);
    vm.isFull = false;
    dialForward(forward);
    await vm.flow();
  });

  test("beyond the limit of those that wait is reset, and the log says so once", async () => {
    const { forward, logger, vm } = await open({ answers: false }, { maxPending: 2 });
    const waiting = [dialForward(forward), dialForward(forward)];
    const flow = await vm.flow();
    await vm.flow(2);
    for (let count = 0; count < 3; count++) expect(await failure(dialForward(forward))).toBe("ECONNRESET");
    expect(forward.stats()).toMatchObject({ droppedPending: 3, pending: 2 });
    expect(logger.lines).toMatchObject([{ level: "warn", fields: { limit: 2 } }]);
    flow.establish();
    dialForward(forward);
    await vm.flow(3);
    expect(forward.stats()).toMatchObject({ pending: 2, open: 1 });
    expect(waiting.map(({ destroyed }) => destroyed)).toEqual([false, false]);
  });
});

describe("a forward that is closed", () => {
  /** A forward with a connection that is open and one that waits for the guest's answer. */
  async function openAndPending() {
    const { forward, vm } = await open({ answers: false });
    const [socket, pending] = [dialForward(forward), dialForward(forward)];
    const [flow, pendingFlow] = [await vm.flow(), await vm.flow(2)];
    flow.establish();
    return { flow, forward, pending, pendingFlow, socket };
  }

  test("ends its connections by a reset", async () => {
    const { flow, forward, pending, pendingFlow, socket } = await openAndPending();
    const resets = Promise.all([failure(socket), failure(pending)]);
    await forward.close();
    expect(await resets).toEqual(["ECONNRESET", "ECONNRESET"]);
    expect([flow.closeReason, pendingFlow.closeReason]).toEqual(["aborted", "aborted"]);
    expect(forward.stats()).toMatchObject({ pending: 0, open: 0 });
    expect(await failure(dialForward(forward))).toBe("ECONNREFUSED");
  });

  test("that keeps its connections resets only those that the guest has not answered", async () => {
    const { flow, forward, pending, pendingFlow, socket } = await openAndPending();
    const reset = failure(pending);
    await forward.close({ keepConnections: true });
    expect(await reset).toBe("ECONNRESET");
    expect(pendingFlow.closeReason).toBe("aborted");
    expect(await failure(dialForward(forward))).toBe("ECONNREFUSED");
    expect(forward.stats()).toMatchObject({ pending: 0, open: 1 });
    socket.end("late request");
    await flow.until(() => flow.shutdownCalled);
    expect(flow.received.toString()).toBe("late request");
    flow.segment(Buffer.from("late answer"));
    flow.end();
    expect((await readAll(socket)).toString()).toBe("late answer");
    expect(await flow.closed()).toBe("finished");
    await until(() => forward.stats().open === 0);
  });

  test("and opened again 200 times on one port leaves no descriptor behind", async () => {
    const { forwarder } = makeForwarder();
    const vm = new FakeVm();
    forwarder.attach(vm);
    const first = await listen(forwarder, rule());
    await first.close();
    const descriptors = countDescriptors();
    for (let count = 1; count <= 200; count++) {
      const forward = await listen(forwarder, ruleFrom(first.listening));
      const socket = dialForward(forward);
      const flow = await vm.flow(count);
      socket.resume();
      // Every other one is closed before the guest has answered.
      if (count % 2 === 0) await flow.until(() => forward.stats().open === 1);
      await forward.close();
      if (!socket.closed) await new Promise((resolve) => socket.once("close", resolve));
    }
    await until(() => countDescriptors() <= descriptors);
    expect(vm.flows.events.map(({ closeReason }) => closeReason)).toEqual(Array(200).fill("aborted"));
    expect(forwarder.stats()).toEqual([]);
  });
});

describe("16 MiB", () => {
  const bytes = pattern(16 * 1024 * 1024);

  test.each([
    ["segments of 1460 bytes", 1460, 40],
    ["segments of 60,000 bytes", 60_000, 4],
  ])("from the guest in %s arrive at the client unchanged", async (_name, segmentLength, perBatch) => {
    const { attached, flow, socket } = await connected({ window: 1024 * 1024 });
    const read = readAll(socket);
    await flow.write(bytes, segmentLength, perBatch);
    flow.end();
    expect(sha256(await read)).toBe(sha256(bytes));
    await flow.until(() => flow.consumedBytes === bytes.length);
    expect(attached.relays.slabs.used).toBe(0);
  });

  test("from the client arrive at a guest that reads a little at a time, with the client held back", async () => {
    const { attached, flow, socket } = await connected({ sendBuffer: 300_000, reads: false });
    socket.end(bytes);
    while (!flow.shutdownCalled) {
      await flow.until(() => flow.sendQueued > 0 || flow.shutdownCalled);
      expect(attached.relays.slabs.used).toBeLessThanOrEqual(64 * 1024);
      flow.read(150_000);
    }
    flow.read(Number.POSITIVE_INFINITY);
    expect(sha256(flow.received)).toBe(sha256(bytes));
    expect(flow.largestQueue).toBeLessThanOrEqual(300_000);
    expect(attached.relays.slabs.used).toBe(0);
  });

  test("for a client that does not read close the guest's window, and arrive when it does", async () => {
    const { attached, flow, socket } = await connected({ window: 8 * 1024 * 1024 });
    const all = Buffer.concat([bytes, bytes]);
    const written = flow.write(all);
    await flow.until(() => flow.windowLeft === 0);
    expect(attached.relays.slabs.used).toBeGreaterThan(0);
    const read = readAll(socket);
    await written;
    flow.end();
    expect(sha256(await read)).toBe(sha256(all));
    await flow.until(() => flow.consumedBytes === all.length);
    expect(attached.relays.slabs.used).toBe(0);
  });
});

describe("an end", () => {
  test("of the client is passed on after its bytes, and the guest goes on sending", async () => {
    const { flow, forward, socket } = await connected();
    socket.end("request");
    await flow.until(() => flow.shutdownCalled);
    expect(flow.received.toString()).toBe("request");
    const read = readAll(socket);
    flow.segment(Buffer.from("answer"));
    await flow.until(() => flow.consumedBytes === 6);
    flow.end();
    expect((await read).toString()).toBe("answer");
    expect(await flow.closed()).toBe("finished");
    if (!socket.closed) await once(socket, "close");
    await forward.close();
    expect(forward.stats()).toMatchObject({ open: 0 });
  });

  test("of the guest is passed on after its bytes, and the client goes on sending", async () => {
    const { flow, socket } = await connected();
    flow.segment(Buffer.from("banner"));
    flow.end();
    expect((await readAll(socket)).toString()).toBe("banner");
    expect(flow.shutdownCalled).toBe(false);
    socket.end("late");
    expect(await flow.closed()).toBe("finished");
    expect(flow.received.toString()).toBe("late");
  });

  test("by a reset of the client resets the guest", async () => {
    const { flow, forward, socket } = await connected();
    socket.resetAndDestroy();
    expect(await flow.closed()).toBe("aborted");
    expect(forward.stats()).toMatchObject({ open: 0 });
  });

  test.each(["reset", "timeout", "detached"] as const)("by the guest (%s) resets the client", async (reason) => {
    const { flow, forward, socket } = await connected();
    flow.disappear(reason);
    expect(await failure(socket)).toBe("ECONNRESET");
    expect(forward.stats()).toMatchObject({ open: 0 });
  });

  test("by the memory's end resets the connection, and the log says so once", async () => {
    const { attached, forward, logger, vm } = await open({ window: 64 * 1024 * 1024 }, { maxQueuedBytes: 1024 * 1024 });
    const socket = dialForward(forward);
    const flow = await vm.flow();
    await flow.until(() => forward.stats().open === 1);
    await flow.write(Buffer.alloc(64 * 1024 * 1024));
    expect(flow.closeReason).toBe("aborted");
    expect(await failure(socket)).toBe("ECONNRESET");
    expect(attached.relays.slabs.used).toBe(0);
    expect(logger.lines).toMatchObject([{ level: "warn", fields: { limit: 1024 * 1024 } }]);
  });

  test("of a thousand connections, ended in all ways, leaves no socket and no memory behind", async () => {
    const { attached, forward, vm } = await open();
    const ways = ["client reset", "client end", "guest reset", "guest end"] as const;
    const run = async (): Promise<void> => {
      const socket = dialForward(forward);
      const index = vm.flows.events.length;
      const flow = await vm.flow(index + 1);
      const way = ways[index % ways.length];
      socket.resume().write(way);
      await flow.until(() => flow.receivedBytes === way.length);
      flow.segment(Buffer.from("answer"));
      if (way === "client reset") socket.resetAndDestroy();
      if (way === "guest reset") flow.disappear();
      if (way === "client end") {
        socket.end();
        await flow.until(() => flow.shutdownCalled);
        flow.end();
      }
      if (way === "guest end") {
        flow.end();
        await once(socket, "end");
        socket.end();
      }
      const expected = { "client reset": "aborted", "guest reset": "reset" }[way as string] ?? "finished";
      expect(await flow.closed()).toBe(expected);
      if (!socket.closed) await new Promise((resolve) => socket.once("close", resolve));
    };
    for (let count = 0; count < 1000; count++) await run();
    expect(forward.stats()).toMatchObject({ connected: 1000, pending: 0, open: 0 });
    expect(attached.connections.size).toBe(0);
    expect(attached.relays.slabs.used).toBe(0);
    // Waits until the server counts no connection any more.
    await forward.close();
  });
});
