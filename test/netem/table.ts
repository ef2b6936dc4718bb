/**
 * Compares hostd's TCP with Linux's over links that lose, delay, reorder and duplicate, in a real VM, and writes the table
 * of docs/tcp.md.
 */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { ensureVm, imageOf } from "../vm/image.ts";
import { type CellResult, type MeasureOptions, measureCell, median } from "./measure.ts";
import { type Cell, cellName, selectCells } from "./paths.ts";
import { summary, table, WANTED, writePage } from "./report.ts";
import { NetemTestbed, RATE } from "./testbed.ts";

const USAGE = `Usage: npm run netem -- [options]

Measures every cell, and writes the table into docs/tcp.md (15 to 20 minutes). With any of the first three options it
prints the table instead.

  --cells LIST     only these cells, such as 1%-10ms,5%-100ms-down
  --quick          fewer transfers (about 7 minutes for all cells)
  --seconds N      transfers begin for N seconds in each cell, at least twice (30; with --quick 6)
  --json FILE      also write every transfer's goodput to FILE
  --capture FILE   also write the frames between the guest and hostd to this pcap file`;

const PAGE = join(import.meta.dirname, "..", "..", "docs", "tcp.md");

interface Arguments {
  readonly cells: readonly Cell[];
  readonly options: MeasureOptions;
  readonly writesPage: boolean;
  readonly json: string | undefined;
  readonly capture: string | undefined;
}

function readArguments(): Arguments {
  const { values } = parseArgs({
    options: {
      cells: { type: "string" },
      quick: { type: "boolean", default: false },
      seconds: { type: "string" },
      json: { type: "string" },
      capture: { type: "string" },
      help: { type: "boolean", short: "h", default: false },
    },
  });
  const { cells, quick, seconds, json, capture } = values;
  if (values.help) {
    console.log(USAGE);
    process.exit(0);
  }
  const budget = seconds === undefined ? (quick ? 6 : 30) : Number(seconds);
  if (!(budget > 0)) throw new Error(`--seconds is "${seconds}"; it must be a number above 0`);
  return {
    cells: selectCells(cells),
    options: { bytes: 10e6, seconds: quick ? 5 : 8, budgetMs: budget * 1000, precision: 0.03 },
    writesPage: cells === undefined && !quick && seconds === undefined,
    json,
    capture,
  };
}

function parse(): Arguments {
  try {
    return readArguments();
  } catch (error) {
    console.error(`netem: ${error instanceof Error ? error.message : String(error)}\n\n${USAGE}`);
    process.exit(2);
  }
}

const { cells, options, writesPage, json, capture } = parse();
const availability = await ensureVm();
if (!availability.available) process.exit(1);
const began = performance.now();
const progress = (text: string) => {
  const seconds = ((performance.now() - began) / 1000).toFixed(0);
  process.stderr.write(`netem: ${seconds.padStart(4)} s: ${text}\n`);
};

const testbed = await NetemTestbed.create({ image: imageOf(availability), name: "netem", capture });
const results: CellResult[] = [];
let unshaped = 0;
try {
  const transfers = await testbed.round("down", 1, { bytes: 50e6, seconds: 5 });
  unshaped = transfers.reduce((sum, { goodput }) => sum + goodput, 0);
  progress(`without a shape, two transfers at once: ${unshaped.toFixed(0)} Mbit/s`);
  for (const cell of cells) {
    const result = await measureCell(testbed, cell, options);
    results.push(result);
    progress(`${results.length}/${cells.length} ${summary(result)}`);
  }
} finally {
  await testbed.close();
}

if (json !== undefined) {
  const entries = results.map(({ cell, ...result }) => ({ cell: cellName(cell), ...result }));
  writeFileSync(json, `${JSON.stringify(entries, null, 2)}\n`);
}
if (writesPage) writePage(PAGE, results, options, unshaped);
else console.log(table(results));
const clean = results.find(({ cell }) => cell.path.name === "0%-0ms");
if (clean !== undefined && median(clean.goodputs.linux) < 0.85 * RATE) {
  console.log(
    "\nLinux did not fill the clean link: something else used the processor, and the figures are of little worth",
  );
}
const below = results.filter(({ ratio }) => !(ratio >= WANTED)).map(({ cell }) => cellName(cell));
const names = below.length === 0 ? "" : `: ${below.join(", ")}`;
console.log(`\n${below.length} of ${results.length} cells below ${WANTED} of Linux's goodput${names}`);
