/** The flags that set keys of the configuration, read off the schema, and the layer of settings they make. */
import * as z from "zod";
import { type KeyFlag, valueSchema } from "./key-schema.ts";
import { type KeyPath, knownKeys } from "./keys.ts";
import { type ConfigProblem, isNot, type Label, problemAt } from "./problems.ts";
import type { ConfigLayer } from "./resolve.ts";
import { ValueError } from "./values.ts";

/** A flag that sets a key. */
export interface ConfigFlag {
  /** The key, such as `dns.servers`. */
  readonly key: string;
  readonly path: readonly string[];
  /** As commander takes it: `--dns-server <address>`. */
  readonly flags: string;
  /** The flag alone, in its long form: `--dns-server`. */
  readonly name: string;
  readonly group: string;
  readonly description: string;
  readonly default: string | undefined;
  /** The values of a key that takes words or numbers of a small choice, or the form of what it takes. */
  readonly allowed: string | undefined;
  /** The words of a key that takes one of a few; none for any other. */
  readonly choices: readonly string[];
  /** Whether the key holds a list, so that the flag may be repeated. */
  readonly repeatable: boolean;
  /** Whether the key holds a number, so that digits are read as one. */
  readonly numeric: boolean;
  /** How an item of the list is written, where that is not as in the file. */
  readonly item: KeyFlag["item"];
}

/** Every flag that sets a key, in the order of the schema. */
export function configFlags(): ConfigFlag[] {
  return knownKeys().flatMap(({ key, names, schema, doc }) => {
    if (doc.flag === undefined) return [];
    const value = valueSchema(schema);
    return {
      key,
      path: names,
      flags: doc.flag.flags,
      name: doc.flag.flags.slice(doc.flag.flags.indexOf("--")).split(" ")[0],
      group: doc.flag.group,
      description: doc.description,
      default: doc.default,
      allowed: doc.flag.item?.form ?? allowedValues(value),
      choices: value instanceof z.ZodEnum ? value.options.map(String) : [],
      repeatable: value instanceof z.ZodArray,
      numeric: value instanceof z.ZodNumber,
      item: doc.flag.item,
    };
  });
}

function allowedValues(schema: z.core.$ZodType): string | undefined {
  if (schema instanceof z.ZodEnum) return schema.options.join(", ");
  if (schema instanceof z.ZodNumber) return `${schema.minValue} to ${schema.maxValue}`;
  return undefined;
}

/**
 * The settings given by flags, as a layer. Messages name the flag and the key it sets.
 *
 * @param given the text of each flag by its name (`--mtu`); a list for one that may be repeated.
 */
export function flagLayer(flags: readonly ConfigFlag[], given: ReadonlyMap<string, unknown>): ConfigLayer {
  const input: Record<string, unknown> = {};
  const problems: ConfigProblem[] = [];
  const label: Label = (path, key) => {
    const flag = flags.find((candidate) => startsWith(path, candidate.path));
    return flag === undefined ? key : `${flag.name} (${key})`;
  };
  for (const { name, path, numeric, item } of flags) {
    const written = given.get(name);
    if (written === undefined) continue;
    if (item !== undefined && Array.isArray(written)) {
      const refuse = (index: number, reason: string) =>
        problems.push(problemAt(label, [...path, index], written[index], reason));
      setAt(input, path, readItems(written, item, refuse));
      continue;
    }
    const value = numeric && typeof written === "string" && /^[+-]?\d+$/.test(written) ? Number(written) : written;
    setAt(input, path, value);
  }
  return { input, problems, base: process.cwd(), label };
}

/** What the file would say for the items of a flag, without those that are refused. */
function readItems(
  written: readonly unknown[],
  item: NonNullable<KeyFlag["item"]>,
  refuse: (index: number, reason: string) => void,
): unknown[] {
  return written.flatMap((each, index) => {
    try {
      return [item.read(String(each))];
    } catch (error) {
      if (!(error instanceof ValueError)) throw error;
      refuse(index, isNot(each, `${item.form} such as ${item.example}`, error.message));
      return [];
    }
  });
}

function setAt(target: Record<string, unknown>, [name, ...rest]: readonly string[], value: unknown): void {
  if (rest.length === 0) {
    target[name] = value;
    return;
  }
  const inner: Record<string, unknown> = {};
  const existing = target[name];
  target[name] = typeof existing === "object" && existing !== null ? Object.assign(inner, existing) : inner;
  setAt(inner, rest, value);
}

function startsWith(path: KeyPath, start: KeyPath): boolean {
  return start.every((part, index) => path[index] === part);
}
