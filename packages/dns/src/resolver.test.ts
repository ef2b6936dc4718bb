import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import type { HostNames } from "./hosts/host-names.ts";
import { Type } from "./message.ts";
import { type AskingLimit, type Resolution, Resolver, type ResolverOptions } from "./resolver.ts";
import { buildResponse } from "./response.ts";
import { contextOf, HeldUpstream } from "./testing/held.ts";
import {
  dataOf,
  decoded,
  errorFor,
  queryMessage,
  queryWithOptions,
  readValid,
  seededRandom,
} from "./testing/messages.ts";
import { addressRecord, aliasRecord, authorityRecord, optRecord, responseTo } from "./testing/responses.ts";
import { Zones } from "./zones/zones.ts";

const cache = { maxEntries: 1000, maxBytes: 1_000_000, staleTime: 3_600_000 };
const unlimited: AskingLimit = { take: () => true };
/** What the messages of each origin say of themselves. */
const upstreamOrigin = { origin: "upstream", source: HeldUpstream.SOURCE };

const zones = () =>
  new Zones([
    {
      name: "corp.internal",
      records: [
        { name: "host", type: "A", address: "192.168.65.254" },
        { name: "alias", type: "CNAME", target: "beyond.example" },
        { name: "to-localhost", type: "CNAME", target: "localhost" },
        { name: "to-hosts", type: "CNAME", target: "known.example" },
        { name: "inside", type: "CNAME", target: "host.corp.internal" },
      ],
    },
    { name: "private.test", link: "one", records: [{ name: "secret", type: "A", address: "10.0.0.1" }] },
  ]);

/** A hosts file with `known.example`, and names that come before it in the order. */
const hosts: HostNames = {
  source: "/etc/hosts",
  answer(query) {
    const { name, labels } = query.question;
    if (!["known.example", "localhost", "other.corp.internal"].includes(labels.join("."))) return null;
    return buildResponse(query, { rcode: 0, answers: [addressRecord(name, "192.0.2.200", 10)] });
  },
};

let upstream: HeldUpstream;
let resolver: Resolver;
let time: number;

beforeEach(() => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
  time = 1000;
  open();
});

afterEach(() => {
  expect(vi.getTimerCount()).toBe(0);
  vi.useRealTimers();
});

function open(options: Partial<ResolverOptions> = {}): void {
  upstream = new HeldUpstream();
  resolver = new Resolver({ zones: zones(), hosts, upstream, cache, now: () => time, ...options });
}

async function advance(milliseconds: number): Promise<void> {
  time += milliseconds;
  await vi.advanceTimersByTimeAsync(milliseconds);
}

/** Asks for an A record unless a whole message is given. */
function ask(question: string | Uint8Array, limit = unlimited, link = "one"): Resolution | Promise<Resolution> {
  const message = typeof question === "string" ? queryMessage(question, "A") : question;
  return resolver.resolve(readValid(message), contextOf(link), "udp", limit);
}

/** Asks for what is not known, and has it answered with an address. */
async function learn(name: string, data: string, ttl: number): Promise<Resolution> {
  const resolution = ask(name);
  answerLast(data, ttl);
  return await resolution;
}

const lastAsked = () => {
  const last = upstream.asked.at(-1);
  if (last === undefined) throw new Error("nothing was asked");
  return last;
};

function answerLast(data: string, ttl = 60): void {
  const { query, answer } = lastAsked();
  answer(responseTo(query.message, { answers: [addressRecord(query.question.name, data, ttl)] }));
}

/** The addresses of a resolution, and where it is from. */
function summary({ message, origin }: Resolution) {
  const { answers, rcode } = decoded(message);
  return { origin, rcode, data: dataOf(answers, "A") };
}

test.each(["host.corp.internal", "localhost", "known.example", "beyond.example"])(
  "%s asked with an unknown version of EDNS is BADVERS, and nobody else is asked",
  (name) => {
    const resolution = ask(queryMessage(name, "A", { udpPayloadSize: 1232, ednsVersion: 1 }));
    if (resolution instanceof Promise) throw new Error("it was passed on");
    const response = decoded(resolution.message);
    expect(response).toMatchObject({ rcode: 0, answers: [] });
    expect(response.additionals).toMatchObject([{ type: "OPT", extendedRcode: 1, ednsVersion: 0 }]);
    expect(upstream.asked).toEqual([]);
  },
);

