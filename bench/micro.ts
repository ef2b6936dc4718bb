/**
 * Measures the parts of the data path one by one: nanoseconds and allocated bytes of each operation. Every benchmark
 * runs in a process of its own. Two checkouts are measured by turns, as the machine is noisy.
 */
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { parseArgs } from "node:util";
import type { BenchmarkEntry } from "./micro/benchmark-entry.ts";
import { BENCHMARKS } from "./micro/benchmarks.ts";
import { Checkout, OWN_CHECKOUT } from "./micro/checkout.ts";
import { combine, type Measurement, type Ratio, ratioOf } from "./micro/measure.ts";
import type { Outcome } from "./micro/outcome.ts";
import { Comparison, Report, type Row } from "./micro/report.ts";

const USAGE = `Usage: npm run bench:micro -- [options]

  --filter PATTERN    only the benchmarks whose names this regular expression matches, in any case
  --checkout FOLDER   measure the sources of another checkout of this repository
  --against FOLDER    measure that checkout by turns with the first; the ratio is the first one's time by this one's, so
                      below 1 the first is faster, and turns on both sides of 1 tell of no difference
  --seconds S         take samples for so long in each process (0.3), after it has warmed up for 0.75 s
  --turns N           processes of each benchmark and checkout (1; with --against 3)
  --json              print one line of JSON, with the quartiles and every turn
  --list              print the names only`;

const TURNS_OF_A_COMPARISON = 3;
const MEASURE_ONE = join(import.meta.dirname, "micro", "measure-one.ts");

interface Arguments {
  readonly benchmarks: readonly BenchmarkEntry[];
  readonly checkout: Checkout;
  readonly against: Checkout | null;
  readonly seconds: number;
  readonly turns: number;
  readonly json: boolean;
  readonly list: boolean;
}

function selected(pattern: string): readonly BenchmarkEntry[] {
  let matching: RegExp;
  try {
    matching = new RegExp(pattern, "i");
  } catch (error) {
    throw new RangeError(`--filter ${pattern} is not a regular expression`, { cause: error });
  }
  const benchmarks = BENCHMARKS.filter(({ name }) => matching.test(name));
  if (benchmarks.length === 0) throw new RangeError(`--filter ${pattern} matches no benchmark; --list names them all`);
  return benchmarks;
}

function readArguments(): Arguments {
  const { values } = parseArgs({
    options: {
      filter: { type: "string", default: "" },
      checkout: { type: "string", default: OWN_CHECKOUT },
      against: { type: "string" },
      seconds: { type: "string", default: "0.3" },
      turns: { type: "string" },
      json: { type: "boolean", default: false },
      list: { type: "boolean", default: false },
      help: { type: "boolean", short: "h", default: false },
    },
  });
  if (values.help) {
    console.log(USAGE);
    process.exit(0);
  }
  const seconds = Number(values.seconds);
  if (!(seconds >= 0.01 && seconds <= 60)) throw new RangeError(`--seconds ${values.seconds} is not 0.01 to 60`);
  const turns =
    values.turns === undefined ? (values.against === undefined ? 1 : TURNS_OF_A_COMPARISON) : Number(values.turns);
  if (!Number.isInteger(turns) || turns < 1 || turns > 100)
    throw new RangeError(`--turns ${values.turns} is not 1 to 100`);
  return {
    benchmarks: selected(values.filter),
    checkout: new Checkout(values.checkout),
    against: values.against === undefined ? null : new Checkout(values.against),
    seconds,
    turns,
    json: values.json,
    list: values.list,
  };
}

function parse(): Arguments {
  try {
    return readArguments();
  } catch (error) {
    console.error(`bench:micro: ${error instanceof Error ? error.message : String(error)}\n\n${USAGE}`);
    process.exit(2);
  }
}

const { benchmarks, checkout, against, seconds, turns, json, list } = parse();

function measureOnce({ name }: BenchmarkEntry, { folder }: Checkout): Outcome {
  const child = spawnSync(process.execPath, [MEASURE_ONE, folder, name, String(seconds)], {
    encoding: "utf8",
    stdio: ["ignore", "pipe", "pipe"],
    timeout: 1000 * (60 + 10 * seconds),
  });
  if (child.error !== undefined) return { kind: "failed", reason: child.error.message };
  if (child.status !== 0)
    return { kind: "failed", reason: child.stderr.trim() || `its process ended by ${child.signal}` };
  return JSON.parse(child.stdout);
}

/** All of one checkout's turns: what they have in common, and the time of each. */
interface Side {
  readonly outcome: Outcome;
  readonly times: readonly number[];
}

function sideOf(outcomes: readonly Outcome[]): Side {
  const measurements: Measurement[] = [];
  for (const outcome of outcomes) {
    if (outcome.kind !== "measured") return { outcome, times: [] };
    measurements.push(outcome.measurement);
  }
  return {
    outcome: { kind: "measured", measurement: combine(measurements) },
    times: measurements.map(({ nanoseconds }) => nanoseconds.median),
  };
}

function measureByTurns(entry: BenchmarkEntry): Row & { readonly turns: readonly (readonly number[])[] } {
  const sides = against === null ? [checkout] : [checkout, against];
  const outcomes: Outcome[][] = sides.map(() => []);
  for (let turn = 0; turn < turns; turn++) {
    // The one that began goes second in the next turn, so that neither always follows the other.
    const order = turn % 2 === 0 ? [...sides.keys()] : [...sides.keys()].reverse();
    for (const side of order) outcomes[side].push(measureOnce(entry, sides[side]));
    // What is missing or fails does so every time.
    if (outcomes.every((each) => each[turn].kind !== "measured")) break;
  }
  const [first, second] = outcomes.map(sideOf);
  const both = second !== undefined && first.times.length > 0 && second.times.length > 0;
  const ratio: Ratio | null = both ? ratioOf(first.times, second.times) : null;
  return {
    name: entry.name,
    outcome: first.outcome,
    against: second?.outcome ?? null,
    ratio,
    turns: [first.times, ...(second === undefined ? [] : [second.times])],
  };
}

if (list) {
  for (const { name } of benchmarks) console.log(name);
  process.exit(0);
}
const names = benchmarks.map(({ name }) => name);
const report = against === null ? new Report(names) : new Comparison(names);
if (!json) console.log(report.header);
const rows: Row[] = [];
for (const entry of benchmarks) {
  const row = measureByTurns(entry);
  rows.push(row);
  if (!json) console.log(report.row(row));
}
if (json) {
  const folders = { checkout: checkout.folder, against: against?.folder ?? null };
  console.log(JSON.stringify({ ...folders, node: process.version, seconds, turns, benchmarks: rows }));
}
const failed = (outcome: Outcome | null) => outcome?.kind === "failed";
if (rows.some((row) => failed(row.outcome) || failed(row.against))) process.exitCode = 1;
