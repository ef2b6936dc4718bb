import fc from "fast-check";
import { expect, test } from "vitest";
import { type Sequence, sequenceAdd, sequenceDistance } from "../sequence.ts";
import { pattern, patternByte, Random } from "../testing/random.ts";
import { ReassemblyQueue } from "./reassembly-queue.ts";

const CHUNK_BYTES = 65_536;
const MAX_CHUNKS = 1024;
const CHUNK_OVERHEAD = 384;
const SEGMENT = 1448;

/** A byte for each place, counted from `base`; undefined where there is none. */
class Model {
  readonly base: Sequence;
  readonly bytes: (number | undefined)[] = [];

  constructor(base: Sequence) {
    this.base = base;
  }

  insert(at: number, bytes: Uint8Array): "held" | "duplicate" {
    let added = false;
    for (const [index, byte] of bytes.entries()) {
      if (this.bytes[at + index] !== undefined) continue;
      this.bytes[at + index] = byte;
      added = true;
    }
    return added ? "held" : "duplicate";
  }

  dropBefore(next: number): void {
    this.bytes.fill(undefined, 0, next);
  }

  get count(): number {
    return this.bytes.filter((byte) => byte !== undefined).length;
  }

  get stretches(): number {
    return this.bytes.filter((byte, at) => byte !== undefined && this.bytes[at - 1] === undefined).length;
  }

  from(at: number): number {
    while (this.bytes[at] !== undefined && this.bytes[at - 1] !== undefined) at--;
    return at;
  }

  until(at: number): number {
    while (this.bytes[at] !== undefined) at++;
    return at;
  }

  first(start: number, end: number): number {
    while (start < end && this.bytes[start] === undefined) start++;
    return start;
  }
}

/** The same amounts, whatever is in them, and the memory that the class promises to keep to. */
function expectSameSize(queue: ReassemblyQueue, model: Model): void {
  const { count, stretches } = model;
  expect(queue.bytes).toBe(count);
  expect(queue.isEmpty).toBe(count === 0);
  expect(queue.memory).toBeLessThanOrEqual(2 * count + CHUNK_OVERHEAD * (stretches + (2 * count) / CHUNK_BYTES));
  expect(queue.memory).toBeGreaterThanOrEqual(count + CHUNK_OVERHEAD * stretches);
}

/** Takes out what follows `next` in both; returns where that ends. */
function takeAll(queue: ReassemblyQueue, model: Model, next: number): number {
  for (;;) {
    const held = queue.take(sequenceAdd(model.base, next));
    if (held === null) break;
    expect(held.length).toBeGreaterThan(0);
    for (const byte of held) if (byte !== model.bytes[next++]) expect.unreachable(`byte ${next - 1} is another`);
  }
  expect(model.bytes[next]).toBeUndefined();
  model.dropBefore(next);
  return next;
}

/** Takes out everything, one stretch after the other. */
function drain(queue: ReassemblyQueue, model: Model): void {
  const end = model.bytes.length;
  for (let next = model.first(0, end); next < end; next = model.first(next, end)) next = takeAll(queue, model, next);
  expect(queue.isEmpty).toBe(true);
  expect(queue.bytes).toBe(0);
  expect(queue.memory).toBe(0);
}

/** Bases from which the inserted data reaches over the wrap of 2^32, the change of sign, and neither. */
const bases = (reach: number) =>
  fc.oneof(
    fc.integer({ min: -reach, max: 0 }),
    fc.integer({ min: 0x7fffffff - reach, max: 0x7fffffff }),
    fc.constant(0x12345678),
  );

test("keeps of each byte the first that came, and hands out what follows without a gap", () => {
  const insertion = fc.record({ at: fc.nat(120), length: fc.integer({ min: 1, max: 40 }), next: fc.nat(10) });
  fc.assert(
    fc.property(fc.array(insertion, { maxLength: 40 }), bases(160), (insertions, base) => {
      const queue = new ReassemblyQueue();
      const model = new Model(base);
      let mark = 0;
      let next = 0;
      for (const { at, length, next: moved } of insertions) {
        const bytes = Uint8Array.from({ length: length + 2 }, () => (mark = (mark + 1) & 255));
        const expected = model.insert(at, bytes.subarray(1, length + 1));
        expect(queue.insert(sequenceAdd(base, at), bytes, 1, length)).toBe(expected);
        expectSameSize(queue, model);
        // What comes in order overtakes part of what is held.
        next = takeAll(queue, model, next + moved);
        expectSameSize(queue, model);
      }
    }),
    { seed: 1, numRuns: 500 },
  );
});

