import { type Sequence, sequenceAfter, sequenceBefore, sequenceDistance } from "../sequence.ts";
import type { StackStatistics } from "../statistics.ts";
import type { TcpOptions } from "../wire/tcp-options.ts";
import type { TcpConnection } from "./connection.ts";
import type { LinkLoad } from "./link-load.ts";
import { Rack } from "./rack.ts";
import { RateReduction } from "./rate-reduction.ts";
import type { Delivery } from "./retransmission-queue.ts";
import { SpuriousRetransmission } from "./spurious-retransmission.ts";
import { TailLossProbe } from "./tail-loss-probe.ts";

/** The duplicate acknowledgments, or segments beyond a gap, that signal a loss (RFC 5681, 3.2; RFC 6675, 2). */
const DUPLICATE_THRESHOLD = 3;
const NEVER = Number.POSITIVE_INFINITY;

/**
 * What a sender is in the middle of: nothing, a recovery that acknowledgments began (RFC 5681, 3.2), or one that the
 * retransmission timer began.
 */
export const Phase = { open: 0, recovery: 1, loss: 2 } as const;
export type Phase = (typeof Phase)[keyof typeof Phase];

/**
 * Detects losses and recovers from them, for one connection.
 *
 * With selective acknowledgments by RACK-TLP (RFC 8985), otherwise by duplicate acknowledgments (RFC 6582). Either way
 * lost segments are marked in the retransmission queue, the transmitter sends them as the window allows, and the window
 * shrinks by proportional rate reduction. A timeout is checked by F-RTO (RFC 5682).
 */
export class LossRecovery {
  phase: Phase = Phase.open;
  /** Everything before this was sent when the recovery began; acknowledged, it is over. */
  point: Sequence = 0;
  /** The timer has expired: the first segment goes again at once, whatever the window (RFC 6298, 5.4). */
  isRetransmissionDue = false;
  readonly rack = new Rack();
  readonly probe = new TailLossProbe();
  readonly spurious = new SpuriousRetransmission();
  readonly #reduction = new RateReduction();
  readonly #delivery: Delivery;
  readonly #statistics: StackStatistics;
  readonly #load: LinkLoad;
  /**
   * Duplicate acknowledgments of a peer without selective ones, and the bytes that they stand for. No more count than
   * there were segments in flight: a peer cannot have one send for ever by repeating itself (RFC 5681, 3.2, step 4).
   */
  #duplicates = 0;
  #duplicateLimit = 0;
  #duplicateBytes = 0;
  /** Something was lost on this connection. */
  #hasLost = false;
  /** How many acknowledgments of F-RTO have come (RFC 5682, 2.1): 0 when it is not at work, else 1 or 2. */
  #timeoutCheck = 0;

  constructor(delivery: Delivery, statistics: StackStatistics, load: LinkLoad) {
    this.#delivery = delivery;
    this.#statistics = statistics;
    this.#load = load;
  }

  /** Sets where the sequence numbers start. */
  start(sequence: Sequence): void {
    this.point = sequence;
    this.rack.start(sequence);
  }

  /** Whether new data goes first, to find out whether the timeout was spurious (RFC 5682, 2.1, step 2b). */
  get prefersNewData(): boolean {
    return this.#timeoutCheck === 2;
  }

