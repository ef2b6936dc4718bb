import { describe, expect, it } from "vitest";
import { MAX_SNAP_LENGTH, PcapEncoder } from "./pcap-encoder.ts";
import { patternFrame } from "./testing/random.ts";
import { readPcap } from "./testing/read-pcap.ts";

describe("PcapEncoder", () => {
  it("begins with the header of a file, and has each record once", () => {
    const encoder = new PcapEncoder({ now: () => 1_700_000_000_000.5 });
    const head = encoder.encoded.slice();
    expect(readPcap(head)).toEqual([]);
    encoder.clear();
    expect(encoder.encoded).toHaveLength(0);
    const frame = patternFrame(60, 1);
    expect(encoder.add(frame, 0, 60)).toBe(true);
    const record = encoder.encoded.slice();
    expect(record).toHaveLength(encoder.recordLength(60));
    encoder.clear();
    expect(readPcap(Buffer.concat([head, record]))).toEqual([
      { time: 1_700_000_000_000_500, length: 60, data: Buffer.from(frame) },
    ]);
  });

  it("keeps the head of a frame that is longer than wanted, and says how long it was", () => {
    const encoder = new PcapEncoder({ snapLength: 64 });
    const frames = [patternFrame(63, 1), patternFrame(64, 2), patternFrame(1514, 3)];
    for (const frame of frames) expect(encoder.add(frame, 0, frame.length)).toBe(true);
    const records = readPcap(encoder.encoded);
    expect(records.map(({ length, data }) => [length, data.length])).toEqual([
      [63, 63],
      [64, 64],
      [1514, 64],
    ]);
    expect(Buffer.compare(records[2].data, frames[2].subarray(0, 64))).toBe(0);
    expect([63, 64, 1514].map((length) => encoder.recordLength(length))).toEqual([79, 80, 80]);
  });

  it("takes no more than its memory holds, and has room for the largest frame when it was cleared", () => {
    const encoder = new PcapEncoder();
    const frame = patternFrame(MAX_SNAP_LENGTH + 1, 1);
    let count = 0;
    while (encoder.add(frame, 0, frame.length)) count++;
    expect(count).toBe(3);
    expect(readPcap(encoder.encoded)).toHaveLength(3);
    encoder.clear();
    expect(encoder.add(frame, 0, frame.length)).toBe(true);
  });
});
