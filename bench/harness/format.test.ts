import { describe, expect, it } from "vitest";
import { formatFigure, formatRatio, formatResult } from "./format.ts";

describe("formatFigure", () => {
  it.each([
    [0, "0.00"],
    [0.0012, "0.001"],
    [0.9994, "0.999"],
    [0.9996, "1.00"],
    [9.994, "9.99"],
    [9.996, "10.0"],
    [99.94, "99.9"],
    [99.96, "100"],
    [999.4, "999"],
    [999.6, "1,000"],
    [59_446.4, "59,446"],
    [-12.34, "-12.3"],
  ])("writes %d as %s", (value, text) => {
    expect(formatFigure(value)).toBe(text);
  });
});

describe("formatResult", () => {
  const measured = { state: "measured", median: 2, min: 1, max: 3, failures: 0 } as const;

  it("shows the range of several runs, and nothing but the figure of one", () => {
    expect(formatResult({ ...measured, values: [1, 2, 3] })).toBe("2.00 (1.00–3.00)");
    expect(formatResult({ ...measured, values: [2] })).toBe("2.00");
  });

  it("marks figures of which some runs failed", () => {
    expect(formatResult({ ...measured, values: [1, 3], failures: 1 })).toBe("2.00! (1.00–3.00)");
  });

  it("says failed, and a minus where nothing could be measured", () => {
    expect(formatResult({ state: "failed" })).toBe("failed");
    expect(formatResult({ state: "unable" })).toBe("-");
    expect(formatResult(undefined)).toBe("-");
  });
});

describe("formatRatio", () => {
  it("has two decimals, none if it is large, and is empty if there is none", () => {
    expect(formatRatio(0.996)).toBe("1.00");
    expect(formatRatio(123.4)).toBe("123");
    expect(formatRatio(Number.POSITIVE_INFINITY)).toBe("∞");
    expect(formatRatio(undefined)).toBe("");
  });
});
