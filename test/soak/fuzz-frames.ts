/**
 * Feeds stacks with random and mutated frames for a time and prints, as JSON, how much and what memory was in use.
 *
 * Usage: node --expose-gc test/soak/fuzz-frames.ts SECONDS [SEED]
 */
import { fuzzFrames } from "../../packages/stack/src/testing/fuzz.ts";

const seconds = Number(process.argv[2] ?? 60);
const seed = Number(process.argv[3] ?? Date.now() & 0xffff);
const collect = globalThis.gc;
if (collect === undefined || !(seconds > 0)) {
  console.error("usage: node --expose-gc test/soak/fuzz-frames.ts SECONDS [SEED]");
  process.exit(2);
}

const began = performance.now();
const elapsed = () => (performance.now() - began) / 1000;
/** Bytes in use after a collection, each time the stack had nothing left to wait for. */
const memory: number[] = [];

function measure(): void {
  // The second collection ends what the first leaves to be swept later.
  collect?.();
  collect?.();
  const { heapUsed, arrayBuffers } = process.memoryUsage();
  memory.push(heapUsed + arrayBuffers);
}

// One stack for the whole time, so that what it keeps shows.
const report = fuzzFrames({
  seed,
  goesOn: (_frames, isQuiet) => {
    if (isQuiet) measure();
    return elapsed() < seconds;
  },
});
const { frames, accepted, closed } = report;
console.log(JSON.stringify({ seed, seconds: elapsed(), frames, accepted, closed, memory }));
