import type { CongestionAlgorithm } from "../settings.ts";
import { Cubic } from "./cubic.ts";
import { Reno } from "./reno.ts";

export { initialWindow, MAXIMUM_WINDOW } from "./reno.ts";

/**
 * Sizes the congestion window of one connection. Bytes and milliseconds throughout; all windows are whole bytes.
 *
 * What finds the losses and what sends during a recovery (RFC 6675, RFC 6937, RFC 8985) is the caller's.
 */
export interface CongestionControl {
  readonly name: CongestionAlgorithm;
  /** Bytes that may be in flight. During a recovery the caller sets it (RFC 6937). */
  window: number;
  /** The slow start threshold (ssthresh) in bytes, infinite until the first loss or the end of the first slow start. */
  threshold: number;
  /**
   * New data was acknowledged outside of a loss recovery; after a timeout, outside means from the timeout on.
   *
   * @param bytes - newly acknowledged, cumulatively or selectively.
   * @param limited - whether the window was what held the sender back; if not, the acknowledgment says nothing of what
   *   the path could have carried and the window does not grow (RFC 7661; RFC 9438, 5.8).
   * @param roundTrip - the round trip that this acknowledgment measured, or -1.
   * @param smoothed - the smoothed round trip (SRTT), 0 when unknown.
   * @param newRound - whether a round trip began with this acknowledgment: it is the first for data that was sent after
   *   the round before began. Its own sample counts to the new round.
   */
  acknowledged(
    bytes: number,
    limited: boolean,
    now: number,
    roundTrip: number,
    smoothed: number,
    newRound: boolean,
  ): void;
  /**
   * A loss was detected, which the caller reports once per window of data. Sets the threshold; the caller moves the
   * window there and calls {@link CongestionControl.recovered} at the end.
   *
   * @param inFlight - the FlightSize of RFC 5681: sent and not acknowledged, what is lost included.
   */
  lossDetected(inFlight: number, now: number): void;
  /**
   * The retransmission timer expired: the window is one segment, which begins a slow start and ends a recovery.
   *
   * @param inFlight - as for {@link CongestionControl.lossDetected}.
   * @param first - false when the timer expired for the same data before: the threshold stays (RFC 5681, 3.1).
   */
  timedOut(inFlight: number, now: number, first: boolean): void;
  /**
   * The last call of {@link CongestionControl.lossDetected}, or the last first expiry and those that repeated it, turned
   * out spurious: window and threshold are what they were, unless the window has outgrown that already (RFC 9438,
   * 4.9.2). Ends a recovery. A second call does nothing, nor does one after an idle period has shrunk the window.
   */
  undo(now: number): void;
  /** The recovery is over: the window is the threshold. Does nothing after an undo or a timeout. */
  recovered(now: number): void;
  /** Nothing was in flight for longer than a retransmission timeout (RFC 5681, 4.1). */
  restartAfterIdle(now: number): void;
  /** The maximum segment size changed, as the path MTU did. The window stays as many bytes (RFC 8899, 3). */
  setSegment(bytes: number): void;
}

/** @param segment - the sender's maximum segment size (SMSS) in bytes. */
export function createCongestionControl(algorithm: CongestionAlgorithm, segment: number): CongestionControl {
  return algorithm === "cubic" ? new Cubic(segment) : new Reno(segment);
}
