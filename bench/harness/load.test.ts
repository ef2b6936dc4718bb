import { describe, expect, it } from "vitest";
import { figureOf, parseFigures } from "./load.ts";

describe("parseFigures", () => {
  it("takes the numbers of an object", () => {
    const figures = parseFigures('{"p50":13.5,"count":100,"unit":"us"}\n');
    expect([...figures]).toEqual([
      ["p50", 13.5],
      ["count", 100],
    ]);
  });

  it("rejects what is no JSON, and shows it", () => {
    expect(() => parseFigures("ready\n")).toThrow('the load generator printed no JSON: "ready\\n"');
    expect(() => parseFigures("")).toThrow("printed no JSON");
  });
});

describe("figureOf", () => {
  it("names a figure that is not there", () => {
    expect(figureOf(parseFigures('{"loss":0}'), "loss")).toBe(0);
    expect(() => figureOf(parseFigures("null"), "loss")).toThrow('printed no "loss"');
  });
});
