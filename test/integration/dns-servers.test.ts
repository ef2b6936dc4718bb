import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout } from "node:timers/promises";
import { fixedServers, type Policy, type Route, RouteTable, RulesFirst, type ServerAddress } from "@hostd/dns";
import { describe, expect, onTestFinished, test } from "vitest";
import { dataOf, decoded } from "../../packages/dns/src/testing/messages.ts";
import { type TestServer, udpServer } from "../../packages/dns/src/testing/servers.ts";
import { ensureNameServers } from "../vm/host-packages.ts";
import { askTcp, askUdp, dig, encodeQuery, withId } from "./support/dns-client.ts";
import { CACHE, HOST, startHostSide } from "./support/dns-host-side.ts";
import { dnsmasq, type NameServerProcess, signZone, unbound, zoneText } from "./support/name-servers.ts";

const missing = ensureNameServers();

const SERVFAIL = 2;
const ADDRESS = "192.0.2.10";

/** A real server that gives every name of `one.test` the same address. */
const goodServer = () =>
  unbound({ zones: [{ name: "one.test", as: "authority", text: zoneText("one.test", [`* A ${ADDRESS}`]) }] });

/** A server that takes queries and says nothing. */
const silentServer = () => udpServer(() => {});

/** A server that gives the answers of a real one after a while. */
function lateServer(server: NameServerProcess, delay: number): Promise<TestServer> {
  const ended = new AbortController();
  onTestFinished(() => ended.abort());
  return udpServer(async ({ message, reply }) => {
    const answer = await askUdp(server.address, message);
    await setTimeout(delay, undefined, { signal: ended.signal }).then(
      () => reply(answer),
      () => {},
    );
  });
}

/** An answer with another address in it, under another id; it has to have one. */
function forged(answer: Uint8Array, id: number): Uint8Array {
  const message = Buffer.from(withId(answer, id));
  const at = message.indexOf(Buffer.from(ADDRESS.split(".").map(Number)));
  if (at < 0) throw new Error("there is no address in this answer");
  message.set([203, 0, 113, 66], at);
  return message;
}

/** Asks, and says how long the answer took in milliseconds. */
async function timed(server: ServerAddress, name: string) {
  const began = performance.now();
  const answer = decoded(await askUdp(server, encodeQuery(name, "A")));
  const { rcode, answers } = answer;
  return { rcode, addresses: dataOf(answers, "A"), elapsed: performance.now() - began };
}

/** How often a server was asked for a name of a zone. */
function askedFor({ received }: TestServer, zone: string): number {
  return received.filter((message) => decoded(message).questions?.[0].name.endsWith(zone)).length;
}

const route = (domain: string, { address }: NameServerProcess): Route => {
  return { domain, set: { servers: [address], serverTimeout: null, attempts: null }, from: "a rule" };
};

