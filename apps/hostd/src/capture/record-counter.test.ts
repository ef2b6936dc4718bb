import { PcapEncoder } from "@hostd/frontends";
import { describe, expect, it } from "vitest";
import { RecordCounter } from "./record-counter.ts";

const LENGTHS = [60, 0, 1, 1514, 16, 300];

const encoder = new PcapEncoder();
const ends = LENGTHS.map((length) => {
  encoder.add(new Uint8Array(length).fill(0xff), 0, length);
  return encoder.encoded.length;
});
const file = encoder.encoded.slice();

/** What comes out of a counter when the file comes in pieces of a length. */
function count(pieceLength: number, wanted?: number): { counter: RecordCounter; bytes: Buffer } {
  const counter = new RecordCounter(wanted);
  const parts: Uint8Array[] = [];
  for (let at = 0; at < file.length; at += pieceLength) parts.push(counter.take(file.subarray(at, at + pieceLength)));
  return { counter, bytes: Buffer.concat(parts) };
}

describe.each([1, 2, 7, 16, 24, 25, 40, 1000, file.length])("RecordCounter, in pieces of %d bytes", (pieceLength) => {
  it("counts every packet and keeps every byte", () => {
    const { counter, bytes } = count(pieceLength);
    expect(counter.packets).toBe(LENGTHS.length);
    expect(counter.isDone).toBe(false);
    expect(Buffer.compare(bytes, file)).toBe(0);
  });

  it.each([1, 2, 3, 4, 6])("keeps what belongs to the first %d packets", (wanted) => {
    const { counter, bytes } = count(pieceLength, wanted);
    expect(counter.packets).toBe(wanted);
    expect(counter.isDone).toBe(true);
    expect(Buffer.compare(bytes, file.subarray(0, ends[wanted - 1]))).toBe(0);
  });
});

it("does not count a packet of which the end is missing", () => {
  const counter = new RecordCounter();
  counter.take(file.subarray(0, -1));
  expect(counter.packets).toBe(LENGTHS.length - 1);
});
