import type { CongestionAlgorithm } from "../settings.ts";
import { MAXIMUM_WINDOW, Reno } from "./reno.ts";

const BETA = 0.7;
/** Segments per second to the power of three. */
const C = 0.4;
/** The growth in segments per round trip that makes up for a decrease of less than Reno's half (RFC 9438, 4.3). */
const ALPHA = (3 * (1 - BETA)) / (1 + BETA);
/** What remains of the window as the next maximum when the one before was not reached (RFC 9438, 4.7). */
const FAST_CONVERGENCE = (1 + BETA) / 2;

/** The epoch while no congestion avoidance stage has begun. */
const NONE = Number.NEGATIVE_INFINITY;

/**
 * CUBIC (RFC 9438): Reno with a gentler decrease, and a growth in congestion avoidance that follows a cubic function of
 * the time since, with its plateau where the last loss was.
 *
 * Bytes and milliseconds in place of the RFC's segments and seconds.
 */
export class Cubic extends Reno {
  override readonly name: CongestionAlgorithm = "cubic";
  protected override readonly decrease = BETA;
  /** C in bytes per cubic millisecond. */
  #scale: number;
  /** W_max; 0 before the first loss and after a timeout, when a stage begins at its own plateau (4.8, 4.10). */
  #maximum = 0;
  /** cwnd_prior. */
  #prior = 0;
  /** t_epoch: when this stage of congestion avoidance began, moved on by the time that does not count. */
  #epoch = NONE;
  /** K: milliseconds from the epoch to the plateau. */
  #plateau = 0;
  /** W_est: the window that Reno would have. */
  #estimate = 0;
  /** When the last acknowledgment of congestion avoidance came. */
  #updated = 0;
  /** The part of the window that is less than a byte. */
  #fraction = 0;

  #undoMaximum = 0;
  #undoPrior = 0;
  #undoEpoch = NONE;
  #undoPlateau = 0;
  #undoEstimate = 0;

  constructor(segment: number) {
    super(segment);
    this.#scale = (C * segment) / 1e9;
  }

  override lossDetected(inFlight: number): void {
    this.#remember();
    this.#prior = this.window;
    this.#maximum = this.window < this.#maximum ? this.window * FAST_CONVERGENCE : this.window;
    this.#epoch = NONE;
    super.lossDetected(inFlight);
  }

  override timedOut(inFlight: number, now: number, first: boolean): void {
    if (first) {
      this.#remember();
      // In a recovery the window is what is being sent, not what the path was believed to carry.
      if (!this.recovering) this.#prior = this.window;
    }
    this.#maximum = 0;
    this.#epoch = NONE;
    super.timedOut(inFlight, now, first);
  }

  override undo(): void {
    if (this.undoable) {
      this.#maximum = this.#undoMaximum;
      this.#prior = this.#undoPrior;
      this.#epoch = this.#undoEpoch;
      this.#plateau = this.#undoPlateau;
      this.#estimate = this.#undoEstimate;
    }
    super.undo();
  }

  override restartAfterIdle(): void {
    const before = this.window;
    super.restartAfterIdle();
    if (this.window < before) this.#epoch = NONE;
  }

  override setSegment(bytes: number): void {
    super.setSegment(bytes);
    this.#scale = (C * bytes) / 1e9;
    // The curve is another one: the stage begins anew where the window is, also the one that an undo would resume.
    this.#epoch = NONE;
    this.#undoEpoch = NONE;
  }

  protected override avoidCongestion(acknowledged: number, limited: boolean, now: number, smoothed: number): void {
    if (this.#epoch === NONE) this.#beginStage(now);
    // Time in which the window did not hold the sender back does not count (RFC 9438, 4.2). Neither does what exceeds a
    // round trip between two acknowledgments: a sender with a window outstanding hears of it once per round trip.
    const uncounted = now - this.#updated - (limited ? smoothed : 0);
    if (uncounted > 0) this.#epoch += uncounted;
    this.#updated = now;
    const { window } = this;
    if (!limited || window >= MAXIMUM_WINDOW) return;
    const share = acknowledged / window;
    this.#estimate += (this.#estimate < this.#prior ? ALPHA : 1) * this.segment * share;
    const elapsed = now - this.#epoch;
    let size: number;
    if (this.#curve(elapsed) < this.#estimate) {
      // Reno-friendly region. The curve of a round trip later may have taken the window further already.
      size = Math.max(window, this.#estimate);
    } else {
      const target = Math.min(1.5 * window, Math.max(window, this.#curve(elapsed + smoothed)));
      size = window + this.#fraction + (target - window) * share;
    }
    this.window = Math.min(MAXIMUM_WINDOW, Math.floor(size));
    this.#fraction = size - Math.floor(size);
  }

  #beginStage(now: number): void {
    this.#epoch = now;
    this.#updated = now;
    this.#estimate = this.window;
    this.#fraction = 0;
    if (this.#maximum <= this.window) this.#maximum = this.window;
    this.#plateau = Math.cbrt((this.#maximum - this.window) / this.#scale);
  }

  /** W_cubic in bytes, `elapsed` milliseconds after the epoch (RFC 9438, 4.2). */
  #curve(elapsed: number): number {
    const offset = elapsed - this.#plateau;
    return this.#scale * offset * offset * offset + this.#maximum;
  }

  #remember(): void {
    this.#undoMaximum = this.#maximum;
    this.#undoPrior = this.#prior;
    this.#undoEpoch = this.#epoch;
    this.#undoPlateau = this.#plateau;
    this.#undoEstimate = this.#estimate;
  }
}
