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
  readonly receivedBytes: number;
  /** Whether what it received is what the other end sends, as far as it goes. */
  readonly isRight: boolean;
  /** What ended the connection early, such as ECONNRESET; null after an orderly end both ways. */
  readonly error: string | null;
}

/** What one end of the connection does in an exchange. */
export interface Part {
  readonly id: number;
  readonly sends: Stream;
  readonly receives: Stream;
  readonly sendsSecond: boolean;
  readonly pause: Pause | undefined;
}

export function clientPart(exchange: Exchange): Part {
  const { id, first, clientPause } = exchange;
  const [sends, receives] = streamsOf(exchange);
  return { id, sends, receives, sendsSecond: first === "server", pause: clientPause };
}

export function serverPart(exchange: Exchange): Part {
  const { id, first, serverPause } = exchange;
  const [receives, sends] = streamsOf(exchange);
  return { id, sends, receives, sendsSecond: first === "client", pause: serverPause };
}

function streamsOf({ id, up, down }: Exchange): [up: Stream, down: Stream] {
  return [new Stream(2 * id, up), new Stream(2 * id + 1, down)];
}

const BLOCK = patternBytes(1024 * 1024);
/** The place of a block and the number of its stream, which make every block of every connection another one. */
const HEADER = 12;

/** The bytes of one direction of an exchange. Both ends know them, so that they are compared at the speed of memory. */
class Stream {
  readonly length: number;
  readonly #number: number;

  constructor(number: number, length: number) {
    this.#number = number;
    this.length = length;
  }

  /** The block that begins at `start`. */
  block(start: number): Buffer {
    const block = Buffer.from(BLOCK.subarray(0, this.length - start));
    if (block.length >= HEADER) this.#header(start).copy(block);
    return block;
  }

  /** Whether the stream has these bytes at `at`. */
  has(bytes: Buffer, at: number): boolean {
    if (at + bytes.length > this.length) return false;
    for (let done = 0; done < bytes.length; ) {
      const offset = (at + done) % BLOCK.length;
      const start = at + done - offset;
      const isHeader = offset < HEADER && this.length - start >= HEADER;
      const right = isHeader ? this.#header(start).subarray(offset) : BLOCK.subarray(offset);
      const seen = bytes.subarray(done, done + right.length);
      if (!seen.equals(right.subarray(0, seen.length))) return false;
      done += seen.length;
    }
    return true;
  }

  #header(start: number): Buffer {
    const header = Buffer.alloc(HEADER);
    header.writeUIntBE(start, 0, 6);
    header.writeUIntBE(this.#number, 6, 6);
    return header;
  }
}

/**
 * Plays one end's part on a connection that may stay half-open, and waits until it is closed.
 *
 * @param header - sent before the bytes of the exchange, and not part of them
 */
export async function play(socket: Socket, part: Part, header = ""): Promise<Report> {
  let error: string | null = null;
  socket.on("error", (cause) => (error = "code" in cause ? String(cause.code) : cause.message));
  // Subscribed before anything can happen to the socket.
  const closed = new Promise((resolve) => socket.once("close", resolve));
  const ended = new Promise<void>((resolve) => socket.once("end", resolve));
  let receivedBytes = 0;
  let isRight = true;
  let pause = part.pause;
  socket.on("data", (chunk: Buffer) => {
    isRight &&= part.receives.has(chunk, receivedBytes);
    receivedBytes += chunk.length;
    if (pause === undefined || receivedBytes < pause.afterBytes) return;
    socket.pause();
    setTimeout(() => socket.resume(), pause.ms);
    pause = undefined;
  });
  if (header !== "") socket.write(header);
  if (part.sendsSecond) await Promise.race([ended, closed]);
  await send(socket, part.sends, closed);
  await closed;
  if (error === null && !socket.readableEnded) error = "closed before the end of the stream";
  return { id: part.id, receivedBytes, isRight, error };
}

/** Sends a stream and its end. */
async function send(socket: Socket, stream: Stream, closed: Promise<unknown>): Promise<void> {
  for (let at = 0; at < stream.length && !socket.destroyed; ) {
    const chunk = stream.block(at);
    at += chunk.length;
    if (!socket.write(chunk)) await Promise.race([once(socket, "drain").catch(() => {}), closed]);
  }
  socket.end();
}
