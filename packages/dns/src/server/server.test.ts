import { mkdtempSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseIpv4 } from "@hostd/stack";
import { describe, expect, onTestFinished, test, vi } from "vitest";
import { messageId } from "../message.ts";
import { fixedServers, type PolicySource, RouteTable } from "../policy/policy.ts";
import { ResolvConfFile } from "../policy/resolv-conf-file.ts";
import { type QueryResolver, Resolver } from "../resolver.ts";
import { contextOf, HeldResolver, HeldUpstream } from "../testing/held.ts";
import {
  answerWith,
  dataOf,
  decoded,
  errorFor,
  hostileMessage,
  queryMessage,
  seededRandom,
} from "../testing/messages.ts";
import { addressRecord, authorityRecord, optRecord, responseTo } from "../testing/responses.ts";
import { closedPort, tcpServer, udpServer } from "../testing/servers.ts";
import { StreamClient } from "../testing/stream-client.ts";
import { Forwarder } from "../upstream/forwarder.ts";
import { standardZones } from "../zones/standard-zones.ts";
import { Zones } from "../zones/zones.ts";
import type { AnsweredQuery } from "./query-observer.ts";
import { DnsServer, type DnsServerOptions } from "./server.ts";

const context = contextOf("vm");
const cache = { maxEntries: 10_000, maxBytes: 10_000_000, staleTime: 60_000 };
const zones = () => {
  const known = standardZones({ host: parseIpv4("192.168.65.254"), gateway: parseIpv4("192.168.65.1") });
  const texts = Array.from({ length: 40 }, () => ({ name: "large", type: "TXT", text: "t".repeat(40) }) as const);
  return new Zones([...known, { name: "zone.test", records: texts }]);
};

/** A server on our zones and these upstream servers. */
function serverOn(source: PolicySource, totalTimeout = 60_000): DnsServer {
  const resolver = new Resolver({ zones: zones(), upstream: new Forwarder({ source, totalTimeout }) });
  onTestFinished(() => resolver.close());
  return new DnsServer({ resolver });
}

/** A server on our zones whose upstream is the test. */
function heldServer(options: Partial<DnsServerOptions> = {}) {
  const upstream = new HeldUpstream();
  const now = options.now ?? (() => 0);
  const resolver = new Resolver({ zones: zones(), upstream, cache, now });
  onTestFinished(() => resolver.close());
  return { upstream, resolver, server: new DnsServer({ resolver, now, ...options }) };
}

const ask = (server: DnsServer, message: Uint8Array) =>
  new Promise<Uint8Array>((resolve) => server.handleDatagram(message, context, resolve));

/** The answer that a server gives before the call returns. */
function askAtOnce(server: DnsServer, message: Uint8Array): Uint8Array {
  const reply = vi.fn<(message: Uint8Array) => void>();
  server.handleDatagram(message, context, reply);
  expect(reply).toHaveBeenCalledOnce();
  return reply.mock.calls[0][0];
}

const numbered = (id: number) => queryMessage("a.example", "A", { id });
const NOTHING = {
  queries: 0,
  answeredLocally: 0,
  answeredFromCache: 0,
  forwarded: 0,
  failures: 0,
  formErr: 0,
  dropped: 0,
};

