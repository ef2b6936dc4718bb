import { connect } from "node:net";
import { Duplex } from "node:stream";
import { describe, expect, test } from "vitest";
import { dialPath, type Peer, settle, startServer } from "../../../streams/src/testing/peer.ts";
import { idle, startPair, startProxy } from "../testing/proxy-harness.ts";

const GET = "GET /events HTTP/1.1\r\nHost: docker\r\n\r\n";
const ENDLESS = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
const OK = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const UPGRADE = "POST /exec/1f/start HTTP/1.1\r\nUpgrade: tcp\r\nConnection: Upgrade\r\n\r\n";
const UPGRADED = "HTTP/1.1 101 UPGRADED\r\n\r\n";
const UPLOAD = "POST /build HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
const CHUNK = `8000\r\n${"x".repeat(0x8000)}\r\n`;

/** Waits until a peer's socket has taken all that was written to it. */
async function drained(peer: Peer): Promise<void> {
  while (peer.stream.writableLength > 0 && !peer.isClosed) await settle(1);
}

describe("a client that disappears", () => {
  test.each([
    ["before it has sent anything", "", ""],
    ["in the middle of a head", "GET / HT", ""],
    ["while the engine says nothing", GET, ""],
    ["in the middle of an endless answer", GET, `${ENDLESS}2\r\nok\r\n`],
    ["in the middle of its upload", UPLOAD + CHUNK, ""],
    ["while an upgrade is pending", UPGRADE, ""],
    ["in a stream", UPGRADE, UPGRADED],
    ["between requests", GET, OK],
  ])("%s takes the engine's connection with it", async (_, request, answer) => {
    const { client, engine, proxy } = await startPair();
    client.write(request);
    if (request.endsWith("\r\n")) {
      const server = await engine.next();
      await server.gets(request);
      server.write(answer);
      await client.gets(answer);
      client.destroy();
      // The engine's side stays open, and would be for ever if it were only told of a half-close.
      await server.ends();
      await idle(proxy);
    } else {
      client.destroy();
      await idle(proxy);
      expect(engine.peers.length).toBe(0);
    }
  });

  test("while there is no connection to the engine yet is not dialled for any more", async () => {
    const engine = await startServer();
    const gate = Promise.withResolvers<void>();
    const dialled = Promise.withResolvers<void>();
    const dial = async () => {
      dialled.resolve();
      await gate.promise;
      return engine.dial();
    };
    const { proxy, connect } = await startProxy({ dial });
    const client = await connect();
    client.write(GET);
    await dialled.promise;
    client.destroy();
    await idle(proxy);
    gate.resolve();
    const server = await engine.next();
    await server.ends();
    expect(server.text).toBe("");
  });

  test("while the engine does not read is noticed as soon as it does", async () => {
    const { client, engine, proxy } = await startPair();
    client.write(UPLOAD + CHUNK);
    const server = await engine.next();
    await server.gets(UPLOAD + CHUNK);
    server.stream.pause();
    while (client.stream.writableLength < CHUNK.length) {
      client.write(CHUNK);
      await settle(2);
    }
    client.destroy();
    await settle();
    server.stream.resume();
    await server.ends();
    await idle(proxy);
  });

  test("after it ended its own direction is noticed at the next byte for it", async () => {
    const { client, engine, proxy } = await startPair();
    client.end(UPGRADE);
    const server = await engine.next();
    await server.ends();
    server.write(UPGRADED);
    await client.gets(UPGRADED);
    client.destroy();
    await settle();
    expect(proxy.connections).toBe(1);
    server.write("output");
    await idle(proxy);
  });
});

