import { describe, expect, it } from "vitest";
import { dateRange } from "./date-range.ts";

/** The 24th of December 2026 here, near midnight. */
const NOW = new Date(2026, 11, 24, 23, 59);

describe("dateRange", () => {
  it.each([
    [24],
    ["24"],
    ["DEC"],
    ["dec"],
    [2026],
    [24, "DEC"],
    [24, "DEC", 2026],
    [20, 25],
    [24, 31],
    ["NOV", "DEC"],
    [2020, 2026],
    [1, "JUN", 24, "DEC"],
    ["JAN", 2026, "DEC", 2026],
    [24, "DEC", 2026, 24, "DEC", 2026],
    [1, "JAN", 1995, 1, "JAN", 2040],
    // Past the turn of the month and of the year.
    [20, 5],
    ["NOV", "FEB"],
    [20, "DEC", 6, "JAN"],
  ])("includes the 24th of December 2026 in %j %j %j %j %j %j", (...args) => {
    expect(dateRange(args, NOW)).toBe(true);
  });

  it.each([
    [25],
    ["JAN"],
    [2027],
    [24, "NOV"],
    [24, "DEC", 2025],
    [25, 31],
    ["JAN", "NOV"],
    [2027, 2030],
    [25, "DEC", 31, "DEC"],
    ["JAN", 2027, "DEC", 2027],
    ["DEC", 2027, "JAN", 2026],
    [1, "JAN", 1995, 23, "DEC", 2026],
    [25, 23],
    // Of no form that there is.
    [],
    ["GMT"],
    ["XYZ"],
    [0],
    [24.5],
    [Number.NaN],
    [null],
    [24, 24, 24],
    [24, "DEC", 24, 24],
    [24, "DEC", 15, 2026, "DEC", 2026],
  ])("does not include it in %j %j %j %j %j %j", (...args) => {
    expect(dateRange(args, NOW)).toBe(false);
  });

  it("takes the date in UTC with GMT at the end", () => {
    const now = new Date(Date.UTC(2026, 0, 1, 0, 30));
    expect(dateRange([1, "JAN", 2026, "GMT"], now)).toBe(true);
    expect(dateRange([31, "GMT"], now)).toBe(false);
    expect(dateRange(["JAN", 2026, "JAN", 2026, "GMT"], now)).toBe(true);
    const before = new Date(Date.UTC(2025, 11, 31, 23, 59));
    expect(dateRange([1, "JAN", 2026, "GMT"], before)).toBe(false);
  });
});
