import { sequenceDistance } from "../sequence.ts";
import type { TcpConnection } from "../tcp/connection.ts";
import { MAX_SEGMENTS_IN_FLIGHT } from "../tcp/retransmission-queue.ts";

/** The largest send or receive buffer of a connection. */
const MAX_BUFFER = 4 * 1024 * 1024;

/**
 * Adds up again what a connection keeps count of.
 *
 * @throws {Error} when the books are wrong, or more is kept than may be.
 */
export function checkBooks(connection: TcpConnection): void {
  const { sent, outOfOrder, sendQueued, sendNext, sendUnacknowledged } = connection;
  expectAtMost(sendQueued, MAX_BUFFER, "bytes queued");
  expectAtMost(outOfOrder.bytes, MAX_BUFFER, "bytes out of order");
  expectAtMost(sent.length, MAX_SEGMENTS_IN_FLIGHT, "segments in flight");
  const offered = sequenceDistance(connection.receiveEdge, connection.receiveNext);
  expectAtMost(offered + connection.unconsumed, MAX_BUFFER, "bytes that the peer may have sent");
  let bytes = 0;
  let sackedSegments = 0;
  let sackedBytes = 0;
  for (let index = sent.first; index < sent.first + sent.length; index++) {
    const length = sent.lengthOf(index);
    if (length <= 0) throw new Error(`a segment of ${length} bytes in flight`);
    bytes += length;
    if (!sent.isSacked(index)) continue;
    sackedSegments++;
    sackedBytes += length;
  }
  const flight = connection.isSynchronized ? sequenceDistance(sendNext, sendUnacknowledged) : 0;
  expectSame(bytes, flight, "bytes in the retransmission queue");
  expectSame(sent.sackedSegments, sackedSegments, "segments selectively acknowledged");
  expectSame(sent.sackedBytes, sackedBytes, "bytes selectively acknowledged");
  const { bytesInFlight, lostSegments, segmentsInFlight } = sent;
  expectAtMost(lostSegments, sent.length - sackedSegments, "lost segments");
  expectAtMost(bytesInFlight, bytes - sackedBytes, "bytes in flight");
  if (lostSegments === 0) expectSame(bytesInFlight, bytes - sackedBytes, "bytes in flight");
  if (segmentsInFlight === 0) expectSame(bytesInFlight, 0, "bytes in flight without segments");
}

function expectAtMost(actual: number, most: number, what: string): void {
  if (!(actual >= 0 && actual <= most)) throw new Error(`${actual} ${what}, with ${most} at most`);
}

function expectSame(actual: number, right: number, what: string): void {
  if (actual !== right) throw new Error(`${actual} ${what}, should be ${right}`);
}