test("keeps the first bytes of stretches that are larger than a chunk", () => {
  const insertion = fc.record({ at: fc.nat(300_000), length: fc.integer({ min: 1, max: 60_000 }) });
  fc.assert(
    fc.property(fc.array(insertion, { minLength: 10, maxLength: 40 }), bases(360_000), (insertions, base) => {
      const queue = new ReassemblyQueue();
      const model = new Model(base);
      for (const [index, { at, length }] of insertions.entries()) {
        const bytes = pattern(index * 1000, length);
        const expected = model.insert(at, bytes);
        expect(queue.insert(sequenceAdd(base, at), bytes, 0, length)).toBe(expected);
      }
      expectSameSize(queue, model);
      drain(queue, model);
    }),
    { seed: 2, numRuns: 15 },
  );
});

test("tells which bytes are held", () => {
  const insertion = fc.record({ at: fc.nat(100), length: fc.integer({ min: 1, max: 12 }) });
  const range = fc.record({ start: fc.nat(120), length: fc.nat(20) });
  fc.assert(
    fc.property(fc.array(insertion, { maxLength: 12 }), fc.array(range), bases(140), (insertions, ranges, base) => {
      const queue = new ReassemblyQueue();
      const model = new Model(base);
      for (const { at, length } of insertions) {
        queue.insert(sequenceAdd(base, at), new Uint8Array(length), 0, length);
        model.insert(at, new Uint8Array(length));
      }
      for (const { start, length } of ranges) {
        const end = start + length;
        const [left, right] = [sequenceAdd(base, start), sequenceAdd(base, end)];
        expect(sequenceDistance(queue.heldFrom(left), base)).toBe(model.from(start));
        expect(sequenceDistance(queue.heldUntil(left), base)).toBe(model.until(start));
        expect(sequenceDistance(queue.firstHeld(left, right), base)).toBe(model.first(start, end));
        expect(queue.isHeld(left, right)).toBe(model.until(start) >= end);
      }
    }),
    { seed: 3, numRuns: 300 },
  );
});

test("sees a stretch of several chunks as one", () => {
  const queue = new ReassemblyQueue();
  const start = -100_000;
  const length = 300_000;
  for (let at = 0; at < length; at += SEGMENT) queue.insert(start + at, new Uint8Array(SEGMENT), 0, SEGMENT);
  const end = start + queue.bytes;
  for (const at of [start, start + CHUNK_BYTES, -1, 0, end - 1]) {
    expect(queue.heldFrom(at)).toBe(start);
    expect(queue.heldUntil(at)).toBe(end);
  }
  expect(queue.isHeld(start, end)).toBe(true);
  expect(queue.isHeld(start - 1, end)).toBe(false);
  expect(queue.isHeld(start, end + 1)).toBe(false);
});

test("keeps copies", () => {
  const queue = new ReassemblyQueue();
  const bytes = Uint8Array.of(1, 2, 3);
  queue.insert(10, bytes, 0, 3);
  bytes.fill(9);
  expect(queue.take(10)).toEqual(Uint8Array.of(1, 2, 3));
});

test("what was handed out stays as it was when more arrives", () => {
  const queue = new ReassemblyQueue();
  queue.insert(10, Uint8Array.of(1, 2, 3), 0, 3);
  const taken = queue.take(10);
  queue.insert(13, Uint8Array.of(4, 5), 0, 2);
  queue.insert(10, Uint8Array.of(6, 6, 6), 0, 3);
  expect(taken).toEqual(Uint8Array.of(1, 2, 3));
});

test("hands out nothing while there is a gap, and drops what has been overtaken", () => {
  const queue = new ReassemblyQueue();
  queue.insert(-5, new Uint8Array(3), 0, 3);
  queue.insert(5, new Uint8Array(3), 0, 3);
  expect(queue.take(-6)).toBeNull();
  expect(queue.bytes).toBe(6);
  expect(queue.take(0)).toBeNull();
  expect(queue.bytes).toBe(3);
  expect(queue.take(6)?.length).toBe(2);
  expect(queue.isEmpty).toBe(true);
  expect(queue.memory).toBe(0);
});

