/** The proxy for connections of guests, with the real connector behind it. */
import type { FlowStream } from "@hostd/streams";
import { describe, expect, test } from "vitest";
import { FakeClock } from "../../../streams/src/testing/fake-clock.ts";
import { LinkedStacks } from "../../../streams/src/testing/linked-stacks.ts";
import { pattern } from "../../../streams/src/testing/pattern.ts";
import { cleanUp, Peer, settle } from "../../../streams/src/testing/peer.ts";
import { RecordingLogger } from "../../../streams/src/testing/recording-logger.ts";
import { DIRECT, type Route } from "../route.ts";
import { forwarded, isIdle, PlayedRouter, request, response } from "../testing/explicit-harness.ts";
import { answering, ESTABLISHED, type PlayedProxy, playProxy, through, withCode } from "../testing/upstream-harness.ts";
import { dialTcp } from "../upstream/dial-proxy.ts";
import { UpstreamConnector } from "../upstream/upstream-connector.ts";
import { HttpProxy } from "./http-proxy.ts";
import { resetStream } from "./tunnel.ts";

const PORT = 3128;
const GET = request("GET", "http://a.test/");
const CONNECT = "CONNECT a.test:443 HTTP/1.1\r\nHost: a.test:443\r\n\r\n";
const GRANTED = "HTTP/1.1 200 Connection established\r\n\r\n";

interface Guests {
  readonly stacks: LinkedStacks;
  readonly proxy: HttpProxy;
  readonly clock: FakeClock;
  /** Where direct connections lead, whatever their name. */
  readonly origin: PlayedProxy;
  /** The proxy's ends of the guests' connections. */
  readonly served: readonly FlowStream[];
  connect(): Promise<Peer>;
}

async function start(routes: readonly Route[] = [DIRECT], failure: Error | null = null): Promise<Guests> {
  const clock = new FakeClock();
  const router = new PlayedRouter();
  router.routes = routes;
  const origin = await playProxy();
  const dial = ({ port }: { readonly port: number }, signal: AbortSignal) =>
    dialTcp({ host: "127.0.0.1", port }, signal);
  const connector = new UpstreamConnector({
    dialOrigin: (_, signal) => (failure === null ? dial(origin, signal) : Promise.reject(failure)),
    dialProxy: dial,
    logger: new RecordingLogger(),
    clock,
  });
  const proxy = new HttpProxy({ router, connector, clock });
  cleanUp(() => proxy.close());
  const stacks = new LinkedStacks();
  cleanUp(() => stacks.close());
  const served: FlowStream[] = [];
  stacks.listen(PORT, (stream) => {
    served.push(stream);
    proxy.serve(stream);
  });
  return { stacks, proxy, clock, origin, served, connect: async () => new Peer(await stacks.connect(PORT)) };
}

