import { describe, expect, it } from "vitest";
import { compare, type Row } from "./comparison.ts";
import type { Outcome } from "./outcome.ts";

function outcome(peer: string, measure: string, figures: Record<string, number>, more: Partial<Outcome> = {}): Outcome {
  return { peer, mtu: 1500, round: 1, measure, figures, stolen: 0, notes: [], ...more };
}

function rowOf(outcomes: readonly Outcome[], cell: string, peers = ["hostd", "gvproxy", "passt"]): Row {
  const row = compare(peers, outcomes, [])[0]?.rows.find((each) => each.cell.id === cell);
  if (row === undefined) throw new Error(`no row ${cell}`);
  return row;
}

describe("compare", () => {
  it("takes the median of the rounds, and hostd's ratio to gvproxy and to the best of the others", () => {
    const row = rowOf(
      [
        ...[4, 6, 5].map((up, index) => outcome("hostd", "up", { up }, { round: index + 1 })),
        outcome("gvproxy", "up", { up: 2 }),
        outcome("passt", "up", { up: 10 }),
      ],
      "up",
    );
    expect(row.results.hostd).toEqual({ state: "measured", median: 5, min: 4, max: 6, values: [4, 6, 5], failures: 0 });
    expect(row).toMatchObject({
      best: "passt",
      floor: { peer: "gvproxy", ratio: 2.5 },
      aim: { peer: "passt", ratio: 0.5 },
    });
  });

  it("finds the best by the least where less is better", () => {
    const row = rowOf(
      [
        outcome("hostd", "rss", { rss: 60 }),
        outcome("gvproxy", "rss", { rss: 20 }),
        outcome("passt", "rss", { rss: 30 }),
      ],
      "rss",
    );
    expect(row.best).toBe("gvproxy");
    expect(row.aim?.ratio).toBeCloseTo(1 / 3);
  });

  it("keeps what some rounds gave when others failed, and says failed when all did", () => {
    const outcomes = [
      outcome("hostd", "dns", { dns: 10 }),
      outcome("hostd", "dns", {}, { round: 2, failure: "no answer" }),
      outcome("passt", "dns", {}, { failure: "no answer" }),
    ];
    const row = rowOf(outcomes, "dns");
    expect(row.results.hostd).toMatchObject({ state: "measured", median: 10, failures: 1 });
    expect(row.results.passt).toEqual({ state: "failed" });
    expect(row.results).not.toHaveProperty("gvproxy");
    expect(row).not.toHaveProperty("aim");
  });

  it("keeps the figures that were there before a failure", () => {
    const outcomes = [outcome("hostd", "flows", { "flow-1000": 3 }, { failure: "too many" })];
    expect(rowOf(outcomes, "flow-1000").results.hostd).toMatchObject({ state: "measured", median: 3 });
    expect(rowOf(outcomes, "flow-10000").results.hostd).toEqual({ state: "failed" });
  });

  it("has no figure, and no failure, where a run gave all but one", () => {
    const row = rowOf([outcome("passt", "up", { up: 0.001 })], "cpu-up");
    expect(row.results).toEqual({ passt: { state: "unable" } });
  });

  it("sets 1,000 flows against the 8 of the same round, as a remark without ratios", () => {
    const outcomes = [1, 2].flatMap((round) => [
      outcome("hostd", "up8", { up8: 10 * round }, { round }),
      outcome("hostd", "up1000", { up1000: 8 }, { round }),
    ]);
    const row = rowOf([...outcomes, ...outcomes.map((each) => ({ ...each, peer: "gvproxy" }))], "up1000-share");
    expect(row.results.hostd).toMatchObject({ values: [0.8, 0.4] });
    expect(Object.keys(row)).toEqual(["cell", "results"]);
  });

  it("leaves out rows that nobody was measured for, and shows who is not able to", () => {
    const unable = [{ peer: "passt", mtu: 1500, measure: "up", reason: "cannot" }];
    const tables = compare(["hostd", "passt"], [outcome("hostd", "up", { up: 1, "cpu-up": 2 })], unable);
    expect(tables[0]?.rows.map(({ cell }) => cell.id)).toEqual(["up", "cpu-up"]);
    expect(tables[0]?.rows[0]?.results.passt).toEqual({ state: "unable" });
  });

  it("makes a table for each MTU", () => {
    const outcomes = [1500, 65520].map((mtu) => outcome("hostd", "up", { up: mtu }, { mtu }));
    const tables = compare(["hostd"], outcomes, []);
    expect(tables.map(({ mtu, rows }) => [mtu, rows[0]?.results.hostd])).toMatchObject([
      [1500, { median: 1500 }],
      [65520, { median: 65520 }],
    ]);
  });
});
