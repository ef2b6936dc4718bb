import { randomBytes } from "node:crypto";
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

/** Hands over a segment's bytes as the stack does: in memory that is used again. */
function segment(stream: FlowStream, flow: FakeFlow, data: Uint8Array): void {
  const memory = Buffer.concat([new Uint8Array(5), data, new Uint8Array(5)]);
  stream.handler.data(flow, memory, 5, data.length);
  memory.fill(0xee);
}

/** The same, as all that a batch of frames brings. */
function deliver(stream: FlowStream, flow: FakeFlow, data: Uint8Array): void {
  segment(stream, flow, data);
  FlowStream.flushBatch();
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

    it("has what one batch brings read together, in pieces of at most 64 KiB", async () => {
      const { stream, flow } = open();
      const pieces: Buffer[] = [];
      stream.on("data", (bytes: Buffer) => pieces.push(bytes));
      await turn();
      const sent = randomBytes(200_000);
      for (let at = 0; at < sent.length; at += 1460) segment(stream, flow, sent.subarray(at, at + 1460));
      FlowStream.flushBatch();
      expect(pieces.map(({ length }) => length)).toEqual([65_536, 65_536, 65_536, 200_000 - 3 * 65_536]);
      expect(Buffer.concat(pieces).equals(sent)).toBe(true);
      expect(flow.consumedBytes).toBe(sent.length);
    });

    it("has a batch that nobody ends read when the task is over", async () => {
      const { stream, flow } = open();
      const pieces: Buffer[] = [];
      stream.on("data", (bytes: Buffer) => pieces.push(bytes));
      await turn();
      for (const text of ["on", "e"]) segment(stream, flow, Buffer.from(text));
      expect(pieces).toEqual([]);
      await Promise.resolve();
      expect(pieces.map(String)).toEqual(["one"]);
    });

    it("reads what a batch brings before the end that is in it", async () => {
      const { stream, flow } = open();
      segment(stream, flow, Buffer.from("last"));
      stream.handler.end(flow);
      expect(Buffer.concat(await stream.toArray()).toString()).toBe("last");
    });

    it("takes no part of a batch after a reader has destroyed it", async () => {
      const { stream, flow } = open();
      stream.on("data", () => stream.destroy());
      await turn();
      const sent = 100_000;
      segment(stream, flow, new Uint8Array(sent));
      FlowStream.flushBatch();
      expect(stream.destroyed).toBe(true);
      expect(flow.consumedBytes).toBeLessThanOrEqual(sent);
      expect(flow.aborts).toBe(1);
    });

    it("throws away what comes after it was destroyed", () => {
      const { stream, flow } = open();
      stream.destroy();
      deliver(stream, flow, new Uint8Array(500));
      expect(flow.consumedBytes).toBe(500);
    });
  });

  describe("with an offer", () => {
    it("has the bytes taken where they lie, and opens the window for those", async () => {
      const { stream, flow } = open();
      const taken: string[] = [];
      stream.offerTo((bytes, offset, length) => {
        taken.push(Buffer.from(bytes.subarray(offset, offset + length)).toString());
        return length;
      });
      const read = vi.fn();
      stream.on("data", read);
      for (const text of ["on", "e"]) segment(stream, flow, Buffer.from(text));
      FlowStream.flushBatch();
      expect(taken).toEqual(["one"]);
      expect(flow.consumedBytes).toBe(3);
      await turn();
      expect(read).not.toHaveBeenCalled();
    });

    it("gives the reader what is not taken, and offers nothing before that is read", async () => {
      const { stream, flow } = open();
      const offered: number[] = [];
      stream.offerTo((_bytes, _offset, length) => {
        offered.push(length);
        return 4;
      });
      deliver(stream, flow, Buffer.from("take the rest"));
      deliver(stream, flow, Buffer.from(" in order"));
      expect(offered).toEqual([13]);
      expect([stream.read(), stream.read()].map(String)).toEqual([" the rest", " in order"]);
      deliver(stream, flow, Buffer.from("takenthis"));
      expect(offered).toEqual([13, 9]);
      expect(String(stream.read())).toBe("nthis");
    });

    it("offers a large segment before the batch ends, unless something waits before it", () => {
      const { stream, flow } = open();
      const offered: number[] = [];
      stream.offerTo((_bytes, _offset, length) => {
        offered.push(length);
        return length;
      });
      segment(stream, flow, new Uint8Array(30_000));
      expect(offered).toEqual([30_000]);
      segment(stream, flow, new Uint8Array(10));
      segment(stream, flow, new Uint8Array(30_000));
      expect(offered).toEqual([30_000]);
      FlowStream.flushBatch();
      expect(offered).toEqual([30_000, 30_010]);
      expect(flow.consumedBytes).toBe(60_010);
    });

    it("offers nothing once that was ended", () => {
      const { stream, flow } = open();
      const offer = vi.fn(() => 0);
      stream.offerTo(offer);
      stream.offerTo(null);
      deliver(stream, flow, Buffer.from("read"));
      expect(offer).not.toHaveBeenCalled();
      expect(String(stream.read())).toBe("read");
    });
  });

  describe("filled", () => {
    const source = (text: string) => {
      let at = 0;
      return (bytes: Uint8Array, offset: number, length: number) => {
        const part = Buffer.from(text).subarray(at, at + length);
        at += part.length;
        bytes.set(part, offset);
        return part.length;
      };
    };

    it("sends what is read, up to the most and until nothing more is there", () => {
      const { stream, flow } = open();
      expect(stream.fill(3, source("abcdef"))).toBe(3);
      flow.sendRoom = 100;
      expect(stream.fill(100, source("ghi"))).toBe(3);
      expect(Buffer.concat(flow.sent).toString()).toBe("abcghi");
    });

    it("reads no more than there is room for", () => {
      const { stream, flow } = open();
      flow.sendRoom = 4;
      expect(stream.fill(100, source("abcdef"))).toBe(4);
      expect(stream.fill(100, source("never"))).toBe(0);
    });

    it("does not overtake what was written, and is over with the stream", async () => {
      const { stream, flow } = open();
      flow.sendRoom = 0;
      stream.write("before");
      flow.sendRoom = 100;
      expect(stream.fill(100, source("behind"))).toBe(0);
      stream.handler.writable(flow);
      expect(stream.fill(100, source("behind"))).toBe(6);
      expect(Buffer.concat(flow.sent).toString()).toBe("beforebehind");
      stream.end();
      expect(stream.fill(100, source("late"))).toBe(0);
    });
  });

  describe("handed over", () => {
    const taker = () => ({
      established: vi.fn(),
      data: vi.fn(),
      end: vi.fn(),
      writable: vi.fn(),
      closed: vi.fn(),
      abandon: vi.fn(),
    });

    it("tells its taker everything, and itself carries nothing", () => {
      const { stream, flow } = open();
      const next = taker();
      expect(stream.handOver(next)).toEqual({ flow, hasEnded: false });
      deliver(stream, flow, Buffer.from("all"));
      stream.handler.writable(flow);
      stream.handler.end(flow);
      stream.handler.closed(flow, "finished");
      expect(next.data).toHaveBeenCalledWith(flow, expect.anything(), 5, 3);
      for (const told of [next.writable, next.end]) expect(told).toHaveBeenCalledWith(flow);
      expect(next.closed).toHaveBeenCalledWith(flow, "finished");
      expect(stream.read()).toBeNull();
    });

    it("has its taker reset the connection when it is destroyed", async () => {
      const { stream } = open();
      const next = taker();
      stream.handOver(next);
      stream.destroy();
      await closing(stream);
      expect(next.abandon).toHaveBeenCalledOnce();
    });

    it("opens the window for what was read before", () => {
      const { stream, flow } = open();
      for (let count = 0; count < 4; count++) deliver(stream, flow, new Uint8Array(HIGH_WATER));
      expect(flow.consumedBytes).toBeLessThan(4 * HIGH_WATER);
      stream.pause();
      for (let count = 0; count < 4; count++) expect(stream.read()).toHaveLength(HIGH_WATER);
      stream.handOver(taker());
      expect(flow.consumedBytes).toBe(4 * HIGH_WATER);
    });

    it("says that the guest has ended, which its taker is not told", () => {
      const { stream, flow } = open();
      stream.handler.end(flow);
      const next = taker();
      expect(stream.handOver(next)).toEqual({ flow, hasEnded: true });
      expect(next.end).not.toHaveBeenCalled();
    });

    it("gives the rest of a segment to its taker when the reader of the beginning hands it over", async () => {
      const { stream, flow } = open();
      const next = taker();
      stream.on("data", () => stream.handOver(next));
      await turn();
      segment(stream, flow, new Uint8Array(100_000));
      expect(next.data.mock.calls.map(([, , , length]) => length)).toEqual([100_000 - 65_536]);
    });

    it.each([
      ["something waits to be read", (stream: FlowStream, flow: FakeFlow) => deliver(stream, flow, new Uint8Array(1))],
      ["something was gathered", (stream: FlowStream, flow: FakeFlow) => segment(stream, flow, new Uint8Array(1))],
      [
        "something waits to be sent",
        (stream: FlowStream, flow: FakeFlow) => {
          flow.sendRoom = 0;
          stream.write("waits");
        },
      ],
      ["it has ended", (stream: FlowStream) => void stream.end()],
      ["it is destroyed", (stream: FlowStream) => void stream.destroy()],
      ["the connection is gone", (stream: FlowStream, flow: FakeFlow) => stream.handler.closed(flow, "finished")],
    ] as const)("is not when %s", (_name, prepare) => {
      const { stream, flow } = open();
      prepare(stream, flow);
      expect(stream.handOver(taker())).toBeNull();
      stream.destroy();
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
      expect(stream.write(new Uint8Array(stream.writableHighWaterMark))).toBe(false);
      const drained = once(stream, "drain");
      flow.sendRoom = Number.POSITIVE_INFINITY;
      stream.handler.writable(flow);
      await drained;
      expect(stream.write(new Uint8Array(1))).toBe(true);
    });

    it("knows how much the guest has not acknowledged, as long as there is a connection", async () => {
      const { stream, flow } = open();
      expect(stream.unacknowledged).toBe(0);
      flow.sendRoom = 0;
      stream.write("waits");
      expect(stream.unacknowledged).toBe(5);
      flow.sendRoom = 5;
      stream.handler.writable(flow);
      flow.sendQueued = 5;
      await turn();
      expect(stream.unacknowledged).toBe(5);
      flow.sendQueued = 0;
      expect(stream.unacknowledged).toBe(0);
      flow.sendQueued = 5;
      stream.handler.closed(flow, "finished");
      expect(stream.unacknowledged).toBe(0);
      stream.destroy();
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
