/** What commands write to standard output. */

export function printLines(lines: readonly string[]): void {
  process.stdout.write(lines.map((line) => `${line}\n`).join(""));
}

/** What the control API said, as JSON to be read. */
export function jsonLines(value: unknown): string[] {
  return JSON.stringify(value, null, 2).split("\n");
}

/** Prints {@link jsonLines}. */
export function printJson(value: unknown): void {
  printLines(jsonLines(value));
}
