import { describe, expect, test } from "vitest";
import { settle } from "../../../streams/src/testing/peer.ts";
import { idle, startPair, startProxy } from "../testing/proxy-harness.ts";

const ATTACH = "POST /v1.44/containers/web/attach?stream=1&stdin=1 HTTP/1.1\r\nHost: docker\r\n";
const UPGRADE = `${ATTACH}Connection: Upgrade\r\nUpgrade: tcp\r\n\r\n`;
const UPGRADED =
  "HTTP/1.1 101 UPGRADED\r\nContent-Type: application/vnd.docker.raw-stream\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n";
const HIJACKED = "HTTP/1.1 200 OK\r\nContent-Type: application/vnd.docker.raw-stream\r\n\r\n";
/** Bytes that are no HTTP, and some that look like it. */
const NOISE = "\r\n\r\n\0\xff GET / HTTP/1.1\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n";
const GET = "GET /info HTTP/1.1\r\n\r\n";
const EMPTY_OK = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";

/** A connection that has become a stream, as far as its answer. */
async function startStream(request = UPGRADE, answer = UPGRADED) {
  const pair = await startPair();
  pair.client.write(request);
  const server = await pair.engine.next();
  await server.gets(request);
  server.write(answer);
  await pair.client.gets(answer);
  return { ...pair, server, request, answer };
}

describe("a connection becomes a stream", () => {
  test.each([
    ["by an upgrade", UPGRADE, UPGRADED],
    ["by an upgrade to h2c", "POST /grpc HTTP/1.1\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n", UPGRADED],
    ["by an upgrade that Connection does not name", "POST /x HTTP/1.1\r\nUpgrade: tcp\r\n\r\n", UPGRADED],
    ["without Upgrade, when attaching", `${ATTACH}\r\n`, HIJACKED],
    ["without Upgrade, when starting exec", "POST /exec/1f/start HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}", HIJACKED],
    ["with Upgrade that the engine does not take up", UPGRADE, HIJACKED],
    [
      "in chunks of a request, as the body of exec",
      "POST /exec/1f/start HTTP/1.1\r\nUpgrade: tcp\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
      UPGRADED,
    ],
    ["by a tunnel", "CONNECT a:1 HTTP/1.1\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"],
  ])("%s, both ways", async (_, request, answer) => {
    const { client, server } = await startStream(request, answer);
    client.write(NOISE);
    await server.gets(request + NOISE);
    server.write(NOISE);
    await client.gets(answer + NOISE);
    client.end("last");
    await server.gets(`${request + NOISE}last`);
    await server.ends();
    server.end("bye");
    await client.gets(`${answer + NOISE}bye`);
    await client.closes();
    await server.closes();
  });

  test("with what both sides sent with its heads", async () => {
    const { client, engine } = await startPair();
    client.write(UPGRADE + NOISE);
    const server = await engine.next();
    await server.gets(UPGRADE);
    server.write(UPGRADED + NOISE);
    await client.gets(UPGRADED + NOISE);
    await server.gets(UPGRADE + NOISE);
  });

  test("after requests that came before on the same connection", async () => {
    const { client, engine } = await startPair();
    client.write(GET + UPGRADE + NOISE);
    const server = await engine.next();
    await server.gets(GET + UPGRADE);
    server.write(EMPTY_OK);
    await client.gets(EMPTY_OK);
    await settle();
    expect(server.text).toBe(GET + UPGRADE);
    server.write(UPGRADED);
    await server.gets(GET + UPGRADE + NOISE);
  });

  test("while the body of the request still comes", async () => {
    const { client, engine } = await startPair();
    const head = `${ATTACH}Upgrade: tcp\r\nContent-Length: 1000\r\n\r\n`;
    client.write(`${head}abc`);
    const server = await engine.next();
    await server.gets(`${head}abc`);
    server.write(UPGRADED);
    await client.gets(UPGRADED);
    client.write(NOISE.repeat(50));
    await server.gets(`${head}abc${NOISE.repeat(50)}`);
  });

  test("and not for an answer that has an end: what follows is a request", async () => {
    const { client, engine } = await startPair();
    client.write(UPGRADE + GET);
    const server = await engine.next();
    await server.gets(UPGRADE);
    const answer = 'HTTP/1.1 404 Not Found\r\nContent-Length: 20\r\n\r\n{"message":"no web"}';
    server.write(answer);
    await server.gets(UPGRADE + GET);
    server.write(EMPTY_OK);
    await client.gets(answer + EMPTY_OK);
  });

  test("and not for an error that ends with the connection", async () => {
    const { client, engine } = await startPair();
    client.write(UPGRADE);
    const server = await engine.next();
    await server.gets(UPGRADE);
    const answer = "HTTP/1.1 500 Internal Server Error\r\nContent-Type: text/plain\r\n\r\nno such process\r\n";
    server.end(answer);
    await client.gets(answer);
    await client.ends();
    client.end();
    await client.closes();
    await server.closes();
  });

  test("and what the client sends before it knows is bounded", async () => {
    const { client, engine } = await startPair();
    client.write(UPGRADE);
    const server = await engine.next();
    await server.gets(UPGRADE);
    const piece = Buffer.alloc(64 * 1024, "x");
    let sent = 0;
    while (client.stream.writableLength < piece.length) {
      client.write(piece);
      sent += piece.length;
      await settle(5);
      // The kernel's buffers are a part of it.
      expect(sent).toBeLessThan(2 * 1024 * 1024);
    }
    server.write(UPGRADED);
    await server.getsBytes(UPGRADE.length + sent);
    expect(server.received.subarray(UPGRADE.length).equals(Buffer.alloc(sent, "x"))).toBe(true);
  });
});

