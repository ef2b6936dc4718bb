import { type OnReadOpts, Socket, type SocketConstructorOpts } from "node:net";

/** What Node's sockets have and its types leave out. */
interface SocketWithHandle {
  _handle: StreamHandle | null;
}

interface StreamHandle {
  /** Whether Node has it read. */
  reading: boolean;
  readStop(): number;
}

/** How the socket is made that takes over a handle. */
export interface AdoptOptions {
  readonly allowHalfOpen?: boolean;
  /** Where it reads to, and who is told; the bytes are valid until the callback returns. */
  readonly onread: Readonly<OnReadOpts>;
  /** Bytes that may wait to be written before `write` returns false. Node takes it, but its types have it not. */
  readonly writableHighWaterMark?: number;
}

/**
 * Moves the handle of a connected socket to a new one, which is the only one that Node offers `onread` to. What `connected`
 * has read stays there, and nothing may wait to be written by it; an end that it has read is read again.
 *
 * @returns the new socket, paused; `connected` itself, destroyed, when its connection is already gone.
 */
export function adoptSocket(connected: Socket, options: AdoptOptions): Socket {
  const source = connected as unknown as SocketWithHandle;
  const handle = source._handle;
  if (handle === null) {
    connected.destroy();
    return connected;
  }
  source._handle = null;
  if (handle.reading) {
    handle.reading = false;
    handle.readStop();
  }
  const socket = new Socket({ ...options, handle } as unknown as SocketConstructorOpts);
  socket.pause();
  // The server counts its connections by the sockets that it made.
  socket.on("close", () => connected.destroy());
  return socket;
}
