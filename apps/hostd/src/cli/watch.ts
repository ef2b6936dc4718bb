/** Showing something again each second. */
import { constants } from "node:os";
import { setTimeout as sleep } from "node:timers/promises";
import { stripVTControlCharacters } from "node:util";
import { printLines } from "./print.ts";

const INTERVAL = 1000;

/** The other screen of a terminal, which leaves what was there before as it was, without a cursor; and back. */
const ENTER = "\x1b[?1049h\x1b[?25l";
const LEAVE = "\x1b[?25h\x1b[?1049l";

/**
 * Shows lines again each second, in place on a terminal and below each other elsewhere, until a signal comes.
 *
 * @param makeLines - gets the lines of the moment.
 * @throws what `makeLines` throws; the terminal is as it was before.
 */
export async function watch(makeLines: () => Promise<readonly string[]>): Promise<never> {
  const { stdout } = process;
  if (!stdout.isTTY) {
    for (;;) {
      printLines(await makeLines());
      await sleep(INTERVAL);
    }
  }
  const stop = (signal: NodeJS.Signals) => {
    stdout.write(LEAVE);
    process.exit(128 + constants.signals[signal]);
  };
  // What fails at once, as when no hostd runs, is said without another screen flashing up.
  let lines = await makeLines();
  process.on("SIGINT", stop);
  process.on("SIGTERM", stop);
  stdout.write(ENTER);
  try {
    for (;;) {
      // A terminal that does not know its size has none.
      stdout.write(frame(lines, stdout.columns || 80, stdout.rows || 24));
      await sleep(INTERVAL);
      lines = await makeLines();
    }
  } finally {
    stdout.write(LEAVE);
  }
}

/** What puts `lines` in the place of what the screen shows; it has room for so many columns and rows. */
export function frame(lines: readonly string[], columns: number, rows: number): string {
  const shown =
    lines.length <= rows ? lines : [...lines.slice(0, rows - 1), `... ${lines.length - rows + 1} more lines`];
  // Each line is emptied when it is written: a screen that is emptied as a whole flickers.
  const text = shown.map((line) => `\x1b[K${cut(line, columns)}`).join("\r\n");
  return `\x1b[H${text}${shown.length < rows ? "\r\n\x1b[J" : ""}`;
}

/** A line that is too long without its end, and without what makes it stand out. */
function cut(line: string, width: number): string {
  const text = stripVTControlCharacters(line);
  return text.length <= width ? line : text.slice(0, width);
}
