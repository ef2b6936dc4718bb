import type { Duplex } from "node:stream";
import { beforeAll, expect, test } from "vitest";
import { EventLog } from "../../../streams/src/testing/event-log.ts";
import { Peer, settle } from "../../../streams/src/testing/peer.ts";
import type { ProxyServer, Route } from "../route.ts";
import { type Certificate, TestAuthority } from "../testing/certificates.ts";
import { CutRelay } from "../testing/cut-relay.ts";
import {
  answering,
  decision,
  ESTABLISHED,
  neverAborted,
  ORIGIN,
  playProxy,
  through,
  UpstreamHarness,
} from "../testing/upstream-harness.ts";
import { UpstreamError } from "./upstream-error.ts";

type Kind = "http" | "https" | "socks5h";
const KINDS: Kind[] = ["http", "https", "socks5h"];
const CREDENTIALS = { user: "alice", password: "secret-word" };
const GRANTED = [5, 0, 0, 1, 127, 0, 0, 1, 0, 80];

let ca: string;
let certificate: Certificate;
beforeAll(async () => {
  const authority = await TestAuthority.make();
  ca = authority.ca;
  certificate = await authority.sign(["DNS:proxy.test"]);
});

async function playSocks(peer: Peer): Promise<void> {
  await peer.getsBytes(4);
  peer.write(Uint8Array.of(5, 2));
  await peer.getsBytes(4 + 19);
  peer.write(Uint8Array.of(1, 0));
  await peer.getsBytes(4 + 19 + 7 + ORIGIN.host.length);
  peer.write(Uint8Array.from(GRANTED));
}

interface Setting {
  readonly harness: UpstreamHarness;
  readonly relay: CutRelay;
  readonly route: Route;
}

/** A proxy of a kind that works, behind a relay. */
async function makeSetting(kind: Kind): Promise<Setting> {
  const play = kind === "socks5h" ? playSocks : answering(ESTABLISHED);
  const proxy = await playProxy(play, kind === "https" ? certificate : undefined);
  const relay = await CutRelay.start(proxy.port);
  const rest: Partial<ProxyServer> = { credentials: CREDENTIALS, ...(kind === "https" && { ca }) };
  return { harness: new UpstreamHarness(), relay, route: through(kind, relay.port, rest) };
}

/** How many bytes come from the proxy until the tunnel is there. */
async function handshakeLength({ harness, relay, route }: Setting): Promise<number> {
  await harness.tunnel([route]);
  return relay.passed;
}

test.each(KINDS)("a connection to a proxy of %s that is reset or ends after any byte leaves nothing", async (kind) => {
  const setting = await makeSetting(kind);
  const { harness, relay, route } = setting;
  const length = await handshakeLength(setting);
  let failures = 0;
  for (const by of ["reset", "end"] as const) {
    // A TLS handshake has more than a thousand bytes and takes long; 13 is in step with nothing in it.
    for (let after = 0; after < length; after += kind === "https" ? 13 : 1) {
      relay.cut = { after, by };
      const result = await harness.connector.tunnel(ORIGIN, decision([route]), neverAborted()).catch((error) => error);
      if (result instanceof UpstreamError) {
        expect(result.status).toBe(502);
        expect(result.message).not.toMatch(/secret-word|alice/);
        failures++;
      } else {
        // With TLS some bytes come behind the handshake.
        expect(kind).toBe("https");
        (result as Duplex).destroy();
      }
      expect(harness.clock.timers).toBe(0);
    }
  }
  expect(failures).toBeGreaterThan(kind === "https" ? 80 : 2 * length - 1);
  harness.sockets[0].destroy();
  await settle();
  expect(harness.open).toBe(0);
});

test.each(KINDS)("a proxy of %s that falls silent after any byte: the limit ends it, or the caller", async (kind) => {
  const setting = await makeSetting(kind);
  const { harness, relay, route } = setting;
  const length = await handshakeLength(setting);
  const stalls = new EventLog<number>();
  let count = 0;
  for (let after = 0; after < length; after += kind === "https" ? 37 : 1) {
    for (const isAborted of [true, false]) {
      relay.cut = { after, by: "stall", done: () => stalls.push(after) };
      const caller = new AbortController();
      const tunnel = harness.connector.tunnel(ORIGIN, decision([route]), caller.signal).catch((error) => error);
      await stalls.take(++count);
      await settle(2);
      if (isAborted) caller.abort(new Error("nobody wants it"));
      else harness.clock.advance(30_000);
      const result = await tunnel;
      if (result instanceof UpstreamError) expect([isAborted, result.status]).toEqual([false, 504]);
      else if (result instanceof Error) expect([isAborted, result.message]).toEqual([true, "nobody wants it"]);
      else (result as Duplex).destroy();
      expect(harness.clock.timers).toBe(0);
      harness.connector.health.reset();
    }
  }
  harness.sockets[0].destroy();
  await settle();
  expect(harness.open).toBe(0);
  relay.reset();
});

