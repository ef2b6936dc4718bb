import { once } from "node:events";
import { inspect } from "node:util";
import { expect, test } from "vitest";
import { closedPort } from "../../../streams/src/testing/host-server.ts";
import { Peer, settle } from "../../../streams/src/testing/peer.ts";
import { DIRECT, type ProxyServer } from "../route.ts";
import {
  decision,
  neverAborted,
  ORIGIN,
  type PlayedProxy,
  playProxy,
  through,
  UpstreamHarness,
  withCode,
} from "../testing/upstream-harness.ts";
import { UpstreamConnector } from "./upstream-connector.ts";

const CREDENTIALS = { user: "alice", password: "secret-word" };
/** Granted, with the address 127.0.0.1:8080 (RFC 1928, 6). */
const GRANTED = [5, 0, 0, 1, 127, 0, 0, 1, 0x1f, 0x90];
const TO_NAME = [5, 1, 0, 3, ORIGIN.host.length, ...Buffer.from(ORIGIN.host), 0x01, 0xbb];

/** Plays a SOCKS server: at each turn it waits for so many more bytes, and answers. */
async function playSocks(...turns: [expected: number, answer: readonly number[]][]): Promise<PlayedProxy> {
  return await playProxy(async (peer) => {
    let length = 0;
    for (const [expected, answer] of turns) {
      length += expected;
      await peer.getsBytes(length);
      peer.write(Uint8Array.from(answer));
    }
  });
}

function socks(port: number, rest: Partial<ProxyServer> = {}) {
  return through("socks5h", port, rest);
}

/** One that needs no password, and answers so when it is asked for {@link ORIGIN} by its name. */
async function playOpen(answer: readonly number[]): Promise<PlayedProxy> {
  return await playSocks([3, [5, 0]], [TO_NAME.length, answer]);
}

test("a name is given to the proxy of socks5h, and what it sends early belongs to the tunnel", async () => {
  const proxy = await playOpen([...GRANTED, ...Buffer.from("early")]);
  const harness = new UpstreamHarness();
  const tunnel = await harness.tunnel([socks(proxy.port)]);
  const other = await proxy.next();
  expect([...other.received]).toEqual([5, 1, 0, ...TO_NAME]);
  await tunnel.gets("early");
  other.clear();
  tunnel.end("request");
  await other.gets("request");
  await other.ends();
  other.end(" and late");
  await tunnel.gets("early and late");
  await tunnel.ends();
  expect(harness.clock.timers).toBe(0);
  expect(harness.connector.health.report()).toMatchObject([{ state: "working" }]);
});

test("for requests of plain HTTP there is the same way to the origin itself", async () => {
  const proxy = await playOpen(GRANTED);
  const harness = new UpstreamHarness();
  const upstream = await harness.connector.request(ORIGIN, decision([socks(proxy.port)]), neverAborted());
  expect(upstream.proxy).toBeNull();
  const peer = new Peer(upstream.stream);
  (await proxy.next()).write("from the origin");
  await peer.gets("from the origin");
});

test.each<[host: string, request: number[]]>([
  ["192.0.2.7", [5, 1, 0, 1, 192, 0, 2, 7, 0x01, 0xbb]],
  ["2001:db8::1", [5, 1, 0, 4, 0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0x01, 0xbb]],
  ["::ffff:192.0.2.7", [5, 1, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, 7, 0x01, 0xbb]],
])("the address %s is sent as one, and not looked up", async (host, request) => {
  for (const kind of ["socks5", "socks5h"] as const) {
    const proxy = await playSocks([3, [5, 0]], [request.length, GRANTED]);
    await new UpstreamHarness().tunnel([through(kind, proxy.port)], neverAborted(), { ...ORIGIN, host });
    expect([...(await proxy.next()).received]).toEqual([5, 1, 0, ...request]);
  }
});