describe("an engine that disappears", () => {
  test.each([
    ["in the middle of a body", GET, `${ENDLESS}2\r\nok\r\n`],
    ["in the middle of a head", GET, "HTTP/1.1 200"],
    ["in a stream", UPGRADE, UPGRADED],
  ])("%s ends the client's connection both ways", async (_, request, answer) => {
    const { client, engine, proxy } = await startPair();
    client.write(request);
    const server = await engine.next();
    await server.gets(request);
    server.write(answer);
    await settle();
    // With bytes that it has not read, it closes by a reset.
    server.stream.pause();
    client.write(`POST / HTTP/1.1\r\nContent-Length: 1000000\r\n\r\n${"x".repeat(1_000_000)}`);
    await settle();
    server.destroy();
    await idle(proxy);
    client.write("more");
    await client.closes();
    expect(client.text).toBe(answer);
    expect(client.failure).toMatch(/^(?:EPIPE|ECONNRESET)$/);
  });

  test("between messages ends the client's connection in order", async () => {
    const { client, engine, proxy } = await startPair();
    client.write(GET);
    const server = await engine.next();
    await server.gets(GET);
    server.write(OK);
    await client.gets(OK);
    server.destroy();
    await client.ends();
    client.end();
    await client.closes();
    expect(client.failure).toBeNull();
    await idle(proxy);
  });

  test("after all that it sent reaches the client that reads late", async () => {
    const { client, engine } = await startPair();
    client.write(UPGRADE);
    const server = await engine.next();
    await server.gets(UPGRADE);
    server.write(UPGRADED);
    await client.gets(UPGRADED);
    client.stream.pause();
    let sent = 0;
    while (server.stream.writableLength === 0) {
      server.write("x".repeat(10_000));
      sent += 10_000;
      await settle(2);
    }
    server.end();
    await settle();
    client.stream.resume();
    await client.ends();
    expect(client.text).toBe(UPGRADED + "x".repeat(sent));
  });

  test("while it is still sent something loses nothing of what it sent before, however late the client reads", async () => {
    const { client, engine } = await startPair();
    client.write(UPGRADE);
    const server = await engine.next();
    await server.gets(UPGRADE);
    server.write(UPGRADED);
    await client.gets(UPGRADED);
    client.stream.pause();
    server.stream.pause();
    // Both directions are full, each with a write under way.
    let sent = 0;
    while (server.stream.writableLength === 0) {
      server.write("x".repeat(10_000));
      sent += 10_000;
      await settle(2);
    }
    while (client.stream.writableLength === 0) {
      client.write("y".repeat(10_000));
      await settle(2);
    }
    const lost = server.stream.writableLength;
    server.destroy();
    await settle();
    client.stream.resume();
    await client.until(() => client.hasEnded || client.isClosed);
    expect(client.received.length).toBeGreaterThanOrEqual(UPGRADED.length + sent - lost);
    expect(client.text.slice(UPGRADED.length)).toMatch(/^x+$/);
  });

  test("before it has answered anything is told to the client", async () => {
    const dial = async () => {
      const stream = new Duplex({ read: () => {}, write: (_chunk, _encoding, done) => done() });
      setImmediate(() => stream.destroy(Object.assign(new Error("read ECONNRESET"), { code: "ECONNRESET" })));
      return stream;
    };
    const { connect } = await startProxy({ dial, engine: "tcp://192.168.65.3:2375" });
    const client = await connect();
    client.write(GET);
    await client.ends();
    expect(client.text).toMatch(/^HTTP\/1\.1 502 Bad Gateway\r\n.*tcp:\/\/192\.168\.65\.3:2375: read ECONNRESET\. /s);
  });
});

describe("an engine that answers while the client still sends", () => {
  test("and ends is heard to the end, and the client may go on", async () => {
    const { client, engine, proxy, clock } = await startPair();
    client.write(UPLOAD + CHUNK);
    const server = await engine.next();
    await server.gets(UPLOAD + CHUNK);
    const answer = "HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 2\r\n\r\nno";
    // It stops reading, ends its direction, and closes a while later, as Go's server does.
    server.stream.pause();
    server.end(answer);
    for (let count = 0; count < 30; count++) client.write(CHUNK);
    await client.gets(answer);
    await client.ends();
    server.destroy();
    for (let count = 0; count < 300; count++) client.write(CHUNK);
    await drained(client);
    expect(client.failure).toBeNull();
    expect(client.isClosed).toBe(false);
    client.end("0\r\n\r\n");
    await client.closes();
    expect(client.failure).toBeNull();
    await idle(proxy);
    expect(clock.timers).toBe(0);
  });

  test("and closes at once is heard by every client", async () => {
    const { connect, engine } = await startPair();
    const answer = "HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno";
    for (let round = 0; round < 100; round++) {
      const client = await connect();
      client.write(UPLOAD);
      const server = await engine.next();
      await server.gets(UPLOAD);
      // Nothing is read until both the answer and the failure of the next write are there.
      server.stream.pause();
      client.write(CHUNK.repeat(round % 10));
      server.stream.write(answer, () => server.destroy());
      for (let count = 0; count < 10; count++) {
        await settle(round % 3);
        client.write(CHUNK);
      }
      await client.ends();
      expect(client.text).toBe(answer);
      client.destroy();
    }
  });

  test("and resets at once does not take back what it answered", async () => {
    const { client, engine, clock } = await startPair();
    client.write(UPLOAD + CHUNK);
    const server = await engine.next();
    await server.gets(UPLOAD + CHUNK);
    const answer = "HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 2\r\n\r\nno";
    server.write(answer);
    await client.gets(answer);
    server.stream.pause();
    client.write(CHUNK);
    await settle();
    server.destroy();
    await client.ends();
    expect(client.text).toBe(answer);
    for (let count = 0; count < 100; count++) client.write(CHUNK);
    await drained(client);
    expect(client.failure).toBeNull();
    // Who goes on for too long is cut off.
    clock.advance(4999);
    await settle();
    expect(client.isClosed).toBe(false);
    clock.advance(1);
    client.write(CHUNK);
    await client.closes();
    expect(clock.timers).toBe(0);
  });
});

