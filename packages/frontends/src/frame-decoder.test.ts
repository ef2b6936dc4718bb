import { describe, expect, it } from "vitest";
import { FrameDecoder } from "./frame-decoder.ts";
import { FRAMINGS, type Framing } from "./framing.ts";
import { encodeHyperkitFrames } from "./testing/hyperkit-frontend.ts";
import { encodeQemuFrames } from "./testing/qemu-stream.ts";
import { patternFrame, randomFrames, seededRandom } from "./testing/random.ts";
import { RecordingConsumer } from "./testing/recording-consumer.ts";

const ALWAYS = () => true;

/** Hands `stream` to a decoder in pieces that end at `cuts`; returns what is wrong with it, or null. */
function decode(
  decoder: FrameDecoder,
  consumer: RecordingConsumer,
  stream: Uint8Array,
  cuts: readonly number[] = [],
): string | null {
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

const ENCODERS: Readonly<Record<Framing, (...frames: readonly Uint8Array[]) => Uint8Array>> = {
  qemu: encodeQemuFrames,
  hyperkit: encodeHyperkitFrames,
};

describe.each(["qemu", "hyperkit"] as const)("FrameDecoder with the framing %s", (framing) => {
  const encode = ENCODERS[framing];
  const { prefixLength, maxFrameLength } = FRAMINGS[framing];
  const three = [60, 1, 90].map((length, tag) => patternFrame(length, tag));
  const stream = encode(...three);

  it("hands over many frames of one read", () => {
    const frames = Array.from({ length: 500 }, (_, tag) => patternFrame(60 + tag, tag));
    const consumer = new RecordingConsumer();
    expect(decode(new FrameDecoder(framing), consumer, encode(...frames))).toBeNull();
    expectFrames(consumer, frames);
  });

  it("puts frames together that are split at any byte", () => {
    for (let cut = 1; cut < stream.length; cut++) {
      const consumer = new RecordingConsumer();
      expect(decode(new FrameDecoder(framing), consumer, stream, [cut])).toBeNull();
      expectFrames(consumer, three);
    }
  });

  it("puts frames together that come byte by byte", () => {
    const consumer = new RecordingConsumer();
    const cuts = Array.from({ length: stream.length - 1 }, (_, index) => index + 1);
    expect(decode(new FrameDecoder(framing), consumer, stream, cuts)).toBeNull();
    expectFrames(consumer, three);
  });

  it("hands over each frame in the read that completes it", () => {
    const decoder = new FrameDecoder(framing);
    const consumer = new RecordingConsumer();
    const counts: number[] = [];
    for (const byte of stream) {
      decoder.readBuffer[0] = byte;
      decoder.push(1, consumer, ALWAYS);
      counts.push(consumer.frames.length);
    }
    const ends = [prefixLength + 60, 2 * prefixLength + 61, 3 * prefixLength + 151];
    expect(counts).toEqual(counts.map((_, index) => ends.filter((end) => end <= index + 1).length));
  });

  it("counts the bytes of a frame that is not whole", () => {
    const decoder = new FrameDecoder(framing);
    const consumer = new RecordingConsumer();
    let from = 0;
    const push = (length: number) => {
      decoder.readBuffer.set(stream.subarray(from, from + length));
      decoder.push(length, consumer, ALWAYS);
      from += length;
    };
    expect(decoder.carried).toBe(0);
    push(1);
    expect(decoder.carried).toBe(1);
    push(prefixLength + 59);
    expect(decoder.carried).toBe(0);
    push(stream.length - prefixLength - 61);
    expect(decoder.carried).toBe(prefixLength + 89);
  });

  it("hands over a frame without a copy when one read has all of it", () => {
    const decoder = new FrameDecoder(framing);
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
    const frames = [patternFrame(maxFrameLength, 1), patternFrame(maxFrameLength, 2)];
    const large = encode(...frames);
    const first = prefixLength + maxFrameLength;
    for (const cuts of [[], [1], [first - 1], [first, large.length - 1], [first + 3], [2, first + 2]]) {
      const consumer = new RecordingConsumer();
      expect(decode(new FrameDecoder(framing), consumer, large, cuts)).toBeNull();
      expectFrames(consumer, frames);
    }
  });

  it("stops in the middle of a read when a frame closes the link", () => {
    const decoder = new FrameDecoder(framing);
    decoder.readBuffer.set(stream);
    const consumer = new RecordingConsumer();
    expect(decoder.push(stream.length, consumer, () => consumer.frames.length < 2)).toBeNull();
    expectFrames(consumer, three.slice(0, 2));
  });

  it("gives the same frames whatever the reads are", () => {
    for (let seed = 1; seed <= 30; seed++) {
      const random = seededRandom(seed);
      const frames = randomFrames(random, 60, 1, seed % 3 === 0 ? maxFrameLength : 2000);
      const bytes = encode(...frames);
      const longest = new FrameDecoder(framing).readBuffer.length;
      const cuts: number[] = [];
      for (let at = 0; ; ) {
        // Reads of every order of magnitude, from one byte to the whole buffer.
        at += Math.floor(longest ** random());
        if (at >= bytes.length) break;
        cuts.push(at);
      }
      const consumer = new RecordingConsumer();
      expect(decode(new FrameDecoder(framing), consumer, bytes, cuts), `seed ${seed}`).toBeNull();
      expectFrames(consumer, frames);
    }
  });
});

describe("FrameDecoder", () => {
  const { maxFrameLength } = FRAMINGS.qemu;

  it.each([0, maxFrameLength + 1, 0x7fffffff, 0x80000000, 0xffffffff])("refuses a length of %d of QEMU's", (length) => {
    const prefix = new Uint8Array(4);
    new DataView(prefix.buffer).setUint32(0, length);
    const consumer = new RecordingConsumer();
    const frame = patternFrame(60, 1);
    const stream = Buffer.concat([encodeQemuFrames(frame), prefix, new Uint8Array(100)]);
    expect(decode(new FrameDecoder("qemu"), consumer, stream)).toBe(
      `a frame length of ${length}, allowed are 1 to ${maxFrameLength}: is this QEMU's stream framing?`,
    );
    expectFrames(consumer, [frame]);
  });

  it("refuses a length of 0 of hyperkit's", () => {
    const consumer = new RecordingConsumer();
    const frame = patternFrame(60, 1);
    const stream = Buffer.concat([encodeHyperkitFrames(frame), new Uint8Array(100)]);
    expect(decode(new FrameDecoder("hyperkit"), consumer, stream)).toBe(
      "a frame length of 0, allowed are 1 to 65535: is this hyperkit's stream framing?",
    );
    expectFrames(consumer, [frame]);
  });
});
