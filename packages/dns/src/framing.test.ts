import { expect, test } from "vitest";
import { frameMessage, MessageReader } from "./framing.ts";
import { seededRandom } from "./testing/messages.ts";

/** All messages of a stream that arrives in these chunks. */
function readAll(chunks: readonly Uint8Array[]): Uint8Array[] {
  const reader = new MessageReader();
  const messages: Uint8Array[] = [];
  for (const chunk of chunks) {
    for (let offset = 0; offset < chunk.length; ) {
      offset = reader.read(chunk, offset);
      const message = reader.take();
      if (message !== null) messages.push(message);
    }
  }
  return messages;
}

test("a stream has the same messages however it is cut", () => {
  const random = seededRandom(3);
  const lengths = [0, 1, 12, 255, 256, 257, 65_535, 0, 3];
  const messages = lengths.map((length) => Uint8Array.from({ length }, () => random() & 0xff));
  const stream = Uint8Array.from(messages.flatMap((message) => [...frameMessage(message)]));
  expect(readAll([stream])).toEqual(messages);
  expect(readAll(Array.from(stream, (byte) => Uint8Array.of(byte)))).toEqual(messages);
  for (let round = 0; round < 20; round++) {
    const chunks: Uint8Array[] = [];
    for (let start = 0; start < stream.length; ) {
      const end = start + (random() % 700);
      chunks.push(stream.subarray(start, end));
      start = end;
    }
    expect(readAll(chunks)).toEqual(messages);
  }
});

test("a message is its own copy", () => {
  const chunk = frameMessage(Uint8Array.of(1, 2, 3));
  const reader = new MessageReader();
  reader.read(chunk, 0);
  const message = reader.take();
  chunk.fill(0);
  expect(message).toEqual(Uint8Array.of(1, 2, 3));
  expect(reader.take()).toBeNull();
});
