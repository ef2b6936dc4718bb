import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, describe, expect, test } from "vitest";
import { adoptSocket } from "./adopt-socket.ts";
import { resetSocket } from "./reset-socket.ts";

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

/** A connection as its two ends, over TCP or a Unix socket. Nothing was read from the accepted one. */
async function connection(kind: "TCP" | "Unix"): Promise<{ accepted: Socket; client: Socket }> {
  const folder = await mkdtemp(join(tmpdir(), "hostd-reset-"));
  cleanups.push(() => rm(folder, { recursive: true }));
  const path = join(folder, "a.sock");
  const server = createServer({ pauseOnConnect: true, allowHalfOpen: true });
  cleanups.push(() => server.close());
  if (kind === "Unix") server.listen(path);
  else server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const client = kind === "Unix" ? connect(path) : connect((server.address() as AddressInfo).port, "127.0.0.1");
  cleanups.push(() => client.destroy());
  const [[accepted]] = (await Promise.all([once(server, "connection"), once(client, "connect")])) as [[Socket], []];
  cleanups.push(() => accepted.destroy());
  return { accepted, client };
}

/** How a socket ends: with an error's code, or `end` when it was closed in order. */
async function ending(socket: Socket): Promise<string | undefined> {
  return await new Promise((resolve) => {
    socket.once("end", () => resolve("end"));
    socket.once("error", (error: NodeJS.ErrnoException) => resolve(error.code));
    socket.resume();
  });
}

/** That no error of the socket is reported, which would end the process without a listener. */
function watch(socket: Socket): unknown[] {
  const errors: unknown[] = [];
  socket.on("error", (error) => errors.push(error));
  return errors;
}

describe("a socket that is reset", () => {
  test("of TCP shows its peer a reset", async () => {
    const { accepted, client } = await connection("TCP");
    const errors = watch(accepted);
    const ended = ending(client);
    resetSocket(accepted);
    expect(await ended).toBe("ECONNRESET");
    expect([accepted.destroyed, errors]).toEqual([true, []]);
  });

  test("of TCP shows its peer a reset even after it has sent its end", async () => {
    const { accepted, client } = await connection("TCP");
    const errors = watch(accepted);
    client.on("end", () => client.write("more"));
    const reset = once(client.resume(), "error");
    accepted.end();
    await once(accepted, "finish");
    resetSocket(accepted);
    const [error] = (await reset) as [NodeJS.ErrnoException];
    expect(["ECONNRESET", "EPIPE"]).toContain(error.code);
    expect(errors).toEqual([]);
  });

  test.each(["TCP", "Unix"] as const)("of %s while its end is on its way is closed", async (kind) => {
    const { accepted, client } = await connection(kind);
    const errors = watch(accepted);
    const ended = ending(client);
    accepted.end();
    resetSocket(accepted);
    await once(accepted, "close");
    expect(await ended).toBe("end");
    expect(errors).toEqual([]);
  });

  test("of TCP with bytes that are not written yet does not write them", async () => {
    const { accepted, client } = await connection("TCP");
    const errors = watch(accepted);
    client.pause();
    accepted.end(Buffer.alloc(64 * 1024 * 1024));
    expect(accepted.writableLength).toBeGreaterThan(0);
    resetSocket(accepted);
    expect(await ending(client)).toBe("ECONNRESET");
    expect(errors).toEqual([]);
  });

  test("of the Unix kind is closed", async () => {
    const { accepted, client } = await connection("Unix");
    const errors = watch(accepted);
    const ended = ending(client);
    resetSocket(accepted);
    expect(await ended).toBe("end");
    expect([accepted.destroyed, errors]).toEqual([true, []]);
  });

  test("of the Unix kind shows its peer that what it sent was not read", async () => {
    const { accepted, client } = await connection("Unix");
    await new Promise<void>((resolve) => client.write("unread", () => resolve()));
    const ended = ending(client);
    resetSocket(accepted);
    // Linux tells so; elsewhere it is an end.
    expect(process.platform === "linux" ? ["ECONNRESET"] : ["ECONNRESET", "end"]).toContain(await ended);
  });

  test.each(["TCP", "Unix"] as const)("of %s while it connects never is connected", async (kind) => {
    const { accepted } = await connection(kind);
    const { localPort = 0 } = accepted;
    const path = join(tmpdir(), "hostd-no-such.sock");
    const socket = connect(kind === "TCP" ? { host: "127.0.0.1", port: localPort } : { path });
    const errors = watch(socket);
    let isConnected = false;
    socket.on("connect", () => {
      isConnected = true;
    });
    expect(socket.connecting).toBe(true);
    resetSocket(socket);
    await once(socket, "close");
    expect([isConnected, errors]).toEqual([false, []]);
  });

  test.each(["TCP", "Unix"] as const)(
    "of %s again, or that is closed already, stays so without an error",
    async (kind) => {
      const { accepted } = await connection(kind);
      const errors = watch(accepted);
      resetSocket(accepted);
      resetSocket(accepted);
      await once(accepted, "close");
      resetSocket(accepted);
      expect(errors).toEqual([]);
    },
  );

  test.each(["TCP", "Unix"] as const)(
    "of %s whose connection another one took over leaves that alone",
    async (kind) => {
      const { accepted, client } = await connection(kind);
      const errors = watch(accepted);
      const socket = adoptSocket(accepted, { onread: { buffer: new Uint8Array(16), callback: () => true } });
      resetSocket(accepted);
      await new Promise((resolve) => setImmediate(resolve));
      socket.end("hello");
      const [chunk] = await once(client, "data");
      expect(String(chunk)).toBe("hello");
      expect(errors).toEqual([]);
    },
  );
});
