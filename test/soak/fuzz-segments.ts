/**
 * Attacks stacks with random segments, options and events for a time and prints, as JSON, how far that came. A failure is
 * printed with the shortest course found that leads to it, and with a seed; started with that seed, it comes at once.
 *
 * Usage: node test/soak/fuzz-segments.ts SECONDS [SEED]
 */
import { fuzzForgeries, fuzzSegments, noCoverage } from "../../packages/stack/src/testing/segment-fuzz.ts";

/** Runs between two looks at the time, of either kind. */
const RUNS = 50;

const seconds = Number(process.argv[2] ?? 60);
const firstSeed = Number(process.argv[3] ?? Date.now() & 0xffff);
if (!(seconds > 0) || !Number.isInteger(firstSeed)) {
  console.error("usage: node test/soak/fuzz-segments.ts SECONDS [SEED]");
  process.exit(2);
}

const began = performance.now();
const elapsed = () => (performance.now() - began) / 1000;
const coverage = noCoverage();
let forgeries = 0;
try {
  for (let seed = firstSeed; elapsed() < seconds; seed++) {
    fuzzSegments({ seed, runs: RUNS }, coverage);
    fuzzForgeries({ seed, runs: RUNS });
    forgeries += RUNS;
  }
} catch (error) {
  console.error(error instanceof Error ? `${error.message}\n${String(error.cause)}` : String(error));
  process.exit(1);
}
const { runs, steps, segments, recovered, statistics } = coverage;
const states = [...coverage.states];
const reasons = [...coverage.reasons];
console.log(
  JSON.stringify({
    seed: firstSeed,
    seconds: elapsed(),
    runs,
    steps,
    segments,
    recovered,
    forgeries,
    states,
    reasons,
    statistics,
  }),
);
