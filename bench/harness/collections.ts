/** What V8 says of its collections of garbage under `--trace-gc`. */

/** One collection. */
export interface Collection {
  readonly kind: "young" | "full";
  /** How long the program stood still at the longest for it, in milliseconds: at its end, or in one step of its marking. */
  readonly pause: number;
}

const LINE =
  /^\[\d+:0x[0-9a-f]+\] +\d+ ms: ([A-Z][\w -]*?)(?: \([^)]*\))? [\d.]+ \([\d.]+\) -> .*? MB, .*?([\d.]+) \/ [\d.]+ ms(.*)$/;
const BIGGEST_STEP = /biggest step ([\d.]+) ms/;

/**
 * Reads the collections out of what a program wrote, among its other lines.
 *
 * @throws Error at a line that looks like a collection and cannot be read, so that none is overlooked when V8 words them
 *   in another way.
 */
export function readCollections(output: string): Collection[] {
  const collections: Collection[] = [];
  for (const line of output.split("\n")) {
    if (!/^\[\d+:0x/.test(line) || !line.includes(" -> ")) continue;
    const [, name, pause, rest] = LINE.exec(line) ?? [];
    if (name === undefined) throw new Error(`not the line of a collection that this knows: ${line}`);
    const step = BIGGEST_STEP.exec(rest)?.[1] ?? "0";
    collections.push({ kind: name === "Scavenge" ? "young" : "full", pause: Math.max(Number(pause), Number(step)) });
  }
  return collections;
}
