import { Socket } from "node:net";
import type { Duplex } from "node:stream";
import { readNow } from "@hostd/native";

/** Bytes that are read of a socket at once. */
const READ_BYTES = 64 * 1024;
/** The most that is read of a socket in all; the kernel keeps less unless it is told otherwise. */
const MAX_UNREAD = 8 * 1024 * 1024;

/**
 * Has nothing lost of what a peer has sent before it closed. Node destroys a stream when a write to it fails, with all
 * that came and was not read; but whoever closes while it is still sent something may have answered before.
 *
 * @param rescued - is given what was not read yet, in its order, before the stream closes by an error.
 */
export function rescueUnread(stream: Duplex, rescued: (bytes: Buffer) => void): void {
  const destroy = stream._destroy;
  stream._destroy = (error, done) => {
    if (error !== null) {
      for (let bytes: Buffer | null; (bytes = stream.read()) !== null; ) rescued(bytes);
      // What TLS has is not readable here.
      if (stream instanceof Socket && !("encrypted" in stream)) readKernel(stream, rescued);
    }
    destroy.call(stream, error, done);
  };
}

function readKernel(socket: Socket, rescued: (bytes: Buffer) => void): void {
  for (let total = 0; total < MAX_UNREAD; ) {
    const bytes = Buffer.allocUnsafe(READ_BYTES);
    const length = readNow(socket, bytes, 0, READ_BYTES);
    if (length === 0) return;
    rescued(bytes.subarray(0, length));
    total += length;
  }
}
