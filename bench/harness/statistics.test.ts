import { describe, expect, it } from "vitest";
import { isBetter, ratio, summarize } from "./statistics.ts";

describe("summarize", () => {
  it("takes the middle one of an odd number of figures, whatever their order", () => {
    expect(summarize([30, 1, 2])).toEqual({ median: 2, min: 1, max: 30 });
  });

  it("takes the middle between the two in the middle of an even number", () => {
    expect(summarize([4, 1, 10, 2])).toEqual({ median: 3, min: 1, max: 10 });
  });

  it("orders by size and not by text", () => {
    expect(summarize([9, 10, 100])).toEqual({ median: 10, min: 9, max: 100 });
  });

  it("takes a single figure for all three", () => {
    expect(summarize([7])).toEqual({ median: 7, min: 7, max: 7 });
  });

  it("rejects an empty list", () => {
    expect(() => summarize([])).toThrow(RangeError);
  });
});

describe("ratio", () => {
  it("is above 1 for more where more is better, and for less where less is", () => {
    expect(ratio("more", 6, 3)).toBe(2);
    expect(ratio("less", 3, 6)).toBe(2);
  });

  it("compares a loss by what arrives", () => {
    expect(ratio("less-loss", 10, 55)).toBe(2);
    expect(ratio("less-loss", 0, 0)).toBe(1);
    expect(ratio("less-loss", 100, 50)).toBe(0);
  });

  it("is infinite against a peer that moves nothing", () => {
    expect(ratio("more", 1, 0)).toBe(Number.POSITIVE_INFINITY);
    expect(ratio("more", 0, 1)).toBe(0);
  });

  it("does not exist where there is nothing on both sides, or a cost that is none", () => {
    expect(ratio("more", 0, 0)).toBeUndefined();
    expect(ratio("less", 0, 5)).toBeUndefined();
    expect(ratio("less", 5, 0)).toBeUndefined();
    expect(ratio("less", -1, 5)).toBeUndefined();
  });
});

describe("isBetter", () => {
  it("goes by the kind of the figure, and holds for no equal", () => {
    expect(isBetter("more", 2, 1)).toBe(true);
    expect(isBetter("less", 2, 1)).toBe(false);
    expect(isBetter("less-loss", 0, 1)).toBe(true);
    expect(isBetter("more", 1, 1)).toBe(false);
    expect(isBetter("less", 1, 1)).toBe(false);
  });
});
