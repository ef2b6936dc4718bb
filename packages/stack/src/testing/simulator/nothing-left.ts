import type { Simulation } from "./simulation.ts";
import type { Station } from "./station.ts";

const ANSWERING_MS = 1000;
const SILENCE_MS = 10 * 60_000;
/** The stack looks after old neighbours so often; nothing else may be due when there is no traffic. */
const HOUSEKEEPING_MS = 60_000;

/**
 * Waits until the connections of stations whose owners are done are gone, TIME-WAIT included, and looks at what is left.
 *
 * @throws {Error} when a connection stays, memory stays promised, a timer runs on, or a frame is sent all the same.
 */
export function expectNothingLeft(simulation: Simulation, stations: readonly Station[]): void {
  simulation.run(() => stations.every(({ stack }) => stack.tcp.size === 0));
  for (const { stack } of stations) {
    const { reservedBytes, nextDeadline } = stack.tcp;
    if (reservedBytes !== 0) throw new Error(`${reservedBytes} bytes stay reserved without a connection`);
    if (nextDeadline !== Number.POSITIVE_INFINITY) throw new Error(`a timer of TCP runs on, until ${nextDeadline}`);
  }
  // What is still under way may be answered, also when the link refuses the answer at first.
  const isQuiet = () => stations.every((station) => station.isQuiet);
  simulation.run(isQuiet);
  simulation.pass(ANSWERING_MS);
  simulation.run(isQuiet);
  const sent = stations.map(({ stack }) => stack.statistics.framesSent);
  simulation.pass(SILENCE_MS);
  for (const [index, { stack, isGone, lateness }] of stations.entries()) {
    if (isGone) continue;
    const further = stack.statistics.framesSent - sent[index];
    if (further > 0) throw new Error(`${further} frames were sent without a connection`);
    const wait = stack.nextDeadline - simulation.now;
    if (!(wait >= -lateness && wait <= HOUSEKEEPING_MS) || stack.neighbors.nextDeadline !== Number.POSITIVE_INFINITY) {
      throw new Error(`more than the housekeeping is due, in ${wait} ms`);
    }
  }
}
