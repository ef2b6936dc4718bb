import { once } from "node:events";
import { lstat, rename, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import type { FakeGuestOptions } from "../../streams/src/testing/fake-tcp.ts";
import { readAll } from "../../streams/src/testing/host-server.ts";
import { pattern, sha256 } from "../../streams/src/testing/pattern.ts";
import { FakeVm } from "./testing/fake-vm.ts";
import {
  countDescriptors,
  dialForward,
  failure,
  GATEWAY,
  GUEST_PORT,
  listen,
  makeFolder,
  makeForwarder,
  ruleFrom,
  until,
} from "./testing/harness.ts";

async function open(guest: FakeGuestOptions = {}, waitTime = 0) {
  const { forwarder, clock } = makeForwarder({ waitTime });
  const vm = new FakeVm(guest);
  const attached = forwarder.attach(vm);
  const path = join(await makeFolder(), "web.sock");
  return { attached, clock, forward: await listen(forwarder, ruleFrom({ path })), forwarder, path, vm };
}

/** A connection that the guest has answered, as its two ends. */
async function connected(guest: FakeGuestOptions = {}) {
  const { attached, forward, vm } = await open(guest);
  const socket = dialForward(forward);
  const flow = await vm.flow();
  await flow.until(() => forward.stats().open === 1);
  return { attached, flow, forward, socket };
}

describe("a client of a Unix socket", () => {
  test("is led to the guest's port from the gateway, and bytes go both ways", async () => {
    const { flow, socket } = await connected();
    expect(flow).toMatchObject({ localAddress: GATEWAY, localPort: 0, remotePort: GUEST_PORT });
    socket.write("ping");
    await flow.until(() => flow.receivedBytes === 4);
    expect(flow.received.toString()).toBe("ping");
    flow.segment(Buffer.from("pong"));
    const [answer] = await once(socket, "data");
    expect(answer.toString()).toBe("pong");
    expect(flow.consumedBytes).toBe(4);
  });

  test("that has finished sending gets what the guest sends then", async () => {
    const { flow, socket } = await connected();
    socket.end("request");
    await flow.until(() => flow.shutdownCalled);
    expect(flow.received.toString()).toBe("request");
    const read = readAll(socket);
    flow.segment(Buffer.from("answer"));
    flow.end();
    expect((await read).toString()).toBe("answer");
    expect(await flow.closed()).toBe("finished");
  });

  test("goes on sending to a guest that has finished", async () => {
    const { flow, socket } = await connected();
    flow.segment(Buffer.from("banner"));
    flow.end();
    expect((await readAll(socket)).toString()).toBe("banner");
    expect(flow.shutdownCalled).toBe(false);
    socket.end("late");
    expect(await flow.closed()).toBe("finished");
    expect(flow.received.toString()).toBe("late");
  });

  test("is closed when the guest resets, and that it has not been read to its end shows", async () => {
    const { flow, forward, socket } = await connected();
    flow.disappear();
    await once(socket.resume(), "end");
    expect(forward.stats()).toMatchObject({ open: 0 });
    const { flow: unread, socket: writer } = await connected({ reads: false, sendBuffer: 16 * 1024 });
    writer.write(Buffer.alloc(1024 * 1024));
    await unread.until(() => unread.sendQueued > 0);
    const broken = failure(writer);
    unread.disappear();
    expect(["ECONNRESET", "EPIPE"]).toContain(await broken);
  });

  test("that the guest does not take is closed", async () => {
    const { forward, vm } = await open({ answers: false });
    const socket = dialForward(forward);
    (await vm.flow()).disappear("refused");
    await once(socket.resume(), "end");
    expect(forward.stats()).toMatchObject({ refused: 1, pending: 0, open: 0 });
  });

  test("that is gone shows to the guest as its end, and once the guest sends as a reset", async () => {
    const { flow, forward, socket } = await connected();
    socket.destroy();
    await flow.until(() => flow.shutdownCalled);
    flow.segment(Buffer.from("anybody there?"));
    expect(await flow.closed()).toBe("aborted");
    expect(forward.stats()).toMatchObject({ open: 0 });
  });

  test("waits for a VM as one of TCP does", async () => {
    const { forward, vm, attached } = await open({}, 1000);
    vm.address = null;
    const socket = dialForward(forward);
    socket.end("early");
    await until(() => forward.stats().pending === 1);
    expect(vm.flows.events).toEqual([]);
    vm.address = 1;
    attached.ready();
    const flow = await vm.flow();
    await flow.until(() => flow.shutdownCalled);
    expect(flow.received.toString()).toBe("early");
  });

  test("whose time is over is closed", async () => {
    const { clock, forward, vm } = await open({}, 1000);
    vm.address = null;
    const socket = dialForward(forward);
    await until(() => forward.stats().pending === 1);
    clock.advance(1000);
    await once(socket.resume(), "end");
    expect(forward.stats()).toMatchObject({ droppedNoVm: 1, pending: 0 });
  });
});

describe("16 MiB through a Unix socket", () => {
  const bytes = pattern(16 * 1024 * 1024);

  test.each([1460, 60_000])("arrive from the guest in segments of %i bytes unchanged", async (segmentLength) => {
    const { attached, flow, socket } = await connected({ window: 1024 * 1024 });
    const read = readAll(socket);
    await flow.write(bytes, segmentLength, 8);
    flow.end();
    expect(sha256(await read)).toBe(sha256(bytes));
    await flow.until(() => flow.consumedBytes === bytes.length);
    expect(attached.relays.slabs.used).toBe(0);
  });

  test("arrive at a guest that reads a little at a time, with the client held back", async () => {
    const { attached, flow, socket } = await connected({ sendBuffer: 300_000, reads: false });
    socket.end(bytes);
    while (!flow.shutdownCalled) {
      await flow.until(() => flow.sendQueued > 0 || flow.shutdownCalled);
      flow.read(150_000);
    }
    flow.read(Number.POSITIVE_INFINITY);
    expect(sha256(flow.received)).toBe(sha256(bytes));
    expect(flow.largestQueue).toBeLessThanOrEqual(300_000);
    expect(attached.relays.slabs.used).toBe(0);
  });

  test("wait for a client that does not read, in front of a closed window", async () => {
    const { attached, flow, socket } = await connected({ window: 2 * 1024 * 1024 });
    const written = flow.write(bytes);
    await flow.until(() => flow.windowLeft === 0);
    expect(attached.relays.slabs.used).toBeGreaterThan(0);
    const read = readAll(socket);
    await written;
    flow.end();
    expect(sha256(await read)).toBe(sha256(bytes));
    expect(attached.relays.slabs.used).toBe(0);
  });
});

describe("the Unix socket of a forward", () => {
  test("is for this user alone, and gone when the forward is closed", async () => {
    const { forward, path } = await open();
    expect((await lstat(path)).mode & 0o777).toBe(0o600);
    await forward.close();
    await expect(lstat(path)).rejects.toMatchObject({ code: "ENOENT" });
  });

  test("takes the place of one that nobody listens on any more", async () => {
    const { forwarder, forward, path } = await open();
    await forward.close();
    // A file that is not where the server made it is left behind, as by a process that is killed.
    const server = createServer().listen(path);
    await once(server, "listening");
    await rename(path, `${path}.stale`);
    server.close();
    await once(server, "close");
    await rename(`${path}.stale`, path);
    expect((await lstat(path)).isSocket()).toBe(true);
    dialForward(await listen(forwarder, ruleFrom({ path })));
  });

  test("takes the place of nothing else: a file and a socket in use are refused, and left alone", async () => {
    const { forwarder, path } = await open();
    const file = join(await makeFolder(), "notes");
    await writeFile(file, "precious");
    await expect(forwarder.listen(ruleFrom({ path: file }))).rejects.toThrow(
      `${file}: exists and is not a socket; it is left alone, choose another path or remove it`,
    );
    await expect(forwarder.listen(ruleFrom({ path }))).rejects.toThrow(
      `${path}: another process is listening on it (is hostd already running?); stop it or choose another path`,
    );
    expect((await lstat(file)).isFile()).toBe(true);
    expect(forwarder.stats()).toHaveLength(1);
  });

  test("opened and closed 200 times leaves no descriptor behind", async () => {
    const { forwarder, forward, path, vm } = await open();
    await forward.close();
    const descriptors = countDescriptors();
    for (let count = 1; count <= 200; count++) {
      const again = await listen(forwarder, ruleFrom({ path }));
      const socket = dialForward(again).resume();
      socket.on("end", () => socket.end());
      await vm.flow(count);
      await again.close();
      if (!socket.closed) await new Promise((resolve) => socket.once("close", resolve));
    }
    await until(() => countDescriptors() <= descriptors);
    expect(forwarder.stats()).toEqual([]);
  });
});
