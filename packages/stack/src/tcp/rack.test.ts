import { describe, expect, test } from "vitest";
import { sequenceAdd } from "../sequence.ts";
import { Rack } from "./rack.ts";

/** Just before the wrap; segments are of 100 bytes and numbered from 0. */
const BASE = -250;
const MINIMUM = 40;
const SMOOTHED = 100;

function end(segment: number): number {
  return sequenceAdd(BASE, 100 * (segment + 1));
}

function started(minimumRoundTrip = MINIMUM): Rack {
  const rack = new Rack();
  rack.start(BASE);
  rack.minimumRoundTrip = minimumRoundTrip;
  return rack;
}

/** A segment that was sent once has arrived. */
function arrives(rack: Rack, segment: number, sentAt: number, now: number): void {
  rack.delivered(sentAt, end(segment), false, now);
}

/** A segment that was sent again has arrived. */
function arrivesAgain(rack: Rack, segment: number, sentAt: number, now: number): void {
  rack.delivered(sentAt, end(segment), true, now);
}

describe("the latest delivered segment (RFC 8985, 6.2, step 2)", () => {
  test("is none at first", () => {
    const rack = started();
    expect(rack.isSentAfter(0, end(0))).toBe(false);
  });

  test("is the one that was sent last, not the one that arrived last", () => {
    const rack = started();
    arrives(rack, 5, 20, 60);
    arrives(rack, 1, 10, 65);
    expect(rack.isSentAfter(19, end(9))).toBe(true);
    expect(rack.isSentAfter(20, end(4))).toBe(true);
    expect(rack.isSentAfter(20, end(5))).toBe(false);
    expect(rack.isSentAfter(20, end(6))).toBe(false);
    expect(rack.isSentAfter(21, end(0))).toBe(false);
  });

  test("is of those sent at the same time the one with the highest number, across the wrap and the change of sign", () => {
    const rack = started();
    arrives(rack, 1, 10, 60);
    arrives(rack, 3, 10, 60);
    arrives(rack, 2, 10, 60);
    expect(rack.isSentAfter(10, end(2))).toBe(true);
    expect(rack.isSentAfter(10, end(3))).toBe(false);
    const [before, behind] = [0x7fffff00, sequenceAdd(0x7fffff00, 0x1000)];
    rack.start(before);
    rack.delivered(20, before, false, 70);
    rack.delivered(20, behind, false, 70);
    expect(rack.isSentAfter(20, before)).toBe(true);
    expect(rack.isSentAfter(20, behind)).toBe(false);
  });

  test("may be a retransmission with a low number", () => {
    const rack = started();
    arrives(rack, 5, 20, 60);
    arrivesAgain(rack, 0, 70, 70 + MINIMUM);
    expect(rack.isSentAfter(69, end(9))).toBe(true);
    expect(rack.roundTrip).toBe(MINIMUM);
  });

  test("is no retransmission that seems to have taken less than the shortest round trip", () => {
    const rack = started();
    arrives(rack, 5, 20, 60);
    arrivesAgain(rack, 0, 70, 70 + MINIMUM - 1);
    expect(rack.isSentAfter(20, end(6))).toBe(false);
    expect(rack.isSentAfter(20, end(4))).toBe(true);
    expect(rack.roundTrip).toBe(40);
  });

  test("is measured: the round trip is of the segment that has arrived, late ones included", () => {
    const rack = started();
    arrives(rack, 0, 10, 60);
    expect(rack.roundTrip).toBe(50);
    arrives(rack, 2, 60, 90);
    expect(rack.roundTrip).toBe(30);
    arrives(rack, 1, 10, 95);
    expect(rack.roundTrip).toBe(85);
  });
});

describe("reordering (RFC 8985, 6.2, step 3)", () => {
  test("is seen when a segment arrives behind one with a higher number", () => {
    const rack = started();
    for (const segment of [0, 1, 2, 5]) arrives(rack, segment, 10, 60);
    expect(rack.reorderingSeen).toBe(false);
    arrives(rack, 4, 10, 61);
    expect(rack.reorderingSeen).toBe(true);
  });

  test("is not seen in retransmissions, nor in what is acknowledged in order, across the wrap", () => {
    const rack = started();
    for (const segment of [0, 1, 4, 5, 9]) arrives(rack, segment, 10, 60);
    for (const segment of [2, 3, 6]) arrivesAgain(rack, segment, 70, 120);
    arrives(rack, 10, 80, 130);
    expect(rack.reorderingSeen).toBe(false);
  });

  test("is not seen in what ends where the last one did, of which a part had arrived", () => {
    const rack = started();
    arrives(rack, 3, 10, 60);
    arrives(rack, 3, 10, 61);
    expect(rack.reorderingSeen).toBe(false);
  });

  test("is not seen in the first segments of a connection, wherever its numbers begin", () => {
    for (const isn of [0x7ffffff0, -0x80000000, -1, 0, 5]) {
      const rack = new Rack();
      rack.start(isn);
      for (const count of [1, 2, 3]) rack.delivered(1, sequenceAdd(isn, 100 * count), false, 2);
      expect(rack.reorderingSeen).toBe(false);
    }
  });
});

