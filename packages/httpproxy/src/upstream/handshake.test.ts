import { Duplex, PassThrough } from "node:stream";
import { expect, test } from "vitest";
import { Peer, settle, startServer } from "../../../streams/src/testing/peer.ts";
import { ClosedError, readAnswer } from "./handshake.ts";

/** An answer of three bytes. */
function threeBytes(): (bytes: Buffer) => number | null {
  let left = 3;
  return (bytes) => {
    const part = Math.min(left, bytes.length);
    left -= part;
    return left === 0 ? part : null;
  };
}

test("what is behind the answer stays in the stream", async () => {
  const server = await startServer();
  const stream = await server.dial();
  const answer = readAnswer(stream, threeBytes());
  (await server.next()).write("abcdef");
  await answer;
  const peer = new Peer(stream);
  await peer.gets("def");
  server.peers[0].write("ghi");
  await peer.gets("defghi");
});

test("an answer in pieces, and then an end", async () => {
  const server = await startServer();
  const stream = await server.dial();
  const answer = readAnswer(stream, threeBytes());
  const other = await server.next();
  for (const byte of ["a", "b"]) {
    other.write(byte);
    await settle();
  }
  other.end("c");
  await answer;
  const peer = new Peer(stream);
  await peer.ends();
  expect(peer.text).toBe("");
  peer.end("still open");
  await other.gets("still open");
});

test.each(["", "behind"])("an end that came along with the answer and %j is seen by who reads next", async (rest) => {
  const stream = new PassThrough();
  stream.end(`abc${rest}`);
  await settle();
  await readAnswer(stream, threeBytes());
  await settle();
  const peer = new Peer(stream);
  await peer.ends();
  expect(peer.text).toBe(rest);
});

test("a stream is neither flowing nor paused afterwards", async () => {
  const stream = new PassThrough();
  stream.write("abcdef");
  await readAnswer(stream, threeBytes());
  await settle();
  expect(stream.readableFlowing).toBeNull();
  expect(["readable", "end", "close", "error"].map((event) => stream.listenerCount(event))).toEqual(
    ["readable", "end", "close", "error"].map((event) => new PassThrough().listenerCount(event)),
  );
});

test("an end before the answer is over", async () => {
  const stream = new PassThrough();
  const answer = readAnswer(stream, threeBytes());
  stream.end("ab");
  await expect(answer).rejects.toThrow(ClosedError);
});

test("a stream that was closed, or is closed meanwhile", async () => {
  const closed = new PassThrough();
  closed.destroy();
  await expect(readAnswer(closed, threeBytes())).rejects.toThrow(ClosedError);
  const stream = new PassThrough();
  const answer = readAnswer(stream, threeBytes());
  stream.destroy();
  await expect(answer).rejects.toThrow(ClosedError);
});

test("the error of the stream, and of what reads", async () => {
  const stream = new PassThrough();
  const answer = readAnswer(stream, threeBytes());
  stream.destroy(new Error("broken"));
  await expect(answer).rejects.toThrow("broken");
  const other = new PassThrough();
  other.write("abc");
  const nonsense = readAnswer(other, () => {
    throw new Error("nonsense");
  });
  await expect(nonsense).rejects.toThrow("nonsense");
});

test("no more is read than the stream keeps by itself", async () => {
  let isMore = 0;
  const stream = new Duplex({
    read() {
      isMore++;
      this.push(Buffer.alloc(16 * 1024));
    },
    write(_bytes, _encoding, done) {
      done();
    },
  });
  await readAnswer(stream, threeBytes());
  await settle();
  expect(isMore).toBeLessThan(20);
  expect(stream.readableLength).toBeGreaterThan(16 * 1024 - 4);
  stream.destroy();
});
