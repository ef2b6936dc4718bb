import { HeldReader } from "@hostd/streams";
import { describe, expect, test } from "vitest";
import { Random } from "../../../stack/src/testing/random.ts";
import { EventLog } from "../../../streams/src/testing/event-log.ts";
import { FakeClock } from "../../../streams/src/testing/fake-clock.ts";
import { Peer, settle } from "../../../streams/src/testing/peer.ts";
import { firefoxHello } from "../testing/client-hellos.ts";
import { guestPair, type StreamPair, socketPair } from "../testing/stream-pairs.ts";
import { type Sniffed, Sniffer } from "./sniffer.ts";

const NAME = "www.example.com";
const HELLO = firefoxHello(NAME);
const REQUEST = Buffer.from("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
const TLS = { kind: "tls", hello: expect.objectContaining({ serverName: NAME }) };

interface Sniffing {
  readonly client: Peer;
  readonly served: StreamPair[1];
  readonly sniffer: Sniffer;
  readonly clock: FakeClock;
  readonly told: Promise<Sniffed>;
  readonly all: readonly Sniffed[];
  /** Bytes that were kept, as they were told. */
  readonly kept: number[];
}

async function sniff(makePair: () => Promise<StreamPair>): Promise<Sniffing> {
  const [stream, served] = await makePair();
  const client = new Peer(stream);
  served.on("error", () => {});
  const clock = new FakeClock();
  const all = new EventLog<Sniffed>();
  const kept: number[] = [];
  const sniffer = new Sniffer(served, {
    clock,
    silenceTime: 300,
    helloTime: 5000,
    kept: (bytes) => kept.push(bytes),
    done: (sniffed) => all.push(sniffed),
  });
  return { client, served, sniffer, clock, told: all.take(1).then(([first]) => first), all: all.events, kept };
}

describe.each([
  ["a guest's connection", guestPair],
  ["a socket", socketPair],
])("of %s", (_, makePair) => {
  test.each([
    ["HTTP", REQUEST, { kind: "http" }],
    ["TLS", HELLO, TLS],
    ["neither", Buffer.from("SSH-2.0-OpenSSH_9.9\r\n"), { kind: "other", reason: "it is neither HTTP nor TLS" }],
  ])("%s is told, and the next reader gets all of it and the end", async (_, bytes, sniffed) => {
    // The end may come with the bytes, or later.
    for (const endsAtOnce of [true, false]) {
      const { client, served, told, all, clock } = await sniff(makePair);
      client.write(bytes);
      client.write("and more");
      if (endsAtOnce) client.end();
      expect(await told).toEqual(sniffed);
      await settle();
      const reader = new Peer(served);
      if (!endsAtOnce) client.end(" at last");
      await reader.ends();
      expect(reader.text).toBe(`${bytes.toString("latin1")}and more${endsAtOnce ? "" : " at last"}`);
      expect(all).toHaveLength(1);
      expect(clock.timers).toBe(0);
    }
  });

  test("the next reader may begin at once", async () => {
    const [stream, served] = await makePair();
    const client = new Peer(stream);
    const parts: string[] = [];
    const { promise: ended, resolve } = Promise.withResolvers<void>();
    new Sniffer(served, {
      clock: new FakeClock(),
      silenceTime: 300,
      helloTime: 5000,
      kept: () => {},
      done: () => {
        new HeldReader(served, {
          take: (bytes) => {
            parts.push(bytes.toString("latin1"));
            return bytes.length;
          },
          finished: () => resolve(),
        });
      },
    });
    client.write("G");
    await settle();
    client.end(REQUEST.subarray(1));
    await ended;
    expect(parts.join("")).toBe(REQUEST.toString("latin1"));
  });

  test("a hello that comes byte by byte is put together", async () => {
    const { client, served, told, kept } = await sniff(makePair);
    for (const byte of HELLO.subarray(0, 200)) {
      client.write(Buffer.of(byte));
      if (byte % 8 === 0) await settle(2);
    }
    client.write(HELLO.subarray(200));
    expect(await told).toEqual(TLS);
    expect(kept.reduce((sum, bytes) => sum + bytes, 0)).toBeLessThan(HELLO.length);
    const reader = new Peer(served);
    await reader.getsBytes(HELLO.length);
    expect(reader.received.equals(HELLO)).toBe(true);
  });

  test("a client that is silent is one whose server speaks first", async () => {
    const { client, served, told, clock, all } = await sniff(makePair);
    clock.advance(299);
    expect(all).toEqual([]);
    clock.advance(1);
    expect(await told).toEqual({ kind: "other", reason: "the client waits" });
    client.end("late");
    const reader = new Peer(served);
    await reader.ends();
    expect(reader.text).toBe("late");
    expect(clock.timers).toBe(0);
  });

  test.each([
    ["GET", "a request"],
    ["\x16\x03\x01\x02", "a hello"],
  ])("a client that stops in the midst, with %j, of %s is waited for, but not for ever", async (begin) => {
    const { client, served, told, clock, kept, all } = await sniff(makePair);
    clock.advance(200);
    client.write(begin);
    while (kept.length === 0) await settle(1);
    clock.advance(4999);
    expect(all).toEqual([]);
    clock.advance(1);
    expect(await told).toEqual({ kind: "other", reason: "the client does not go on" });
    expect(clock.timers).toBe(0);
    const reader = new Peer(served);
    client.end(" then");
    await reader.ends();
    expect(reader.text).toBe(`${begin} then`);
  });

  test("a client that ends before it can be told gives what it has sent", async () => {
    for (const begin of ["", "GET", HELLO.toString("latin1", 0, 100)]) {
      const { client, told, clock } = await sniff(makePair);
      client.end(begin);
      expect(await told).toEqual({ kind: "ended", sent: Buffer.from(begin, "latin1") });
      expect(clock.timers).toBe(0);
    }
  });

  test("nothing is told once it is stopped", async () => {
    const { client, served, sniffer, clock, all } = await sniff(makePair);
    client.write("GE");
    await settle();
    sniffer.stop();
    sniffer.stop();
    client.end("T / HTTP/1.1\r\n\r\n");
    clock.advance(60_000);
    await settle();
    expect(all).toEqual([]);
    expect(clock.timers).toBe(0);
    expect(served.listenerCount("readable")).toBe(0);
  });
});

test("whatever is sent, in whatever pieces, is there for the next reader", async () => {
  for (let round = 0; round < 150; round++) {
    const random = new Random(round);
    const begin = random.pick([REQUEST, HELLO, HELLO.subarray(0, 500), Buffer.from("SSH-2.0-x y\r\n"), Buffer.of()]);
    const bytes = Buffer.concat([begin, random.bytes(random.pick([0, 1, 5000, 200_000]))]);
    const { client, served, told, clock } = await sniff(random.oneIn(2) ? guestPair : socketPair);
    const most = random.pick([20, 700, 100_000]);
    for (let at = 0; at < bytes.length && at < 3000; ) {
      const end = Math.min(bytes.length, at + 1 + random.below(most));
      client.write(bytes.subarray(at, end));
      at = end;
      if (at >= 3000) client.write(bytes.subarray(at));
      if (random.oneIn(4)) await settle(random.below(4));
    }
    if (random.oneIn(4)) clock.advance(6000);
    client.end();
    const sniffed = await told;
    if (sniffed.kind === "ended") {
      expect(sniffed.sent.equals(bytes)).toBe(true);
      continue;
    }
    if (random.oneIn(2)) await settle(random.below(10));
    const reader = new Peer(served);
    // A socket that has nothing to be read tells its end without being asked.
    if (!served.readableEnded) await reader.ends();
    expect(reader.received.equals(bytes), `round ${round}`).toBe(true);
  }
});
