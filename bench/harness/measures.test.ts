import { describe, expect, it } from "vitest";
import { CELLS } from "./cells.ts";
import { cellTitles, MEASURES, measuresNamed, QUICK_MEASURES } from "./measures.ts";

describe("the measures", () => {
  it("have names of their own, as the cells do", () => {
    for (const list of [MEASURES, CELLS]) expect(new Set(list.map(({ id }) => id)).size).toBe(list.length);
  });

  it("give at least one cell each, and every cell comes of one", () => {
    for (const { id } of MEASURES) expect(cellTitles(id), id).not.toEqual([]);
    for (const { id, measure } of CELLS) expect(measuresNamed(measure), id).toHaveLength(1);
  });

  it("of a quick run exist", () => {
    for (const id of QUICK_MEASURES) expect(measuresNamed(id), id).toHaveLength(1);
  });

  it("are found by their own name before the beginning of others", () => {
    expect(measuresNamed("up").map(({ id }) => id)).toEqual(["up"]);
    expect(measuresNamed("udp")).toHaveLength(6);
    expect(measuresNamed("u")).toEqual([]);
    expect(measuresNamed("")).toEqual([]);
  });
});