describe("the order", () => {
  test("is our zones, names of special use, the hosts file, what is kept, and then beyond", async () => {
    expect(await ask("host.corp.internal")).toMatchObject({ origin: "zone", source: "corp.internal" });
    expect(summary(await ask("host.corp.internal")).data).toEqual(["192.168.65.254"]);
    // The hosts file has this name too, but the zone says that it is not there.
    expect(summary(await ask("other.corp.internal"))).toEqual({ origin: "zone", rcode: 3, data: [] });
    expect(summary(await ask("localhost"))).toEqual({ origin: "special", rcode: 0, data: ["127.0.0.1"] });
    expect(summary(await ask("x.invalid"))).toEqual({ origin: "special", rcode: 3, data: [] });
    expect(await ask("known.example")).toMatchObject({ origin: "hosts", source: "/etc/hosts" });
    expect(upstream.asked).toEqual([]);
    expect(await learn("b.example", "192.0.2.1", 60)).toMatchObject(upstreamOrigin);
    expect(summary(await ask("b.example"))).toEqual({ origin: "cache", rcode: 0, data: ["192.0.2.1"] });
    expect(upstream.asked).toHaveLength(1);
  });

  test("a zone that is added comes before what is kept, and what is kept comes back with its end", async () => {
    await learn("www.example", "192.0.2.1", 60);
    resolver.zones.add({ name: "example", records: [{ name: "www", type: "A", address: "10.9.9.9" }] });
    expect(summary(await ask("www.example"))).toEqual({ origin: "zone", rcode: 0, data: ["10.9.9.9"] });
    resolver.zones.remove("example");
    expect(summary(await ask("www.example"))).toEqual({ origin: "cache", rcode: 0, data: ["192.0.2.1"] });
  });

  test("answers from here and from what is kept are there at once", async () => {
    await learn("b.example", "192.0.2.1", 60);
    for (const name of ["host.corp.internal", "localhost", "known.example", "b.example"]) {
      expect(ask(name)).not.toBeInstanceOf(Promise);
    }
  });

  test("names of our zones never go beyond, whatever is asked of them", async () => {
    const random = seededRandom(31);
    const types = [1, 5, 6, 12, 15, 16, 28, 33, 64, 65, 255, 0, 0xffff];
    for (let round = 0; round < 2000; round++) {
      const label = Array.from({ length: 1 + (random() % 10) }, () => 33 + (random() % 90));
      const bytes = [label.length, ...label, ...Buffer.from("\x04CoRp\x08internal\0", "latin1")];
      const tail = [0, types[random() % types.length], 0, [1, 3, 255][random() % 3]];
      const header = [0, 1, random() & 1, random() & 0x30, 0, 1, 0, 0, 0, 0, 0, 0];
      expect(await ask(Uint8Array.of(...header, ...bytes, ...tail))).toMatchObject({ origin: "zone" });
    }
    expect(upstream.asked).toEqual([]);
  });

  test("a query goes beyond as it came, and the answer comes back so", async () => {
    const message = queryMessage("b.example", "TXT", {
      id: 0xbeef,
      flags: 0x0130,
      udpPayloadSize: 1400,
      dnssecOk: true,
    });
    const resolution = resolver.resolve(readValid(message), contextOf("one"), "tcp", unlimited);
    expect(lastAsked()).toMatchObject({ transport: "tcp", query: { message } });
    const answer = responseTo(message, {
      flags: 0x05b0,
      answers: [{ type: "TXT", name: "b.example", ttl: 5, data: "text" }],
      additionals: [optRecord()],
    });
    lastAsked().answer(answer);
    expect(Uint8Array.from((await resolution).message)).toEqual(answer);
  });

  test("nobody who answers is SERVFAIL, and so is the end of the resolver", async () => {
    const [first, second] = [ask("b.example"), ask("c.example")];
    upstream.asked[0].answer(null);
    expect(await first).toMatchObject({ origin: "failure", source: "no server answered" });
    expect(summary(await first)).toMatchObject({ rcode: 2 });
    resolver.close();
    expect(upstream.isClosed).toBe(true);
    expect(summary(await second)).toEqual({ origin: "failure", rcode: 2, data: [] });
  });
});

