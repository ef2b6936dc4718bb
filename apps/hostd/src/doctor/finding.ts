/** What `hostd doctor` has found. */

/** What is well, what may be in somebody's way, and what does not work. */
export type Status = "ok" | "warning" | "failure";

/** One thing that was looked at. */
export interface Finding {
  /** What it is, in a word or two. */
  readonly name: string;
  readonly status: Status;
  /** What was seen, in a sentence. */
  readonly seen: string;
  /** What to do about it, in a sentence. */
  readonly advice?: string;
}

export function ok(name: string, seen: string, advice?: string): Finding {
  return { name, status: "ok", seen, ...(advice === undefined ? {} : { advice }) };
}

export function warning(name: string, seen: string, advice: string): Finding {
  return { name, status: "warning", seen, advice };
}

export function failure(name: string, seen: string, advice: string): Finding {
  return { name, status: "failure", seen, advice };
}

/** What an error says; that of several addresses says nothing itself. */
export function messageOf(error: unknown): string {
  if (error instanceof AggregateError) return error.errors.map(messageOf).join(", ");
  return error instanceof Error ? error.message : String(error);
}

/** The name of a system's error, such as `ENOENT`; empty when it is another. */
export function codeOf(error: unknown): string {
  if (error instanceof AggregateError) return codeOf(error.errors[0]);
  return error instanceof Error && "code" in error ? String(error.code) : "";
}
