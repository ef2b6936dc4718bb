import { once } from "node:events";
import { lstat, mkdir, unlink } from "node:fs/promises";
import { connect, type Server } from "node:net";
import { dirname } from "node:path";

/** The longest path that fits a Unix socket's address, in bytes: 108 less the ending zero, 104 on macOS. */
const MAX_PATH_BYTES = process.platform === "darwin" ? 103 : 107;

/** A Unix socket path that cannot be listened on, with what to do about it. */
export class SocketPathError extends Error {
  override readonly name = "SocketPathError";
}

/**
 * Makes a path ready for listening: makes its folder (0700, readable by nobody else) and removes the socket that a
 * process which is gone left behind. Nothing but a socket is ever removed.
 *
 * @throws {SocketPathError} when somebody answers on the socket, when the path is something else than a socket, or
 *   when it is too long.
 */
export async function prepareSocketPath(path: string): Promise<void> {
  const bytes = Buffer.byteLength(path);
  if (bytes > MAX_PATH_BYTES) {
    throw new SocketPathError(
      `${path}: a Unix socket's path may have ${MAX_PATH_BYTES} bytes, this has ${bytes}; choose a shorter one`,
    );
  }
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  const existing = await lstat(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return null;
    throw error;
  });
  if (existing === null) return;
  if (!existing.isSocket()) {
    throw new SocketPathError(
      `${path}: exists and is not a socket; it is left alone, choose another path or remove it`,
    );
  }
  if (await answers(path)) {
    throw new SocketPathError(
      `${path}: another process is listening on it (is hostd already running?); stop it or choose another path`,
    );
  }
  await unlink(path);
}

/**
 * Listens on a Unix socket that only this user may open, after {@link prepareSocketPath}.
 *
 * @throws when that prevents it, or the system does.
 */
export async function listenOnPrivateSocket(server: Server, path: string, backlog?: number): Promise<void> {
  await prepareSocketPath(path);
  // Created without any right for others, so that there is no moment in which they could connect.
  const umask = process.umask(0o177);
  try {
    // Bound before `listen` returns, so the mask is that of nobody else's file.
    server.listen({ path, ...(backlog === undefined ? {} : { backlog }) });
  } finally {
    process.umask(umask);
  }
  await once(server, "listening");
}

/** Whether somebody accepts connections on a Unix socket. */
async function answers(path: string): Promise<boolean> {
  return await new Promise((resolve) => {
    const probe = connect(path);
    probe.once("connect", () => {
      probe.destroy();
      resolve(true);
    });
    probe.once("error", (error: NodeJS.ErrnoException) => {
      // Refused is what a socket without a process behind it answers; anything else is not known to be stale.
      resolve(error.code !== "ECONNREFUSED" && error.code !== "ENOENT");
    });
  });
}
