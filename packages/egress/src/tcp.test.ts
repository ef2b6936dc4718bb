import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { giveRegion, parseIpv4, takeRegion } from "@hostd/stack";
import { LARGEST_SLAB } from "@hostd/streams";
import { describe, expect, test } from "vitest";
import { FakeRequest } from "../../streams/src/testing/fake-tcp.ts";
import { closedPort, HostServer, readAll } from "../../streams/src/testing/host-server.ts";
import type { ConnectOptions } from "./tcp-connection.ts";
import {
  cleanups,
  connected,
  ENDLESS,
  fill,
  HOST,
  listen,
  makeEgress,
  OUTSIDE,
  scriptedHost,
} from "./testing/tcp-harness.ts";

describe("a request", () => {
  test("is accepted when the host's connection is there, and bytes go both ways", async () => {
    const { egress, flow, socket } = await connected();
    socket.on("data", (chunk) => socket.write(`echo ${chunk}`));
    flow.segment(Buffer.from("hello"));
    await flow.until(() => flow.receivedBytes === 10);
    expect(flow.received.toString()).toBe("echo hello");
    expect(flow.consumedBytes).toBe(5);
    expect(egress.stats()).toMatchObject({ connected: 1, open: 1, pending: 0 });
  });

  test("is not accepted before the host's connection is there", () => {
    const egress = makeEgress({ connect: scriptedHost(null) });
    const request = new FakeRequest(OUTSIDE, 80);
    egress.handle(request);
    expect(request.answered).toBe(false);
    expect(egress.stats()).toMatchObject({ pending: 1, open: 0 });
  });

  test("to a port where nothing listens on the host is refused", async () => {
    const egress = makeEgress();
    const request = new FakeRequest(HOST, await closedPort());
    egress.handle(request);
    expect(await request.rejection()).toBe("refused");
    expect(egress.stats()).toMatchObject({ failed: 1, pending: 0 });
    expect(egress.logger.lines).toEqual([]);
  });

  test("to the host's address reaches a server on ::1 only", async () => {
    const server = await listen("::1");
    const egress = makeEgress();
    const request = new FakeRequest(HOST, server.port);
    egress.handle(request);
    const flow = await request.flow();
    (await server.socket()).end("six");
    await flow.until(() => flow.receivedBytes === 3);
    expect(egress.stats()).toMatchObject({ connected: 1, failed: 0 });
  });

  test("to an address outside is connected there, from an ephemeral port, with no name looked up", () => {
    const asked: ConnectOptions[] = [];
    const egress = makeEgress({
      connect: (options) => {
        asked.push(options);
        return scriptedHost(null)(options);
      },
    });
    egress.handle(new FakeRequest(OUTSIDE, 443));
    expect(asked).toMatchObject([
      {
        host: "203.0.113.5",
        port: 443,
        allowHalfOpen: true,
        noDelay: true,
        keepAlive: true,
        keepAliveInitialDelay: 60_000,
      },
    ]);
  });

  test.each([
    ["192.168.65.1", "refused"],
    ["192.168.65.77", "host-unreachable"],
    ["127.0.0.1", "prohibited"],
    ["127.1.2.3", "prohibited"],
    ["0.0.0.0", "prohibited"],
    ["0.1.2.3", "prohibited"],
    ["224.0.0.1", "silent"],
    ["255.255.255.255", "silent"],
    ["192.168.65.255", "silent"],
  ] as const)("to %s is answered with %s and never leaves", async (address, reason) => {
    const egress = makeEgress({
      connect: () => {
        throw new Error("connected");
      },
    });
    const request = new FakeRequest(parseIpv4(address), 80);
    egress.handle(request);
    expect(await request.rejection()).toBe(reason);
    expect(egress.stats()).toMatchObject({ rejectedDestination: 1, pending: 0 });
  });

  test.each([
    ["ECONNREFUSED", "refused"],
    ["ECONNRESET", "refused"],
    ["EHOSTUNREACH", "host-unreachable"],
    ["EHOSTDOWN", "host-unreachable"],
    ["ENETUNREACH", "net-unreachable"],
    ["EACCES", "prohibited"],
    ["EPERM", "prohibited"],
    ["ETIMEDOUT", "silent"],
  ] as const)("that fails on the host with %s is answered with %s", async (code, reason) => {
    const egress = makeEgress({ connect: scriptedHost(code) });
    const request = new FakeRequest(OUTSIDE, 80);
    egress.handle(request);
    expect(await request.rejection()).toBe(reason);
    expect(egress.stats()).toMatchObject({ failed: 1, pending: 0 });
    expect(egress.logger.lines).toEqual([]);
  });

  test.each(["EMFILE", "ENFILE", "EADDRNOTAVAIL", "ENOBUFS"])(
    "that fails for the host's %s stays unanswered, and the log says so once",
    async (code) => {
      const egress = makeEgress({ connect: scriptedHost(code) });
      for (let count = 0; count < 3; count++) {
        const request = new FakeRequest(OUTSIDE, 80);
        egress.handle(request);
        expect(await request.rejection()).toBe("silent");
      }
      expect(egress.logger.lines).toMatchObject([{ level: "warn", fields: { code } }]);
    },
  );

  test("that the guest gives up ends the host's attempt", async () => {
    const sockets: Socket[] = [];
    const egress = makeEgress({
      connect: (options) => {
        sockets.push(scriptedHost(null)(options));
        return sockets[0];
      },
    });
    const request = new FakeRequest(OUTSIDE, 80);
    egress.handle(request);
    request.cancel();
    expect(sockets[0].destroyed).toBe(true);
    expect(egress.stats()).toMatchObject({ pending: 0, open: 0 });
  });

  test("that was given up between the host's answer and its own leaves the host no connection", async () => {
    const server = await listen();
    const egress = makeEgress();
    const request = new FakeRequest(HOST, server.port);
    egress.handle(request);
    // The stack has evicted it without a word.
    request.cancelled = true;
    const socket = await server.socket();
    socket.resume();
    const [error] = await once(socket, "error");
    expect(error.code).toBe("ECONNRESET");
    expect(egress.stats()).toMatchObject({ pending: 0, open: 0 });
  });

  test("beyond the limit of waiting ones drops the oldest, and a black hole holds up nobody else", async () => {
    const server = await listen();
    const sockets: Socket[] = [];
    const egress = makeEgress({
      maxPending: 2,
      connect: (options) => {
        if (options.host === "127.0.0.1") return connect(options);
        sockets.push(scriptedHost(null)(options));
        return sockets[sockets.length - 1];
      },
    });
    const requests = [1, 2, 3].map(() => new FakeRequest(OUTSIDE, 80));
    for (const request of requests) egress.handle(request);
    expect(await requests[0].rejection()).toBe("silent");
    expect(sockets.map((socket) => socket.destroyed)).toEqual([true, false, false]);
    const reachable = new FakeRequest(HOST, server.port);
    egress.handle(reachable);
    const flow = await reachable.flow();
    expect(flow.closeReason).toBe(null);
    expect(requests.map((request) => request.answered)).toEqual([true, true, false]);
    expect(egress.stats()).toMatchObject({ droppedPending: 2, pending: 1, open: 1 });
    expect(egress.logger.lines).toHaveLength(1);
  });

  test("beyond the limit of connections stays unanswered until one has ended", async () => {
    const server = await listen();
    const egress = makeEgress({ maxConnections: 1 });
    const first = new FakeRequest(HOST, server.port);
    egress.handle(first);
    const flow = await first.flow();
    const second = new FakeRequest(HOST, server.port);
    egress.handle(second);
    expect(await second.rejection()).toBe("silent");
    flow.disappear();
    const third = new FakeRequest(HOST, server.port);
    egress.handle(third);
    await third.flow();
    expect(egress.stats()).toMatchObject({ droppedLimit: 1, connected: 2, open: 1 });
  });
});

