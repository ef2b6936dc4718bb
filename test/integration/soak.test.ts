import { spawn } from "node:child_process";
import { join } from "node:path";
import { expect, it } from "vitest";

const MIB = 1024 * 1024;

interface SoakReport {
  readonly seed: number;
  readonly frames: number;
  readonly accepted: number;
  readonly memory: readonly number[];
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1];
}

it("lives through 60 seconds of random and mutated frames, with its memory flat", { timeout: 120_000 }, async () => {
  const script = join(import.meta.dirname, "..", "soak", "fuzz-frames.ts");
  const child = spawn(process.execPath, ["--expose-gc", script, "60"], { stdio: ["ignore", "pipe", "pipe"] });
  let output = "";
  let errors = "";
  child.stdout.on("data", (chunk) => (output += chunk));
  child.stderr.on("data", (chunk) => (errors += chunk));
  const status = await new Promise((resolve) => child.once("close", resolve));
  expect({ status, errors }).toEqual({ status: 0, errors: "" });
  const { seed, frames, accepted, memory } = JSON.parse(output) as SoakReport;
  console.log(
    `seed ${seed}: ${frames} frames, ${accepted} connections, ${memory.map((bytes) => (bytes / MIB).toFixed(1))} MiB`,
  );
  expect(frames).toBeGreaterThan(100_000);
  // Each figure is of a moment without connections. Pools hold more or less at such a moment, within their bound; what
  // must not rise is the middle of it.
  expect(memory.length).toBeGreaterThan(10);
  const third = Math.floor(memory.length / 3);
  const rise = median(memory.slice(-third)) - median(memory.slice(third, 2 * third));
  expect(rise).toBeLessThan(MIB);
  expect(Math.max(...memory)).toBeLessThan(32 * MIB);
});