describe("answers", () => {
  test("of names of ours are from here, and of others from upstream", async () => {
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
    expect({ ...server.statistics }).toEqual({ ...NOTHING, queries: 3, answeredLocally: 2, forwarded: 1 });
  });

  test("from here and from what is kept are there before the call returns", async () => {
    const { server, upstream } = heldServer();
    expect(decoded(askAtOnce(server, queryMessage("host.docker.internal", "A"))).rcode).toBe(0);
    const first = ask(server, numbered(1));
    upstream.asked[0].answer(answerWith(numbered(1), "192.0.2.1"));
    await first;
    expect(decoded(askAtOnce(server, numbered(2)))).toMatchObject({ id: 2, rcode: 0 });
  });

  test("are SERVFAIL within the limit of time when no server answers", async () => {
    const silent = await udpServer(() => {});
    for (const servers of [[silent.address], [await closedPort()], []]) {
      const server = serverOn(fixedServers(servers), 100);
      const response = decoded(await ask(server, numbered(5)));
      expect(response).toMatchObject({ id: 5, rcode: 2, flag_qr: true, flag_ra: true, answers: [] });
      expect(response.questions).toEqual([{ name: "a.example", type: "A", class: "IN" }]);
      expect(server.statistics).toMatchObject({ queries: 1, failures: 1 });
    }
  });

  test("to what is no query are an error code, or none", async () => {
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
    expect({ ...server.statistics }).toEqual({ ...NOTHING, queries: 3, formErr: 2, dropped: 3, answeredLocally: 1 });
  });

  test.each([
    ["rejects", () => Promise.reject(new Error("broken"))],
    [
      "throws",
      () => {
        throw new Error("broken");
      },
    ],
  ])("are SERVFAIL with a line in the log when the resolver %s", async (_, resolve) => {
    const logger = { debug: vi.fn(), info: vi.fn(), warn: vi.fn() };
    const server = new DnsServer({ resolver: { resolve }, logger });
    expect(decoded(await ask(server, numbered(1)))).toMatchObject({ id: 1, rcode: 2 });
    const fields = { err: new Error("broken"), name: "a.example" };
    expect(logger.warn).toHaveBeenCalledExactlyOnceWith(fields, "a query could not be resolved");
    expect({ ...server.statistics }).toEqual({ ...NOTHING, queries: 1, failures: 1 });
  });

  test("are of the servers of resolv.conf as it is now", async () => {
    const upstreams = await Promise.all(
      ["192.0.2.1", "192.0.2.2"].map((address) =>
        udpServer(({ message, reply }) => reply(answerWith(message, address))),
      ),
    );
    const folder = mkdtempSync(join(tmpdir(), "hostd-dns-"));
    onTestFinished(() => rmSync(folder, { recursive: true }));
    const path = join(folder, "resolv.conf");
    let time = 0;
    const file = new ResolvConfFile({ path, now: () => time });
    // A resolv.conf has no ports, so its addresses stand for the servers of this test.
    let policy = file.current();
    let placed = policy;
    const source: PolicySource = {
      current() {
        if (file.current() === policy) return placed;
        policy = file.current();
        const routes = policy.routes.routes.map((route) => {
          const servers = route.set.servers.map(({ address }) => upstreams[Number(address.at(-1)) - 1].address);
          return { ...route, set: { ...route.set, servers } };
        });
        placed = { ...policy, routes: new RouteTable(routes) };
        return placed;
      },
    };
    const server = serverOn(source);
    const address = async () => dataOf(decoded(await ask(server, numbered(1))).answers, "A");

    writeFileSync(path, "nameserver 127.0.0.1\n");
    time = 1000;
    expect(await address()).toEqual(["192.0.2.1"]);
    writeFileSync(`${path}.new`, "nameserver 127.0.0.2\n");
    renameSync(`${path}.new`, path);
    expect(await address()).toEqual(["192.0.2.1"]);
    time = 2000;
    expect(await address()).toEqual(["192.0.2.2"]);
  });

  test("are counted by where they are from", async () => {
    let time = 0;
    const { server, upstream } = heldServer({ now: () => time });
    const expected = { ...NOTHING };
    const counted = (change: Partial<typeof NOTHING>) => {
      Object.assign(expected, { queries: expected.queries + 1 }, change);
      expect({ ...server.statistics }).toEqual(expected);
    };
    askAtOnce(server, queryMessage("host.docker.internal", "A"));
    counted({ answeredLocally: 1 });
    askAtOnce(server, queryMessage("localhost", "A"));
    counted({ answeredLocally: 2 });

    const forwarded = ask(server, numbered(1));
    expect({ ...server.statistics }).toEqual({ ...expected, queries: 3 });
    upstream.asked[0].answer(responseTo(numbered(1), { answers: [addressRecord("a.example", "192.0.2.1", 60)] }));
    await forwarded;
    counted({ forwarded: 1 });
    askAtOnce(server, numbered(2));
    counted({ answeredFromCache: 1 });

    // The code of a server's answer does not matter, who gave it does.
    for (const [index, rcode] of [2, 3, 5].entries()) {
      const message = queryMessage(`${rcode}.example`, "A");
      const answer = ask(server, message);
      upstream.asked[1 + index].answer(errorFor(message, rcode));
      await answer;
      counted({ forwarded: 2 + index });
    }
    const unanswered = ask(server, queryMessage("b.example", "A"));
    upstream.asked[4].answer(null);
    await unanswered;
    counted({ failures: 1 });

    time = 61_000;
    const stale = ask(server, numbered(3));
    upstream.asked[5].answer(null);
    expect(decoded(await stale)).toMatchObject({ id: 3, answers: [{ data: "192.0.2.1" }] });
    counted({ answeredFromCache: 2 });
  });

  test("never fail for hostile messages, and each that has a header of a query is answered", async () => {
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
        expect(answer.length).toBeLessThanOrEqual(512);
      });
    }
    // Answered after all of them, since each waits for the same number of turns at most.
    await ask(server, queryMessage("a.example", "A"));
    const { queries, answeredLocally, answeredFromCache, forwarded, failures, formErr, dropped } = server.statistics;
    expect(answered).toBe(queries - 1);
    expect(queries + dropped).toBe(5001);
    expect(answeredLocally + failures + formErr).toBe(queries);
    expect([answeredFromCache, forwarded]).toEqual([0, 0]);
    expect(Math.min(failures, formErr, dropped)).toBeGreaterThan(100);
  });
});

