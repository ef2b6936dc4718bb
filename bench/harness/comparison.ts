import { CELLS, type Cell } from "./cells.ts";
import type { Inability, Outcome } from "./outcome.ts";
import { type Better, isBetter, ratio, type Summary, summarize } from "./statistics.ts";

/** What is known of one cell and one peer. */
export type Result =
  | ({
      readonly state: "measured";
      readonly values: readonly number[];
      /** Runs that failed beside those that gave the values. */
      readonly failures: number;
    } & Summary)
  | { readonly state: "failed" }
  /** The peer cannot do it, or did too little for a figure; a note says so. */
  | { readonly state: "unable" };

/** hostd against another peer in one cell; above 1 hostd is better. */
export interface Ratio {
  readonly peer: string;
  readonly ratio: number;
}

/** One row of a table. */
export interface Row {
  readonly cell: Cell;
  /** By the id of the peer. */
  readonly results: Readonly<Record<string, Result>>;
  /** The peer with the best median; hostd counts too. */
  readonly best?: string;
  /** hostd against gvproxy. */
  readonly floor?: Ratio;
  /** hostd against the best of the others. */
  readonly aim?: Ratio;
}

/** The table of one MTU. */
export interface MtuTable {
  readonly mtu: number;
  readonly rows: readonly Row[];
}

/** The peer that is compared with the others, and the one that it must not be worse than. */
const OWN = "hostd";
const FLOOR = "gvproxy";

/** Cells that compare two measures of the same round: the share of the throughput with 8 flows that 1,000 flows reach. */
const SHARES = [
  { cell: "up1000-share", of: "up1000", by: "up8" },
  { cell: "down1000-share", of: "down1000", by: "down8" },
];

/** Puts what was measured into a table for each MTU, with the rows and the peers that were measured. */
export function compare(peers: readonly string[], outcomes: readonly Outcome[], inabilities: readonly Inability[]) {
  const mtus = [...new Set(outcomes.map(({ mtu }) => mtu))];
  return mtus.map((mtu): MtuTable => {
    const own = outcomes.filter((outcome) => outcome.mtu === mtu);
    const unable = inabilities.filter((inability) => inability.mtu === mtu);
    const rows = CELLS.flatMap((cell) => {
      const results: Record<string, Result> = {};
      for (const peer of peers) {
        const result = resultOf(
          cell,
          own.filter((outcome) => outcome.peer === peer),
        );
        if (result !== undefined) results[peer] = result;
        else if (unable.some((each) => each.peer === peer && each.measure === cell.measure)) {
          results[peer] = { state: "unable" };
        }
      }
      return Object.keys(results).length === 0 ? [] : [rowOf(cell, results)];
    });
    return { mtu, rows };
  });
}

/** What the runs of one peer at one MTU say of a cell; undefined if it was not measured. */
function resultOf(cell: Cell, outcomes: readonly Outcome[]): Result | undefined {
  const share = SHARES.find((each) => each.cell === cell.id);
  if (share !== undefined) return shareOf(share, outcomes);
  const tries = outcomes.filter(({ measure }) => measure === cell.measure);
  if (tries.length === 0) return undefined;
  const values = tries.map(({ figures }) => figures[cell.id]).filter((value) => value !== undefined);
  const failures = tries.filter(
    ({ failure, figures }) => failure !== undefined && figures[cell.id] === undefined,
  ).length;
  if (values.length > 0) return { state: "measured", ...summarize(values), values, failures };
  return { state: failures > 0 ? "failed" : "unable" };
}

function shareOf({ of, by }: (typeof SHARES)[number], outcomes: readonly Outcome[]): Result | undefined {
  const values = outcomes.flatMap(({ figures, round }) => {
    const part = figures[of];
    const whole = outcomes.find((other) => other.round === round && other.figures[by] !== undefined)?.figures[by];
    return part === undefined || whole === undefined || whole === 0 ? [] : [part / whole];
  });
  return values.length === 0 ? undefined : { state: "measured", ...summarize(values), values, failures: 0 };
}

function rowOf(cell: Cell, results: Readonly<Record<string, Result>>): Row {
  const medians = Object.entries(results).flatMap(([peer, result]) =>
    result.state === "measured" ? [{ peer, median: result.median }] : [],
  );
  const best = bestOf(cell.better, medians);
  const own = medians.find(({ peer }) => peer === OWN);
  const against = (other: Contender | undefined): Ratio | undefined => {
    if (own === undefined || other === undefined || cell.isRemark) return undefined;
    const value = ratio(cell.better, own.median, other.median);
    return value === undefined ? undefined : { peer: other.peer, ratio: value };
  };
  const floor = against(medians.find(({ peer }) => peer === FLOOR));
  const aim = against(
    bestOf(
      cell.better,
      medians.filter(({ peer }) => peer !== OWN),
    ),
  );
  return {
    cell,
    results,
    ...(best !== undefined && !cell.isRemark && { best: best.peer }),
    ...(floor !== undefined && { floor }),
    ...(aim !== undefined && { aim }),
  };
}

interface Contender {
  readonly peer: string;
  readonly median: number;
}

/** Among equals the first. */
function bestOf(better: Better, [first, ...others]: readonly Contender[]): Contender | undefined {
  return others.reduce((best, other) => (best && isBetter(better, other.median, best.median) ? other : best), first);
}
