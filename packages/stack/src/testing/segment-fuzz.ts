import fc from "fast-check";
import type { StackStatistics } from "../statistics.ts";
import { runForgeries } from "./segment-forgery.ts";
import type { Coverage } from "./segment-guest.ts";
import { SegmentPeer } from "./segment-peer.ts";
import { recover } from "./segment-recovery.ts";
import { forgeries, type Scenario, type Step, scenario, steps } from "./segment-steps.ts";

/** Bytes that the good connection brings each way after the noise. */
const TRANSFER = 20_000;
/** A receive ring that a burst of the good connection fills. */
const SMALL_RING = 16;
const MAX_STEPS = 60;
const MAX_FORGERIES = 12;

/** How far a fuzzer's runs came. */
export interface SegmentCoverage extends Coverage {
  readonly statistics: Partial<Record<keyof StackStatistics, number>>;
}

export function noCoverage(): SegmentCoverage {
  return {
    states: new Set(),
    reasons: new Set(),
    seen: new Set(),
    statistics: {},
    runs: 0,
    steps: 0,
    segments: 0,
    recovered: 0,
  };
}

/**
 * Lets a hostile guest do the steps on one connection, beside a good connection of another guest.
 *
 * @throws {Error} when the stack does what it may never do, or the good connection does not bring everything.
 */
export function runSteps(circumstances: Scenario, course: readonly Step[], coverage: SegmentCoverage): void {
  const peer = new SegmentPeer(circumstances, coverage);
  const { companion } = peer;
  companion.open();
  // Its last acknowledgments have left before the link may stop to take frames.
  peer.wait(100);
  const hasSmallRing = circumstances.receiveRing === SMALL_RING;
  const burst = hasSmallRing ? companion.burst() : 0;
  peer.apply({ do: "open", by: circumstances.open });
  if (circumstances.established) peer.establish();
  for (const step of course) peer.apply(step);
  peer.lan.link.room = Number.POSITIVE_INFINITY;
  peer.lan.answersArp = true;
  peer.lan.flush();
  if (recover(peer)) coverage.recovered++;
  companion.exchange(TRANSFER);
  peer.abort();
  if (hasSmallRing && companion.burst() !== burst) throw new Error("frames of connections that are gone count on");
  companion.close();
  peer.finish();
}

export interface SegmentFuzzOptions {
  readonly seed: number;
  readonly runs: number;
}

/**
 * Runs random steps in random circumstances.
 *
 * @throws {Error} with the shortest steps found that do it, and the seed to do them again.
 */
export function fuzzSegments({ seed, runs }: SegmentFuzzOptions, coverage: SegmentCoverage): void {
  fc.assert(
    fc.property(scenario, steps(MAX_STEPS), (circumstances, course) => runSteps(circumstances, course, coverage)),
    { seed, numRuns: runs },
  );
}

/**
 * Has segments forged on the connection of two good stacks.
 *
 * @returns the most frames that the two sent after the last forgery of a run.
 * @throws {Error} as {@link fuzzSegments} does.
 */
export function fuzzForgeries({ seed, runs }: SegmentFuzzOptions): number {
  let most = 0;
  fc.assert(
    fc.property(scenario, fc.constantFrom(0, 0.25, 20), forgeries(MAX_FORGERIES), (circumstances, delayMs, course) => {
      most = Math.max(most, runForgeries(circumstances, delayMs, course));
    }),
    { seed, numRuns: runs },
  );
  return most;
}
