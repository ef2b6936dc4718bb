import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { type CellResult, type MeasureOptions, median } from "./measure.ts";
import { cellName, DIRECTIONS, PATHS } from "./paths.ts";
import { BURST, QUEUE, RATE } from "./testbed.ts";

/** The share of Linux's goodput that hostd is to reach in every cell. */
export const WANTED = 0.8;

const BEGIN = "<!-- netem: written by `npm run netem` -->";
const END = "<!-- end of netem -->";

/** One line about a cell. */
export function summary({ cell, goodputs, failures, ratio, error }: CellResult): string {
  const figure = (values: readonly number[]) => `${megabits(median(values)).padStart(5)} (${values.length})`;
  const both = `Linux ${figure(goodputs.linux)}, hostd ${figure(goodputs.hostd)} Mbit/s`;
  const failed = failures.length === 0 ? "" : `; ${failures.length} FAILED: ${[...new Set(failures)].join(", ")}`;
  return `${cellName(cell).padEnd(26)} ${both}: ${ratioText(ratio, error)}${failed}`;
}

/** The table in Markdown: a row for each path that has results. */
export function table(results: readonly CellResult[]): string {
  const rows = PATHS.flatMap((path) => {
    const cells = DIRECTIONS.flatMap((direction) => {
      const result = results.find(({ cell }) => cell.path === path && cell.direction === direction);
      if (result === undefined) return ["", "", ""];
      const { goodputs, ratio, error } = result;
      return [megabits(median(goodputs.linux)), megabits(median(goodputs.hostd)), ratioText(ratio, error)];
    });
    return cells.every((text) => text === "") ? [] : [`| ${[path.description, ...cells].join(" | ")} |`];
  });
  return [
    "| Path | Linux, down | hostd, down | ratio | Linux, up | hostd, up | ratio |",
    "|---|--:|--:|--:|--:|--:|--:|",
    ...rows,
  ].join("\n");
}

/**
 * How the figures of a table came about, in Markdown.
 *
 * @param unshaped - Mbit/s that the machine carried without the link's shape
 */
function method({ bytes, seconds }: MeasureOptions, unshaped: number): string {
  return `Goodput in Mbit/s of a transfer between a program in a Debian guest under QEMU and a server. "hostd" is a server on the
host, reached through hostd, so that hostd's TCP is the guest's peer; "Linux" is the same server in another network
namespace of the guest, so that a second Linux kernel is. "Down" is to the guest: hostd sends. "Up" is from the guest:
hostd receives and acknowledges.

- Each transfer has a link of its own, a veth pair with the same queueing disciplines at both ends, and crosses one router
  after it. Each end of the link first loses, duplicates or reorders with netem, every packet independently, and delays
  by half of the round trip that the row names, which comes on top of about 1 ms; then come a queue of ${QUEUE} packets and a
  rate of ${RATE} Mbit/s (pfifo in tbf, with bursts of ${BURST} packets). So acknowledgments suffer as data does. A packet that
  "arrives early" is one that netem did not delay.
- The packets on the link have at most 1500 bytes: no segmentation offload, no GRO. Linux has its defaults (CUBIC, SACK,
  RACK, timestamps), except that it remembers nothing of earlier connections.
- A transfer is ${bytes / 1e6} MB, or what comes in ${seconds} s. The receiving program measures from the first byte to the last. Transfers
  to hostd and to Linux run at the same time, in equal numbers.
- The figures are medians. The ratio is hostd's over Linux's, ± two standard errors. The link is the limit, not the
  emulated processor: without the disciplines two transfers at once carried ${unshaped.toFixed(0)} Mbit/s together.`;
}

/**
 * Writes the method and the table into a page, in place of what stands between its markers.
 *
 * @throws Error if the page is there but lacks the markers
 */
export function writePage(
  path: string,
  results: readonly CellResult[],
  options: MeasureOptions,
  unshaped: number,
): void {
  const section = `${BEGIN}\n\n${method(options, unshaped)}\n\n${table(results)}\n\n${END}`;
  const page = existsSync(path) ? readFileSync(path, "utf8") : `# TCP\n\n## Compared with Linux\n\n${BEGIN}\n${END}\n`;
  const [begin, end] = [page.indexOf(BEGIN), page.indexOf(END)];
  if (begin < 0 || end < begin) throw new Error(`${path} lacks the lines "${BEGIN}" and "${END}"`);
  writeFileSync(path, page.slice(0, begin) + section + page.slice(end + END.length));
}

function ratioText(ratio: number, error: number): string {
  return `${ratio.toFixed(2)} ± ${(2 * error).toFixed(2)}`;
}

function megabits(value: number): string {
  return value < 10 ? value.toFixed(2) : value.toFixed(1);
}
