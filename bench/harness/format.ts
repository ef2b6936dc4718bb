import type { Result } from "./comparison.ts";

/** A figure with about three digits, and from 1,000 on as a whole number in groups. */
export function formatFigure(value: number): string {
  const size = Math.abs(value);
  if (size >= 999.5) return Math.round(value).toLocaleString("en-US");
  if (size >= 99.95) return value.toFixed(0);
  if (size >= 9.995) return value.toFixed(1);
  return size >= 0.9995 || size === 0 ? value.toFixed(2) : value.toFixed(3);
}

/** The median, and the least and the greatest if there are several; with an exclamation mark where runs failed. */
export function formatResult(result: Result | undefined): string {
  if (result === undefined || result.state === "unable") return "-";
  if (result.state === "failed") return "failed";
  const mark = result.failures > 0 ? "!" : "";
  const median = `${formatFigure(result.median)}${mark}`;
  if (result.values.length < 2) return median;
  return `${median} (${formatFigure(result.min)}–${formatFigure(result.max)})`;
}

export function formatRatio(ratio: number | undefined): string {
  if (ratio === undefined) return "";
  if (!Number.isFinite(ratio)) return "∞";
  return ratio >= 99.5 ? ratio.toFixed(0) : ratio.toFixed(2);
}
