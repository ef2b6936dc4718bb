import type { Socket } from "node:net";

/** Closes a socket at once; a TCP one by a reset, which Node has not for others. */
export function resetSocket(socket: Socket): void {
  // All is written and the end is on its way: libuv has no reset then, and Node would leave the socket open.
  const isShuttingDown = socket.writableEnded && !socket.writableFinished && socket.writableLength === 0;
  // Without a connection Node would report an error, and reset one that is on its way only once it is there.
  if (socket.pending || isShuttingDown) {
    socket.destroy();
    return;
  }
  try {
    socket.resetAndDestroy();
  } catch {
    // ERR_INVALID_HANDLE_TYPE: a Unix socket or a pipe, whose peer is told by the kernel.
    socket.destroy();
  }
}
