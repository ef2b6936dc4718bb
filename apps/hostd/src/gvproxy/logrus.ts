/** The log in the text format of Go's logrus, which is what gvproxy's users read. */
import { openSync, writeSync } from "node:fs";
import { createLogger, type Logger, type LogOutput, standardError } from "../logging.ts";
import { goQuote } from "./go-quote.ts";

/** The levels of logrus, by their names in a configuration, as those of the log. */
const LEVELS = {
  panic: "fatal",
  fatal: "fatal",
  error: "error",
  warn: "warn",
  warning: "warn",
  info: "info",
  debug: "debug",
  trace: "trace",
} as const;

/** What hostd's log has in every line, and logrus in none. */
const OMITTED = ["level", "time", "msg", "pid"];

/** How detailed the log is. */
export type LogrusLevel = keyof typeof LEVELS;

/** Reads the name of a level, in whatever case; undefined when logrus has none of it. */
export function readLogrusLevel(name: string): LogrusLevel | undefined {
  const level = name.toLowerCase();
  return isLevel(level) ? level : undefined;
}

function isLevel(name: string): name is LogrusLevel {
  return Object.hasOwn(LEVELS, name);
}

/**
 * Makes a log.
 *
 * @param file - it is emptied first; without one the log goes to standard error.
 * @throws {NodeJS.ErrnoException} when the file cannot be opened.
 */
export function createLogrusLogger(level: LogrusLevel, file: string | undefined): Logger {
  const output = file === undefined ? standardError() : fileOutput(file);
  return createLogger(
    { level: LEVELS[level], format: "json" },
    { ...output, isTerminal: false, write: (line) => output.write(formatLogrus(JSON.parse(line))) },
  );
}

/**
 * Writes an entry of hostd's log as logrus does: time, level and message, then the fields in the order of their names.
 */
export function formatLogrus(entry: Readonly<Record<string, unknown>>): string {
  const { level, time, msg = "" } = entry;
  const fields = Object.keys(entry)
    .filter((name) => !OMITTED.includes(name))
    .sort()
    .map((name) => `${name === "err" ? "error" : name}=${formatValue(entry[name])}`);
  return `${[
    `time=${goQuote(localTime(new Date(String(time))))}`,
    `level=${level === "warn" ? "warning" : level}`,
    `msg=${formatValue(msg)}`,
    ...fields,
  ].join(" ")}\n`;
}

function formatValue(value: unknown): string {
  const text =
    typeof value === "string"
      ? value
      : typeof value === "object" && value !== null && "message" in value
        ? String(value.message)
        : JSON.stringify(value);
  return /^[a-zA-Z0-9\-._/@^+]*$/.test(text) ? text : goQuote(text);
}

/** The local time in RFC 3339, to the second. */
function localTime(time: Date): string {
  const offset = -time.getTimezoneOffset();
  const local = new Date(time.getTime() + offset * 60_000).toISOString().slice(0, 19);
  if (offset === 0) return `${local}Z`;
  const two = (number: number) => String(Math.floor(number)).padStart(2, "0");
  const size = Math.abs(offset);
  return `${local}${offset < 0 ? "-" : "+"}${two(size / 60)}:${two(size % 60)}`;
}

/** A file is written to at once, so that no line is lost when the process is killed. */
function fileOutput(path: string): LogOutput {
  const descriptor = openSync(path, "w", 0o666);
  return {
    isTerminal: false,
    hasColors: false,
    write: (line) => {
      try {
        writeSync(descriptor, line);
      } catch {
        // A full disk is no reason to cut the VM off, and there is nowhere else to say it.
      }
    },
  };
}
