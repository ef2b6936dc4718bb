/** What the schema is made of: values as they are written, each with what messages and pages say of it. */
import * as z from "zod";
import { ValueError } from "./values.ts";

/** The flag of `hostd up` that sets a key. */
export interface KeyFlag {
  /** As commander takes it, `--name <value>`. A key that holds a list has a flag that may be repeated. */
  readonly flags: string;
  /** The heading under which `--help` lists it. */
  readonly group: string;
  /** How the flag writes an item of a list that the file writes as a mapping. */
  readonly item?: {
    /** The form of an item, fit to follow "is not". */
    readonly form: string;
    readonly example: string;
    /**
     * Reads an item into what the file would say.
     *
     * @throws {ValueError} with the reason.
     */
    readonly read: (text: string) => unknown;
  };
}

/** What is written about a key beside its type. */
export interface KeyDoc {
  /** What the key means: a sentence without a full stop, since `--help` appends the default. */
  readonly description: string;
  /** What holds when the key is not given, in words or as a value; missing where the key is required. */
  readonly default?: string;
  readonly flag?: KeyFlag;
}

const docs = z.registry<KeyDoc>();
const expectations = z.registry<{ readonly expected: string }>();

/** What is written about the key whose value `schema` describes. */
export function keyDoc(schema: z.core.$ZodType): KeyDoc | undefined {
  return docs.get(schema);
}

/** A noun phrase for the values that `schema` takes, fit to follow "is not". */
export function expected(schema: z.core.$ZodType): string {
  const inner = valueSchema(schema);
  if (inner instanceof z.ZodObject) return `a mapping with the keys ${Object.keys(inner.shape).join(", ")}`;
  if (inner instanceof z.ZodArray) return `a list in which each item is ${expected(inner.element)}`;
  return expectations.get(inner)?.expected ?? "allowed here";
}

/** The schema of the value itself, without the wrapper that makes a key optional. */
export function valueSchema(schema: z.core.$ZodType): z.core.$ZodType {
  return schema instanceof z.ZodOptional ? valueSchema(schema.unwrap()) : schema;
}

export function expecting<S extends z.core.$ZodType>(phrase: string, schema: S): S {
  expectations.add(schema, { expected: phrase });
  return schema;
}

/** A value written as text, read by one of the readers of `values.ts`, `endpoint.ts` and `forward.ts`. */
export function text<T>(phrase: string, read: (text: string) => T) {
  return reading(z.string(), phrase, read);
}

/** The same where a number alone may be meant, which YAML does not read as text. */
export function textOrNumber<T>(phrase: string, read: (text: string) => T) {
  return reading(z.union([z.string(), z.number()]), phrase, read);
}

function reading<W extends string | number, T>(source: z.ZodType<W, W>, phrase: string, read: (text: string) => T) {
  const schema = source.transform((written, context): T => {
    try {
      return read(String(written));
    } catch (error) {
      if (!(error instanceof ValueError)) throw error;
      // The reason travels as a parameter, since zod puts words of its own in the place of an empty message.
      context.issues.push({ code: "custom", params: { reason: error.message }, input: written });
      return z.NEVER;
    }
  });
  return expecting(phrase, schema);
}

export function integer(min: number, max: number, unit = "") {
  return expecting(`a whole number ${unit}from ${min} to ${max}`, z.int().min(min).max(max));
}

export function oneOf<const T extends readonly string[]>(values: T) {
  return expecting(values.length === 1 ? values[0] : `one of ${values.join(", ")}`, z.enum(values));
}

export function key<S extends z.core.$ZodType>(schema: S, doc: KeyDoc) {
  const optional = z.optional(schema);
  docs.add(optional, doc);
  return optional;
}

export function requiredKey<S extends z.core.$ZodType>(schema: S, doc: KeyDoc): S {
  docs.add(schema, doc);
  return schema;
}
