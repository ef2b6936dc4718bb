import { describe, expect, it } from "vitest";
import { MAX_FRAME_LENGTH, QEMU_PREFIX_LENGTH, QemuDecoder } from "./qemu-decoder.ts";
import { encodeQemuFrames } from "./testing/qemu-stream.ts";
import { patternFrame, randomFrames, seededRandom } from "./testing/random.ts";
import { RecordingConsumer } from "./testing/recording-consumer.ts";

const ALWAYS = () => true;

/** Hands `stream` to a decoder in pieces that end at `cuts`; returns what is wrong with it, or null. */
function decode(consumer: RecordingConsumer, stream: Uint8Array, cuts: readonly number[] = []): string | null {
  const decoder = new QemuDecoder();
  let from = 0;
  for (const to of [...cuts, stream.length]) {
    decoder.readBuffer.set(stream.subarray(from, to));
    const fault = decoder.push(to - from, consumer, ALWAYS);
    if (fault !== null) return fault;
    from = to;
  }
  return null;
}

function expectFrames(consumer: RecordingConsumer, frames: readonly Uint8Array[]): void {
  expect(consumer.frames.map(({ length }) => length)).toEqual(frames.map(({ length }) => length));
  expect(Buffer.compare(Buffer.concat(consumer.frames), Buffer.concat(frames))).toBe(0);
}

describe("QemuDecoder", () => {
  const three = [60, 1, 90].map((length, tag) => patternFrame(length, tag));
  const stream = encodeQemuFrames(...three);

  it("hands over many frames of one read", () => {
    const frames = Array.from({ length: 500 }, (_, tag) => patternFrame(60 + tag, tag));
    const consumer = new RecordingConsumer();
    expect(decode(consumer, encodeQemuFrames(...frames))).toBeNull();
    expectFrames(consumer, frames);
  });

  it("puts frames together that are split at any byte", () => {
    for (let cut = 1; cut < stream.length; cut++) {
      const consumer = new RecordingConsumer();
      expect(decode(consumer, stream, [cut])).toBeNull();
      expectFrames(consumer, three);
    }
  });

  it("puts frames together that come byte by byte", () => {
    const consumer = new RecordingConsumer();
    const cuts = Array.from({ length: stream.length - 1 }, (_, index) => index + 1);
    expect(decode(consumer, stream, cuts)).toBeNull();
    expectFrames(consumer, three);
  });

  it("hands over each frame in the read that completes it", () => {
    const decoder = new QemuDecoder();
    const consumer = new RecordingConsumer();
    const counts: number[] = [];
    for (const byte of stream) {
      decoder.readBuffer[0] = byte;
      decoder.push(1, consumer, ALWAYS);
      counts.push(consumer.frames.length);
    }
    const ends = [64, 69, 163];
    expect(counts).toEqual(counts.map((_, index) => ends.filter((end) => end <= index + 1).length));
  });

  it("counts the bytes of a frame that is not whole", () => {
    const decoder = new QemuDecoder();
    const consumer = new RecordingConsumer();
    decoder.readBuffer.set(stream);
    expect(decoder.carried).toBe(0);
    decoder.push(3, consumer, ALWAYS);
    expect(decoder.carried).toBe(3);
    decoder.readBuffer.set(stream.subarray(3));
    decoder.push(61, consumer, ALWAYS);
    expect(decoder.carried).toBe(0);
    decoder.readBuffer.set(stream.subarray(64));
    decoder.push(stream.length - 65, consumer, ALWAYS);
    expect(decoder.carried).toBe(93);
  });

  it("hands over a frame without a copy when one read has all of it", () => {
    const decoder = new QemuDecoder();
    decoder.readBuffer.set(stream);
    let memory: ArrayBufferLike | null = null;
    const consumer = new RecordingConsumer();
    decoder.push(
      stream.length,
      {
        receiveFrame(bytes, view, offset, length) {
          memory = bytes.buffer;
          consumer.receiveFrame(bytes, view, offset, length);
        },
        endBatch: () => {},
        pending: () => {},
        writable: () => {},
        closed: () => {},
      },
      ALWAYS,
    );
    expect(memory).toBe(decoder.readBuffer.buffer);
  });

  it("takes the largest frame, whole and carried over at its last byte and inside its prefix", () => {
    const frames = [patternFrame(MAX_FRAME_LENGTH, 1), patternFrame(MAX_FRAME_LENGTH, 2)];
    const large = encodeQemuFrames(...frames);
    const first = QEMU_PREFIX_LENGTH + MAX_FRAME_LENGTH;
    for (const cuts of [[], [1], [first - 1], [first, large.length - 1], [first + 3], [2, first + 2]]) {
      const consumer = new RecordingConsumer();
      expect(decode(consumer, large, cuts)).toBeNull();
      expectFrames(consumer, frames);
    }
  });

  it.each([0, MAX_FRAME_LENGTH + 1, 0x7fffffff, 0x80000000, 0xffffffff])("refuses a length of %d", (length) => {
    const prefix = new Uint8Array(QEMU_PREFIX_LENGTH);
    new DataView(prefix.buffer).setUint32(0, length);
    const consumer = new RecordingConsumer();
    const fault = decode(consumer, Buffer.concat([encodeQemuFrames(three[0]), prefix, new Uint8Array(100)]));
    expect(fault).toBe(
      `a frame length of ${length}, allowed are 1 to ${MAX_FRAME_LENGTH}: is this QEMU's stream framing?`,
    );
    expectFrames(consumer, three.slice(0, 1));
  });

  it("stops in the middle of a read when a frame closes the link", () => {
    const decoder = new QemuDecoder();
    decoder.readBuffer.set(stream);
    const consumer = new RecordingConsumer();
    expect(decoder.push(stream.length, consumer, () => consumer.frames.length < 2)).toBeNull();
    expectFrames(consumer, three.slice(0, 2));
  });

  it("gives the same frames whatever the reads are", () => {
    for (let seed = 1; seed <= 30; seed++) {
      const random = seededRandom(seed);
      const frames = randomFrames(random, 60, 1, seed % 3 === 0 ? MAX_FRAME_LENGTH : 2000);
      const bytes = encodeQemuFrames(...frames);
      const longest = new QemuDecoder().readBuffer.length;
      const cuts: number[] = [];
      for (let at = 0; ; ) {
        // Reads of every order of magnitude, from one byte to the whole buffer.
        at += Math.floor(longest ** random());
        if (at >= bytes.length) break;
        cuts.push(at);
      }
      const consumer = new RecordingConsumer();
      expect(decode(consumer, bytes, cuts), `seed ${seed}`).toBeNull();
      expectFrames(consumer, frames);
    }
  });
});
