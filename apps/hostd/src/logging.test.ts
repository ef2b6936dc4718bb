import { describe, expect, it } from "vitest";
import { createLogger, type LogOutput } from "./logging.ts";

/** An output that keeps what is written to it. */
function keepingOutput(isTerminal: boolean, hasColors = false): LogOutput & { readonly lines: string[] } {
  const lines: string[] = [];
  return { isTerminal, hasColors, lines, write: (line) => void lines.push(line) };
}

const TIME = /\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z/;

describe("the log", () => {
  it("is JSON where nobody reads along", () => {
    const output = keepingOutput(false);
    createLogger({ level: "info", format: "auto" }, output).info({ flows: 3 }, "started");
    expect(output.lines).toHaveLength(1);
    expect(JSON.parse(output.lines[0])).toEqual({
      level: "info",
      time: expect.stringMatching(TIME),
      pid: process.pid,
      flows: 3,
      msg: "started",
    });
  });

  it("is for people on a terminal", () => {
    const output = keepingOutput(true);
    createLogger({ level: "info", format: "auto" }, output).warn({ flows: 3 }, "slow");
    expect(output.lines.map((line) => line.replace(TIME, "TIME"))).toEqual(['[TIME] WARN: slow {"flows":3}\n']);
  });

  it("has colors only where the terminal has", () => {
    const output = keepingOutput(true, true);
    createLogger({ level: "info", format: "auto" }, output).info("started");
    expect(output.lines[0]).toContain("\u001b[32mINFO\u001b[39m");
  });

  it("is written as asked, whatever reads it", () => {
    const terminal = keepingOutput(true);
    createLogger({ level: "info", format: "json" }, terminal).info("a");
    expect(JSON.parse(terminal.lines[0])).toMatchObject({ level: "info", msg: "a" });
    const pipe = keepingOutput(false);
    createLogger({ level: "info", format: "pretty" }, pipe).info("a");
    expect(pipe.lines[0].replace(TIME, "TIME")).toBe("[TIME] INFO: a\n");
  });

  it("holds what is at least as important as its level", () => {
    const output = keepingOutput(false);
    const logger = createLogger({ level: "warn", format: "json" }, output);
    logger.info("no");
    logger.warn("yes");
    logger.fatal("yes");
    expect(output.lines.map((line) => JSON.parse(line).level)).toEqual(["warn", "fatal"]);
  });

  it("is empty when it is silent", () => {
    const output = keepingOutput(false);
    createLogger({ level: "silent", format: "json" }, output).fatal("no");
    expect(output.lines).toEqual([]);
  });

  it("carries an error with its stack", () => {
    const output = keepingOutput(false);
    createLogger({ level: "info", format: "json" }, output).error({ err: new Error("broken") }, "failed");
    expect(JSON.parse(output.lines[0])).toMatchObject({
      msg: "failed",
      err: { message: "broken", stack: expect.stringContaining("logging.test.ts") },
    });
  });
});
