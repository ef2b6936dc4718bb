/** How late the event loop is: for how long whatever comes waits for the turn that sees it. */
import { type ELDHistogram, monitorEventLoopDelay } from "node:perf_hooks";

/** The delay since it was last taken, in seconds. */
export interface EventLoopDelay {
  readonly meanSeconds: number;
  readonly p50Seconds: number;
  readonly p99Seconds: number;
  readonly maximumSeconds: number;
}

/**
 * Milliseconds between two samples. They are taken by a timer: sampling by the turn does not see what the callbacks of
 * sockets take, which is nearly everything here.
 */
const RESOLUTION = 20;

const NO_DELAY: EventLoopDelay = { meanSeconds: 0, p50Seconds: 0, p99Seconds: 0, maximumSeconds: 0 };

let histogram: ELDHistogram | null = null;

/** What was measured so far; null while it is not measured. */
export function eventLoopDelay(): EventLoopDelay | null {
  if (histogram === null) return null;
  // Without a sample the histogram's mean is no number.
  if (histogram.count === 0) return NO_DELAY;
  return {
    meanSeconds: delaySeconds(histogram.mean),
    p50Seconds: delaySeconds(histogram.percentile(50)),
    p99Seconds: delaySeconds(histogram.percentile(99)),
    maximumSeconds: delaySeconds(histogram.max),
  };
}

/** Tells what was measured, and measures anew from here on. The first call begins to measure. */
export function takeEventLoopDelay(): EventLoopDelay {
  if (histogram === null) {
    histogram = monitorEventLoopDelay({ resolution: RESOLUTION });
    histogram.enable();
  }
  const taken = eventLoopDelay() ?? NO_DELAY;
  histogram.reset();
  return taken;
}

/** @param nanoseconds - between two samples, which is the resolution and the delay. */
function delaySeconds(nanoseconds: number): number {
  return Math.max(0, nanoseconds - RESOLUTION * 1e6) / 1e9;
}
