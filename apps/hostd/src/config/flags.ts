/** The flags that set keys of the configuration, read off the schema, and the layer of settings they make. */
import * as z from "zod";
import { type KeyPath, knownKeys } from "./keys.ts";
import type { ConfigLayer } from "./resolve.ts";
import { valueSchema } from "./schema.ts";

/** A flag that sets a key. */
export interface ConfigFlag {
  /** The key, such as `dns.servers`. */
  readonly key: string;
  readonly path: readonly string[];
  /** As commander takes it: `--dns-server <address>`. */
  readonly flags: string;
  /** The flag alone: `--dns-server`. */
  readonly name: string;
  readonly group: string;
  readonly description: string;
  readonly default: string | undefined;
  /** The values of a key that takes words or numbers of a small choice. */
  readonly allowed: string | undefined;
  /** Whether the key holds a list, so that the flag may be repeated. */
  readonly repeatable: boolean;
  /** Whether the key holds a number, so that digits are read as one. */
  readonly numeric: boolean;
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
      name: doc.flag.flags.split(" ")[0],
      group: doc.flag.group,
      description: doc.description,
      default: doc.default,
      allowed: allowedValues(value),
      repeatable: value instanceof z.ZodArray,
      numeric: value instanceof z.ZodNumber,
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
  for (const { name, path, numeric } of flags) {
    const written = given.get(name);
    if (written === undefined) continue;
    const value = numeric && typeof written === "string" && /^[+-]?\d+$/.test(written) ? Number(written) : written;
    setAt(input, path, value);
  }
  return {
    input,
    base: process.cwd(),
    label: (path, key) => {
      const flag = flags.find((candidate) => startsWith(path, candidate.path));
      return flag === undefined ? key : `${flag.name} (${key})`;
    },
  };
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
