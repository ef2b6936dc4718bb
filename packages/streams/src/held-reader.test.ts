import { PassThrough } from "node:stream";
import { expect, test } from "vitest";
import { HeldReader } from "./held-reader.ts";
import { settle } from "./testing/peer.ts";

/** A reader of a stream in memory, and what was taken from it. */
function makeReader(take: (bytes: Buffer, start: number) => number = (bytes) => bytes.length) {
  const source = new PassThrough({ highWaterMark: 1024 });
  const taken: string[] = [];
  const reader = new HeldReader<"one" | "two">(source, {
    take: (bytes, start) => {
      const end = take(bytes, start);
      taken.push(bytes.toString("latin1", start, end));
      return end;
    },
    finished: (by) => taken.push(`<${by}>`),
  });
  return { source, reader, taken };
}

test("bytes and the end are handed on as they come", async () => {
  const { source, taken } = makeReader();
  source.write("a");
  await settle();
  expect(taken).toEqual(["a"]);
  source.end("b");
  await settle();
  expect(taken).toEqual(["a", "b", "<end>", "<close>"]);
});

test("a reader is held until its last reason is released", async () => {
  const { source, reader, taken } = makeReader();
  reader.hold("one");
  reader.hold("two");
  reader.hold("one");
  source.write("a");
  source.end("b");
  await settle();
  reader.release("one");
  expect(taken).toEqual([]);
  expect(reader.isHeldFor("one")).toBe(false);
  expect(reader.isHeldFor("two")).toBe(true);
  reader.release("two");
  expect(taken.join("")).toBe("ab<end><close>");
});

test("what was not taken is offered again, in its order", async () => {
  const { source, reader, taken } = makeReader((_bytes, start) => {
    reader.hold("one");
    return start + 1;
  });
  source.write("abc");
  await settle();
  expect(taken).toEqual(["a"]);
  source.write("d");
  await settle();
  for (const expected of [
    ["a", "b"],
    ["a", "b", "c"],
    ["a", "b", "c", "d"],
  ]) {
    reader.release("one");
    expect(taken).toEqual(expected);
  }
});

test("a reader may be released while it takes", async () => {
  const { source, reader, taken } = makeReader((bytes, start) => {
    reader.hold("one");
    reader.release("one");
    return start + 1 > bytes.length ? start : start + 1;
  });
  source.write("abc");
  await settle();
  expect(taken).toEqual(["a", "b", "c"]);
});

test("a held reader reads on a little, to see the end, and no more", async () => {
  const { source, reader, taken } = makeReader();
  reader.hold("one");
  const piece = Buffer.alloc(16 * 1024, "x");
  let accepted = 0;
  for (let count = 0; count < 64; count++) {
    if (source.writableLength > 1024) break;
    source.write(piece);
    accepted += piece.length;
    await settle(2);
  }
  // What is kept, and what the stream itself holds on both of its sides.
  expect(accepted).toBeGreaterThanOrEqual(64 * 1024);
  expect(accepted).toBeLessThanOrEqual(128 * 1024);
  reader.release("one");
  await settle();
  expect(taken.join("").length).toBe(accepted);
});

test("a stream that is closed without its end is told when all before was taken", async () => {
  const { source, reader, taken } = makeReader();
  source.on("error", () => {});
  reader.hold("one");
  source.write("a");
  await settle();
  source.destroy(new Error("lost"));
  await settle();
  expect(taken).toEqual([]);
  reader.release("one");
  expect(taken).toEqual(["a", "<close>"]);
});

test("what is discarded is read to its end, and handed to nobody", async () => {
  const { source, reader, taken } = makeReader();
  reader.hold("one");
  for (let count = 0; count < 10; count++) source.write(Buffer.alloc(16 * 1024));
  await settle();
  reader.discard();
  reader.hold("two");
  let hasEnded = false;
  source.on("end", () => (hasEnded = true));
  source.end("b");
  await settle(100);
  expect(hasEnded).toBe(true);
  expect(taken).toEqual([]);
  expect(reader.isHeld).toBe(false);
});

test.each([false, true])("the end of a stream from before is told, and nothing else (held: %s)", async (isHeld) => {
  const source = new PassThrough();
  source.resume().end("gone");
  await settle();
  const taken: string[] = [];
  const reader = new HeldReader<"one">(source, {
    take: (bytes) => bytes.length,
    finished: (by) => taken.push(by),
  });
  if (isHeld) reader.hold("one");
  expect(taken).toEqual([]);
  await settle();
  if (isHeld) expect(taken).toEqual([]);
  reader.release("one");
  expect(taken).toEqual(["end", "close"]);
});

test("a stream that was closed before is told to be", async () => {
  const source = new PassThrough();
  source.destroy();
  await settle();
  const taken: string[] = [];
  new HeldReader(source, { take: (bytes) => bytes.length, finished: (by) => taken.push(by) });
  await settle();
  expect(taken).toEqual(["close"]);
});

test("what has come behind the bytes that are taken is known of", async () => {
  const known: boolean[] = [];
  const { source, reader } = makeReader((bytes) => {
    known.push(reader.hasMore);
    return bytes.length;
  });
  reader.hold("one");
  for (const piece of ["a", "b"]) {
    source.write(piece);
    await settle();
  }
  reader.release("one");
  expect(known).toEqual([true, false]);
});

test("a stream that is let go of is read on by somebody else, behind what was not taken", async () => {
  const { source, reader, taken } = makeReader((_bytes, start) => {
    reader.hold("one");
    return start + 1;
  });
  source.write("abc");
  await settle();
  source.write("d");
  await settle();
  expect(reader.detach().toString()).toBe("bcd");
  expect(source.isPaused()).toBe(true);
  let rest = "";
  source.on("data", (bytes) => (rest += bytes));
  source.resume().end("e");
  await settle();
  expect(rest).toBe("e");
  expect(taken).toEqual(["a"]);
});