  /** Bytes on their way, by what is known: RFC 6675's pipe. */
  inFlight(connection: TcpConnection): number {
    return Math.max(0, connection.sent.bytesInFlight - this.#duplicateBytes);
  }

  /**
   * Takes in an acknowledgment that is new or a repetition of the last one.
   *
   * @param advanced - bytes by which it moved the edge, which {@link TcpConnection.sendUnacknowledged} has followed.
   * @param isDuplicate - whether it is a duplicate by RFC 5681, 2, without regard to options.
   */
  acknowledged(
    connection: TcpConnection,
    acknowledgment: Sequence,
    advanced: number,
    options: TcpOptions,
    isDuplicate: boolean,
    now: number,
  ): void {
    const { sent, roundTrip, congestion } = connection;
    const delivery = this.#delivery;
    const { rack } = this;
    const inFlightBefore = sent.bytesInFlight;
    const lossesBefore = sent.losses;
    const phaseBefore = this.phase;
    delivery.reset();
    rack.minimumRoundTrip = roundTrip.minimum;
    rack.echoedAt =
      connection.timestamps && options.hasTimestamps ? connection.timeOf(options.timestampEcho, now) : now;
    // The cumulative part first: what is beyond it arrived later.
    if (advanced > 0) sent.acknowledge(acknowledgment, this.point, rack, now);
    let reportsDuplicate = false;
    if (connection.selective) {
      if (options.sackBlocks > 0) reportsDuplicate = this.#readBlocks(connection, acknowledgment, options, now);
    } else {
      this.#countDuplicates(connection, advanced, isDuplicate);
      if (delivery.retransmitted) delivery.original = false;
    }
    const sample = this.#measure(connection, options, advanced, now);
    const newRound = advanced > 0 && !sequenceBefore(acknowledgment, roundTrip.roundEnd);
    if (newRound) {
      roundTrip.roundEnd = connection.sendNext;
      this.#load.classify(connection);
    }
    const isBare = isDuplicate && options.sackBlocks === 0;
    const repaired = this.probe.acknowledged(acknowledgment, isBare, reportsDuplicate);
    if (repaired && this.phase === Phase.open) {
      this.#hasLost = true;
      congestion.lossDetected(sequenceDistance(connection.sendNext, acknowledgment) + advanced, now);
      congestion.recovered(now);
    }
    if (connection.selective && (sent.sackedSegments > 0 || this.phase !== Phase.open)) this.#detect(connection, now);
    else connection.reorderAt = NEVER;
    this.#move(connection, acknowledgment, advanced, options, sent.losses > lossesBefore, now);
    if (this.phase !== Phase.recovery && advanced > 0) {
      const limited = connection.congestionLimited || 2 * inFlightBefore >= congestion.window;
      congestion.acknowledged(delivery.bytes, limited, now, sample, roundTrip.smoothed, newRound);
    }
    // A large segment that has arrived shows that the path carries them.
    if (delivery.largest > connection.smallerSegmentSize) connection.smallerSegments = 0;
    const isProbeObsolete = connection.timerIsProbe && sent.sackedSegments > 0;
    if (advanced > 0 || this.phase !== phaseBefore || isProbeObsolete) this.armTimer(connection, now);
  }

  /** What the phase makes of an acknowledgment. */
  #move(
    connection: TcpConnection,
    acknowledgment: Sequence,
    advanced: number,
    options: TcpOptions,
    newLosses: boolean,
    now: number,
  ): void {
    switch (this.phase) {
      case Phase.open:
        if (newLosses) {
          this.#enterRecovery(connection, now);
        } else if (this.spurious.isAwaited(acknowledgment) && this.spurious.isShown(connection, options, advanced)) {
          this.#undo(connection, now);
        } else if (advanced > 0 && !connection.selective) {
          // The point moves along, so that it is never so old that the comparison wraps.
          const covered = (acknowledgment - 1) | 0;
          if (sequenceAfter(covered, this.point)) this.point = covered;
        } else if (advanced > 0) {
          this.point = acknowledgment;
        }
        return;
      case Phase.recovery:
        if (this.spurious.isShown(connection, options, advanced)) {
          this.#undo(connection, now);
        } else if (!sequenceBefore(acknowledgment, this.point)) {
          connection.congestion.recovered(now);
          this.#recovered(connection);
        } else {
          const isPartial = advanced > 0 && !connection.selective;
          this.#reduce(connection, this.#delivery.bytes, advanced > 0 && !newLosses, isPartial);
        }
        return;
      case Phase.loss:
        this.#moveInLoss(connection, acknowledgment, advanced, options, now);
        return;
    }
  }

