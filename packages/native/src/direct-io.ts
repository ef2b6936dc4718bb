import { readSync, writeSync } from "node:fs";
import type { Socket } from "node:net";

/** What Node's sockets have and its types leave out. */
interface SocketWithHandle {
  readonly _handle: { readonly fd?: number } | null;
}

/** The errors with which the kernel says that it would have to wait. */
const WOULD_BLOCK = new Set<string | undefined>(["EAGAIN", "EWOULDBLOCK"]);

function descriptorOf(socket: Socket): number {
  // Absent on Windows, and -1 once the handle is closed.
  return (socket as unknown as SocketWithHandle)._handle?.fd ?? -1;
}

/**
 * Writes to a connected socket what the kernel takes at once. Unlike `socket.write` it keeps no reference to the memory,
 * so that the rest may be copied or written in any other way; and it costs less. Only for a socket that Node has nothing
 * queued for, or the order would be lost.
 *
 * @returns how many bytes were taken, 0 to `length`. An error counts as none: Node's own write will meet it.
 */
export function writeNow(socket: Socket, bytes: Uint8Array, offset: number, length: number): number {
  const descriptor = descriptorOf(socket);
  if (descriptor < 0) return 0;
  try {
    return writeSync(descriptor, bytes, offset, length);
  } catch {
    return 0;
  }
}

/**
 * Reads from a connected socket what the kernel has, into any memory. For the callback of a read that filled its buffer;
 * finding nothing costs some microseconds. The end of the stream counts as nothing: Node's own read will meet it.
 *
 * @returns how many bytes were read. After an error the socket is destroyed with it, since the kernel tells it once.
 */
export function readNow(socket: Socket, bytes: Uint8Array, offset: number, length: number): number {
  const descriptor = descriptorOf(socket);
  if (descriptor < 0) return 0;
  try {
    return readSync(descriptor, bytes, offset, length, null);
  } catch (error) {
    if (!WOULD_BLOCK.has((error as NodeJS.ErrnoException).code)) socket.destroy(error as Error);
    return 0;
  }
}
