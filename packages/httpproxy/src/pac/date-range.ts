const MONTHS = ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"];

type Unit = "day" | "month" | "year";
interface Field {
  readonly unit: Unit;
  readonly value: number;
}
/** How much a unit weighs where dates are compared. */
const WEIGHTS: Readonly<Record<Unit, number>> = { day: 1, month: 32, year: 32 * 12 };

/**
 * `dateRange` of PAC scripts: a day, a month, a year or some of them for a date, or two such dates, the range of which
 * includes both. `"GMT"` at the end stands for UTC. A range without years that ends before it begins goes on past the
 * turn of the year, or of the month. False when the arguments are of no such form.
 */
export function dateRange(args: readonly unknown[], now: Date): boolean {
  const isUtc = args.at(-1) === "GMT";
  const fields = (isUtc ? args.slice(0, -1) : args).map(readField);
  if (!fields.every((field) => field !== null) || fields.length === 0) return false;
  const today: Record<Unit, number> = {
    day: isUtc ? now.getUTCDate() : now.getDate(),
    month: isUtc ? now.getUTCMonth() : now.getMonth(),
    year: isUtc ? now.getUTCFullYear() : now.getFullYear(),
  };
  const first = fields.slice(0, fields.length / 2);
  const last = fields.slice(fields.length / 2);
  if (first.length === last.length && first.every(({ unit }, index) => unit === last[index].unit)) {
    return areDistinct(first) && isBetween(first, last, today);
  }
  return areDistinct(fields) && fields.every(({ unit, value }) => today[unit] === value);
}

function readField(arg: unknown): Field | null {
  const month = MONTHS.indexOf(String(arg).toUpperCase());
  if (month !== -1) return { unit: "month", value: month };
  const value = Number(arg);
  if (!Number.isInteger(value) || value < 1) return null;
  return { unit: value <= 31 ? "day" : "year", value };
}

function areDistinct(fields: readonly Field[]): boolean {
  return new Set(fields.map(({ unit }) => unit)).size === fields.length;
}

function isBetween(first: readonly Field[], last: readonly Field[], today: Readonly<Record<Unit, number>>): boolean {
  const from = weigh(first);
  const to = weigh(last);
  const at = weigh(first.map(({ unit }) => ({ unit, value: today[unit] })));
  if (from <= to) return from <= at && at <= to;
  return !first.some(({ unit }) => unit === "year") && (at >= from || at <= to);
}

function weigh(date: readonly Field[]): number {
  return date.reduce((sum, { unit, value }) => sum + value * WEIGHTS[unit], 0);
}
