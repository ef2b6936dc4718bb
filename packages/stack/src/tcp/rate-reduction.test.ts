import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { RateReduction } from "./rate-reduction.ts";

const SEGMENT = 1000;

/** A recovery in whole segments, whose sender sends all that it may. */
class Recovery {
  readonly reduction = new RateReduction();
  readonly threshold: number;
  readonly segment: number;
  inFlight: number;

  constructor(flight: number, threshold: number, inFlight: number, segment = SEGMENT) {
    this.reduction.begin(flight * segment);
    this.segment = segment;
    this.threshold = threshold;
    this.inFlight = inFlight;
  }

  /** What may be sent after an acknowledgment, in segments; the delivered ones have left the flight already. */
  room(delivered: number, isSafe = false, isUrgent = false): number {
    const { reduction, threshold, segment, inFlight } = this;
    const [bytes, limit] = [inFlight * segment, threshold * segment];
    return reduction.window(delivered * segment, bytes, limit, segment, isSafe, isUrgent) / segment - inFlight;
  }

  send(segments: number): number {
    this.reduction.sent(segments * this.segment);
    this.inFlight += segments;
    return segments;
  }

  /** Takes in an acknowledgment of one segment in flight and sends; returns how many segments. */
  step(isSafe = false): number {
    this.inFlight--;
    return this.send(Math.floor(this.room(1, isSafe)));
  }
}

describe("the examples of RFC 6937, 3.1: a window of 20 segments and a threshold of 10", () => {
  test("one loss: every other acknowledgment sends a segment, and at the end the threshold is in flight", () => {
    // The acknowledgments of segments 1 and 2 each sent a new one; that of segment 3 shows the loss. The figure counts
    // in segments, so a segment is what is rounded up to.
    const recovery = new Recovery(20, 10, 19, 1);
    const sent: number[] = [];
    const flights: number[] = [];
    for (let segment = 3; segment <= 19; segment++) {
      sent.push(recovery.step());
      flights.push(recovery.inFlight);
    }
    expect(sent).toEqual([1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 0]);
    expect(flights).toEqual([19, 18, 18, 17, 17, 16, 16, 15, 15, 14, 14, 13, 13, 12, 12, 11, 10]);
  });

  test("15 losses: each segment that arrives sends one (CRB)", () => {
    const recovery = new Recovery(20, 10, 5);
    expect([recovery.step(), recovery.inFlight]).toEqual([1, 5]);
    expect([recovery.step(), recovery.inFlight]).toEqual([1, 5]);
    expect([recovery.step(), recovery.inFlight]).toEqual([1, 5]);
  });

  test("15 losses: each segment that arrives sends two while the edge moves on (SSRB), up to the threshold", () => {
    const recovery = new Recovery(20, 10, 5);
    const flights: number[] = [];
    for (let count = 0; count < 7; count++) {
      recovery.step(true);
      flights.push(recovery.inFlight);
    }
    expect(flights).toEqual([6, 7, 8, 9, 10, 10, 10]);
  });
});

describe("the room that a recovery leaves", () => {
  test("is one segment at the beginning, however little has arrived", () => {
    expect(new Recovery(20, 10, 19).room(0)).toBe(1);
    expect(new Recovery(20, 10, 10).room(0)).toBe(1);
    expect(new Recovery(20, 10, 3).room(0)).toBe(1);
    expect(new Recovery(3, 2, 0).room(0)).toBe(1);
  });

  test("is that one segment until it was sent", () => {
    const recovery = new Recovery(20, 10, 19);
    expect(recovery.room(0)).toBe(1);
    expect(recovery.room(0)).toBe(1);
    recovery.send(1);
    expect(recovery.room(0)).toBe(0);
  });

  test("is one segment when one is to be sent again whatever the window (RFC 6582, 3.2, step 3)", () => {
    const recovery = new Recovery(20, 10, 18);
    recovery.send(5);
    expect(recovery.room(1)).toBe(0);
    expect(recovery.room(0, false, true)).toBe(1);
  });

  test("is the share of the threshold in what has arrived, above the threshold", () => {
    const recovery = new Recovery(20, 14, 20);
    recovery.send(1);
    // ceil(5 * 14 / 20) - 1 in bytes is 2500.
    expect(recovery.room(5)).toBe(2.5);
    recovery.send(2);
    expect(recovery.room(1)).toBeCloseTo(1.2);
  });

  test("rounds up to a byte", () => {
    const reduction = new RateReduction();
    reduction.begin(30_000);
    reduction.sent(1);
    expect(reduction.window(100, 25_000, 10_000, SEGMENT, false, false)).toBe(25_000 + 34 - 1);
  });

  test("makes up for what was not sent, down to the threshold (RFC 6937, 4)", () => {
    const recovery = new Recovery(20, 10, 12);
    recovery.send(1);
    for (let count = 0; count < 6; count++) {
      recovery.inFlight--;
      recovery.room(1);
    }
    // Seven are in flight and six have arrived for one that was sent.
    expect(recovery.inFlight).toBe(7);
    expect(recovery.room(0)).toBe(3);
    recovery.inFlight = 2;
    expect(recovery.room(0)).toBe(5);
    expect(recovery.room(1, true)).toBe(7);
  });

  test("is what an acknowledgment told of, when more was sent than has arrived", () => {
    const recovery = new Recovery(20, 10, 4);
    recovery.send(3);
    expect(recovery.room(0)).toBe(0);
    expect(recovery.room(2)).toBe(2);
    expect(recovery.room(0, true)).toBe(1);
  });

  test("is never less than nothing", () => {
    const recovery = new Recovery(20, 10, 19);
    recovery.send(9);
    expect(recovery.room(1)).toBe(0);
    expect(recovery.room(0, true)).toBe(0);
  });

  test("is counted anew in the next recovery", () => {
    const recovery = new Recovery(20, 10, 19);
    recovery.room(9);
    recovery.send(20);
    recovery.reduction.begin(40 * SEGMENT);
    recovery.inFlight = 38;
    expect(recovery.room(0)).toBe(1);
    recovery.send(1);
    expect(recovery.room(8)).toBe(1);
  });
});

