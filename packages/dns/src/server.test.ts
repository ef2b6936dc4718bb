import { once } from "node:events";
import { mkdtempSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Duplex, type DuplexOptions, duplexPair } from "node:stream";
import { parseIpv4 } from "@hostd/stack";
import { afterEach, describe, expect, onTestFinished, test, vi } from "vitest";
import type { QueryContext, Transport } from "./context.ts";
import { Forwarder } from "./forwarder.ts";
import { frameMessage, MessageReader } from "./framing.ts";
import { messageId, type Query } from "./message.ts";
import { type QueryResolver, type Resolution, Resolver } from "./resolver.ts";
import { DnsServer } from "./server.ts";
import { fixedServers, ResolvConfFile, type ServerSource } from "./server-source.ts";
import { standardZones } from "./standard-zones.ts";
import { answerWith, dataOf, decoded, hostileMessage, queryMessage, seededRandom } from "./testing/messages.ts";
import { closedPort, tcpServer, udpServer } from "./testing/servers.ts";
import { Zones } from "./zones.ts";

const context: QueryContext = { client: parseIpv4("192.168.65.3"), vmAddress: parseIpv4("192.168.65.3") };
const zones = new Zones(standardZones({ host: parseIpv4("192.168.65.254"), gateway: parseIpv4("192.168.65.1") }));

/** A server on our zones and these upstream servers. */
function serverOn(source: ServerSource, totalTimeout = 60_000): DnsServer {
  const forwarder = new Forwarder({ source, totalTimeout });
  const resolver = new Resolver({ zones, forwarder });
  onTestFinished(() => resolver.close());
  return new DnsServer({ resolver });
}

/** A resolver whose answers are given by the test, in any order. */
class HeldResolver implements QueryResolver {
  readonly waiting: { query: Query; transport: Transport; answer: (address: string) => void }[] = [];
  readonly #arrivals: (() => void)[] = [];

