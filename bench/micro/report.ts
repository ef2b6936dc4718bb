import { type Measurement, type Ratio, spread } from "./measure.ts";
import type { Outcome } from "./outcome.ts";

/** A row of the table. */
export interface Row {
  readonly name: string;
  readonly outcome: Outcome;
  /** The other checkout's, when two are compared. */
  readonly against: Outcome | null;
  /** The first one's time in units of the other's, when both were measured. */
  readonly ratio: Ratio | null;
}

const MISSING = "not in this checkout";

/** A quantity in four digits or so; small ones keep one after the point. */
export function formatNumber(value: number): string {
  return value < 99.95 ? value.toFixed(1) : Math.round(value).toLocaleString("en-US");
}

function time({ nanoseconds }: Measurement): string {
  return formatNumber(nanoseconds.median);
}

function percentage(measurement: Measurement): string {
  return `±${(100 * spread(measurement.nanoseconds)).toFixed(1)} %`;
}

/** What stands for an outcome without a measurement. */
function remark(outcome: Outcome): string {
  switch (outcome.kind) {
    case "measured":
      return "";
    case "missing":
      return `${MISSING} (${outcome.reason})`;
    case "failed":
      return `failed: ${outcome.reason}`;
  }
}

const NAMES_HEADING = "each operation";
const CELL_WIDTH = 14;

function widthOf(names: readonly string[]): number {
  return Math.max(NAMES_HEADING.length, ...names.map((name) => name.length));
}

function line(nameWidth: number, name: string, cells: readonly string[]): string {
  return `${name.padEnd(nameWidth)}${cells.map((cell) => cell.padStart(CELL_WIDTH)).join("")}`;
}

/** The lines of the table of one checkout. */
export class Report {
  readonly #nameWidth: number;

  constructor(names: readonly string[]) {
    this.#nameWidth = widthOf(names);
  }

  get header(): string {
    return line(this.#nameWidth, NAMES_HEADING, ["ns", "spread", "heap bytes", "buffer bytes"]);
  }

  row({ name, outcome }: Row): string {
    if (outcome.kind !== "measured") return `${name.padEnd(this.#nameWidth)}  ${remark(outcome)}`;
    const { measurement } = outcome;
    const { heapBytes, bufferBytes } = measurement;
    const cells = [time(measurement), percentage(measurement), formatNumber(heapBytes), formatNumber(bufferBytes)];
    return line(this.#nameWidth, name, cells);
  }
}

/** The lines of the table of two checkouts. */
export class Comparison {
  readonly #nameWidth: number;

  constructor(names: readonly string[]) {
    this.#nameWidth = widthOf(names);
  }

  get header(): string {
    const cells = ["ns", "against ns", "ratio", "of turns", "bytes", "against bytes"];
    return line(this.#nameWidth, NAMES_HEADING, cells);
  }

  row({ name, outcome, against, ratio }: Row): string {
    const cells = [
      cellOf(outcome, time),
      against === null ? "" : cellOf(against, time),
      ratio === null ? "" : ratio.median.toFixed(3),
      ratio === null ? "" : `${ratio.lowest.toFixed(2)}-${ratio.highest.toFixed(2)}`,
      cellOf(outcome, bytes),
      against === null ? "" : cellOf(against, bytes),
    ];
    const remarks = [
      ...(outcome.kind === "measured" ? [] : [`  checkout: ${remark(outcome)}`]),
      ...(against === null || against.kind === "measured" ? [] : [`  against: ${remark(against)}`]),
    ];
    return [line(this.#nameWidth, name, cells), ...remarks].join("\n");
  }
}

function bytes({ heapBytes, bufferBytes }: Measurement): string {
  return formatNumber(heapBytes + bufferBytes);
}

function cellOf(outcome: Outcome, of: (measurement: Measurement) => string): string {
  return outcome.kind === "measured" ? of(outcome.measurement) : outcome.kind;
}