test.each<[what: string, answer: number[]]>([
  ["a name", [5, 0, 0, 3, 4, ...Buffer.from("host"), 0, 80]],
  ["an empty name", [5, 0, 0, 3, 0, 0, 80]],
  ["an IPv6 address", [5, 0, 0, 4, ...Array(16).fill(1), 0, 80]],
  ["no address", [5, 0, 0, 1, 0, 0, 0, 0, 0, 0]],
])("the proxy's own end may be told as %s, in pieces of any size", async (_what, answer) => {
  for (const size of [1, 2, 3, 100]) {
    const harness = new UpstreamHarness();
    const proxy = await playProxy(async (peer) => {
      await peer.getsBytes(3);
      for (const byte of [5, 0]) {
        peer.write(Uint8Array.of(byte));
        await settle(2);
      }
      await peer.getsBytes(3 + TO_NAME.length);
      const bytes = Uint8Array.from([...answer, ...Buffer.from("tunnel")]);
      for (let at = 0; at < bytes.length; at += size) {
        peer.write(bytes.subarray(at, at + size));
        await settle(2);
      }
    });
    const tunnel = await harness.tunnel([socks(proxy.port)]);
    await tunnel.gets("tunnel");
  }
});

test("a user name and a password are sent when the proxy wants them (RFC 1929)", async () => {
  const login = [1, 5, ...Buffer.from("alice"), 11, ...Buffer.from("secret-word")];
  const proxy = await playSocks([4, [5, 2]], [login.length, [1, 0]], [TO_NAME.length, GRANTED]);
  const harness = new UpstreamHarness();
  await harness.tunnel([socks(proxy.port, { credentials: CREDENTIALS })]);
  expect([...(await proxy.next()).received]).toEqual([5, 2, 0, 2, ...login, ...TO_NAME]);
});

test("they are not sent to a proxy that does not want them", async () => {
  const proxy = await playSocks([4, [5, 0]], [TO_NAME.length, GRANTED]);
  await new UpstreamHarness().tunnel([socks(proxy.port, { credentials: CREDENTIALS })]);
  expect((await proxy.next()).text).not.toMatch(/alice|secret-word/);
});

test.each<[what: string, turns: [number, number[]][], credentials: boolean, text: string]>([
  ["wants credentials that there are not", [[3, [5, 0xff]]], false, "wants credentials: give a user name and password"],
  ["takes no way to log in", [[4, [5, 0xff]]], true, "refused the user name and password that it was given"],
  ["chooses a way that was not offered", [[3, [5, 1]]], false, "wants credentials"],
  [
    "refuses the credentials",
    [
      [4, [5, 2]],
      [19, [1, 1]],
    ],
    true,
    "refused the user name and password that it was given",
  ],
])("a proxy that %s: 407, and no other route", async (_what, turns, hasCredentials, text) => {
  const proxy = await playSocks(...turns);
  const harness = new UpstreamHarness();
  const error = await harness.failure([socks(proxy.port, hasCredentials ? { credentials: CREDENTIALS } : {}), DIRECT]);
  expect(error.status).toBe(407);
  expect(error.message).toContain(`the proxy socks5h://proxy.test:${proxy.port} ${text}`);
  expect(inspect(error, { depth: 20, showHidden: true })).not.toMatch(/secret-word|alice/);
  expect(harness.open).toBe(0);
  expect(harness.connector.health.report()).toMatchObject([{ state: "working" }]);
});

test("credentials that do not fit into the protocol are not sent", async () => {
  const proxy = await playProxy();
  const harness = new UpstreamHarness();
  for (const credentials of [
    { user: "u".repeat(256), password: "secret-word" },
    { user: "ü".repeat(128), password: "secret-word" },
    { user: "alice", password: "p".repeat(256) },
  ]) {
    const error = await harness.failure([socks(proxy.port, { credentials })]);
    expect(error.status).toBe(407);
    expect(error.message).toMatch(/cannot be given a user name or a password of more than 255 bytes$/);
  }
  expect(harness.open).toBe(0);
});

test.each<[reply: number, status: number, text: string]>([
  [1, 502, "could not connect to origin.test:443"],
  [2, 403, "does not allow connections to origin.test:443"],
  [3, 502, "has no way to the network of origin.test:443"],
  [4, 502, "cannot reach origin.test:443"],
  [5, 502, "was refused the connection to origin.test:443"],
  [6, 504, "had no answer of origin.test:443 in time"],
  [7, 502, "makes no connections for others"],
  [8, 502, "takes no address of the kind that origin.test:443 has"],
])("a proxy that replies %i: %i", async (reply, status, text) => {
  const proxy = await playOpen([5, reply, 0, 1, 0, 0, 0, 0, 0, 0]);
  const harness = new UpstreamHarness();
  const error = await harness.failure([socks(proxy.port)]);
  expect(error).toMatchObject({ status, message: `the proxy socks5h://proxy.test:${proxy.port} ${text}` });
  expect(harness.open).toBe(0);
  expect(harness.connector.health.report()).toMatchObject([{ state: "working" }]);
});

