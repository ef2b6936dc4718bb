import { PerformanceObserver } from "node:perf_hooks";
import { getHeapSpaceStatistics, setFlagsFromString } from "node:v8";

/** Bytes of V8's new space at which it is told to grow no more. By then it has been told to grow once more: to 7 or 8 MiB. */
const ENOUGH = 4 * 1024 * 1024;

/**
 * Keeps V8's young generation from growing to 32 MiB, which it does once many flows have been opened, and which it never
 * gives back. A quarter of that lets no more of their objects survive a collection; docs/performance.md has the figures.
 *
 * The flags by which V8 takes a limit have to be on Node's command line, which is not ours to write. The factor by which
 * the space grows is read at each growth.
 */
export function limitYoungGeneration(): void {
  const observer = new PerformanceObserver(() => {
    const space = getHeapSpaceStatistics().find(({ space_name }) => space_name === "new_space");
    if (space === undefined || space.space_size < ENOUGH) return;
    setFlagsFromString("--semi-space-growth-factor=1");
    observer.disconnect();
  });
  observer.observe({ entryTypes: ["gc"] });
}
