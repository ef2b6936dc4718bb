import { inspect } from "node:util";
import { expect, test } from "vitest";
import { closedPort } from "../../../streams/src/testing/host-server.ts";
import { settle } from "../../../streams/src/testing/peer.ts";
import { DIRECT, REFUSE } from "../route.ts";
import {
  answering,
  ESTABLISHED,
  ORIGIN,
  playProxy,
  through,
  UpstreamHarness,
  withCode,
} from "../testing/upstream-harness.ts";
import { dialTcp } from "./dial-proxy.ts";

const CREDENTIALS = { user: "alice", password: "secret-word" };

test("a proxy that refuses the connection: 502, logged once until it works again", async () => {
  const port = await closedPort();
  const harness = new UpstreamHarness();
  const route = through("http", port, { credentials: CREDENTIALS });
  for (let count = 0; count < 3; count++) {
    const error = await harness.failure([route]);
    expect(error).toMatchObject({
      status: 502,
      message: `the proxy http://proxy.test:${port} refused the connection`,
    });
    expect(inspect(error, { depth: 10, showHidden: true })).not.toMatch(/secret-word|alice|YWxpY2U6/);
  }
  expect(harness.log).toEqual([
    `warn {"proxy":"http://proxy.test:${port}","reason":"the proxy http://proxy.test:${port} refused the connection"} ` +
      "an upstream proxy fails; it is tried again until it works",
  ]);
  expect(harness.clock.timers).toBe(0);
});

test("a silent proxy is not waited for by everybody: one tries it, the others fail at once", async () => {
  let dials = 0;
  const harness = new UpstreamHarness({
    dialProxy: () => {
      dials++;
      return new Promise(() => {});
    },
  });
  const { clock } = harness;
  const routes = [through("http", 3128)];
  const silent = "the proxy http://proxy.test:3128 did not answer within 10 s";
  const first = Array.from({ length: 50 }, () => harness.failure(routes));
  await settle();
  clock.advance(10_000);
  for (const error of await Promise.all(first)) expect(error).toMatchObject({ status: 504, message: silent });
  expect(dials).toBe(50);
  const refused = await harness.failure(routes);
  expect(refused).toMatchObject({ status: 504, message: `${silent}; it is tried again in 1 s` });
  clock.advance(1000);
  const probe = harness.failure(routes);
  await settle();
  expect(dials).toBe(51);
  expect(await harness.failure(routes)).toMatchObject({ status: 504, message: `${silent}; it is being tried again` });
  clock.advance(10_000);
  expect((await probe).message).toBe(silent);
  expect(dials).toBe(51);
  expect(clock.timers).toBe(0);
  expect(harness.log).toHaveLength(1);
});

test("a probe whose client went away leaves the next try to the next one", async () => {
  let dials = 0;
  const harness = new UpstreamHarness({
    dialProxy: () => {
      dials++;
      return new Promise(() => {});
    },
  });
  const routes = [through("http", 3128)];
  const first = harness.failure(routes);
  await settle();
  harness.clock.advance(10_000);
  await first;
  harness.clock.advance(1000);
  for (let count = 0; count < 3; count++) {
    const client = new AbortController();
    const probe = harness.tunnel(routes, client.signal);
    await settle();
    client.abort(new Error("gone"));
    await expect(probe).rejects.toThrow("gone");
  }
  expect(dials).toBe(4);
});

test("the next route is tried when a proxy cannot be reached, and it stays behind until it is due", async () => {
  const good = await playProxy(answering(ESTABLISHED));
  const port = await closedPort();
  const harness = new UpstreamHarness();
  const routes = [through("http", port), through("http", good.port)];
  await harness.tunnel(routes);
  await harness.tunnel(routes);
  expect(good.peers).toHaveLength(2);
  expect(harness.connector.health.report()).toMatchObject([{ state: "failing" }, { state: "working" }]);
  expect(harness.log).toHaveLength(1);
});

test("a proxy that comes back is used for the next request that is due", async () => {
  const back = await playProxy(answering(ESTABLISHED));
  const other = await playProxy(answering(ESTABLISHED));
  let isUp = false;
  const harness = new UpstreamHarness({
    dialProxy: async ({ port }, signal) => {
      if (port === back.port && !isUp) throw withCode("ECONNREFUSED");
      return await dialTcp({ host: "127.0.0.1", port }, signal);
    },
  });
  const routes = [through("http", back.port), through("http", other.port)];
  await harness.tunnel(routes);
  isUp = true;
  await harness.tunnel(routes);
  expect([back.peers.length, other.peers.length]).toEqual([0, 2]);
  harness.clock.advance(1000);
  await harness.tunnel(routes);
  expect([back.peers.length, other.peers.length]).toEqual([1, 2]);
  expect(harness.log.map((line) => line.split(" ")[0])).toEqual(["warn", "info"]);
});

