import { shortVersion } from "../peers/peer.ts";
import type { MtuTable, Result, Row } from "./comparison.ts";
import { formatFigure, formatRatio, formatResult } from "./format.ts";
import type { Machine } from "./machine.ts";
import type { Durations } from "./measures.ts";
import type { Inability, Outcome } from "./outcome.ts";
import { DISTURBED } from "./stolen-time.ts";
import { markdownTable, plainTable, type TextTable } from "./table.ts";

/** Everything that a run of the benchmark has found. */
export interface Report {
  /** When it began, in UTC, as in ISO 8601. */
  readonly date: string;
  /** How long it took. */
  readonly minutes: number;
  readonly machine: Machine;
  readonly rounds: number;
  readonly durations: Durations;
  readonly peers: readonly { readonly id: string; readonly version: string }[];
  readonly tables: readonly MtuTable[];
  readonly inabilities: readonly Inability[];
  readonly outcomes: readonly Outcome[];
}

const RATIO_HEADERS = ["to gvproxy", "to the best"];

/** The report for a terminal. */
export function plainReport(report: Report): string {
  const { tables } = report;
  const parts = [machineLines(report).join("\n")];
  for (const { mtu, rows } of tables) {
    const header = ["", "", ...report.peers.map(({ id }) => id), ...RATIO_HEADERS];
    parts.push(`MTU ${mtu}\n\n${plainTable(textTable(header, report, rows, (_row, _peer, text) => text))}`);
  }
  parts.push(...remarks(report).map(({ title, lines }) => `${title}\n${lines.map((line) => `  ${line}`).join("\n")}`));
  return `${parts.join("\n\n")}\n`;
}

/** The report as a page of the documentation. */
export function markdownReport(report: Report): string {
  const parts = [INTRODUCTION, list(machineLines(report))];
  for (const { mtu, rows } of report.tables) {
    const header = ["", "", ...report.peers.map(({ id, version }) => columnTitle(id, version)), ...RATIO_HEADERS];
    const emphasize = (row: Row, peer: string, text: string) => (row.best === peer ? `**${text}**` : text);
    parts.push(`## MTU ${mtu}`, markdownTable(textTable(header, report, rows, emphasize)));
  }
  for (const { title, lines } of remarks(report)) parts.push(`## ${title}`, list(lines));
  return `${parts.join("\n\n")}\n`;
}

const INTRODUCTION = `# Benchmark

<!-- Written by \`npm run bench -- --save\`. -->

hostd and its peers on one machine, in one run, each in turn. \`npm run bench:peers\` fetches the peers, and
\`npm run bench\` measures; \`npm run bench -- --help\` says what can be chosen.

- "Up" is from the guest to the host, "down" from the host to the guest. The guest is a network namespace, so that an
  emulated processor is no limit, and the services of the host are in another one, on its loopback. The programs that
  load them are the same small C programs for every peer. Neither side uses BBR, whatever the machine's default is, and
  the guest's device holds 10,000 packets. Where a peer has 1,000 flows send more than that at once, the device drops them.
- 1,000 flows are measured 4 s later than others: until then the socket buffers of both ends, which come to a gigabyte, are
  filled, and on a virtual machine that is mostly the time in which the kernel gets memory that was not in use before. Of no
  socket may more than 1 MiB be unsent: with more, 1,000 of them exceed the memory that the kernel has for TCP, and it closes the
  windows of all sockets, those of the guest too, since both have one kernel here.
- hostd, gvproxy and passt get the guest's frames over QEMU's stream framing from a small program that copies them
  between a TAP device and the socket. slirp4netns and pasta are made for namespaces and open the TAP device
  themselves, which spares them one copy and puts the device's work on their account of processor time.
- The figure is the median of the runs, the range behind it the least and the greatest. The best median of a row is
  bold. An exclamation mark says that some runs failed, a minus that a peer cannot do it.
- The ratios are hostd's; above 1 hostd is better, also where less is better. "The best" is the best of the peers.
- Processor time is that of the peer alone, all its threads and children, for 10^9 bytes of one flow. Memory is resident
  memory; per flow it is what has come with so many idle flows, divided by them.
- The datagrams a second are those that arrive when the sender sends as fast as it can; the loss is of fewer.
- Towards the guest passt and pasta put a datagram of 8000 bytes into one frame of 8042 at an MTU of 1500 as well, which the
  device here takes. The others send six fragments of what the MTU allows.`;

function list(lines: readonly string[]): string {
  return lines.map((line) => `- ${line}`).join("\n");
}

function columnTitle(id: string, version: string): string {
  return `${id.replace(/@.*/, "")} ${shortVersion(version)}`;
}