describe("what many ask at the same time", () => {
  test("is asked once, and each gets the answer under its own id and in its own case", async () => {
    const messages = Array.from({ length: 1000 }, (_, id) => {
      return queryMessage(
        id % 2 === 0 ? "b.example" : "B.EXAMPLE",
        "A",
        id % 3 === 0 ? { id, udpPayloadSize: 1232 } : { id },
      );
    });
    const resolutions = messages.map((message) => ask(message));
    expect(upstream.asked).toHaveLength(1);
    answerLast("192.0.2.1", 0);
    for (const [id, resolution] of resolutions.entries()) {
      const { message, ...from } = await resolution;
      expect(from).toEqual(upstreamOrigin);
      const { questions, answers, additionals, ...header } = decoded(message);
      expect([header.id, questions?.[0].name]).toEqual([id, id % 2 === 0 ? "b.example" : "B.EXAMPLE"]);
      expect(dataOf(answers, "A")).toEqual(["192.0.2.1"]);
      // The first one's answer is the server's, which has no OPT.
      expect(additionals).toHaveLength(id !== 0 && id % 3 === 0 ? 1 : 0);
    }
    expect(upstream.asked).toHaveLength(1);
    // A TTL of 0 is for those who asked and for nobody else.
    void ask("b.example");
    expect(upstream.asked).toHaveLength(2);
    resolver.close();
  });

  test("fails for all of them, without being asked again", async () => {
    for (const failure of [null, 2, 5]) {
      open();
      const resolutions = Array.from({ length: 100 }, (_, id) => ask(queryMessage("b.example", "A", { id })));
      const { query, answer } = lastAsked();
      answer(failure === null ? null : errorFor(query.message, failure));
      for (const [id, resolution] of resolutions.entries()) {
        const { message, origin } = await resolution;
        expect(origin).toBe(failure === null ? "failure" : "upstream");
        expect(decoded(message)).toMatchObject({ id, rcode: failure ?? 2, answers: [] });
      }
      expect(upstream.asked).toHaveLength(1);
      // Who comes later asks anew.
      void ask("b.example");
      expect(upstream.asked).toHaveLength(2);
      resolver.close();
    }
  });

  test("is asked by each of them when the answer cannot be told apart from its OPT", async () => {
    const resolutions = Array.from({ length: 5 }, (_, id) => ask(queryMessage("b.example", "A", { id })));
    expect(upstream.asked).toHaveLength(1);
    const own = (message: Uint8Array, data: string) =>
      responseTo(message, {
        answers: [addressRecord("b.example", data, 60)],
        additionals: [optRecord(), addressRecord("c.example", "192.0.2.9", 60)],
      });
    upstream.asked[0].answer(own(upstream.asked[0].query.message, "192.0.2.0"));
    await resolutions[0];
    await advance(0);
    expect(upstream.asked).toHaveLength(5);
    for (const [index, { query, answer }] of upstream.asked.entries()) answer(own(query.message, `192.0.2.${index}`));
    const answers = (await Promise.all(resolutions)).map(summary);
    expect(answers.flatMap(({ data }) => data)).toEqual([0, 1, 2, 3, 4].map((last) => `192.0.2.${last}`));
    expect(resolver.cache.statistics.entries).toBe(0);
  });

  test("is asked apart where the answer depends on more than the question", async () => {
    const plain = queryMessage("b.example", "A");
    const dnssec = queryMessage("b.example", "A", { udpPayloadSize: 1232, dnssecOk: true });
    const disabled = queryMessage("b.example", "A", { flags: 0x0110 });
    const identified = queryWithOptions("b.example", [3]);
    const all = [plain, dnssec, disabled, identified, identified];
    const resolutions = all.map((message) => ask(message));
    expect(upstream.asked).toHaveLength(5);
    for (const [index, { query, answer }] of upstream.asked.entries()) {
      answer(responseTo(query.message, { answers: [addressRecord("b.example", `192.0.2.${index}`, 60)] }));
    }
    const addresses = ["192.0.2.0", "192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4"];
    expect((await Promise.all(resolutions)).flatMap((resolution) => summary(resolution).data)).toEqual(addresses);
    const again = await Promise.all([plain, dnssec, disabled].map((message) => ask(message)));
    expect(again.map(summary)).toEqual(
      addresses.slice(0, 3).map((address) => ({ origin: "cache", rcode: 0, data: [address] })),
    );
    void ask(identified);
    expect(upstream.asked).toHaveLength(6);
    resolver.close();
  });

  test("is asked once without a cache, too", async () => {
    upstream = new HeldUpstream();
    resolver = new Resolver({ zones: zones(), upstream });
    const resolutions = [ask("b.example"), ask("b.example")];
    expect(upstream.asked).toHaveLength(1);
    answerLast("192.0.2.1");
    for (const resolution of resolutions) expect(summary(await resolution).data).toEqual(["192.0.2.1"]);
    const third = ask("b.example");
    expect(upstream.asked).toHaveLength(2);
    answerLast("192.0.2.2");
    expect(summary(await third).data).toEqual(["192.0.2.2"]);
  });
});

