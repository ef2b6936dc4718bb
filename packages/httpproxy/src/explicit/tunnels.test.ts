import type { Duplex } from "node:stream";
import { describe, expect, test } from "vitest";
import { pattern } from "../../../streams/src/testing/pattern.ts";
import { Peer, settle } from "../../../streams/src/testing/peer.ts";
import {
  type ExplicitHarness,
  isIdle,
  request,
  response,
  startExplicit,
  THROUGH_PROXY,
} from "../testing/explicit-harness.ts";
import { guestPair, type StreamPair, socketPair } from "../testing/stream-pairs.ts";
import { joinTunnel, resetStream } from "./tunnel.ts";

const CONNECT = "CONNECT a.test:80 HTTP/1.1\r\nHost: a.test:80\r\n\r\n";
const ESTABLISHED = "HTTP/1.1 200 Connection established\r\n\r\n";
const UPGRADE =
  "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n";
const UPGRADED =
  "HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";

/** Each way to a tunnel: what the client sends for it, and what both get. */
const KINDS = [
  { kind: "CONNECT", asks: CONNECT, isAsked: "", answers: "", isAnswered: ESTABLISHED },
  {
    kind: "an upgrade",
    asks: request("GET", "http://a.test/chat", UPGRADE),
    isAsked:
      "GET /chat HTTP/1.1\r\nHost: a.test\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    answers: UPGRADED,
    isAnswered: UPGRADED,
  },
];

async function open(
  harness: ExplicitHarness,
  { asks, isAsked, answers, isAnswered }: (typeof KINDS)[number],
): Promise<{ client: Peer; server: Peer }> {
  const client = await harness.connect();
  client.write(asks);
  const server = await harness.origin.next();
  await server.gets(isAsked);
  server.write(answers);
  await client.gets(isAnswered);
  client.clear();
  server.clear();
  return { client, server };
}

