import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { goQuote } from "./go-quote.ts";
import { createLogrusLogger, formatLogrus, readLogrusLevel } from "./logrus.ts";

const TIME = "2026-11-21T21:51:03.123Z";

/** A line without its time. */
const format = (entry: object) => formatLogrus({ level: "info", time: TIME, pid: 1, ...entry }).replace(/^\S+ /, "");

describe("goQuote", () => {
  it("escapes what Go escapes", () => {
    expect(goQuote('plain "text" \\ with é, 漢, 😀')).toBe('"plain \\"text\\" \\\\ with é, 漢, 😀"');
    expect(goQuote("\x07\b\f\n\r\t\v")).toBe('"\\a\\b\\f\\n\\r\\t\\v"');
    expect(goQuote("\x00\x1b\x7f\u0080\u00a0\u200b\u{e0001}")).toBe(
      '"\\x00\\x1b\\x7f\\u0080\\u00a0\\u200b\\U000e0001"',
    );
    expect(goQuote("\ud800")).toBe('"\ufffd"');
  });
});

describe("formatLogrus", () => {
  it("writes time, level and message, and quotes only what needs it", () => {
    expect(format({ msg: "waiting for clients..." })).toBe('level=info msg="waiting for clients..."\n');
    expect(format({ msg: "closed" })).toBe("level=info msg=closed\n");
    expect(format({ msg: "" })).toBe("level=info msg=\n");
    expect(format({ level: "warn", msg: "a=b" })).toBe('level=warning msg="a=b"\n');
    expect(format({ level: "fatal", msg: "one\ntwo" })).toBe('level=fatal msg="one\\ntwo"\n');
  });

  it("writes the fields by their names", () => {
    expect(
      format({ msg: "m", vm: "unix:///a b", count: 5, address: "10.0.0.1", list: ["a"], none: null, yes: true }),
    ).toBe('level=info msg=m address=10.0.0.1 count=5 list="[\\"a\\"]" none=null vm="unix:///a b" yes=true\n');
    expect(format({ msg: "m", err: { type: "Error", message: "no room", stack: "..." } })).toBe(
      'level=info msg=m error="no room"\n',
    );
  });

  describe("in a time zone", () => {
    const zone = process.env.TZ;
    afterEach(() => {
      if (zone === undefined) delete process.env.TZ;
      else process.env.TZ = zone;
    });

    it.each([
      ["UTC", "2026-11-21T21:51:03Z"],
      ["Asia/Kolkata", "2026-11-22T03:21:03+05:30"],
      ["America/St_Johns", "2026-11-21T18:21:03-03:30"],
    ])("writes the time of %s in RFC 3339", (name, time) => {
      process.env.TZ = name;
      expect(formatLogrus({ level: "info", time: TIME, msg: "m" })).toBe(`time="${time}" level=info msg=m\n`);
    });
  });
});

describe("createLogrusLogger", () => {
  let folder: string;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), "hostd-logrus-"));
  });
  afterEach(() => {
    rmSync(folder, { recursive: true });
  });

  it("empties its file first, and writes every line at once", () => {
    const file = join(folder, "log");
    writeFileSync(file, "of the last run");
    const logger = createLogrusLogger("info", file);
    expect(readFileSync(file, "utf8")).toBe("");
    logger.debug("not this");
    logger.warn({ vm: "one" }, "careful");
    expect(readFileSync(file, "utf8")).toMatch(/^time="[^"]+" level=warning msg=careful vm=one\n$/);
  });

  it("writes nothing below its level", () => {
    const file = join(folder, "log");
    const logger = createLogrusLogger("warning", file);
    logger.info("not this");
    logger.error("this");
    expect(readFileSync(file, "utf8")).toMatch(/^time="[^"]+" level=error msg=this\n$/);
  });

  it("throws when its file cannot be opened", () => {
    expect(() => createLogrusLogger("info", join(folder, "no", "log"))).toThrow(/ENOENT/);
  });
});

describe("readLogrusLevel", () => {
  it("takes the names of logrus in whatever case, and no others", () => {
    for (const name of ["panic", "fatal", "error", "warn", "warning", "info", "debug", "trace"]) {
      expect(readLogrusLevel(name)).toBe(name);
      expect(readLogrusLevel(name.toUpperCase())).toBe(name);
    }
    expect(readLogrusLevel("silent")).toBeUndefined();
    expect(readLogrusLevel("toString")).toBeUndefined();
  });
});
