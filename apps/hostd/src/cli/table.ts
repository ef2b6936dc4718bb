/** Tables and quantities for people: columns below each other, bytes and ages in units that are read at a glance. */
import { styleText } from "node:util";

/** How a table is shown. */
export interface TableStyle {
  /** The titles, made to stand out. */
  title(text: string): string;
  /** How many characters a line has room for. */
  readonly width: number;
}

/** For files and other programs: nothing stands out, and lines are as long as they are. */
export const PLAIN: TableStyle = { title: (text) => text, width: Number.POSITIVE_INFINITY };

/** For standard output as it is now: on a terminal titles are bold, unless NO_COLOR is set, and lines are to fit. */
export function outputStyle(): TableStyle {
  const { stdout } = process;
  if (!stdout.isTTY) return PLAIN;
  return { title: (text) => styleText("bold", text, { stream: stdout }), width: stdout.columns || PLAIN.width };
}

/** A column of a table. */
export interface Column<Row> {
  readonly title: string;
  readonly cell: (row: Row) => string;
  /** Whether its cells end below each other, as numbers do. */
  readonly isRight?: true;
  /** Whether it is left out where the lines would get too long. */
  readonly isOptional?: true;
}

/** The lines of a table, titles first. Of the optional columns that do not fit, the last is left out first. */
export function formatTable<Row>(
  columns: readonly Column<Row>[],
  rows: readonly Row[],
  style: TableStyle = PLAIN,
): string[] {
  const cells = [columns.map(({ title }) => title), ...rows.map((row) => columns.map(({ cell }) => cell(row)))];
  const right = columns.flatMap(({ isRight }, index) => (isRight === true ? [index] : []));
  const lines = alignRows(cells, { right });
  const left = columns.findLastIndex(({ isOptional }) => isOptional === true);
  if (left >= 0 && lines.some(({ length }) => length > style.width)) {
    return formatTable(columns.toSpliced(left, 1), rows, style);
  }
  return [style.title(lines[0]), ...lines.slice(1)];
}

/**
 * Rows with their columns below each other; a column without any text is left out.
 *
 * @param rows - of one length each.
 * @param options - by how many spaces the rows are indented, and the indexes of the columns that end below each other.
 */
export function alignRows(
  rows: readonly (readonly string[])[],
  { indent = 0, right = [] }: { readonly indent?: number; readonly right?: readonly number[] } = {},
): string[] {
  const shown = rows.map((row) => row.map(printable));
  const widths = (shown[0] ?? []).map((_, column) => Math.max(...shown.map((row) => row[column].length)));
  return shown.map((row) => {
    const cells = row
      .map((cell, column) => (right.includes(column) ? cell.padStart(widths[column]) : cell.padEnd(widths[column])))
      .filter((_, column) => widths[column] > 0);
    return `${" ".repeat(indent)}${cells.join("  ")}`.trimEnd();
  });
}

/** `text` without what would steer a terminal: some of it, such as the name of a DHCP client, is a guest's choice. */
export function printable(text: string): string {
  return text.replaceAll(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, "?");
}

const BYTE_UNITS = ["B", "kB", "MB", "GB", "TB", "PB"];

/** Bytes in at most six characters: `0 B`, `1.5 MB`, `15 MB`. The units are powers of 1000. */
export function formatBytes(bytes: number): string {
  let [value, unit] = [bytes, 0];
  while (value >= 999.5 && unit < BYTE_UNITS.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${unit > 0 && value < 9.95 ? value.toFixed(1) : Math.round(value)} ${BYTE_UNITS[unit]}`;
}

/** A number of things in at most five characters: `999`, `1.5k`, `15k`, `2.3M`. */
export function formatCount(count: number): string {
  if (count < 1000) return String(Math.round(count));
  const [text, unit] = formatBytes(count).split(" ");
  return `${text}${unit.slice(0, -1)}`;
}

/** A time span with its two largest units: `12s`, `3m12s`, `2h05m`, `3d04h`. */
export function formatAge(seconds: number): string {
  const whole = Math.max(0, Math.floor(seconds));
  const pair = (large: number, largeUnit: string, small: number, smallUnit: string) => {
    return `${large}${largeUnit}${String(small).padStart(2, "0")}${smallUnit}`;
  };
  if (whole < 60) return `${whole}s`;
  if (whole < 3600) return pair(Math.floor(whole / 60), "m", whole % 60, "s");
  if (whole < 86_400) return pair(Math.floor(whole / 3600), "h", Math.floor(whole / 60) % 60, "m");
  return pair(Math.floor(whole / 86_400), "d", Math.floor(whole / 3600) % 24, "h");
}

/** A number with what is counted, in the plural unless it is 1. */
export function counted(count: number, what: string): string {
  return `${count} ${what}${count === 1 ? "" : "s"}`;
}