test.each(KINDS)("a tunnel through a proxy of %s that is reset afterwards closes", async (kind) => {
  const { harness, relay, route } = await makeSetting(kind);
  const tunnel = await harness.tunnel([route]);
  relay.reset();
  await tunnel.closes();
  expect(tunnel.hasEnded).toBe(false);
  expect(harness.open).toBe(0);
});

test("a tunnel that breaks before anybody listens for its errors breaks nothing else", async () => {
  const { harness, relay, route } = await makeSetting("http");
  const stream = await harness.connector.tunnel(ORIGIN, decision([route]), neverAborted());
  const closed = Promise.withResolvers<void>();
  stream.once("close", closed.resolve).resume();
  relay.reset();
  await closed.promise;
  expect(harness.open).toBe(0);
});

test.each(KINDS)("a caller who goes at any turn of the event loop leaves nothing of %s", async (kind) => {
  const { harness, route } = await makeSetting(kind);
  for (let turns = 0; turns < 60; turns++) {
    const caller = new AbortController();
    const tunnel = harness.connector.tunnel(ORIGIN, decision([route]), caller.signal).catch((error) => error);
    await settle(turns);
    caller.abort(new Error("gone"));
    const result = await tunnel;
    if (result instanceof Error) expect(result.message).toBe("gone");
    else (result as Duplex).destroy();
  }
  await settle();
  expect(harness.open).toBe(0);
  expect(harness.clock.timers).toBe(0);
  expect(harness.log).toEqual([]);
});

/** Numbers below `limit`, always the same ones for a seed (xorshift32). */
function seeded(seed: number): (limit: number) => number {
  let state = seed;
  return (limit) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % limit;
  };
}

function mutate(bytes: Buffer, random: (limit: number) => number): Buffer {
  let result = bytes;
  for (let count = random(4); count > 0; count--) {
    const at = random(result.length + 1);
    const [before, behind] = [result.subarray(0, at), result.subarray(at)];
    const parts = [
      [before, Buffer.of(random(256)), behind],
      [before, behind.subarray(1)],
      [before, Buffer.of(random(256)), behind.subarray(1)],
      [before, behind.subarray(0, random(20)), behind],
      [before],
    ];
    result = Buffer.concat(parts[random(parts.length)]);
  }
  return result;
}

async function writeInPieces(peer: Peer, bytes: Buffer, random: (limit: number) => number): Promise<void> {
  for (let at = 0; at < bytes.length; ) {
    const end = at + 1 + random(bytes.length);
    peer.write(bytes.subarray(at, end));
    at = end;
    if (random(2) === 0) await settle(1);
  }
}

const HEADS = [
  "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nVia: 1.1 x\r\n\r\n",
  'HTTP/1.1 407 No\r\nProxy-Authenticate: Basic realm="a, b", NTLM\r\nContent-Length: 3\r\n\r\nabc',
  "HTTP/1.0 503 Busy\r\n\r\n",
  ESTABLISHED,
];

test("answers of any bytes to CONNECT lead to a tunnel or to an error", async () => {
  const random = seeded(20_261_122);
  let answer: Buffer = Buffer.alloc(0);
  const proxy = await playProxy(async (peer) => {
    await peer.until(() => peer.text.includes("\r\n\r\n"));
    await writeInPieces(peer, answer, random);
    if (random(2) === 0) peer.end();
    else peer.destroy();
  });
  const harness = new UpstreamHarness();
  const seen = { tunnels: 0, errors: 0 };
  for (let count = 0; count < 1500; count++) {
    answer = mutate(Buffer.from(HEADS[count % HEADS.length]), random);
    const tunnel = harness.connector.tunnel(ORIGIN, decision([through("http", proxy.port)]), neverAborted());
    const result = await tunnel.catch((error) => error);
    if (result instanceof Error) {
      expect(result).toBeInstanceOf(UpstreamError);
      seen.errors++;
    } else {
      expect(answer.toString("latin1")).toMatch(/HTTP\/1\.[01] 2\d\d( |\r)/);
      result.destroy();
      seen.tunnels++;
    }
  }
  expect(seen.tunnels).toBeGreaterThan(100);
  expect(seen.errors).toBeGreaterThan(100);
  expect(harness.open).toBe(0);
  expect(harness.clock.timers).toBe(0);
});

