import { expect, test } from "vitest";
import { Peer, settle, startServer } from "../../../streams/src/testing/peer.ts";
import { DIRECT, type HostPort, REFUSE } from "../route.ts";
import {
  answering,
  decision,
  ESTABLISHED,
  neverAborted,
  ORIGIN,
  playProxy,
  through,
  UpstreamHarness,
  withCode,
} from "../testing/upstream-harness.ts";

const CREDENTIALS = { user: "alice", password: "secret-word" };

test("a direct route is one call for a stream, and leaves no timer", async () => {
  const server = await startServer();
  const dialled: HostPort[] = [];
  const harness = new UpstreamHarness({
    dialOrigin: async (origin) => {
      dialled.push(origin);
      return await server.dial();
    },
  });
  const peer = await harness.tunnel([DIRECT]);
  const { stream, proxy } = await harness.connector.request(ORIGIN, decision([DIRECT]), neverAborted());
  expect(dialled).toEqual([ORIGIN, ORIGIN]);
  expect(proxy).toBeNull();
  expect(harness.clock.timers).toBe(0);
  peer.end("hello");
  await (await server.next()).gets("hello");
  stream.destroy();
  await (await server.next()).ends();
});

test.each<[code: string, status: number, text: string]>([
  ["ECONNREFUSED", 502, "origin.test:443 refused the connection"],
  ["ECONNRESET", 502, "origin.test:443 reset the connection"],
  ["EHOSTUNREACH", 502, "origin.test:443 cannot be reached: there is no way to its address"],
  ["ENOTFOUND", 502, "origin.test:443 cannot be reached: its name is not known"],
  ["ETIMEDOUT", 504, "origin.test:443 did not answer in time"],
  ["EACCES", 403, "origin.test:443 may not be connected to"],
  ["ESTRANGE", 502, "origin.test:443 could not be connected to (ESTRANGE)"],
])("a direct route that fails by %s: %i", async (code, status, text) => {
  const harness = new UpstreamHarness({ dialOrigin: () => Promise.reject(withCode(code)) });
  const error = await harness.failure([DIRECT]);
  expect(error).toMatchObject({ status, message: text, route: DIRECT });
  expect(harness.clock.timers).toBe(0);
});

test("a dial that throws at once is a route that failed", async () => {
  const harness = new UpstreamHarness({
    dialOrigin: () => {
      throw new Error("a fault");
    },
  });
  expect(await harness.failure([DIRECT])).toMatchObject({
    status: 502,
    message: "origin.test:443 could not be connected to",
  });
});

test("a direct route that takes too long: 504, and a stream that comes later is closed", async () => {
  const server = await startServer();
  const { promise, resolve } = Promise.withResolvers<void>();
  let signal: AbortSignal | undefined;
  const harness = new UpstreamHarness({
    dialOrigin: async (_origin, given) => {
      signal = given;
      await promise;
      return await server.dial();
    },
  });
  const failure = harness.failure([DIRECT]);
  harness.clock.advance(9_999);
  expect(signal?.aborted).toBe(false);
  harness.clock.advance(1);
  expect(await failure).toMatchObject({
    status: 504,
    message: "origin.test:443 did not answer within 10 s",
  });
  expect(signal?.aborted).toBe(true);
  resolve();
  await (await server.next()).ends();
});

test("a refusal is 403 and names the rule; no route is no way", async () => {
  const harness = new UpstreamHarness();
  expect(await harness.failure([REFUSE, DIRECT])).toMatchObject({
    status: 403,
    message: "connections to origin.test:443 are refused by a rule of the test",
    route: REFUSE,
  });
  expect(await harness.failure([])).toMatchObject({ status: 502, route: null });
});

test("an HTTP proxy is asked with CONNECT, and what it sends early belongs to the tunnel", async () => {
  const proxy = await playProxy(answering(`${ESTABLISHED}early`));
  const harness = new UpstreamHarness();
  const tunnel = await harness.tunnel([through("http", proxy.port)]);
  const other = await proxy.next();
  expect(other.text).toBe("CONNECT origin.test:443 HTTP/1.1\r\nHost: origin.test:443\r\n\r\n");
  await tunnel.gets("early");
  other.clear();
  tunnel.end("request");
  await other.gets("request");
  await other.ends();
  other.end(" and late");
  await tunnel.gets("early and late");
  await tunnel.ends();
  expect(harness.clock.timers).toBe(0);
});

test("credentials go to the proxy only, and IPv6 addresses have brackets", async () => {
  const proxy = await playProxy(answering(ESTABLISHED));
  const harness = new UpstreamHarness();
  const route = through("http", proxy.port, { credentials: CREDENTIALS });
  await harness.tunnel([route], neverAborted(), { ...ORIGIN, host: "2001:db8::1", port: 8443 });
  expect((await proxy.next()).text).toBe(
    "CONNECT [2001:db8::1]:8443 HTTP/1.1\r\nHost: [2001:db8::1]:8443\r\n" +
      "Proxy-Authorization: Basic YWxpY2U6c2VjcmV0LXdvcmQ=\r\n\r\n",
  );
});

