/** What several runs of the same thing gave. */
export interface Summary {
  readonly median: number;
  readonly min: number;
  readonly max: number;
}

/**
 * The median of some figures, and the least and the greatest of them.
 *
 * @throws RangeError if there are none
 */
export function summarize(values: readonly number[]): Summary {
  const sorted = values.toSorted((a, b) => a - b);
  const [min] = sorted;
  const max = sorted.at(-1);
  const upper = sorted[sorted.length >> 1];
  const lower = sorted[(sorted.length - 1) >> 1];
  if (min === undefined || max === undefined || upper === undefined || lower === undefined) {
    throw new RangeError("no figures to summarize");
  }
  return { median: (lower + upper) / 2, min, max };
}

/** In which way a figure is better: more of it, less of it, or less of it as a loss in percent of what was sent. */
export type Better = "more" | "less" | "less-loss";

/**
 * How many times as good one figure is as another: above 1 is better. A loss is compared by what arrives.
 *
 * @returns undefined where there is no such number: a memory that did not grow, or nothing on both sides
 */
export function ratio(better: Better, own: number, other: number): number | undefined {
  if (better === "less-loss") return ratio("more", 100 - own, 100 - other);
  const [above, below] = better === "more" ? [own, other] : [other, own];
  if (above < 0 || below < 0 || (above === 0 && below === 0)) return undefined;
  if (better === "less" && (above === 0 || below === 0)) return undefined;
  return above / below;
}

/** Whether a figure is better than another. */
export function isBetter(better: Better, one: number, other: number): boolean {
  return better === "more" ? one > other : one < other;
}
