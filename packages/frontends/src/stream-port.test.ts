import { once } from "node:events";
import fs from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { syncBuiltinESMExports } from "node:module";
import { type AddressInfo, connect, createServer, Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { FRAMINGS } from "./framing.ts";
import { StreamPort } from "./stream-port.ts";
import { describeFrontend } from "./testing/compliance.ts";
import { encodeHyperkitFrames, openHyperkitFrontend } from "./testing/hyperkit-frontend.ts";
import { openQemuFrontend, QEMU_FRAMING } from "./testing/qemu-frontend.ts";
import { encodeQemuFrames } from "./testing/qemu-stream.ts";
import { patternFrame } from "./testing/random.ts";
import { RecordingConsumer } from "./testing/recording-consumer.ts";
import { StreamPeer } from "./testing/stream-peer.ts";

const FAULTS = [
  {
    name: "a length of 0",
    bytes: Uint8Array.of(0, 0, 0, 0, 1, 2, 3, 4),
    message: "a frame length of 0, allowed are 1 to 131072: is this QEMU's stream framing?",
  },
  {
    name: "a length beyond the limit",
    bytes: Uint8Array.of(0, 2, 0, 1),
    message: "a frame length of 131073, allowed are 1 to 131072",
  },
  {
    name: "an HTTP request in place of frames",
    bytes: Buffer.from("GET / HTTP/1.1\r\n\r\n"),
    message: "a frame length of 1195725856,",
  },
  {
    name: "an end inside a frame",
    bytes: encodeQemuFrames(patternFrame(100, 1)).subarray(0, 50),
    message: /^the connection ended 50 bytes into a frame$/,
  },
  {
    name: "an end inside a length",
    bytes: Uint8Array.of(0, 0),
    message: /^the connection ended 2 bytes into a frame$/,
  },
];

for (const transport of ["unix", "tcp"] as const) {
  for (const mode of ["listen", "dial"] as const) {
    describeFrontend({
      name: `QEMU over ${transport}, ${mode}`,
      longestFrame: FRAMINGS.qemu.maxFrameLength,
      open: () => openQemuFrontend(transport, mode),
      faults: FAULTS,
    });
  }
}

describeFrontend({
  name: "hyperkit's framing over unix",
  longestFrame: FRAMINGS.hyperkit.maxFrameLength,
  open: openHyperkitFrontend,
  faults: [
    {
      name: "a length of 0",
      bytes: Uint8Array.of(0, 0, 1, 2),
      message: "a frame length of 0, allowed are 1 to 65535: is this hyperkit's stream framing?",
    },
    {
      name: "an end inside a frame",
      bytes: encodeHyperkitFrames(patternFrame(100, 1)).subarray(0, 50),
      message: /^the connection ended 50 bytes into a frame$/,
    },
    {
      name: "an end inside a length",
      bytes: Uint8Array.of(1),
      message: /^the connection ended 1 bytes into a frame$/,
    },
  ],
});

describe("StreamPort", () => {
  let folder: string;
  let port: StreamPort;
  let peer: StreamPeer;
  let consumer: RecordingConsumer;

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), "hostd-port-"));
    consumer = new RecordingConsumer();
    const path = join(folder, "vm.sock");
    const accepted = Promise.withResolvers<Socket>();
    const server = createServer({ pauseOnConnect: true }, accepted.resolve);
    await new Promise<void>((resolve) => server.listen(path, resolve));
    peer = new StreamPeer(connect(path), QEMU_FRAMING);
    port = new StreamPort(await accepted.promise, "the name");
    server.close();
  });

  afterEach(async () => {
    vi.restoreAllMocks();
    port.close();
    peer.socket.destroy();
    await Promise.all([port.ended, peer.closed]);
    await rm(folder, { recursive: true });
  });

  it("has the name that it was given", () => {
    expect(port.name).toBe("the name");
  });

  it("leaves what arrives before it is started where it is, and hands it over then", async () => {
    const frames = [1, 2, 3].map((tag) => patternFrame(500, tag));
    await new Promise<void>((resolve) => peer.socket.write(encodeQemuFrames(...frames), () => resolve()));
    // Two turns: one in which the kernel reports the bytes, and one more.
    for (let turn = 0; turn < 2; turn++) await new Promise((resolve) => setImmediate(resolve));
    port.start(consumer);
    await consumer.until(() => consumer.frames.length === 3);
    expect(consumer.frames).toEqual(frames);
  });

  it("hands over frames in one memory, without a copy", async () => {
    const memory = new Set<ArrayBufferLike>();
    const receive = consumer.receiveFrame.bind(consumer);
    consumer.receiveFrame = (bytes, view, offset, length) => {
      memory.add(bytes.buffer);
      receive(bytes, view, offset, length);
    };
    port.start(consumer);
    for (let tag = 0; tag < 10; tag++) {
      peer.send(patternFrame(1514, tag));
      await consumer.until(() => consumer.frames.length === tag + 1);
    }
    expect(memory.size).toBe(1);
  });

  it("sends what a turn committed in one write of the socket", async () => {
    port.start(consumer);
    const queued = vi.spyOn(Socket.prototype, "write");
    const write = vi.spyOn(fs, "writeSync");
    syncBuiltinESMExports();
    const frames = Array.from({ length: 100 }, (_, tag) => patternFrame(1514, tag));
    for (const frame of frames) {
      port.bytes.set(frame, port.reserve(frame.length));
      port.commit(frame.length);
    }
    port.flush();
    port.flush();
    expect(write).toHaveBeenCalledTimes(1);
    expect(queued).not.toHaveBeenCalled();
    await peer.received(frames.length);
    expect(peer.frames).toEqual(frames);
    vi.restoreAllMocks();
    syncBuiltinESMExports();
  });

  it("resolves its end after the word to the consumer", async () => {
    port.start(consumer);
    peer.socket.end();
    await port.ended;
    expect(consumer.faults).toEqual([null]);
  });

  it("ends although nobody was started on it", async () => {
    port.close();
    await port.ended;
    await peer.until(() => peer.ended);
  });
});