describe("what is kept", () => {
  test("is given until its time is over, with what is left of it", async () => {
    await learn("b.example", "192.0.2.1", 60);
    await advance(59_000);
    const { message } = await ask("B.example");
    expect(decoded(message)).toMatchObject({ questions: [{ name: "B.example" }], answers: [{ ttl: 1 }] });
    await advance(1000);
    expect(await learn("b.example", "192.0.2.2", 60)).toMatchObject({ origin: "upstream" });
    expect(summary(await ask("b.example")).data).toEqual(["192.0.2.2"]);
  });

  test("is also that there is nothing", async () => {
    const first = ask("b.example");
    lastAsked().answer(responseTo(lastAsked().query.message, { rcode: 3, authorities: [authorityRecord(600, 20)] }));
    expect(summary(await first)).toEqual({ origin: "upstream", rcode: 3, data: [] });
    await advance(19_999);
    expect(summary(await ask("b.example"))).toEqual({ origin: "cache", rcode: 3, data: [] });
    await advance(1);
    expect(await learn("b.example", "192.0.2.2", 60)).toMatchObject({ origin: "upstream" });
  });

  test("is forgotten when the servers are others, even before it is over", async () => {
    await learn("b.example", "192.0.2.1", 60);
    upstream.version = 2;
    expect(await learn("b.example", "192.0.2.2", 60)).toMatchObject({ origin: "upstream" });
    expect(summary(await ask("b.example")).data).toEqual(["192.0.2.2"]);
    expect(upstream.asked).toHaveLength(2);
  });

  test("is no answer that was on its way when the servers became others", async () => {
    const before = [ask("b.example"), ask("b.example")];
    upstream.version = 2;
    const after = ask("b.example");
    expect(upstream.asked).toHaveLength(2);
    const [old, current] = upstream.asked;
    const answer = (held: typeof old, data: string) =>
      held.answer(responseTo(held.query.message, { answers: [addressRecord("b.example", data, 60)] }));
    answer(old, "192.0.2.1");
    for (const resolution of before) expect(summary(await resolution).data).toEqual(["192.0.2.1"]);
    // It did not end the flight of those who ask now, nor was it stored.
    const joined = ask("b.example");
    expect(upstream.asked).toHaveLength(2);
    answer(current, "192.0.2.2");
    expect([summary(await after).data, summary(await joined).data]).toEqual([["192.0.2.2"], ["192.0.2.2"]]);
    expect(summary(await ask("b.example"))).toEqual({ origin: "cache", rcode: 0, data: ["192.0.2.2"] });
  });

  test("is no answer that was on its way, though nobody has asked since the servers became others", async () => {
    const before = ask("b.example");
    upstream.version = 2;
    answerLast("192.0.2.1");
    await before;
    void ask("b.example");
    expect(upstream.asked).toHaveLength(2);
    resolver.close();
  });
});