describe.each(KINDS)("a tunnel by $kind", (kind) => {
  test("passes bytes both ways, and is counted", async () => {
    const harness = await startExplicit();
    const { client, server } = await open(harness, kind);
    expect(harness.proxy.counts()).toEqual({ connections: 0, tunnels: 1 });
    expect(harness.clock.timers).toBe(0);
    client.write("ping\r\n\r\n");
    await server.gets("ping\r\n\r\n");
    server.write(Buffer.of(0, 255, 10));
    await client.gets("\x00\xff\n");
    client.end();
    await server.ends();
    server.end();
    await client.closes();
    await isIdle(harness.proxy);
    expect(harness.connector.asked).toHaveLength(1);
    expect(harness.connector.asked[0].kind).toBe("tunnel");
  });

  test("begins with what was sent right behind both heads", async () => {
    const harness = await startExplicit();
    const client = await harness.connect();
    const body = pattern(100_000);
    client.write(Buffer.concat([Buffer.from(kind.asks), body]));
    const server = await harness.origin.next();
    await server.until(() => server.received.length >= kind.isAsked.length);
    server.write(Buffer.concat([Buffer.from(kind.answers), body]));
    await server.getsBytes(kind.isAsked.length + body.length);
    await client.getsBytes(kind.isAnswered.length + body.length);
    expect(server.text).toBe(kind.isAsked + body.toString("latin1"));
    expect(client.text).toBe(kind.isAnswered + body.toString("latin1"));
  });

  test("ends one direction after the other", async () => {
    const harness = await startExplicit();
    for (const isClientFirst of [true, false]) {
      const { client, server } = await open(harness, kind);
      const [first, second] = isClientFirst ? [client, server] : [server, client];
      first.end("last words");
      await second.ends();
      expect(second.text).toBe("last words");
      second.write("still ");
      await first.gets("still ");
      second.end("here");
      await first.closes();
      expect(first.text).toBe("still here");
      expect([client.failure, server.failure]).toEqual([null, null]);
      await isIdle(harness.proxy);
    }
  });

  test("passes an end that came before it was open", async () => {
    const harness = await startExplicit();
    const client = await harness.connect();
    client.end(`${kind.asks}early`);
    await settle();
    const server = await harness.origin.next();
    await server.until(() => server.received.length >= kind.isAsked.length);
    server.end(`${kind.answers}late`);
    await server.closes();
    await client.closes();
    expect(server.text).toBe(`${kind.isAsked}early`);
    expect(client.text).toBe(`${kind.isAnswered}late`);
    await isIdle(harness.proxy);
  });

  test("passes a reset, either way", async () => {
    const harness = await startExplicit();
    for (const isClientFirst of [true, false]) {
      const { client, server } = await open(harness, kind);
      const [first, second] = isClientFirst ? [client, server] : [server, client];
      second.write("unread");
      await settle();
      resetStream(first.stream);
      await second.closes();
      expect(second.failure).toBe("ECONNRESET");
      await isIdle(harness.proxy);
    }
  });

  test("passes a reset behind an end", async () => {
    const harness = await startExplicit();
    const { client, server } = await open(harness, kind);
    client.end();
    await server.ends();
    server.write("half of it");
    await client.gets("half of it");
    resetStream(server.stream);
    await client.closes();
    expect(client.failure).toBe("ECONNRESET");
    await isIdle(harness.proxy);
  });

  test("passes a reset of who has ended its direction, when it is written to", async () => {
    const harness = await startExplicit();
    for (const isClientFirst of [true, false]) {
      const { client, server } = await open(harness, kind);
      const [first, second] = isClientFirst ? [client, server] : [server, client];
      first.end();
      await second.ends();
      resetStream(first.stream);
      while (!second.isClosed) {
        second.write("anybody there?");
        await settle(2);
      }
      expect(second.failure).not.toBeNull();
      await isIdle(harness.proxy);
    }
  });

  test("is reset when the proxy closes", async () => {
    const harness = await startExplicit();
    const { client, server } = await open(harness, kind);
    harness.proxy.close();
    await client.closes();
    await server.closes();
    expect([client.failure, server.failure]).toEqual(["ECONNRESET", "ECONNRESET"]);
    await isIdle(harness.proxy);
  });

  test("does not read what the other end does not take", async () => {
    const harness = await startExplicit();
    const { client, server } = await open(harness, kind);
    for (const [from, to] of [
      [client, server],
      [server, client],
    ]) {
      to.stream.pause();
      const piece = Buffer.alloc(64 * 1024);
      let taken = 0;
      for (let idle = 0; idle < 20; ) {
        if (from.stream.writableLength > 0) {
          idle++;
          await settle(5);
        } else {
          idle = 0;
          from.stream.write(piece);
          taken += piece.length;
        }
      }
      // Four sockets' buffers of the kernel, and a little of ours.
      expect(taken).toBeLessThan(40 * 1024 * 1024);
      const written = [...harness.connector.sockets].map((socket) => socket.writableLength);
      expect(Math.max(...written)).toBeLessThanOrEqual(256 * 1024);
      to.clear();
      to.stream.resume();
      await to.getsBytes(taken);
      expect(to.received.length).toBe(taken);
    }
  });
});

test("a tunnel is asked for by HTTP/1.0 as well", async () => {
  const harness = await startExplicit();
  const client = await harness.connect();
  client.write("CONNECT a.test:80 HTTP/1.0\r\n\r\nearly");
  await (await harness.origin.next()).gets("early");
  await client.gets(ESTABLISHED);
  expect(harness.router.decided).toEqual([{ scheme: "https", host: "a.test", port: 80 }]);
});

test("a tunnel may follow a request on the same connection", async () => {
  const harness = await startExplicit();
  const client = await harness.connect();
  client.write(request("GET", "http://a.test/") + CONNECT);
  const first = await harness.origin.next();
  first.write(response("one"));
  await first.ends();
  const second = await harness.origin.next();
  second.write("hello");
  await client.gets(`${response("one")}${ESTABLISHED}hello`);
});