describe("StreamPort of a connection that was read from", () => {
  const frames = [1, 2, 3].map((tag) => patternFrame(500, tag));
  const stream = Buffer.from(encodeQemuFrames(...frames));

  it.each([
    ["nothing of the stream", 0],
    ["a part of a length", 3],
    ["a part of a frame", 504 + 250],
    ["a whole frame", 504],
    ["everything", stream.length],
  ])("goes on behind %s", async (_, length) => {
    const folder = await mkdtemp(join(tmpdir(), "hostd-port-"));
    const path = join(folder, "vm.sock");
    const accepted = Promise.withResolvers<Socket>();
    const server = createServer({ pauseOnConnect: true }, accepted.resolve);
    await new Promise<void>((resolve) => server.listen(path, resolve));
    const peer = connect(path);
    const socket = await accepted.promise;
    peer.write(Buffer.concat([Buffer.from("head"), stream.subarray(0, length)]));
    let early = Buffer.alloc(0);
    const port = await new Promise<StreamPort>((resolve) => {
      socket.on("data", (chunk: Buffer) => {
        early = Buffer.concat([early, chunk]);
        if (early.length < 4 + length) return;
        socket.removeAllListeners("data");
        socket.pause();
        resolve(new StreamPort(socket, "the name", { early: early.subarray(4) }));
      });
      socket.resume();
    });
    const consumer = new RecordingConsumer();
    let isReady = false;
    consumer.onFrame = () => expect(isReady).toBe(true);
    port.start(consumer);
    isReady = true;
    peer.write(stream.subarray(length));
    await consumer.until(() => consumer.frames.length === frames.length);
    expect(consumer.frames).toEqual(frames);
    peer.end();
    expect(await consumer.closing()).toBeNull();
    server.close();
    await rm(folder, { recursive: true });
  });

  it("drops what was read when it is closed before it got to it", async () => {
    const server = createServer({ pauseOnConnect: true });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const { port: number } = server.address() as AddressInfo;
    const [socket] = (await Promise.all([once(server, "connection"), connect(number, "127.0.0.1")]))[0] as [Socket];
    const port = new StreamPort(socket, "the name", { early: stream });
    const consumer = new RecordingConsumer();
    port.start(consumer);
    port.close();
    await port.ended;
    expect(consumer.frames).toEqual([]);
    server.close();
  });
});