describe("the reordering window (RFC 8985, 6.2, step 4)", () => {
  /** Segment 1 arrives behind segment 2. */
  function reordered(minimumRoundTrip = MINIMUM): Rack {
    const rack = started(minimumRoundTrip);
    arrives(rack, 2, 10, 60);
    arrives(rack, 1, 10, 61);
    return rack;
  }

  /** D-SACKs, one in each round trip. */
  function widen(rack: Rack, rounds: number): void {
    for (let round = 0; round < rounds; round++) rack.spurious(SMOOTHED, 1000 + SMOOTHED * round);
  }

  test("is a quarter of the shortest round trip while no reordering was seen and nothing is urgent", () => {
    expect(started().reorderingWindow(false, SMOOTHED)).toBe(10);
  });

  test("is 0 in a recovery, or with many segments acknowledged, until reordering was seen", () => {
    expect(started().reorderingWindow(true, SMOOTHED)).toBe(0);
    expect(reordered().reorderingWindow(true, SMOOTHED)).toBe(10);
    expect(reordered().reorderingWindow(false, SMOOTHED)).toBe(10);
  });

  test("is the smoothed round trip at most", () => {
    expect(started().reorderingWindow(false, 9)).toBe(9);
    const rack = reordered();
    widen(rack, 20);
    expect(rack.reorderingWindow(true, SMOOTHED)).toBe(SMOOTHED);
    expect(started(Number.POSITIVE_INFINITY).reorderingWindow(false, SMOOTHED)).toBe(SMOOTHED);
  });

  test("is wider by a quarter of the shortest round trip after each round trip with a D-SACK", () => {
    const rack = reordered();
    rack.spurious(SMOOTHED, 0);
    expect(rack.reorderingWindow(true, SMOOTHED)).toBe(20);
    rack.spurious(SMOOTHED, 0);
    rack.spurious(SMOOTHED, SMOOTHED - 1);
    expect(rack.reorderingWindow(true, SMOOTHED)).toBe(20);
    rack.spurious(SMOOTHED, SMOOTHED);
    expect(rack.reorderingWindow(true, SMOOTHED)).toBe(30);
    rack.spurious(SMOOTHED, SMOOTHED + 50);
    rack.spurious(SMOOTHED, 10 * SMOOTHED);
    expect(rack.reorderingWindow(true, SMOOTHED)).toBe(40);
  });

  test("is not widened without end", () => {
    const rack = reordered();
    widen(rack, 1000);
    expect(rack.reorderingWindow(true, 100_000)).toBe(2550);
  });

  test("falls back after 16 recoveries without a D-SACK", () => {
    const rack = reordered();
    widen(rack, 3);
    for (let recovery = 0; recovery < 15; recovery++) rack.recovered();
    expect(rack.reorderingWindow(true, SMOOTHED)).toBe(40);
    rack.recovered();
    expect(rack.reorderingWindow(true, SMOOTHED)).toBe(10);
  });

  test("does not fall back while D-SACKs come", () => {
    const rack = reordered();
    rack.spurious(SMOOTHED, 1000);
    for (let recovery = 0; recovery < 15; recovery++) rack.recovered();
    rack.spurious(SMOOTHED, 2000);
    for (let recovery = 0; recovery < 15; recovery++) rack.recovered();
    expect(rack.reorderingWindow(true, SMOOTHED)).toBe(30);
    rack.recovered();
    expect(rack.reorderingWindow(true, SMOOTHED)).toBe(10);
    rack.spurious(SMOOTHED, 3000);
    expect(rack.reorderingWindow(true, SMOOTHED)).toBe(20);
  });

  test("follows the shortest round trip", () => {
    const rack = reordered();
    rack.minimumRoundTrip = 8;
    expect(rack.reorderingWindow(true, SMOOTHED)).toBe(2);
  });
});
