/**
 * Measures how long hostd stands still for collections of garbage while many bytes pass: transfers of eight flows each way,
 * each with a hostd of its own that runs under `--trace-gc`, in the sandbox of the benchmark.
 */
import { readFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { readCollections } from "./harness/collections.ts";
import { formatFigure } from "./harness/format.ts";
import { compileRig, LoadGenerator } from "./harness/load.ts";
import { MEASURES, type Measure } from "./harness/measures.ts";
import { RunningPeer } from "./harness/running-peer.ts";
import { becomeHost, obstacle, runInSandbox, sandboxFolder } from "./harness/sandbox.ts";
import { DISTURBED, StolenTime } from "./harness/stolen-time.ts";
import { plainTable } from "./harness/table.ts";
import { peersOf } from "./peers/all.ts";
import { hostd } from "./peers/hostd.ts";
import type { Peer } from "./peers/peer.ts";

const WARM_UP_SECONDS = 1;

const USAGE = `npm run bench:pauses -- [options]

How long hostd stands still for collections of garbage, from V8's trace. Ends with status 1 if that was too long.
On a virtual machine the hypervisor's interruptions count as parts of a pause; what it gave to others meanwhile is
"stolen". With more than a few percent, measure again when its neighbours are quiet.

  --seconds S   each transfer for S seconds (60)
  --mtu MTU     at this MTU; may be repeated (1500 and 65520)
  --cells CELL  what is done, a cell of \`npm run bench -- --list\`; may be repeated (up8 and down8)
  --limit MS    a pause longer than MS milliseconds is too long (20)
  -h, --help    show this`;

/** This checkout's hostd, with V8's trace in its log. */
function tracedHostd(): Peer {
  const [peer] = peersOf(hostd);
  const [node = process.execPath, ...command] = peer.installation.command;
  return { ...peer, installation: { ...peer.installation, command: [node, "--trace-gc", ...command] } };
}

interface Rig {
  readonly peer: Peer;
  readonly folder: string;
  readonly bridge: string;
  readonly load: LoadGenerator;
}

/** One measure of one hostd; returns a row of the table, the longest pause in milliseconds, and the part that was stolen. */
async function transfer({ peer, ...rig }: Rig, { id, run }: Measure, mtu: number, seconds: number) {
  const running = await RunningPeer.start(peer, { mtu, ...rig });
  const figures: string[] = [];
  const stolenTime = new StolenTime();
  let stolen = 0;
  const before = readCollections(readFileSync(running.log, "utf8")).length;
  try {
    await run({
      ...{ running, load: rig.load, durations: { seconds, warmup: WARM_UP_SECONDS }, note: () => {} },
      record: (_cell, value) => figures.push(formatFigure(value)),
    });
    stolen = stolenTime.share();
  } finally {
    await running.stop();
  }
  const collections = readCollections(readFileSync(running.log, "utf8")).slice(before);
  const pauses = collections.map(({ pause }) => pause);
  const longest = (kind: string) =>
    Math.max(0, ...collections.filter((each) => each.kind === kind).map(({ pause }) => pause));
  const total = pauses.reduce((sum, pause) => sum + pause, 0);
  const row = [
    ...[String(mtu), id, figures[0] ?? "-", String(pauses.length), formatFigure(total / Math.max(1, pauses.length))],
    ...[longest("young"), longest("full"), total / 10 / seconds, stolen * 100].map(formatFigure),
  ];
  return { row, longest: Math.max(0, ...pauses), stolen };
}

function numberOption(name: string, written: string, least: number): number {
  const value = Number(written);
  if (written.trim() !== "" && Number.isFinite(value) && value >= least) return value;
  throw new Error(`--${name} ${JSON.stringify(written)} is not a number from ${least} on`);
}

function measureNamed(name: string): Measure {
  const measure = MEASURES.find(({ id, stage }) => id === name && stage === "speed");
  if (measure !== undefined) return measure;
  const known = MEASURES.filter(({ stage }) => stage === "speed").map(({ id }) => id);
  throw new Error(`--cells ${JSON.stringify(name)} is none of ${known.join(", ")}`);
}

async function main(args: string[]): Promise<number> {
  const { values } = parseArgs({
    args,
    options: {
      seconds: { type: "string", default: "60" },
      mtu: { type: "string", multiple: true, default: ["1500", "65520"] },
      cells: { type: "string", multiple: true, default: ["up8", "down8"] },
      limit: { type: "string", default: "20" },
      help: { type: "boolean", short: "h", default: false },
    },
  });
  if (values.help) {
    console.log(USAGE);
    return 0;
  }
  const seconds = numberOption("seconds", values.seconds, 1);
  const limit = numberOption("limit", values.limit, 0);
  const mtus = values.mtu.map((mtu) => numberOption("mtu", mtu, 1280));
  const measures = values.cells.map(measureNamed);
  const reason = obstacle();
  if (reason !== undefined) throw new Error(reason);
  const folder = sandboxFolder();
  if (folder === undefined) return await runInSandbox(import.meta.filename, args);

  await becomeHost(folder);
  const rig = await compileRig(folder);
  const load = new LoadGenerator(rig.load);
  await load.serve("host", "127.0.0.1", 53);
  const rows: string[][] = [];
  let longest = 0;
  let mostStolen = 0;
  for (const mtu of mtus) {
    for (const measure of measures) {
      process.stderr.write(`pauses: ${measure.id} at MTU ${mtu}, ${seconds} s\n`);
      const result = await transfer({ peer: tracedHostd(), folder, bridge: rig.bridge, load }, measure, mtu, seconds);
      rows.push(result.row);
      longest = Math.max(longest, result.longest);
      mostStolen = Math.max(mostStolen, result.stolen);
    }
  }
  const header = [
    "MTU",
    "cell",
    "figure",
    "collections",
    "mean ms",
    "longest young ms",
    "longest full ms",
    "% of the time",
    "% stolen",
  ];
  console.log(plainTable({ header, rows, left: 2 }));
  const isWithin = longest <= limit;
  console.log(`\nthe longest pause was ${formatFigure(longest)} ms, ${isWithin ? "within" : "more than"} ${limit} ms`);
  if (!isWithin && mostStolen >= DISTURBED) {
    console.log("Much of the processors' time was stolen; measure again when the machine has them for itself.");
  }
  return isWithin ? 0 : 1;
}

try {
  // In the sandbox this ends the services too, whose processes would otherwise be waited for.
  process.exit(await main(process.argv.slice(2)));
} catch (error) {
  console.error(`pauses: ${error instanceof Error ? error.message : String(error)}`);
  process.exit(2);
}
