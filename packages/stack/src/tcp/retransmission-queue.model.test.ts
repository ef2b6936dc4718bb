import fc from "fast-check";
import { expect, test } from "vitest";
import { type Sequence, sequenceAdd, sequenceDistance } from "../sequence.ts";
import { LinkLoad } from "./link-load.ts";
import { Rack } from "./rack.ts";
import { Delivery, RetransmissionQueue, SegmentRingPool } from "./retransmission-queue.ts";

/** What {@link Rack.minimumRoundTrip} is, in milliseconds. */
const MINIMUM_ROUND_TRIP = 4;

/** A segment of the model; its numbers are from the queue's base on and never wrap. */
interface Segment {
  start: number;
  end: number;
  sentAt: number;
  sacked: boolean;
  lost: boolean;
  retransmitted: boolean;
}

type Delivered = readonly [sentAt: number, end: number, retransmitted: boolean, now: number];

/** Tells what it is told. */
class RecordingRack extends Rack {
  readonly calls: Delivered[] = [];
  readonly #base: Sequence;

  constructor(base: Sequence) {
    super();
    this.#base = base;
    this.start(base);
    this.minimumRoundTrip = MINIMUM_ROUND_TRIP;
  }

  override delivered(sentAt: number, end: Sequence, retransmitted: boolean, now: number): void {
    this.calls.push([sentAt, sequenceDistance(end, this.#base), retransmitted, now]);
    super.delivered(sentAt, end, retransmitted, now);
  }
}

/** One queue as a plain list of segments. */
class Model {
  segments: Segment[] = [];
  first = 0;
  /** What was sent so far. */
  next = 0;
  delivery = new Delivery();
  delivered: Delivered[] = [];
  /** Which of the segments that have arrived was sent last (RFC 8985, 6.2, step 2). */
  latest: readonly [sentAt: number, end: number] = [-1, 0];
  /** How often a segment was taken for lost. */
  losses = 0;
  /** Where blocks began. */
  blockStarts: number[] = [];

  count(predicate: (segment: Segment) => boolean): number {
    return this.segments.filter(predicate).length;
  }

  bytes(predicate: (segment: Segment) => boolean): number {
    return this.segments.filter(predicate).reduce((sum, { start, end }) => sum + end - start, 0);
  }

  acknowledge(acknowledgment: number, point: number, now: number): void {
    const { delivery } = this;
    while (this.segments.length > 0 && this.segments[0].end <= acknowledgment) {
      const [segment] = this.segments.splice(0, 1);
      this.first++;
      if (segment.retransmitted) delivery.retransmitted = true;
      if (!segment.sacked) this.#deliver(segment, point, now);
    }
    const head = this.segments.at(0);
    if (head === undefined) this.#emptied();
    else if (acknowledgment > head.start) {
      if (!head.sacked) delivery.bytes += acknowledgment - head.start;
      head.start = acknowledgment;
    }
  }

  selectivelyAcknowledge(start: number, end: number, point: number, now: number): void {
    this.blockStarts.push(start);
    for (const segment of this.segments) {
      if (segment.start < start || segment.end > end || segment.sacked) continue;
      segment.sacked = true;
      segment.lost = false;
      this.#deliver(segment, point, now);
    }
  }

  lose(segment: Segment): void {
    if (segment.sacked || segment.lost) return;
    segment.lost = true;
    this.losses++;
  }

  detectLosses(timeout: number, now: number): number {
    const [sentAt, end] = this.latest;
    let wait = 0;
    for (const segment of this.segments) {
      if (segment.sacked || segment.lost) continue;
      if (segment.sentAt > sentAt || (segment.sentAt === sentAt && segment.end >= end)) continue;
      if (segment.sentAt + timeout <= now) this.lose(segment);
      else wait = Math.max(wait, segment.sentAt + timeout - now);
    }
    return wait;
  }

  split(at: number, bytes: number): void {
    const segment = this.segments[at];
    this.segments.splice(
      at,
      1,
      { ...segment, end: segment.start + bytes },
      { ...segment, start: segment.start + bytes },
    );
  }

  joinNext(at: number, bytes: number): boolean {
    const [one, other] = [this.segments[at], this.segments.at(at + 1)];
    if (other === undefined || !one.lost || !other.lost || other.end - one.start > bytes) return false;
    const retransmitted = one.retransmitted || other.retransmitted;
    this.segments.splice(at, 2, { ...other, start: one.start, retransmitted });
    this.first++;
    return true;
  }

  resegment(bytes: number): void {
    this.segments = this.segments.flatMap((segment) => {
      if (segment.sacked || segment.end - segment.start <= bytes) return [segment];
      this.lose(segment);
      const parts: Segment[] = [];
      for (let start = segment.start; start < segment.end; start += bytes) {
        parts.push({ ...segment, start, end: Math.min(segment.end, start + bytes) });
      }
      return parts;
    });
  }

  clear(): void {
    this.segments = [];
    this.#emptied();
  }

  #emptied(): void {
    this.first = 0;
    this.blockStarts = [];
  }

  #deliver({ start, end, sentAt, retransmitted }: Segment, point: number, now: number): void {
    const { delivery } = this;
    delivery.bytes += end - start;
    delivery.segments++;
    delivery.largest = Math.max(delivery.largest, end - start);
    if (!retransmitted) {
      if (delivery.firstSentAt < 0) delivery.firstSentAt = sentAt;
      delivery.lastSentAt = Math.max(delivery.lastSentAt, sentAt);
      if (end <= point) delivery.original = true;
    }
    this.delivered.push([sentAt, end, retransmitted, now]);
    const isIgnored = retransmitted && now - sentAt < MINIMUM_ROUND_TRIP;
    const [latestAt, latestEnd] = this.latest;
    if (!isIgnored && (sentAt > latestAt || (sentAt === latestAt && end > latestEnd))) this.latest = [sentAt, end];
  }
}

/** A queue together with its model. */
class Pair {
  readonly model = new Model();
  readonly rack: RecordingRack;
  readonly queue: RetransmissionQueue;
  readonly base: Sequence;
  readonly delivery: Delivery;
  load: LinkLoad | null;

