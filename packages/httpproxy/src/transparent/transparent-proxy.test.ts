import type { Duplex } from "node:stream";
import { describe, expect, test } from "vitest";
import { Random } from "../../../stack/src/testing/random.ts";
import { Peer, settle, startServer } from "../../../streams/src/testing/peer.ts";
import { DIRECT, REFUSE, type Route } from "../route.ts";
import { chromeHello, firefoxHello, helloMessage, messageOf, records, serverName } from "../testing/client-hellos.ts";
import { guestPair } from "../testing/stream-pairs.ts";
import { ORIGINAL, startTransparent, type TransparentHarness } from "../testing/transparent-harness.ts";
import { UpstreamError } from "../upstream/upstream-error.ts";

const NAME = "www.example.com";
const HELLO = firefoxHello(NAME);
const PROXY: Route = { kind: "proxy", server: { kind: "http", host: "proxy.test", port: 3128 } };
const REQUEST = "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n";
const BANNER = "SSH-2.0-OpenSSH_9.9\r\n";

const text = (bytes: Buffer) => bytes.toString("latin1");

/** A connection through a guest's stack, where a reset can be told from an end. */
async function playGuest({ proxy }: TransparentHarness): Promise<Peer> {
  const [stream, served] = await guestPair();
  proxy.handle(served, ORIGINAL);
  return new Peer(stream);
}

/** Nothing is left of any connection. */
async function isIdle({ proxy, clock }: TransparentHarness): Promise<void> {
  while (proxy.counts().sniffed + proxy.counts().tunnels > 0) await settle(1);
  expect(clock.timers).toBe(0);
}

describe("TLS goes the way that is decided for its name", () => {
  test("and what the guest has sent comes first", async () => {
    const harness = await startTransparent();
    const { play, origin, routes, proxy } = harness;
    routes.decision = { routes: [PROXY, DIRECT], reason: "the test" };
    const guest = await play();
    guest.write(HELLO.subarray(0, 100));
    await settle();
    guest.write(HELLO.subarray(100));
    guest.write("what follows");
    const upstream = await origin.next();
    await upstream.gets(`${text(HELLO)}what follows`);
    const destination = { scheme: "https", host: NAME, port: 443, address: ORIGINAL.host };
    expect(routes.decided).toEqual([destination]);
    expect(routes.tunnels).toEqual([{ destination, decision: routes.decision }]);
    expect(proxy.counts()).toEqual({ sniffed: 0, tunnels: 1 });

    upstream.write("an answer");
    await guest.gets("an answer");
    guest.end(" and the end");
    await upstream.ends();
    expect(upstream.text).toBe(`${text(HELLO)}what follows and the end`);
    upstream.end(", ended too");
    await guest.ends();
    expect(guest.text).toBe("an answer, ended too");
    await isIdle(harness);
  });

  test.each([
    ["without a name", records(helloMessage({}))],
    ["with an address for a name", records(helloMessage({ extensions: [serverName("198.51.100.1")] }))],
  ])("and %s by the address", async (_, hello) => {
    const { play, origin, routes } = await startTransparent({}, { host: "192.0.2.9", port: 8443 });
    const guest = await play();
    guest.write(hello);
    await (await origin.next()).gets(text(hello));
    expect(routes.decided).toEqual([{ scheme: "https", host: "192.0.2.9", port: 8443, address: "192.0.2.9" }]);
  });

  test("and by the outer name where another one is encrypted", async () => {
    const { play, origin, routes } = await startTransparent();
    (await play()).write(chromeHello("outer.example"));
    await (await origin.next()).getsBytes(1);
    expect(routes.decided.map(({ host }) => host)).toEqual(["outer.example"]);
  });

  test("decided anew for each connection", async () => {
    const { play, origin, routes } = await startTransparent();
    for (const route of [DIRECT, PROXY]) {
      routes.decision = { routes: [route], reason: "the test" };
      (await play()).write(HELLO);
      await (await origin.next()).getsBytes(HELLO.length);
    }
    expect(routes.tunnels.map(({ decision }) => decision.routes)).toEqual([[DIRECT], [PROXY]]);
  });

  test("however it is cut", async () => {
    const harness = await startTransparent();
    for (let round = 0; round < 40; round++) {
      const random = new Random(round);
      const bytes = records(messageOf(HELLO), 1 + random.below(random.pick([3, 50, 2000])));
      const guest = await harness.play();
      const most = random.pick([10, 100, 3000]);
      for (let at = 0; at < bytes.length; ) {
        const end = at + 1 + random.below(most);
        guest.write(bytes.subarray(at, end));
        at = end;
        if (random.oneIn(8)) await settle(random.below(3));
      }
      const upstream = await harness.origin.next();
      await upstream.gets(text(bytes));
      guest.end();
      await upstream.ends();
      upstream.end();
      await guest.closes();
    }
    expect(new Set(harness.routes.decided.map(({ host }) => host))).toEqual(new Set([NAME]));
    await isIdle(harness);
  });
});

