import { expect, test } from "vitest";
import { MAXIMUM_RTO_MS, MINIMUM_RTO_MS, RetransmissionTimeout } from "./round-trip.ts";

test("is a second before anything was measured (RFC 6298, 2.1)", () => {
  const timeout = new RetransmissionTimeout();
  expect(timeout.milliseconds).toBe(1000);
  expect(timeout.smoothed).toBe(0);
});

test("is three times the first measurement (RFC 6298, 2.2)", () => {
  const timeout = new RetransmissionTimeout();
  timeout.sample(500);
  expect(timeout.smoothed).toBe(500);
  expect(timeout.milliseconds).toBe(1500);
});

test("smooths the measurements that follow (RFC 6298, 2.3)", () => {
  const timeout = new RetransmissionTimeout();
  timeout.sample(500);
  timeout.sample(900);
  // RTTVAR = 3/4 * 250 + 1/4 * |500 - 900|, SRTT = 7/8 * 500 + 1/8 * 900.
  expect(timeout.smoothed).toBe(550);
  expect(timeout.milliseconds).toBe(550 + 4 * 287.5);
  timeout.sample(550);
  expect(timeout.smoothed).toBe(550);
  expect(timeout.milliseconds).toBe(550 + 4 * 215.625);
});

test("is never less than the minimum nor more than the maximum", () => {
  const timeout = new RetransmissionTimeout();
  for (let round = 0; round < 100; round++) timeout.sample(0.01);
  expect(timeout.milliseconds).toBe(MINIMUM_RTO_MS);
  timeout.sample(1_000_000);
  expect(timeout.milliseconds).toBe(MAXIMUM_RTO_MS);
});

test("doubles with each expiry up to the maximum, and returns with a measurement or news", () => {
  const timeout = new RetransmissionTimeout();
  timeout.sample(100);
  for (const expected of [600, 1200, 2400, 4800, 9600, 19_200, 38_400, 60_000, 60_000]) {
    timeout.backOff();
    expect(timeout.milliseconds).toBe(expected);
  }
  timeout.resetBackoff();
  expect(timeout.milliseconds).toBe(300);
  timeout.backOff();
  timeout.sample(100);
  expect(timeout.milliseconds).toBe(100 + 4 * 37.5);
  for (let round = 0; round < 2000; round++) timeout.backOff();
  expect(timeout.milliseconds).toBe(MAXIMUM_RTO_MS);
});