  constructor(base: Sequence, pool: SegmentRingPool, delivery: Delivery, load: LinkLoad) {
    this.base = base;
    this.delivery = delivery;
    this.load = load;
    this.rack = new RecordingRack(base);
    this.queue = new RetransmissionQueue(pool, delivery, load);
  }

  get una(): number {
    return this.model.segments.at(0)?.start ?? this.model.next;
  }

  at(position: number): Sequence {
    return sequenceAdd(this.base, position);
  }

  check(): void {
    const { queue, model, base } = this;
    const { first, length } = queue;
    expect({ first, length }).toEqual({ first: model.first, length: model.segments.length });
    expect(queue.isEmpty).toBe(length === 0);
    const seen = Array.from({ length }, (_, index) => ({
      start: sequenceDistance(queue.startOf(first + index), base),
      bytes: queue.lengthOf(first + index),
      sentAt: queue.sentAt(first + index),
      sacked: queue.isSacked(first + index),
      retransmitted: queue.wasRetransmitted(first + index),
    }));
    expect(seen).toEqual(
      model.segments.map(({ start, end, sentAt, sacked, retransmitted }) => {
        return { start, bytes: end - start, sentAt, sacked, retransmitted };
      }),
    );
    const { bytesInFlight, sackedSegments, sackedBytes, lostSegments, losses, segmentsInFlight } = queue;
    expect({ bytesInFlight, sackedSegments, sackedBytes, lostSegments, losses, segmentsInFlight }).toEqual({
      bytesInFlight: model.bytes(({ sacked, lost }) => !sacked && !lost),
      sackedSegments: model.count(({ sacked }) => sacked),
      sackedBytes: model.bytes(({ sacked }) => sacked),
      lostSegments: model.count(({ lost }) => lost),
      losses: model.losses,
      segmentsInFlight: model.count(({ sacked, lost }) => !sacked && !lost),
    });
    expect({ ...this.delivery }).toEqual({ ...model.delivery });
    expect(this.rack.calls.splice(0)).toEqual(model.delivered.splice(0));
  }