test("the next route is tried when the proxy says that it has failed itself, and not for its other replies", async () => {
  for (const [reply, count] of [
    [1, 1],
    [2, 0],
    [5, 0],
  ]) {
    const proxy = await playOpen([5, reply, 0, 1, 0, 0, 0, 0, 0, 0]);
    let dials = 0;
    const dialOrigin = () => {
      dials++;
      return Promise.reject(withCode("ECONNREFUSED"));
    };
    await new UpstreamHarness({ dialOrigin }).failure([socks(proxy.port), DIRECT]);
    expect(dials).toBe(count);
  }
});

test.each<[what: string, turns: [number, number[]][]]>([
  ["another version", [[3, [4, 0]]]],
  ["HTTP", [[3, [...Buffer.from("HTTP/1.1 400 Bad Request\r\n\r\n")]]]],
  [
    "an unknown reply",
    [
      [3, [5, 0]],
      [TO_NAME.length, [5, 9, 0, 1, 0, 0, 0, 0, 0, 0]],
    ],
  ],
  [
    "a reply of another version",
    [
      [3, [5, 0]],
      [TO_NAME.length, [4, 0, 0, 1, 0, 0, 0, 0, 0, 0]],
    ],
  ],
  [
    "an unknown kind of address",
    [
      [3, [5, 0]],
      [TO_NAME.length, [5, 0, 0, 7, 0, 0, 0, 0, 0, 0]],
    ],
  ],
])("a proxy that answers %s does not speak SOCKS5", async (_what, turns) => {
  const proxy = await playSocks(...turns);
  const harness = new UpstreamHarness();
  const error = await harness.failure([socks(proxy.port)]);
  expect(error.status).toBe(502);
  expect(error.message).toMatch(/answered something that is not of SOCKS5 \(RFC 1928\), asked for a connection to/);
  expect(harness.open).toBe(0);
});

test("a proxy that answers before it is asked is not understood", async () => {
  const proxy = await playSocks([4, [5, 2, 1, 0, ...GRANTED]]);
  const harness = new UpstreamHarness();
  expect((await harness.failure([socks(proxy.port, { credentials: CREDENTIALS })])).status).toBe(502);
  expect(harness.open).toBe(0);
});

test("a proxy that cannot be reached", async () => {
  const port = await closedPort();
  const harness = new UpstreamHarness();
  expect(await harness.failure([socks(port)])).toMatchObject({
    status: 502,
    message: `the proxy socks5h://proxy.test:${port} refused the connection`,
  });
  expect(harness.connector.health.report()).toMatchObject([{ state: "failing" }]);
});

test("a proxy that says nothing at all was not reached", async () => {
  const proxy = await playProxy();
  const harness = new UpstreamHarness();
  const failure = harness.failure([socks(proxy.port)]);
  await (await proxy.next()).getsBytes(3);
  harness.clock.advance(10_000);
  const error = await failure;
  expect(error.status).toBe(504);
  expect(error.message).toMatch(/did not answer within 10 s$/);
  expect((await harness.failure([socks(proxy.port)])).message).toMatch(/; it is tried again in 1 s$/);
  expect(harness.open).toBe(0);
});

test("one that has begun to answer has the time that the origin takes", async () => {
  const proxy = await playSocks([3, [5, 0]]);
  const harness = new UpstreamHarness();
  const failure = harness.failure([socks(proxy.port)]);
  await (await proxy.next()).getsBytes(3 + TO_NAME.length);
  harness.clock.advance(29_999);
  await settle();
  expect(harness.open).toBe(1);
  harness.clock.advance(1);
  expect((await failure).message).toMatch(/gave no answer within 30 s, asked for a connection to origin.test:443$/);
  expect(harness.open).toBe(0);
  expect(harness.connector.health.report()).toMatchObject([{ state: "working" }]);
});

test("an answer may take longer than any timer of the library", async () => {
  const proxy = await playProxy(async (peer) => {
    await peer.getsBytes(3);
    const timer = Promise.withResolvers<void>();
    setTimeout(timer.resolve, 20);
    await timer.promise;
    peer.write(Uint8Array.of(5, 0));
    await peer.getsBytes(3 + TO_NAME.length);
    peer.write(Uint8Array.from(GRANTED));
  });
  await new UpstreamHarness().tunnel([socks(proxy.port)]);
});

