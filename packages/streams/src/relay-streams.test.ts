import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import type { Socket } from "node:net";
import type { Duplex } from "node:stream";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { FlowStream } from "./flow-stream.ts";
import { relayStreams } from "./relay-streams.ts";
import { LinkedStacks } from "./testing/linked-stacks.ts";
import { settle } from "./testing/peer.ts";
import { readToEnd, socketPair } from "./testing/socket-pair.ts";

const MEGABYTE = 1_000_000;

async function readSome(stream: Duplex, length: number): Promise<Buffer> {
  const parts: Buffer[] = [];
  let total = 0;
  while (total < length) {
    const part: Buffer | null = stream.read();
    if (part === null) {
      await once(stream, "readable");
      continue;
    }
    parts.push(part);
    total += part.length;
  }
  return Buffer.concat(parts);
}

describe("a guest's connection and a socket that are relayed", () => {
  let link: LinkedStacks;
  /** The guest's end, and the gateway's. */
  let guest: FlowStream;
  let stream: FlowStream;
  /** The end on this host, and the far one. */
  let socket: Socket;
  let far: Socket;

  beforeEach(async () => {
    link = new LinkedStacks();
    [guest, stream] = await link.join();
    [socket, far] = await socketPair();
  });

  afterEach(() => link.close());

  const closing = (one: Duplex) => new Promise<void>((resolve) => one.once("close", resolve));

  it("carry what is sent both ways, and close in order", async () => {
    expect(relayStreams(stream, socket)).toBe(true);
    const closed = Promise.all([closing(stream), closing(far)]);
    guest.end("question");
    expect(Buffer.concat(await readToEnd(far)).toString()).toBe("question");
    far.end("answer");
    expect(Buffer.concat(await readToEnd(guest)).toString()).toBe("answer");
    await closed;
    expect(link.resets).toBe(0);
  });

  it("carry large transfers unchanged both ways at once", async () => {
    relayStreams(stream, socket);
    const sent = [randomBytes(10 * MEGABYTE), randomBytes(10 * MEGABYTE)];
    guest.end(sent[0]);
    far.end(sent[1]);
    const sum = async (one: Duplex) => {
      const hash = createHash("sha256");
      one.on("data", (part) => hash.update(part));
      await once(one, "end");
      return hash.digest("hex");
    };
    const sums = await Promise.all([sum(far), sum(guest)]);
    expect(sums).toEqual(sent.map((bytes) => createHash("sha256").update(bytes).digest("hex")));
  });

  it("carry what either has sent before, in its order", async () => {
    guest.write("early ");
    far.write("greeting ");
    stream.unshift((await readSome(stream, 6)).subarray(0, 6));
    socket.unshift(await readSome(socket, 9));
    expect(relayStreams(stream, socket)).toBe(true);
    guest.write("and late");
    far.write("and answer");
    expect(String(await readSome(far, 14))).toBe("early and late");
    expect(String(await readSome(guest, 19))).toBe("greeting and answer");
  });

  it("carry what a guest has sent before, be it more than the far end takes", async () => {
    const sent = randomBytes(3 * MEGABYTE);
    guest.end(sent);
    await once(stream, "readable");
    expect(relayStreams(stream, socket)).toBe(true);
    expect(Buffer.concat(await readToEnd(far)).equals(sent)).toBe(true);
  });

  it("tell of an end that the guest has sent before", async () => {
    guest.end("that is all");
    await readSome(stream, 11).then((bytes) => stream.unshift(bytes));
    await new Promise((resolve) => setImmediate(resolve));
    expect(relayStreams(stream, socket)).toBe(true);
    expect(Buffer.concat(await readToEnd(far)).toString()).toBe("that is all");
  });

  it("are both reset when the stream is destroyed", async () => {
    relayStreams(stream, socket);
    guest.on("error", () => {});
    const closed = Promise.all([closing(guest), closing(far)]);
    const failed = once(far, "error");
    far.resume();
    stream.destroy();
    await closed;
    expect(await failed).toMatchObject([{ code: "ECONNRESET" }]);
    expect(link.resets).toBe(1);
  });

  it("close the stream when the far end resets", async () => {
    relayStreams(stream, socket);
    guest.on("error", () => {});
    const closed = Promise.all([closing(guest), closing(stream)]);
    far.resetAndDestroy();
    await closed;
    expect(link.resets).toBe(1);
  });

  it("have the far end wait for a guest that reads nothing", async () => {
    relayStreams(stream, socket);
    const piece = Buffer.alloc(64 * 1024);
    for (let count = 0; count < 500; count++) far.write(piece);
    await settle(100);
    expect(far.writableNeedDrain).toBe(true);
    const drained = once(far, "drain");
    guest.resume();
    await drained;
  });

  it("leave nothing of the socket itself", () => {
    relayStreams(stream, socket);
    expect(socket.destroyed).toBe(true);
  });

  it.each([
    ["the stream has ended", (): void => void stream.end()],
    ["the stream is destroyed", (): void => void stream.destroy()],
    ["the socket has ended", (): void => void socket.end()],
    ["the socket is destroyed", (): void => void socket.destroy()],
    [
      "the socket has much to write",
      (): void => {
        for (let count = 0; count < 200; count++) socket.write(Buffer.alloc(64 * 1024));
      },
    ],
  ] as const)("are not when %s", (_name, prepare) => {
    guest.on("error", () => {});
    prepare();
    expect(relayStreams(stream, socket)).toBe(false);
  });

  it("lose nothing when they cannot be", async () => {
    guest.write("still here");
    stream.unshift(await readSome(stream, 10));
    // It ends nothing: the relay is refused because the stream has something to send that does not fit.
    stream.write(Buffer.alloc(20 * MEGABYTE));
    expect(relayStreams(stream, socket)).toBe(false);
    expect(String(await readSome(stream, 10))).toBe("still here");
  });
});