test("tells new data from a duplicate", () => {
  const queue = new ReassemblyQueue();
  const bytes = new Uint8Array(20);
  expect(queue.insert(-5, bytes, 0, 10)).toBe("held");
  expect(queue.insert(-5, bytes, 0, 10)).toBe("duplicate");
  expect(queue.insert(-3, bytes, 0, 4)).toBe("duplicate");
  expect(queue.insert(-5, bytes, 0, 11)).toBe("held");
  expect(queue.insert(-6, bytes, 0, 2)).toBe("held");
  expect(queue.insert(10, bytes, 0, 5)).toBe("held");
  expect(queue.insert(-6, bytes, 0, 20)).toBe("held");
  expect(queue.insert(-6, bytes, 0, 20)).toBe("duplicate");
  expect(queue.bytes).toBe(21);
});

/** Each order in which a window's segments may come, all but the first. */
const ORDERS: readonly (readonly [name: string, order: (segments: number) => number[]])[] = [
  ["in order", (segments) => ascending(segments)],
  ["backwards", (segments) => ascending(segments).reverse()],
  ["in swapped pairs", (segments) => ascending(segments).map((at) => Math.min(at ^ 1, segments - 1))],
  [
    "in shuffled hundreds",
    (segments) => {
      const random = new Random(7);
      const keys = ascending(segments).map((at) => Math.floor(at / 100) * 100 + random.below(100));
      return ascending(segments).sort((a, b) => keys[a] - keys[b]);
    },
  ],
];

function ascending(count: number): number[] {
  return Array.from({ length: count }, (_, index) => index);
}

test.each(ORDERS)("holds a window of 4 MiB whose first segment was lost, when the rest comes %s", (_, order) => {
  const queue = new ReassemblyQueue();
  const segments = Math.floor((4 * 1024 * 1024) / SEGMENT);
  const base = -1_000_000;
  for (const at of order(segments)) {
    queue.insert(base + at * SEGMENT, pattern(at * SEGMENT, SEGMENT), 0, SEGMENT);
    expect(queue.memory).toBeLessThanOrEqual(2 * queue.bytes + 384 * MAX_CHUNKS);
  }
  expect(queue.bytes).toBe(segments * SEGMENT);
  expect(queue.heldFrom(base)).toBe(base);
  expect(queue.heldUntil(base)).toBe(base + segments * SEGMENT);
  let taken = 0;
  let stretches = 0;
  for (let held = queue.take(base); held !== null; held = queue.take(base + taken)) {
    stretches++;
    for (const byte of held) if (byte !== patternByte(taken++)) expect.unreachable(`byte ${taken - 1} is another`);
  }
  expect(taken).toBe(segments * SEGMENT);
  expect(stretches).toBeLessThanOrEqual((2 * taken) / CHUNK_BYTES + 1);
});

test("becomes one chunk when every second segment comes first and then those between", () => {
  const queue = new ReassemblyQueue();
  for (const first of [1, 0]) {
    for (let at = first; at < 45; at += 2) queue.insert(at * SEGMENT, pattern(at * SEGMENT, SEGMENT), 0, SEGMENT);
  }
  expect(queue.take(0)).toEqual(pattern(0, 45 * SEGMENT));
  expect(queue.isEmpty).toBe(true);
});

test("a tiny segment costs little, and a stretch is not allocated larger than twice its data", () => {
  const queue = new ReassemblyQueue();
  queue.insert(0, new Uint8Array(1), 0, 1);
  expect(queue.memory).toBeLessThanOrEqual(1 + CHUNK_OVERHEAD);
  for (let at = 1; at < 3 * CHUNK_BYTES; at++) {
    queue.insert(at, new Uint8Array(1), 0, 1);
    const chunks = Math.ceil(queue.bytes / CHUNK_BYTES);
    if (queue.memory > 2 * queue.bytes + chunks * CHUNK_OVERHEAD) expect.unreachable(`${queue.memory} bytes`);
  }
  expect(queue.memory).toBe(3 * (CHUNK_BYTES + CHUNK_OVERHEAD));
});

