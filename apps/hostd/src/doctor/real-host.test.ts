import { createSocket } from "node:dgram";
import { once } from "node:events";
import { mkdir, mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import { createServer as createHttpServer } from "node:http";
import { type AddressInfo, createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { parseConfig } from "../config/resolve.ts";
import { PROBE_TIME } from "./host.ts";
import { realHost } from "./real-host.ts";

const host = realHost();
const cleanups: (() => unknown)[] = [];
let folder: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "hostd-doctor-"));
});

afterEach(async () => {
  vi.useRealTimers();
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
  await rm(folder, { recursive: true });
});

async function listen(server: Server, where: string | number): Promise<AddressInfo> {
  const connections = new Set<Socket>();
  server.on("connection", (socket) => {
    connections.add(socket.on("error", () => {}));
  });
  if (typeof where === "string") server.listen(where);
  else server.listen(where, "127.0.0.1");
  await once(server, "listening");
  cleanups.push(() => {
    for (const socket of connections) socket.destroy();
    server.close();
  });
  return server.address() as AddressInfo;
}

/** Has the time for an answer pass as soon as `reached` has come. */
async function withoutAnswer(asked: Promise<unknown>, reached: Promise<unknown>): Promise<unknown> {
  const outcome = asked.catch((error: unknown) => error);
  await reached;
  await vi.advanceTimersByTimeAsync(PROBE_TIME);
  return await outcome;
}

const NO_ANSWER = expect.objectContaining({ message: "no answer within 1.5 seconds" });

describe("the files of this host", () => {
  it("are looked at without following links", async () => {
    const path = join(folder, "x");
    expect(await host.lookAt(path)).toBeNull();
    await mkdir(path, { mode: 0o750 });
    expect(await host.lookAt(path)).toEqual({ kind: "folder", mode: 0o750, userId: process.getuid?.() });
    await symlink(path, join(folder, "link"));
    expect(await host.lookAt(join(folder, "link"))).toMatchObject({ kind: "other" });
    await listen(createServer(), join(folder, "socket"));
    expect(await host.lookAt(join(folder, "socket"))).toMatchObject({ kind: "socket" });
    await writeFile(join(folder, "file"), "text");
    expect(await host.readFile(join(folder, "file"))).toBe("text");
    await expect(host.lookAt(join(folder, "file", "x"))).rejects.toMatchObject({ code: "ENOTDIR" });
  });

  it("may be made in folders only", async () => {
    await writeFile(join(folder, "file"), "text", { mode: 0o777 });
    await symlink(folder, join(folder, "link"));
    const names = [".", "link", "file", "missing"];
    expect(await Promise.all(names.map((name) => host.canWriteIn(join(folder, name))))).toEqual([
      true,
      true,
      false,
      false,
    ]);
  });

  it("may be open in some number", () => {
    expect(host.openFiles).toBeGreaterThan(64);
  });
});

describe("the programs of this host", () => {
  it("give what they write, and errors of the system", async () => {
    expect(await host.run(process.execPath, ["-p", "6 * 7"])).toBe("42\n");
    await expect(host.run(join(folder, "missing"), [])).rejects.toMatchObject({ code: "ENOENT" });
    await expect(host.run(process.execPath, ["-e", "process.exit(3)"])).rejects.toMatchObject({ code: 3 });
  });
});

