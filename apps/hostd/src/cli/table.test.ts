import { describe, expect, it } from "vitest";
import { alignRows, type Column, counted, formatAge, formatBytes, formatCount, formatTable, PLAIN } from "./table.ts";

describe("formatBytes", () => {
  it.each([
    [0, "0 B"],
    [999, "999 B"],
    [1000, "1.0 kB"],
    [1500, "1.5 kB"],
    [9949, "9.9 kB"],
    [9950, "10 kB"],
    [999_499, "999 kB"],
    [999_500, "1.0 MB"],
    [1_500_000, "1.5 MB"],
    [15_300_000_000, "15 GB"],
    [2 ** 53, "9.0 PB"],
    [5e18, "5000 PB"],
  ])("writes %d as %s", (bytes, text) => {
    expect(formatBytes(bytes)).toBe(text);
  });
});

describe("formatCount", () => {
  it.each([
    [0, "0"],
    [999, "999"],
    [1234, "1.2k"],
    [15_000, "15k"],
    [2_300_000, "2.3M"],
  ])("writes %d as %s", (count, text) => {
    expect(formatCount(count)).toBe(text);
  });
});

describe("formatAge", () => {
  it.each([
    [-3, "0s"],
    [0.9, "0s"],
    [59.9, "59s"],
    [60, "1m00s"],
    [192, "3m12s"],
    [3599, "59m59s"],
    [7500, "2h05m"],
    [86_399, "23h59m"],
    [273_600, "3d04h"],
  ])("writes %d seconds as %s", (seconds, text) => {
    expect(formatAge(seconds)).toBe(text);
  });
});

describe("counted", () => {
  it("has the plural for every number but 1", () => {
    expect([0, 1, 2].map((count) => counted(count, "flow"))).toEqual(["0 flows", "1 flow", "2 flows"]);
  });
});

describe("alignRows", () => {
  it("puts columns below each other, without spaces at the ends of lines and without empty columns", () => {
    const rows = [
      ["a", "", "1", "x"],
      ["long", "", "100", ""],
    ];
    expect(alignRows(rows, { indent: 2, right: [2] })).toEqual(["  a       1  x", "  long  100"]);
    expect(alignRows([])).toEqual([]);
  });

  it("shows nothing that would steer the terminal", () => {
    expect(alignRows([["\x1b[2J\u009b1m", "a\nb\u202e"]])).toEqual(["?[2J?1m  a?b?"]);
  });
});

describe("formatTable", () => {
  interface Row {
    readonly name: string;
    readonly size: number;
  }
  const columns: Column<Row>[] = [
    { title: "NAME", cell: ({ name }) => name },
    { title: "FIRST", cell: () => "first", isOptional: true },
    { title: "SIZE", cell: ({ size }) => String(size), isRight: true },
    { title: "SECOND", cell: () => "second", isOptional: true },
  ];
  const rows = [
    { name: "a", size: 5 },
    { name: "bcdef", size: 12345 },
  ];

  it("has titles over its columns", () => {
    expect(formatTable(columns, rows)).toEqual([
      "NAME   FIRST   SIZE  SECOND",
      "a      first      5  second",
      "bcdef  first  12345  second",
    ]);
  });

  it("makes the titles stand out where it is told how", () => {
    const style = { ...PLAIN, title: (text: string) => `<${text}>` };
    expect(formatTable(columns.slice(0, 1), rows, style)).toEqual(["<NAME>", "a", "bcdef"]);
  });

  it.each([
    [27, "NAME   FIRST   SIZE  SECOND"],
    [26, "NAME   FIRST   SIZE"],
    [18, "NAME    SIZE"],
    [3, "NAME    SIZE"],
  ])("leaves out optional columns, the last one first, for a width of %d", (width, titles) => {
    expect(formatTable(columns, rows, { ...PLAIN, width })[0]).toBe(titles);
  });
});
