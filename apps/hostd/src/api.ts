import { chmod } from "node:fs/promises";
import { createServer, type Socket } from "node:net";
import { prepareSocketPath } from "@hostd/frontends";
import type { ApiSubject } from "./api-subject.ts";

/**
 * Serves the control API over HTTP on a Unix socket that only this user may open.
 *
 * @throws when the socket cannot be listened on.
 */
export async function startApi(path: string, subject: ApiSubject): Promise<{ close(): Promise<void> }> {
  const sockets = new Set<Socket>();
  // Loaded only when somebody asks: importing node:http brings all of fetch with it, 20 MB.
  let http: Promise<{ emit(event: "connection", socket: Socket): unknown }> | null = null;
  const server = createServer({ allowHalfOpen: true, pauseOnConnect: true }, (socket) => {
    sockets.add(socket);
    socket.on("error", () => {});
    socket.once("close", () => sockets.delete(socket));
    http ??= import("./api-server.ts").then(({ createApiServer }) => createApiServer(subject));
    http.then(
      (ready) => {
        if (socket.destroyed) return;
        ready.emit("connection", socket);
        socket.resume();
      },
      () => socket.destroy(),
    );
  });
  await prepareSocketPath(path);
  // Created without any right for others, so that there is no moment in which they could connect.
  const umask = process.umask(0o177);
  try {
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject);
      server.listen(path, resolve);
    });
  } finally {
    process.umask(umask);
  }
  await chmod(path, 0o600);
  return {
    close: async () => {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      for (const socket of sockets) socket.destroy();
      await closed;
    },
  };
}
