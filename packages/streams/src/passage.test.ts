import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { duplexPair } from "node:stream";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { FlowStream } from "./flow-stream.ts";
import { makePassable, PASSABLE_READ, passUnread, writeUnqueued } from "./passage.ts";
import { LinkedStacks } from "./testing/linked-stacks.ts";
import { settle } from "./testing/peer.ts";
import { readToEnd, socketPair } from "./testing/socket-pair.ts";

describe("a connection that is made passable", () => {
  it("reads in small parts what comes, to its end, and writes", async () => {
    const [near, far] = await socketPair();
    const passable = makePassable(near);
    expect(passable).not.toBe(near);
    const sent = randomBytes(300_000);
    far.end(sent);
    const parts = await readToEnd(passable);
    expect(Buffer.concat(parts).equals(sent)).toBe(true);
    expect(Math.max(...parts.map(({ length }) => length))).toBeLessThanOrEqual(PASSABLE_READ);
    passable.end("answer");
    expect(Buffer.concat(await readToEnd(far)).toString()).toBe("answer");
  });

  it("makes the far end wait as long as nobody reads", async () => {
    const [near, far] = await socketPair();
    const passable = makePassable(near).pause();
    for (let count = 0; count < 500; count++) far.write(Buffer.alloc(64 * 1024));
    await settle(100);
    expect(far.writableNeedDrain).toBe(true);
    const drained = once(far, "drain");
    passable.resume();
    await drained;
  });

  it("is told an error", async () => {
    const [near, far] = await socketPair();
    const passable = makePassable(near);
    const failed = once(passable, "error");
    far.resetAndDestroy();
    expect(await failed).toMatchObject([{ code: "ECONNRESET" }]);
  });

  it("is the same stream when that is no socket, or is over", async () => {
    const [one] = duplexPair();
    expect(makePassable(one)).toBe(one);
    const [near] = await socketPair();
    near.destroy();
    expect(makePassable(near)).toBe(near);
  });
});

describe("bytes that pass", () => {
  let link: LinkedStacks;
  let guest: FlowStream;
  let stream: FlowStream;

  beforeEach(async () => {
    link = new LinkedStacks();
    [guest, stream] = await link.join();
  });

  afterEach(() => link.close());

  it("go from the kernel to a guest, no more than wanted", async () => {
    const [near, far] = await socketPair();
    near.pause();
    await new Promise<void>((resolve) => far.write("wanted, and not", () => resolve()));
    await expect.poll(() => passUnread(near, stream, 6)).toBe(6);
    const [bytes] = (await once(guest, "data")) as [Buffer];
    expect(String(bytes)).toBe("wanted");
    near.resume();
    expect(String((await once(near, "data"))[0])).toBe(", and not");
  });

  it("do not overtake what was read already, and go nowhere but to a guest", async () => {
    const [near, far] = await socketPair();
    near.unshift(Buffer.from("read"));
    await new Promise<void>((resolve) => far.write("unread", () => resolve()));
    expect(passUnread(near, stream, 100)).toBe(0);
    const [other, end] = duplexPair();
    expect(passUnread(near, other, 100)).toBe(0);
    expect(passUnread(end, stream, 100)).toBe(0);
  });

  it("are written at once, as far as the kernel takes them and nothing waits", async () => {
    const [near, far] = await socketPair();
    const bytes = Buffer.from("..at once..");
    expect(writeUnqueued(near, bytes, 2, 7)).toBe(7);
    bytes.fill("x");
    expect(String((await once(far, "data"))[0])).toBe("at once");
    const large = Buffer.alloc(1024 * 1024);
    let taken = large.length;
    far.pause();
    for (let count = 0; count < 100 && taken === large.length; count++) {
      taken = writeUnqueued(near, large, 0, large.length);
    }
    expect(taken).toBeLessThan(large.length);
    near.write("waits");
    expect(writeUnqueued(near, bytes, 0, 1)).toBe(0);
    const [other] = duplexPair();
    expect(writeUnqueued(other, bytes, 0, 1)).toBe(0);
  });
});
