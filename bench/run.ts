/**
 * Measures hostd and its peers side by side. The process that is started looks at the command line, and runs itself again
 * in a sandbox of namespaces, where the measuring is done.
 */
import { mkdirSync, writeFileSync } from "node:fs";
import { join, relative } from "node:path";
import { type Arguments, type Choice, readArguments, type Showing, USAGE } from "./harness/arguments.ts";
import { compare } from "./harness/comparison.ts";
import { compileRig, LoadGenerator } from "./harness/load.ts";
import { describeMachine } from "./harness/machine.ts";
import { cellTitles, MEASURES } from "./harness/measures.ts";
import { Progress } from "./harness/progress.ts";
import { markdownReport, plainReport, type Report } from "./harness/report.ts";
import { becomeHost, obstacle, runInSandbox, sandboxFolder } from "./harness/sandbox.ts";
import { runSession } from "./harness/session.ts";
import { plainTable } from "./harness/table.ts";
import { PEER_KINDS, peersOf } from "./peers/all.ts";

const REPOSITORY = join(import.meta.dirname, "..");
const DNS_PORT = 53;

function choice(): Choice {
  return { peers: PEER_KINDS.flatMap((kind) => peersOf(kind)), known: PEER_KINDS.map(({ name }) => name) };
}

function listing({ peers, known }: Choice): string {
  const rows = peers.map(({ id, installation }) => [id, installation.version, installation.command.at(-1) ?? ""]);
  for (const name of known) if (!peers.some(({ id }) => id === name)) rows.push([name, "not installed", ""]);
  const cells = MEASURES.map(({ id }) => [id, cellTitles(id).join("; ")]);
  return [
    plainTable({ header: ["--peers", "version", "program"], rows, left: 3 }),
    plainTable({ header: ["--cells", "what it gives"], rows: cells, left: 2 }),
  ].join("\n\n");
}

/** Measures what the command line asks for, inside the sandbox, and writes the report. */
async function measure({ peers, mtus, measures, runs, seconds, output, json, save }: Arguments, folder: string) {
  const began = new Date();
  const machine = describeMachine();
  // Long enough for programs with a compiler of their own to have compiled what they do.
  const durations = { seconds, warmup: Math.min(1, seconds / 2) };
  const results = output ?? join(REPOSITORY, "bench", "output", began.toISOString().slice(0, 19).replaceAll(":", ""));
  mkdirSync(results, { recursive: true });
  await becomeHost(folder);
  const rig = await compileRig(folder);
  const load = new LoadGenerator(rig.load);
  await load.serve("host", "127.0.0.1", DNS_PORT);
  const progress = new Progress(process.stderr);
  const { outcomes, inabilities } = await runSession({
    ...{ peers, mtus, measures, rounds: runs, durations, load, bridge: rig.bridge, folder },
    logs: join(results, "logs"),
    progress: (step, outcome) => progress.show(step, outcome),
  });
  progress.end();
  const report: Report = {
    date: began.toISOString(),
    minutes: (Date.now() - began.getTime()) / 60_000,
    machine,
    rounds: runs,
    durations,
    peers: peers.map(({ id, installation }) => ({ id, version: installation.version })),
    tables: compare(
      peers.map(({ id }) => id),
      outcomes,
      inabilities,
    ),
    inabilities,
    outcomes,
  };
  const data = `${JSON.stringify(report, null, 2)}\n`;
  const page = markdownReport(report);
  for (const where of save ? [results, join(REPOSITORY, "docs")] : [results]) {
    writeFileSync(join(where, "benchmark.json"), data);
    writeFileSync(join(where, "benchmark.md"), page);
  }
  process.stdout.write(json ? data : `\n${plainReport(report)}`);
  process.stderr.write(`\nbench: written to ${relative(process.cwd(), results) || "."}\n`);
}

function parse(args: readonly string[]): Arguments | Showing {
  try {
    return readArguments(args, choice);
  } catch (error) {
    console.error(`bench: ${messageOf(error)}\n\n${USAGE}`);
    process.exit(2);
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

async function main(args: readonly string[]): Promise<number> {
  const parsed = parse(args);
  if (parsed === "help" || parsed === "list") {
    console.log(parsed === "help" ? USAGE : listing(choice()));
    return 0;
  }
  const reason = obstacle();
  if (reason !== undefined) {
    console.error(`bench: ${reason}`);
    return 1;
  }
  const folder = sandboxFolder();
  if (folder === undefined) return await runInSandbox(import.meta.filename, args);
  await measure(parsed, folder);
  return 0;
}

try {
  // In the sandbox this ends the services too, whose processes would otherwise be waited for.
  process.exit(await main(process.argv.slice(2)));
} catch (error) {
  console.error(`bench: ${messageOf(error)}`);
  process.exit(1);
}
