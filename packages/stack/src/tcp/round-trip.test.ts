import { describe, expect, test } from "vitest";
import { MAXIMUM_RTO_MS, RoundTrip } from "./round-trip.ts";

describe("the retransmission timeout", () => {
  test("is a second before anything was measured (RFC 6298, 2.1)", () => {
    const roundTrip = new RoundTrip();
    expect(roundTrip.timeout).toBe(1000);
    expect(roundTrip.isKnown).toBe(false);
    expect(roundTrip.smoothed).toBe(0);
  });

  test("is three times the first measurement (RFC 6298, 2.2)", () => {
    const roundTrip = new RoundTrip();
    roundTrip.sample(500, 0);
    expect(roundTrip.isKnown).toBe(true);
    expect(roundTrip.smoothed).toBe(500);
    expect(roundTrip.timeout).toBe(1500);
  });

  test("smooths the measurements that follow (RFC 6298, 2.3)", () => {
    const roundTrip = new RoundTrip();
    roundTrip.sample(500, 0);
    roundTrip.sample(900, 1);
    // RTTVAR = 3/4 * 250 + 1/4 * |500 - 900|, SRTT = 7/8 * 500 + 1/8 * 900.
    expect(roundTrip.smoothed).toBe(550);
    expect(roundTrip.timeout).toBe(550 + 4 * 287.5);
    roundTrip.sample(550, 2);
    expect(roundTrip.smoothed).toBe(550);
    expect(roundTrip.timeout).toBe(550 + 4 * 215.625);
  });

  test("stays 200 ms above the smoothed round trip however little that varies, and below the maximum", () => {
    const roundTrip = new RoundTrip();
    for (let round = 0; round < 100; round++) roundTrip.sample(0, 0);
    expect(roundTrip.timeout).toBe(200);
    const steady = new RoundTrip();
    for (let round = 0; round < 100; round++) steady.sample(300, 0);
    expect(steady.timeout).toBeCloseTo(500, 5);
    steady.sample(1_000_000, 0);
    expect(steady.timeout).toBe(MAXIMUM_RTO_MS);
  });

  test("doubles with each expiry up to the maximum, and returns with a measurement or when they were spurious", () => {
    const roundTrip = new RoundTrip();
    roundTrip.sample(100, 0);
    for (const expected of [600, 1200, 2400, 4800, 9600, 19_200, 38_400, 60_000, 60_000]) {
      roundTrip.backOff();
      expect(roundTrip.timeout).toBe(expected);
      expect(roundTrip.base).toBe(300);
    }
    roundTrip.undoBackOff();
    expect(roundTrip.timeout).toBe(300);
    roundTrip.backOff();
    roundTrip.sample(100, 1);
    expect(roundTrip.timeout).toBe(300);
    for (let round = 0; round < 2000; round++) roundTrip.backOff();
    expect(roundTrip.timeout).toBe(MAXIMUM_RTO_MS);
  });
});

describe("the shortest round trip", () => {
  test("is that of the last one to two minutes", () => {
    const roundTrip = new RoundTrip();
    expect(roundTrip.minimum).toBe(Number.POSITIVE_INFINITY);
    roundTrip.sample(10, 1000);
    roundTrip.sample(5, 2000);
    roundTrip.sample(20, 3000);
    expect(roundTrip.minimum).toBe(5);
    // The path became longer: the old minimum goes with the second change of the minute.
    for (let now = 4000; now <= 130_000; now += 1000) roundTrip.sample(20, now);
    expect(roundTrip.minimum).toBe(20);
  });
});