  firstLost(): void {
    const { queue, model } = this;
    if (queue.lostSegments === 0) return;
    expect(queue.firstLost() - queue.first).toBe(model.segments.findIndex(({ lost }) => lost));
  }

  retransmit(at: number, now: number): void {
    this.queue.retransmitted(this.queue.first + at, now);
    Object.assign(this.model.segments[at], { lost: false, retransmitted: true, sentAt: now });
  }
}

const STEPS = [
  "push",
  "push",
  "push",
  "acknowledge",
  "acknowledgeWhole",
  "block",
  "block",
  "wholeBlock",
  "sameBlock",
  "markLost",
  "markLost",
  "unmarkLost",
  "firstLost",
  "retransmitFirstLost",
  "retransmitAny",
  "drain",
  "detectLosses",
  "detectLosses",
  "markLostSentBefore",
  "split",
  "joinNext",
  "resegment",
  "forgetSelective",
  "countOn",
  "clear",
] as const;

interface Step {
  readonly kind: (typeof STEPS)[number];
  /** Of the two queues. */
  readonly which: number;
  /** Milliseconds that pass before. */
  readonly wait: number;
  readonly a: number;
  readonly b: number;
  readonly many: number;
}

/** Does the same to the queue and to the model. */
function take({ kind, a, b, many }: Step, pair: Pair, loads: readonly (LinkLoad | null)[], now: number): void {
  const { queue, model, rack } = pair;
  const { segments } = model;
  const at = segments.length === 0 ? 0 : a % segments.length;
  const span = model.next - pair.una;
  const point = pair.una + (b % (span + 2));
  const acknowledge = (to: number) => {
    queue.acknowledge(pair.at(to), pair.at(point), rack, now);
    model.acknowledge(to, point, now);
  };
  const block = (start: number, end: number) => {
    queue.selectivelyAcknowledge(pair.at(start), pair.at(end), pair.at(point), rack, now);
    model.selectivelyAcknowledge(start, end, point, now);
  };
  switch (kind) {
    case "push":
      for (let count = many; count > 0 && segments.length < 80; count--) {
        const end = model.next + 1 + ((a + count) % 100);
        queue.push(pair.at(model.next), pair.at(end), now);
        segments.push({ start: model.next, end, sentAt: now, sacked: false, lost: false, retransmitted: false });
        model.next = end;
      }
      return;
    case "acknowledge":
      // From before the edge to beyond what was sent.
      acknowledge(pair.una - 3 + (a % (span + 6)));
      return;
    case "acknowledgeWhole":
      if (segments.length > 0) acknowledge(segments[Math.min(at, many)].end);
      return;
    case "block": {
      // One that begins at the cumulative acknowledgment or before is not handed to the queue.
      const start = pair.una + 1 + (a % (span + 1));
      block(start, start + 1 + (b % (span + 4)));
      return;
    }
    case "wholeBlock":
      if (at > 0) block(segments[at].start, segments[Math.min(segments.length - 1, at + many)].end);
      return;
    case "sameBlock": {
      const starts = model.blockStarts.filter((start) => start > pair.una);
      if (starts.length === 0) return;
      const start = starts[a % starts.length];
      block(start, start + (b % (span + 4)));
      return;
    }
    case "markLost": {
      // One before and one after what there is, too.
      const index = (a % (segments.length + 2)) - 1;
      queue.markLost(queue.first + index);
      const segment = index < 0 ? undefined : segments.at(index);
      if (index < segments.length && segment !== undefined) model.lose(segment);
      return;
    }
    case "unmarkLost":
      queue.unmarkLost();
      for (const segment of segments) segment.lost = false;
      return;
    case "firstLost":
      pair.firstLost();
      return;
    case "retransmitFirstLost":
      for (let count = many; count > 0 && queue.lostSegments > 0; count--) {
        pair.firstLost();
        pair.retransmit(queue.firstLost() - queue.first, now);
      }
      return;
    case "retransmitAny":
      if (segments.length > 0 && !segments[at].sacked) pair.retransmit(at, now);
      return;
    case "drain":
      while (queue.lostSegments > 0) {
        pair.firstLost();
        pair.retransmit(queue.firstLost() - queue.first, now);
        pair.check();
      }
      return;
    case "detectLosses":
      expect(queue.detectLosses(rack, b % 30, now)).toBe(model.detectLosses(b % 30, now));
      return;
    case "markLostSentBefore":
      queue.markLostSentBefore(now - (b % 8));
      segments.forEach((segment, index) => {
        if (index === 0 || segment.sentAt <= now - (b % 8)) model.lose(segment);
      });
      return;
    case "split": {
      const segment = segments.at(at);
      if (segment === undefined || segment.end - segment.start < 2) return;
      const bytes = 1 + (b % (segment.end - segment.start - 1));
      queue.split(queue.first + at, bytes);
      model.split(at, bytes);
      return;
    }
    case "joinNext":
      if (segments.length > 0) expect(queue.joinNext(queue.first + at, b % 250)).toBe(model.joinNext(at, b % 250));
      return;
    case "resegment":
      queue.resegment(20 + (b % 100));
      model.resegment(20 + (b % 100));
      return;
    case "forgetSelective":
      queue.forgetSelective();
      for (const segment of segments) segment.sacked = false;
      return;
    case "countOn":
      pair.load = loads[a % loads.length];
      queue.countOn(pair.load);
      return;
    case "clear":
      if (many > 8) {
        queue.clear();
        model.clear();
      }
      return;
  }
}

const anyBase = fc.oneof(
  fc.integer({ min: -1500, max: 10 }),
  fc.integer({ min: 0x7fffffff - 1500, max: 0x7fffffff }),
  fc.integer(),
);

const anyStep: fc.Arbitrary<Step> = fc.record({
  kind: fc.constantFrom(...STEPS),
  which: fc.nat({ max: 1 }),
  wait: fc.nat({ max: 3 }),
  a: fc.nat({ max: 10_000 }),
  b: fc.nat({ max: 10_000 }),
  many: fc.integer({ min: 1, max: 10 }),
});

/** Each load has the segments in flight of the queues that count on it. */
function expectCounted(loads: readonly (LinkLoad | null)[], pairs: readonly Pair[]): void {
  for (const load of loads) {
    if (load === null) continue;
    const models = pairs.filter((each) => each.load === load).map(({ model }) => model);
    const inFlight = models.map((model) => model.count(({ sacked, lost }) => !sacked && !lost));
    expect(load.frames).toBe(inFlight.reduce((sum, each) => sum + each, 0));
  }
}

function run(bases: readonly Sequence[], steps: readonly Step[]): void {
  const pool = new SegmentRingPool();
  const delivery = new Delivery();
  const loads = [new LinkLoad(256), new LinkLoad(256), null];
  const pairs = bases.map((base) => new Pair(base, pool, delivery, loads[0] as LinkLoad));
  let now = 100;
  let latest: Pair | null = null;
  for (const step of steps) {
    now += step.wait;
    const pair = pairs[step.which];
    // The blocks of one acknowledgment come after its cumulative part.
    if (pair !== latest || !step.kind.toLowerCase().endsWith("block") || step.b % 2 === 0) {
      delivery.reset();
      pair.model.delivery.reset();
    }
    latest = pair;
    take(step, pair, loads, now);
    pair.check();
    expectCounted(loads, pairs);
  }
  for (const pair of pairs) {
    delivery.reset();
    pair.model.delivery.reset();
    take({ kind: "drain", which: 0, wait: 0, a: 0, b: 0, many: 1 }, pair, loads, now);
    pair.queue.clear();
    pair.model.clear();
    expectCounted(loads, pairs);
  }
  expect(loads.map((load) => load?.frames ?? 0)).toEqual([0, 0, 0]);
}

test("two queues that share a pool and a link do what a list of segments does", () => {
  fc.assert(
    fc.property(fc.tuple(anyBase, anyBase), fc.array(anyStep, { minLength: 1, maxLength: 120, size: "max" }), run),
    {
      numRuns: 500,
      seed: 8985,
    },
  );
});