describe("an answer that has outlived its time", () => {
  /** Learns a name whose time is over since a second. */
  async function outlive(): Promise<void> {
    await learn("b.example", "192.0.2.1", 60);
    await advance(61_000);
  }

  const stale = { origin: "stale", rcode: 0, data: ["192.0.2.1"] };

  test("is not given while the servers answer in time", async () => {
    await outlive();
    const asked = ask("b.example");
    await advance(1799);
    answerLast("192.0.2.2");
    expect(summary(await asked)).toEqual({ origin: "upstream", rcode: 0, data: ["192.0.2.2"] });
    expect(resolver.cache.statistics.stale).toBe(0);
  });

  test("is given after 1.8 seconds, and at once while the servers stay silent", async () => {
    await outlive();
    let settled = false;
    const asked = Promise.resolve(ask("b.example")).finally(() => {
      settled = true;
    });
    await advance(1799);
    expect(settled).toBe(false);
    await advance(1);
    const resolution = await asked;
    expect(summary(resolution)).toEqual(stale);
    expect(decoded(resolution.message).answers).toMatchObject([{ ttl: 30 }]);
    expect(summary(await ask("b.example"))).toEqual(stale);
    // The late answer is kept all the same.
    answerLast("192.0.2.2");
    await advance(0);
    expect(summary(await ask("b.example"))).toEqual({ origin: "cache", rcode: 0, data: ["192.0.2.2"] });
    expect(upstream.asked).toHaveLength(2);
  });

  test.each([
    ["nobody answers", null],
    ["the server fails", 2],
    ["the server refuses", 5],
    ["the server cannot read it", 1],
  ])("is given when %s, which is not tried again for 30 seconds", async (_, rcode) => {
    await outlive();
    const asked = [ask("b.example"), ask("b.example")];
    const { query, answer } = lastAsked();
    answer(rcode === null ? null : errorFor(query.message, rcode));
    for (const resolution of asked) expect(summary(await resolution)).toEqual(stale);
    expect(upstream.asked).toHaveLength(2);
    await advance(29_999);
    expect(summary(await ask("b.example"))).toEqual(stale);
    expect(upstream.asked).toHaveLength(2);
    await advance(1);
    const again = ask("b.example");
    expect(upstream.asked).toHaveLength(3);
    answerLast("192.0.2.2");
    expect(summary(await again)).toEqual({ origin: "upstream", rcode: 0, data: ["192.0.2.2"] });
  });

  test("makes way for NXDOMAIN, and for an answer that may not be kept", async () => {
    await outlive();
    const asked = ask("b.example");
    lastAsked().answer(responseTo(lastAsked().query.message, { rcode: 3 }));
    expect(summary(await asked)).toEqual({ origin: "upstream", rcode: 3, data: [] });
    const next = ask("b.example");
    lastAsked().answer(null);
    expect(summary(await next)).toEqual({ origin: "failure", rcode: 2, data: [] });
  });

  test("is not given once the stale time is over", async () => {
    await learn("b.example", "192.0.2.1", 60);
    await advance(60_000 + cache.staleTime - 1);
    const last = ask("b.example");
    lastAsked().answer(null);
    expect(summary(await last)).toEqual(stale);
    await advance(1);
    const after = ask("b.example");
    lastAsked().answer(null);
    expect(summary(await after)).toEqual({ origin: "failure", rcode: 2, data: [] });
  });

  test("is not given after the servers became others", async () => {
    await outlive();
    upstream.version = 2;
    const asked = ask("b.example");
    lastAsked().answer(null);
    expect(summary(await asked)).toEqual({ origin: "failure", rcode: 2, data: [] });
  });

  test("is given when no more may be asked", async () => {
    await outlive();
    expect(summary(await ask("b.example", { take: () => false }))).toEqual(stale);
    expect(upstream.asked).toHaveLength(1);
  });
});