test("for requests of plain HTTP there is the connection to the proxy itself", async () => {
  const proxy = await playProxy();
  const harness = new UpstreamHarness();
  const route = through("http", proxy.port, { credentials: CREDENTIALS });
  const upstream = await harness.connector.request(ORIGIN, decision([route]), neverAborted());
  expect(route).toMatchObject({ server: upstream.proxy });
  expect(upstream.proxy?.credentials).toEqual(CREDENTIALS);
  const peer = new Peer(upstream.stream);
  const other = await proxy.next();
  peer.end("GET http://origin.test/ HTTP/1.1\r\n\r\n");
  await other.ends();
  expect(other.text).toBe("GET http://origin.test/ HTTP/1.1\r\n\r\n");
  other.end("answer");
  await peer.gets("answer");
  expect(harness.clock.timers).toBe(0);
});

test.each<[what: string, parts: string[]]>([
  ["in one piece with an HTTP/1.0 status", ["HTTP/1.0 200 OK\r\n\r\n"]],
  ["byte by byte", [..."HTTP/1.1 200 OK\r\nVia: 1.1 x\r\n\r\n"]],
  ["behind interim responses", ["HTTP/1.1 100 Continue\r\n\r\n", `HTTP/1.1 103 Early\r\nA: b\r\n\r\n${ESTABLISHED}`]],
  ["with lengths that mean nothing", ["HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"]],
  ["with another status of success", ["HTTP/1.1 299 Fine\r\n\r\n"]],
  ["without a reason", ["HTTP/1.1 200\r\n\r\n"]],
])("an answer %s opens the tunnel", async (_what, parts) => {
  const harness = new UpstreamHarness();
  const proxy = await playProxy(async (peer) => {
    await peer.until(() => peer.text.endsWith("\r\n\r\n"));
    for (const part of parts) {
      peer.write(part);
      await settle(3);
    }
    peer.write("tunnel");
  });
  const tunnel = await harness.tunnel([through("http", proxy.port)]);
  await tunnel.gets("tunnel");
});

test.each<[status: number, ours: number, text: string]>([
  [403, 403, "does not allow connections to origin.test:443 (403)"],
  [502, 502, "could not connect to origin.test:443 (502)"],
  [503, 502, "could not connect to origin.test:443 (503)"],
  [504, 504, "had no answer of origin.test:443 in time (504)"],
  [302, 502, "answered 302 when it was asked for a connection to origin.test:443"],
  [404, 502, "answered 404 when it was asked for a connection to origin.test:443"],
  [500, 502, "answered 500 when it was asked for a connection to origin.test:443"],
])("a proxy that answers %i: %i", async (status, ours, text) => {
  const proxy = await playProxy(answering(`HTTP/1.1 ${status} <script>\r\nContent-Length: 4\r\n\r\nbody`));
  const harness = new UpstreamHarness();
  const error = await harness.failure([through("http", proxy.port)]);
  expect(error).toMatchObject({ status: ours, message: `the proxy http://proxy.test:${proxy.port} ${text}` });
  expect(harness.open).toBe(0);
  expect(harness.connector.health.report()).toMatchObject([{ state: "working" }]);
});

test("a proxy that wants other credentials: 407 with the schemes and the remedy", async () => {
  const proxy = await playProxy(
    answering("HTTP/1.1 407 No\r\nProxy-Authenticate: Negotiate\r\nProxy-Authenticate: NTLM\r\n\r\n"),
  );
  const harness = new UpstreamHarness();
  const error = await harness.failure([through("http", proxy.port, { credentials: CREDENTIALS }), DIRECT]);
  expect(error.status).toBe(407);
  expect(error.message).toMatch(/offers Negotiate and NTLM only to log in .* cntlm or px/);
  expect(harness.open).toBe(0);
});

test.each<[what: string, answer: string, text: RegExp]>([
  ["no HTTP", "SSH-2.0-OpenSSH_9.2\r\n\r\n", /answered something that is not HTTP \(malformed status line\)/],
  ["bare line feeds", "HTTP/1.1 200 OK\n\n", /not HTTP/],
  ["HTTP/2", "HTTP/2 200 OK\r\n\r\n", /not HTTP/],
  ["a change of protocols", "HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n", /not HTTP \(unexpected status 101\)/],
  ["a head without an end", `HTTP/1.1 200 OK\r\nA: ${"b".repeat(70_000)}`, /not HTTP \(the head is too long\)/],
  ["interim responses without an end", "HTTP/1.1 100 Continue\r\n\r\n".repeat(4000), /too long/],
  ["empty lines without an end", "\r\n".repeat(40_000), /too long/],
])("a proxy that answers %s: 502", async (_what, answer, text) => {
  const proxy = await playProxy(answering(answer));
  const harness = new UpstreamHarness();
  const error = await harness.failure([through("http", proxy.port)]);
  expect(error.status).toBe(502);
  expect(error.message).toMatch(text);
  expect(harness.open).toBe(0);
  expect(harness.clock.timers).toBe(0);
});

test("a name that would be something else in a request is not sent to a proxy", async () => {
  const proxy = await playProxy();
  const harness = new UpstreamHarness();
  for (const host of [
    "a\r\nX: y",
    "a b",
    "",
    "a@b",
    "a/b",
    "[::1]",
    "a:1",
    "ä.test",
    "fe80::1%eth0",
    "a".repeat(256),
  ]) {
    for (const kind of ["http", "socks5h"] as const) {
      const error = await harness.failure([through(kind, proxy.port), DIRECT], { ...ORIGIN, host });
      expect(error.status).toBe(502);
      expect(error.message).toMatch(/cannot be asked for port 443 of what is neither a host's name nor an address$/);
    }
  }
  expect(harness.open).toBe(0);
  expect(proxy.peers.map((peer) => peer.text).join("")).toBe("");
});
