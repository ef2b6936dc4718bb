import { monitorEventLoopDelay } from "node:perf_hooks";
import { expect, it, vi } from "vitest";
import { eventLoopDelay, takeEventLoopDelay } from "./event-loop-delay.ts";

const histogram = vi.hoisted(() => ({
  ...{ count: 0, mean: Number.NaN, max: 0, percentiles: { 50: 0, 99: 0 }, calls: [] as string[] },
  percentile: (rank: 50 | 99) => histogram.percentiles[rank],
  enable: () => histogram.calls.push("enable"),
  reset: () => {
    histogram.calls.push("reset");
    Object.assign(histogram, { count: 0, mean: Number.NaN, max: 0, percentiles: { 50: 0, 99: 0 } });
  },
}));

vi.mock("node:perf_hooks", () => ({ monitorEventLoopDelay: vi.fn(() => histogram) }));

const NONE = { meanSeconds: 0, p50Seconds: 0, p99Seconds: 0, maximumSeconds: 0 };

it("is measured from when it is first taken, and from there on between one time and the next", () => {
  expect(eventLoopDelay()).toBeNull();
  expect(vi.mocked(monitorEventLoopDelay)).not.toHaveBeenCalled();
  expect(takeEventLoopDelay()).toEqual(NONE);
  expect(histogram.calls).toEqual(["enable", "reset"]);
  expect(eventLoopDelay()).toEqual(NONE);

  // The timer's 20 ms are no delay, and a timer may be a little early.
  Object.assign(histogram, { count: 9, mean: 22e6, max: 520e6, percentiles: { 50: 19.9e6, 99: 30e6 } });
  const seen = { meanSeconds: 0.002, p50Seconds: 0, p99Seconds: 0.01, maximumSeconds: 0.5 };
  expect(eventLoopDelay()).toEqual(seen);
  expect(takeEventLoopDelay()).toEqual(seen);
  expect(takeEventLoopDelay()).toEqual(NONE);
  expect(histogram.calls).toEqual(["enable", "reset", "reset", "reset"]);
  expect(vi.mocked(monitorEventLoopDelay)).toHaveBeenCalledTimes(1);
});