  resolve(query: Query, _context: QueryContext, transport: Transport): Promise<Resolution> {
    return new Promise((resolve) => {
      const answer = (address: string) => resolve({ message: answerWith(query.message, address), origin: "upstream" });
      this.waiting.push({ query, transport, answer });
      for (const arrival of this.#arrivals.splice(0)) arrival();
    });
  }

  /** Waits until this many queries have come. */
  async arrived(count: number): Promise<void> {
    while (this.waiting.length < count) await new Promise<void>((resolve) => this.#arrivals.push(resolve));
  }
}

const ask = (server: DnsServer, message: Uint8Array) =>
  new Promise<Uint8Array>((resolve) => server.handleDatagram(message, context, resolve));

/** A client's end of a connection to a server. */
class Client {
  readonly stream: Duplex;
  readonly serverEnd: Duplex;
  readonly answers: Uint8Array[] = [];
  readonly #reader = new MessageReader();
  readonly #waiting: (() => void)[] = [];

  constructor(server: DnsServer, options: DuplexOptions = {}) {
    [this.stream, this.serverEnd] = duplexPair(options);
    this.stream.on("data", (chunk: Uint8Array) => {
      for (let offset = 0; offset < chunk.length; ) {
        offset = this.#reader.read(chunk, offset);
        const message = this.#reader.take();
        if (message !== null) this.answers.push(message);
      }
      for (const waiting of this.#waiting.splice(0)) waiting();
    });
    server.serveStream(this.serverEnd, context);
  }

  send(...messages: readonly Uint8Array[]): void {
    this.stream.write(Buffer.concat(messages.map(frameMessage)));
  }

  /** The ids of the first `count` answers, in the order in which they come. */
  async ids(count: number): Promise<number[]> {
    while (this.answers.length < count) await new Promise<void>((resolve) => this.#waiting.push(resolve));
    return this.answers.map(messageId);
  }
}

/** A message with zeros behind it up to `length` bytes. */
function padded(message: Uint8Array, length: number): Uint8Array {
  const result = new Uint8Array(length);
  result.set(message);
  return result;
}

/** Waits until what was written to a pair of streams has arrived, which takes turns of the event loop and no time. */
async function settled(): Promise<void> {
  for (let turn = 0; turn < 100; turn++) await new Promise(setImmediate);
}

const numbered = (id: number) => queryMessage("a.example", "A", { id });

afterEach(() => {
  vi.useRealTimers();
});

describe("over UDP", () => {
  test("names of ours are answered here and others upstream", async () => {
    const upstream = await udpServer(({ message, reply }) => reply(answerWith(message, "192.0.2.1")));
    const server = serverOn(fixedServers([upstream.address]));
    const local = decoded(await ask(server, queryMessage("host.docker.internal", "A")));
    expect(dataOf(local.answers, "A")).toEqual(["192.168.65.254"]);
    const missing = decoded(await ask(server, queryMessage("missing.docker.internal", "A")));
    expect(missing.rcode).toBe(3);
    expect(upstream.received).toEqual([]);
    const other = decoded(await ask(server, queryMessage("a.example", "A", { id: 77 })));
    expect(other.id).toBe(77);
    expect(dataOf(other.answers, "A")).toEqual(["192.0.2.1"]);
    expect({ ...server.statistics }).toEqual({
      queries: 3,
      answeredLocally: 2,
      forwarded: 1,
      failures: 0,
      formErr: 0,
      dropped: 0,
    });
  });

  test("a query that no server answers gets SERVFAIL within the limit", async () => {
    const silent = await udpServer(() => {});
    for (const servers of [[silent.address], [await closedPort()], []]) {
      const server = serverOn(fixedServers(servers), 100);
      const response = decoded(await ask(server, numbered(5)));
      expect(response).toMatchObject({ id: 5, rcode: 2, flag_qr: true, flag_ra: true, answers: [] });
      expect(response.questions).toEqual([{ name: "a.example", type: "A", class: "IN" }]);
      expect(server.statistics).toMatchObject({ queries: 1, failures: 1 });
    }
  });

  test("what is no query gets an error code or nothing", async () => {
    const server = serverOn(fixedServers([]));
    const twoQuestions = numbered(6);
    twoQuestions[5] = 2;
    expect(decoded(await ask(server, twoQuestions))).toMatchObject({ id: 6, rcode: 1, questions: [] });
    expect(decoded(await ask(server, queryMessage("a.example", "A", { flags: 4 << 11 })))).toMatchObject({ rcode: 4 });
    const reply = vi.fn();
    server.handleDatagram(new Uint8Array(0), context, reply);
    server.handleDatagram(new Uint8Array(11), context, reply);
    server.handleDatagram(answerWith(numbered(1), "192.0.2.1"), context, reply);
    await ask(server, queryMessage("host.docker.internal", "A"));
    expect(reply).not.toHaveBeenCalled();
    expect(server.statistics).toMatchObject({ queries: 3, formErr: 2, dropped: 3, answeredLocally: 1 });
  });

  test("an answer beyond what the client takes is cut to TC, and whole over TCP", async () => {
    const upstream = await udpServer(({ message, reply }) => {
      reply(padded(answerWith(message, "192.0.2.1"), 600));
    });
    const whole = await tcpServer(({ message, reply }) => {
      reply(padded(answerWith(message, "192.0.2.1"), 6000));
    });
    const server = serverOn(fixedServers([upstream.address]));
    expect(decoded(await ask(server, numbered(8)))).toMatchObject({ id: 8, flag_tc: true, answers: [] });
    const large = await ask(server, queryMessage("a.example", "A", { udpPayloadSize: 600 }));
    expect(large.length).toBe(600);
    const client = new Client(serverOn(fixedServers([whole.address])));
    client.send(numbered(9));
    expect(await client.ids(1)).toEqual([9]);
    expect(client.answers[0].length).toBe(6000);
  });

  test("queries beyond the limit get SERVFAIL, and those before it their answers", async () => {
    const resolver = new HeldResolver();
    const server = new DnsServer({ resolver, maxInProgress: 2 });
    const accepted = [ask(server, numbered(1)), ask(server, numbered(2))];
    expect(decoded(await ask(server, numbered(3)))).toMatchObject({ id: 3, rcode: 2 });
    for (const { answer } of resolver.waiting) answer("192.0.2.1");
    expect((await Promise.all(accepted)).map(messageId)).toEqual([1, 2]);
    const next = ask(server, numbered(4));
    await resolver.arrived(3);
    resolver.waiting[2].answer("192.0.2.1");
    expect(decoded(await next).rcode).toBe(0);
    expect(server.statistics).toMatchObject({ queries: 4, forwarded: 3, failures: 1 });
  });

  test("a resolver that fails means SERVFAIL and a line in the log", async () => {
    const logger = { debug: vi.fn(), info: vi.fn(), warn: vi.fn() };
    const err = new Error("broken");
    const server = new DnsServer({ resolver: { resolve: () => Promise.reject(err) }, logger });
    expect(decoded(await ask(server, numbered(1)))).toMatchObject({ id: 1, rcode: 2 });
    expect(logger.warn).toHaveBeenCalledExactlyOnceWith({ err, name: "a.example" }, "a query could not be resolved");
  });

  test("the servers of resolv.conf are those of the file as it is now", async () => {
    const upstreams = await Promise.all(
      ["192.0.2.1", "192.0.2.2"].map((address) =>
        udpServer(({ message, reply }) => reply(answerWith(message, address))),
      ),
    );
    const folder = mkdtempSync(join(tmpdir(), "hostd-dns-"));
    onTestFinished(() => rmSync(folder, { recursive: true }));
    const path = join(folder, "resolv.conf");
    let time = 0;
    // A resolv.conf has no ports, so its addresses stand for the servers of this test.
    const file = new ResolvConfFile({ path, now: () => time });
    const source = {
      current: () => ({
        ...file.current(),
        servers: file.current().servers.map(({ address }) => upstreams[Number(address.at(-1)) - 1].address),
      }),
    };
    const server = serverOn(source);
    const address = async () => dataOf(decoded(await ask(server, numbered(1))).answers, "A");

    writeFileSync(path, "nameserver 127.0.0.1\n");
    expect(await address()).toEqual(["192.0.2.1"]);
    writeFileSync(`${path}.new`, "nameserver 127.0.0.2\n");
    renameSync(`${path}.new`, path);
    expect(await address()).toEqual(["192.0.2.1"]);
    time = 1000;
    expect(await address()).toEqual(["192.0.2.2"]);
  });

  test("hostile messages never throw, and each that has a header of a query is answered", async () => {
    const server = serverOn(fixedServers([]));
    const random = seededRandom(6);
    let answered = 0;
    for (let round = 0; round < 5000; round++) {
      const message = hostileMessage(random);
      const id = message.length >= 2 ? messageId(message) : null;
      server.handleDatagram(message, context, (answer) => {
        answered++;
        expect(messageId(answer)).toBe(id);
        expect(answer[2] & 0x80).toBe(0x80);
      });
    }
    // Answered after all of them, since each waits for the same number of turns at most.
    await ask(server, queryMessage("a.example", "A"));
    const { queries, answeredLocally, failures, formErr, dropped } = server.statistics;
    expect(answered).toBe(queries - 1);
    expect(queries + dropped).toBe(5001);
    expect(answeredLocally + failures + formErr).toBe(queries);
    expect(Math.min(failures, formErr, dropped)).toBeGreaterThan(100);
  });
});

describe("over TCP", () => {
  test("a truncated answer leads to the whole one", async () => {
    const short = await udpServer(({ message, reply }) => {
      const answer = answerWith(message, "192.0.2.1").subarray(0, message.length);
      answer.set([message[2] | 0x82, 0x80, 0, 1, 0, 0], 2);
      reply(answer);
    });
    const long = await tcpServer(({ message, reply }) => reply(answerWith(message, "192.0.2.1")));
    expect(decoded(await ask(serverOn(fixedServers([short.address])), numbered(1)))).toMatchObject({ flag_tc: true });
    const client = new Client(serverOn(fixedServers([long.address])));
    client.send(numbered(2));
    await client.ids(1);
    expect(decoded(client.answers[0])).toMatchObject({ id: 2, flag_tc: false, answers: [{ data: "192.0.2.1" }] });
  });

  test("answers come as they are known, not in the order of the queries", async () => {
    const resolver = new HeldResolver();
    const client = new Client(new DnsServer({ resolver }));
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

  test("queries are found however the stream is cut", async () => {
    const client = new Client(serverOn(fixedServers([])));
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
    const client = new Client(new DnsServer({ resolver, maxPipelined: 2 }));
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
      resolve: async (query) => ({ message: padded(answerWith(query.message, "192.0.2.1"), 5000), origin: "upstream" }),
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
        return { message: padded(answerWith(query.message, "192.0.2.1"), 60_000), origin: "upstream" };
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
    const client = new Client(new DnsServer({ resolver }), { allowHalfOpen: allow });
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
    const client = new Client(new DnsServer({ resolver: new HeldResolver() }));
    client.stream.write(Uint8Array.of(0, 40, 1, 2, 3));
    const ended = once(client.stream, "end");
    client.stream.end();
    await ended;
  });

  test("a connection without a query in progress is closed after the idle time", async () => {
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
    const resolver = new HeldResolver();
    const client = new Client(new DnsServer({ resolver, idleTimeout: 1000 }));
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
    const client = new Client(new DnsServer({ resolver: new HeldResolver() }));
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
    const [failing, healthy] = [new Client(server), new Client(server)];
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
    const third = new Client(server);
    third.send(numbered(3));
    await resolver.arrived(3);
    expect(server.statistics.dropped).toBe(0);
  });

  test("connections beyond the limit, and those already over, are ended", async () => {
    const server = new DnsServer({ resolver: new HeldResolver(), maxStreams: 1 });
    const first = new Client(server);
    const second = new Client(server);
    expect([first.serverEnd.destroyed, second.serverEnd.destroyed]).toEqual([false, true]);
    const closed = once(first.serverEnd, "close");
    server.close();
    await closed;
    const [, dead] = duplexPair();
    dead.destroy();
    server.serveStream(dead, context);
    expect(new Client(server).serverEnd.destroyed).toBe(false);
    expect(server.statistics.dropped).toBe(2);
  });

  test("hostile bytes never throw, and a query after hostile messages is answered", async () => {
    const server = serverOn(fixedServers([]));
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
    const client = new Client(server);
    for (let round = 0; round < 500; round++) client.send(hostileMessage(random));
    client.send(queryMessage("host.docker.internal", "A", { id: 0xfeed }));
    await vi.waitFor(() => expect(client.answers.map(messageId)).toContain(0xfeed));
  });
});