describe("the size of an answer", () => {
  test("beyond what the client takes is cut to TC, and whole over TCP", async () => {
    const padded = (message: Uint8Array, length: number) => {
      const result = new Uint8Array(length);
      result.set(message);
      return result;
    };
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
    const client = new StreamClient(serverOn(fixedServers([whole.address])), context);
    client.send(numbered(9));
    expect(await client.ids(1)).toEqual([9]);
    expect(client.answers[0].length).toBe(6000);
  });

  test("is never more than asked for over UDP, wherever the answer is from", async () => {
    const { server, upstream } = heldServer();
    const random = seededRandom(8);
    const client = new StreamClient(server, context);
    const count = { cut: 0, whole: 0 };
    for (let round = 0; round < 300; round++) {
      const name = ["large.zone.test", `${random() % 100}.example`][random() % 2];
      const size = [undefined, 1, 511, 512, 513, 1232, 4096, 65_535, 1 + (random() % 3000)][random() % 9];
      const edns = size === undefined ? {} : { udpPayloadSize: size };
      const message = queryMessage(name, "TXT", { id: round, ...edns });
      const pending = ask(server, message);
      const held = upstream.asked.shift();
      const texts = Array.from({ length: 1 + (random() % 30) }, () => "u".repeat(100));
      held?.answer(
        responseTo(message, {
          answers: texts.map((data) => ({ type: "TXT", name, ttl: 60, data })),
          additionals: size === undefined ? [] : [optRecord()],
        }),
      );
      const answer = await pending;
      expect(answer.length).toBeLessThanOrEqual(Math.min(4096, Math.max(512, size ?? 512)));
      const { id, flag_tc, answers, questions, additionals } = decoded(answer);
      expect([id, questions?.[0].name]).toEqual([round, name]);
      expect(additionals).toHaveLength(size === undefined ? 0 : 1);
      expect(flag_tc).toBe(answers?.length === 0);
      count[flag_tc ? "cut" : "whole"]++;
      // The same question over TCP gives all of it.
      const before = client.answers.length;
      client.send(message);
      await client.ids(before + 1);
      upstream.asked.length = 0;
      const full = decoded(client.answers[before]);
      expect([full.flag_tc, (full.answers?.length ?? 0) > 0]).toEqual([false, true]);
    }
    expect(Math.min(count.cut, count.whole)).toBeGreaterThan(50);
  });

  test("from the cache is by what each client takes, not by what the first one did", async () => {
    const { server, upstream } = heldServer();
    const large = queryMessage("a.example", "TXT", { id: 1, udpPayloadSize: 4096 });
    const first = ask(server, large);
    const answers = Array.from({ length: 10 }, () => {
      return { type: "TXT", name: "a.example", ttl: 60, data: "u".repeat(100) } as const;
    });
    upstream.asked[0].answer(responseTo(large, { answers, additionals: [optRecord()] }));
    expect(decoded(await first).answers).toHaveLength(10);
    const plain = askAtOnce(server, queryMessage("a.example", "TXT", { id: 2 }));
    expect(decoded(plain)).toMatchObject({ id: 2, flag_tc: true, answers: [] });
    expect(decoded(askAtOnce(server, large)).answers).toHaveLength(10);
    expect(upstream.asked).toHaveLength(1);
  });
});