describe("an upgrade", () => {
  const ASKS = request("GET", "http://a.test/", UPGRADE);

  test("that the origin refuses leaves the connection as it was", async () => {
    const harness = await startExplicit();
    const client = await harness.connect();
    client.write(ASKS + request("GET", "http://a.test/2"));
    const server = await harness.origin.next();
    await server.until(() => server.text.endsWith("Upgrade: websocket\r\n\r\n"));
    server.write(response("no", "Connection: Upgrade\r\nUpgrade: websocket\r\n"));
    await client.gets(response("no"));
    await server.until(() => server.text.endsWith("GET /2 HTTP/1.1\r\nHost: a.test\r\n\r\n"));
    server.write(response("two"));
    await client.gets(response("no") + response("two"));
  });

  test("of HTTP/1.0 is not offered", async () => {
    const harness = await startExplicit();
    const client = await harness.connect();
    client.write(`GET http://a.test/ HTTP/1.0\r\n${UPGRADE}\r\n`);
    const server = await harness.origin.next();
    await server.until(() => server.text.endsWith("\r\n\r\n"));
    expect(server.text).not.toContain("Upgrade");
  });

  test.each([
    ["h2c is not offered", "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"],
    ["two protocols are not offered", "Connection: Upgrade\r\nUpgrade: websocket, h2c\r\n"],
    ["one that Connection does not name is not offered", "Upgrade: websocket\r\n"],
  ])("%s", async (_, fields) => {
    const harness = await startExplicit();
    const client = await harness.connect();
    client.write(request("GET", "http://a.test/", fields));
    const server = await harness.origin.next();
    await server.gets("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
    expect(harness.connector.asked[0].kind).toBe("request");
  });

  test.each([
    ["to another protocol", "Connection: Upgrade\r\nUpgrade: h2c\r\n"],
    ["without a name", "Connection: Upgrade\r\n"],
  ])("%s is none that was asked for", async (_, fields) => {
    const harness = await startExplicit();
    const client = await harness.connect();
    client.write(ASKS);
    const server = await harness.origin.next();
    server.write(`HTTP/1.1 101 Switching Protocols\r\n${fields}\r\n`);
    await client.ends();
    expect(client.text).toMatch(/^HTTP\/1\.1 502 [\s\S]*an upgrade that was not asked for/);
    await server.ends();
  });

  test("with a body is a request as others are", async () => {
    const harness = await startExplicit();
    const client = await harness.connect();
    client.write(request("POST", "http://a.test/", `${UPGRADE}Content-Length: 2\r\n`, "ab"));
    const server = await harness.origin.next();
    await server.until(() => server.text.endsWith("ab"));
    expect(server.text).not.toContain("Upgrade");
  });

  test("goes through a proxy by a tunnel, and not on a connection to it that is idle", async () => {
    const harness = await startExplicit();
    harness.router.routes = [THROUGH_PROXY];
    const proxy = await harness.serve("proxy.test:3128", (peer) =>
      peer.stream.once("data", () => peer.write(response("one"))),
    );
    const client = await harness.connect();
    client.write(request("GET", "http://a.test/"));
    await client.gets(response("one"));
    client.write(ASKS);
    const server = await harness.origin.next();
    await server.until(() => server.text.endsWith("\r\n\r\n"));
    expect(server.text).toMatch(/^GET \/ HTTP\/1\.1\r\n/);
    expect(harness.connector.asked.map(({ kind }) => kind)).toEqual(["request", "tunnel"]);
    server.write(`${UPGRADED}hello`);
    await client.gets(`${response("one")}${UPGRADED}hello`);
    expect(proxy.peers).toHaveLength(1);
  });
});

/** Two connections whose ends in the middle are joined. */
async function joined(make: () => Promise<StreamPair>): Promise<{ one: Peer; other: Peer; middle: Duplex[] }> {
  const [one, near] = await make();
  const [other, far] = await make();
  return { one: new Peer(one), other: new Peer(other), middle: [near, far] };
}

describe.each([
  ["a guest's stream", guestPair],
  ["a socket", socketPair],
])("what is joined to %s", (_, make) => {
  test("gets what was put back, and an end from before", async () => {
    const { one, other, middle } = await joined(make);
    const [near, far] = middle;
    one.end("early");
    const parts: Buffer[] = [];
    near.on("data", (bytes: Buffer) => parts.push(bytes));
    await new Promise((resolve) => near.once("end", resolve));
    near.removeAllListeners("data");
    far.write(Buffer.concat(parts));
    joinTunnel(near, far);
    await other.ends();
    expect(other.text).toBe("early");
    other.end("late");
    await one.closes();
    expect(one.text).toBe("late");
  });

  test("is broken off with one that is closed already", async () => {
    const { one, other, middle } = await joined(make);
    const [near, far] = middle;
    far.on("error", () => {});
    far.destroy();
    await new Promise((resolve) => far.once("close", resolve));
    joinTunnel(near, far);
    await one.until(() => one.hasEnded || one.isClosed);
    other.destroy();
    expect(near.destroyed).toBe(true);
  });
});
