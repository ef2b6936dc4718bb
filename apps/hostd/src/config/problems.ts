/** What is wrong with a configuration, said so that it can be put right: where, which key, what value, what is allowed. */
import { maskProxyUrl } from "@hostd/httpproxy";
import * as z from "zod";
import { expected, valueSchema } from "./key-schema.ts";
import { type KeyPath, keyText, knownKeys, schemaAt, valueAt } from "./keys.ts";
import { nearest } from "./suggest.ts";

/** One thing that is wrong with a configuration. */
export interface ConfigProblem {
  /** The key with dots as it would be written in YAML, such as `dns.zones[0].name`; empty for the whole. */
  readonly key: string;
  /** The value as given; undefined when it is missing. */
  readonly value: unknown;
  /** One line for people: where, the key, the value and what is allowed. */
  readonly message: string;
}

/** A configuration that cannot be used. The message holds one line for each problem. */
export class ConfigError extends Error {
  override readonly name = "ConfigError";
  readonly problems: readonly ConfigProblem[];

  constructor(problems: readonly ConfigProblem[]) {
    super(problems.map((problem) => problem.message).join("\n"));
    this.problems = problems;
  }
}

/** Writes where a value stands and its key, as the start of a message. */
export type Label = (path: KeyPath, key: string) => string;

/** Makes a problem with the value at `path`; `reason` is the rest of the line. */
export function problemAt(label: Label, path: KeyPath, value: unknown, reason: string): ConfigProblem {
  const key = keyText(path);
  return { key, value, message: `${label(path, key)}: ${reason}` };
}

/** Turns what the schema found in `input` into problems. */
export function schemaProblems(error: z.ZodError, input: unknown, label: Label): ConfigProblem[] {
  return error.issues.flatMap((issue) => issueProblems(issue, input, label));
}

/** Writes a value on one line, shortened when it is long. */
export function show(value: unknown): string {
  const text = typeof value === "number" ? String(value) : (JSON.stringify(value) ?? String(value));
  return text.length <= 80 ? text : `${text.slice(0, 77)}...`;
}

function issueProblems(issue: z.core.$ZodIssue, input: unknown, label: Label): ConfigProblem[] {
  const path = issue.path.filter((part) => typeof part !== "symbol");
  const schema = schemaAt(path);
  if (issue.code === "unrecognized_keys") {
    return issue.keys.map((name) => {
      const here = [...path, name];
      const value = withoutSecrets(here, valueAt(input, here));
      return problemAt(label, here, value, unknownKey(schema, path, name));
    });
  }
  if (issue.code === "invalid_key") {
    const name = path.at(-1);
    const parent = valueSchema(schemaAt(path.slice(0, -1)));
    const phrase = parent instanceof z.ZodRecord ? expected(parent.keyType) : "allowed here";
    return [problemAt(label, path, name, isNot(name, phrase, reasonOf(issue.issues[0])))];
  }
  const value = withoutSecrets(path, valueAt(input, path));
  if (value === undefined) return [problemAt(label, path, value, `missing; it must be ${expected(schema)}`)];
  let reason = reasonOf(issue);
  if (issue.code === "too_big" && Array.isArray(value))
    reason = `it has ${value.length} items; ${issue.maximum} is the most`;
  if (issue.code === "invalid_value" && typeof value === "string") {
    const known = nearest(value, issue.values.map(String));
    if (known !== undefined) reason = `did you mean ${JSON.stringify(known)}?`;
  }
  return [problemAt(label, path, value, isNot(value, expected(schema), reason))];
}

/** A value as it may be shown: the URLs of proxies may have passwords in them. */
function withoutSecrets([section]: KeyPath, value: unknown): unknown {
  if (section !== "proxy" || value === undefined) return value;
  return JSON.parse(
    JSON.stringify(value, (_, part: unknown) => (typeof part === "string" ? maskProxyUrl(part) : part)),
  );
}

/** The reason a reader of values gave, if it was one that refused. */
function reasonOf(issue: z.core.$ZodIssue | undefined): string {
  const reason: unknown = issue?.code === "custom" ? issue.params?.reason : undefined;
  return typeof reason === "string" ? reason : "";
}

/** Says that a value is not what `phrase` names, and why. */
export function isNot(value: unknown, phrase: string, reason = ""): string {
  return `${show(value)} is not ${phrase}${reason === "" ? "" : ` (${reason})`}`;
}

function unknownKey(schema: z.core.$ZodType, path: KeyPath, name: string): string {
  const inner = valueSchema(schema);
  const allowed = inner instanceof z.ZodObject ? Object.keys(inner.shape) : [];
  const near = nearest(name, allowed) ?? elsewhere(name);
  const hint = near === undefined ? "" : `; did you mean ${JSON.stringify(near)}?`;
  const where = path.length === 0 ? "at the top level" : `in ${keyText(path)}`;
  return `unknown key${hint === "" ? ";" : hint} allowed ${where}: ${allowed.join(", ")}`;
}

/** A key of the same name that stands in another place. */
function elsewhere(name: string): string | undefined {
  return knownKeys().find(({ names }) => names.at(-1) === name)?.key;
}
