import { Socket } from "node:net";
import type { Duplex } from "node:stream";
import { adoptSocket } from "@hostd/native";
import type { FlowStream } from "./flow-stream.ts";
import { Relay } from "./relay.ts";
import { RelayPool } from "./relay-pool.ts";

/** Memory for what the two ends of all connections have sent each other, in bytes. */
const MAX_QUEUED_BYTES = 256 * 1024 * 1024;

const pool = new RelayPool(MAX_QUEUED_BYTES, () => {});

/** Writes what guests sent in a batch of frames on connections of {@link relayStreams}. */
export function flushRelayedStreams(): void {
  pool.flushBatch();
}

/**
 * Joins a guest's connection and a socket of the host by a {@link Relay}, which costs a fraction of what it takes to pass
 * buffers from one stream to the other. The stream closes when both connections have ended, and with it destroyed both are
 * reset. Of the socket nothing is left but a closed one: its connection goes on in another.
 *
 * @returns false when that cannot be; then both are paused, and what has come may have been written to the other one.
 */
export function relayStreams(stream: FlowStream, socket: Socket): boolean {
  const isPlain = socket instanceof Socket && !("encrypted" in socket);
  if (!isPlain || socket.destroyed || socket.pending || socket.readableEnded || socket.writableEnded) return false;
  if (stream.destroyed || stream.readableEnded || stream.writableEnded) return false;
  stream.pause();
  socket.pause();
  for (const bytes of readUnread(socket)) stream.write(bytes);
  if (socket.writableLength > 0) return false;
  const sent = Buffer.concat(readUnread(stream));
  const relay: Relay = new Relay(pool, {
    relayConnected: () => {},
    relayEstablished: () => {},
    relayFailed: () => relay.abandon(),
    relaySocketClosed: () => {},
    relayEnded: () => stream.destroy(),
  });
  const taken = stream.handOver(relay);
  if (taken === null) {
    if (sent.length > 0) stream.unshift(sent);
    return false;
  }
  relay.attach(adoptSocket(socket, relay.socketOptions()));
  socket.destroy();
  relay.start(taken.flow);
  if (sent.length > 0) relay.data(taken.flow, sent, 0, sent.length);
  if (taken.hasEnded) relay.end(taken.flow);
  return true;
}

/** What was read of a paused stream and nobody has taken. */
function readUnread(stream: Duplex): Buffer[] {
  const parts: Buffer[] = [];
  for (let part: Buffer | null; (part = stream.read()) !== null; ) parts.push(part);
  return parts;
}
