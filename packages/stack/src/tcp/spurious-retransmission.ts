import { type Sequence, sequenceBefore, sequenceDistance } from "../sequence.ts";
import type { TcpOptions } from "../wire/tcp-options.ts";
import type { TcpConnection } from "./connection.ts";

/**
 * Finds out whether what a recovery sent again had arrived all along, so that its reduction of the window can be undone:
 * by timestamps (Eifel, RFC 3522) or by reports of duplicates (RFC 3708).
 */
export class SpuriousRetransmission {
  #isWatching = false;
  /** The first sequence number that the recovery is about. */
  #from: Sequence = 0;
  /** Retransmissions that have not been reported as duplicates. */
  #unreported = 0;
  #hasRetransmitted = false;
  /** The timestamp of the first retransmission. */
  #stamp = 0;

  /** A recovery begins. */
  begin(connection: TcpConnection): void {
    this.#isWatching = true;
    this.#from = connection.sendUnacknowledged;
    this.#unreported = 0;
    this.#hasRetransmitted = false;
  }

  retransmitted(connection: TcpConnection, now: number): void {
    if (!this.#isWatching) return;
    this.#unreported++;
    if (this.#hasRetransmitted) return;
    this.#hasRetransmitted = true;
    this.#stamp = connection.timestamp(now);
  }

  /** The peer reported that it received [start, end) twice (RFC 2883). */
  duplicateReported(connection: TcpConnection, start: Sequence, end: Sequence): void {
    if (!this.#isWatching || !this.#hasRetransmitted || sequenceBefore(start, this.#from)) return;
    const segments = Math.max(1, Math.ceil(sequenceDistance(end, start) / connection.maximumSegment));
    this.#unreported = Math.max(0, this.#unreported - segments);
  }

  /** Whether by now every retransmission of the recovery has turned out not to be needed. */
  isShown(connection: TcpConnection, options: TcpOptions, advanced: number): boolean {
    if (!this.#isWatching || !this.#hasRetransmitted) return false;
    if (this.#unreported === 0) return true;
    // The acknowledgment was drawn by a copy that was sent before the first retransmission.
    return (
      advanced > 0 && connection.timestamps && options.hasTimestamps && ((options.timestampEcho - this.#stamp) | 0) < 0
    );
  }

  /** The recovery is over. */
  end(): void {
    this.#isWatching = false;
  }
}
