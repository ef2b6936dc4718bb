import { isAbsolute, resolve } from "node:path";
import { parseArgs } from "node:util";
import type { Peer } from "../peers/peer.ts";
import { MEASURES, type Measure, measuresNamed, QUICK_MEASURES } from "./measures.ts";

export const USAGE = `Usage: npm run bench -- [options]

Measures hostd and the peers that are installed side by side, on Linux as root, and prints a table. Nothing of the machine's
network is touched. "npm run bench:peers" fetches the peers of a newer Debian.

What is measured:
  --peers LIST     these peers, by commas, or "all" (the newest version of each)
  --mtu LIST       at these MTUs, from 576 to 65520 (1500,65520)
  --cells LIST     these cells or groups of them, such as up,udp,flows (all)
  --list           show the peers and cells there are, and end

How long (about 45 minutes with five peers):
  --quick          less than two minutes: one short run, of the cells that do not take long
  --runs N         each cell so often, from 1 to 100 (3; with --quick 1)
  --seconds S      each time for S seconds, from 0.1 to 600 (2; with --quick 0.5)

Where it goes:
  --output FOLDER  benchmark.json, benchmark.md and the logs of what failed (bench/output/TIME)
  --json           print the JSON instead of the table
  --save           also write docs/benchmark.md and docs/benchmark.json
  -h, --help       show this

Examples:
  npm run bench -- --quick
  npm run bench -- --peers hostd,gvproxy --mtu 1500 --cells up,down --runs 5`;

/** What the command line asks for. */
export interface Arguments {
  readonly peers: readonly Peer[];
  readonly mtus: readonly number[];
  readonly measures: readonly Measure[];
  readonly runs: number;
  readonly seconds: number;
  /** An absolute path; undefined for the default. */
  readonly output: string | undefined;
  readonly json: boolean;
  readonly save: boolean;
}

/** A request to show something instead of measuring. */
export type Showing = "help" | "list";

/** What is known of the programs that can be measured. */
export interface Choice {
  /** All versions that are installed, the newest of each program first. */
  readonly peers: readonly Peer[];
  /** The names of all programs that can be measured, installed or not. */
  readonly known: readonly string[];
}

/**
 * Reads the command line.
 *
 * @throws Error that says what is wrong and what is allowed
 */
export function readArguments(args: readonly string[], choice: () => Choice): Arguments | Showing {
  const { values } = parseArgs({
    args: [...args],
    options: {
      peers: { type: "string" },
      mtu: { type: "string", default: "1500,65520" },
      cells: { type: "string" },
      list: { type: "boolean", default: false },
      quick: { type: "boolean", default: false },
      runs: { type: "string" },
      seconds: { type: "string" },
      output: { type: "string" },
      json: { type: "boolean", default: false },
      save: { type: "boolean", default: false },
      help: { type: "boolean", short: "h", default: false },
    },
  });
  if (values.help) return "help";
  if (values.list) return "list";
  const { quick, output, json, save } = values;
  if (save && quick) throw new Error("--save keeps the figures of a full run; leave out --quick");
  return {
    mtus: [...new Set(words("--mtu", values.mtu).map((word) => number("--mtu", word, { least: 576, most: 65520 })))],
    measures: chosenMeasures(values.cells, quick),
    runs: number("--runs", values.runs ?? (quick ? "1" : "3"), { least: 1, most: 100 }),
    seconds: number("--seconds", values.seconds ?? (quick ? "0.5" : "2"), { least: 0.1, most: 600, isWhole: false }),
    output: output === undefined || isAbsolute(output) ? output : resolve(output),
    json,
    save,
    peers: chosenPeers(values.peers, choice()),
  };
}

function words(option: string, text: string): string[] {
  const found = text.split(",").map((word) => word.trim());
  if (found.includes("")) throw new Error(`${option} "${text}": a list with commas between its items, none empty`);
  return found;
}

interface Range {
  readonly least: number;
  readonly most: number;
  readonly isWhole?: boolean;
}

function number(option: string, text: string, { least, most, isWhole = true }: Range): number {
  const value = /^\d+(\.\d+)?$/.test(text) ? Number(text) : Number.NaN;
  if (value >= least && value <= most && (!isWhole || Number.isInteger(value))) return value;
  throw new Error(`${option} "${text}": must be a ${isWhole ? "whole " : ""}number from ${least} to ${most}`);
}

/** In the order in which they are done, whatever the order on the command line. */
function chosenMeasures(list: string | undefined, quick: boolean): Measure[] {
  if (list === undefined) return MEASURES.filter(({ id }) => !quick || QUICK_MEASURES.includes(id));
  const chosen = words("--cells", list).flatMap((word) => {
    const named = measuresNamed(word);
    if (named.length > 0) return named;
    throw new Error(`--cells "${word}": there are ${MEASURES.map(({ id }) => id).join(", ")}`);
  });
  return MEASURES.filter((measure) => chosen.includes(measure));
}

function chosenPeers(list: string | undefined, { peers, known }: Choice): Peer[] {
  if (list === "all") return [...peers];
  if (list === undefined) return peers.filter(({ id }) => !id.includes("@"));
  const wanted = words("--peers", list);
  for (const word of wanted) {
    if (peers.some(({ id }) => id === word)) continue;
    if (known.includes(word)) throw new Error(`--peers: ${word} is not installed; npm run bench:peers fetches it`);
    throw new Error(`--peers "${word}": there are ${peers.map(({ id }) => id).join(", ")}`);
  }
  return peers.filter(({ id }) => wanted.includes(id));
}
