import { once } from "node:events";
import { duplexPair } from "node:stream";
import { parseIpv4 } from "@hostd/stack";
import { afterEach, describe, expect, onTestFinished, test, vi } from "vitest";
import { frameMessage } from "../framing.ts";
import { messageId } from "../message.ts";
import { fixedServers } from "../policy/policy.ts";
import { type QueryResolver, Resolver } from "../resolver.ts";
import type { ServerAddress } from "../server-address.ts";
import { contextOf, HeldResolver } from "../testing/held.ts";
import { answerWith, decoded, hostileMessage, queryMessage, seededRandom } from "../testing/messages.ts";
import { tcpServer, udpServer } from "../testing/servers.ts";
import { StreamClient, settled } from "../testing/stream-client.ts";
import { Forwarder } from "../upstream/forwarder.ts";
import { standardZones } from "../zones/standard-zones.ts";
import { Zones } from "../zones/zones.ts";
import { DnsServer } from "./server.ts";

const context = contextOf("vm");
const zones = new Zones(standardZones({ host: parseIpv4("192.168.65.254"), gateway: parseIpv4("192.168.65.1") }));

/** A server on our zones and these upstream servers. */
function serverOn(servers: readonly ServerAddress[]): DnsServer {
  const resolver = new Resolver({ zones, upstream: new Forwarder({ source: fixedServers(servers) }) });
  onTestFinished(() => resolver.close());
  return new DnsServer({ resolver });
}

/** A message with zeros behind it up to `length` bytes. */
function padded(message: Uint8Array, length: number): Uint8Array {
  const result = new Uint8Array(length);
  result.set(message);
  return result;
}

const numbered = (id: number) => queryMessage("a.example", "A", { id });

afterEach(() => {
  vi.useRealTimers();
});

