import { duplexPair, PassThrough } from "node:stream";
import { describe, expect, test } from "vitest";
import { Peer, settle } from "../../../streams/src/testing/peer.ts";
import { REFUSE } from "../route.ts";
import {
  type ExplicitHarness,
  forwarded,
  isIdle,
  PROXY,
  request,
  response,
  startExplicit,
  THROUGH_PROXY,
} from "../testing/explicit-harness.ts";
import { UpstreamError } from "../upstream/upstream-error.ts";
import { resetStream } from "./tunnel.ts";

const GET = request("GET", "http://a.test/");
const HALF = request("POST", "http://a.test/", "Content-Length: 8\r\n", "half");

async function send(harness: ExplicitHarness, bytes: string): Promise<{ client: Peer; server: Peer }> {
  const client = await harness.connect();
  client.write(bytes);
  const server = await harness.origin.next();
  await server.until(() => server.received.length > 0);
  return { client, server };
}

/** Waits for a whole answer of the proxy, with the end of the connection. */
async function getsFailure(client: Peer, status: number, message: string | RegExp): Promise<void> {
  await client.ends();
  expect(client.text).toMatch(new RegExp(`^HTTP/1\\.1 ${status} [A-Z]`));
  expect(client.text).toContain("\r\nConnection: close\r\n");
  const [, body = ""] = client.text.split("\r\n\r\n");
  if (typeof message === "string") expect(body).toBe(`hostd: ${message}\n`);
  else expect(body).toMatch(message);
}

/** Waits for a reset, behind this. */
async function isReset(peer: Peer, text: string): Promise<void> {
  await peer.closes();
  expect(peer.failure).toBe("ECONNRESET");
  expect(peer.text).toBe(text);
}

describe("a request gets an answer that says what failed", () => {
  test("when the way is refused", async () => {
    const harness = await startExplicit();
    harness.router.routes = [REFUSE];
    const client = await harness.connect();
    client.write(GET);
    await getsFailure(client, 403, "a.test:80 is refused by a rule of the test");
  });

  test.each([403, 407, 502, 504] as const)("when the connector says %i", async (status) => {
    const harness = await startExplicit();
    harness.connector.failure = new UpstreamError("the reason", status, null);
    const client = await harness.connect();
    client.write(GET);
    await getsFailure(client, status, "the reason");
    const other = await harness.connect();
    other.write("CONNECT a.test:443 HTTP/1.1\r\nHost: a.test:443\r\n\r\n");
    await getsFailure(other, status, "the reason");
  });

  test("when something else goes wrong", async () => {
    const harness = await startExplicit();
    harness.connector.failure = new TypeError("a fault");
    const client = await harness.connect();
    client.write(GET);
    await getsFailure(client, 502, "a fault");
  });

  test("when the origin closes without one", async () => {
    const { client, server } = await send(await startExplicit(), GET);
    server.end();
    await getsFailure(client, 502, "a.test:80 closed the connection without an answer");
  });

  test("when the origin resets the connection without one", async () => {
    const { client, server } = await send(await startExplicit(), HALF);
    server.destroy();
    await getsFailure(client, 502, "a.test:80 closed the connection without an answer");
  });

  test("when the proxy behind this one closes in a head", async () => {
    const harness = await startExplicit();
    harness.router.routes = [THROUGH_PROXY];
    await harness.serve("proxy.test:3128", (peer) =>
      peer.stream.once("data", () => peer.end("HTTP/1.1 200 OK\r\nA: ")),
    );
    const client = await harness.connect();
    client.write(GET);
    const message = "the proxy http://proxy.test:3128 closed the connection before its response was complete";
    await getsFailure(client, 502, message);
  });

  test("when the origin does not answer in HTTP", async () => {
    const { client, server } = await send(await startExplicit(), GET);
    server.write("SSH-2.0-OpenSSH_9.2\r\n\r\n");
    await getsFailure(client, 502, "a.test:80 did not answer as HTTP has it: malformed status line");
    await server.ends();
  });

  test("but for 407 of an origin, which is its own", async () => {
    const { client, server } = await send(await startExplicit(), GET);
    server.write(response("no", "", "407 Odd"));
    await client.gets(response("no", "", "407 Odd"));
  });

  test("when the proxy behind this one wants credentials", async () => {
    const harness = await startExplicit();
    harness.router.routes = [{ kind: "proxy", server: { ...PROXY, credentials: { user: "u", password: "secret" } } }];
    await harness.serve("proxy.test:3128", (peer) =>
      peer.stream.once("data", () => {
        peer.write(response("Access denied", "Proxy-Authenticate: Basic realm=x\r\n", "407 Authenticate"));
      }),
    );
    const client = await harness.connect();
    client.write(GET);
    await getsFailure(client, 407, /proxy\.test:3128 refused the user name and password that it was given \(407\)/);
    expect(client.text).not.toContain("secret");
    expect(client.text).not.toContain("Proxy-Authenticate");
  });

  test("when its head is too long", async () => {
    const { connect, connector } = await startExplicit();
    const client = await connect();
    client.write(`GET http://a.test/ HTTP/1.1\r\nHost: a.test\r\nA: ${"x".repeat(64 * 1024)}\r\n\r\n`);
    await getsFailure(client, 431, "the head of the request is longer than 65536 bytes");
    expect(connector.asked).toEqual([]);
  });

  test("when its head has no end", async () => {
    const { connect } = await startExplicit();
    const client = await connect();
    for (let part = 0; part < 80 && !client.hasEnded; part++) {
      client.write("x".repeat(1024));
      await settle(1);
    }
    await getsFailure(client, 431, /longer than/);
  });

  test("without a body to HEAD", async () => {
    const { connect } = await startExplicit();
    for (const bytes of [
      "HEAD http://unknown.test/ HTTP/1.1\r\nHost: x\r\n\r\n",
      "HEAD http://a.test/ HTTP/1.1\r\n\r\n",
    ]) {
      const client = await connect();
      client.write(bytes);
      await client.ends();
      expect(client.text).toMatch(/^HTTP\/1\.1 [45]0[02] [\s\S]*\r\nContent-Length: \d+\r\n[\s\S]*\r\n\r\n$/);
    }
  });

  test("as a page to a browser", async () => {
    const harness = await startExplicit();
    const client = await harness.connect();
    client.write(request("GET", "http://unknown.test/", "Accept: text/html,application/xhtml+xml;q=0.9\r\n"));
    await client.ends();
    expect(client.text).toMatch(/Content-Type: text\/html; charset=utf-8\r\n[\s\S]*<h1>502 Bad Gateway<\/h1>/);
  });
});