describe("a guest", () => {
  test("has requests made, with bodies both ways", async () => {
    const guests = await start();
    const client = await guests.connect();
    const body = pattern(2_000_000).toString("latin1");
    const fields = `Content-Length: ${body.length}\r\n`;
    let server: Peer | null = null;
    for (let count = 0; count < 3; count++) {
      client.clear();
      server?.clear();
      client.write(request("POST", "http://a.test/", fields, body));
      server ??= await guests.origin.next();
      await server.gets(forwarded("POST", "/", fields, body));
      server.write(response(body));
      await client.gets(response(body));
    }
    client.end();
    await client.closes();
    await server?.ends();
    await isIdle(guests.proxy);
    expect(client.failure).toBeNull();
    expect(guests.clock.timers).toBe(0);
    expect(guests.origin.peers).toHaveLength(1);
  });

  test("has a tunnel that ends one direction after the other", async () => {
    const guests = await start();
    const body = pattern(300_000);
    const client = await guests.connect();
    client.write(CONNECT);
    client.end(body);
    const server = await guests.origin.next();
    await server.ends();
    expect(server.received.equals(body)).toBe(true);
    server.end(body);
    await client.closes();
    expect(client.text).toBe(GRANTED + body.toString("latin1"));
    expect(client.failure).toBeNull();
    await isIdle(guests.proxy);
  });

  test("has a reset passed through a tunnel, either way", async () => {
    const guests = await start();
    for (const isGuestFirst of [true, false]) {
      const client = await guests.connect();
      client.write(CONNECT);
      const server = await guests.origin.next();
      await client.gets(GRANTED);
      resetStream((isGuestFirst ? client : server).stream);
      const second = isGuestFirst ? server : client;
      await second.closes();
      expect(second.failure).toBe("ECONNRESET");
      await isIdle(guests.proxy);
    }
  });

  test("is reset when its response is cut off", async () => {
    const guests = await start();
    const client = await guests.connect();
    client.write(GET);
    const server = await guests.origin.next();
    server.end("HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nhalf");
    await client.closes();
    expect(client.failure).toBe("ECONNRESET");
    await isIdle(guests.proxy);
  });

  test("may go while it is connected for", async () => {
    const { proxy, connect, origin } = await start([through("http", (await playProxy()).port)]);
    const client = await connect();
    client.write(CONNECT);
    await settle();
    expect(proxy.counts().connections).toBe(1);
    resetStream(client.stream);
    await isIdle(proxy);
    expect(origin.peers).toEqual([]);
  });

  test.each([
    ["is still being sent", 3_000_000, false],
    ["is sent, but not acknowledged", 300_000, true],
  ])("may take its time to read its last answer when that %s", async (_, length, isFinished) => {
    const guests = await start();
    const stream = await guests.stacks.connect(PORT);
    const body = pattern(length);
    stream.write(GET);
    const server = await guests.origin.next();
    await server.gets(forwarded("GET", "/"));
    server.end(Buffer.concat([Buffer.from("HTTP/1.1 200 OK\r\n\r\n"), body]));
    for (let second = 0; second < 60; second++) {
      guests.clock.advance(1000);
      await settle(5);
    }
    expect(guests.proxy.counts().connections).toBe(1);
    const [served] = guests.served;
    expect(served.writableFinished).toBe(isFinished);
    expect(served.unacknowledged).toBeGreaterThan(0);
    const client = new Peer(stream);
    await client.ends();
    expect(client.received.subarray(-body.length).equals(body)).toBe(true);
    expect(guests.proxy.counts().connections).toBe(1);
    guests.clock.advance(5_000);
    await isIdle(guests.proxy);
    expect(guests.clock.timers).toBe(0);
  });

  test("may go with its VM", async () => {
    const guests = await start();
    const client = await guests.connect();
    client.write(GET);
    const server = await guests.origin.next();
    await server.gets(forwarded("GET", "/"));
    guests.stacks.vanish();
    await server.ends();
    await isIdle(guests.proxy);
  });
});

describe("through proxies", () => {
  test("a request and a tunnel take the first that works", async () => {
    const dead = await playProxy();
    dead.close();
    const alive = await playProxy(answering(ESTABLISHED));
    const guests = await start([through("http", dead.port), through("http", alive.port)]);
    const tunnel = await guests.connect();
    tunnel.write(`${CONNECT}early`);
    const first = await alive.next();
    await first.gets("CONNECT a.test:443 HTTP/1.1\r\nHost: a.test:443\r\n\r\nearly");
    first.write("late");
    await tunnel.gets(`${GRANTED}late`);
    const client = await guests.connect();
    client.write(GET);
    await (await alive.next()).gets("GET http://a.test/ HTTP/1.1\r\nHost: a.test\r\n\r\n");
  });

  test("a WebSocket is opened by a tunnel to its port", async () => {
    const proxy = await playProxy(answering(ESTABLISHED));
    const guests = await start([through("http", proxy.port)]);
    const client = await guests.connect();
    client.write(request("GET", "http://a.test/", "Connection: Upgrade\r\nUpgrade: websocket\r\n"));
    const server = await proxy.next();
    const asked = "CONNECT a.test:80 HTTP/1.1\r\nHost: a.test:80\r\n\r\n";
    await server.gets(`${asked}${forwarded("GET", "/", "Connection: Upgrade\r\nUpgrade: websocket\r\n")}`);
  });

  test("that all fail, each is named", async () => {
    const proxy = await playProxy(answering("HTTP/1.1 503 No\r\n\r\n"));
    const guests = await start([through("http", proxy.port), DIRECT], withCode("ECONNREFUSED"));
    const client = await guests.connect();
    client.write(CONNECT);
    await client.ends();
    expect(client.text).toMatch(
      new RegExp(
        `^HTTP/1\\.1 502 [\\s\\S]*proxy\\.test:${proxy.port} could not connect to a\\.test:443 \\(503\\); a\\.test:443 refused`,
      ),
    );
  });

  test("a request that closes before it is used is answered so", async () => {
    // It accepts, and closes at once: that may be known before anything is sent.
    const proxy = await playProxy((peer) => peer.end());
    const guests = await start([through("http", proxy.port)]);
    for (let count = 0; count < 20; count++) {
      const client = await guests.connect();
      client.write(GET);
      await client.ends();
      expect(client.text).toMatch(/^HTTP\/1\.1 502 [\s\S]*closed the connection without an answer/);
      client.end();
    }
    await isIdle(guests.proxy);
  });
});
