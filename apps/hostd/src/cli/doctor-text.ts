/** What `hostd doctor` has found, for people. */
import { styleText } from "node:util";
import type { SectionFindings } from "../doctor/checks.ts";
import type { Status } from "../doctor/finding.ts";
import { counted, printable } from "./table.ts";

/** How it is shown. */
export interface DoctorStyle {
  mark(status: Status, text: string): string;
  title(text: string): string;
  /** What is there for those who want to know more. */
  quiet(text: string): string;
  /** How many characters a line has room for. */
  readonly width: number;
}

/** For files and other programs: no colours, and lines that mail and editors show whole. */
export const PLAIN: DoctorStyle = { mark: (_, text) => text, title: (text) => text, quiet: (text) => text, width: 100 };

/** Lines that are longer are hard to read, however wide the terminal is; in shorter ones nothing has room. */
const MAX_WIDTH = 120;
const MIN_WIDTH = 60;

const COLOURS = { ok: "green", warning: "yellow", failure: "red" } as const;
const MARKS = { ok: "ok", warning: "!!", failure: "xx" } as const;
const ARROW = "-> ";

/** For standard output as it is now: colours on a terminal, unless NO_COLOR is set. */
export function outputStyle(): DoctorStyle {
  const { stdout } = process;
  if (!stdout.isTTY) return PLAIN;
  return {
    mark: (status, text) => styleText(["bold", COLOURS[status]], text, { stream: stdout }),
    title: (text) => styleText("bold", text, { stream: stdout }),
    quiet: (text) => styleText("dim", text, { stream: stdout }),
    width: Math.min(MAX_WIDTH, Math.max(MIN_WIDTH, stdout.columns)),
  };
}

/** The lines for what was found, and a last one with how much of each. */
export function describeFindings(sections: readonly SectionFindings[], style: DoctorStyle = PLAIN): string[] {
  const all = sections.flatMap(({ findings }) => findings);
  const nameWidth = Math.max(0, ...all.map(({ name }) => name.length));
  const indent = " ".repeat(2 + 2 + 2 + nameWidth + 2);
  const room = style.width - indent.length;
  const lines: string[] = [];
  for (const { title, findings } of sections) {
    if (findings.length === 0) continue;
    lines.push(style.title(title));
    for (const { name, status, seen, advice } of findings) {
      const mark = style.mark(status, MARKS[status]);
      const [first, ...rest] = wrap(printable(seen), room);
      lines.push(`  ${mark}  ${name.padEnd(nameWidth)}  ${first}`, ...rest.map((line) => indent + line));
      if (advice === undefined) continue;
      for (const [index, line] of wrap(printable(advice), room - ARROW.length).entries()) {
        const text = (index === 0 ? ARROW : " ".repeat(ARROW.length)) + line;
        lines.push(indent + (status === "ok" ? style.quiet(text) : text));
      }
    }
    lines.push("");
  }
  const count = (wanted: Status) => all.filter(({ status }) => status === wanted).length;
  const [warnings, failures] = [count("warning"), count("failure")];
  const parts = [
    style.mark("ok", `${count("ok")} ok`),
    ...(warnings === 0 ? [] : [style.mark("warning", counted(warnings, "warning"))]),
    ...(failures === 0 ? [] : [style.mark("failure", counted(failures, "failure"))]),
  ];
  return [...lines, parts.join(", ")];
}

/** Text in lines of at most `width` characters, but for words that are longer. */
export function wrap(text: string, width: number): string[] {
  const lines: string[] = [""];
  for (const word of text.split(" ")) {
    const last = lines.length - 1;
    const line = lines[last];
    if (line !== "" && line.length + 1 + word.length > width) lines.push(word);
    else lines[last] = line === "" ? word : `${line} ${word}`;
  }
  return lines;
}