  #moveInLoss(
    connection: TcpConnection,
    acknowledgment: Sequence,
    advanced: number,
    options: TcpOptions,
    now: number,
  ): void {
    const isOriginal = this.#timeoutCheck > 0 && this.#delivery.original;
    if (isOriginal || this.spurious.isShown(connection, options, advanced)) {
      this.#statistics.tcpSpuriousTimeouts++;
      connection.roundTrip.undoBackOff();
      this.#undo(connection, now);
    } else if (!sequenceBefore(acknowledgment, this.point)) {
      this.#recovered(connection);
    } else if (this.#timeoutCheck === 1 && advanced > 0 && connection.canSendNew) {
      // Two segments of new data: their acknowledgments tell whether the old ones are still arriving.
      this.#timeoutCheck = 2;
      this.point = connection.sendNext;
    } else {
      // The two segments of new data are in flight, and the retransmissions go on (step 3a).
      if (this.#timeoutCheck === 2) connection.congestion.window = 3 * connection.maximumSegment;
      this.#timeoutCheck = 0;
    }
  }

  /** Time has passed that RACK waited for before taking segments for lost (RFC 8985, 6.2, step 5). */
  reorderingTimeout(connection: TcpConnection, now: number): void {
    const lossesBefore = connection.sent.losses;
    this.#detect(connection, now);
    if (connection.sent.losses === lossesBefore) return;
    if (this.phase === Phase.open) {
      this.#delivery.reset();
      this.#enterRecovery(connection, now);
    } else if (this.phase === Phase.recovery) {
      this.#reduce(connection, 0, false, false);
    }
  }

  /** The retransmission timer expired (RFC 6298, 5.4 to 5.6; RFC 8985, 6.3). */
  timedOut(connection: TcpConnection, now: number): void {
    const { sent, roundTrip, congestion } = connection;
    const isFirst = this.phase !== Phase.loss;
    // The first segment cannot have arrived and be missing: the peer dropped what it had (RFC 2018, 8).
    if (!sent.isEmpty && sent.isSacked(sent.first)) sent.forgetSelective();
    congestion.timedOut(sequenceDistance(connection.sendNext, connection.sendUnacknowledged), now, isFirst);
    if (isFirst) this.spurious.begin(connection);
    const window = this.rack.reorderingWindow(true, roundTrip.smoothed);
    sent.markLostSentBefore(connection.selective ? now - this.rack.roundTrip - window : NEVER);
    this.#load.timedOut(connection);
    this.phase = Phase.loss;
    this.#hasLost = true;
    this.isRetransmissionDue = true;
    this.#timeoutCheck = isFirst ? 1 : 0;
    this.point = connection.sendNext;
    this.#duplicates = 0;
    this.#duplicateBytes = 0;
    this.probe.cancel();
    connection.reorderAt = NEVER;
    roundTrip.backOff();
  }

  /** What is in flight was cut down and taken for lost: duplicates do not stand for it any more. */
  segmentsCut(connection: TcpConnection): void {
    this.#duplicateBytes = Math.min(this.#duplicateBytes, connection.sent.bytesInFlight);
  }

  /** Notes that `bytes` of new data were sent. */
  sentNew(bytes: number): void {
    if (this.phase === Phase.recovery) this.#reduction.sent(bytes);
  }

  /** Notes that the segment [start, end) was sent again. */
  sentAgain(connection: TcpConnection, start: Sequence, end: Sequence, now: number): void {
    if (this.phase === Phase.recovery) this.#reduction.sent(sequenceDistance(end, start));
    this.isRetransmissionDue = false;
    this.spurious.retransmitted(connection, start, end, now);
  }

  /** Sets the timer for what is in flight: the probe's where one may be sent, else the retransmission's. */
  armTimer(connection: TcpConnection, now: number): void {
    const { sent, roundTrip } = connection;
    connection.timerIsProbe = false;
    if (sent.isEmpty) {
      connection.retransmitAt = NEVER;
      return;
    }
    let wait = roundTrip.timeout;
    const mayProbe =
      connection.selective &&
      this.phase === Phase.open &&
      roundTrip.isKnown &&
      !this.probe.isOutstanding &&
      sent.segmentsInFlight > 0 &&
      sent.segmentsInFlight === sent.length;
    if (mayProbe) {
      // When the retransmission's time comes first, the probe goes then, and the timer runs once more (RFC 8985, 7.2).
      wait = Math.min(wait, this.probe.timeout(roundTrip.smoothed, sent.length, !this.#hasLost));
      connection.timerIsProbe = true;
    }
    connection.retransmitAt = now + wait;
  }

  #enterRecovery(connection: TcpConnection, now: number): void {
    const { congestion, sendNext, sendUnacknowledged } = connection;
    const flight = sequenceDistance(sendNext, sendUnacknowledged);
    congestion.lossDetected(flight, now);
    this.spurious.begin(connection);
    this.#reduction.begin(flight);
    this.phase = Phase.recovery;
    this.point = sendNext;
    this.probe.cancel();
    this.#hasLost = true;
    this.#statistics.tcpFastRetransmissions++;
    this.#reduce(connection, this.#delivery.bytes, false, false);
    this.armTimer(connection, now);
  }

  #reduce(connection: TcpConnection, delivered: number, isSafe: boolean, isUrgent: boolean): void {
    const { congestion, maximumSegment } = connection;
    const { threshold } = congestion;
    const inFlight = this.inFlight(connection);
    congestion.window = this.#reduction.window(delivered, inFlight, threshold, maximumSegment, isSafe, isUrgent);
  }

  /** The recovery was begun for nothing: all is as before it (RFC 5682, 3; RFC 4015). */
  #undo(connection: TcpConnection, now: number): void {
    connection.sent.unmarkLost();
    connection.congestion.undo(now);
    this.#statistics.tcpUndoneRecoveries++;
    this.spurious.end();
    this.#open();
  }

  #recovered(connection: TcpConnection): void {
    this.#open();
    this.spurious.recovered(connection);
    this.rack.recovered();
  }

  #open(): void {
    this.phase = Phase.open;
    this.isRetransmissionDue = false;
    this.#timeoutCheck = 0;
    this.#duplicates = 0;
    this.#duplicateBytes = 0;
  }

  /** Marks as lost what RACK takes for lost now, and sets its timer for what may be lost later. */
  #detect(connection: TcpConnection, now: number): void {
    const { sent, roundTrip } = connection;
    const isUrgent = this.phase !== Phase.open || sent.sackedSegments >= DUPLICATE_THRESHOLD;
    const window = this.rack.reorderingWindow(isUrgent, roundTrip.smoothed);
    const wait = sent.detectLosses(this.rack, this.rack.roundTrip + window, now);
    connection.reorderAt = wait > 0 ? now + wait : NEVER;
  }

  /** Without selective acknowledgments each duplicate stands for a segment that has arrived (RFC 5681, 3.2). */
  #countDuplicates(connection: TcpConnection, advanced: number, isDuplicate: boolean): void {
    const { sent, maximumSegment } = connection;
    const delivery = this.#delivery;
    if (advanced > 0) {
      this.#duplicates = 0;
      this.#duplicateLimit = sent.length;
      if (this.phase === Phase.open) {
        this.#duplicateBytes = 0;
        return;
      }
      // The duplicates stood for a part of what is acknowledged now.
      const counted = Math.min(this.#duplicateBytes, Math.max(0, advanced - maximumSegment));
      this.#duplicateBytes -= counted;
      delivery.bytes = Math.max(0, delivery.bytes - counted);
      // In a recovery what follows the acknowledged part was lost as well (RFC 6582, 3.2, step 3).
      if (this.phase === Phase.recovery && !sent.isEmpty && sequenceBefore(connection.sendUnacknowledged, this.point)) {
        if (!sent.wasRetransmitted(sent.first)) sent.markLost(sent.first);
      }
      return;
    }
    // After a timeout duplicates are of what was sent again (RFC 6582, 3.2).
    if (!isDuplicate || sent.isEmpty || this.phase === Phase.loss) return;
    if (this.phase === Phase.open)
      this.#duplicateLimit = Math.max(this.#duplicateLimit, sent.length, DUPLICATE_THRESHOLD);
    if (this.#duplicates >= this.#duplicateLimit) return;
    this.#duplicates++;
    this.#duplicateBytes = Math.min(this.#duplicateBytes + maximumSegment, sent.bytesInFlight);
    delivery.bytes = maximumSegment;
    // Until more than the last recovery or timeout covered is acknowledged, duplicates may come from what was sent again
    // then (RFC 6582, 3.2, step 2).
    if (
      this.phase === Phase.open &&
      this.#duplicates >= DUPLICATE_THRESHOLD &&
      sequenceAfter(connection.sendUnacknowledged, this.point)
    ) {
      sent.markLost(sent.first);
      this.#duplicateBytes = Math.min(this.#duplicateBytes, sent.bytesInFlight);
    }
  }

  /**
   * Reads the blocks of selective acknowledgment into the queue.
   *
   * @returns whether the first of them reports a duplicate (RFC 2883).
   */
  #readBlocks(connection: TcpConnection, acknowledgment: Sequence, options: TcpOptions, now: number): boolean {
    const { sent, sendNext } = connection;
    const { sackBlocks } = options;
    let first = 0;
    let reportsDuplicate = false;
    const start = options.sackStart(0);
    const end = options.sackEnd(0);
    if (sequenceBefore(start, end) && !sequenceAfter(end, sendNext)) {
      const isBelow = sequenceBefore(start, acknowledgment);
      const isWithin =
        sackBlocks > 1 && !sequenceBefore(start, options.sackStart(1)) && !sequenceAfter(end, options.sackEnd(1));
      if (isBelow || isWithin) {
        first = 1;
        reportsDuplicate = true;
        this.spurious.duplicateReported(connection, start, end);
        this.rack.spurious(connection.roundTrip.smoothed, now);
      }
    }
    // In the order of their sequence numbers, so that a lower one does not look as if it had been overtaken.
    let done = acknowledgment;
    for (let remaining = sackBlocks - first; remaining > 0; remaining--) {
      let next = -1;
      for (let block = first; block < sackBlocks; block++) {
        if (sequenceBefore(options.sackStart(block), done)) continue;
        if (next < 0 || sequenceBefore(options.sackStart(block), options.sackStart(next))) next = block;
      }
      if (next < 0) break;
      const from = options.sackStart(next);
      const to = options.sackEnd(next);
      done = (from + 1) | 0;
      // What was never sent, or is the wrong way round, is not believed.
      if (!sequenceAfter(from, acknowledgment) || !sequenceAfter(to, from) || sequenceAfter(to, sendNext)) continue;
      sent.selectivelyAcknowledge(from, to, this.point, this.rack, now);
    }
    return reportsDuplicate;
  }

  /** Measures the round trip; returns the sample for the congestion control, or -1. */
  #measure(connection: TcpConnection, options: TcpOptions, advanced: number, now: number): number {
    const delivery = this.#delivery;
    const { roundTrip } = connection;
    if (delivery.firstSentAt >= 0 && !delivery.retransmitted) {
      const latest = now - delivery.lastSentAt;
      roundTrip.sample(now - delivery.firstSentAt, now);
      roundTrip.observeMinimum(latest, now);
      return latest;
    }
    // Of a retransmitted segment only the echoed time tells which copy was acknowledged (RFC 7323, 4.1).
    if (advanced > 0 && connection.timestamps && options.hasTimestamps && options.timestampEcho !== 0) {
      const elapsed = (connection.timestamp(now) - options.timestampEcho) | 0;
      if (elapsed >= 0 && elapsed < 0x7fffff) roundTrip.sample(Math.max(1, elapsed), now);
    }
    return -1;
  }
}
