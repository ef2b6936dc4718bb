import { describe, expect, it } from "vitest";
import { type BatchTransport, BatchWriter } from "./batch-writer.ts";
import { patternFrame } from "./testing/random.ts";

const KIB = 1024;
const BATCH = 256 * KIB;
const LIMIT = 4 * 1024 * KIB;
const PREFIX = 4;

/** Takes every write at once, or keeps it until {@link complete}. */
class FakeTransport implements BatchTransport {
  takesAtOnce = true;
  readonly writes: Uint8Array[] = [];
  /** The memory of each write, as it was handed over: where it begins in the process. */
  readonly memory: number[] = [];
  /** The same, as it is now. */
  readonly inPlace: Uint8Array[] = [];
  pendingCalls = 0;
  writableCalls = 0;
  onWritable: (() => void) | null = null;
  readonly #incomplete: (() => void)[] = [];

  write(bytes: Uint8Array, offset: number, length: number, written: () => void): boolean {
    this.writes.push(bytes.slice(offset, offset + length));
    this.memory.push(offset);
    this.inPlace.push(bytes.subarray(offset, offset + length));
    if (!this.takesAtOnce) this.#incomplete.push(written);
    return this.takesAtOnce;
  }

  writePrefix(view: DataView, offset: number, length: number): void {
    view.setUint32(offset, length);
  }

  pending(): void {
    this.pendingCalls++;
  }

  writable(): void {
    this.writableCalls++;
    this.onWritable?.();
  }