test("all routes failed: the error tells of each, with the status of the last", async () => {
  const [one, other] = [await closedPort(), await closedPort()];
  const harness = new UpstreamHarness({ dialOrigin: () => Promise.reject(withCode("ETIMEDOUT")) });
  const error = await harness.failure([through("http", one), through("socks5h", other), DIRECT]);
  expect(error).toMatchObject({
    status: 504,
    route: DIRECT,
    message:
      `the proxy http://proxy.test:${one} refused the connection; the proxy socks5h://proxy.test:${other} refused the ` +
      "connection; origin.test:443 did not answer in time",
  });
});

test("a list that ends with a refusal fails closed, and says which proxy failed", async () => {
  const port = await closedPort();
  const harness = new UpstreamHarness();
  for (let count = 0; count < 2; count++) {
    expect(await harness.failure([through("http", port), REFUSE, DIRECT])).toMatchObject({
      status: 403,
      message:
        `the proxy http://proxy.test:${port} refused the connection; ` +
        "connections to origin.test:443 are refused by a rule of the test",
    });
  }
});

test("what a rule forbids is not tried on another route", async () => {
  const proxy = await playProxy(answering(ESTABLISHED));
  const harness = new UpstreamHarness({ dialOrigin: () => Promise.reject(withCode("EACCES")) });
  expect((await harness.failure([DIRECT, through("http", proxy.port)])).status).toBe(403);
  expect(proxy.peers).toHaveLength(0);
});

test.each<[answer: string, triesNext: boolean]>([
  ["HTTP/1.1 503 Busy\r\n\r\n", true],
  ["nonsense\r\n\r\n", true],
  ["HTTP/1.1 502 Bad\r\n\r\n", false],
  ["HTTP/1.1 504 Late\r\n\r\n", false],
  ["HTTP/1.1 500 Fault\r\n\r\n", false],
  ["HTTP/1.1 403 Forbidden\r\n\r\n", false],
  ["HTTP/1.1 407 Who\r\n\r\n", false],
])("a proxy that answers %j: the next route is tried, %s", async (answer, triesNext) => {
  const first = await playProxy(answering(answer));
  const second = await playProxy(answering(ESTABLISHED));
  const harness = new UpstreamHarness();
  const routes = [through("http", first.port), through("http", second.port)];
  if (triesNext) await harness.tunnel(routes);
  else await harness.failure(routes);
  expect(second.peers).toHaveLength(triesNext ? 1 : 0);
  expect(harness.open).toBe(triesNext ? 1 : 0);
});

test.each(["end", "destroy"] as const)("the next route is tried when a proxy answers by %s", async (how) => {
  const first = await playProxy((peer) => peer[how]());
  const second = await playProxy(answering(ESTABLISHED));
  const harness = new UpstreamHarness();
  await harness.tunnel([through("http", first.port), through("http", second.port)]);
  expect(harness.open).toBe(1);
});

test("a proxy that does not answer: the next route, and it is put behind after two origins", async () => {
  const silent = await playProxy();
  const good = await playProxy(answering(ESTABLISHED));
  const harness = new UpstreamHarness();
  const routes = [through("http", silent.port), through("http", good.port)];
  for (const [index, host] of ["one.test", "one.test", "two.test"].entries()) {
    const tunnel = harness.tunnel(routes, undefined, { ...ORIGIN, host });
    const peer = await silent.next();
    await peer.until(() => peer.text.endsWith("\r\n\r\n"));
    harness.clock.advance(29_999);
    await settle();
    expect(good.peers).toHaveLength(index);
    harness.clock.advance(1);
    await tunnel;
  }
  await harness.tunnel(routes);
  expect(silent.peers).toHaveLength(3);
  expect(harness.connector.health.report()[0]).toMatchObject({
    state: "failing",
    reason: expect.stringMatching(/gave no answer within 30 s, asked for a connection to two.test:443$/),
  });
  expect(harness.open).toBe(4);
});

test("a lone proxy that does not answer for some origins is tried for the others", async () => {
  const proxy = await playProxy(async (peer) => {
    await peer.until(() => peer.text.includes("\r\n\r\n") || peer.isClosed);
    if (!peer.text.includes("silent")) peer.write(ESTABLISHED);
  });
  const harness = new UpstreamHarness();
  const routes = [through("http", proxy.port)];
  for (const host of ["silent-one.test", "silent-two.test", "silent-three.test"]) {
    const failure = harness.failure(routes, { ...ORIGIN, host });
    const peer = await proxy.next();
    await peer.until(() => peer.text.endsWith("\r\n\r\n"));
    harness.clock.advance(30_000);
    expect(await failure).toMatchObject({ status: 504 });
  }
  expect(harness.connector.health.report()).toMatchObject([{ state: "failing" }]);
  await harness.tunnel(routes);
  expect(harness.connector.health.report()).toMatchObject([{ state: "working" }]);
});

test("when the settings change, proxies are tried anew", async () => {
  const port = await closedPort();
  const good = await playProxy(answering(ESTABLISHED));
  const harness = new UpstreamHarness();
  await harness.tunnel([through("http", port), through("http", good.port)]);
  harness.connector.health.reset();
  expect(harness.connector.health.report()).toEqual([]);
  await harness.tunnel([through("http", port), through("http", good.port)]);
  expect(harness.log).toHaveLength(2);
});