describe("an alias of ours for a name beyond", () => {
  const aliasData = (message: Uint8Array) => decoded(message).answers?.map((record) => "data" in record && record.data);

  test("is answered with the records of that name", async () => {
    const message = queryMessage("ALIAS.corp.internal", "A", { id: 5, udpPayloadSize: 1232 });
    const asked = ask(message);
    expect(lastAsked().query.question).toMatchObject({ name: "beyond.example", type: Type.A });
    expect(lastAsked().query.edns).toMatchObject({ udpPayloadSize: 1232 });
    lastAsked().answer(
      responseTo(lastAsked().query.message, {
        answers: [
          aliasRecord("beyond.example", "further.example", 9),
          addressRecord("further.example", "192.0.2.1", 9),
        ],
        additionals: [optRecord()],
      }),
    );
    const resolution = await asked;
    expect(resolution).toMatchObject({ origin: "zone", source: "corp.internal" });
    const { id, questions, answers, additionals } = decoded(resolution.message);
    expect([id, questions?.[0].name, additionals?.length]).toEqual([5, "ALIAS.corp.internal", 1]);
    expect(answers).toMatchObject([
      { type: "CNAME", name: "ALIAS.corp.internal", data: "beyond.example" },
      { type: "CNAME", name: "beyond.example", data: "further.example" },
      { type: "A", name: "further.example", data: "192.0.2.1" },
    ]);
    // The target is kept under its own name.
    expect(summary(await ask("beyond.example"))).toMatchObject({ origin: "cache", data: ["192.0.2.1"] });
    expect(summary(await ask("alias.corp.internal"))).toMatchObject({ origin: "zone", data: ["192.0.2.1"] });
    expect(upstream.asked).toHaveLength(1);
  });

  test("says NXDOMAIN, SERVFAIL and no data as the name beyond does", async () => {
    const missing = ask("alias.corp.internal");
    const authorities = [authorityRecord(60, 0)];
    lastAsked().answer(responseTo(lastAsked().query.message, { rcode: 3, authorities }));
    const { message } = await missing;
    expect(decoded(message)).toMatchObject({ rcode: 3, authorities: [{ type: "SOA", name: "example" }] });
    expect(aliasData(message)).toEqual(["beyond.example"]);

    const failed = ask("alias.corp.internal");
    lastAsked().answer(errorFor(lastAsked().query.message, 2));
    expect(summary(await failed)).toMatchObject({ origin: "zone", rcode: 2 });

    const unanswered = ask("alias.corp.internal");
    lastAsked().answer(null);
    expect(await unanswered).toMatchObject({ origin: "failure", source: "no server answered" });
    expect(summary(await unanswered)).toMatchObject({ rcode: 2 });

    const empty = ask("alias.corp.internal");
    lastAsked().answer(responseTo(lastAsked().query.message, { authorities }));
    const noData = await empty;
    expect(decoded(noData.message)).toMatchObject({ rcode: 0, authorities: [{ type: "SOA" }] });
    expect(aliasData(noData.message)).toEqual(["beyond.example"]);
  });

  test("is cut off where the answer beyond is, and SERVFAIL where that cannot be read", async () => {
    const cut = ask("alias.corp.internal");
    lastAsked().answer(responseTo(lastAsked().query.message, { flags: 0x0380 }));
    expect(decoded((await cut).message)).toMatchObject({ flag_tc: true, rcode: 0, answers: [] });

    const broken = ask("alias.corp.internal");
    const whole = responseTo(lastAsked().query.message, { answers: [addressRecord("beyond.example", "192.0.2.1", 9)] });
    lastAsked().answer(whole.subarray(0, -2));
    expect(summary(await broken)).toEqual({ origin: "zone", rcode: 2, data: [] });
  });

  test("leads to names of special use, to the hosts file, and to other names of ours", async () => {
    expect(summary(await ask("to-localhost.corp.internal"))).toMatchObject({ origin: "zone", data: ["127.0.0.1"] });
    expect(summary(await ask("to-hosts.corp.internal"))).toMatchObject({ origin: "zone", data: ["192.0.2.200"] });
    expect(summary(await ask("inside.corp.internal"))).toMatchObject({ origin: "zone", data: ["192.168.65.254"] });
    expect(upstream.asked).toEqual([]);
  });
});