test("plain HTTP is served with all that was sent, on any port", async () => {
  const { play, http, proxy, routes } = await startTransparent({}, { host: "192.0.2.8", port: 8080 });
  const guest = await play();
  guest.write("G");
  await settle();
  guest.end(REQUEST.slice(1) + REQUEST);
  while (http.length === 0) await settle(1);
  const [{ stream, original }] = http;
  expect(original).toEqual({ host: "192.0.2.8", port: 8080 });
  expect(proxy.counts()).toEqual({ sniffed: 0, tunnels: 0 });
  const served = new Peer(stream);
  await served.ends();
  expect(served.text).toBe(REQUEST + REQUEST);
  served.write("HTTP/1.1 200 OK\r\n\r\n");
  await guest.gets("HTTP/1.1 200 OK\r\n\r\n");
  // It is not this proxy's any more.
  proxy.close();
  expect(stream.destroyed).toBe(false);
  expect(routes.decided).toEqual([]);
});

describe("what is neither HTTP nor TLS", () => {
  test("goes direct to its address when it may", async () => {
    const harness = await startTransparent();
    const { play, origin, routes } = harness;
    routes.decision = { routes: [PROXY], reason: "the test" };
    const guest = await play();
    guest.write(BANNER);
    const upstream = await origin.next();
    await upstream.gets(BANNER);
    expect(routes.decided).toEqual([]);
    const destination = { scheme: "https", host: ORIGINAL.host, port: 443, address: ORIGINAL.host };
    expect(routes.tunnels).toEqual([{ destination, decision: { routes: [DIRECT], reason: "neither HTTP nor TLS" } }]);
    guest.end();
    await upstream.ends();
    upstream.end();
    await guest.ends();
    await isIdle(harness);
  });

  test("may be a client that waits for its server to speak", async () => {
    const { play, origin, clock, proxy } = await startTransparent({ silenceTime: 200 });
    const guest = await play();
    while (proxy.counts().sniffed === 0) await settle(1);
    clock.advance(200);
    const upstream = await origin.next();
    upstream.write("220 mail.example ESMTP\r\n");
    await guest.gets("220 mail.example ESMTP\r\n");
    guest.write("EHLO a\r\n");
    await upstream.gets("EHLO a\r\n");
  });

  test.each(["", "GET", text(HELLO.subarray(0, 300))])("may end before it can be told: %j", async (sent) => {
    const harness = await startTransparent();
    const guest = await harness.play();
    guest.end(sent);
    const upstream = await harness.origin.next();
    await upstream.ends();
    expect(upstream.text).toBe(sent);
    upstream.end("an answer");
    await guest.ends();
    expect(guest.text).toBe("an answer");
    await isIdle(harness);
  });

  test("may end while the way is sought", async () => {
    const { play, origin, routes, clock, proxy } = await startTransparent();
    const way = Promise.withResolvers<void>();
    routes.open = async () => {
      await way.promise;
      return origin.dial();
    };
    const guest = await play();
    while (proxy.counts().sniffed === 0) await settle(1);
    clock.advance(2000);
    guest.end();
    await settle();
    way.resolve();
    const upstream = await origin.next();
    await upstream.ends();
    upstream.end("an answer");
    await guest.ends();
    expect(guest.text).toBe("an answer");
  });

  test("is reset when it has to be one of them, and that is said once", async () => {
    const harness = await startTransparent({ other: "refuse" });
    for (const sent of [BANNER, "\0", "GE"]) {
      const guest = await playGuest(harness);
      if (sent === "GE") guest.end(sent);
      else guest.write(sent);
      await guest.closes();
      expect(guest.failure).toBe("ECONNRESET");
    }
    expect(harness.routes.tunnels).toEqual([]);
    expect(harness.logger.lines).toEqual([
      {
        level: "warn",
        fields: { original: "192.0.2.7:443", reason: "it is neither HTTP nor TLS" },
        message: "a guest's connection was reset: it has to be HTTP or TLS by the settings",
      },
    ]);
    await isIdle(harness);
  });
});