test("answers of any bytes to SOCKS lead to a tunnel or to an error", async () => {
  const random = seeded(1928);
  const proxy = await playProxy(async (peer) => {
    for (const [length, answer] of [
      [4, [5, 2 * random(2)]],
      [4 + 7 + ORIGIN.host.length, [1, 0]],
      [4 + 19 + 7 + ORIGIN.host.length, GRANTED],
    ] as const) {
      const asked = peer.until(() => peer.received.length >= length || peer.hasEnded || peer.isClosed);
      // Both may wait for the other after an answer that is too short.
      await Promise.race([asked, settle(50)]);
      if (peer.hasEnded || peer.isClosed) break;
      await writeInPieces(peer, mutate(Buffer.from(answer), random), random);
      if (random(3) === 0) break;
    }
    if (random(2) === 0) peer.end();
    else peer.destroy();
  });
  const harness = new UpstreamHarness();
  const route = through("socks5h", proxy.port, { credentials: CREDENTIALS });
  const seen = { tunnels: 0, errors: 0 };
  for (let count = 0; count < 1500; count++) {
    const result = await harness.connector.tunnel(ORIGIN, decision([route]), neverAborted()).catch((error) => error);
    if (result instanceof Error) {
      expect(result).toBeInstanceOf(UpstreamError);
      expect(result.message).not.toMatch(/secret-word|alice/);
      seen.errors++;
    } else {
      result.destroy();
      seen.tunnels++;
    }
  }
  expect(seen.tunnels).toBeGreaterThan(20);
  expect(seen.errors).toBeGreaterThan(100);
  expect(harness.open).toBe(0);
  expect(harness.clock.timers).toBe(0);
});

test("whatever pieces an answer comes in, the tunnel begins behind it", async () => {
  const random = seeded(9112);
  const payload = Buffer.from(Array.from({ length: 3000 }, () => random(256)));
  for (const kind of KINDS) {
    const proxy = await playProxy(
      async (peer) => {
        if (kind === "socks5h") {
          await peer.getsBytes(3);
          await writeInPieces(peer, Buffer.of(5, 0), random);
          await peer.getsBytes(3 + 7 + ORIGIN.host.length);
          await writeInPieces(peer, Buffer.concat([Buffer.from(GRANTED), payload]), random);
        } else {
          await peer.until(() => peer.text.includes("\r\n\r\n"));
          await writeInPieces(peer, Buffer.concat([Buffer.from(ESTABLISHED), payload]), random);
        }
        peer.end();
      },
      kind === "https" ? certificate : undefined,
    );
    const harness = new UpstreamHarness();
    for (let count = 0; count < 40; count++) {
      const tunnel = await harness.tunnel([through(kind, proxy.port, kind === "https" ? { ca } : {})]);
      await tunnel.ends();
      expect(tunnel.received.equals(payload)).toBe(true);
      tunnel.destroy();
    }
    expect(harness.open).toBe(0);
  }
});

test("many at once, some of whom go away, leave nothing", async () => {
  const random = seeded(50);
  const harness = new UpstreamHarness();
  const routes: Route[] = [];
  for (const kind of KINDS) {
    const play = kind === "socks5h" ? playSocks : answering(ESTABLISHED);
    const proxy = await playProxy(play, kind === "https" ? certificate : undefined);
    routes.push(through(kind, proxy.port, { credentials: CREDENTIALS, ...(kind === "https" && { ca }) }));
  }
  const work = Array.from({ length: 150 }, async (_, index) => {
    const caller = new AbortController();
    const opening = harness.connector.tunnel(ORIGIN, decision([routes[index % 3]]), caller.signal);
    if (random(2) === 0) {
      const failure = opening.then(
        (stream) => stream.destroy(),
        (error: unknown) => expect(error).toBe(caller.signal.reason),
      );
      await settle(random(30));
      caller.abort();
      await failure;
    } else {
      const tunnel = new Peer(await opening);
      tunnel.end();
      tunnel.destroy();
      await tunnel.closes();
    }
  });
  await Promise.all(work);
  await settle();
  expect(harness.open).toBe(0);
  expect(harness.clock.timers).toBe(0);
});
