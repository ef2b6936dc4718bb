import { describe, expect, it } from "vitest";
import { GoFlagError, goUsage, parseGoFlags } from "./go-flags.ts";

const FLAGS = {
  debug: { kind: "bool", usage: "Log everything" },
  listen: { kind: "list", usage: "Where to listen" },
  mtu: { kind: "int", usage: "The MTU", default: 1500 },
  "pid-file": { kind: "string", usage: "The file" },
} as const;

const parse = (...args: string[]) => parseGoFlags(FLAGS, args);

/** What is wrong with a command line. */
function fault(...args: string[]): string {
  try {
    return `accepted: ${JSON.stringify(parse(...args))}`;
  } catch (error) {
    if (error instanceof GoFlagError) return error.message;
    throw error;
  }
}

describe("parseGoFlags", () => {
  it("takes one dash or two, and the value behind a space or an equals sign", () => {
    const expected = { "pid-file": "/run/pid" };
    expect(parse("-pid-file", "/run/pid")).toEqual(expected);
    expect(parse("--pid-file", "/run/pid")).toEqual(expected);
    expect(parse("-pid-file=/run/pid")).toEqual(expected);
    expect(parse("--pid-file=/run/pid")).toEqual(expected);
  });

  it("takes everything behind the first equals sign, and the next argument whatever it looks like", () => {
    expect(parse("-pid-file=a=b\nc")).toEqual({ "pid-file": "a=b\nc" });
    expect(parse("-pid-file=", "-mtu", "-5")).toEqual({ "pid-file": "", mtu: -5 });
    expect(parse("-pid-file", "-debug")).toEqual({ "pid-file": "-debug" });
  });

  it("keeps the last value of a flag, and all of one that may be repeated", () => {
    expect(parse("-mtu", "1", "-listen", "a", "-mtu", "2", "--listen=b")).toEqual({ mtu: 2, listen: ["a", "b"] });
  });

  it("takes the value of a boolean behind an equals sign only", () => {
    expect(parse("-debug")).toEqual({ debug: true });
    expect(parse("-debug", "false", "-mtu", "1")).toEqual({ debug: true });
    for (const text of ["1", "t", "T", "true", "TRUE", "True"])
      expect(parse(`-debug=${text}`)).toEqual({ debug: true });
    for (const text of ["0", "f", "F", "false", "FALSE", "False"])
      expect(parse(`-debug=${text}`)).toEqual({ debug: false });
  });

  it.each([["word"], ["-"], ["--"], [""]])("leaves what is behind %j alone", (stop) => {
    expect(parse("-mtu", "1", stop, "-nope")).toEqual({ mtu: 1 });
  });

  // What Go's strconv.ParseInt takes in base 0.
  it.each([
    ["0", 0],
    ["00", 0],
    ["017", 15],
    ["0o17", 15],
    ["0_7", 7],
    ["0x1F", 31],
    ["0x_f", 15],
    ["0B11", 3],
    ["1_500", 1500],
    ["+5", 5],
    ["-0x10", -16],
    ["-9223372036854775808", -(2 ** 63)],
  ])("reads the number %s", (text, value) => {
    expect(parse("-mtu", text)).toEqual({ mtu: value });
  });

  it.each(["", "x", "08", "1__0", "_1", "1_", "0x", "1e3", "1.5", "--1", " 5", "5 "])(
    "does not take %j for a number",
    (text) => {
      expect(fault("-mtu", text)).toBe(`invalid value ${JSON.stringify(text)} for flag -mtu: parse error`);
    },
  );

  it("says what is wrong in Go's words", () => {
    expect(fault("-mtu", "9223372036854775808")).toBe(
      'invalid value "9223372036854775808" for flag -mtu: value out of range',
    );
    expect(fault("-nope=5")).toBe("flag provided but not defined: -nope");
    expect(fault("-toString")).toBe("flag provided but not defined: -toString");
    expect(fault("-mtu", "1", "-mtu")).toBe("flag needs an argument: -mtu");
    expect(fault("-debug=yes")).toBe('invalid boolean value "yes" for -debug: parse error');
    expect(fault("-debug=")).toBe('invalid boolean value "" for -debug: parse error');
    expect(fault("---mtu")).toBe("bad flag syntax: ---mtu");
    expect(fault("-=5")).toBe("bad flag syntax: -=5");
    expect(fault('-mtu=a"b')).toBe('invalid value "a\\"b" for flag -mtu: parse error');
  });

  it.each(["-h", "--help", "-help=5"])("is asked for help by %s", (flag) => {
    expect(parse(flag, "-nope")).toBe("help");
  });
});

describe("goUsage", () => {
  it("lists the flags by their names, as Go does", () => {
    expect(goUsage("program", FLAGS)).toBe(
      [
        "Usage of program:",
        "  -debug",
        "    \tLog everything",
        "  -listen value",
        "    \tWhere to listen",
        "  -mtu int",
        "    \tThe MTU (default 1500)",
        "  -pid-file string",
        "    \tThe file",
        "",
      ].join("\n"),
    );
  });
});