describe("a limit of what may be asked", () => {
  test("refuses at once with SERVFAIL, and only what would have to be asked", async () => {
    const none = { take: vi.fn(() => false) };
    await learn("b.example", "192.0.2.1", 60);
    for (const name of ["b.example", "host.corp.internal", "localhost", "known.example"]) {
      expect(summary(await ask(name, none))).toMatchObject({ rcode: 0, data: [expect.any(String)] });
    }
    expect(none.take).not.toHaveBeenCalled();

    const refused = ask(queryMessage("c.example", "A", { id: 9 }), none);
    if (refused instanceof Promise) throw new Error("it was not refused at once");
    expect(refused).toMatchObject({ origin: "failure", source: "too many queries at a time" });
    expect(decoded(refused.message)).toMatchObject({ id: 9, rcode: 2 });
    const identified = queryWithOptions("b.example", [3]);
    expect(summary(await ask(identified, none))).toEqual({ origin: "failure", rcode: 2, data: [] });
    expect(summary(await ask("alias.corp.internal", none))).toMatchObject({ origin: "failure", rcode: 2 });
    expect(upstream.asked).toHaveLength(1);
  });

  test("tells those who ask from those who wait for what somebody else is asking", async () => {
    const limit = { take: vi.fn(() => true) };
    const resolutions = ["b.example", "b.example", "c.example"].map((name) => ask(name, limit));
    expect(limit.take.mock.calls).toEqual([[false], [true], [false]]);
    for (const { query, answer } of upstream.asked) answer(responseTo(query.message, { rcode: 3 }));
    expect((await Promise.all(resolutions)).map((each) => summary(each).rcode)).toEqual([3, 3, 3]);
  });

  test("is asked again where somebody else's answer can be given to nobody but them", async () => {
    let asked = 0;
    const limit = { take: (isJoined: boolean) => isJoined || ++asked < 3 };
    const resolutions = ["b.example", "b.example", "b.example"].map((name) => ask(name, limit));
    const unshareable = {
      answers: [addressRecord("b.example", "192.0.2.1", 60)],
      additionals: [optRecord(), addressRecord("c.example", "192.0.2.9", 60)],
    };
    upstream.asked[0].answer(responseTo(upstream.asked[0].query.message, unshareable));
    expect(summary(await resolutions[2])).toEqual({ origin: "failure", rcode: 2, data: [] });
    upstream.asked[1].answer(responseTo(upstream.asked[1].query.message, unshareable));
    expect((await Promise.all(resolutions.slice(0, 2))).map((each) => summary(each).rcode)).toEqual([0, 0]);
    expect(upstream.asked).toHaveLength(2);
  });

  test("may be for those who wait for what somebody else is asking, too", async () => {
    let left = 2;
    const limit = { take: () => left-- > 0 };
    const [first, second, third] = ["b.example", "b.example", "b.example"].map((name) => ask(name, limit));
    expect(summary(await third)).toEqual({ origin: "failure", rcode: 2, data: [] });
    answerLast("192.0.2.1");
    expect([summary(await first).data, summary(await second).data]).toEqual([["192.0.2.1"], ["192.0.2.1"]]);
  });
});

describe("a zone of one link", () => {
  test("is answered to that link alone, in whichever order they ask", async () => {
    const name = "secret.private.test";
    expect(summary(await ask(name, unlimited, "one"))).toEqual({ origin: "zone", rcode: 0, data: ["10.0.0.1"] });
    const other = ask(name, unlimited, "two");
    lastAsked().answer(responseTo(lastAsked().query.message, { rcode: 3, authorities: [authorityRecord(60, 60)] }));
    expect(summary(await other)).toEqual({ origin: "upstream", rcode: 3, data: [] });
    // What the other link was told is kept, and is not what the first one gets.
    expect(summary(await ask(name, unlimited, "two"))).toEqual({ origin: "cache", rcode: 3, data: [] });
    expect(summary(await ask(name, unlimited, "one"))).toEqual({ origin: "zone", rcode: 0, data: ["10.0.0.1"] });
    const reverse = queryMessage("1.0.0.10.in-addr.arpa", "PTR");
    expect(await ask(reverse, unlimited, "one")).toMatchObject({ origin: "zone" });
    void ask(reverse, unlimited, "two");
    expect(lastAsked().query.question.name).toBe("1.0.0.10.in-addr.arpa");
    expect(upstream.asked).toHaveLength(2);
    resolver.close();
  });
});
