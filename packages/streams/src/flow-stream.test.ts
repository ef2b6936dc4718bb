import { once } from "node:events";
import { getDefaultHighWaterMark } from "node:stream";
import type { CloseReason, TcpRequest } from "@hostd/stack";
import { describe, expect, it, vi } from "vitest";
import { FlowStream } from "./flow-stream.ts";
import { FakeFlow } from "./testing/fake-flow.ts";

const HIGH_WATER = getDefaultHighWaterMark(false);

function open(): { stream: FlowStream; flow: FakeFlow } {
  const stream = new FlowStream();
  const flow = new FakeFlow();
  stream.bind(flow);
  return { stream, flow };
}

/** Hands over bytes as the stack does: in memory that is used again. */
function deliver(stream: FlowStream, flow: FakeFlow, data: Uint8Array): void {
  const memory = Buffer.concat([new Uint8Array(5), data, new Uint8Array(5)]);
  stream.handler.data(flow, memory, 5, data.length);
  memory.fill(0xee);
}

/** Resolves when a stream is closed, whatever its end was. */
const closing = (stream: FlowStream) => new Promise<void>((resolve) => stream.once("close", resolve));
const turn = () => new Promise<void>((resolve) => setImmediate(resolve));

describe("FlowStream", () => {
  it("names both ends as a socket does, once it is bound", () => {
    const stream = new FlowStream();
    expect(stream).toMatchObject({ remoteAddress: undefined, remotePort: undefined });
    expect(stream).toMatchObject({ localAddress: undefined, localPort: undefined });
    stream.bind(new FakeFlow());
    expect(stream).toMatchObject({ remoteAddress: "192.168.65.3", remotePort: 40000 });
    expect(stream).toMatchObject({ localAddress: "192.168.65.1", localPort: 80 });
    stream.destroy();
  });

  it("says when the connection is established", () => {
    const { stream, flow } = open();
    const connected = vi.fn();
    stream.on("connect", connected);
    stream.handler.established(flow);
    expect(connected).toHaveBeenCalledOnce();
  });

  it("accepts a request, and gives nothing for one that has been cancelled", () => {
    const flow = new FakeFlow();
    const { localAddress, localPort, remoteAddress, remotePort } = flow;
    const request = (result: FakeFlow | null) => ({
      ...{ localAddress, localPort, remoteAddress, remotePort },
      cancelled: result === null,
      onCancel: null,
      accept: vi.fn<TcpRequest["accept"]>(() => result),
      reject: () => {},
    });
    const accepted = request(flow);
    const stream = FlowStream.accept(accepted);
    expect(stream?.remotePort).toBe(40000);
    expect(accepted.accept).toHaveBeenCalledWith(stream?.handler);
    expect(FlowStream.accept(request(null))).toBeNull();
  });

  describe("reading", () => {
    it("keeps the bytes although the stack's memory is used again", async () => {
      const { stream, flow } = open();
      deliver(stream, flow, Buffer.from("one"));
      deliver(stream, flow, Buffer.from("two"));
      stream.handler.end(flow);
      expect(Buffer.concat(await stream.toArray()).toString()).toBe("onetwo");
    });

    it("opens the window at once for a reader that keeps up", async () => {
      const { stream, flow } = open();
      stream.on("data", () => {});
      await turn();
      for (let sum = 1000; sum <= 10 * HIGH_WATER; sum += 1000) {
        deliver(stream, flow, new Uint8Array(1000));
        expect(flow.consumedBytes).toBe(sum);
      }
    });

    it("keeps the window shut for what nobody reads, and opens it when it has been read", async () => {
      const { stream, flow } = open();
      const piece = HIGH_WATER / 4;
      for (let count = 0; count < 10; count++) deliver(stream, flow, new Uint8Array(piece));
      expect(flow.consumedBytes).toBeLessThan(HIGH_WATER);
      let read = 0;
      stream.on("data", (chunk) => {
        read += chunk.length;
      });
      await turn();
      expect(read).toBe(10 * piece);
      expect(flow.consumedBytes).toBe(10 * piece);
    });

    it("follows a reader that pauses", async () => {
      const { stream, flow } = open();
      stream.resume();
      deliver(stream, flow, new Uint8Array(1000));
      stream.pause();
      for (let count = 0; count < 8; count++) deliver(stream, flow, new Uint8Array(HIGH_WATER));
      await turn();
      const shut = flow.consumedBytes;
      expect(shut).toBeLessThanOrEqual(HIGH_WATER + 1000);
      stream.resume();
      await turn();
      expect(flow.consumedBytes).toBe(8 * HIGH_WATER + 1000);
    });

    it("tells no window of a connection that is gone", async () => {
      const { stream, flow } = open();
      for (let count = 0; count < 3; count++) deliver(stream, flow, new Uint8Array(HIGH_WATER));
      const before = flow.consumedBytes;
      stream.handler.end(flow);
      stream.end();
      await turn();
      stream.handler.closed(flow, "finished");
      expect(Buffer.concat(await stream.toArray())).toHaveLength(3 * HIGH_WATER);
      expect(flow.consumedBytes).toBe(before);
    });

    it("throws away what comes after it was destroyed", () => {
      const { stream, flow } = open();
      stream.destroy();
      deliver(stream, flow, new Uint8Array(500));
      expect(flow.consumedBytes).toBe(500);
    });
  });

  describe("writing", () => {
    it("hands the connection what it has room for, and the rest when there is room", async () => {
      const { stream, flow } = open();
      const done = vi.fn();
      flow.sendRoom = 4;
      stream.write("0123456789", done);
      stream.write("abc");
      expect(Buffer.concat(flow.sent).toString()).toBe("0123");
      flow.sendRoom = 3;
      stream.handler.writable(flow);
      expect(Buffer.concat(flow.sent).toString()).toBe("0123456");
      await turn();
      expect(done).not.toHaveBeenCalled();
      flow.sendRoom = 100;
      stream.handler.writable(flow);
      await turn();
      expect(done).toHaveBeenCalledExactlyOnceWith(null);
      expect(Buffer.concat(flow.sent).toString()).toBe("0123456789abc");
    });

    it("asks the writer to wait and says when to go on", async () => {
      const { stream, flow } = open();
      flow.sendRoom = 0;
      expect(stream.write(new Uint8Array(HIGH_WATER))).toBe(false);
      const drained = once(stream, "drain");
      flow.sendRoom = Number.POSITIVE_INFINITY;
      stream.handler.writable(flow);
      await drained;
      expect(stream.write(new Uint8Array(1))).toBe(true);
    });

    it("shuts the connection down once, behind everything that was written", async () => {
      const { stream, flow } = open();
      flow.sendRoom = 0;
      stream.end("last");
      await turn();
      expect(flow.shutdowns).toBe(0);
      flow.sendRoom = 10;
      stream.handler.writable(flow);
      await once(stream, "finish");
      expect(Buffer.concat(flow.sent).toString()).toBe("last");
      expect(flow.shutdowns).toBe(1);
    });

    it.each(["reset", "detached", "timeout"] as const)("answers every write when the end is %s", async (reason) => {
      const { stream, flow } = open();
      stream.on("error", () => {});
      flow.sendRoom = 0;
      const results: unknown[] = [];
      for (let count = 0; count < 3; count++) stream.write("x", (error) => results.push(error));
      stream.handler.closed(flow, reason);
      await closing(stream);
      expect(results).toHaveLength(3);
      expect(results.every((error) => error instanceof Error)).toBe(true);
    });

    it("answers every write when it is destroyed without an error", async () => {
      const { stream, flow } = open();
      flow.sendRoom = 0;
      const results: unknown[] = [];
      for (let count = 0; count < 3; count++) stream.write("x", (error) => results.push(error));
      stream.destroy();
      await closing(stream);
      expect(results.map((error) => (error as NodeJS.ErrnoException).code)).toEqual(
        Array(3).fill("ERR_STREAM_DESTROYED"),
      );
    });
  });

  describe("ending", () => {
    const faults: [CloseReason, string][] = [
      ["reset", "ECONNRESET"],
      ["timeout", "ETIMEDOUT"],
      ["refused", "ECONNREFUSED"],
      ["unreachable", "EHOSTUNREACH"],
      ["detached", "ECONNRESET"],
    ];

    it.each(faults)("turns %s into %s", async (reason, code) => {
      const { stream, flow } = open();
      const failed = once(stream, "error");
      stream.handler.closed(flow, reason);
      expect(await failed).toMatchObject([{ code }]);
      expect(stream.destroyed).toBe(true);
      expect(flow.aborts).toBe(0);
    });

    it("is destroyed without an error when somebody else here ends the connection, and fails what waits", async () => {
      const { stream, flow } = open();
      const failures: unknown[] = [];
      stream.on("error", (error) => failures.push(error));
      flow.sendRoom = 0;
      const written = new Promise((resolve) => stream.write("too late", resolve));
      stream.handler.closed(flow, "aborted");
      await closing(stream);
      expect(await written).toMatchObject({ code: "ERR_STREAM_DESTROYED" });
      expect({ failures, aborts: flow.aborts }).toEqual({ failures: [], aborts: 0 });
    });

    it("leaves the other direction open when one ends", async () => {
      const { stream, flow } = open();
      stream.resume();
      stream.handler.end(flow);
      await once(stream, "end");
      expect(stream.writable).toBe(true);
      expect(flow.shutdowns).toBe(0);
      stream.write("more");
      expect(Buffer.concat(flow.sent).toString()).toBe("more");

      const other = open();
      other.stream.end();
      await once(other.stream, "finish");
      other.stream.resume();
      deliver(other.stream, other.flow, new Uint8Array(10));
      expect(other.flow.consumedBytes).toBe(10);
      expect(other.stream.destroyed).toBe(false);
      expect([flow.aborts, other.flow.aborts]).toEqual([0, 0]);
    });

    it("closes without a reset once both directions have ended", async () => {
      const { stream, flow } = open();
      stream.resume();
      stream.end("bye");
      stream.handler.end(flow);
      await closing(stream);
      stream.destroy();
      stream.handler.closed(flow, "finished");
      expect(flow.aborts).toBe(0);
      expect(flow.shutdowns).toBe(1);
    });

    it.each([
      ["nothing has ended", (_stream: FlowStream, _flow: FakeFlow) => {}],
      ["only its own side has ended", (stream: FlowStream) => void stream.end()],
      ["only the guest has ended", (stream: FlowStream, flow: FakeFlow) => stream.resume().handler.end(flow)],
      [
        "the guest's last bytes are unread",
        (stream: FlowStream, flow: FakeFlow) => {
          stream.end();
          deliver(stream, flow, new Uint8Array(10));
          stream.handler.end(flow);
        },
      ],
    ] as const)("resets when it is destroyed while %s", async (_name, prepare) => {
      const { stream, flow } = open();
      prepare(stream, flow);
      await turn();
      stream.destroy();
      expect(flow.aborts).toBe(1);
    });

    it("passes on the error that it is destroyed with", async () => {
      const { stream, flow } = open();
      const failed = once(stream, "error");
      stream.destroy(new Error("no more"));
      expect(await failed).toMatchObject([{ message: "no more" }]);
      expect(flow.aborts).toBe(1);
    });

    it("may be destroyed before it is bound", async () => {
      const stream = new FlowStream();
      stream.write("x", () => {});
      stream.destroy();
      await closing(stream);
    });
  });
});