describe("an engine that cannot be dialled", () => {
  test("is told to the client, with what to do, and to the log once a minute", async () => {
    const dial = () => Promise.reject(Object.assign(new Error("connect ECONNREFUSED"), { code: "ECONNREFUSED" }));
    const { connect, logger, proxy } = await startProxy({ dial, engine: "tcp://192.168.65.3:2375" });
    const message =
      "hostd cannot reach the Docker engine at tcp://192.168.65.3:2375: connect ECONNREFUSED. " +
      "Check that the VM is running and that dockerd listens there; `hostd doctor` tells more";
    const body = `{"message":"${message}"}\n`;
    for (let count = 0; count < 3; count++) {
      const client = await connect();
      client.write(GET);
      await client.gets(
        `HTTP/1.1 502 Bad Gateway\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n` +
          `Connection: close\r\n\r\n${body}`,
      );
      client.end();
      await client.closes();
    }
    expect(logger.lines).toEqual([
      {
        level: "warn",
        fields: expect.objectContaining({ engine: "tcp://192.168.65.3:2375" }),
        message: "the Docker engine cannot be reached",
      },
    ]);
    await idle(proxy);
  });

  test("by a function that throws is no worse", async () => {
    const dial = () => {
      throw new Error("no VM");
    };
    const { connect } = await startProxy({ dial });
    const client = await connect();
    client.write(GET);
    await client.ends();
    expect(client.text).toContain(": no VM. Check");
  });

  test("answers HEAD without a body", async () => {
    const { connect } = await startProxy({ dial: () => Promise.reject(new Error("x")) });
    const client = await connect();
    client.write("HEAD /_ping HTTP/1.1\r\n\r\n");
    await client.ends();
    expect(client.text).toMatch(/^HTTP\/1\.1 502 .*\r\n\r\n$/s);
  });

  test("lets a client that is uploading finish, and read why", async () => {
    const { connect } = await startProxy({ dial: () => Promise.reject(new Error("x")) });
    const client = await connect();
    client.write(UPLOAD);
    for (let count = 0; count < 100; count++) client.write(CHUNK);
    client.end("0\r\n\r\n");
    await client.closes();
    expect(client.failure).toBeNull();
    expect(client.text).toMatch(/^HTTP\/1\.1 502 /);
  });

  test("and gives a connection that is closed already counts as one", async () => {
    const engine = await startServer();
    const dial = async () => {
      const socket = await engine.dial();
      socket.destroy();
      return socket;
    };
    const { connect } = await startProxy({ dial });
    const client = await connect();
    client.write(GET);
    await client.ends();
    expect(client.text).toContain("the connection was closed at once");
  });

  test("is dialled anew for the next client", async () => {
    const engine = await startServer();
    let isUp = false;
    const { connect } = await startProxy({ dial: () => (isUp ? engine.dial() : Promise.reject(new Error("down"))) });
    const first = await connect();
    first.write(GET);
    await first.ends();
    isUp = true;
    const second = await connect();
    second.write(GET);
    await (await engine.next()).gets(GET);
  });

  test("is sent what came meanwhile when it is, and then the client's end", async () => {
    const engine = await startServer();
    const gate = Promise.withResolvers<void>();
    const { connect } = await startProxy({ dial: () => gate.promise.then(() => engine.dial()) });
    const client = await connect();
    client.end(UPLOAD + CHUNK.repeat(20));
    await settle();
    gate.resolve();
    const server = await engine.next();
    await server.ends();
    expect(server.text).toBe(UPLOAD + CHUNK.repeat(20));
  });

  test("because its socket is still connecting when it fails is told to the client", async () => {
    const dial = async () => connect({ path: "/nonexistent/docker.sock", allowHalfOpen: true });
    const { connect: connectClient } = await startProxy({ dial });
    const client = await connectClient();
    client.write(GET);
    await client.ends();
    expect(client.text).toContain("connect ENOENT /nonexistent/docker.sock");
  });
});

test("a client that connects and ends has its end, and the engine is not dialled", async () => {
  const { client, engine, proxy } = await startPair();
  client.end();
  await client.closes();
  expect(engine.peers.length).toBe(0);
  await idle(proxy);
});

test("a proxy that is closed ends everything, in any state", async () => {
  const gate = Promise.withResolvers<never>();
  const { proxy, connect, engine, client } = await startPair({
    intercept: ({ target }) => (target === "/held" ? { bodyLimit: 0, decide: () => gate.promise } : null),
  });
  client.write(GET);
  const server = await engine.next();
  await server.gets(GET);
  const silent = await connect();
  const held = await connect();
  held.write("GET /held HTTP/1.1\r\n\r\n");
  const stream = await connect();
  stream.write(UPGRADE);
  const streamServer = await engine.next();
  await streamServer.gets(UPGRADE);
  streamServer.write(UPGRADED);
  await stream.gets(UPGRADED);
  await proxy.close();
  await proxy.close();
  for (const peer of [client, silent, held, stream, server, streamServer]) await peer.ends();
  await expect(dialPath(proxy.path)).rejects.toMatchObject({ code: "ENOENT" });
  await idle(proxy);
});
