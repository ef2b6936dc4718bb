import { renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout } from "node:timers/promises";
import {
  fixedServers,
  type Policy,
  type PolicySource,
  ResolvConfFile,
  RouteTable,
  type ServerAddress,
} from "@hostd/dns";
import { describe, expect, test } from "vitest";
import { dataOf, decoded } from "../../packages/dns/src/testing/messages.ts";
import { ensureNameServers } from "../vm/host-packages.ts";
import { askUdp, dig, encodeQuery } from "./support/dns-client.ts";
import { CACHE, type HostSide, startHostSide } from "./support/dns-host-side.ts";
import { type NameServerProcess, unbound, zoneText } from "./support/name-servers.ts";

const missing = ensureNameServers();

const OLD = "192.0.2.1";
const NEW = "192.0.2.2";

/** A server that gives every name of `load.test` this address. */
const serverOf = (address: string) =>
  unbound({ zones: [{ name: "load.test", as: "authority", text: zoneText("load.test", [`* A ${address}`]) }] });

/** What a resolv.conf says, with the port that each of its servers has here: the file itself has no ports. */
class WithPorts implements PolicySource {
  readonly #source: PolicySource;
  readonly #servers: ReadonlyMap<string, ServerAddress>;
  #underlying: Policy | null = null;
  #policy: Policy = { routes: new RouteTable([]), search: [] };

  constructor(source: PolicySource, servers: ReadonlyMap<string, ServerAddress>) {
    this.#source = source;
    this.#servers = servers;
  }

  recheck(): void {
    this.#source.recheck?.();
  }

