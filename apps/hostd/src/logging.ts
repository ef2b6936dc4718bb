/** The log: one line a message, for people on a terminal and as JSON elsewhere. */
import { createRequire } from "node:module";
import pino, { type Logger } from "pino";
import type { HostdConfig } from "./config/resolve.ts";

export type { Logger } from "pino";

/** Where log lines go. */
export interface LogOutput {
  /** Whether a person reads there. */
  readonly isTerminal: boolean;
  readonly hasColors: boolean;
  write(line: string): void;
}

/** Standard error. Lines are written at once, so that none is lost when the process ends, and a closed pipe is ignored. */
export function standardError(): LogOutput {
  const { fd, isTTY } = process.stderr;
  const destination = pino.destination({ fd, sync: true });
  return {
    isTerminal: isTTY === true,
    hasColors: isTTY === true && process.stderr.hasColors(),
    write: (line) => void destination.write(line),
  };
}

/** Makes the logger that the `log` section of the configuration describes. */
export function createLogger(settings: HostdConfig["log"], output: LogOutput = standardError()): Logger {
  const pretty = settings.format === "pretty" || (settings.format === "auto" && output.isTerminal);
  return pino(
    {
      level: settings.level,
      base: pretty ? null : { pid: process.pid },
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
    },
    pretty ? prettyOutput(output) : output,
  );
}

function prettyOutput(output: LogOutput): { write(line: string): void } {
  // `require` because callers are synchronous, and a daemon that logs to a file or a pipe needs none of it.
  const { prettyFactory } = createRequire(import.meta.url)("pino-pretty") as typeof import("pino-pretty");
  const format = prettyFactory({
    colorize: output.hasColors,
    // The time as it is written, ISO 8601.
    translateTime: false,
    singleLine: true,
  });
  return { write: (line) => output.write(format(line)) };
}
