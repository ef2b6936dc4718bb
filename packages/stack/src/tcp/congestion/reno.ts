import type { CongestionAlgorithm } from "../settings.ts";
import type { CongestionControl } from "./congestion-control.ts";
import { HyStart } from "./hystart.ts";

/** Beyond any buffer of ours, growth would only be forgotten more slowly after a loss. */
export const MAXIMUM_WINDOW = 16 * 1024 * 1024;

/** The window of a connection that has not sent yet, and that of one that was idle (RFC 6928). */
export function initialWindow(segment: number): number {
  return Math.min(10 * segment, Math.max(2 * segment, 14600));
}

/** Reno (RFC 5681) with byte counting (RFC 3465), and HyStart++ (RFC 9406) in the first slow start. */
export class Reno implements CongestionControl {
  readonly name: CongestionAlgorithm = "reno";
  window: number;
  threshold = Number.POSITIVE_INFINITY;
  /** The maximum segment size in bytes. */
  protected segment: number;
  /** What a loss leaves of the window. */
  protected readonly decrease: number = 0.5;
  /** Whether a loss was detected whose recovery is not over. */
  protected recovering = false;
  /** The window before the last reduction, 0 when there is nothing to undo. */
  #undoWindow = 0;
  #undoThreshold = 0;
  readonly #hystart = new HyStart();
  /** Bytes acknowledged since the last growth of congestion avoidance. */
  #credit = 0;

  constructor(segment: number) {
    this.segment = segment;
    this.window = initialWindow(segment);
  }

  acknowledged(
    bytes: number,
    limited: boolean,
    now: number,
    roundTrip: number,
    smoothed: number,
    newRound: boolean,
  ): void {
    // RFC 3465 counts at most two segments of an acknowledgment. A peer that merges what it receives (GRO) acknowledges
    // dozens at once and would be served at a fraction of slow start's rate: all is counted, as in Linux. The bound of
    // a window remains for the one that stands for many that were lost, or that after a timeout covers what left the
    // network long before.
    let acknowledged = Math.min(bytes, this.window);
    if (this.window < this.threshold) {
      let growth = acknowledged;
      if (this.threshold === Number.POSITIVE_INFINITY) {
        if (this.#hystart.acknowledged(roundTrip, newRound)) this.threshold = this.window;
        else if (this.#hystart.conservative) growth >>= 2;
      }
      if (!limited) return;
      const room = this.threshold - this.window;
      if (growth <= room) {
        this.window = Math.min(MAXIMUM_WINDOW, this.window + growth);
        return;
      }
      this.window = this.threshold;
      acknowledged -= room;
    }
    this.avoidCongestion(acknowledged, limited, now, smoothed);
  }

  lossDetected(inFlight: number): void {
    this.#reduceThreshold(inFlight);
    this.recovering = true;
  }

  timedOut(inFlight: number, _now: number, first: boolean): void {
    if (first) this.#reduceThreshold(inFlight);
    this.window = this.segment;
    this.recovering = false;
    this.#credit = 0;
  }

  undo(): void {
    if (this.undoable) {
      this.window = Math.max(this.window, this.#undoWindow);
      this.threshold = Math.max(this.threshold, this.#undoThreshold);
    }
    this.#undoWindow = 0;
    this.recovering = false;
  }

  recovered(): void {
    if (!this.recovering) return;
    this.window = Math.max(2 * this.segment, this.threshold);
    this.recovering = false;
  }

  restartAfterIdle(): void {
    const restart = initialWindow(this.segment);
    if (this.window <= restart) return;
    // Without the threshold of RFC 7661, 4.4.3, a connection that has long outgrown the threshold of its last loss
    // would have to grow by a segment per round trip from here.
    this.threshold = Math.max(this.threshold, Math.floor((3 * this.window) / 4));
    this.window = restart;
    this.#undoWindow = 0;
    this.#credit = 0;
  }

  setSegment(bytes: number): void {
    this.segment = bytes;
    this.window = Math.max(this.window, bytes);
    this.threshold = Math.max(this.threshold, 2 * bytes);
  }

  /** Whether there is a reduction to undo, and the window has not outgrown it (RFC 9438, 4.9.2). */
  protected get undoable(): boolean {
    return this.#undoWindow > 0 && (this.recovering || this.window <= this.#undoWindow);
  }

  /** Grows the window beyond the threshold: here by a segment per window of data acknowledged (RFC 5681, 3.1). */
  protected avoidCongestion(acknowledged: number, limited: boolean, _now: number, _smoothed: number): void {
    if (!limited) return;
    this.#credit += acknowledged;
    if (this.#credit < this.window) return;
    this.#credit -= this.window;
    this.window = Math.min(MAXIMUM_WINDOW, this.window + this.segment);
  }

  #reduceThreshold(inFlight: number): void {
    this.#undoWindow = this.window;
    this.#undoThreshold = this.threshold;
    // What limited transmit has sent beyond the window does not count (RFC 5681, 3.2). In a recovery the window says
    // nothing, but its threshold is an upper bound: a timeout there is not the sign of more room.
    const bound = this.recovering ? this.threshold : this.decrease * this.window;
    this.threshold = Math.max(2 * this.segment, Math.floor(Math.min(this.decrease * inFlight, bound)));
    this.#credit = 0;
  }
}
