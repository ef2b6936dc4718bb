import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { Random } from "../../testing/random.ts";
import {
  type CongestionControl,
  createCongestionControl,
  initialWindow,
  MAXIMUM_WINDOW,
} from "./congestion-control.ts";

const SEGMENT = 1000;

const ALGORITHMS = [
  { algorithm: "cubic", decrease: 0.7 },
  { algorithm: "reno", decrease: 0.5 },
] as const;

/** An acknowledgment of `bytes` while the window was used up, which tells nothing of the round trip. */
function acknowledge(control: CongestionControl, bytes: number): void {
  control.acknowledged(bytes, true, 0, -1, 100, false);
}

test.each([
  [1460, 14_600],
  [536, 5360],
  [28, 280],
  [3960, 14_600],
  [9000, 18_000],
  [65_000, 130_000],
])("a segment of %i bytes begins with a window of %i (RFC 6928)", (segment, window) => {
  expect(initialWindow(segment)).toBe(window);
  for (const { algorithm } of ALGORITHMS) {
    const control = createCongestionControl(algorithm, segment);
    expect(control.name).toBe(algorithm);
    expect(control.window).toBe(window);
    expect(control.threshold).toBe(Number.POSITIVE_INFINITY);
  }
});

describe.each(ALGORITHMS)("$algorithm", ({ algorithm, decrease }) => {
  function create(): CongestionControl {
    return createCongestionControl(algorithm, SEGMENT);
  }

  /** A connection in its first slow start with a window of `segments`. */
  function grown(segments: number): CongestionControl {
    const control = create();
    while (control.window < segments * SEGMENT) {
      acknowledge(control, Math.min(control.window, segments * SEGMENT - control.window));
    }
    expect(control.window).toBe(segments * SEGMENT);
    return control;
  }

  /** The threshold after a loss with `bytes` in flight; rounding may take a byte. */
  function expectReduced(control: CongestionControl, bytes: number): void {
    expect(Math.abs(control.threshold - decrease * bytes)).toBeLessThanOrEqual(1);
  }

  test.each([1, 2, 5])("slow start doubles the window per round trip with an ACK per %i segments", (segments) => {
    const control = create();
    for (let round = 1; round <= 6; round++) {
      for (let left = control.window / SEGMENT / segments; left > 0; left--) acknowledge(control, segments * SEGMENT);
      expect(control.window).toBe(10_000 * 2 ** round);
    }
  });

  test("slow start counts the bytes, not the acknowledgments (RFC 3465)", () => {
    const control = create();
    for (let acknowledgment = 0; acknowledgment < 100; acknowledgment++) acknowledge(control, 10);
    expect(control.window).toBe(11_000);
  });

  test("one acknowledgment at most doubles the window", () => {
    const control = create();
    acknowledge(control, 1_000_000);
    expect(control.window).toBe(20_000);
    control.timedOut(20_000, 0, true);
    acknowledge(control, 20_000);
    expect(control.window).toBe(2000);
  });

  test("slow start ends at the threshold; only the bytes beyond count for congestion avoidance", () => {
    const control = grown(100);
    control.timedOut(100_000, 0, true);
    const { threshold } = control;
    while (control.window <= threshold / 2) acknowledge(control, control.window);
    acknowledge(control, control.window);
    expect(control.window).toBeGreaterThanOrEqual(threshold);
    expect(control.window).toBeLessThan(threshold + SEGMENT);
  });

  test("nothing grows while the sender is not limited by the window", () => {
    const slowStart = create();
    const avoidance = grown(100);
    avoidance.lossDetected(100_000, 0);
    avoidance.recovered(0);
    const { window } = avoidance;
    for (let now = 0; now < 100_000; now += 10) {
      slowStart.acknowledged(10_000, false, now, 10, 10, true);
      avoidance.acknowledged(50_000, false, now, 10, 10, true);
    }
    expect(slowStart.window).toBe(10_000);
    expect(avoidance.window).toBe(window);
  });

  test("growth ends at 16 MiB, in slow start and after", () => {
    const control = create();
    for (let round = 0; round < 20; round++) acknowledge(control, control.window);
    expect(control.window).toBe(16 * 1024 * 1024);
    control.lossDetected(control.window, 0);
    control.recovered(0);
    for (let round = 1; round < 20_000; round++) control.acknowledged(control.window, true, 100 * round, -1, 100, true);
    expect(control.window).toBe(MAXIMUM_WINDOW);
  });

  test("longer round trips end the first slow start before a loss does, and it grows on slowly (RFC 9406)", () => {
    const control = create();
    let now = 0;
    let rounds = 0;
    while (control.threshold === Number.POSITIVE_INFINITY) {
      expect(++rounds).toBeLessThan(20);
      const before = control.window;
      const roundTrip = rounds <= 4 ? 20 : 40;
      for (let left = before; left > 0; left -= 2 * SEGMENT) {
        control.acknowledged(2 * SEGMENT, true, now++, roundTrip, roundTrip, left === before);
      }
      if (rounds <= 4) expect(control.window).toBe(2 * before);
    }
    // Four rounds of 20 ms; five of 40 ms, of which the first doubles up to its eighth sample, and the next ends it.
    expect(rounds).toBe(10);
    const first = 160_000 + 14_000 + (160_000 - 14_000) / 4;
    expect(control.threshold).toBeGreaterThan(0.98 * first * 1.25 ** 4);
    expect(control.threshold).toBeLessThan(1.02 * first * 1.25 ** 4);
    // And a segment per round trip from there on.
    const before = control.window;
    for (let left = before; left > 0; left -= SEGMENT) control.acknowledged(SEGMENT, true, now, -1, 40, false);
    expect(control.window - before).toBeGreaterThan(0);
    expect(control.window - before).toBeLessThanOrEqual(2 * SEGMENT);
  });

  test("HyStart++ has no part in a slow start after a loss", () => {
    const control = grown(100);
    control.timedOut(100_000, 0, true);
    for (let round = 0; round < 5; round++) {
      for (let left = control.window; left > 0; left -= 100) {
        control.acknowledged(100, true, round, 10 + 20 * round, 10, left === control.window);
      }
    }
    expect(control.window).toBe(32_000);
    expectReduced(control, 100_000);
  });

  test("a loss sets the threshold to a part of what was in flight, and leaves the window to the recovery", () => {
    const control = grown(100);
    control.lossDetected(60_000, 0);
    expectReduced(control, 60_000);
    expect(control.window).toBe(100_000);
    control.window = 37_000;
    control.recovered(0);
    expect(control.window).toBe(control.threshold);
    acknowledge(control, SEGMENT);
    expect(control.window).toBeLessThan(control.threshold + SEGMENT);
  });

  test("what limited transmit sent beyond the window does not raise the threshold (RFC 5681, 3.2)", () => {
    const control = grown(100);
    control.lossDetected(102_000, 0);
    expectReduced(control, 100_000);
  });

  test("a timeout leaves one segment; only its first expiry sets the threshold (RFC 5681, 3.1)", () => {
    const control = grown(100);
    control.timedOut(80_000, 0, true);
    expect(control.window).toBe(SEGMENT);
    expectReduced(control, 80_000);
    control.timedOut(80_000, 200, false);
    control.timedOut(80_000, 600, false);
    expect(control.window).toBe(SEGMENT);
    expectReduced(control, 80_000);
  });

  test("a timeout in a recovery does not raise the threshold, and the recovery's end does not raise the window", () => {
    const control = grown(100);
    control.lossDetected(100_000, 0);
    control.window = 20_000;
    const { threshold } = control;
    control.timedOut(180_000, 0, true);
    expect(control.threshold).toBe(threshold);
    expect(control.window).toBe(SEGMENT);
    control.recovered(0);
    expect(control.window).toBe(SEGMENT);
  });

  test("the threshold is never less than two segments", () => {
    const control = create();
    control.lossDetected(SEGMENT, 0);
    expect(control.threshold).toBe(2 * SEGMENT);
    control.window = SEGMENT;
    control.recovered(0);
    expect(control.window).toBe(2 * SEGMENT);
    control.timedOut(0, 0, true);
    expect(control.threshold).toBe(2 * SEGMENT);
  });

  test("an undone loss gives back window and threshold, within the recovery and after it", () => {
    for (const over of [false, true]) {
      const control = grown(100);
      control.lossDetected(100_000, 0);
      control.window = control.threshold;
      if (over) control.recovered(0);
      control.undo(0);
      expect(control.window).toBe(100_000);
      expect(control.threshold).toBe(Number.POSITIVE_INFINITY);
      // The recovery that the caller ends now is no more.
      control.recovered(0);
      expect(control.window).toBe(100_000);
    }
  });

  test("a loss undone before the recovery has moved the window gives back the threshold", () => {
    const control = grown(100);
    control.lossDetected(100_000, 0);
    control.undo(0);
    expect(control.window).toBe(100_000);
    expect(control.threshold).toBe(Number.POSITIVE_INFINITY);
  });

  test("an undone timeout gives back what was before its first expiry", () => {
    const control = grown(100);
    control.lossDetected(100_000, 0);
    control.window = control.threshold;
    control.recovered(0);
    const { window, threshold } = control;
    control.timedOut(window, 0, true);
    control.timedOut(window, 200, false);
    control.timedOut(window, 600, false);
    acknowledge(control, SEGMENT);
    control.undo(700);
    expect(control.window).toBe(window);
    expect(control.threshold).toBe(threshold);
  });

  test("an undone timeout of a recovery does not undo the loss that began the recovery", () => {
    const control = grown(100);
    control.lossDetected(100_000, 0);
    const { threshold } = control;
    control.window = 30_000;
    control.timedOut(100_000, 0, true);
    control.undo(0);
    expect(control.window).toBe(30_000);
    expect(control.threshold).toBe(threshold);
  });

  test("nothing is undone twice, or after an idle period, or without a loss", () => {
    const control = grown(100);
    control.undo(0);
    expect(control.window).toBe(100_000);
    control.lossDetected(100_000, 0);
    control.undo(0);
    control.timedOut(100_000, 0, true);
    control.undo(0);
    control.window = 5000;
    control.undo(0);
    expect(control.window).toBe(5000);

    const idle = grown(100);
    idle.lossDetected(100_000, 0);
    idle.recovered(0);
    idle.restartAfterIdle(0);
    idle.undo(0);
    expect(idle.window).toBe(10_000);
  });

  test("a loss that the window has outgrown is not undone (RFC 9438, 4.9.2)", () => {
    const control = grown(20);
    control.lossDetected(20_000, 0);
    control.recovered(0);
    for (let now = 0; control.window <= 20_000; now += 100) {
      control.acknowledged(control.window, true, now, -1, 100, false);
    }
    const { window, threshold } = control;
    control.undo(0);
    expect(control.window).toBe(window);
    expect(control.threshold).toBe(threshold);
  });

  test("after an idle period the window is the initial one, and slow start goes to 3/4 of what it was", () => {
    const control = grown(20);
    control.lossDetected(20_000, 0);
    control.recovered(0);
    for (let now = 0; control.window < 100_000; now += 100) {
      control.acknowledged(control.window, true, now, -1, 100, false);
    }
    const before = control.window;
    control.restartAfterIdle(0);
    expect(control.window).toBe(10_000);
    expect(control.threshold).toBe(Math.floor(0.75 * before));
    acknowledge(control, 10_000);
    expect(control.window).toBe(20_000);

    const first = grown(100);
    first.restartAfterIdle(0);
    expect(first.threshold).toBe(Number.POSITIVE_INFINITY);
  });

  test("an idle period changes nothing of a window that is not above the initial one", () => {
    const control = create();
    control.timedOut(10_000, 0, true);
    const { threshold } = control;
    control.restartAfterIdle(0);
    expect(control.window).toBe(SEGMENT);
    expect(control.threshold).toBe(threshold);
  });

  test("a new segment size leaves the window its bytes, but at least one segment", () => {
    const control = grown(100);
    control.setSegment(500);
    expect(control.window).toBe(100_000);
    control.setSegment(9000);
    expect(control.window).toBe(100_000);
    control.timedOut(0, 0, true);
    expect(control.window).toBe(9000);
    expect(control.threshold).toBe(18_000);
    control.setSegment(1400);
    control.timedOut(0, 0, true);
    expect(control.window).toBe(1400);
    control.setSegment(2000);
    expect(control.window).toBe(2000);
    expect(control.threshold).toBe(4000);
  });

  test("two flows of one path converge to equal shares", () => {
    const random = new Random(7);
    const capacity = 500 * SEGMENT;
    const flows = [grown(400), create()];
    // The newcomer is past its slow start.
    for (const flow of flows) {
      flow.lossDetected(flow.window, 0);
      flow.recovered(0);
    }
    const delivered = [0, 0];
    for (let round = 1; round < 10_000; round++) {
      const now = 50 * round;
      const full = flows[0]!.window + flows[1]!.window > capacity;
      for (const [index, flow] of flows.entries()) {
        if (round >= 5000) delivered[index]! += flow.window;
        // The larger the share, the likelier a drop hits it.
        if (full && random.below(capacity) < flow.window) {
          flow.lossDetected(flow.window, now);
          flow.recovered(now);
        } else {
          flow.acknowledged(flow.window, true, now, -1, 50, true);
        }
      }
    }
    expect(delivered[0]! / delivered[1]!).toBeGreaterThan(0.85);
    expect(delivered[0]! / delivered[1]!).toBeLessThan(1.18);
  });

  test("whatever happens, the window is of whole bytes, of a segment at least and 16 MiB at most", () => {
    const event = fc.oneof(
      {
        weight: 6,
        arbitrary: fc.record({
          type: fc.constant("acknowledged" as const),
          times: fc.integer({ min: 1, max: 40 }),
          bytes: fc.oneof(fc.integer({ min: 1, max: 3000 }), fc.nat(2 * MAXIMUM_WINDOW)),
          limited: fc.boolean(),
          roundTrip: fc.oneof(fc.constant(-1), fc.double({ min: 0, max: 1000, noNaN: true })),
          smoothed: fc.oneof(fc.constant(0), fc.double({ min: 0, max: 60_000, noNaN: true })),
          newRound: fc.boolean(),
        }),
      },
      { arbitrary: fc.record({ type: fc.constant("loss" as const), inFlight: fc.nat(2 * MAXIMUM_WINDOW) }), weight: 1 },
      { arbitrary: fc.record({ type: fc.constant("prr" as const), window: fc.nat(MAXIMUM_WINDOW) }), weight: 1 },
      { arbitrary: fc.record({ type: fc.constant("recovered" as const) }), weight: 2 },
      {
        arbitrary: fc.record({
          type: fc.constant("timeout" as const),
          inFlight: fc.nat(2 * MAXIMUM_WINDOW),
          first: fc.boolean(),
        }),
        weight: 1,
      },
      { arbitrary: fc.record({ type: fc.constant("undo" as const) }), weight: 1 },
      { arbitrary: fc.record({ type: fc.constant("idle" as const) }), weight: 1 },
      {
        arbitrary: fc.record({ type: fc.constant("segment" as const), bytes: fc.integer({ min: 28, max: 65_495 }) }),
        weight: 1,
      },
    );
    const steps = fc.array(fc.record({ wait: fc.oneof(fc.nat(100), fc.nat(10_000_000)), event }), { maxLength: 60 });
    fc.assert(
      fc.property(fc.integer({ min: 28, max: 65_495 }), steps, (initial, steps) => {
        let segment = initial;
        const control = createCongestionControl(algorithm, segment);
        let now = 0;
        let recovering = false;
        /** Window and threshold before the last reduction. */
        let before: { window: number; threshold: number } | null = null;
        for (const { wait, event } of steps) {
          now += wait;
          const { window, threshold } = control;
          switch (event.type) {
            case "acknowledged": {
              if (recovering) break;
              const { bytes, limited, roundTrip, smoothed, newRound } = event;
              for (let time = 0; time < event.times; time++) {
                const previous = control.window;
                control.acknowledged(bytes, limited, now, roundTrip, smoothed, newRound && time === 0);
                now += smoothed / 20;
                expect(control.window).toBeGreaterThanOrEqual(previous);
                expect(control.window).toBeLessThanOrEqual(Math.max(2 * previous, previous + segment));
                if (!limited) expect(control.window).toBe(previous);
              }
              break;
            }
            case "loss":
              if (recovering) break;
              control.lossDetected(event.inFlight, now);
              before = { window, threshold };
              recovering = true;
              expect(control.window).toBe(window);
              expect(control.threshold).toBeLessThanOrEqual(Math.max(2 * segment, decrease * window));
              break;
            case "prr":
              // What is in flight may exceed the window by what limited transmit and probes have sent.
              if (recovering)
                control.window = Math.min(MAXIMUM_WINDOW, segment + (event.window % (window + 3 * segment)));
              break;
            case "recovered":
              control.recovered(now);
              if (recovering) expect(control.window).toBe(control.threshold);
              else expect(control.window).toBe(window);
              recovering = false;
              break;
            case "timeout":
              control.timedOut(event.inFlight, now, event.first);
              recovering = false;
              expect(control.window).toBe(segment);
              if (event.first) before = { window, threshold };
              else expect(control.threshold).toBe(threshold);
              break;
            case "undo":
              control.undo(now);
              if (before !== null && (recovering || window <= before.window)) {
                expect(control.window).toBe(Math.max(window, before.window));
                expect(control.threshold).toBe(Math.max(threshold, before.threshold));
              } else {
                expect(control.window).toBe(window);
                expect(control.threshold).toBe(threshold);
              }
              before = null;
              recovering = false;
              break;
            case "idle":
              if (recovering) break;
              control.restartAfterIdle(now);
              expect(control.window).toBe(Math.min(window, initialWindow(segment)));
              expect(control.threshold).toBeGreaterThanOrEqual(threshold);
              if (control.window < window) before = null;
              break;
            case "segment":
              segment = event.bytes;
              control.setSegment(segment);
              expect(control.window).toBe(Math.max(window, segment));
              break;
          }
          expect(Number.isInteger(control.window)).toBe(true);
          expect(control.window).toBeGreaterThanOrEqual(segment);
          expect(control.window).toBeLessThanOrEqual(MAXIMUM_WINDOW);
          expect(control.threshold).toBeGreaterThanOrEqual(2 * segment);
          if (control.threshold !== Number.POSITIVE_INFINITY) {
            expect(Number.isInteger(control.threshold)).toBe(true);
          }
        }
      }),
      { seed: 1, numRuns: 1000 },
    );
  });
});
