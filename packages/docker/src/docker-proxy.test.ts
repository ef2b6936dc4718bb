import { once } from "node:events";
import { lstat, rename, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { cleanUp, dialPath, makeFolder, type Peer, settle, startServer } from "../../streams/src/testing/peer.ts";
import { RecordingLogger } from "../../streams/src/testing/recording-logger.ts";
import { DockerProxy } from "./docker-proxy.ts";
import { writeHttp2Refusal } from "./http/http2-refusal.ts";
import { idle, startPair } from "./testing/proxy-harness.ts";

const GET = "GET /info HTTP/1.1\r\n\r\n";
const OK = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/** Opens a proxy of nothing at a path; it is closed after the test. */
async function open(path: string): Promise<DockerProxy> {
  const dial = () => Promise.reject(new Error("no engine"));
  const proxy = await DockerProxy.open({ path, engine: "none", dial, logger: new RecordingLogger() });
  cleanUp(() => proxy.close());
  return proxy;
}

test("a proxy's socket is for its user alone, and gone with it", async () => {
  const path = join(await makeFolder(), "folder", "docker.sock");
  const proxy = await open(path);
  expect(proxy.path).toBe(path);
  const { mode } = await lstat(path);
  expect((mode & 0o777).toString(8)).toBe("600");
  await proxy.close();
  await expect(lstat(path)).rejects.toMatchObject({ code: "ENOENT" });
});

test("a proxy does not take a path from another one, nor from a file", async () => {
  const path = join(await makeFolder(), "docker.sock");
  await open(path);
  await expect(open(path)).rejects.toThrow("another process is listening on it");
  await writeFile(`${path}2`, "");
  await expect(open(`${path}2`)).rejects.toThrow("exists and is not a socket");
});

test("a proxy takes the path of a socket that nobody listens on", async () => {
  const path = join(await makeFolder(), "docker.sock");
  const server = createServer();
  server.listen(`${path}.old`);
  await once(server, "listening");
  await rename(`${path}.old`, path);
  server.close();
  await open(path);
  await dialPath(path).then((socket) => socket.destroy());
});

test("a client above the limit is told so, and the others go on", async () => {
  const { connect, engine, logger, client, proxy } = await startPair({ maxConnections: 2 });
  const second = await connect();
  const third = await connect();
  third.write(GET);
  await third.ends();
  expect(third.text).toMatch(/^HTTP\/1\.1 503 Service Unavailable\r\n.*hostd serves 2 connections/s);
  expect(engine.peers.length).toBe(0);
  expect(logger.lines.map(({ message }) => message)).toEqual(["too many Docker clients; one is refused"]);
  // Not without bound either.
  const more: Peer[] = [];
  for (let count = 0; count < 70; count++) more.push(await connect());
  await settle();
  expect(more.filter(({ hasEnded }) => hasEnded).length).toBe(7);
  for (const peer of [...more, third]) peer.destroy();
  second.destroy();
  while (proxy.connections > 1) await settle(1);
  const fourth = await connect();
  for (const peer of [client, fourth]) {
    peer.write(GET);
    const server = await engine.next();
    await server.gets(GET);
    server.write(OK);
    await peer.gets(OK);
  }
});

test("a proxy that is closed while it dials ends the connection that it gets", async () => {
  const engine = await startServer();
  const gate = Promise.withResolvers<void>();
  const dialled = Promise.withResolvers<void>();
  const dial = async () => {
    dialled.resolve();
    await gate.promise;
    return engine.dial();
  };
  const { proxy, client } = await startPair({ dial });
  client.write(GET);
  await dialled.promise;
  await proxy.close();
  await client.ends();
  gate.resolve();
  await (await engine.next()).ends();
  await idle(proxy);
});

describe("where HTTP/2 is refused", () => {
  const refuseHttp2 = "it cannot be judged";
  const PREFACE = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
  const REFUSED = writeHttp2Refusal("hostd takes HTTP/1.1 only: it cannot be judged").toString("latin1");
  const upgrade = (request: string) => `${request} HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n`;
  const UPGRADED = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n";

  test("a client with prior knowledge is told so wherever its preface is cut, and the log says why", async () => {
    const { connect, engine, logger, proxy } = await startPair({ refuseHttp2 });
    for (let cut = 1; cut <= PREFACE.length; cut++) {
      const client = await connect();
      client.write(PREFACE.slice(0, cut));
      await settle(3);
      client.write(`${PREFACE.slice(cut)}\0\0\0\x04\0\0\0\0\0`);
      await client.ends();
      expect(client.text).toBe(REFUSED);
      client.destroy();
    }
    expect(engine.peers.length).toBe(0);
    expect(logger.lines).toEqual([
      {
        level: "warn",
        fields: { path: proxy.path, reason: refuseHttp2 },
        message: "a Docker client that speaks HTTP/2 is refused",
      },
    ]);
  });

  test.each([
    ["behind an empty line", `\r\n${PREFACE}`],
    ["with lines that end in LF", PREFACE.replaceAll("\r", "")],
    ["with a field", "PRI * HTTP/2.0\r\nHost: docker\r\n\r\nSM\r\n\r\n"],
  ])("a preface that some may take for one is none: %s", async (_, preface) => {
    const { client, engine } = await startPair({ refuseHttp2 });
    client.write(preface);
    await client.ends();
    expect(client.text).toMatch(/^HTTP\/1\.1 400 Bad Request\r\n/);
    expect(engine.peers.length).toBe(0);
  });

  test.each(["POST /session", "POST /v1.44/session", "POST /grpc"])("BuildKit's %s is upgraded", async (request) => {
    const { client, engine, logger } = await startPair({ refuseHttp2 });
    client.write(upgrade(request));
    const server = await engine.next();
    await server.gets(upgrade(request));
    server.write(UPGRADED);
    await client.gets(UPGRADED);
    client.write(PREFACE);
    await server.gets(upgrade(request) + PREFACE);
    expect(logger.lines).toEqual([]);
  });

  test.each(["GET /info", "POST /containers/create", "POST /v1.44/session/x", "OPTIONS *"])(
    "nothing else is upgraded to it: %s",
    async (request) => {
      const { client, engine, logger } = await startPair({ refuseHttp2 });
      client.write(upgrade(request).replace("h2c", "websocket, H2C"));
      await client.getsBytes(1);
      expect(client.text).toMatch(/^HTTP\/1\.1 403 Forbidden\r\n.*hostd takes HTTP\/1\.1 only: it cannot be judged/s);
      expect(logger.lines).toHaveLength(1);
      // The connection goes on.
      client.clear();
      client.write(GET);
      const server = await engine.next();
      await server.gets(GET);
      server.write(OK);
      await client.gets(OK);
    },
  );

  test("other upgrades pass", async () => {
    const { client, engine } = await startPair({ refuseHttp2 });
    const request = upgrade("POST /containers/web/attach").replace("h2c", "tcp");
    client.write(request);
    await (await engine.next()).gets(request);
  });
});
