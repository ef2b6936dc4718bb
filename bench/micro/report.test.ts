import { expect, test } from "vitest";
import type { Measurement } from "./measure.ts";
import { Comparison, formatNumber, Report } from "./report.ts";

const MEASUREMENT: Measurement = {
  nanoseconds: { median: 12.34, low: 12, high: 13, minimum: 11, samples: 9 },
  heapBytes: 16,
  bufferBytes: 4096,
};
const MEASURED = { kind: "measured", measurement: MEASUREMENT } as const;
const MISSING = { kind: "missing", reason: "there is no wheel.ts" } as const;

test.each([
  [0, "0.0"],
  [0.04, "0.0"],
  [99.94, "99.9"],
  [99.96, "100"],
  [12_345.6, "12,346"],
])("%d is written as %s", (value, text) => {
  expect(formatNumber(value)).toBe(text);
});

test("a row has the time, its spread, and the bytes under their headings", () => {
  const report = new Report(["timers"]);
  const row = report.row({ name: "timers", outcome: MEASURED, against: null, ratio: null });
  expect(row.split(/ {2,}/)).toEqual(["timers", "12.3", "±4.1 %", "16.0", "4,096"]);
  expect(row).toHaveLength(report.header.length);
});

test("a row says what is not in the checkout", () => {
  const row = new Report(["timers"]).row({ name: "timers", outcome: MISSING, against: null, ratio: null });
  expect(row).toContain("not in this checkout (there is no wheel.ts)");
});

test("a comparison has both times, their ratio and its range", () => {
  const ratio = { median: 0.5, lowest: 0.448, highest: 0.61 };
  const row = new Comparison(["timers"]).row({ name: "timers", outcome: MEASURED, against: MEASURED, ratio });
  expect(row.split(/ {2,}/)).toEqual(["timers", "12.3", "12.3", "0.500", "0.45-0.61", "4,112", "4,112"]);
});

test("a comparison with something that only one side has tells which", () => {
  const row = new Comparison(["timers"]).row({ name: "timers", outcome: MEASURED, against: MISSING, ratio: null });
  expect(row).toContain("12.3");
  expect(row).toContain("against: not in this checkout (there is no wheel.ts)");
});
