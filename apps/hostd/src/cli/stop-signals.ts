/** SIGINT and SIGTERM: the first asks for a clean end, the second insists. */
import type { EventEmitter } from "node:events";
import { constants } from "node:os";

/** How long a clean end may take, in milliseconds. */
const CLOSE_DEADLINE = 5000;

/**
 * Watches for the signals that end the process, and keeps it alive until one comes.
 *
 * @param onDeadline called when the process is still there 5 seconds after the first signal; it has to end it.
 * @param source what emits the signals.
 * @returns a promise of the first signal. At the second the process ends at once, with the code shells give it.
 */
export function firstStopSignal(onDeadline: () => void, source: EventEmitter = process): Promise<NodeJS.Signals> {
  return new Promise((resolve) => {
    // A daemon that dials may have no socket open for a moment, and signal handlers do not keep Node running.
    const alive = setInterval(() => {}, 2 ** 30);
    let stopping = false;
    const stop = (signal: NodeJS.Signals) => {
      if (stopping) process.exit(128 + constants.signals[signal]);
      stopping = true;
      clearInterval(alive);
      setTimeout(onDeadline, CLOSE_DEADLINE);
      resolve(signal);
    };
    source.on("SIGINT", stop);
    source.on("SIGTERM", stop);
  });
}
