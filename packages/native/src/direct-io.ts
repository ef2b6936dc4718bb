import type { Socket as DatagramSocket } from "node:dgram";
import { readSync, writeSync } from "node:fs";
import type { Socket } from "node:net";

/** What Node's sockets have and its types leave out. */
interface SocketWithHandle {
  readonly _handle: { readonly fd?: number } | null;
}

/** The errors with which the kernel says that it would have to wait. */
const WOULD_BLOCK = new Set<string | undefined>(["EAGAIN", "EWOULDBLOCK"]);

/** The descriptor of a socket; -1 when it has none. */
export function descriptorOf(socket: Socket): number {
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

/** What a datagram socket keeps under its symbol of this description; `_handle`, which shows the same, is deprecated. */
const DATAGRAM_STATE = "state symbol";

interface DatagramState {
  readonly handle?: { readonly fd?: number } | null;
}

/** The errors after which a datagram may go later, as libuv has it too. */
const SEND_LATER = new Set<string | undefined>([...WOULD_BLOCK, "ENOBUFS"]);

/**
 * The descriptor of a bound datagram socket, for {@link sendNow} and {@link receiveNow}. It is closed in `socket.close`
 * and may be that of something else at once, so whoever closes the socket must forget it.
 *
 * @returns -1 when there is none: on Windows, before `bind`, after `close`, or in a Node that keeps it elsewhere.
 */
export function datagramDescriptor(socket: DatagramSocket): number {
  for (const symbol of Object.getOwnPropertySymbols(socket)) {
    if (symbol.description !== DATAGRAM_STATE) continue;
    const state = (socket as unknown as Record<symbol, DatagramState | undefined>)[symbol];
    // Not every handle without a descriptor says so by -1.
    return Math.max(-1, state?.handle?.fd ?? -1);
  }
  return -1;
}

/**
 * Sends a datagram of at least one byte on a connected socket, from any memory, which is not referred to afterwards. Only
 * for a socket that Node has nothing queued for, or the order would be lost.
 *
 * @returns false when the kernel takes it later only.
 * @throws {NodeJS.ErrnoException} any other error, be it of this datagram or one that the kernel learned of before.
 */
export function sendNow(descriptor: number, bytes: Uint8Array, offset: number, length: number): boolean {
  try {
    writeSync(descriptor, bytes, offset, length);
    return true;
  } catch (error) {
    if (SEND_LATER.has((error as NodeJS.ErrnoException).code)) return false;
    throw error;
  }
}

/**
 * Receives the next datagram of a socket into any memory; what is longer than `length` is cut. It does not tell where
 * the datagram came from, so it is for a connected socket. Finding none costs some microseconds.
 *
 * @returns bytes of the datagram, which may be 0, or -1 when there is none.
 * @throws {NodeJS.ErrnoException} any other error, which the kernel tells once; there may be datagrams behind it.
 */
export function receiveNow(descriptor: number, bytes: Uint8Array, offset: number, length: number): number {
  try {
    return readSync(descriptor, bytes, offset, length, null);
  } catch (error) {
    if (WOULD_BLOCK.has((error as NodeJS.ErrnoException).code)) return -1;
    throw error;
  }
}