describe("a connection", () => {
  test("a truncated answer leads to the whole one", async () => {
    const short = await udpServer(({ message, reply }) => {
      const answer = answerWith(message, "192.0.2.1").subarray(0, message.length);
      answer.set([message[2] | 0x82, 0x80, 0, 1, 0, 0], 2);
      reply(answer);
    });
    const long = await tcpServer(({ message, reply }) => reply(answerWith(message, "192.0.2.1")));
    const cut = new Promise<Uint8Array>((resolve) => {
      serverOn([short.address]).handleDatagram(numbered(1), context, resolve);
    });
    expect(decoded(await cut)).toMatchObject({ id: 1, flag_tc: true });
    const client = new StreamClient(serverOn([long.address]), context);
    client.send(numbered(2));
    await client.ids(1);
    expect(decoded(client.answers[0])).toMatchObject({ id: 2, flag_tc: false, answers: [{ data: "192.0.2.1" }] });
  });

  test("answers come as they are known, not in the order of the queries", async () => {
    const resolver = new HeldResolver();
    const client = new StreamClient(new DnsServer({ resolver }), context);
    client.send(numbered(1), numbered(2));
    client.send(numbered(3));
    await resolver.arrived(3);
    expect(resolver.waiting.map(({ transport }) => transport)).toEqual(["tcp", "tcp", "tcp"]);
    resolver.waiting[2].answer("192.0.2.3");
    expect(await client.ids(1)).toEqual([3]);
    resolver.waiting[0].answer("192.0.2.1");
    expect(await client.ids(2)).toEqual([3, 1]);
    resolver.waiting[1].answer("192.0.2.2");
    expect(await client.ids(3)).toEqual([3, 1, 2]);
  });

  test("any number of queries may be on their way at once, in any order and cut anywhere", async () => {
    const random = seededRandom(9);
    const resolver = new HeldResolver();
    const server = new DnsServer({ resolver, maxPipelined: 500 });
    const client = new StreamClient(server, context);
    const stream = Buffer.concat(Array.from({ length: 500 }, (_, id) => frameMessage(numbered(id))));
    for (let start = 0; start < stream.length; ) {
      const end = start + 1 + (random() % 100);
      client.stream.write(stream.subarray(start, end));
      start = end;
    }
    await resolver.arrived(500);
    const order: number[] = [];
    while (resolver.waiting.length > 0) {
      const [{ query, answer }] = resolver.waiting.splice(random() % resolver.waiting.length, 1);
      order.push(messageId(query.message));
      answer(`192.0.2.${order.length % 256}`);
    }
    expect(order).not.toEqual([...order].sort((one, other) => one - other));
    expect(await client.ids(500)).toEqual(order);
    const addresses = client.answers.map((answer) =>
      decoded(answer).answers?.map((record) => "data" in record && record.data),
    );
    expect(addresses).toEqual(order.map((_, index) => [`192.0.2.${(index + 1) % 256}`]));
    expect(server.statistics).toMatchObject({ queries: 500, forwarded: 500 });
  });

  test("messages that are no query, and empty ones, are counted, and the next query is answered", async () => {
    const server = serverOn([]);
    const client = new StreamClient(server, context);
    client.send(new Uint8Array(0), new Uint8Array(11), answerWith(numbered(1), "192.0.2.1"), new Uint8Array(0));
    client.send(queryMessage("a.example", "A", { id: 2, flags: 5 << 11 }));
    client.send(queryMessage("host.docker.internal", "A", { id: 3 }));
    expect(await client.ids(2)).toEqual([2, 3]);
    expect(server.statistics).toMatchObject({ queries: 2, dropped: 4, formErr: 1, answeredLocally: 1 });
  });

  test("queries are found however the stream is cut", async () => {
    const client = new StreamClient(serverOn([]), context);
    const ids = Array.from({ length: 30 }, (_, index) => index);
    const queries = ids.map((id) => queryMessage("host.docker.internal", "A", { id }));
    const stream = Buffer.concat(queries.map(frameMessage));
    for (let start = 0; start < stream.length; start += 7) client.stream.write(stream.subarray(start, start + 7));
    expect(await client.ids(30)).toEqual(ids);
    for (const byte of stream) client.stream.write(Uint8Array.of(byte));
    client.stream.write(stream);
    expect(await client.ids(90)).toEqual([...ids, ...ids, ...ids]);
  });

  test("reading pauses at the limit of queries in progress", async () => {
    const resolver = new HeldResolver();
    const client = new StreamClient(new DnsServer({ resolver, maxPipelined: 2 }), context);
    client.send(numbered(1), numbered(2), numbered(3));
    client.send(numbered(4));
    await resolver.arrived(2);
    await settled();
    expect(resolver.waiting).toHaveLength(2);
    expect(client.serverEnd.isPaused()).toBe(true);
    resolver.waiting[1].answer("192.0.2.2");
    await resolver.arrived(3);
    await settled();
    expect(resolver.waiting).toHaveLength(3);
    resolver.waiting[0].answer("192.0.2.1");
    resolver.waiting[2].answer("192.0.2.3");
    await resolver.arrived(4);
    resolver.waiting[3].answer("192.0.2.4");
    expect(await client.ids(4)).toEqual([2, 1, 3, 4]);
  });

  test("a client that reads no answers is read no further, and cut off when it stays so", async () => {
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
    const resolver: QueryResolver = {
      resolve: async (query) => ({
        message: padded(answerWith(query.message, "192.0.2.1"), 5000),
        origin: "upstream",
        source: "",
      }),
    };
    const server = new DnsServer({ resolver });
    const [mine, theirs] = duplexPair();
    server.serveStream(theirs, context);
    for (let id = 0; id < 100; id++) mine.write(frameMessage(numbered(id)));
    await settled();
    expect(theirs.isPaused()).toBe(true);
    expect(server.statistics.queries).toBeLessThanOrEqual(64);
    expect(theirs.destroyed).toBe(false);
    const closed = once(theirs, "close");
    vi.advanceTimersByTime(10_000);
    await closed;
  });

  test("a client that leaves more than a megabyte unread is cut off at once", async () => {
    let release = () => {};
    const held = new Promise<void>((resolve) => {
      release = resolve;
    });
    const resolver: QueryResolver = {
      resolve: async (query) => {
        await held;
        return { message: padded(answerWith(query.message, "192.0.2.1"), 60_000), origin: "upstream", source: "" };
      },
    };
    const server = new DnsServer({ resolver });
    const [mine, theirs] = duplexPair();
    server.serveStream(theirs, context);
    for (let id = 0; id < 64; id++) mine.write(frameMessage(numbered(id)));
    await settled();
    expect(server.statistics.queries).toBe(64);
    const closed = once(theirs, "close");
    release();
    await closed;
  });

  test.each([true, false])("answers follow after the client has closed its end (allowHalfOpen %s)", async (allow) => {
    const resolver = new HeldResolver();
    const client = new StreamClient(new DnsServer({ resolver }), context, { allowHalfOpen: allow });
    const halfClosed = once(client.serverEnd, "end");
    client.send(numbered(1), numbered(2));
    client.stream.end();
    await resolver.arrived(2);
    await halfClosed;
    expect(client.serverEnd.writableEnded).toBe(false);
    const ended = once(client.stream, "end");
    resolver.waiting[1].answer("192.0.2.2");
    resolver.waiting[0].answer("192.0.2.1");
    await ended;
    expect(await client.ids(2)).toEqual([2, 1]);
  });

  test("a client that closes its end without a query is closed", async () => {
    const client = new StreamClient(new DnsServer({ resolver: new HeldResolver() }), context);
    client.stream.write(Uint8Array.of(0, 40, 1, 2, 3));
    const ended = once(client.stream, "end");
    client.stream.end();
    await ended;
  });

  test("a connection without a query in progress is closed after the idle time", async () => {
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
    const resolver = new HeldResolver();
    const client = new StreamClient(new DnsServer({ resolver, idleTimeout: 1000 }), context);
    vi.advanceTimersByTime(999);
    client.send(numbered(1));
    await resolver.arrived(1);
    vi.advanceTimersByTime(60_000);
    expect(client.serverEnd.writableEnded).toBe(false);
    resolver.waiting[0].answer("192.0.2.1");
    await client.ids(1);
    await settled();
    vi.advanceTimersByTime(999);
    expect(client.serverEnd.writableEnded).toBe(false);
    const ended = once(client.stream, "end");
    vi.advanceTimersByTime(1);
    await ended;
    expect(client.serverEnd.destroyed).toBe(false);
    // The client keeps its end open, and even goes on sending.
    client.send(numbered(2));
    await settled();
    const closed = once(client.serverEnd, "close");
    vi.advanceTimersByTime(1000);
    await closed;
    expect(resolver.waiting).toHaveLength(1);
  });

  test("half a query does not keep a connection open", async () => {
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
    const client = new StreamClient(new DnsServer({ resolver: new HeldResolver() }), context);
    const ended = once(client.stream, "end");
    client.stream.write(Uint8Array.of(0, 40));
    await settled();
    vi.advanceTimersByTime(6000);
    client.stream.write(Uint8Array.of(1));
    await settled();
    vi.advanceTimersByTime(4000);
    await ended;
  });

  test("an error ends its own connection and no other", async () => {
    const resolver = new HeldResolver();
    const server = new DnsServer({ resolver, maxStreams: 2 });
    const [failing, healthy] = [new StreamClient(server, context), new StreamClient(server, context)];
    failing.stream.on("error", () => {});
    failing.send(numbered(1));
    healthy.send(numbered(2));
    await resolver.arrived(2);
    const closed = new Promise((resolve) => failing.serverEnd.once("close", resolve));
    failing.serverEnd.destroy(new Error("reset"));
    await closed;
    for (const { answer } of resolver.waiting) answer("192.0.2.1");
    expect(await healthy.ids(1)).toEqual([2]);
    expect(failing.answers).toEqual([]);
    // The place of the connection that failed is free again.
    const third = new StreamClient(server, context);
    third.send(numbered(3));
    await resolver.arrived(3);
    expect(server.statistics.dropped).toBe(0);
  });

  test("connections beyond the limit, and those already over, are ended", async () => {
    const server = new DnsServer({ resolver: new HeldResolver(), maxStreams: 1 });
    const first = new StreamClient(server, context);
    const second = new StreamClient(server, context);
    expect([first.serverEnd.destroyed, second.serverEnd.destroyed]).toEqual([false, true]);
    const closed = once(first.serverEnd, "close");
    server.close();
    await closed;
    const [, dead] = duplexPair();
    dead.destroy();
    server.serveStream(dead, context);
    expect(new StreamClient(server, context).serverEnd.destroyed).toBe(false);
    expect(server.statistics.dropped).toBe(2);
  });

  test("hostile bytes never throw, and a query after hostile messages is answered", async () => {
    const server = serverOn([]);
    const random = seededRandom(7);
    for (let round = 0; round < 50; round++) {
      const [mine, theirs] = duplexPair();
      server.serveStream(theirs, context);
      mine.resume();
      for (let chunk = 0; chunk < 20; chunk++) {
        mine.write(Uint8Array.from({ length: 1 + (random() % 300) }, () => random() & (chunk % 2 === 0 ? 0xff : 3)));
      }
      const ended = once(mine, "end");
      mine.end();
      await ended;
    }
    const client = new StreamClient(server, context);
    for (let round = 0; round < 500; round++) client.send(hostileMessage(random));
    client.send(queryMessage("host.docker.internal", "A", { id: 0xfeed }));
    await vi.waitFor(() => expect(client.answers.map(messageId)).toContain(0xfeed));
  });
});
