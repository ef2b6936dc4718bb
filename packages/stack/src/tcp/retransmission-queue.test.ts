import { describe, expect, test } from "vitest";
import { type Sequence, sequenceAdd, sequenceDistance } from "../sequence.ts";
import { LinkLoad } from "./link-load.ts";
import { Rack } from "./rack.ts";
import { Delivery, MAX_SEGMENTS_IN_FLIGHT, RetransmissionQueue, SegmentRingPool } from "./retransmission-queue.ts";

/** Bytes of a segment. */
const SIZE = 100;

/** A pool that counts the rings that are out. */
class CountingPool extends SegmentRingPool {
  readonly taken: number[] = [];
  readonly given: number[] = [];

  override take(size: number): ReturnType<SegmentRingPool["take"]> {
    this.taken.push(size);
    return super.take(size);
  }

  override give(ring: Parameters<SegmentRingPool["give"]>[0]): void {
    this.given.push(ring.ends.length);
    super.give(ring);
  }
}

/** A queue of segments of {@link SIZE} bytes; numbers are from the first byte on. */
class Scenario {
  readonly pool = new CountingPool();
  readonly delivery = new Delivery();
  readonly load = new LinkLoad(256);
  readonly rack = new Rack();
  readonly queue = new RetransmissionQueue(this.pool, this.delivery, this.load);
  readonly base: Sequence;
  #next = 0;

  constructor(segments: number, base: Sequence = -250) {
    this.base = base;
    this.rack.start(base);
    this.push(segments);
  }

  at(position: number): Sequence {
    return sequenceAdd(this.base, position);
  }

