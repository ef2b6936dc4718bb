/**
 * The memory that all host sockets are read into. One buffer serves them all because libuv asks for memory, reads and
 * hands over the bytes in one go, and the callback copies them before it returns.
 */
const buffer = Buffer.allocUnsafeSlow(256 * 1024);

const views = [buffer, buffer.subarray(0, 64 * 1024), buffer.subarray(0, 16 * 1024), buffer.subarray(0, 4 * 1024)];

/**
 * Where to read a socket whose flow has `room` for so many bytes: the longest view that fits, so that what is read is
 * also taken, and at least 4 KiB, which bounds what has to be kept when the flow has next to no room.
 */
export function readView(room: number): Buffer {
  for (const view of views) {
    if (view.length <= room) return view;
  }
  return views[views.length - 1];
}