/** One acknowledgment of a recovery, in hundredths of what is possible. */
interface Step {
  readonly delivered: number;
  readonly lost: number;
  readonly sends: number;
  readonly isSafe: boolean;
  readonly isUrgent: boolean;
}

const anyStep: fc.Arbitrary<Step> = fc.record({
  delivered: fc.nat({ max: 30 }),
  lost: fc.oneof(fc.constant(0), fc.nat({ max: 60 })),
  sends: fc.oneof(fc.constant(100), fc.nat({ max: 100 })),
  isSafe: fc.boolean(),
  isUrgent: fc.oneof({ weight: 9, arbitrary: fc.constant(false) }, { weight: 1, arbitrary: fc.constant(true) }),
});

test("what is sent is no more than what has arrived, one segment, and one for each time that is allowed (RFC 6937, 4)", () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 2, max: 200_000 }),
      fc.integer({ min: 1, max: 100 }),
      fc.array(anyStep, { size: "max", maxLength: 100 }),
      (flight, share, steps) => {
        const reduction = new RateReduction();
        reduction.begin(flight);
        const threshold = Math.ceil((flight * share) / 100);
        let inFlight = flight;
        let arrived = 0;
        let sent = 0;
        let allowed = SEGMENT;
        for (const { delivered: arrives, lost, sends, isSafe, isUrgent } of steps) {
          const delivered = Math.floor((inFlight * arrives) / 100);
          inFlight -= delivered;
          inFlight -= Math.floor((inFlight * lost) / 100);
          arrived += delivered;
          if (isSafe || isUrgent) allowed += SEGMENT;
          const window = reduction.window(delivered, inFlight, threshold, SEGMENT, isSafe, isUrgent);
          expect(window).toBeGreaterThanOrEqual(inFlight);
          const bytes = Math.floor(((window - inFlight) * sends) / 100);
          reduction.sent(bytes);
          sent += bytes;
          inFlight += bytes;
          expect(sent).toBeLessThanOrEqual(arrived + allowed);
        }
      },
    ),
    { seed: 6937 },
  );
});

test("when all of a window has arrived but for what was lost, the threshold is in flight (RFC 6937, 4)", () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 4, max: 400 }),
      fc.integer({ min: 30, max: 100 }),
      fc.nat({ max: 40 }),
      fc.array(fc.integer({ min: 1, max: 4 }), { minLength: 400, maxLength: 400 }),
      (flight, share, lossShare, batches) => {
        const threshold = Math.max(2, Math.floor((flight * share) / 100));
        const lost = Math.max(1, Math.floor((flight * lossShare) / 100));
        fc.pre(lost < flight);
        const recovery = new Recovery(flight, threshold, flight - lost);
        let isFirst = true;
        for (let left = flight - lost; left > 0; ) {
          const delivered = Math.min(left, batches.at(left % batches.length) ?? 1);
          left -= delivered;
          recovery.inFlight -= delivered;
          const room = recovery.room(delivered, !isFirst);
          isFirst = false;
          recovery.send(Math.floor(room));
        }
        expect(recovery.inFlight).toBeLessThanOrEqual(threshold + 1);
        if (lost <= flight - threshold) expect(recovery.inFlight).toBeGreaterThanOrEqual(threshold - 1);
      },
    ),
    { seed: 9937 },
  );
});
