import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { connect, createServer, Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { writeNow } from "./direct-io.ts";
import { setSendBuffer } from "./send-buffer.ts";

/** A connected Unix socket whose other side reads nothing. */
async function unreadSocket(): Promise<Socket> {
  const folder = mkdtempSync(join(tmpdir(), "hostd-send-buffer-"));
  const server = createServer({ pauseOnConnect: true });
  server.listen(join(folder, "socket"));
  await once(server, "listening");
  const accepted = once(server, "connection");
  const socket = connect(join(folder, "socket"));
  await once(socket, "connect");
  const [other] = await accepted;
  onTestFinished(() => {
    socket.destroy();
    if (other instanceof Socket) other.destroy();
    server.close();
    rmSync(folder, { recursive: true });
  });
  return socket;
}

/** How many bytes the kernel takes until it would have to wait. */
function bytesTaken(socket: Socket): number {
  const bytes = new Uint8Array(16 * 1024);
  let total = 0;
  for (;;) {
    const taken = writeNow(socket, bytes, 0, bytes.length);
    if (taken === 0) return total;
    total += taken;
  }
}

test("the kernel takes less of a socket with a small buffer than of one with a large one", async () => {
  const [small, large] = [await unreadSocket(), await unreadSocket()];
  expect(setSendBuffer(small, 32 * 1024)).toBe(true);
  expect(setSendBuffer(large, 128 * 1024)).toBe(true);
  expect(bytesTaken(large)).toBeGreaterThan(2 * bytesTaken(small));
});

test("a closed socket has no buffer", async () => {
  const socket = await unreadSocket();
  socket.destroy();
  await once(socket, "close");
  expect(setSendBuffer(socket, 32 * 1024)).toBe(false);
});
