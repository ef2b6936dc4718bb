import type { TcpConnection } from "./connection.ts";

/** The buffer of a new flow in each direction; it grows with use while the budget lasts. */
export const INITIAL_BUFFER = 64 * 1024;
/** The buffer of a new flow when the budget is spent. */
export const SMALLEST_BUFFER = 16 * 1024;
/** A flow without anything to send for so long, in milliseconds, gives its large send buffer back to who needs it. */
const IDLE_MS = 1000;

/**
 * The memory that the buffers of all flows may promise beyond the smallest size of each.
 *
 * A buffer takes memory only for what is in it. What is counted here is what it may come to hold: the window that was
 * offered to the peer, and what the owner may queue.
 */
export class BufferBudget {
  /** Bytes promised. */
  reserved = 0;
  readonly #limit: number;
  #reclaimedAt = Number.NEGATIVE_INFINITY;

  /** @param limit - bytes. */
  constructor(limit: number) {
    this.#limit = limit;
  }

  /** Gives a new flow its first buffers. */
  start(connection: TcpConnection, flows: Iterable<TcpConnection>, now: number): void {
    const isGranted = this.reserve(connection, 2 * (INITIAL_BUFFER - SMALLEST_BUFFER), flows, now);
    connection.sendLimit = isGranted ? INITIAL_BUFFER : SMALLEST_BUFFER;
    connection.receiveLimit = connection.sendLimit;
  }

  /** Promises a flow `bytes` more; false when there is not so much left, even after the idle flows gave back theirs. */
  reserve(connection: TcpConnection, bytes: number, flows: Iterable<TcpConnection>, now: number): boolean {
    if (this.reserved + bytes > this.#limit) this.#reclaim(flows, now);
    if (this.reserved + bytes > this.#limit) return false;
    this.reserved += bytes;
    connection.reserved += bytes;
    return true;
  }

  /** The flow is gone, or sends and receives no more. */
  release(connection: TcpConnection): void {
    this.reserved -= connection.reserved;
    connection.reserved = 0;
    // There is nothing left to be taken back.
    connection.sendLimit = Math.min(connection.sendLimit, INITIAL_BUFFER);
  }

  /** Takes back what idle flows' send buffers grew by. A window that was offered cannot be taken back. */
  #reclaim(flows: Iterable<TcpConnection>, now: number): void {
    if (now - this.#reclaimedAt < IDLE_MS) return;
    this.#reclaimedAt = now;
    for (const flow of flows) {
      const grown = flow.sendLimit - INITIAL_BUFFER;
      if (grown <= 0 || flow.sendQueued > 0 || now - flow.lastSentAt < IDLE_MS) continue;
      flow.sendLimit = INITIAL_BUFFER;
      flow.reserved -= grown;
      this.reserved -= grown;
    }
  }
}