describe("the limit of queries in progress", () => {
  test("gives SERVFAIL to those beyond it, and to those before it their answers", async () => {
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

  test("is 4096, and is not for names of ours and those that are kept", async () => {
    const { server, upstream } = heldServer();
    const kept = ask(server, queryMessage("kept.example", "A"));
    upstream.asked[0].answer(
      responseTo(queryMessage("kept.example", "A"), { rcode: 3, authorities: [authorityRecord(60, 60)] }),
    );
    await kept;
    // Every other one waits for what the one before it asks.
    const queryOf = (id: number) => queryMessage(`${id >>> 1}.example`, "A", { id });
    const pending = Array.from({ length: 4096 }, (_, id) => ask(server, queryOf(id)));
    expect(upstream.asked).toHaveLength(1 + 2048);
    for (const id of [4096, 0, 1]) {
      expect(decoded(askAtOnce(server, queryOf(id)))).toMatchObject({ id, rcode: 2, answers: [] });
    }
    expect(decoded(askAtOnce(server, queryMessage("host.docker.internal", "A"))).rcode).toBe(0);
    expect(decoded(askAtOnce(server, queryMessage("kept.example", "A"))).rcode).toBe(3);
    expect(upstream.asked).toHaveLength(1 + 2048);
    expect(server.statistics).toMatchObject({ failures: 3, answeredLocally: 1, answeredFromCache: 1 });

    for (const { query, answer } of upstream.asked.slice(1)) answer(answerWith(query.message, "192.0.2.1"));
    const answers = await Promise.all(pending);
    expect(answers.map(messageId)).toEqual(Array.from({ length: 4096 }, (_, id) => id));
    expect(answers.every((answer) => (answer[3] & 15) === 0)).toBe(true);
    void ask(server, queryMessage("next.example", "A"));
    expect(upstream.asked).toHaveLength(1 + 2048 + 1);
  });

  test("counts a query no longer when its resolver has failed", async () => {
    const resolver: QueryResolver = {
      resolve: (_query, _context, _transport, limit) => {
        expect(limit.take(false)).toBe(true);
        return Promise.reject(new Error("broken"));
      },
    };
    const server = new DnsServer({ resolver, maxInProgress: 1 });
    for (let id = 0; id < 5; id++) expect(decoded(await ask(server, numbered(id)))).toMatchObject({ id, rcode: 2 });
  });
});

describe("the limit of queries per second", () => {
  test("is a burst and then a rate, for each server by itself", async () => {
    let time = 5000;
    const { server, resolver, upstream } = heldServer({ now: () => time, maxForwardedPerSecond: 10 });
    const other = new DnsServer({ resolver, maxForwardedPerSecond: 10, now: () => time });
    let next = 0;
    /** How many of a hundred new names are asked for. */
    const accepted = (of: DnsServer) => {
      const before = upstream.asked.length;
      for (let count = 0; count < 100; count++) {
        of.handleDatagram(queryMessage(`${next++}.example`, "A"), context, () => {});
      }
      return upstream.asked.length - before;
    };
    expect(accepted(server)).toBe(10);
    expect(server.statistics).toMatchObject({ queries: 100, failures: 90 });
    expect(accepted(server)).toBe(0);
    time += 500;
    expect(accepted(server)).toBe(5);
    time += 60_000;
    expect(accepted(server)).toBe(10);
    expect(accepted(other)).toBe(10);
    expect(decoded(askAtOnce(server, queryMessage("host.docker.internal", "A"))).rcode).toBe(0);
  });

  test("refuses at once, with SERVFAIL, over TCP too", async () => {
    const { server } = heldServer({ maxForwardedPerSecond: 0 });
    expect(decoded(askAtOnce(server, numbered(7)))).toMatchObject({ id: 7, rcode: 2 });
    const client = new StreamClient(server, context);
    client.send(numbered(8), queryMessage("host.docker.internal", "A", { id: 9 }));
    expect(await client.ids(2)).toEqual([8, 9]);
    expect(client.answers.map((answer) => answer[3] & 15)).toEqual([2, 0]);
  });
});

describe("an observer", () => {
  const heard: AnsweredQuery[] = [];
  const observe = (isListening: () => boolean): Pick<DnsServerOptions, "observer"> => {
    heard.length = 0;
    return { observer: { isListening, answered: (query) => void heard.push(query) } };
  };

  test("is told of each query when it is answered, and from where", async () => {
    let time = 100;
    const { server, upstream } = heldServer({ ...observe(() => true), now: () => time });
    askAtOnce(server, queryMessage("HOST.docker.internal", "A"));
    askAtOnce(server, queryMessage("missing.docker.internal", "AAAA"));
    const answered = ask(server, queryMessage("a.example", "TXT"));
    expect(heard).toHaveLength(2);
    time = 112.5;
    for (const { query, answer } of upstream.asked) answer(answerWith(query.message, "192.0.2.1"));
    await answered;
    expect(heard).toEqual([
      { context, name: "HOST.docker.internal", type: "A", rcode: "NOERROR", origin: "zone", milliseconds: 0 },
      { context, name: "missing.docker.internal", type: "AAAA", rcode: "NXDOMAIN", origin: "zone", milliseconds: 0 },
      { context, name: "a.example", type: "TXT", rcode: "NOERROR", origin: "upstream", milliseconds: 12.5 },
    ]);
  });

  test("is told of queries that fail, and of none that cannot be read", async () => {
    const resolver: QueryResolver = { resolve: () => Promise.reject(new Error("unforeseen")) };
    const server = new DnsServer({ resolver, ...observe(() => true) });
    await ask(server, queryMessage("a.example", "A"));
    askAtOnce(server, Uint8Array.of(0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0));
    expect(heard).toMatchObject([{ name: "a.example", rcode: "SERVFAIL", origin: "failure" }]);
  });

  test("is told of nothing while it does not listen, and of no query that came then", async () => {
    let isListening = false;
    const { server, upstream } = heldServer(observe(() => isListening));
    askAtOnce(server, queryMessage("host.docker.internal", "A"));
    const answered = ask(server, queryMessage("a.example", "A"));
    isListening = true;
    for (const { query, answer } of upstream.asked) answer(answerWith(query.message, "192.0.2.1"));
    await answered;
    expect(heard).toEqual([]);
  });
});
