/** JSON as Go's encoding/json reads it into types and writes it, with its words for what does not fit. */
import { firstGoJson, GoJsonError } from "./go-json-syntax.ts";

/** What a JSON value is read into. */
export interface GoType<Value> {
  /** How Go calls the type. */
  readonly name: string;
  /** What holds where nothing is given. */
  readonly zero: Value;
  /**
   * Reads a value.
   *
   * @param before - what was there: it stays where the value is `null` or of another kind.
   * @throws {GoJsonError} when a text is none of the type: nothing more is read then.
   */
  read(json: unknown, place: GoPlace, before: Value): Value;
}

/** Where in the whole a value stands. */
export interface GoPlace {
  /** Notes that a value is of another kind; the first one is told, once everything has been read. */
  mismatch(kind: string, type: string): void;
  field(struct: string, name: string): GoPlace;
}

/** Go's `string`, or a type made of it. */
export function goString(name = "string"): GoType<string> {
  return {
    name,
    zero: "",
    read: (json, place, before) => {
      if (typeof json === "string") return json.toWellFormed();
      if (json !== null) place.mismatch(kindOf(json), name);
      return before;
    },
  };
}

/** Go's `uint16`. */
export const goUint16: GoType<number> = {
  name: "uint16",
  zero: 0,
  read: (json, place, before) => {
    if (typeof json === "number" && Number.isInteger(json) && json >= 0 && json <= 0xffff) return json;
    if (json !== null) place.mismatch(typeof json === "number" ? `number ${json}` : kindOf(json), "uint16");
    return before;
  },
};

/**
 * A type that reads itself from a text.
 *
 * @param parse - throws a GoJsonError for a text that does not fit.
 */
export function goText<Value>(name: string, zero: Value, parse: (text: string) => Value): GoType<Value> {
  return {
    name,
    zero,
    read: (json, place, before) => {
      if (json === null) return zero;
      if (typeof json === "string") return parse(json.toWellFormed());
      place.mismatch(kindOf(json), name);
      return before;
    },
  };
}

/** A list; nil where nothing is given. */
export function goSlice<Item>(item: GoType<Item>): GoType<readonly Item[] | null> {
  const name = `[]${item.name}`;
  return {
    name,
    zero: null,
    read: (json, place, before) => {
      if (json === null) return null;
      if (Array.isArray(json)) return json.map((each: unknown) => item.read(each, place, item.zero));
      place.mismatch(kindOf(json), name);
      return before;
    },
  };
}

/**
 * A struct. A key of the JSON is that of a field in any case; others are left alone.
 *
 * @param name - how Go calls it, with its package.
 */
export function goStruct<Fields extends Readonly<Record<string, unknown>>>(
  name: string,
  fields: { readonly [Name in keyof Fields]: GoType<Fields[Name]> },
): GoType<Fields> {
  const names = new Map(Object.keys(fields).map((field) => [fold(field), field]));
  const zero = Object.fromEntries(Object.entries(fields).map(([field, { zero }]) => [field, zero])) as Fields;
  const struct = name.slice(name.indexOf(".") + 1);
  return {
    name,
    zero,
    read: (json, place, before) => {
      if (typeof json !== "object" || json === null || Array.isArray(json)) {
        if (json !== null) place.mismatch(kindOf(json), name);
        return before;
      }
      const value: { -readonly [Name in keyof Fields]: Fields[Name] } = { ...before };
      for (const [key, given] of Object.entries(json)) {
        const field: keyof Fields | undefined = names.get(fold(key));
        if (field === undefined) continue;
        value[field] = fields[field].read(given, place.field(struct, String(field)), value[field]);
      }
      return value;
    },
  };
}

/**
 * Reads the first JSON value of a body.
 *
 * @throws {GoJsonError} in Go's words.
 */
export function readGoJson<Value>(type: GoType<Value>, body: Buffer): Value {
  const json: unknown = JSON.parse(firstGoJson(body.toString("latin1")));
  const mismatches: string[] = [];
  const placeAt = (struct: string, path: readonly string[]): GoPlace => ({
    mismatch(kind, name) {
      const where = path.length === 0 ? "value" : `struct field ${struct}.${path.join(".")}`;
      mismatches.push(`json: cannot unmarshal ${kind} into Go ${where} of type ${name}`);
    },
    field: (inner, name) => placeAt(inner, [...path, name]),
  });
  const value = type.read(json, placeAt("", []), type.zero);
  if (mismatches.length > 0) throw new GoJsonError(mismatches[0]);
  return value;
}

/** Writes JSON as Go's encoder does: what HTML gives a meaning is escaped, and a line ends behind it. */
export function writeGoJson(value: unknown): string {
  const escaped = JSON.stringify(value).replace(
    /[<>&\u2028\u2029]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
  return `${escaped}\n`;
}

/** Sorts the keys of an object and of those in it, as Go writes a map. */
export function sortedKeys(value: unknown): unknown {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return value;
  const entries = Object.entries(value).map(([key, inner]): [string, unknown] => [key, sortedKeys(inner)]);
  return Object.fromEntries(entries.sort(([one], [other]) => (one < other ? -1 : 1)));
}

/** The names by which Go calls the kinds of JSON values. */
function kindOf(json: unknown): string {
  if (Array.isArray(json)) return "array";
  return typeof json === "boolean" ? "bool" : typeof json;
}

/** Keys are compared without regard to case; two letters outside of ASCII are the same as one in it then. */
function fold(key: string): string {
  return key.toLowerCase().replaceAll("\u017f", "s");
}
