import { LARGEST_SLAB } from "@hostd/streams";
import { describe, expect, test } from "vitest";
import { readAll } from "../../streams/src/testing/host-server.ts";
import { pattern, sha256 } from "../../streams/src/testing/pattern.ts";
import { connected, ENDLESS, fill, makeEgress } from "./testing/tcp-harness.ts";

describe("16 MiB", () => {
  const bytes = pattern(16 * 1024 * 1024);

  test.each([
    ["segments of 1460 bytes", 1460, 40],
    ["segments of 16 KiB", 16 * 1024, 4],
    ["single bytes among large segments", 60_001, 1],
  ])("from the guest in %s arrive at the host unchanged", async (_name, segmentLength, perBatch) => {
    const { egress, flow, socket } = await connected({ window: 1024 * 1024 });
    const read = readAll(socket);
    await flow.write(bytes, segmentLength, perBatch);
    flow.end();
    expect(sha256(await read)).toBe(sha256(bytes));
    await flow.until(() => flow.consumedBytes === bytes.length);
    expect(egress.stats().queuedBytes).toBe(0);
  });

  test.each([
    ["at once", true],
    ["a little at a time", false],
  ])("from the host arrive at a guest that reads %s unchanged", async (_name, reads) => {
    const { egress, flow, socket } = await connected({ sendBuffer: 300_000, reads });
    socket.end(bytes);
    for (let step = 1; !flow.shutdownCalled && !reads; step++) {
      await flow.until(() => flow.sendQueued > 0 || flow.shutdownCalled);
      flow.read(100_000 + ((step * 7919) % 150_000));
    }
    flow.read(Number.POSITIVE_INFINITY);
    await flow.until(() => flow.receivedBytes === bytes.length);
    await flow.until(() => flow.shutdownCalled);
    expect(sha256(flow.received)).toBe(sha256(bytes));
    expect(flow.largestQueue).toBeLessThanOrEqual(300_000);
    expect(egress.stats().queuedBytes).toBe(0);
  });
});

describe("backpressure", () => {
  test("a host that does not read closes the guest's window, with no more held than the window", async () => {
    const window = 8 * 1024 * 1024;
    const { egress, flow, socket } = await connected({ window });
    const writing = flow.write(ENDLESS);
    await flow.until(() => flow.windowLeft === 0);
    const { queuedBytes } = egress.stats();
    const sent = flow.sentBytes;
    expect(queuedBytes).toBeGreaterThan(0);
    expect(queuedBytes).toBeLessThanOrEqual(window + 2 * LARGEST_SLAB);
    socket.resume();
    await flow.until(() => flow.consumedBytes > sent);
    flow.disappear();
    await writing;
    expect(egress.stats().queuedBytes).toBe(0);
  });

  test("a guest that does not read stops the host, with at most 64 KiB held", async () => {
    const { egress, flow, socket } = await connected({ sendBuffer: 500_000, reads: false });
    const total = 32 * 1024 * 1024;
    const written = new Promise<void>((resolve) => {
      socket.end(Buffer.alloc(total), () => resolve());
    });
    await flow.until(() => flow.sendRoom === 0);
    expect(egress.stats().queuedBytes).toBeLessThanOrEqual(64 * 1024);
    expect(flow.largestQueue).toBe(500_000);
    expect(flow.shutdownCalled).toBe(false);
    while (!flow.shutdownCalled) {
      await flow.until(() => flow.sendQueued > 0 || flow.shutdownCalled);
      flow.read(Number.POSITIVE_INFINITY);
    }
    await written;
    expect(flow.receivedBytes).toBe(total);
  });

  test("one flow that is stuck does not delay another", async () => {
    const egress = makeEgress();
    const stuck = await connected({ window: 8 * 1024 * 1024 }, egress);
    const free = await connected({}, egress);
    const writing = stuck.flow.write(ENDLESS);
    await stuck.flow.until(() => stuck.flow.windowLeft === 0);
    free.socket.on("data", (chunk) => free.socket.write(chunk));
    free.flow.segment(Buffer.from("ping"));
    await free.flow.until(() => free.flow.receivedBytes === 4);
    expect(stuck.flow.windowLeft).toBe(0);
    stuck.flow.disappear();
    await writing;
  });

  test("a FIN waits for the bytes before it", async () => {
    const { egress, flow, socket } = await connected({ window: ENDLESS.length });
    const bytes = await fill(egress, flow);
    flow.end();
    expect(sha256(await readAll(socket))).toBe(sha256(bytes));
  });

  test("a host still gets all bytes of a guest that has finished", async () => {
    const { egress, flow, socket } = await connected({ window: ENDLESS.length });
    const bytes = await fill(egress, flow);
    socket.end();
    await flow.until(() => flow.shutdownCalled);
    flow.end();
    expect(await flow.closed()).toBe("finished");
    expect(egress.stats().open).toBe(1);
    expect(sha256(await readAll(socket))).toBe(sha256(bytes));
    await egress.close();
    expect(egress.stats()).toMatchObject({ open: 0, queuedBytes: 0 });
  });

  test("a flow beyond the memory for all is reset, and the log says so once", async () => {
    const egress = makeEgress({ maxQueuedBytes: 1024 * 1024 });
    const { flow } = await connected({ window: ENDLESS.length }, egress);
    await flow.write(ENDLESS);
    expect(flow.closeReason).toBe("aborted");
    expect(egress.stats()).toMatchObject({ droppedMemory: 1, open: 0, queuedBytes: 0 });
    expect(egress.logger.lines).toHaveLength(1);
  });
});

describe("a batch", () => {
  test("of segments is written at once, and a batch that nobody ends is ended by itself", async () => {
    const { egress, flow, socket } = await connected();
    const chunks: number[] = [];
    socket.on("data", (chunk: Buffer) => chunks.push(chunk.length));
    for (let count = 0; count < 10; count++) flow.segment(Buffer.alloc(1460, count));
    expect(flow.consumedBytes).toBe(0);
    egress.flushBatch();
    expect(flow.consumedBytes).toBe(14_600);
    for (let count = 0; count < 3; count++) flow.segment(Buffer.alloc(100, count));
    await flow.until(() => flow.consumedBytes === 14_900);
    expect(egress.stats().queuedBytes).toBe(0);
  });
});