  current(): Policy {
    const underlying = this.#source.current();
    if (underlying === this.#underlying) return this.#policy;
    this.#underlying = underlying;
    const routes = underlying.routes.routes.map((route) => {
      const servers = route.set.servers.map((server) => this.#servers.get(server.address) ?? server);
      return { ...route, set: { ...route.set, servers } };
    });
    this.#policy = { routes: new RouteTable(routes), search: underlying.search };
    return this.#policy;
  }
}

/** A host side that follows a resolv.conf. */
async function followingFile(old: NameServerProcess, next: NameServerProcess, cached: boolean) {
  const path = join(old.folder, "resolv.conf");
  writeFileSync(path, "search old.test\nnameserver 127.0.0.1\n");
  const servers = new Map([
    ["127.0.0.1", old.address],
    ["127.0.0.2", next.address],
  ]);
  const source = new WithPorts(new ResolvConfFile({ path }), servers);
  const hostSide = await startHostSide({ source, ...(cached ? { cache: CACHE } : {}) });
  const replace = (text = "search new.test\nnameserver 127.0.0.2\n") => {
    writeFileSync(`${path}.new`, text);
    renameSync(`${path}.new`, path);
  };
  return { hostSide, source, replace };
}

/** One query of a load. Times are in milliseconds. */
interface Asked {
  readonly sentAt: number;
  readonly answeredAt: number;
  readonly rcode: number;
  readonly address: unknown;
}

/** Asks for a new name so many times per second, for so long. Rejects when a query gets no answer. */
async function load(server: ServerAddress, perSecond: number, duration: number): Promise<Asked[]> {
  const began = performance.now();
  const asked: Promise<Asked>[] = [];
  const ask = async (name: string): Promise<Asked> => {
    const sentAt = performance.now();
    const { rcode, answers } = decoded(await askUdp(server, encodeQuery(name, "A")));
    return { sentAt, answeredAt: performance.now(), rcode, address: dataOf(answers, "A")[0] };
  };
  for (let elapsed = 0; elapsed < duration; elapsed = performance.now() - began) {
    const due = Math.floor((elapsed * perSecond) / 1000);
    while (asked.length < due) asked.push(ask(`n${asked.length}.load.test`));
    await setTimeout(5);
  }
  return Promise.all(asked);
}

/** Asks over UDP and reads the answer. */
async function look(hostSide: HostSide, name: string, type: "A" | "MX" = "A") {
  const began = performance.now();
  const { rcode, answers, authorities, flag_aa } = decoded(await askUdp(hostSide.address, encodeQuery(name, type)));
  const ttls = [...(answers ?? []), ...(authorities ?? [])].map((record) => ("ttl" in record ? record.ttl : null));
  const elapsed = performance.now() - began;
  return { rcode, data: dataOf(answers, type), soa: dataOf(authorities, "SOA"), ttls, flag_aa, elapsed };
}

describe.skipIf(missing !== undefined)(`changes among real name servers (${missing ?? "all are there"})`, () => {
  describe("resolv.conf replaced by rename under load is followed within two seconds, and no query is lost", () => {
    const RATE = 200;
    const BEFORE = 1200;
    const AFTER = 2600;

    test.each([
      { state: "goes on answering", leave: () => {} },
      { state: "says nothing any more", leave: (old: NameServerProcess) => old.suspend() },
      { state: "has ended", leave: (old: NameServerProcess) => old.stop() },
    ])("when the old server $state", async ({ leave }) => {
      const [old, next] = [await serverOf(OLD), await serverOf(NEW)];
      const { hostSide, source, replace } = await followingFile(old, next, true);
      const running = load(hostSide.address, RATE, BEFORE + AFTER);
      await setTimeout(BEFORE);
      replace();
      const replacedAt = performance.now();
      await leave(old);
      const asked = await running;
      expect(asked.length).toBeGreaterThan((RATE * (BEFORE + AFTER)) / 1000 - RATE / 10);
      const lost = asked.filter(({ rcode, address }) => rcode !== 0 || (address !== OLD && address !== NEW));
      expect(lost.map(({ answeredAt, rcode }) => ({ after: answeredAt - replacedAt, rcode }))).toEqual([]);
      const before = asked.filter(({ answeredAt }) => answeredAt < replacedAt);
      const later = asked.filter(({ answeredAt }) => answeredAt > replacedAt + 2000);
      expect(new Set(before.map(({ address }) => address))).toEqual(new Set([OLD]));
      expect(new Set(later.map(({ address }) => address))).toEqual(new Set([NEW]));
      // Those that were on their way are not late either.
      expect(Math.max(...asked.map(({ sentAt, answeredAt }) => answeredAt - sentAt))).toBeLessThan(2000);
      expect(source.current().search).toEqual(["new.test"]);
      expect(await dig(hostSide.address, "last.load.test", "A", "+short")).toBe(NEW);
    });

    test("when it names no server for a while, as between two networks", async () => {
      const [old, next] = [await serverOf(OLD), await serverOf(NEW)];
      const { hostSide, replace } = await followingFile(old, next, true);
      const running = load(hostSide.address, RATE, BEFORE + AFTER);
      await setTimeout(BEFORE);
      replace("# nobody\n");
      await setTimeout(1500);
      replace();
      const replacedAt = performance.now();
      const lost = (await running).filter(({ rcode, address }) => rcode !== 0 || (address !== OLD && address !== NEW));
      expect(lost.map(({ answeredAt, rcode }) => ({ after: answeredAt - replacedAt, rcode }))).toEqual([]);
    });

    test("and what was kept before is forgotten", async () => {
      const [old, next] = [await serverOf(OLD), await serverOf(NEW)];
      const { hostSide, replace } = await followingFile(old, next, true);
      expect(await look(hostSide, "same.load.test")).toMatchObject({ data: [OLD] });
      expect(await look(hostSide, "same.load.test")).toMatchObject({ data: [OLD] });
      expect(await old.countOf("same.load.test")).toBe(1);
      replace();
      const replacedAt = performance.now();
      while ((await look(hostSide, "same.load.test")).data[0] === OLD) {
        expect(performance.now() - replacedAt).toBeLessThan(2000);
        await setTimeout(20);
      }
      expect(await look(hostSide, "same.load.test")).toMatchObject({ data: [NEW] });
      expect(await next.countOf("same.load.test")).toBe(1);
    });
  });

  test.each([
    { state: "says nothing any more", leave: (server: NameServerProcess) => server.suspend() },
    { state: "has ended", leave: (server: NameServerProcess) => server.stop() },
  ])("no query of a load is lost when the first of two servers $state", async ({ leave }) => {
    const [first, second] = [await serverOf(OLD), await serverOf(NEW)];
    const hostSide = await startHostSide({ source: fixedServers([first.address, second.address]), cache: CACHE });
    const running = load(hostSide.address, 200, 3500);
    await setTimeout(1000);
    await leave(first);
    const leftAt = performance.now();
    const asked = await running;
    expect(asked.filter(({ rcode }) => rcode !== 0)).toEqual([]);
    const took = ({ sentAt, answeredAt }: Asked) => answeredAt - sentAt;
    expect(Math.max(...asked.map(took))).toBeLessThan(1500);
    const later = asked.filter(({ sentAt }) => sentAt > leftAt + 1500);
    expect(new Set(later.map(({ address }) => address))).toEqual(new Set([NEW]));
    expect(Math.max(...later.map(took))).toBeLessThan(200);
  });

  test.each([
    { what: "a name does not exist", name: "missing.one.test", type: "A", rcode: 3 },
    { what: "a name has no such data", name: "www.one.test", type: "MX", rcode: 0 },
  ] as const)("that $what is asked once for as long as its SOA says", async ({ name, type, rcode }) => {
    const text = zoneText("one.test", ["www A 192.0.2.1"]);
    const server = await unbound({ zones: [{ name: "one.test", as: "authority", text }] });
    const hostSide = await startHostSide({ source: fixedServers([server.address]), cache: CACHE });
    const negative = { rcode, data: [], soa: [{ mname: "ns.one.test", minimum: 60 }] };
    expect(await look(hostSide, name, type)).toMatchObject({ ...negative, ttls: [60], flag_aa: true });
    hostSide.advance(20_000);
    expect(await look(hostSide, name, type)).toMatchObject({ ...negative, ttls: [40], flag_aa: false });
    expect(await look(hostSide, name.toUpperCase(), type)).toMatchObject({ rcode, data: [], ttls: [40] });
    hostSide.advance(39_000);
    expect(await look(hostSide, name, type)).toMatchObject({ ...negative, ttls: [1] });
    expect(await server.countOf(name)).toBe(1);
    // A different type of a name that exists is a different question.
    expect(await look(hostSide, "www.one.test")).toMatchObject({ rcode: 0, data: ["192.0.2.1"] });
    hostSide.advance(1500);
    expect(await look(hostSide, name, type)).toMatchObject({ ...negative, ttls: [60], flag_aa: true });
    expect((await server.queries()).filter((query) => query === `${name} ${type}`)).toHaveLength(2);
  });

  test("that many ask at the same time is asked once", async () => {
    const server = await serverOf(OLD);
    const hostSide = await startHostSide({ source: fixedServers([server.address]), cache: CACHE });
    server.suspend();
    const asked = Array.from({ length: 50 }, () => look(hostSide, "same.load.test"));
    while (hostSide.server.statistics.queries < 50) await setTimeout(5);
    server.resume();
    for (const answer of await Promise.all(asked)) expect(answer).toMatchObject({ rcode: 0, data: [OLD] });
    expect(await server.countOf("same.load.test")).toBe(1);
  });

  describe("an answer that has outlived its time", () => {
    const shortLived = (address: string) => zoneText("one.test", [`www 1 A ${address}`]);
    const start = async () => {
      const server = await unbound({ zones: [{ name: "one.test", as: "authority", text: shortLived(OLD) }] });
      const hostSide = await startHostSide({ source: fixedServers([server.address]), cache: CACHE });
      expect(await look(hostSide, "www.one.test")).toMatchObject({ data: [OLD], ttls: [1] });
      return { server, hostSide };
    };

    test.each([
      { state: "has ended", leave: (server: NameServerProcess) => server.stop() },
      { state: "says nothing", leave: (server: NameServerProcess) => server.suspend() },
    ])("is given while the server $state, and a fresh one when it is back", async ({ leave }) => {
      const { server, hostSide } = await start();
      await leave(server);
      await setTimeout(1100);
      const stale = await look(hostSide, "www.one.test");
      expect(stale).toMatchObject({ rcode: 0, data: [OLD], ttls: [30] });
      expect(stale.elapsed).toBeLessThan(2500);
      expect(hostSide.resolver.cache.statistics.stale).toBe(1);
      // A name that was not kept has no such answer.
      expect(await look(hostSide, "other.one.test")).toMatchObject({ rcode: 2, data: [] });
      // Now that it is known that nobody answers, nobody waits for that.
      const again = await look(hostSide, "www.one.test");
      expect(again).toMatchObject({ rcode: 0, data: [OLD], ttls: [30] });
      expect(again.elapsed).toBeLessThan(200);
      await server.stop();
      writeFileSync(join(server.folder, "one.test.zone"), shortLived(NEW));
      await server.start();
      // The server is tried again after half a minute (RFC 8767, section 5).
      hostSide.advance(31_000);
      expect(await look(hostSide, "www.one.test")).toMatchObject({ rcode: 0, data: [NEW], ttls: [1] });
    });

    test("is given for a bounded time", async () => {
      const { server, hostSide } = await start();
      await server.stop();
      hostSide.advance(CACHE.staleTime - 10_000);
      expect(await look(hostSide, "www.one.test")).toMatchObject({ rcode: 0, data: [OLD], ttls: [30] });
      hostSide.advance(31_000);
      expect(await look(hostSide, "www.one.test")).toMatchObject({ rcode: 2, data: [] });
    });
  });
});
