import { sequenceDistance } from "../sequence.ts";
import { State } from "../tcp/connection.ts";
import type { SegmentPeer } from "./segment-peer.ts";

/** Longer than any timeout of TCP, in milliseconds. */
const PATIENCE_MS = 300_000;
/** How long a window may stay closed because others are open that nobody makes use of, in milliseconds. */
const OPENS_WITHIN_MS = 60;
const MAX_TURNS = 5000;
/** How often the stack has to ask a silent peer, to be sure that it does not stop to. */
const SIGNS = 4;
/** Bytes that the peer sends at last, to see that they arrive. */
const LAST_WORDS = 3000;

/**
 * Has the peer do everything right from now on: everything that the owner has sent has to arrive, and what the peer
 * sends as well, unless the connection ends.
 *
 * @returns whether it came to that.
 * @throws {Error} when the connection is there and does not go on.
 */
export function recover(peer: SegmentPeer): boolean {
  if (!peer.isRecoverable) return false;
  peer.calmOwner();
  if (!asksAgain(peer) || !peer.passWindowUpdate()) return false;
  peer.acknowledge();
  let turns = 0;
  let progressAt = peer.lan.now;
  let edge = peer.connection?.sendUnacknowledged;
  for (let { connection } = peer; connection !== null && connection.state <= State.lastAck; { connection } = peer) {
    if (connection.sendQueued === 0 && connection.sent.isEmpty && (!connection.finQueued || connection.unsent < 0))
      break;
    if (++turns > MAX_TURNS) throw new Error(`after ${turns} turns ${connection.sendQueued} bytes are still queued`);
    peer.answerAll();
    if (connection.sendUnacknowledged !== edge) {
      edge = connection.sendUnacknowledged;
      progressAt = peer.lan.now;
    } else if (peer.lan.now - progressAt > PATIENCE_MS) {
      throw new Error(
        `the connection stands still in ${connection.stateName} with ${connection.sendQueued} bytes queued`,
      );
    } else {
      peer.waitForDeadline();
    }
  }
  return peer.connection === null || peer.connection.state > State.lastAck || hearsLastWords(peer);
}

/**
 * Whether the connection lasts while the peer says nothing: for what is not acknowledged, or waits for the window, the
 * stack is to ask again and again.
 */
function asksAgain(peer: SegmentPeer): boolean {
  for (let signs = 0; signs < SIGNS; signs++) {
    const silentSince = peer.lan.now;
    const { received } = peer;
    while (peer.isRecoverable && (peer.connection?.sendQueued ?? 0) > 0 && peer.received === received) {
      if (peer.lan.now - silentSince > PATIENCE_MS) throw new Error("nothing is sent although something is queued");
      peer.waitForDeadline();
    }
  }
  return peer.isRecoverable;
}

/** Whether the owner gets what the peer sends now; true as well when it has ended its stream. */
function hearsLastWords(peer: SegmentPeer): boolean {
  const { connection, owner } = peer;
  if (connection === null || owner === null || !connection.outOfOrder.isEmpty || connection.finSeen) return true;
  const { receiveNext } = connection;
  const askedAt = peer.lan.now;
  while (connection.windowTurn?.isWaiting && peer.lan.now - askedAt <= OPENS_WITHIN_MS) peer.waitForDeadline();
  peer.sendInOrder(LAST_WORDS);
  if (connection.state === State.closed) return true;
  const taken = sequenceDistance(connection.receiveNext, receiveNext);
  if (taken !== LAST_WORDS) throw new Error(`${taken} of ${LAST_WORDS} bytes in order were taken in`);
  return true;
}
