/** Bytes of which a proxy knows already where they go: they pass from one connection to the other without a buffer in between. */
import { Socket } from "node:net";
import type { Duplex } from "node:stream";
import { adoptSocket, readNow, writeNow } from "@hostd/native";
import { FlowStream } from "./flow-stream.ts";

/** The most that a socket of {@link makePassable} reads into a buffer; when it is that much, there is more to be passed on. */
export const PASSABLE_READ = 16 * 1024;

/** Serves all sockets: what is read into it is copied before the callback returns. */
const scratch = Buffer.allocUnsafeSlow(PASSABLE_READ);

/**
 * The connection of a stream as one that makes few and small buffers of what it reads, for whoever has the rest passed on
 * by {@link passUnread}: large buffers cost more than what is done with them. It flows from the next turn on.
 *
 * @param stream - not to be used any more, nor read from before.
 * @returns the same stream when it is no connection of the kernel's.
 */
export function makePassable(stream: Duplex): Duplex {
  if (!isPlain(stream) || stream.destroyed || stream.pending || stream.readableEnded) return stream;
  if (stream.readableLength > 0 || stream.writableLength > 0) return stream;
  const socket: Socket = adoptSocket(stream, {
    allowHalfOpen: true,
    onread: {
      buffer: scratch,
      callback: (length) => socket.push(Buffer.copyBytesFrom(scratch, 0, length)),
    },
  });
  return socket.resume();
}

/**
 * Passes on to a guest what the kernel has of a connection. For when all that was read of it is taken, and nothing waits to be
 * sent to the guest.
 *
 * @param most - bytes that may be read.
 * @returns how many were; none when the streams are of other kinds.
 */
export function passUnread(from: Duplex, to: Duplex, most: number): number {
  if (!(to instanceof FlowStream) || !isPlain(from) || from.readableLength > 0) return 0;
  return to.fill(most, (bytes, offset, length) => readNow(from, bytes, offset, length));
}

/** Writes what the kernel takes at once, if nothing waits to be written; the bytes need not stay where they are. */
export function writeUnqueued(to: Duplex, bytes: Uint8Array, offset: number, length: number): number {
  return isPlain(to) && to.writable && to.writableLength === 0 ? writeNow(to, bytes, offset, length) : 0;
}

function isPlain(stream: Duplex): stream is Socket {
  return stream instanceof Socket && !("encrypted" in stream);
}