describe("when there is no way, the guest is reset", () => {
  const failures: readonly [what: string, error: Error, level: string, times: number][] = [
    ["the proxy does not answer", new UpstreamError("no answer", 504, PROXY), "warn", 1],
    ["a rule refuses it", new UpstreamError("refused by a rule", 403, REFUSE), "warn", 1],
    ["the origin does not answer, which is no failure", new UpstreamError("refused", 502, DIRECT), "debug", 3],
    ["there is no route", new UpstreamError("there is no route", 502, null), "warn", 1],
    ["something else is wrong", new Error("something else"), "warn", 1],
  ];
  test.each(failures)("as %s, and the log says so", async (_, error, level, times) => {
    const harness = await startTransparent();
    const { routes, logger } = harness;
    routes.open = () => Promise.reject(error);
    for (let count = 0; count < 3; count++) {
      const guest = await playGuest(harness);
      guest.write(HELLO);
      await guest.closes();
      expect(guest.failure).toBe("ECONNRESET");
    }
    expect(logger.lines).toHaveLength(times);
    expect(logger.lines[0]).toEqual({
      level,
      fields: { destination: `${NAME}:443`, address: ORIGINAL.host, reason: error.message },
      message: "a guest's connection was reset: there is no way to where it wanted",
    });
    await isIdle(harness);
  });
});

describe("a guest that goes away", () => {
  test("while it is not known what it speaks leaves nothing", async () => {
    const harness = await startTransparent();
    for (const sent of ["", "GE", text(HELLO.subarray(0, 100))]) {
      const guest = await playGuest(harness);
      guest.write(sent);
      await settle();
      expect(harness.proxy.counts().sniffed).toBe(1);
      guest.destroy();
      await isIdle(harness);
    }
    expect(harness.routes.tunnels).toEqual([]);
  });

  test("while the way is sought has the search end, and no word of it", async () => {
    const harness = await startTransparent();
    const { proxy, routes, logger } = harness;
    const asked = Promise.withResolvers<AbortSignal>();
    routes.open = (signal) => {
      asked.resolve(signal);
      return new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason)));
    };
    const guest = await playGuest(harness);
    guest.write(HELLO);
    const signal = await asked.promise;
    expect(proxy.counts()).toEqual({ sniffed: 0, tunnels: 1 });
    guest.destroy();
    await isIdle(harness);
    expect(signal.aborted).toBe(true);
    expect(logger.lines).toEqual([]);
  });

  test("before the way is found has what is found reset", async () => {
    const harness = await startTransparent();
    const { routes, origin } = harness;
    const way = Promise.withResolvers<void>();
    const asked = Promise.withResolvers<void>();
    routes.open = async () => {
      asked.resolve();
      await way.promise;
      return origin.dial();
    };
    const guest = await playGuest(harness);
    guest.write(HELLO);
    await asked.promise;
    guest.destroy();
    while (harness.proxy.counts().tunnels > 0) await settle(1);
    way.resolve();
    const upstream = await origin.next();
    await upstream.ends();
    expect(upstream.text).toBe("");
  });

  test("while it is decided has nothing opened", async () => {
    const decided = Promise.withResolvers<void>();
    const asked = Promise.withResolvers<void>();
    const router = {
      isAlwaysDirect: false,
      decide: async () => {
        asked.resolve();
        await decided.promise;
        return { routes: [DIRECT], reason: "the test" };
      },
    };
    const harness = await startTransparent({ router });
    const guest = await playGuest(harness);
    guest.write(HELLO);
    await asked.promise;
    guest.destroy();
    while (harness.proxy.counts().tunnels > 0) await settle(1);
    decided.resolve();
    await settle();
    expect(harness.routes.tunnels).toEqual([]);
    await isIdle(harness);
  });

  test("from a tunnel breaks its other end off, and so does an origin", async () => {
    const harness = await startTransparent();
    for (const goes of ["guest", "origin"]) {
      const upstreamEnd = Promise.withResolvers<Duplex>();
      harness.routes.open = async () => {
        const [near, far] = await guestPair();
        upstreamEnd.resolve(far);
        return near;
      };
      const guest = await playGuest(harness);
      guest.write(HELLO);
      const upstream = new Peer(await upstreamEnd.promise);
      await upstream.getsBytes(HELLO.length);
      const [one, other] = goes === "guest" ? [guest, upstream] : [upstream, guest];
      one.destroy();
      await other.closes();
      expect(other.failure).toBe("ECONNRESET");
      await isIdle(harness);
    }
  });
});