describe("a request that is cut off", () => {
  test.each(["G", "GET http://a.test/ HTTP/1.1\r\n", GET.slice(0, -2)])("in its head is refused: %j", async (bytes) => {
    const { connect, connector } = await startExplicit();
    const client = await connect();
    client.end(bytes);
    await getsFailure(client, 400, "the request is cut off");
    expect(connector.asked).toEqual([]);
  });

  test("in its head is refused behind another one, which is answered", async () => {
    const { client, server } = await send(await startExplicit(), GET);
    server.write(response("one"));
    client.end("GET http");
    await client.ends();
    expect(client.text).toMatch(/^HTTP\/1\.1 200 [\s\S]*\r\n\r\noneHTTP\/1\.1 400 /);
  });

  test("in its body is refused, and its server sees it end", async () => {
    const { client, server } = await send(await startExplicit(), HALF);
    client.end("mo");
    await getsFailure(client, 400, "the request is cut off");
    await server.ends();
    expect(server.text).toBe(forwarded("POST", "/", "Content-Length: 8\r\n", "halfmo"));
  });

  test("while its response comes is reset", async () => {
    const { client, server } = await send(await startExplicit(), HALF);
    server.write("HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nhalf");
    await client.until(() => client.text.endsWith("half"));
    client.end();
    await isReset(client, "HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nhalf");
    await server.ends();
  });

  test("when it has its response is not answered again", async () => {
    const { client, server } = await send(await startExplicit(), HALF);
    server.write(response("early"));
    await client.gets(response("early"));
    client.end();
    await client.ends();
    expect(client.text).toBe(response("early"));
    await server.ends();
  });

  test("that goes wrong in its body when it has its response is not answered again", async () => {
    const bytes = request("POST", "http://a.test/", "Transfer-Encoding: chunked\r\n", "1\r\na\r\n");
    const { client, server } = await send(await startExplicit(), bytes);
    server.write(response("early"));
    await client.gets(response("early"));
    client.write("nonsense\r\n");
    await client.ends();
    expect(client.text).toBe(response("early"));
    await server.ends();
    expect(server.text).not.toContain("nonsense");
  });

  test("of which nothing has come is none, and ends in order", async () => {
    const { connect, proxy } = await startExplicit();
    for (const bytes of ["", "\r\n", "\r\n\r\n\r"]) {
      const client = await connect();
      client.end(bytes);
      await client.ends();
      expect(client.text).toBe("");
    }
    await isIdle(proxy);
  });
});

