/** Keys by their path: the tree of the schema walked, and paths written as people read them. */
import * as z from "zod";
import { type KeyDoc, keyDoc, valueSchema } from "./key-schema.ts";
import { settingsSchema } from "./schema.ts";

/** The way to a value: names of keys and positions in lists. */
export type KeyPath = readonly (string | number)[];

/** A key the schema knows. */
export interface KnownKey {
  /** The key with dots; `[]` stands for any position in a list. */
  readonly key: string;
  /** The names that lead there, without positions. */
  readonly names: readonly string[];
  readonly schema: z.core.$ZodType;
  readonly doc: KeyDoc;
}

/** Every key of the configuration, in the order of the schema, a section in front of its keys. */
export function knownKeys(): KnownKey[] {
  return keysOf(settingsSchema, "", []);
}

function keysOf(schema: z.core.$ZodType, prefix: string, names: readonly string[]): KnownKey[] {
  const inner = valueSchema(schema);
  if (inner instanceof z.ZodArray) return keysOf(inner.element, `${prefix}[]`, names);
  if (!(inner instanceof z.ZodObject)) return [];
  return Object.entries(inner.shape).flatMap(([name, value]: [string, z.core.$ZodType]) => {
    const doc = keyDoc(value);
    if (doc === undefined) throw new Error(`the key ${name} is not described`);
    const key = prefix === "" ? name : `${prefix}.${name}`;
    const here = [...names, name];
    return [{ key, names: here, schema: value, doc }, ...keysOf(value, key, here)];
  });
}

/** The schema of the value at `path`, or of the nearest thing above it that the schema knows. */
export function schemaAt(path: KeyPath): z.core.$ZodType {
  let schema: z.core.$ZodType = settingsSchema;
  for (const part of path) {
    const inner = valueSchema(schema);
    let next: z.core.$ZodType | undefined;
    if (inner instanceof z.ZodObject) next = inner.shape[part];
    else if (inner instanceof z.ZodArray) next = inner.element;
    else if (inner instanceof z.ZodRecord) next = inner.valueType;
    if (next === undefined) return schema;
    schema = next;
  }
  return schema;
}

/** The value at `path` in plain data, or undefined. */
export function valueAt(data: unknown, path: KeyPath): unknown {
  let value = data;
  for (const part of path) {
    if (typeof value !== "object" || value === null || !Object.hasOwn(value, part)) return undefined;
    value = Reflect.get(value, part);
  }
  return value;
}

/** Writes a path as it is read in YAML, with dots between names and positions in brackets. */
export function keyText(path: KeyPath): string {
  let text = "";
  for (const part of path) {
    if (typeof part === "number") text += `[${part}]`;
    else if (/^[\w:@-]+$/.test(part)) text += text === "" ? part : `.${part}`;
    else text += `[${JSON.stringify(part)}]`;
  }
  return text;
}