describe("HTTP/2 with prior knowledge", () => {
  const PREFACE = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
  const SETTINGS = "\0\0\0\x04\0\0\0\0\0";

  test("passes as a stream wherever its preface is cut", async () => {
    const { connect, engine } = await startPair();
    for (let cut = 1; cut < PREFACE.length; cut++) {
      const client = await connect();
      client.write(PREFACE.slice(0, cut));
      await settle(3);
      client.write(PREFACE.slice(cut) + SETTINGS);
      const server = await engine.next();
      await server.gets(PREFACE + SETTINGS);
      server.write(SETTINGS + NOISE);
      await client.gets(SETTINGS + NOISE);
      client.destroy();
    }
  });

  test("ends when there is no engine, for want of an answer that its client reads", async () => {
    const { connect } = await startProxy({ dial: () => Promise.reject(new Error("refused")) });
    const client = await connect();
    client.write(PREFACE);
    await client.ends();
    expect(client.text).toBe("");
  });
});

describe("the end of a direction", () => {
  test("of the client reaches the engine behind its bytes, and the answer still comes", async () => {
    const { client, server, answer, request } = await startStream();
    client.end("x".repeat(300_000));
    await server.ends();
    expect(server.text).toBe(request + "x".repeat(300_000));
    for (const part of ["a", "b", "c"]) {
      server.write(part);
      await settle();
    }
    server.end("d".repeat(300_000));
    await client.gets(`${answer}abc${"d".repeat(300_000)}`);
    await client.closes();
    await server.closes();
  });

  test("of the engine reaches the client behind its bytes, and what it sends still goes on", async () => {
    const { client, server, answer, request } = await startStream();
    server.end("x".repeat(300_000));
    await client.ends();
    expect(client.text).toBe(answer + "x".repeat(300_000));
    for (const part of ["a", "b", "c"]) {
      client.write(part);
      await settle();
    }
    client.end("d".repeat(300_000));
    await server.gets(`${request}abc${"d".repeat(300_000)}`);
    await server.closes();
    await client.closes();
  });

  test("of the client in HTTP leaves it the answers", async () => {
    const { client, engine } = await startPair();
    client.end(GET + GET);
    const server = await engine.next();
    await server.gets(GET + GET);
    await server.ends();
    server.write(EMPTY_OK);
    await client.gets(EMPTY_OK);
    server.end(EMPTY_OK);
    await client.gets(EMPTY_OK + EMPTY_OK);
    await client.closes();
  });

  test("of the client in the middle of a body reaches the engine", async () => {
    const { client, engine } = await startPair();
    const part = "POST /build HTTP/1.1\r\nContent-Length: 10\r\n\r\nabc";
    client.end(part);
    const server = await engine.next();
    await server.gets(part);
    await server.ends();
    const answer = "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n";
    server.end(answer);
    await client.gets(answer);
    await client.closes();
  });

  test("of the client reaches the engine while an upgrade is pending", async () => {
    const { client, engine } = await startPair();
    client.end(UPGRADE);
    const server = await engine.next();
    await server.gets(UPGRADE);
    await server.ends();
    server.end(`${UPGRADED}out`);
    await client.gets(`${UPGRADED}out`);
    await client.closes();
  });

  test("of the engine in HTTP reaches the client between messages", async () => {
    const { client, engine, proxy } = await startPair();
    client.write(GET);
    const server = await engine.next();
    await server.gets(GET);
    server.end(EMPTY_OK);
    await client.gets(EMPTY_OK);
    await client.ends();
    client.end();
    await client.closes();
    await server.closes();
    await idle(proxy);
  });
});

test("hours of silence end nothing", async () => {
  const { client, server, clock, answer, request } = await startStream();
  clock.advance(48 * 3_600_000);
  await settle();
  client.write("still");
  await server.gets(`${request}still`);
  server.write("here");
  await client.gets(`${answer}here`);
  expect(clock.timers).toBe(0);
});

describe("who does not read", () => {
  const PIECE = Buffer.alloc(64 * 1024, "x");

  test.each([
    [
      "a client",
      async () => {
        const { client, server } = await startStream();
        return { slow: client, fast: server, back: GET };
      },
    ],
    [
      "an engine",
      async () => {
        const { client, server } = await startStream();
        return { slow: server, fast: client, back: EMPTY_OK };
      },
    ],
    [
      "a client of a chunked answer",
      async () => {
        const { client, engine } = await startPair();
        client.write(GET);
        const server = await engine.next();
        await server.gets(GET);
        const answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffff\r\n";
        server.write(answer);
        await client.gets(answer);
        return { slow: client, fast: server, back: GET };
      },
    ],
    [
      "an engine that is sent a chunked body",
      async () => {
        const { client, engine } = await startPair();
        const request = "POST /build HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nfffffff\r\n";
        client.write(request);
        const server = await engine.next();
        await server.gets(request);
        return { slow: server, fast: client, back: EMPTY_OK };
      },
    ],
  ] as const)("%s holds the other side up, and loses nothing", async (_, start) => {
    const { slow, fast, back } = await start();
    const before = slow.received.length;
    slow.stream.pause();
    let sent = 0;
    while (fast.stream.writableLength < PIECE.length) {
      fast.write(PIECE);
      sent += PIECE.length;
      await settle(5);
      // Two sockets' buffers of the kernel, and those of the proxy.
      expect(sent).toBeLessThan(4 * 1024 * 1024);
    }
    // The other direction is not held up.
    const all = fast.text + back;
    slow.write(back);
    await fast.gets(all);
    slow.stream.resume();
    for (let count = 0; count < 50; count++) {
      fast.write(PIECE);
      sent += PIECE.length;
    }
    await slow.getsBytes(before + sent);
    expect(slow.received.subarray(before).equals(Buffer.alloc(sent, "x"))).toBe(true);
  });
});