test("with socks5 the name is looked up here, and its addresses are tried, those of IPv4 first", async () => {
  const addresses = ["2001:db8::1", "192.0.2.1", "not an address", "192.0.2.2"];
  const asked: string[] = [];
  const proxy = await playProxy(async (peer) => {
    await peer.getsBytes(3);
    peer.write(Uint8Array.of(5, 0));
    await peer.getsBytes(3 + 10);
    const [type, ...address] = peer.received.subarray(6, 10 + 1);
    asked.push(type === 1 ? address.join(".") : "IPv6");
    peer.write(Uint8Array.of(5, type === 1 ? 5 : 0, 0, 1, 0, 0, 0, 0, 0, 0));
  });
  const names: string[] = [];
  const harness = new UpstreamHarness({
    resolve: async (host) => {
      names.push(host);
      return addresses;
    },
  });
  await harness.tunnel([through("socks5", proxy.port)]);
  expect(names).toEqual([ORIGIN.host]);
  expect(asked).toEqual(["192.0.2.1", "192.0.2.2", "IPv6"]);
  expect(harness.open).toBe(1);
  expect(harness.clock.timers).toBe(0);
});

test("not more than four addresses are tried, and none after a rule of the proxy", async () => {
  for (const [reply, tries] of [
    [5, 4],
    [2, 1],
  ]) {
    const proxy = await playSocks([3, [5, 0]], [10, [5, reply, 0, 1, 0, 0, 0, 0, 0, 0]]);
    const resolve = async () => Array.from({ length: 50 }, (_, index) => `192.0.2.${index}`);
    const harness = new UpstreamHarness({ resolve });
    const error = await harness.failure([through("socks5", proxy.port)]);
    expect(error.message).toMatch(reply === 5 ? /was refused the connection to origin.test:443$/ : /does not allow/);
    expect(proxy.peers).toHaveLength(tries);
    expect(harness.open).toBe(0);
  }
});

test.each<[what: string, resolve: () => Promise<string[]>, text: RegExp]>([
  [
    "is not known",
    () => Promise.reject(withCode("ENOTFOUND")),
    /^origin.test:443 cannot be reached: its name is not known/,
  ],
  ["has no address", async () => ["nonsense"], /^origin.test:443 has no address/],
])("a name that %s with socks5: the proxy is not asked", async (_what, resolve, text) => {
  const proxy = await playProxy();
  const harness = new UpstreamHarness({ resolve });
  const error = await harness.failure([through("socks5", proxy.port)]);
  expect(error.status).toBe(502);
  expect(error.message).toMatch(text);
  expect(error.message).toMatch(/and the proxy socks5:\/\/proxy.test:\d+ is not to look its name up$/);
  expect(proxy.peers).toHaveLength(0);
});

test("a name that is not looked up in time", async () => {
  const harness = new UpstreamHarness({ resolve: () => new Promise(() => {}) });
  const failure = harness.failure([through("socks5", 1080)]);
  harness.clock.advance(10_000);
  expect(await failure).toMatchObject({ status: 504 });
  expect(harness.clock.timers).toBe(0);
});

test("names are looked up by the host unless told otherwise", async () => {
  const proxy = await playProxy(async (peer) => {
    await peer.getsBytes(3);
    peer.write(Uint8Array.of(5, 0));
    await peer.getsBytes(3 + 10);
    peer.write(Uint8Array.from(GRANTED));
  });
  const { logger } = new UpstreamHarness();
  const connector = new UpstreamConnector({ logger, dialOrigin: () => Promise.reject(new Error("unexpected")) });
  const route = { kind: "proxy", server: { kind: "socks5", host: "127.0.0.1", port: proxy.port } } as const;
  const signal = neverAborted();
  const tunnel = new Peer(await connector.tunnel({ ...ORIGIN, host: "localhost" }, decision([route]), signal));
  expect([...(await proxy.next()).received.subarray(3)]).toEqual([5, 1, 0, 1, 127, 0, 0, 1, 0x01, 0xbb]);
  tunnel.destroy();
  await once(tunnel.stream, "close");
});