describe("a response that is cut off is seen to be by the client, which gets a reset", () => {
  test.each([
    ["a length", "Content-Length: 8\r\n", "half"],
    ["a chunk", "Transfer-Encoding: chunked\r\n", "8\r\nhalf"],
    ["the size of a chunk", "Transfer-Encoding: chunked\r\n", "4\r\nhalf\r\n8"],
    ["the last chunk", "Transfer-Encoding: chunked\r\n", "4\r\nhalf\r\n0\r\n"],
  ])("in %s", async (_, fields, body) => {
    const { client, server } = await send(await startExplicit(), GET);
    const bytes = `HTTP/1.1 200 OK\r\n${fields}\r\n${body}`;
    server.write(bytes);
    await client.gets(bytes);
    server.end();
    await isReset(client, bytes);
  });

  test("by a reset, when it has no length", async () => {
    const { client, server } = await send(await startExplicit(), GET);
    server.write("HTTP/1.1 200 OK\r\n\r\nhalf");
    const bytes = "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhalf";
    await client.gets(bytes);
    resetStream(server.stream);
    await isReset(client, bytes);
  });

  test("by nonsense in place of a chunk", async () => {
    const { client, server } = await send(await startExplicit(), GET);
    const bytes = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n";
    server.write(bytes);
    await client.gets(bytes);
    server.write("x\r\n");
    await isReset(client, bytes);
    await server.ends();
  });

  test("when it is unchunked for HTTP/1.0", async () => {
    const { client, server } = await send(await startExplicit(), "GET http://a.test/ HTTP/1.0\r\n\r\n");
    server.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n");
    const bytes = "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhalf";
    await client.gets(bytes);
    server.end();
    await isReset(client, bytes);
  });
});

