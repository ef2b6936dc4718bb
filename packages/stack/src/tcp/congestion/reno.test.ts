import { expect, test } from "vitest";
import type { CongestionControl } from "./congestion-control.ts";
import { Reno } from "./reno.ts";

const SEGMENT = 1000;

/** A connection in congestion avoidance at `window` bytes. */
function inAvoidance(window: number): CongestionControl {
  const reno: CongestionControl = new Reno(SEGMENT);
  reno.timedOut(2 * window, 0, true);
  reno.window = reno.threshold = window;
  return reno;
}

function acknowledge(reno: CongestionControl, bytes: number): void {
  reno.acknowledged(bytes, true, 0, -1, 10, false);
}

test.each([1, 100, 1000, 2500, 20_000])("a window of data acknowledged by %i bytes is a segment more", (bytes) => {
  const reno = inAvoidance(20_000);
  for (let window = 20_000; window < 40_000; window += SEGMENT) {
    expect(reno.window).toBe(window);
    for (let left = window; left > 0; left -= bytes) acknowledge(reno, Math.min(left, bytes));
  }
  expect(reno.window).toBe(40_000);
});

test("an acknowledgment of more than the window counts as one of a window", () => {
  const reno = inAvoidance(20_000);
  acknowledge(reno, 1_000_000);
  expect(reno.window).toBe(21_000);
  acknowledge(reno, 20_999);
  expect(reno.window).toBe(21_000);
  acknowledge(reno, 1);
  expect(reno.window).toBe(22_000);
});

test("what an acknowledgment covers beyond a window's worth counts towards the next segment", () => {
  const reno = inAvoidance(20_000);
  acknowledge(reno, 15_000);
  acknowledge(reno, 15_000);
  expect(reno.window).toBe(21_000);
  acknowledge(reno, 10_999);
  expect(reno.window).toBe(21_000);
  acknowledge(reno, 1);
  expect(reno.window).toBe(22_000);
});

test("what was acknowledged before a loss does not count after it", () => {
  const reno = inAvoidance(20_000);
  acknowledge(reno, 19_999);
  reno.lossDetected(20_000, 0);
  reno.window = reno.threshold;
  reno.recovered(0);
  expect(reno.window).toBe(10_000);
  acknowledge(reno, 9999);
  expect(reno.window).toBe(10_000);
  acknowledge(reno, 1);
  expect(reno.window).toBe(11_000);
});

test("a loss leaves half of what was in flight", () => {
  const reno = inAvoidance(100_000);
  reno.lossDetected(80_000, 0);
  expect(reno.threshold).toBe(40_000);
});

test("the sawtooth under a loss per 1000 segments is of the size that the square root formula gives", () => {
  // A period delivers 3/8 W^2 segments, and its mean window is 3/4 W (Mathis et al., 1997).
  const peak = Math.sqrt((8 / 3) * 1000);
  const reno = inAvoidance(20 * SEGMENT);
  let windows = 0;
  let segments = 0;
  let largest = 0;
  for (let loss = 0; loss < 40; loss++) {
    for (let segment = 0; segment < 1000; segment++) {
      acknowledge(reno, SEGMENT);
      // A segment takes the window's share of a round trip: the mean over time is the harmonic one over segments.
      if (loss >= 20) {
        windows += SEGMENT / reno.window;
        segments++;
      }
    }
    if (loss >= 20) largest = Math.max(largest, reno.window / SEGMENT);
    reno.lossDetected(reno.window, 0);
    reno.recovered(0);
  }
  expect(largest).toBeGreaterThan(0.95 * peak);
  expect(largest).toBeLessThan(1.05 * peak);
  expect(segments / windows).toBeGreaterThan(0.95 * 0.75 * peak);
  expect(segments / windows).toBeLessThan(1.05 * 0.75 * peak);
});