  complete(count = this.#incomplete.length): void {
    for (const written of this.#incomplete.splice(0, count)) written();
  }
}

function writer(takesAtOnce = true) {
  const transport = new FakeTransport();
  transport.takesAtOnce = takesAtOnce;
  return { transport, writer: new BatchWriter(transport, PREFIX) };
}

function put(target: BatchWriter, frame: Uint8Array): boolean {
  const offset = target.reserve(frame.length);
  if (offset < 0) return false;
  target.bytes.set(frame, offset);
  target.commit(frame.length);
  return true;
}

/** Each frame behind its length, as a stream has it. */
function stream(...frames: Uint8Array[]): Uint8Array {
  return Buffer.concat(
    frames.flatMap((frame) => {
      const prefix = Buffer.alloc(PREFIX);
      prefix.writeUInt32BE(frame.length);
      return [prefix, frame];
    }),
  );
}

describe("BatchWriter", () => {
  it("writes what a turn committed in one write, each frame behind its prefix", () => {
    const { transport, writer: target } = writer();
    const frames = [60, 1, 1514].map((length, tag) => patternFrame(length, tag));
    for (const frame of frames) expect(put(target, frame)).toBe(true);
    expect(transport.writes).toEqual([]);
    target.flush();
    expect(transport.writes).toHaveLength(1);
    expect(Buffer.compare(transport.writes[0], stream(...frames))).toBe(0);
    target.flush();
    expect(transport.writes).toHaveLength(1);
  });

  it("asks to be flushed once per batch", () => {
    const { transport, writer: target } = writer();
    for (let tag = 0; tag < 5; tag++) put(target, patternFrame(100, tag));
    expect(transport.pendingCalls).toBe(1);
    target.flush();
    put(target, patternFrame(100, 6));
    expect(transport.pendingCalls).toBe(2);
  });

  it("commits fewer bytes than were reserved, and nothing when a frame is never committed", () => {
    const { transport, writer: target } = writer();
    target.reserve(1500);
    const offset = target.reserve(1500);
    const frame = patternFrame(42, 1);
    target.bytes.set(frame, offset);
    target.commit(frame.length);
    target.reserve(9000);
    target.flush();
    expect(Buffer.compare(transport.writes[0], stream(frame))).toBe(0);
  });

  it("refuses a commit beyond what was reserved, or without a reservation", () => {
    const { writer: target } = writer();
    target.reserve(100);
    expect(() => target.commit(101)).toThrow("commit of 101 bytes, 100 were reserved");
    target.commit(100);
    expect(() => target.commit(1)).toThrow("commit of 1 bytes, 0 were reserved");
  });

  it("starts another write when a frame does not fit the batch", () => {
    const { transport, writer: target } = writer();
    const frames = Array.from({ length: 5 }, (_, tag) => patternFrame(60 * KIB, tag));
    for (const frame of frames) put(target, frame);
    target.flush();
    expect(transport.writes.map(({ length }) => length)).toEqual([4 * (60 * KIB + PREFIX), 60 * KIB + PREFIX]);
    expect(Buffer.compare(Buffer.concat(transport.writes), stream(...frames))).toBe(0);
  });

  it("takes a frame that fills a whole batch, and refuses a larger one without harm", () => {
    const { transport, writer: target } = writer();
    const small = patternFrame(60, 1);
    const whole = patternFrame(BATCH - PREFIX, 2);
    put(target, small);
    expect(target.reserve(BATCH - PREFIX + 1)).toBe(-1);
    expect(put(target, whole)).toBe(true);
    target.flush();
    expect(Buffer.compare(Buffer.concat(transport.writes), stream(small, whole))).toBe(0);
    expect(transport.writableCalls).toBe(0);
  });

  it("reuses the memory of a write that was done at once", () => {
    const { transport, writer: target } = writer();
    for (let tag = 0; tag < 3; tag++) {
      put(target, patternFrame(100, tag));
      target.flush();
    }
    expect(new Set(transport.memory).size).toBe(1);
    expect(target.queuedBytes).toBe(0);
  });

  it("leaves memory alone until the transport has written it", () => {
    const { transport, writer: target } = writer(false);
    const first = patternFrame(100, 1);
    put(target, first);
    target.flush();
    const kept = transport.inPlace[0].subarray(0, PREFIX + first.length);
    for (let tag = 2; tag < 10; tag++) {
      put(target, patternFrame(100, tag));
      target.flush();
    }
    expect(Buffer.compare(kept, stream(first))).toBe(0);
    expect(new Set(transport.memory).size).toBe(9);
    expect(target.view.buffer).toBe(target.bytes.buffer);
    transport.complete();
    put(target, patternFrame(100, 10));
    target.flush();
    put(target, patternFrame(100, 11));
    target.flush();
    expect(transport.memory.slice(0, 9)).toContain(transport.memory[10]);
    expect(transport.memory[10]).not.toBe(transport.memory[9]);
  });

  it("refuses frames beyond the limit, and says once that there is room again when half of it is written", () => {
    const { transport, writer: target } = writer(false);
    let taken = 0;
    while (put(target, patternFrame(64 * KIB - PREFIX, taken))) taken++;
    // The limit is looked at before a frame is taken, so the batch that passes it still goes through.
    expect(taken * 64 * KIB).toBeGreaterThan(LIMIT);
    expect(taken * 64 * KIB).toBeLessThanOrEqual(LIMIT + BATCH);
    expect(put(target, patternFrame(1, 0))).toBe(false);
    const queued = target.queuedBytes;
    while (target.queuedBytes > LIMIT / 2) {
      expect(transport.writableCalls).toBe(0);
      transport.complete(1);
    }
    expect(target.queuedBytes).toBeLessThan(queued);
    expect(transport.writableCalls).toBe(1);
    transport.complete();
    expect(transport.writableCalls).toBe(1);
    expect(target.queuedBytes).toBe(0);
  });

  it("takes frames again from within the word that there is room", () => {
    const { transport, writer: target } = writer(false);
    const frames: Uint8Array[] = [];
    const fill = () => {
      while (frames.length < 300) {
        const frame = patternFrame(60 * KIB, frames.length);
        if (!put(target, frame)) return;
        frames.push(frame);
      }
    };
    transport.onWritable = fill;
    fill();
    while (frames.length < 300) transport.complete(1);
    target.flush();
    expect(transport.writableCalls).toBeGreaterThan(1);
    expect(Buffer.compare(Buffer.concat(transport.writes), stream(...frames))).toBe(0);
  });

  it("drops what is queued and refuses everything once it is closed", () => {
    const { transport, writer: target } = writer(false);
    while (put(target, patternFrame(64 * KIB, 1)));
    const { length } = transport.writes;
    target.close();
    target.flush();
    expect(target.reserve(1)).toBe(-1);
    transport.complete();
    expect(transport.writes).toHaveLength(length);
    expect(transport.writableCalls).toBe(0);
  });
});