test("every other byte of a window costs no more than the documented maximum", () => {
  const queue = new ReassemblyQueue();
  const results = new Map<string, number>();
  const length = 4 * 1024 * 1024;
  const window = pattern(0, length);
  for (let at = 1; at < length; at += 2) {
    const result = queue.insert(at, window, at, 1);
    results.set(result, (results.get(result) ?? 0) + 1);
  }
  expect(results).toEqual(
    new Map([
      ["held", MAX_CHUNKS],
      ["refused", length / 2 - MAX_CHUNKS],
    ]),
  );
  expect(queue.bytes).toBe(MAX_CHUNKS);
  expect(queue.memory).toBeLessThanOrEqual(2 * MAX_CHUNKS + 384 * 1024);
});

test("a full queue still takes what touches, and what closes gaps makes room again", () => {
  const queue = new ReassemblyQueue();
  const bytes = pattern(0, 4 * MAX_CHUNKS);
  for (let at = 2; at < 4 * MAX_CHUNKS; at += 4) expect(queue.insert(at, bytes, at, 1)).toBe("held");
  expect(queue.insert(0, bytes, 0, 1)).toBe("refused");
  expect(queue.isHeld(0, 1)).toBe(false);
  // Before a chunk, after one, and between two.
  expect(queue.insert(1, bytes, 1, 1)).toBe("held");
  expect(queue.insert(3, bytes, 3, 1)).toBe("held");
  expect(queue.insert(4, bytes, 4, 2)).toBe("held");
  expect(queue.insert(0, bytes, 0, 1)).toBe("held");
  expect(queue.insert(4 * MAX_CHUNKS, bytes, 0, 1)).toBe("held");
  expect(queue.insert(4 * MAX_CHUNKS + 2, bytes, 0, 1)).toBe("refused");
  // The rest of the window needs no further chunk.
  expect(queue.insert(0, bytes, 0, bytes.length)).toBe("held");
  expect(queue.take(0)?.subarray(0, bytes.length)).toEqual(bytes);
});

test("a segment of which the first part is refused is refused, though a later part is held", () => {
  const queue = new ReassemblyQueue();
  const bytes = new Uint8Array(CHUNK_BYTES + 20);
  const base = -CHUNK_BYTES;
  // A chunk that cannot grow, a gap, and a chunk that can.
  queue.insert(base, bytes, 0, CHUNK_BYTES);
  queue.insert(5, bytes, 0, 5);
  for (let chunk = 2; chunk < MAX_CHUNKS; chunk++) queue.insert(10 * chunk, bytes, 0, 1);
  expect(queue.insert(base - 10, bytes, 0, CHUNK_BYTES + 20)).toBe("refused");
  expect(queue.isHeld(base - 1, base)).toBe(false);
  expect(queue.isHeld(base, 10)).toBe(true);
  expect(queue.bytes).toBe(CHUNK_BYTES + 10 + MAX_CHUNKS - 2);
});

test("what cannot be held as a whole is refused, and what can be held of it stays right", () => {
  const random = new Random(4);
  const queue = new ReassemblyQueue();
  const base = -30_000;
  const window = 60_000;
  const model = new Model(base);
  const results = { held: 0, duplicate: 0, refused: 0 };
  for (let round = 0; round < 20_000; round++) {
    const at = random.below(window);
    const bytes = random.bytes(1 + random.below(3));
    const before = ascending(bytes.length).filter((index) => model.bytes[at + index] !== undefined).length;
    const result = queue.insert(base + at, bytes, 0, bytes.length);
    results[result]++;
    let held = 0;
    for (const [index, byte] of bytes.entries()) {
      if (!queue.isHeld(base + at + index, base + at + index + 1)) continue;
      model.bytes[at + index] ??= byte;
      held++;
    }
    expect(result).toBe(held < bytes.length ? "refused" : before < bytes.length ? "held" : "duplicate");
  }
  expect(queue.bytes).toBe(model.count);
  expect(results.held).toBeGreaterThan(MAX_CHUNKS);
  expect(results.duplicate).toBeGreaterThan(0);
  expect(results.refused).toBeGreaterThan(0);
  expect(queue.memory).toBeLessThanOrEqual(2 * queue.bytes + 384 * 1024);
  drain(queue, model);
});

test("holds nothing once cleared", () => {
  const queue = new ReassemblyQueue();
  queue.insert(5, new Uint8Array(100), 0, 100);
  queue.clear();
  expect(queue.isEmpty).toBe(true);
  expect(queue.bytes).toBe(0);
  expect(queue.memory).toBe(0);
  expect(queue.take(5)).toBeNull();
  expect(queue.insert(5, new Uint8Array(100), 0, 100)).toBe("held");
});
