import { once } from "node:events";
import { lstat, writeFile } from "node:fs/promises";
import { createConnection, type ListenOptions, type NetConnectOpts, type Server, type Socket } from "node:net";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { EventLog } from "../../streams/src/testing/event-log.ts";
import { readAll } from "../../streams/src/testing/host-server.ts";
import type { ListenAddress, SocketPath } from "./forward-rule.ts";
import { StreamListener, type StreamListenerOptions } from "./stream-listener.ts";
import { addressOf, cleanUp, countDescriptors, failure, makeFolder, until } from "./testing/harness.ts";

/** A listener that is closed after the test, and the clients it accepted. */
async function open(listen: ListenAddress | SocketPath, options: StreamListenerOptions = {}) {
  const accepted = new EventLog<Socket>();
  const failures: NodeJS.ErrnoException[] = [];
  const handlers = {
    accepted: (socket: Socket) => {
      cleanUp(() => socket.destroy());
      accepted.push(socket);
    },
    failed: (error: NodeJS.ErrnoException) => failures.push(error),
  };
  const listener = await StreamListener.open(listen, handlers, options);
  cleanUp(() => listener.close());
  return { accepted, failures, listener };
}

function dial(options: NetConnectOpts): Socket {
  const socket = createConnection(options);
  socket.on("error", () => {});
  cleanUp(() => socket.destroy());
  return socket;
}

const LOOPBACK = { host: "127.0.0.1", port: 0 };

describe("a listener", () => {
  test("gives out clients of which nothing was read", async () => {
    const { accepted, listener } = await open(LOOPBACK);
    const client = dial(addressOf(listener));
    client.end("hello");
    const [socket] = await accepted.take(1);
    await once(client, "finish");
    expect(socket.bytesRead).toBe(0);
    // It was paused.
    expect((await readAll(socket.resume())).toString()).toBe("hello");
    // It may answer after the client's end.
    socket.end("answer");
    expect((await readAll(client)).toString()).toBe("answer");
  });

  test("without an address takes clients of both families at one port", async () => {
    const { accepted, listener } = await open({ host: "", port: 0 });
    const { host, port } = addressOf(listener);
    expect(host).toBe("");
    dial({ host: "127.0.0.1", port });
    await accepted.take(1);
    dial({ host: "::1", port });
    const sockets = await accepted.take(2);
    expect(sockets.map(({ localAddress }) => localAddress)).toEqual(["::ffff:127.0.0.1", "::1"]);
    await expect(open({ host: "0.0.0.0", port })).rejects.toMatchObject({ code: "EADDRINUSE" });
  });

  test("on every IPv6 address takes clients of IPv6 only", async () => {
    const { listener } = await open({ host: "::", port: 0 });
    const { port } = addressOf(listener);
    dial({ host: "::1", port });
    expect(await failure(dial({ host: "127.0.0.1", port }))).toBe("ECONNREFUSED");
    await open({ host: "0.0.0.0", port });
  });

  test("tells of a client that could not be accepted, and goes on", async () => {
    const servers: Server[] = [];
    const bind = (server: Server, options: ListenOptions) => {
      servers.push(server);
      server.listen(options);
    };
    const { accepted, failures, listener } = await open(LOOPBACK, { bind });
    const error = Object.assign(new Error("accept EMFILE"), { code: "EMFILE" });
    servers[0].emit("error", error);
    expect(failures).toEqual([error]);
    dial(addressOf(listener));
    await accepted.take(1);
  });

  test("that is closed leaves those clients alone that it gave out", async () => {
    const { accepted, listener } = await open(LOOPBACK);
    const client = dial(addressOf(listener));
    const [socket] = await accepted.take(1);
    await listener.close();
    await listener.close();
    expect(await failure(dial(addressOf(listener)))).toBe("ECONNREFUSED");
    socket.end("still here");
    expect((await readAll(client)).toString()).toBe("still here");
    await open(addressOf(listener));
  });

  test("that is closed while clients come gives out none any more, and they are reset", async () => {
    const accepted: Socket[] = [];
    const failures: unknown[] = [];
    const listener = await StreamListener.open(LOOPBACK, {
      accepted: (socket) => {
        accepted.push(socket);
        void listener.close();
        socket.destroy();
      },
      failed: (error) => failures.push(error),
    });
    const clients = Array.from({ length: 20 }, () => dial(addressOf(listener)));
    await Promise.all(clients.map((client) => new Promise((resolve) => client.resume().once("close", resolve))));
    expect(accepted).toHaveLength(1);
    expect(failures).toEqual([]);
  });
});

