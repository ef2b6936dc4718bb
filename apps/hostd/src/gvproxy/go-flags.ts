/** Command lines in the syntax of Go's package `flag`, with its words for what is wrong. */
import { goQuote } from "./go-quote.ts";

/** A flag. One of kind `list` may be repeated; of the others the last one given holds. */
export interface GoFlag {
  readonly kind: "bool" | "int" | "string" | "list";
  /** What it is for, on one line. */
  readonly usage: string;
  /** What the usage says holds without it. */
  readonly default?: number;
}

interface Kinds {
  readonly bool: boolean;
  readonly int: number;
  readonly string: string;
  readonly list: readonly string[];
}

/** What was given, by the names of the flags. */
export type GoFlagValues<Flags extends Readonly<Record<string, GoFlag>>> = {
  readonly [Name in keyof Flags]?: Kinds[Flags[Name]["kind"]];
};

/** A command line that does not fit, in Go's words. */
export class GoFlagError extends Error {
  override readonly name = "GoFlagError";
}

const TRUE = ["1", "t", "T", "true", "TRUE", "True"];
const FALSE = ["0", "f", "F", "false", "FALSE", "False"];

/** An integer literal of Go in base 2, 8, 10 or 16; an underscore may stand between digits. */
const INTEGER =
  /^([+-]?)(?:0[xX](?<hex>(?:_?[0-9a-fA-F])+)|0[bB](?<binary>(?:_?[01])+)|0[oO]?(?<octal>(?:_?[0-7])+)|(?<decimal>0|[1-9](?:_?[0-9])*))$/;

/**
 * Reads a command line: `-name value`, `--name value` or `-name=value`, in front of anything else; what is behind the
 * first argument that is no flag, or behind `--`, is left alone. A flag of kind `bool` takes its value with `=` only.
 *
 * @returns "help" when that was asked for with `-h` or `-help`.
 * @throws {GoFlagError} for the first thing that is wrong.
 */
export function parseGoFlags<Flags extends Readonly<Record<string, GoFlag>>>(
  flags: Flags,
  args: readonly string[],
): GoFlagValues<Flags> | "help" {
  const values: Record<string, unknown> = {};
  for (let index = 0; index < args.length; index++) {
    const arg = args[index];
    if (arg.length < 2 || !arg.startsWith("-") || arg === "--") break;
    const text = arg.slice(arg.startsWith("--") ? 2 : 1);
    if (text.startsWith("-") || text.startsWith("=")) throw new GoFlagError(`bad flag syntax: ${arg}`);
    const [, name, given] = /^([^=]*)(?:=(.*))?$/s.exec(text) ?? [];
    if (!Object.hasOwn(flags, name)) {
      if (name === "help" || name === "h") return "help";
      throw new GoFlagError(`flag provided but not defined: -${name}`);
    }
    const { kind } = flags[name];
    if (kind === "bool") {
      values[name] = given === undefined || readBoolean(name, given);
      continue;
    }
    const value = given ?? args[++index];
    if (value === undefined) throw new GoFlagError(`flag needs an argument: -${name}`);
    if (kind === "list") values[name] = [...((values[name] as string[] | undefined) ?? []), value];
    else values[name] = kind === "int" ? readInteger(name, value) : value;
  }
  // Every value is what the kind of its flag says.
  return values as GoFlagValues<Flags>;
}

/** The text by which Go's package `flag` lists the flags of a program. */
export function goUsage(program: string, flags: Readonly<Record<string, GoFlag>>): string {
  const lines = Object.keys(flags)
    .sort()
    .flatMap((name) => {
      const { kind, usage, default: value } = flags[name];
      const type = kind === "bool" ? "" : kind === "list" ? " value" : ` ${kind}`;
      return [`  -${name}${type}`, `    \t${usage}${value === undefined ? "" : ` (default ${value})`}`];
    });
  return `${[`Usage of ${program}:`, ...lines].join("\n")}\n`;
}

function readBoolean(name: string, text: string): boolean {
  if (TRUE.includes(text)) return true;
  if (FALSE.includes(text)) return false;
  throw new GoFlagError(`invalid boolean value ${goQuote(text)} for -${name}: parse error`);
}

function readInteger(name: string, text: string): number {
  const invalid = (reason: string) => new GoFlagError(`invalid value ${goQuote(text)} for flag -${name}: ${reason}`);
  const match = INTEGER.exec(text);
  if (match === null) throw invalid("parse error");
  const { hex, binary, octal, decimal } = match.groups ?? {};
  const digits = hex ? `0x${hex}` : binary ? `0b${binary}` : octal ? `0o${octal}` : decimal;
  const size = BigInt(digits.replaceAll("_", ""));
  const value = match[1] === "-" ? -size : size;
  if (value !== BigInt.asIntN(64, value)) throw invalid("value out of range");
  return Number(value);
}