describe("a client that goes away", () => {
  test.each(["GET", "CONNECT"])("while a way is sought has the search for %s aborted", async (method) => {
    const harness = await startExplicit();
    const connected = Promise.withResolvers<void>();
    harness.connector.wait = connected.promise;
    const client = await harness.connect();
    client.write(method === "GET" ? GET : "CONNECT a.test:80 HTTP/1.1\r\nHost: a\r\n\r\n");
    while (harness.connector.asked.length === 0) await settle(1);
    const [{ signal }] = harness.connector.asked;
    expect(signal.aborted).toBe(false);
    resetStream(client.stream);
    await isIdle(harness.proxy);
    expect(signal.aborted).toBe(true);
    connected.resolve();
    await settle();
    expect(harness.connector.sockets).toEqual([]);
  });

  test.each(["GET", "CONNECT"])("has a connection for %s closed that comes nevertheless", async (method) => {
    const harness = await startExplicit();
    const { connector } = harness;
    const connected = Promise.withResolvers<void>();
    const { request: ask, tunnel } = connector;
    const late = async <Result>(work: Promise<Result>): Promise<Result> => {
      const result = await work;
      await connected.promise;
      return result;
    };
    connector.request = (...args) => late(ask.apply(connector, args));
    connector.tunnel = (...args) => late(tunnel.apply(connector, args));
    const client = await harness.connect();
    client.write(method === "GET" ? GET : "CONNECT a.test:80 HTTP/1.1\r\nHost: a\r\n\r\n");
    const server = await harness.origin.next();
    resetStream(client.stream);
    await isIdle(harness.proxy);
    connected.resolve();
    await server.ends();
    expect(server.text).toBe("");
  });

  test("while the decision is awaited is forgotten", async () => {
    const harness = await startExplicit();
    const decided = Promise.withResolvers<void>();
    harness.router.wait = decided.promise;
    const client = await harness.connect();
    client.write(GET);
    while (harness.router.decided.length === 0) await settle(1);
    resetStream(client.stream);
    await isIdle(harness.proxy);
    decided.resolve();
    await settle();
    expect(harness.connector.asked).toEqual([]);
  });

  test.each([
    ["waits", GET, ""],
    ["sends", HALF, ""],
    ["receives", GET, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"],
    ["is idle", GET, response("")],
  ])("while it %s has the connection of its server closed", async (_, bytes, answer) => {
    const harness = await startExplicit();
    const { client, server } = await send(harness, bytes);
    server.write(answer);
    await client.gets(answer);
    resetStream(client.stream);
    await server.ends();
    await isIdle(harness.proxy);
  });

  test("in order while it waits gets its answer", async () => {
    const { client, server } = await send(await startExplicit(), GET);
    client.end();
    await settle();
    expect(server.hasEnded).toBe(false);
    server.write(response("all"));
    await client.ends();
    expect(client.text).toBe(response("all"));
    await server.ends();
  });
});

test("an answer to a request that cannot be read comes behind those before", async () => {
  const { client, server } = await send(await startExplicit(), `${GET}GET / HTTP/1.1\r\nHost: a.test\r\n\r\n${GET}`);
  await settle();
  expect(client.text).toBe("");
  server.write(response("one"));
  await client.ends();
  expect(client.text).toMatch(/^HTTP\/1\.1 200 OK\r\nContent-Length: 3\r\n\r\noneHTTP\/1\.1 400 Bad Request\r\n/);
  expect(client.text.match(/HTTP\/1\.1 /g)).toHaveLength(2);
  expect(server.text).toBe(forwarded("GET", "/"));
});

test("what a client sends behind its last answer is taken for a while, so that it gets that", async () => {
  const { connect, clock, proxy } = await startExplicit();
  const client = await connect();
  client.write("nonsense\r\n\r\n");
  await client.ends();
  for (let part = 0; part < 20; part++) {
    client.write(Buffer.alloc(100_000));
    await settle(2);
  }
  expect(client.failure).toBeNull();
  expect(proxy.counts().connections).toBe(1);
  clock.advance(5_000);
  await isIdle(proxy);
  expect(clock.timers).toBe(0);
});

test("a client may read its last answer as slowly as it likes", async () => {
  const harness = await startExplicit();
  const [near, far] = duplexPair();
  harness.connector.request = async () => ({ stream: near, proxy: null });
  const socket = await harness.connectUnread();
  socket.write(request("GET", "http://a.test/", "Connection: close\r\n"));
  await settle();
  // It comes in one part, so that nothing holds it back, and is more than the kernel takes.
  const body = "x".repeat(16 * 1024 * 1024);
  far.write(response(body));
  await settle(50);
  harness.clock.advance(60_000);
  await settle(50);
  const client = new Peer(socket);
  await client.until(() => client.hasEnded || client.isClosed);
  expect(client.failure).toBeNull();
  expect(client.received.length).toBe(response(body, "Connection: close\r\n").length);
  harness.clock.advance(5_000);
  await isIdle(harness.proxy);
});

test("a client that has gone before it is served leaves nothing", async () => {
  const { proxy, clock } = await startExplicit();
  const gone = new PassThrough();
  gone.destroy();
  await settle();
  proxy.serve(gone);
  expect(proxy.counts()).toEqual({ connections: 0, tunnels: 0 });
  expect(clock.timers).toBe(0);
});

test("a proxy that is closed resets what is there, and takes no more", async () => {
  const harness = await startExplicit();
  const { client, server } = await send(harness, GET);
  const idle = await harness.connect();
  await settle();
  harness.proxy.close();
  await isReset(client, "");
  await isReset(idle, "");
  await server.ends();
  await isIdle(harness.proxy);
  expect(harness.clock.timers).toBe(0);
  const late = new PassThrough();
  harness.proxy.serve(late);
  expect(late.destroyed).toBe(true);
  await settle();
  expect(harness.proxy.counts()).toEqual({ connections: 0, tunnels: 0 });
});
