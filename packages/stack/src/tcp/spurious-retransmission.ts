import { type Sequence, sequenceAfter, sequenceBefore, sequenceDistance } from "../sequence.ts";
import type { TcpOptions } from "../wire/tcp-options.ts";
import type { TcpConnection } from "./connection.ts";

/**
 * Finds out whether what a recovery sent again had arrived all along, so that its reduction of the window can be undone:
 * by timestamps (Eifel, RFC 3522) or by reports of duplicates (RFC 3708).
 */
export class SpuriousRetransmission {
  #isWatching = false;
  /** What was sent again lies from here on, and ends at {@link #to}. */
  #from: Sequence = 0;
  #to: Sequence = 0;
  /** The recovery is over, and reports of duplicates are waited for until this is acknowledged. */
  #isOver = false;
  #until: Sequence = 0;
  /** Retransmissions that have not been reported as duplicates. */
  #unreported = 0;
  #hasRetransmitted = false;
  /** The timestamp of the first retransmission. */
  #stamp = 0;

  /** A recovery begins. */
  begin(connection: TcpConnection): void {
    this.#isWatching = true;
    this.#isOver = false;
    this.#from = connection.sendUnacknowledged;
    this.#to = this.#from;
    this.#unreported = 0;
    this.#hasRetransmitted = false;
  }

  /** Notes that [start, end) was sent again. */
  retransmitted(connection: TcpConnection, start: Sequence, end: Sequence, now: number): void {
    if (!this.#isWatching || this.#isOver) return;
    this.#unreported++;
    if (sequenceAfter(end, this.#to)) this.#to = end;
    if (this.#hasRetransmitted) return;
    this.#hasRetransmitted = true;
    this.#from = start;
    this.#stamp = connection.timestamp(now);
  }

  /** The peer reported that it received [start, end) twice (RFC 2883). */
  duplicateReported(connection: TcpConnection, start: Sequence, end: Sequence): void {
    if (!this.#isWatching || !this.#hasRetransmitted) return;
    if (sequenceBefore(start, this.#from) || sequenceAfter(end, this.#to)) return;
    const segments = Math.max(1, Math.ceil(sequenceDistance(end, start) / connection.maximumSegment));
    this.#unreported = Math.max(0, this.#unreported - segments);
  }

  /** Whether by now every retransmission of the recovery has turned out not to be needed. */
  isShown(connection: TcpConnection, options: TcpOptions, advanced: number): boolean {
    if (!this.#isWatching || !this.#hasRetransmitted) return false;
    if (this.#unreported === 0) return true;
    if (this.#isOver) return false;
    // The acknowledgment was drawn by a copy that was sent before the first retransmission.
    return (
      advanced > 0 && connection.timestamps && options.hasTimestamps && ((options.timestampEcho - this.#stamp) | 0) < 0
    );
  }

  /** The recovery is over. A report of a duplicate comes a little later than the acknowledgment that ended it. */
  recovered(connection: TcpConnection): void {
    this.#isOver = true;
    this.#until = connection.sendNext;
  }

  /** Whether a report may still show that a recovery that is over was begun for nothing. */
  isAwaited(acknowledgment: Sequence): boolean {
    if (!this.#isWatching || !this.#isOver) return false;
    if (sequenceAfter(acknowledgment, this.#until)) this.#isWatching = false;
    return this.#isWatching;
  }

  /** The recovery was undone: there is nothing more to find out. */
  end(): void {
    this.#isWatching = false;
  }
}
