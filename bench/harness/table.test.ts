import { describe, expect, it } from "vitest";
import { markdownTable, plainTable } from "./table.ts";

const table = {
  header: ["what", "unit", "hostd"],
  rows: [
    ["TCP up", "Gbit/s", "1.80 (1.75–1.83)"],
    ["start", "s", ""],
  ],
  left: 2,
};

describe("plainTable", () => {
  it("aligns columns, figures to the right, and leaves no spaces at the ends", () => {
    expect(plainTable(table).split("\n")).toEqual([
      "what    unit               hostd",
      "──────  ──────  ────────────────",
      "TCP up  Gbit/s  1.80 (1.75–1.83)",
      "start   s",
    ]);
  });
});

describe("markdownTable", () => {
  it("marks how columns are aligned", () => {
    expect(markdownTable(table).split("\n")).toEqual([
      "| what | unit | hostd |",
      "|---|---|--:|",
      "| TCP up | Gbit/s | 1.80 (1.75–1.83) |",
      "| start | s |  |",
    ]);
  });

  it("escapes what would end a cell", () => {
    expect(markdownTable({ header: ["a|b"], rows: [], left: 1 })).toBe("| a\\|b |\n|---|");
  });
});