describe("listening", () => {
  test.each([
    ["on an address that is taken", async () => (await open(LOOPBACK)).listener.listening, "EADDRINUSE"],
    ["on an address that the host has not", async () => ({ host: "192.0.2.1", port: 0 }), "EADDRNOTAVAIL"],
    ["on a port that there is not", async () => ({ host: "127.0.0.1", port: 65_536 }), "ERR_SOCKET_BAD_PORT"],
  ])("%s fails once, and leaves no descriptor behind", async (_name, where, code) => {
    const listen = await where();
    const descriptors = countDescriptors();
    await expect(open(listen)).rejects.toMatchObject({ code });
    await until(() => countDescriptors() <= descriptors);
  });

  test("on a path that is no socket fails with what to do", async () => {
    const path = join(await makeFolder(), "file");
    await writeFile(path, "precious");
    await expect(open({ path })).rejects.toMatchObject({ name: "SocketPathError" });
    expect((await lstat(path)).isFile()).toBe(true);
  });

  test("by a descriptor that is no socket fails", async () => {
    await expect(open({ host: "127.0.0.1", port: 80 }, { descriptor: 1_000_000 })).rejects.toMatchObject({
      syscall: "listen",
    });
  });
});

describe("a Unix socket", () => {
  test("is for this user alone from the start, and removed when the listener is closed", async () => {
    const path = join(await makeFolder(), "folder", "a.sock");
    const { accepted, listener } = await open({ path });
    expect(listener.listening).toEqual({ path });
    expect((await lstat(path)).mode & 0o777).toBe(0o600);
    dial({ path });
    const [socket] = await accepted.take(1);
    expect(socket.remoteAddress).toBeUndefined();
    await listener.close();
    await expect(lstat(path)).rejects.toMatchObject({ code: "ENOENT" });
  });
});

describe("on macOS a port for privileged programs", () => {
  /** A system that has low ports on every address only; the port is one of its choice, so that the test needs no right. */
  function restrict(everyAddress: readonly string[]) {
    const hosts: (string | undefined)[] = [];
    const bind = (server: Server, options: ListenOptions) => {
      hosts.push(options.host);
      if (options.port !== 80) throw new Error("it is another port");
      if (everyAddress.includes(options.host ?? "")) server.listen({ ...options, port: 0 });
      else process.nextTick(() => server.emit("error", Object.assign(new Error("listen"), { code: "EACCES" })));
    };
    return { bind, hosts };
  }

  test.each([
    ["127.0.0.1", "0.0.0.0", "127.0.0.1", "127.0.0.2"],
    ["0:0:0:0:0:0:0:1", "::", "::1", undefined],
  ])("of %s is that of every address, where clients of others are reset", async (host, every, own, other) => {
    const { bind, hosts } = restrict(["0.0.0.0", "::"]);
    const { accepted, listener } = await open({ host, port: 80 }, { platform: "darwin", bind });
    const { port } = addressOf(listener);
    expect(listener.listening).toEqual({ host, port });
    expect(hosts).toEqual([host, every]);
    if (other !== undefined) expect(await failure(dial({ host: other, port }))).toBe("ECONNRESET");
    const client = dial({ host: own, port });
    const [socket] = await accepted.take(1);
    expect(socket.localAddress).toBe(own);
    socket.end("hello");
    expect((await readAll(client)).toString()).toBe("hello");
    expect(accepted.events).toHaveLength(1);
  });

  test.each([
    ["on another system", { host: "127.0.0.1", port: 80 }, "linux", ["127.0.0.1"]],
    ["when every address is wanted", { host: "0.0.0.0", port: 80 }, "darwin", ["0.0.0.0"]],
    ["when those of both families are", { host: "", port: 80 }, "darwin", [undefined]],
    ["when every address is refused too", { host: "127.0.0.1", port: 80 }, "darwin", ["127.0.0.1", "0.0.0.0"]],
  ] as const)("is refused %s", async (_name, listen, platform, tried) => {
    const { bind, hosts } = restrict([]);
    await expect(open(listen, { platform, bind })).rejects.toMatchObject({ code: "EACCES" });
    expect(hosts).toEqual(tried);
  });

  test("is not one that is taken, nor one from 1024 on", async () => {
    const hosts: (string | undefined)[] = [];
    const bind = (code: string) => (made: Server, options: ListenOptions) => {
      hosts.push(options.host);
      process.nextTick(() => made.emit("error", Object.assign(new Error("listen"), { code })));
    };
    const [low, high] = [80, 1024].map((port) => ({ host: "127.0.0.1", port }));
    await expect(open(low, { platform: "darwin", bind: bind("EADDRINUSE") })).rejects.toMatchObject({
      code: "EADDRINUSE",
    });
    await expect(open(high, { platform: "darwin", bind: bind("EACCES") })).rejects.toMatchObject({ code: "EACCES" });
    expect(hosts).toEqual(["127.0.0.1", "127.0.0.1"]);
  });
});
