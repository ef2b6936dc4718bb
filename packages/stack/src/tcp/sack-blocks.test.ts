import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type Sequence, sequenceAdd, sequenceAfter, sequenceBefore, sequenceDistance } from "../sequence.ts";
import { ReassemblyQueue } from "./reassembly-queue.ts";
import { SackBlocks } from "./sack-blocks.ts";

type Block = readonly [start: number, end: number];

/** What a receiver does with its segments, numbered from `base`. */
class Receiving {
  readonly queue = new ReassemblyQueue();
  readonly blocks = new SackBlocks();
  readonly base: Sequence;
  #next: Sequence;

  constructor(base: Sequence, next: number) {
    this.base = base;
    this.#next = sequenceAdd(base, next);
  }

  get next(): number {
    return sequenceDistance(this.#next, this.base);
  }

  /** Takes in the segment [first, end). */
  receive(first: number, end: number): void {
    const { queue, blocks } = this;
    const start = sequenceAdd(this.base, first);
    const until = sequenceAdd(this.base, end);
    let again = start;
    let againUntil = this.#next;
    if (!sequenceBefore(start, this.#next)) {
      again = queue.firstHeld(start, until);
      againUntil = queue.heldUntil(again);
    }
    if (sequenceAfter(againUntil, until)) againUntil = until;
    if (sequenceAfter(start, this.#next)) {
      const refused = queue.insert(start, new Uint8Array(end - first), 0, end - first) === "refused";
      const at = refused ? again : start;
      blocks.held(queue.heldFrom(at), queue.heldUntil(at));
    } else if (sequenceAfter(until, this.#next)) {
      this.#next = until;
      for (let held = queue.take(this.#next); held !== null; held = queue.take(this.#next)) {
        this.#next = sequenceAdd(this.#next, held.length);
      }
      blocks.advance(this.#next);
    }
    blocks.duplicate(again, againUntil);
  }

  /** The blocks that the next acknowledgment carries, which is then sent. */
  acknowledge(): Block[] {
    const reported = report(this.blocks, this.base);
    this.blocks.reported();
    return reported;
  }
}

function report(blocks: SackBlocks, base: Sequence): Block[] {
  return Array.from({ length: blocks.count }, (_, index) => [
    sequenceDistance(blocks.start(index), base),
    sequenceDistance(blocks.end(index), base),
  ]);
}

/** A segment that arrives, the acknowledgment it triggers, and the blocks of that. */
type Step = readonly [segment: Block, acknowledgment: number, blocks: readonly Block[]];
interface Example {
  readonly name: string;
  readonly next: number;
  readonly steps: readonly Step[];
}

const EXAMPLES: readonly Example[] = [
  {
    name: "RFC 2018, 5, case 1: the first 4 segments are received but the last 4 are dropped",
    next: 5000,
    steps: [
      [[5000, 5500], 5500, []],
      [[5500, 6000], 6000, []],
      [[6000, 6500], 6500, []],
      [[6500, 7000], 7000, []],
    ],
  },
  {
    name: "RFC 2018, 5, case 2: the first segment is dropped but the remaining 7 are received",
    next: 5000,
    steps: [
      [[5500, 6000], 5000, [[5500, 6000]]],
      [[6000, 6500], 5000, [[5500, 6500]]],
      [[6500, 7000], 5000, [[5500, 7000]]],
      [[7000, 7500], 5000, [[5500, 7500]]],
      [[7500, 8000], 5000, [[5500, 8000]]],
      [[8000, 8500], 5000, [[5500, 8500]]],
      [[8500, 9000], 5000, [[5500, 9000]]],
    ],
  },
  {
    name: "RFC 2018, 5, case 3: the 2nd, 4th, 6th, and 8th segments are dropped, and the 4th and 2nd come late",
    next: 5000,
    steps: [
      [[5000, 5500], 5500, []],
      [[6000, 6500], 5500, [[6000, 6500]]],
      // biome-ignore format: a line for each segment
      [[7000, 7500], 5500, [[7000, 7500], [6000, 6500]]],
      // biome-ignore format: a line for each segment
      [[8000, 8500], 5500, [[8000, 8500], [7000, 7500], [6000, 6500]]],
      // biome-ignore format: a line for each segment
      [[6500, 7000], 5500, [[6000, 7500], [8000, 8500]]],
      [[5500, 6000], 7500, [[8000, 8500]]],
    ],
  },
  {
    name: "RFC 2883, 4.1.1, example 1: a duplicate segment",
    next: 3000,
    steps: [
      [[3000, 3500], 3500, []],
      [[3500, 4000], 4000, []],
      [[3000, 3500], 4000, [[3000, 3500]]],
    ],
  },
  {
    name: "RFC 2883, 4.1.2, example 2: an out-of-order segment and a duplicate segment",
    next: 3000,
    steps: [
      [[3000, 3500], 3500, []],
      [[3500, 4000], 4000, []],
      [[4500, 5000], 4000, [[4500, 5000]]],
      // biome-ignore format: a line for each segment
      [[3000, 3500], 4000, [[3000, 3500], [4500, 5000]]],
    ],
  },
  {
    name: "RFC 2883, 4.1.3, example 3: a duplicate of an out-of-order segment",
    next: 3500,
    steps: [
      [[3500, 4000], 4000, []],
      [[4500, 5000], 4000, [[4500, 5000]]],
      [[5000, 5500], 4000, [[4500, 5500]]],
      // biome-ignore format: a line for each segment
      [[5000, 5500], 4000, [[5000, 5500], [4500, 5500]]],
    ],
  },
  {
    name: "RFC 2883, 4.2.1, example 4: a single duplicate subsegment",
    next: 500,
    steps: [
      [[500, 1000], 1000, []],
      [[2000, 2500], 1000, [[2000, 2500]]],
      [[1000, 1500], 1500, [[2000, 2500]]],
      [[1000, 2000], 2500, [[1000, 1500]]],
    ],
  },
  {
    name: "RFC 2883, 4.2.2, example 5: two non-contiguous duplicate subsegments below the cumulative acknowledgment",
    next: 500,
    steps: [
      [[500, 1000], 1000, []],
      [[3000, 3500], 1000, [[3000, 3500]]],
      [[1000, 1500], 1500, [[3000, 3500]]],
      // biome-ignore format: a line for each segment
      [[2000, 2500], 1500, [[2000, 2500], [3000, 3500]]],
      // biome-ignore format: a line for each segment
      [[1000, 2500], 2500, [[1000, 1500], [3000, 3500]]],
    ],
  },
  {
    name: "RFC 2883, 4.2.3, example 6: two non-contiguous duplicate subsegments above the cumulative acknowledgment",
    next: 500,
    steps: [
      [[500, 1000], 1000, []],
      [[3500, 4000], 1000, [[3500, 4000]]],
      // biome-ignore format: a line for each segment
      [[1500, 2000], 1000, [[1500, 2000], [3500, 4000]]],
      // biome-ignore format: a line for each segment
      [[2500, 3000], 1000, [[2500, 3000], [1500, 2000], [3500, 4000]]],
      // biome-ignore format: a line for each segment
      [[1500, 3000], 1000, [[1500, 2000], [1500, 3000], [3500, 4000]]],
    ],
  },
  {
    name: "a segment in order that reaches over held data reports the first of it that came twice",
    next: 1,
    steps: [
      [[1001, 2001], 1, [[1001, 2001]]],
      [[2001, 3001], 1, [[1001, 3001]]],
      // biome-ignore format: a line for each segment
      [[4001, 5001], 1, [[4001, 5001], [1001, 3001]]],
      // biome-ignore format: a line for each segment
      [[7001, 8001], 1, [[7001, 8001], [4001, 5001], [1001, 3001]]],
      // biome-ignore format: a line for each segment
      [[1, 6001], 6001, [[1001, 3001], [7001, 8001]]],
    ],
  },
];

// So that the 2^32 wrap lies within each of the examples, and the change of sign as well.
describe.each([-2200, -4700, -7200, 0x7fffffff - 2200, 0x7fffffff - 7200, 0])("from sequence number %d", (base) => {
  test.each(EXAMPLES)("$name", ({ next, steps }) => {
    const receiving = new Receiving(base | 0, next);
    for (const [[start, end], acknowledgment, blocks] of steps) {
      receiving.receive(start, end);
      expect(receiving.next).toBe(acknowledgment);
      expect(receiving.acknowledge()).toEqual(blocks);
    }
  });
});

test("reports nothing before it is told of something", () => {
  const blocks = new SackBlocks();
  expect(blocks.count).toBe(0);
  blocks.advance(5);
  blocks.reported();
  expect(blocks.count).toBe(0);
  blocks.held(5, 5);
  blocks.duplicate(6, 6);
  expect(blocks.count).toBe(0);
});

test("remembers four blocks and forgets the oldest", () => {
  const blocks = new SackBlocks();
  for (const start of [-30, -20, -10, 0, 10]) blocks.held(start, start + 5);
  expect(report(blocks, 0)).toEqual([
    [10, 15],
    [0, 5],
    [-10, -5],
    [-20, -15],
  ]);
});

test("data that joins all blocks leaves one", () => {
  const blocks = new SackBlocks();
  for (const start of [-20, -10, 0, 10]) blocks.held(start, start + 5);
  blocks.held(-15, 10);
  expect(report(blocks, 0)).toEqual([[-20, 15]]);
});

test("data within a block moves it to the front", () => {
  const blocks = new SackBlocks();
  for (const start of [-20, -10, 0]) blocks.held(start, start + 5);
  blocks.held(-18, -17);
  expect(report(blocks, 0)).toEqual([
    [-20, -15],
    [0, 5],
    [-10, -5],
  ]);
});

test("the block that holds what came twice follows it, and none that does not hold all of it", () => {
  const blocks = new SackBlocks();
  for (const start of [-20, -10, 0]) blocks.held(start, start + 5);
  for (const [start, end] of [
    [-12, -8],
    [-7, -4],
    [-25, -15],
  ]) {
    blocks.duplicate(start, end);
    expect(report(blocks, 0)).toEqual([
      [start, end],
      [0, 5],
      [-10, -5],
      [-20, -15],
    ]);
  }
  blocks.duplicate(-18, -15);
  expect(report(blocks, 0)).toEqual([
    [-18, -15],
    [-20, -15],
    [0, 5],
    [-10, -5],
  ]);
});

test("what came twice is reported until a report was sent, and does not displace a block", () => {
  const blocks = new SackBlocks();
  for (const start of [-20, -10, 0, 10]) blocks.held(start, start + 5);
  blocks.duplicate(-40, -30);
  expect(report(blocks, 0)).toEqual([
    [-40, -30],
    [10, 15],
    [0, 5],
    [-10, -5],
    [-20, -15],
  ]);
  expect(blocks.count).toBe(5);
  blocks.reported();
  expect(blocks.count).toBe(4);
  expect(report(blocks, 0)[0]).toEqual([10, 15]);
});

test("of two that came twice before a report was sent, the last is reported", () => {
  const blocks = new SackBlocks();
  blocks.duplicate(-40, -30);
  blocks.duplicate(-20, -10);
  expect(report(blocks, 0)).toEqual([[-20, -10]]);
});

test("what came twice stays to be reported when everything has been acknowledged", () => {
  const blocks = new SackBlocks();
  blocks.held(-10, 10);
  blocks.duplicate(-5, 5);
  blocks.advance(10);
  expect(report(blocks, 0)).toEqual([[-5, 5]]);
});

test("forgets what is acknowledged, and trims what is acknowledged in part", () => {
  const blocks = new SackBlocks();
  for (const start of [-20, -10, 0]) blocks.held(start, start + 5);
  blocks.advance(-8);
  expect(report(blocks, 0)).toEqual([
    [0, 5],
    [-8, -5],
  ]);
  blocks.advance(5);
  expect(blocks.count).toBe(0);
});

test("holds nothing once cleared", () => {
  const blocks = new SackBlocks();
  blocks.held(0, 5);
  blocks.duplicate(-5, 0);
  blocks.clear();
  expect(blocks.count).toBe(0);
  blocks.held(10, 15);
  expect(report(blocks, 0)).toEqual([[10, 15]]);
});

test("whatever is acknowledged, it reports only what is held, newest first, in blocks apart from each other", () => {
  const held = fc.record({
    kind: fc.constant("held" as const),
    at: fc.nat(100),
    length: fc.integer({ min: 1, max: 9 }),
  });
  const advance = fc.record({ kind: fc.constant("advance" as const), at: fc.nat(8), length: fc.constant(0) });
  const operations = fc.array(fc.oneof({ weight: 4, arbitrary: held }, advance), { maxLength: 60 });
  fc.assert(
    fc.property(operations, fc.integer({ min: -120, max: 0 }), (list, base) => {
      const blocks = new SackBlocks();
      const bytes = new Set<number>();
      let next = 0;
      for (const { kind, at, length } of list) {
        if (kind === "advance") {
          next += at;
          blocks.advance(sequenceAdd(base, next));
        } else {
          const start = next + 1 + at;
          blocks.held(sequenceAdd(base, start), sequenceAdd(base, start + length));
          for (let index = 0; index < length; index++) bytes.add(start + index);
          const [first] = report(blocks, base);
          expect(first[0]).toBeLessThanOrEqual(start);
          expect(first[1]).toBeGreaterThanOrEqual(start + length);
        }
        const reported = report(blocks, base);
        expect(reported.length).toBeLessThanOrEqual(4);
        for (const [start, end] of reported) {
          expect(start).toBeGreaterThanOrEqual(next);
          expect(end).toBeGreaterThan(start);
          for (let byte = start; byte < end; byte++) expect(bytes.has(byte)).toBe(true);
        }
        const sorted = [...reported].sort((a, b) => a[0] - b[0]);
        for (let index = 1; index < sorted.length; index++) {
          expect(sorted[index][0]).toBeGreaterThan(sorted[index - 1][1]);
        }
      }
    }),
    { seed: 1, numRuns: 300 },
  );
});

/** The receiver by definition: which bytes came, and which segments, the newest first. */
class Model {
  readonly came = new Set<number>();
  readonly segments: number[] = [];
  next = 0;

  /** Takes in [start, end); returns the first part of it that had come before, if any. */
  receive(start: number, end: number): Block | null {
    let again = start;
    while (again < end && !this.#has(again)) again++;
    let until = again;
    while (until < end && this.#has(until)) until++;
    for (let byte = start; byte < end; byte++) this.came.add(byte);
    this.segments.unshift(start);
    while (this.came.has(this.next)) this.next++;
    return until > again ? [again, until] : null;
  }

  /** The stretches ahead of the gap, the one with the newest segment first. */
  stretches(): Block[] {
    const stretches: Block[] = [];
    for (const segment of this.segments) {
      if (segment < this.next || stretches.some(([start, end]) => start <= segment && segment < end)) continue;
      let [start, end] = [segment, segment];
      while (this.came.has(start - 1)) start--;
      while (this.came.has(end)) end++;
      stretches.push([start, end]);
    }
    return stretches;
  }

  #has(byte: number): boolean {
    return byte < this.next || this.came.has(byte);
  }
}

test("reports to the sender what a receiver by definition does", () => {
  const segment = fc.record({ ahead: fc.integer({ min: -20, max: 60 }), length: fc.integer({ min: 1, max: 12 }) });
  fc.assert(
    fc.property(fc.array(segment, { maxLength: 80 }), fc.integer({ min: -300, max: 0 }), (segments, base) => {
      const receiving = new Receiving(base, 0);
      const model = new Model();
      let forgot = false;
      for (const { ahead, length } of segments) {
        const start = model.next + ahead;
        const again = model.receive(start, start + length);
        receiving.receive(start, start + length);
        expect(receiving.next).toBe(model.next);
        const stretches = model.stretches();
        if (stretches.length > 4) forgot = true;
        if (stretches.length === 0) forgot = false;

        const reported = receiving.acknowledge();
        if (again !== null) {
          expect(reported.shift()).toEqual(again);
          if (again[0] >= model.next) {
            expect(reported[0][0]).toBeLessThanOrEqual(again[0]);
            expect(reported[0][1]).toBeGreaterThanOrEqual(again[1]);
          }
        }
        // What was forgotten is missing at the end; nothing is missing otherwise.
        if (forgot)
          stretches.length = Math.min(stretches.length, Math.max(reported.length, start > model.next ? 1 : 0));
        expect(reported).toEqual(stretches);
      }
    }),
    { seed: 2, numRuns: 500 },
  );
});

test("never reports a byte that the queue refused", () => {
  const receiving = new Receiving(-2000, 0);
  for (let at = 1; at < 4000; at += 2) {
    receiving.receive(at, at + 1);
    for (const [start, end] of receiving.acknowledge()) {
      expect(receiving.queue.isHeld(sequenceAdd(-2000, start), sequenceAdd(-2000, end))).toBe(true);
    }
  }
  expect(receiving.queue.bytes).toBe(1024);
});