describe("of connections that do not tell what they speak", () => {
  test("the oldest is reset when there are too many", async () => {
    const harness = await startTransparent({ maxSniffed: 3 });
    const { proxy, logger } = harness;
    const guests: Peer[] = [];
    for (let count = 0; count < 5; count++) {
      guests.push(await playGuest(harness));
    }
    expect(proxy.counts().sniffed).toBe(3);
    await Promise.all([guests[0].closes(), guests[1].closes()]);
    await settle();
    expect(guests.map(({ failure }) => failure)).toEqual(["ECONNRESET", "ECONNRESET", null, null, null]);
    expect(logger.lines.map(({ level, message }) => [level, message])).toEqual([
      ["warn", "too many of a guest's connections do not tell what they speak; the oldest are reset"],
    ]);
    guests[2].write(HELLO);
    await (await harness.origin.next()).gets(text(HELLO));
  });

  test("the oldest is reset when they have sent too much", async () => {
    const harness = await startTransparent({ maxSniffedBytes: 10_000 });
    const hello = records(
      helloMessage({ extensions: [serverName(NAME), Buffer.from("00150fa0", "hex"), Buffer.alloc(4000)] }),
    );
    const begin = hello.subarray(0, 4000);
    const guests: Peer[] = [];
    for (let count = 0; count < 3; count++) {
      guests.push(await playGuest(harness));
      guests[count].write(begin);
      await settle(40);
    }
    await guests[0].closes();
    expect(guests[0].failure).toBe("ECONNRESET");
    expect(harness.proxy.counts().sniffed).toBe(2);
    // The two that are left tell, and make room for others.
    for (const guest of guests.slice(1)) {
      guest.write(hello.subarray(4000));
      await (await harness.origin.next()).gets(text(hello));
    }
    for (let count = 0; count < 2; count++) {
      const guest = await harness.play();
      guest.write(begin);
      while (harness.proxy.counts().sniffed <= count) await settle(1);
    }
    await settle(40);
    expect(harness.proxy.counts().sniffed).toBe(2);
  });

  test("one that sends more than all may is reset itself", async () => {
    const harness = await startTransparent({ maxSniffedBytes: 50 });
    const guest = await playGuest(harness);
    guest.write(HELLO.subarray(0, 100));
    await guest.closes();
    expect(guest.failure).toBe("ECONNRESET");
    await isIdle(harness);
  });
});

test("closing resets every connection, whatever it is about, and takes no more", async () => {
  const harness = await startTransparent();
  const { proxy, routes, origin } = harness;
  const connect = async (sent: Buffer | string) => {
    const guest = await playGuest(harness);
    guest.write(sent);
    return guest;
  };
  const sniffed = [await connect(""), await connect("GE"), await connect(HELLO.subarray(0, 50))];
  const tunnel = await connect(HELLO);
  const upstream = await origin.next();
  await upstream.getsBytes(HELLO.length);
  routes.open = () => new Promise(() => {});
  const connecting = await connect(HELLO);
  while (routes.tunnels.length < 2) await settle(1);
  expect(proxy.counts()).toEqual({ sniffed: 3, tunnels: 2 });

  proxy.close();
  expect(proxy.counts()).toEqual({ sniffed: 0, tunnels: 0 });
  const late = await connect(HELLO);
  for (const guest of [...sniffed, tunnel, connecting, late]) {
    await guest.closes();
    expect(guest.failure).toBe("ECONNRESET");
  }
  await upstream.ends();
  await isIdle(harness);
  proxy.close();
});

test("a guest that does not read, and an origin that does not, hold each other up", async () => {
  const slow = await startServer(false);
  const { play, routes } = await startTransparent();
  routes.open = () => slow.dial();
  const guest = await play();
  guest.write(HELLO);
  const upstream = await slow.next();
  const bytes = Buffer.alloc(8 * 1024 * 1024, "x");
  guest.stream.write(bytes);
  await settle(200);
  expect(guest.stream.writableLength).toBeGreaterThan(4 * 1024 * 1024);
  upstream.stream.resume();
  guest.end();
  await upstream.ends();
  expect(upstream.received.length).toBe(HELLO.length + bytes.length);
});
