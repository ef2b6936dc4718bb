import { createHash } from "node:crypto";
import { once } from "node:events";
import type { Socket } from "node:net";
import { patternBytes } from "../vm/host-servers.ts";

/** A stop in the reading: it begins once so many bytes have been received. */
export interface Pause {
  readonly afterBytes: number;
  readonly ms: number;
}

/** What one connection carries. The client sends it as a line of JSON before its own bytes. */
export interface Exchange {
  readonly id: number;
  /** Bytes from the client to the server. */
  readonly up: number;
  /** Bytes from the server to the client. */
  readonly down: number;
  /** Who sends: both from the start, or one of them only after the other's end of stream. Both if left out. */
  readonly first?: "client" | "server";
  readonly clientPause?: Pause;
  readonly serverPause?: Pause;
}

/** What one end of a connection has seen. */
export interface Report {
  readonly id: number;
  readonly sentHash: string;
  readonly receivedHash: string;
  readonly receivedBytes: number;
  /** What ended the connection early, such as ECONNRESET; null after an orderly end both ways. */
  readonly error: string | null;
}

/** What one end of the connection does in an exchange. */
export interface Part {
  readonly id: number;
  readonly sends: number;
  readonly sendsSecond: boolean;
  readonly pause: Pause | undefined;
}

export function clientPart({ id, up, first, clientPause }: Exchange): Part {
  return { id, sends: up, sendsSecond: first === "server", pause: clientPause };
}

export function serverPart({ id, down, first, serverPause }: Exchange): Part {
  return { id, sends: down, sendsSecond: first === "client", pause: serverPause };
}

const BLOCK = patternBytes(1024 * 1024);

/**
 * Plays one end's part on a connection that may stay half-open, and waits until it is closed.
 *
 * @param header - sent before the bytes of the exchange, and not counted in the hash
 */
export async function play(socket: Socket, part: Part, header = ""): Promise<Report> {
  let error: string | null = null;
  socket.on("error", (cause) => (error = "code" in cause ? String(cause.code) : cause.message));
  // Subscribed before anything can happen to the socket.
  const closed = new Promise((resolve) => socket.once("close", resolve));
  const ended = new Promise<void>((resolve) => socket.once("end", resolve));
  const received = createHash("sha256");
  let receivedBytes = 0;
  let pause = part.pause;
  socket.on("data", (chunk) => {
    received.update(chunk);
    receivedBytes += chunk.length;
    if (pause === undefined || receivedBytes < pause.afterBytes) return;
    socket.pause();
    setTimeout(() => socket.resume(), pause.ms);
    pause = undefined;
  });
  if (header !== "") socket.write(header);
  if (part.sendsSecond) await Promise.race([ended, closed]);
  const sentHash = await send(socket, part, closed);
  await closed;
  if (error === null && !socket.readableEnded) error = "closed before the end of the stream";
  return { id: part.id, sentHash, receivedHash: received.digest("hex"), receivedBytes, error };
}

/** Sends a part's bytes and the end of the stream; returns their hash. */
async function send(socket: Socket, { id, sends }: Part, closed: Promise<unknown>): Promise<string> {
  const hash = createHash("sha256");
  for (let at = 0; at < sends && !socket.destroyed; at += BLOCK.length) {
    const chunk = Buffer.from(BLOCK.subarray(0, Math.min(BLOCK.length, sends - at)));
    // No two blocks are the same, on this connection or another.
    if (chunk.length >= 12) {
      chunk.writeUIntBE(at, 0, 6);
      chunk.writeUIntBE(id, 6, 6);
    }
    hash.update(chunk);
    if (!socket.write(chunk)) await Promise.race([once(socket, "drain").catch(() => {}), closed]);
  }
  socket.end();
  return hash.digest("hex");
}