function machineLines({ date, minutes, machine, rounds, durations, peers }: Report): string[] {
  const { processor, processors, memoryBytes, kernel, system, node, congestionControl, openFiles, load } = machine;
  const memory = `${(memoryBytes / 2 ** 30).toFixed(0)} GiB`;
  return [
    `${date.slice(0, 16).replace("T", " ")} UTC, ${Math.ceil(minutes)} ${plural(Math.ceil(minutes), "minute")}, ${rounds} ${plural(rounds, "run")} of ` +
      `${durations.seconds} s after ${durations.warmup} s`,
    `${processors} processors (${processor}), ${memory}, Linux ${kernel}, ${system}, Node ${node}, ${congestionControl}, ` +
      `${openFiles.toLocaleString("en-US")} open files, load ${load} before`,
    peers.map(({ id, version }) => `${id.replace(/@.*/, "")} ${version}`).join(", "),
  ];
}

function textTable(
  header: readonly string[],
  { peers }: Report,
  rows: readonly Row[],
  decorate: (row: Row, peer: string, text: string) => string,
): TextTable {
  return {
    header,
    left: 2,
    rows: rows.map((row) => [
      row.cell.title,
      row.cell.unit,
      ...peers.map(({ id }) => decorate(row, id, formatResult(row.results[id]))),
      formatRatio(row.floor?.ratio),
      formatRatio(row.aim?.ratio),
    ]),
  };
}

interface Remarks {
  readonly title: string;
  readonly lines: readonly string[];
}

/** What stands below the tables; parts without lines are left out. */
function remarks(report: Report): Remarks[] {
  return [
    { title: "Below gvproxy", lines: below(report, "floor") },
    { title: "Below the best peer", lines: below(report, "aim") },
    { title: "Failed", lines: failures(report) },
    {
      title: "Not measured",
      lines: report.inabilities.map(({ peer, mtu, measure, reason }) => `${peer}, MTU ${mtu}, ${measure}: ${reason}`),
    },
    { title: "Disturbed", lines: disturbances(report) },
    { title: "Notes", lines: notes(report) },
  ].filter(({ lines }) => lines.length > 0);
}

/** The cells in which hostd is worse than another, the worst first; says so if there is none among those compared. */
function below({ tables }: Report, which: "floor" | "aim"): string[] {
  const compared = tables
    .flatMap(({ mtu, rows }) => rows.map((row) => ({ mtu, row, against: row[which] })))
    .flatMap(({ mtu, row, against }) => (against === undefined ? [] : [{ mtu, row, against }]));
  if (compared.length > 0 && compared.every(({ against }) => against.ratio >= 1)) return ["nowhere"];
  return compared
    .filter(({ against }) => against.ratio < 1)
    .toSorted((a, b) => a.against.ratio - b.against.ratio)
    .map(({ mtu, row, against }) => {
      const figure = (peer: string) => medianText(row.results[peer]);
      const { title, unit } = row.cell;
      const figures = `hostd ${figure("hostd")}, ${against.peer} ${figure(against.peer)} ${unit}`.trimEnd();
      return `${formatRatio(against.ratio)}: ${title}, MTU ${mtu} (${figures})`;
    });
}

function medianText(result: Result | undefined): string {
  return result?.state === "measured" ? formatFigure(result.median) : "-";
}

/** Each reason once, with how often it occurred, whatever the numbers in it. */
function failures({ outcomes, rounds }: Report): string[] {
  const failed = outcomes.flatMap(({ peer, mtu, measure, failure }) =>
    failure === undefined ? [] : [{ what: `${peer}, MTU ${mtu}, ${measure}`, failure }],
  );
  const groups = Map.groupBy(failed, ({ what, failure }) => `${what}: ${failure.replace(/[\d.]+/g, "0")}`);
  return [...groups.values()].flatMap(([first, ...others]) =>
    first === undefined
      ? []
      : [`${first.what}: ${first.failure} (${others.length + 1} of ${rounds} ${plural(rounds, "run")})`],
  );
}

/** With which peers the hypervisor gave much to others, and when the most. */
function disturbances({ peers, outcomes }: Report): string[] {
  return peers.flatMap(({ id }) => {
    const all = outcomes.filter(({ peer }) => peer === id);
    const [worst, ...others] = all.filter(({ stolen }) => stolen >= DISTURBED).toSorted((a, b) => b.stolen - a.stolen);
    if (worst === undefined) return [];
    const { mtu, measure, round, stolen } = worst;
    return [
      `${id}: in ${others.length + 1} of ${all.length} ${plural(all.length, "measure")} ${DISTURBED * 100} % and more of the ` +
        `processors' time went to others than this machine (steal), at most ${Math.round(stolen * 100)} % ` +
        `(MTU ${mtu}, ${measure}, run ${round})`,
    ];
  });
}

function notes({ outcomes }: Report): string[] {
  return outcomes.flatMap(({ peer, mtu, round, measure, notes }) =>
    notes.map((note) => `${peer}, MTU ${mtu}, ${measure}, run ${round}: ${note}`),
  );
}

function plural(count: number, noun: string): string {
  return count === 1 ? noun : `${noun}s`;
}
