import type { Cell } from "./paths.ts";
import { type NetemTestbed, PAIRS, type Peer, RATE, type TransferLimits } from "./testbed.ts";

export interface MeasureOptions extends TransferLimits {
  /** Rounds of transfers begin for so long, in milliseconds; two at least. */
  readonly budgetMs: number;
  /** Enough after three rounds once the standard error of the ratio, relative to it, is so small. */
  readonly precision: number;
  /** Pairs of transfers in each round, instead of as many as the processor bears. */
  readonly pairs?: number;
}

export interface CellResult {
  readonly cell: Cell;
  /** Goodput of each transfer in Mbit/s; 0 for one that failed. */
  readonly goodputs: Readonly<Record<Peer, readonly number[]>>;
  /** Why transfers failed. */
  readonly failures: readonly string[];
  /** Median of hostd over median of Linux, and the standard error of this ratio. */
  readonly ratio: number;
  readonly error: number;
}

const FEWEST_ROUNDS = 2;
const ENOUGH_ROUNDS = 3;

/**
 * Measures a cell: rounds of transfers to hostd and to Linux at the same time. The fewer a transfer carries the more of
 * them are in a round, because those that wait for lost packets differ most from each other. All together carry no more
 * than a transfer on a clean link does, so that the processor is not the limit.
 */
export async function measureCell(testbed: NetemTestbed, cell: Cell, options: MeasureOptions): Promise<CellResult> {
  const goodputs: Record<Peer, number[]> = { linux: [], hostd: [] };
  const failures: string[] = [];
  const began = performance.now();
  await testbed.shape(cell.path);
  let error = Number.POSITIVE_INFINITY;
  for (let rounds = 0; rounds < FEWEST_ROUNDS || performance.now() - began < options.budgetMs; rounds++) {
    if (rounds >= ENOUGH_ROUNDS && error < options.precision) break;
    const bearable = rounds === 0 ? 1 : Math.floor(RATE / Math.max(0.1, median(goodputs.linux)));
    const pairs = options.pairs ?? Math.min(Math.max(bearable, 1), PAIRS);
    const transfers = await testbed.round(cell.direction, pairs, options);
    for (const { peer, goodput, failure } of transfers) {
      goodputs[peer].push(goodput);
      if (failure !== null) failures.push(`${peer}: ${failure}`);
    }
    error = Math.hypot(medianError(goodputs.linux), medianError(goodputs.hostd));
  }
  const ratio = median(goodputs.hostd) / median(goodputs.linux);
  return { cell, goodputs, failures, ratio, error: ratio * error };
}

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length / 2;
  return (sorted[Math.ceil(middle) - 1]! + sorted[Math.floor(middle)]!) / 2;
}

/** Standard error of the median relative to it, as that of a log-normal sample: 1.25 times that of the mean. */
function medianError(values: readonly number[]): number {
  if (values.length < 2) return Number.POSITIVE_INFINITY;
  const logs = values.map((value) => Math.log(Math.max(value, 0.01)));
  const mean = logs.reduce((sum, each) => sum + each, 0) / logs.length;
  const variance = logs.reduce((sum, each) => sum + (each - mean) ** 2, 0) / (logs.length - 1);
  return 1.25 * Math.sqrt(variance / logs.length);
}
