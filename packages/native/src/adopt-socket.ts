import { type OnReadOpts, Socket, type SocketConstructorOpts } from "node:net";

/** What Node's sockets have and its types leave out. */
interface SocketWithHandle {
  _handle: object | null;
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
 * Moves the handle of a socket that a server accepted to a new socket, which Node offers `onread` only to. The socket
 * must come from a server with `pauseOnConnect`, so that nothing was read from it.
 *
 * @returns the new socket, paused; `accepted` itself, destroyed, when its connection is already gone.
 */
export function adoptSocket(accepted: Socket, options: AdoptOptions): Socket {
  const source = accepted as unknown as SocketWithHandle;
  const handle = source._handle;
  if (handle === null) {
    accepted.destroy();
    return accepted;
  }
  source._handle = null;
  const socket = new Socket({ ...options, handle } as unknown as SocketConstructorOpts);
  socket.pause();
  // The server counts its connections by the sockets that it made.
  socket.on("close", () => accepted.destroy());
  return socket;
}