describe.skipIf(missing !== undefined)(`real name servers (${missing ?? "all are there"})`, () => {
  test("that disagree are each asked for the domains of their rule, the longest suffix first", async () => {
    const names = ["corp.test", "eu.corp.test", "notcorp.test", "corp.test.other.test", "a.b.eu.corp.test"];
    const ofAll = await unbound({
      zones: [
        {
          name: "test",
          as: "authority",
          text: zoneText(
            "test",
            names.map((name) => `www.${name}. A 192.0.2.1`),
          ),
        },
      ],
    });
    const ofCorp = await dnsmasq(names.map((name) => `address=/www.${name}/198.51.100.1`));
    const ofEurope = await dnsmasq(names.map((name) => `address=/www.${name}/203.0.113.1`));
    const rules = [route("corp.test", ofCorp), route("eu.corp.test", ofEurope)];
    const hostSide = await startHostSide({ source: new RulesFirst(rules, fixedServers([ofAll.address])) });
    const expected: Record<string, string> = {
      "corp.test": "198.51.100.1",
      "eu.corp.test": "203.0.113.1",
      "a.b.eu.corp.test": "203.0.113.1",
      "notcorp.test": "192.0.2.1",
      "corp.test.other.test": "192.0.2.1",
    };
    for (const [name, address] of Object.entries(expected)) {
      expect(await dig(hostSide.address, `www.${name}`, "A", "+short"), name).toBe(address);
      expect(await dig(hostSide.address, `WWW.${name.toUpperCase()}`, "A", "+short", "+tcp"), name).toBe(address);
    }
    const domainsOf = async (server: NameServerProcess) =>
      new Set((await server.queries()).map((query) => query.replace(/^www\.| A$/g, "")));
    // The names of a rule are told to nobody else.
    expect(await domainsOf(ofAll)).toEqual(new Set(["notcorp.test", "corp.test.other.test"]));
    expect(await domainsOf(ofCorp)).toEqual(new Set(["corp.test"]));
    expect(await domainsOf(ofEurope)).toEqual(new Set(["eu.corp.test", "a.b.eu.corp.test"]));
  });

  test("are not asked in place of a rule's server that says nothing", async () => {
    const ofAll = await unbound({
      zones: [{ name: "test", as: "authority", text: zoneText("test", ["www.corp A 192.0.2.1"]) }],
    });
    const ofCorp = await dnsmasq([]);
    ofCorp.suspend();
    const source = new RulesFirst([route("corp.test", ofCorp)], fixedServers([ofAll.address]));
    const hostSide = await startHostSide({ source });
    expect(await timed(hostSide.address, "www.corp.test")).toMatchObject({ rcode: SERVFAIL, addresses: [] });
    expect(await ofAll.queries()).toEqual([]);
  });

  test("are not asked for our own names, nor for those of the hosts file", async () => {
    const text = zoneText("test", ["file A 192.0.2.1", "other A 192.0.2.1"]);
    const server = await unbound({ zones: [{ name: "test", as: "authority", text }] });
    const hosts = join(server.folder, "hosts");
    writeFileSync(hosts, "192.0.2.99 file.test\n127.0.0.1 local.test\n");
    const hostSide = await startHostSide({ source: fixedServers([server.address]), hosts });
    const look = (name: string) => dig(hostSide.address, name, "A", "+short");
    expect(await look("host.docker.internal")).toBe(HOST);
    expect(await dig(hostSide.address, "missing.docker.internal", "A")).toContain("status: NXDOMAIN");
    expect(await look("file.test")).toBe("192.0.2.99");
    expect(await look("local.test")).toBe(HOST);
    expect(await look("other.test")).toBe("192.0.2.1");
    expect(await server.queries()).toEqual(["other.test A"]);
  });

  test("answer within about a second beside one that drops everything, which is soon not asked first", async () => {
    const [good, silent] = [await goodServer(), await silentServer()];
    const hostSide = await startHostSide({ source: fixedServers([silent.address, good.address]) });
    for (const name of ["a.one.test", "b.one.test"]) {
      const { addresses, elapsed } = await timed(hostSide.address, name);
      expect(addresses).toEqual([ADDRESS]);
      expect(elapsed).toBeLessThan(1500);
    }
    const { length } = silent.received;
    for (const name of ["c.one.test", "d.one.test", "e.one.test"]) {
      const { addresses, elapsed } = await timed(hostSide.address, name);
      expect(addresses).toEqual([ADDRESS]);
      expect(elapsed).toBeLessThan(200);
    }
    expect(silent.received).toHaveLength(length);
    expect(hostSide.forwarder.report()[0].servers.map(({ state }) => state)).toEqual(["dead", "alive"]);
  });

  describe("of which the first hangs", () => {
    const start = async () => {
      const [first, second] = [await goodServer(), await goodServer()];
      const hostSide = await startHostSide({ source: fixedServers([first.address, second.address]) });
      first.suspend();
      await timed(hostSide.address, "a.one.test");
      await timed(hostSide.address, "b.one.test");
      expect(hostSide.forwarder.report()[0].servers[0]).toMatchObject({ state: "dead", answers: 0 });
      return { first, second, hostSide };
    };

    test("keep answering at once while it is tried again", async () => {
      const { first, hostSide } = await start();
      const since = performance.now();
      // It rests for five seconds.
      for (let count = 0; performance.now() - since < 6000; count++) {
        const { addresses, elapsed } = await timed(hostSide.address, `n${count}.one.test`);
        expect(addresses).toEqual([ADDRESS]);
        expect(elapsed).toBeLessThan(300);
        await setTimeout(50);
      }
      first.resume();
      expect((await first.queries()).some((query) => /^n\d+\.one\.test A$/.test(query))).toBe(true);
    });

    test("are asked in their order again some time after it is back", async () => {
      const { first, second, hostSide } = await start();
      first.resume();
      const since = performance.now();
      for (let count = 0; ; count++) {
        const name = `n${count}.one.test`;
        expect(await timed(hostSide.address, name)).toMatchObject({ addresses: [ADDRESS] });
        if ((await second.countOf(name)) === 0 && (await first.countOf(name)) === 1) break;
        expect(performance.now() - since, "milliseconds since the first server is back").toBeLessThan(10_000);
        await setTimeout(100);
      }
    });
  });

  test("are believed, and the one that lies about the id is not", async () => {
    const good = await goodServer();
    const liar = await udpServer(async ({ message, reply }) => {
      const answer = await askUdp(good.address, message);
      if (decoded(answer).answers?.length === 0) return;
      const id = Buffer.from(message).readUInt16BE();
      // The neighbours of the id, and the one that the client itself may have used.
      for (const wrong of [id ^ 1, (id + 1) & 0xffff, (id - 1) & 0xffff, 0x1234 === id ? 0 : 0x1234]) {
        reply(forged(answer, wrong));
      }
      if (decoded(message).questions?.[0].name.startsWith("later-true")) reply(answer);
    });
    const alone = await startHostSide({ source: fixedServers([liar.address]), cache: CACHE });
    const beside = await startHostSide({ source: fixedServers([liar.address, good.address]), cache: CACHE });
    expect(await timed(alone.address, "later-true.one.test")).toMatchObject({ rcode: 0, addresses: [ADDRESS] });
    const [lied, helped] = await Promise.all([
      timed(alone.address, "www.one.test"),
      timed(beside.address, "www.one.test"),
    ]);
    expect(lied).toMatchObject({ rcode: SERVFAIL, addresses: [] });
    expect(lied.elapsed).toBeLessThan(5000);
    expect(helped).toMatchObject({ rcode: 0, addresses: [ADDRESS] });
    expect(helped.elapsed).toBeLessThan(1500);
    // A lie is not kept either.
    expect(await timed(beside.address, "www.one.test")).toMatchObject({ rcode: 0, addresses: [ADDRESS] });
  });

  test.each([1500, 3000])("that answer after %d ms are heard", async (delay) => {
    const good = await goodServer();
    const late = await lateServer(good, delay);
    const alone = await startHostSide({ source: fixedServers([late.address]) });
    const beside = await startHostSide({ source: fixedServers([late.address, good.address]) });
    const [heard, helped] = await Promise.all([
      timed(alone.address, "a.one.test"),
      timed(beside.address, "b.one.test"),
    ]);
    expect(heard).toMatchObject({ rcode: 0, addresses: [ADDRESS] });
    expect(heard.elapsed).toBeGreaterThan(delay - 10);
    expect(heard.elapsed).toBeLessThan(delay + 500);
    // Nobody waits for it who has another one.
    expect(helped).toMatchObject({ rcode: 0, addresses: [ADDRESS] });
    expect(helped.elapsed).toBeLessThan(1500);
    // What it has said in the meantime is the answer to nothing any more.
    const afterwards = await timed(beside.address, "c.one.test");
    expect(afterwards).toMatchObject({ rcode: 0, addresses: [ADDRESS] });
    expect(afterwards.elapsed).toBeLessThan(1500);
  });

  test("that are all dead give SERVFAIL within five seconds, over UDP and TCP", async () => {
    const good = await goodServer();
    const silent = [await silentServer(), await silentServer()];
    good.suspend();
    const servers = [...silent.map(({ address }) => address), good.address];
    const hostSide = await startHostSide({ source: fixedServers(servers) });
    const began = performance.now();
    const [plain, withEdns, overTcp] = await Promise.all([
      askUdp(hostSide.address, encodeQuery("a.one.test", "A")),
      askUdp(hostSide.address, encodeQuery("b.one.test", "A", { udpSize: 1232, dnssecOk: true })),
      askTcp(hostSide.address, encodeQuery("c.one.test", "A", { udpSize: 1232 })),
    ]);
    expect(performance.now() - began).toBeLessThan(5000);
    expect(decoded(plain)).toMatchObject({ rcode: SERVFAIL, flag_ra: true, answers: [], additionals: [] });
    expect(decoded(withEdns)).toMatchObject({ rcode: SERVFAIL, additionals: [{ type: "OPT", flag_do: true }] });
    expect(decoded(overTcp)).toMatchObject({ rcode: SERVFAIL, additionals: [{ type: "OPT" }] });
    for (const each of silent) expect(askedFor(each, "one.test")).toBeGreaterThan(0);
    // Dead servers are asked all the same where there are no others.
    good.resume();
    expect(await timed(hostSide.address, "d.one.test")).toMatchObject({ rcode: 0, addresses: [ADDRESS] });
  });

  describe("that say SERVFAIL", () => {
    /** Signed by a key that is not the one that is trusted. */
    const bogusServer = async () => {
      const [zone, other] = [signZone("one.test", [`www A ${ADDRESS}`]), signZone("one.test", [])];
      return unbound({ zones: [{ ...zone, as: "resolver" }], trustAnchors: [other.key] });
    };

    test("are quoted when there is no other one", async () => {
      const server = await bogusServer();
      const hostSide = await startHostSide({ source: fixedServers([server.address]), cache: CACHE });
      const plain = encodeQuery("www.one.test", "A");
      const withEdns = encodeQuery("www.one.test", "A", { udpSize: 1232, dnssecOk: true });
      for (const query of [plain, withEdns]) {
        const direct = Buffer.from(await askUdp(server.address, withId(query, 1)));
        const through = Buffer.from(await askUdp(hostSide.address, withId(query, 2)));
        expect(decoded(through)).toMatchObject({ id: 2, rcode: SERVFAIL });
        expect(through.subarray(2).toString("hex")).toBe(direct.subarray(2).toString("hex"));
      }
      // The reason is an EDNS option (RFC 8914).
      expect(await dig(hostSide.address, "www.one.test", "A")).toMatch(
        /EDE: (6 \(DNSSEC Bogus\)|9 \(DNSKEY Missing\))/,
      );
    });

    test("are passed over for one that knows", async () => {
      const [server, good] = [await bogusServer(), await goodServer()];
      const hostSide = await startHostSide({ source: fixedServers([server.address, good.address]) });
      for (const count of [1, 2, 3]) {
        const answer = await timed(hostSide.address, "www.one.test");
        expect(answer).toMatchObject({ rcode: 0, addresses: [ADDRESS] });
        expect(answer.elapsed).toBeLessThan(1500);
        expect(await good.countOf("www.one.test")).toBe(count);
      }
    });
  });

  test("that ask us in turn are found out, and not asked any more", async () => {
    let policy: Policy = { routes: new RouteTable([]), search: [] };
    const hostSide = await startHostSide({ source: { current: () => policy } });
    const server = await unbound({ forward: { domain: "internal", server: hostSide.address } });
    const set = { servers: [server.address], serverTimeout: null, attempts: null };
    policy = { routes: new RouteTable([{ domain: "", set, from: "a test" }]), search: [] };
    const first = await timed(hostSide.address, "www.corp.internal");
    expect(first).toMatchObject({ rcode: SERVFAIL, addresses: [] });
    expect(first.elapsed).toBeLessThan(5000);
    expect(hostSide.forwarder.routeOf(["www", "corp", "internal"])?.set.servers).toEqual([]);
    const { queries } = hostSide.server.statistics;
    const second = await timed(hostSide.address, "other.corp.internal");
    expect(second).toMatchObject({ rcode: SERVFAIL, addresses: [] });
    expect(second.elapsed).toBeLessThan(200);
    expect(await server.countOf("other.corp.internal")).toBe(0);
    // A loop would have gone round many times by now.
    expect(queries).toBeLessThan(20);
  });

  test("that ask in vain take no longer than others to be passed over, or given up", async () => {
    const [gone, good] = [await dnsmasq([]), await goodServer()];
    await gone.stop();
    const server = await unbound({ forward: { domain: "one.test", server: gone.address } });
    const alone = await startHostSide({ source: fixedServers([server.address]) });
    const beside = await startHostSide({ source: fixedServers([server.address, good.address]) });
    const [failed, helped] = await Promise.all([
      timed(alone.address, "www.one.test"),
      timed(beside.address, "www.one.test"),
    ]);
    expect(failed).toMatchObject({ rcode: SERVFAIL, addresses: [] });
    expect(failed.elapsed).toBeLessThan(5000);
    expect(helped).toMatchObject({ rcode: 0, addresses: [ADDRESS] });
    expect(helped.elapsed).toBeLessThan(1500);
  });
});
