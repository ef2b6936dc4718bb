/** What a reload has done, for people. */
import type { ReloadReport } from "../control/control.ts";

export function describeReload({ changed, needRestart }: ReloadReport): string[] {
  if (changed.length + needRestart.length === 0) return ["Nothing has changed."];
  return [
    ...(changed.length === 0 ? [] : [`Changed: ${changed.join(", ")}`]),
    ...(needRestart.length === 0 ? [] : [`Holds after a restart of hostd only: ${needRestart.join(", ")}`]),
  ];
}