  push(segments: number, now = 0): void {
    for (let count = 0; count < segments; count++) {
      this.queue.push(this.at(this.#next), this.at(this.#next + SIZE), now);
      this.#next += SIZE;
    }
  }

  acknowledge(to: number, now = 10, point = 0): void {
    this.delivery.reset();
    this.queue.acknowledge(this.at(to), this.at(point), this.rack, now);
  }

  block(start: number, end: number, now = 10, point = 0): void {
    this.delivery.reset();
    this.queue.selectivelyAcknowledge(this.at(start), this.at(end), this.at(point), this.rack, now);
  }

  markLost(...segments: number[]): void {
    for (const each of segments) this.queue.markLost(this.queue.first + each);
  }

  retransmitted(segment: number, now = 20): void {
    this.queue.retransmitted(this.queue.first + segment, now);
  }

  firstLost(): number {
    return this.queue.firstLost() - this.queue.first;
  }

  /** Takes the lost segments in the order in which they would be sent again. */
  drain(): number[] {
    const order: number[] = [];
    while (this.queue.lostSegments > 0) {
      order.push(this.firstLost());
      this.retransmitted(order.at(-1) ?? 0);
    }
    return order;
  }

  /** The edges of the segments. */
  edges(): number[] {
    const { queue } = this;
    const ends = Array.from({ length: queue.length }, (_, index) => queue.first + index);
    if (queue.isEmpty) return [];
    const first = sequenceDistance(queue.startOf(queue.first), this.base);
    return [first, ...ends.map((index) => sequenceDistance(queue.startOf(index) + queue.lengthOf(index), this.base))];
  }

  /** The places of the segments that a selective acknowledgment told of. */
  sacked(): number[] {
    const { queue } = this;
    return Array.from({ length: queue.length }, (_, place) => place).filter((place) =>
      queue.isSacked(queue.first + place),
    );
  }

  counts(): Record<string, number> {
    const { length, segmentsInFlight, bytesInFlight, sackedSegments, sackedBytes, lostSegments } = this.queue;
    expect(this.load.frames).toBe(segmentsInFlight);
    return { length, segmentsInFlight, bytesInFlight, sackedSegments, sackedBytes, lostSegments };
  }
}

function range(from: number, to: number): number[] {
  return Array.from({ length: to - from }, (_, index) => from + index);
}

describe("what an acknowledgment tells", () => {
  test("of whole segments and a part of one, the bytes, the segments, and when the first and the last was sent", () => {
    const s = new Scenario(2);
    s.push(2, 3);
    s.acknowledge(350, 10, 100);
    expect({ ...s.delivery }).toEqual({
      bytes: 350,
      segments: 3,
      firstSentAt: 0,
      lastSentAt: 3,
      original: true,
      retransmitted: false,
      largest: 100,
    });
    expect(s.edges()).toEqual([350, 400]);
    expect(s.counts()).toMatchObject({ length: 1, segmentsInFlight: 1, bytesInFlight: 50 });
    s.acknowledge(400, 10, 100);
    expect(s.delivery).toMatchObject({ bytes: 50, segments: 1, original: false });
  });

  test("of what a block told before, nothing again", () => {
    const s = new Scenario(4);
    s.block(100, 300);
    expect(s.delivery).toMatchObject({ bytes: 200, largest: 100, segments: 2 });
    s.block(100, 300);
    expect(s.delivery).toMatchObject({ bytes: 0, largest: 0, segments: 0 });
    s.acknowledge(250);
    expect(s.delivery).toMatchObject({ bytes: 100, segments: 1 });
    expect(s.counts()).toMatchObject({ length: 2, sackedSegments: 1, sackedBytes: 50, bytesInFlight: 100 });
  });

  test("of a retransmitted segment, no time, and that it was retransmitted only by the cumulative part", () => {
    const s = new Scenario(3);
    s.markLost(0, 2);
    s.retransmitted(0);
    s.retransmitted(2);
    s.block(200, 300, 30, 300);
    expect(s.delivery).toMatchObject({
      bytes: 100,
      firstSentAt: -1,
      lastSentAt: -1,
      original: false,
      retransmitted: false,
    });
    s.acknowledge(100, 30, 300);
    expect(s.delivery).toMatchObject({ bytes: 100, firstSentAt: -1, original: false, retransmitted: true });
    s.acknowledge(300, 30, 300);
    expect(s.delivery).toMatchObject({ bytes: 100, segments: 1, firstSentAt: 0, original: true, retransmitted: true });
  });
});

describe("blocks", () => {
  test("that end inside a segment leave it until they have grown over it", () => {
    const s = new Scenario(6);
    s.block(100, 250);
    expect(s.sacked()).toEqual([1]);
    s.block(100, 299);
    expect(s.sacked()).toEqual([1]);
    s.block(100, 300);
    expect(s.sacked()).toEqual([1, 2]);
    s.block(100, 200);
    s.block(100, 500);
    expect(s.sacked()).toEqual([1, 2, 3, 4]);
  });

  test("are more than are remembered, and each grows", () => {
    const s = new Scenario(40);
    for (const grown of [100, 200, 300]) {
      for (const start of range(0, 8)) s.block(100 + 500 * start, 100 + 500 * start + grown);
    }
    expect(s.sacked()).toEqual(range(0, 8).flatMap((start) => range(5 * start + 1, 5 * start + 4)));
    expect(s.counts()).toMatchObject({ sackedSegments: 24, sackedBytes: 2400, segmentsInFlight: 16 });
  });

  test("come again after all were forgotten", () => {
    const s = new Scenario(5);
    s.markLost(1);
    s.block(100, 400);
    s.queue.forgetSelective();
    expect(s.counts()).toMatchObject({ sackedSegments: 0, sackedBytes: 0, lostSegments: 0, bytesInFlight: 500 });
    s.block(100, 300);
    expect(s.sacked()).toEqual([1, 2]);
    s.block(100, 400);
    expect(s.sacked()).toEqual([1, 2, 3]);
  });

  test("are looked at anew after segments were cut", () => {
    const s = new Scenario(3);
    s.block(150, 250);
    s.queue.resegment(50);
    expect(s.edges()).toEqual([0, 50, 100, 150, 200, 250, 300]);
    s.block(150, 250);
    expect(s.sacked()).toEqual([3, 4]);
    expect(s.queue.lostSegments).toBe(4);
  });

  test("mark all that they hold when a segment that they began in was split for a retransmission (RFC 2018, 5)", () => {
    const s = new Scenario(3);
    s.markLost(0);
    s.block(50, 200);
    s.queue.split(s.queue.first, 50);
    s.block(50, 200);
    expect(s.edges()).toEqual([0, 50, 100, 200, 300]);
    expect(s.sacked()).toEqual([1, 2]);
  });

  test("are looked at from their start when the numbers have come round and begin alike", () => {
    const s = new Scenario(3);
    s.block(100, 300);
    s.acknowledge(300);
    const { queue } = s;
    for (const start of [0, 100, 200]) queue.push(s.at(start), s.at(start + SIZE), 20);
    s.block(100, 200, 30);
    expect(s.sacked()).toEqual([1]);
    // The same without the queue running empty on the way.
    const edges = [300, 2 ** 30, 2 ** 31, 3 * 2 ** 30, 2 ** 32, 2 ** 32 + 100, 2 ** 32 + 200];
    for (const [index, end] of edges.slice(1).entries()) {
      queue.push(s.at(edges[index]), s.at(end), 40);
      s.acknowledge(edges[index], 50);
    }
    expect(s.edges()).toEqual([100, 200]);
    queue.push(s.at(200), s.at(300), 60);
    s.block(100, 200, 80);
    expect(s.sacked()).toEqual([0]);
  });
});

describe("what was sent before what has arrived (RFC 8985, 6.2, step 5)", () => {
  /** Segments 0 to 3 were sent at 0, 4 at 5, 5 at 8 and 6 at 20; the fifth has arrived at 30. */
  function overtaken(): Scenario {
    const s = new Scenario(4);
    s.push(1, 5);
    s.push(1, 8);
    s.push(1, 20);
    s.block(500, 600, 30);
    return s;
  }

  test("is lost when the time is over, and otherwise waited for", () => {
    const s = overtaken();
    expect(s.queue.detectLosses(s.rack, 31, 30)).toBe(6);
    expect(s.queue.lostSegments).toBe(0);
    expect(s.queue.detectLosses(s.rack, 31, 31)).toBe(5);
    expect(s.queue.lostSegments).toBe(4);
    expect(s.queue.detectLosses(s.rack, 31, 35.5)).toBe(0.5);
    expect(s.queue.detectLosses(s.rack, 31, 36)).toBe(0);
    expect(s.drain()).toEqual([0, 1, 2, 3, 4]);
  });

  test("is not what was sent with it or later, first or again", () => {
    const s = overtaken();
    s.push(1, 8);
    s.markLost(0, 2);
    s.retransmitted(0, 8);
    s.retransmitted(2, 9);
    expect(s.queue.detectLosses(s.rack, 0, 1000)).toBe(0);
    // Of what was sent at the same time the segment with the lower number went first.
    expect(s.drain()).toEqual([0, 1, 3, 4]);
    expect(new Scenario(3).queue.detectLosses(s.rack, 0, 1000)).toBe(0);
    expect(new Scenario(0).queue.detectLosses(s.rack, 0, 1000)).toBe(0);
  });
});

describe("the first lost segment", () => {
  test("is found again after marks were taken back and set before it", () => {
    const s = new Scenario(20);
    s.markLost(10, 15);
    expect(s.firstLost()).toBe(10);
    s.queue.unmarkLost();
    s.markLost(3, 12);
    expect(s.drain()).toEqual([3, 12]);
    s.markLost(5);
    s.markLost(2);
    s.markLost(9);
    expect(s.drain()).toEqual([2, 5, 9]);
  });

  test("is found after the hint was acknowledged, the queue emptied and filled anew", () => {
    const s = new Scenario(20);
    s.markLost(...range(5, 20));
    expect(s.firstLost()).toBe(5);
    s.acknowledge(1000);
    expect(s.drain()).toEqual(range(0, 10));
    s.markLost(9);
    expect(s.firstLost()).toBe(9);
    s.acknowledge(2000);
    s.push(20);
    s.markLost(1);
    expect(s.drain()).toEqual([1]);
  });

  test("is the next one after the first arrived after all", () => {
    const s = new Scenario(20);
    s.markLost(4, 8, 12);
    expect(s.firstLost()).toBe(4);
    s.block(400, 900);
    expect(s.drain()).toEqual([12]);
  });

  test("is found after splits before it, at it and behind it, with the ring growing", () => {
    const s = new Scenario(16);
    s.markLost(7, 8, 15);
    expect(s.firstLost()).toBe(7);
    s.queue.split(s.queue.first + 2, 30);
    expect(s.firstLost()).toBe(8);
    s.queue.split(s.queue.first + 8, 30);
    expect(s.firstLost()).toBe(8);
    s.queue.split(s.queue.first + 12, 30);
    expect(s.drain()).toEqual([8, 9, 10, 18]);
    expect(s.pool.taken).toEqual([16, 32]);
  });

  test("is found after joins, which move what is before them", () => {
    const s = new Scenario(16);
    s.acknowledge(1000);
    s.push(9);
    s.markLost(4, 5, 6, 11);
    expect(s.firstLost()).toBe(4);
    expect(s.queue.joinNext(s.queue.first + 4, 200)).toBe(true);
    expect(s.firstLost()).toBe(4);
    expect(s.queue.joinNext(s.queue.first + 4, 299)).toBe(false);
    expect(s.queue.joinNext(s.queue.first + 4, 300)).toBe(true);
    expect(s.queue.joinNext(s.queue.first + 4, 1000)).toBe(false);
    s.markLost(1);
    expect(s.drain()).toEqual([1, 4, 9]);
    expect(s.queue.lengthOf(s.queue.first + 4)).toBe(300);
  });

  test("is found by a timeout that marks what was sent before a time, the first in any case", () => {
    const s = new Scenario(2);
    s.push(2, 5);
    s.push(2, 9);
    s.retransmitted(0, 12);
    s.queue.markLostSentBefore(5);
    expect(s.drain()).toEqual([0, 1, 2, 3]);
  });
});

describe("splitting and joining", () => {
  test("keep the bytes and count the segments, whatever their marks", () => {
    const s = new Scenario(3);
    s.markLost(0);
    s.block(100, 200);
    for (const place of [0, 2, 4]) s.queue.split(s.queue.first + place, 40);
    expect(s.edges()).toEqual([0, 40, 100, 140, 200, 240, 300]);
    expect(s.counts()).toEqual({
      length: 6,
      segmentsInFlight: 2,
      bytesInFlight: 100,
      sackedSegments: 2,
      sackedBytes: 100,
      lostSegments: 2,
    });
    expect(s.queue.joinNext(s.queue.first, 100)).toBe(true);
    expect(s.queue.joinNext(s.queue.first + 1, 100)).toBe(false);
    expect(s.queue.joinNext(s.queue.first + 3, 100)).toBe(false);
    expect(s.queue.joinNext(s.queue.first + 4, 100)).toBe(false);
    expect(s.edges()).toEqual([0, 100, 140, 200, 240, 300]);
    expect(s.counts()).toMatchObject({ segmentsInFlight: 2, sackedSegments: 2, lostSegments: 1 });
  });

  test("a full queue is not cut further, but all that is too large is lost", () => {
    const s = new Scenario(MAX_SEGMENTS_IN_FLIGHT - 2);
    s.block(100, 200);
    s.queue.resegment(30);
    expect(s.queue.isFull).toBe(true);
    expect(s.edges().slice(0, 6)).toEqual([0, 30, 60, 100, 200, 300]);
    expect(s.counts()).toEqual({
      length: MAX_SEGMENTS_IN_FLIGHT,
      segmentsInFlight: 0,
      bytesInFlight: 0,
      sackedSegments: 1,
      sackedBytes: 100,
      lostSegments: MAX_SEGMENTS_IN_FLIGHT - 1,
    });
    expect(s.drain()).toHaveLength(MAX_SEGMENTS_IN_FLIGHT - 1);
  });
});

describe("rings", () => {
  test("are of 16 segments until there are more", () => {
    const s = new Scenario(16);
    s.acknowledge(500);
    s.push(5);
    expect(s.pool.taken).toEqual([16]);
    s.push(1);
    expect(s.pool.taken).toEqual([16, 32]);
    expect(s.edges()).toEqual(range(5, 23).map((index) => index * SIZE));
  });

  test("grow through all sizes as a queue grows, and all go back", () => {
    const s = new Scenario(0, 0x7fffffff - 200_000);
    const count = MAX_SEGMENTS_IN_FLIGHT + 500;
    for (const index of range(0, count)) {
      s.push(1, index);
      // The first segments go, so that the rest lies across the end of each ring.
      if (index % 3 === 2) s.acknowledge((s.queue.first + 1) * SIZE);
    }
    const { queue } = s;
    const gone = Math.floor(count / 3);
    s.push(2 * gone, count);
    expect(queue.length).toBe(count + gone);
    expect(s.pool.taken).toEqual([16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192]);
    expect(s.pool.given).toEqual(s.pool.taken.slice(0, -1));
    expect(s.edges()).toEqual(range(gone, count + 2 * gone + 1).map((index) => index * SIZE));
    expect(range(gone, count).every((index) => queue.sentAt(index) === index)).toBe(true);
    expect(queue.isFull).toBe(true);
    queue.clear();
    expect(s.pool.given).toEqual(s.pool.taken);
    expect(s.counts()).toMatchObject({ length: 0, segmentsInFlight: 0, bytesInFlight: 0 });
  });

  test("go back when everything was acknowledged, and the next queue begins with a clean one", () => {
    const s = new Scenario(10);
    s.markLost(2, 3);
    s.retransmitted(2);
    s.block(500, 800);
    s.acknowledge(1000);
    expect(s.pool.given).toEqual([16]);
    s.queue.clear();
    expect(s.pool.given).toEqual([16]);
    s.push(10, 50);
    expect(s.pool.taken).toEqual([16, 16]);
    expect(s.counts()).toMatchObject({ segmentsInFlight: 10, sackedSegments: 0, lostSegments: 0 });
    expect(range(0, 10).every((index) => !s.queue.wasRetransmitted(s.queue.first + index))).toBe(true);
  });

  test("are kept for reuse, as many as hold 65536 segments", () => {
    const pool = new SegmentRingPool();
    const rings = range(0, 4097).map(() => pool.take(16));
    expect(new Set(rings).size).toBe(4097);
    for (const ring of rings) pool.give(ring);
    const other = pool.take(32);
    expect(rings).not.toContain(other);
    expect(other.ends).toHaveLength(32);
    pool.give(other);
    expect(pool.take(32)).not.toBe(other);
    const given = new Set(rings);
    const again = range(0, 4097).map(() => pool.take(16));
    expect(new Set(again).size).toBe(4097);
    expect(again.filter((ring) => given.has(ring))).toHaveLength(4096);
  });
});

test("a queue that was not empty for 2^31 segments goes on", () => {
  const s = new Scenario(0);
  s.queue.first = 2 ** 31 - 20;
  s.push(40);
  s.acknowledge(1500);
  s.block(2000, 2300);
  expect(s.sacked()).toEqual([5, 6, 7]);
  s.acknowledge(2500);
  s.block(2700, 2900);
  expect(s.sacked()).toEqual([2, 3]);
  s.markLost(0);
  expect(s.drain()).toEqual([0]);
  expect(s.counts()).toMatchObject({ segmentsInFlight: 13, sackedSegments: 2 });
});

test("a queue counts on the link that it was told of last, once", () => {
  const s = new Scenario(5);
  const other = new LinkLoad(256);
  s.markLost(0);
  s.block(200, 300);
  s.queue.countOn(s.load);
  expect(s.load.frames).toBe(3);
  s.queue.countOn(null);
  expect(s.load.frames).toBe(0);
  s.push(1);
  s.retransmitted(0);
  s.queue.countOn(other);
  expect([s.load.frames, other.frames]).toEqual([0, 5]);
  s.acknowledge(100);
  s.queue.countOn(s.load);
  expect([s.load.frames, other.frames]).toEqual([4, 0]);
  s.queue.clear();
  expect([s.load.frames, other.frames]).toEqual([0, 0]);
});
