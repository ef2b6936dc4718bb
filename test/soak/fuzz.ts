/**
 * Runs both fuzzers of the stack at once: random and mutated frames, and random segments, options and events.
 *
 * Usage: node test/soak/fuzz.ts [--minutes N] [--seed N]
 */
import { spawn } from "node:child_process";
import { join } from "node:path";
import { parseArgs } from "node:util";

const USAGE = `usage: npm run fuzz -- [--minutes N] [--seed N]

  --minutes N  how long, more than 0 (1)
  --seed N     a whole number that makes the same run again (a new one each time)`;

function readArguments(): { help?: boolean; minutes?: string; seed?: string } {
  try {
    const options = { help: { type: "boolean" }, minutes: { type: "string" }, seed: { type: "string" } } as const;
    return parseArgs({ options }).values;
  } catch (error) {
    console.error(`fuzz: ${(error as Error).message}\n${USAGE}`);
    process.exit(2);
  }
}

const values = readArguments();
if (values.help === true) {
  console.log(USAGE);
  process.exit(0);
}
const minutes = Number(values.minutes ?? 1);
const seed = Number(values.seed ?? Date.now() & 0xffff);
if (!(minutes > 0) || !Number.isInteger(seed)) {
  console.error(`fuzz: --minutes must be more than 0, and --seed a whole number\n${USAGE}`);
  process.exit(2);
}
console.log(`fuzzing for ${minutes} minutes with the seed ${seed}`);

/** Runs one fuzzer to its end; its output goes to ours. */
async function fuzz(script: string): Promise<boolean> {
  const args = ["--expose-gc", join(import.meta.dirname, script), String(minutes * 60), String(seed)];
  const child = spawn(process.execPath, args, { stdio: "inherit" });
  const status = await new Promise((resolve) => child.once("close", resolve));
  console.log(`${script}: ${status === 0 ? "passed" : `FAILED with the seed ${seed}`}`);
  return status === 0;
}

const passed = await Promise.all([fuzz("fuzz-frames.ts"), fuzz("fuzz-segments.ts")]);
process.exit(passed.every(Boolean) ? 0 : 1);