describe("an end", () => {
  test("of the guest is passed on after its bytes, and the host goes on sending", async () => {
    const { egress, flow, socket } = await connected();
    flow.segment(Buffer.from("request"));
    flow.end();
    expect((await readAll(socket)).toString()).toBe("request");
    expect(flow.shutdownCalled).toBe(false);
    socket.end("answer");
    expect(await flow.closed()).toBe("finished");
    expect(flow.received.toString()).toBe("answer");
    if (!socket.closed) await once(socket, "close");
    await egress.close();
    expect(egress.stats()).toMatchObject({ open: 0, queuedBytes: 0 });
  });

  test("of the host is passed on after its bytes, and the guest goes on sending", async () => {
    const { flow, socket } = await connected();
    socket.end("banner");
    await flow.until(() => flow.shutdownCalled);
    expect(flow.received.toString()).toBe("banner");
    const read = readAll(socket);
    flow.segment(Buffer.from("late"));
    await flow.until(() => flow.consumedBytes === 4);
    flow.end();
    expect((await read).toString()).toBe("late");
    expect(await flow.closed()).toBe("finished");
  });

  test("of the host that comes with its answer to the handshake is passed on", async () => {
    const server = await listen();
    const egress = makeEgress();
    const request = new FakeRequest(HOST, server.port);
    egress.handle(request);
    const socket = await server.socket();
    socket.end("greeting");
    const flow = await request.flow();
    await flow.until(() => flow.shutdownCalled);
    expect(flow.received.toString()).toBe("greeting");
  });

  test("by a reset of the host resets the guest", async () => {
    const { egress, flow, socket } = await connected();
    socket.resetAndDestroy();
    expect(await flow.closed()).toBe("aborted");
    expect(egress.stats()).toMatchObject({ open: 0 });
  });

  test.each(["reset", "timeout", "detached"] as const)("by the guest (%s) resets the host", async (reason) => {
    const { egress, flow, socket } = await connected();
    socket.resume();
    flow.disappear(reason);
    const [error] = await once(socket, "error");
    expect(error.code).toBe("ECONNRESET");
    expect(egress.stats()).toMatchObject({ open: 0 });
  });

  test("by a reset of the guest after its FIN resets the host", async () => {
    const { flow, socket } = await connected();
    flow.end();
    await readAll(socket);
    flow.disappear();
    socket.write("x");
    const [error] = await once(socket, "error");
    expect(error.code).toMatch(/^(ECONNRESET|EPIPE)$/);
  });

  test("by a reset frees what the host has not taken", async () => {
    const { egress, flow } = await connected({ window: ENDLESS.length });
    await fill(egress, flow);
    expect(egress.stats().queuedBytes).toBeGreaterThan(0);
    flow.disappear();
    expect(egress.stats().queuedBytes).toBe(0);
  });

  test("by a reset amid a batch of several slabs frees each of them once", async () => {
    const { egress, flow } = await connected({ window: ENDLESS.length });
    const bytes = Buffer.alloc(60_000);
    while (egress.stats().queuedBytes === 0) {
      for (let count = 0; count < 40; count++) flow.segment(bytes);
      egress.flushBatch();
    }
    flow.disappear();
    expect(egress.stats().queuedBytes).toBe(0);
    const regions = Array.from({ length: 100 }, () => takeRegion(LARGEST_SLAB));
    expect(new Set(regions.map(({ bytes, offset }) => bytes.subarray(offset).byteOffset)).size).toBe(100);
    for (const region of regions) giveRegion(region);
  });

  test("of all flows comes with close, which waits until no socket is left", async () => {
    const { egress, flow, socket } = await connected();
    socket.resume();
    const waiting = new FakeRequest(HOST, await closedPort());
    egress.handle(waiting);
    const reset = once(socket, "error");
    await egress.close();
    expect(flow.closeReason).toBe("aborted");
    expect(await waiting.rejection()).toBe("silent");
    expect((await reset)[0].code).toBe("ECONNRESET");
    const late = new FakeRequest(HOST, 80);
    egress.handle(late);
    expect(await late.rejection()).toBe("silent");
  });

  test("of a thousand connections, ended in all ways, leaves no socket and no memory behind", async () => {
    const server = await HostServer.listen("127.0.0.1", (socket) => {
      socket.on("data", (command) => {
        if (command.toString() === "reset") socket.resetAndDestroy();
        if (command.toString() === "end") socket.end("bye");
      });
      socket.on("end", () => socket.end());
    });
    cleanups.push(() => server.close());
    const sockets: Socket[] = [];
    const egress = makeEgress({
      connect: (options) => {
        sockets.push(connect(options));
        return sockets[sockets.length - 1];
      },
    });
    const run = async (index: number): Promise<void> => {
      const request = new FakeRequest(HOST, server.port);
      egress.handle(request);
      const flow = await request.flow();
      const way = ["reset", "end", "guest reset", "guest end"][index % 4];
      flow.segment(Buffer.from(way));
      await flow.until(() => flow.consumedBytes > 0 || flow.closeReason !== null);
      if (way === "guest reset") flow.disappear();
      if (way === "guest end") flow.end();
      if (way === "end") {
        await flow.until(() => flow.shutdownCalled);
        flow.end();
      }
      expect(await flow.closed()).toBe({ reset: "aborted", "guest reset": "reset" }[way] ?? "finished");
    };
    for (let start = 0; start < 1000; start += 100) {
      await Promise.all(Array.from({ length: 100 }, (_, index) => run(start + index)));
    }
    await Promise.all(sockets.filter((socket) => !socket.closed).map((socket) => once(socket, "close")));
    expect(sockets).toHaveLength(1000);
    expect(egress.stats()).toMatchObject({ connected: 1000, open: 0, pending: 0, queuedBytes: 0 });
  });
});