describe("the sockets of this host", () => {
  it("are asked over HTTP, on a path and on a port", async () => {
    const server = () =>
      createHttpServer((request, response) => response.writeHead(201).end(`you asked ${request.url}`));
    const path = join(folder, "socket");
    await listen(server(), path);
    const { port } = await listen(server(), 0);
    const reply = { status: 201, body: "you asked /x" };
    expect(await host.get({ transport: "unix", path }, "/x")).toEqual(reply);
    expect(await host.get({ transport: "tcp", host: "127.0.0.1", port }, "/x")).toEqual(reply);
    await expect(host.get({ transport: "unix", path: `${path}2` }, "/x")).rejects.toMatchObject({ code: "ENOENT" });
  });

  it("are given up when they do not answer in time", async () => {
    const path = join(folder, "socket");
    const server = createServer((socket) => socket.resume());
    await listen(server, path);
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
    for (const ask of [() => host.get({ transport: "unix", path }, "/x"), () => host.exchange(path, "one", "two")]) {
      const reached = once(server, "connection");
      expect(await withoutAnswer(ask(), reached)).toEqual(NO_ANSWER);
    }
  });

  it("are told one thing after the other", async () => {
    const path = join(folder, "socket");
    const heard: string[] = [];
    const server = createServer((socket) => {
      socket.setEncoding("latin1").on("data", (piece) => {
        heard.push(String(piece));
        if (heard.length === 1) socket.write("OK");
        else socket.end("fine");
      });
    });
    await listen(server, path);
    expect(await host.exchange(path, "one", "two")).toBe("OKfine");
    expect(heard).toEqual(["one", "two"]);
    await expect(host.exchange(`${path}2`, "one", "two")).rejects.toMatchObject({ code: "ENOENT" });
  });

  it("are not read without end", async () => {
    const path = join(folder, "socket");
    await listen(
      createServer((socket) => {
        const write = () => {
          while (socket.write("x".repeat(10_000)));
        };
        socket.on("drain", write);
        write();
      }),
      path,
    );
    expect((await host.exchange(path, "one", "two")).length).toBeLessThan(1_000_000);
  });

  it("are known to be listened on, or found out by connecting", async () => {
    const path = join(folder, "socket");
    const server = createServer();
    await listen(server, path);
    const listed = host.listeningSockets();
    expect(listed?.has(path) ?? true).toBe(true);
    await host.connect(path);
    await expect(host.connect(`${path}2`)).rejects.toMatchObject({ code: "ENOENT" });
  });

  it("are tried by listening as hostd would, and free again after it", async () => {
    const config = parseConfig({ publish: { allow: ["127.0.0.1"] } }, "test");
    const server = createServer();
    const { port } = await listen(server, 0);
    const ruleOf = (address: string) => {
      return { protocol: "tcp", listen: { host: address, port }, to: { address: null, port: 80 } } as const;
    };
    await expect(host.tryForward(config, ruleOf("127.0.0.1"))).rejects.toThrow(
      `listen tcp 127.0.0.1:${port}: bind: address already in use (held by hostd itself (process ${process.pid}))`,
    );
    await expect(host.tryForward(config, ruleOf("127.0.0.2"))).rejects.toThrow("is not allowed; allowed: 127.0.0.1");
    server.close();
    await once(server, "close");
    await host.tryForward(config, ruleOf("127.0.0.1"));
    await host.tryForward(config, ruleOf("127.0.0.1"));
  });
});

describe("the name servers of this host", () => {
  async function nameServer(answer: (query: Buffer) => Buffer | null) {
    const socket = createSocket("udp4");
    const asked = once(socket, "message");
    socket.on("message", (query, { address, port }) => {
      const reply = answer(query);
      if (reply !== null) socket.send(reply, port, address);
    });
    socket.bind(0, "127.0.0.1");
    await once(socket, "listening");
    cleanups.push(() => socket.close());
    return { asked, server: { address: "127.0.0.1", family: 4, port: socket.address().port } as const };
  }

  it("are those of the configuration, or else those of the host, behind the rules", async () => {
    const dns = { servers: ["192.0.2.53"], rules: [{ domain: "Corp.example", servers: ["192.0.2.54"] }] };
    const given = await host.namePolicy(parseConfig({ dns }, "test"));
    expect(given.routes.routes.map(({ domain, set }) => [domain, set.servers.map(({ address }) => address)])).toEqual([
      ["corp.example", ["192.0.2.54"]],
      ["", ["192.0.2.53"]],
    ]);
    const path = join(folder, "resolv.conf");
    await writeFile(path, "nameserver 192.0.2.55\n");
    const own = await host.namePolicy(parseConfig({ dns: { resolvConf: path } }, "test"));
    expect(own.routes.find([])).toMatchObject({ from: path, set: { servers: [{ address: "192.0.2.55" }] } });
  });

  it("are asked for the servers of the root, by a query of their own", async () => {
    const queries: Buffer[] = [];
    const { server } = await nameServer((query) => {
      queries.push(query);
      const reply = Buffer.from(query);
      reply[2] |= 0x80;
      reply[3] = (reply[3] & 0xf0) | 5;
      return reply;
    });
    expect(await host.askNameServer(server)).toBe("REFUSED");
    // The root has no label; its type is NS.
    expect(queries[0].subarray(12, 17).toString("hex")).toBe("0000020001");
  });

  it("are not believed when the answer is to something else", async () => {
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
    const { asked, server } = await nameServer((query) => {
      const reply = Buffer.from(query);
      reply[0] ^= 0xff;
      return reply;
    });
    expect(await withoutAnswer(host.askNameServer(server), asked)).toEqual(NO_ANSWER);
  });

  it("are not waited for when nobody is there", async () => {
    const socket = createSocket("udp4").bind(0, "127.0.0.1");
    await once(socket, "listening");
    const { port } = socket.address();
    socket.close();
    await once(socket, "close");
    await expect(host.askNameServer({ address: "127.0.0.1", family: 4, port })).rejects.toMatchObject({
      code: "ECONNREFUSED",
    });
  });
});

it("knows why there are no system calls, or has a socket for pings or why not", () => {
  expect(host.whyNoSystemCalls()).toBeNull();
  const refusal = host.tryPing();
  if (refusal !== null)
    expect(refusal).toMatchObject({ code: expect.stringMatching(/^E/), reason: expect.any(String) });
});
