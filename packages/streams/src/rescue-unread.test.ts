import { once } from "node:events";
import { connect, createServer, type Socket } from "node:net";
import { join } from "node:path";
import { Duplex } from "node:stream";
import { describe, expect, test } from "vitest";
import { rescueUnread } from "./rescue-unread.ts";
import { cleanUp, makeFolder, settle } from "./testing/peer.ts";

/** Both ends of a Unix socket, of which nothing is read. */
async function makeSockets(): Promise<[Socket, Socket]> {
  const path = join(await makeFolder(), "s");
  const server = createServer({ allowHalfOpen: true, pauseOnConnect: true });
  server.listen(path);
  await once(server, "listening");
  cleanUp(() => server.close());
  const here = connect({ path, allowHalfOpen: true });
  const [there] = (await once(server, "connection")) as [Socket];
  for (const socket of [here, there]) {
    socket.on("error", () => {});
    cleanUp(() => socket.destroy());
  }
  return [here, there];
}

describe("what was not read of a stream", () => {
  test("is rescued from a socket whose write fails, from Node's buffer and the kernel's", async () => {
    const [here, there] = await makeSockets();
    const rescued: Buffer[] = [];
    rescueUnread(here, (bytes) => rescued.push(bytes));
    let isClosed = false;
    here.on("close", () => (isClosed = true));
    const sent = Buffer.from("0123456789".repeat(15_000));
    there.write(sent);
    await settle();
    // Node reads ahead until its buffer is full.
    here.once("readable", () => {});
    await settle();
    expect(here.readableLength).toBeGreaterThan(0);
    expect(here.readableLength).toBeLessThan(sent.length);
    there.destroy();
    await settle();
    here.write("x");
    while (!isClosed) await settle(1);
    expect(Buffer.concat(rescued).equals(sent)).toBe(true);
  });

  test("is rescued from a stream that ends by an error", async () => {
    const stream = new Duplex({ read: () => {}, write: (_bytes, _encoding, done) => done() });
    const failed = once(stream, "error");
    const rescued: string[] = [];
    rescueUnread(stream, (bytes) => rescued.push(bytes.toString()));
    stream.push("a");
    stream.push("b");
    stream.destroy(new Error("reset"));
    await failed;
    expect(rescued.join("")).toBe("ab");
  });

  test("is of no use once the stream was destroyed on purpose", async () => {
    const [here, there] = await makeSockets();
    const rescued: Buffer[] = [];
    rescueUnread(here, (bytes) => rescued.push(bytes));
    there.write("a");
    await settle();
    here.destroy();
    await once(here, "close");
    expect(rescued).toEqual([]);
  });
});
