/** hostd's HTTP proxy while a guest downloads and the proxies behind it are replaced, moved, ended and started again. */
import { createHash, randomBytes } from "node:crypto";
import { renameSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from "vitest";
import { ensureProxies, ensureProxyClients } from "../vm/host-packages.ts";
import { INSIDE_WEB, WEB } from "./company.ts";
import type { Download } from "./download-clients.ts";
import { ProxiedGuest } from "./proxied-guest.ts";
import { PROXY_URL } from "./proxy-clients.ts";
import { tapGuestsAreAvailable } from "./tap-guest.ts";
import {
  type Account,
  startDante,
  startMicrosocks,
  startSquid,
  startTinyproxy,
  type UpstreamProxy,
} from "./upstream-proxies.ts";

const lack = ensureProxyClients() ?? ensureProxies() ?? (tapGuestsAreAvailable() ? undefined : "no TAP guests here");
const CLIENT_PROGRAM = join(import.meta.dirname, "download-clients.ts");
const ACCOUNT: Account = { user: "worker", password: "s3cret:of/company+%" };
const CLIENTS = 50;
const SIZE = 600_000;
/** Of a client, in bytes a second. */
const RATE = 600_000;
/** How long things are left as they are, in milliseconds: some downloads begin and end in that time. */
const PHASE = 2000;
/** In which a change has to hold for what begins then, in milliseconds. */
const PROMPT = 1000;

/** From the beginning of a download until its route is chosen at the latest, in milliseconds. */
const SETTLED = 300;
/** The most faults that a failed test shows. */
const SHOWN = 5;

/** A time in which downloads may be lost: a route that was used was dead. */
interface Outage {
  /** The address as which the web server saw those that took it. */
  readonly from: string;
  readonly began: number;
  readonly ended: number;
}

describe.skipIf(lack !== undefined)("while 50 clients download,", () => {
  let rig: ProxiedGuest;
  let hash: string;
  let port = 3128;
  let downloads: Downloads;
  const started: UpstreamProxy[] = [];

  /** The downloads of a guest. */
  class Downloads {
    readonly results: Download[] = [];
    readonly #end: () => Promise<unknown>;

    constructor() {
      const words = [process.execPath, CLIENT_PROGRAM, String(CLIENTS), String(RATE), "file.bin"];
      const child = rig.guest.spawn("env", [
        `NODE_EXTRA_CA_CERTS=${rig.company.caPath}`,
        ...words,
        PROXY_URL,
        INSIDE_WEB,
        WEB,
      ]);
      let errors = "";
      child.stderr.setEncoding("utf8").on("data", (text: string) => (errors += text));
      const ended = new Promise<void>((resolve, reject) => {
        child.once("close", (status) => {
          if (status === 0) resolve();
          else reject(new Error(`the clients ended with ${status}: ${errors}`));
        });
      });
      createInterface(child.stdout).on("line", (line) => this.results.push(JSON.parse(line) as Download));
      this.#end = () => {
        child.stdin.end();
        return ended;
      };
    }

    /** Has the clients finish what they have begun. */
    async end(): Promise<void> {
      await this.#end();
    }

    /** Those that began in a time and of which it is known how they went. */
    begun(since: number, until: number): Download[] {
      return this.results.filter(({ began, from }) => began >= since && began < until && from !== null);
    }

    /** The first of those that were lost or came as something else, where no outage excuses it. */
    faults(outages: readonly Outage[] = []): Download[] {
      const faults = this.results.filter(({ hash: got, from, began, ended }) => {
        if (got === hash) return false;
        // What comes whole has to be right.
        if (got !== null) return true;
        return !outages.some((outage) => {
          return (from === null || from === outage.from) && began <= outage.ended && ended >= outage.began;
        });
      });
      return faults.slice(0, SHOWN);
    }
  }

  beforeAll(async () => {
    rig = await ProxiedGuest.open("proxy-changes");
    const content = randomBytes(SIZE);
    hash = createHash("sha256").update(content).digest("hex");
    writeFileSync(join(rig.company.web, "file.bin"), content);
  });

  afterEach(async () => {
    for (const proxy of started.splice(0)) await proxy.kill();
  });

  afterAll(() => rig?.close());

  async function start(kind: typeof startSquid, account?: Account): Promise<UpstreamProxy> {
    const proxy = await kind(rig.company, { port: port++, ...(account === undefined ? {} : { account }) });
    started.push(proxy);
    return proxy;
  }

  /** Has the clients begin once hostd takes a proxy. */
  async function begin(upstream: string): Promise<void> {
    await rig.use({ upstream });
    downloads = new Downloads();
    await vi.waitUntil(() => downloads.results.length >= CLIENTS, { timeout: 20_000, interval: 50 });
  }

  /**
   * Makes a change, and leaves it for a while.
   *
   * @returns expects, once the clients have ended, that the change held in time.
   */
  async function change(
    name: string,
    make: () => Promise<unknown>,
    from: string,
    prompt = PROMPT,
  ): Promise<() => void> {
    await make();
    const changed = Date.now();
    await sleep(prompt - PROMPT + PHASE);
    const left = Date.now();
    return () => {
      const all = downloads.begun(changed, left - SETTLED);
      const taken = all.filter((download) => download.from === from);
      const took = Math.min(...taken.map(({ began }) => began)) - changed;
      process.stderr.write(`tap: ${name}: the first download by the new route began ${took} ms after the change\n`);
      expect(took, name).toBeLessThan(prompt);
      const late = all.filter(({ began }) => began >= changed + prompt);
      expect(late.length, name).toBeGreaterThan(10);
      expect(late.filter((download) => download.from !== from).slice(0, SHOWN), name).toEqual([]);
    };
  }

  it("no transfer is lost when a proxy is replaced by one of any other kind", async () => {
    const first = await start(startSquid);
    const kinds = [
      ["tinyproxy", "http", await start(startTinyproxy)],
      ["dante", "socks5h", await start(startDante, ACCOUNT), ACCOUNT],
      ["microsocks", "socks5h", await start(startMicrosocks)],
      ["squid by TLS", "https", await start((company, options) => startSquid(company, { ...options, isTls: true }))],
    ] as const;
    await begin(first.url("http"));
    const checks = [];
    for (const [name, scheme, proxy, account] of kinds) {
      checks.push(await change(name, () => rig.set(proxy.url(scheme, account)), proxy.from));
    }
    checks.push(await change("that of the configuration", () => rig.set(null), first.from));
    await downloads.end();
    expect(downloads.faults()).toEqual([]);
    for (const check of checks) check();
  });

  it("a proxy that moves or dies loses nothing but its own transfers", async () => {
    const old = await start(startSquid);
    await begin(old.url("http"));
    const moved = await start(startSquid);
    const checks = [await change("moved", () => rig.use({ upstream: moved.url("http") }), moved.from)];
    // What has begun by the old one is still on its way.
    const outages: Outage[] = [];
    const die = async (proxy: UpstreamProxy, then: () => Promise<unknown>) => {
      const began = Date.now();
      await proxy.kill();
      await then();
      outages.push({ from: proxy.from, began, ended: Date.now() });
    };
    await die(old, async () => {});
    const next = await start(startTinyproxy);
    const replace = () => die(moved, () => rig.use({ upstream: next.url("http") }));
    checks.push(await change("died", replace, next.from));
    // The first one is started again.
    await old.begin();
    checks.push(await change("started again", () => rig.use({ upstream: old.url("http") }), old.from));
    await downloads.end();
    expect(downloads.faults(outages)).toEqual([]);
    for (const check of checks) check();
  });

  it("the second proxy of a list takes over as soon as the first one dies, until that is back", async () => {
    const first = await start(startSquid);
    const second = await start(startTinyproxy);
    await begin(`${first.url("http")},${second.url("http")}`);
    const outages: Outage[] = [];
    const die = async () => {
      const began = Date.now();
      await first.kill();
      outages.push({ from: first.from, began, ended: Date.now() });
    };
    const checks = [await change("fail-over", die, second.from)];
    // It is tried again 1 s after it failed, then 2 s, then 4 s.
    checks.push(await change("back", () => first.begin(), first.from, 5000));
    await downloads.end();
    expect(downloads.faults(outages)).toEqual([]);
    for (const check of checks) check();
  });

  const script = (proxy: UpstreamProxy, kind = "PROXY") =>
    `function FindProxyForURL(url, host) { return "${kind} ${new URL(proxy.url("http")).host}"; }`;

  it("a PAC file of this host is followed", async () => {
    const [one, other] = [await start(startSquid), await start(startMicrosocks)];
    const file = rig.write("proxy.pac", script(one));
    await begin(`pac+file://${file}`);
    const replace = async () => renameSync(rig.write("new.pac", script(other, "SOCKS5")), file);
    // The file is looked at every 2 s.
    const check = await change("PAC file", replace, other.from, 4000);
    await downloads.end();
    expect(downloads.faults()).toEqual([]);
    check();
  });

  it("a PAC script that a server has is asked for anew when it is set anew", async () => {
    const [one, other] = [await start(startTinyproxy), await start(startSquid)];
    let answer = script(one);
    const server = createServer((_request, response) => {
      response.setHeader("content-type", "application/x-ns-proxy-autoconfig");
      response.end(answer);
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    try {
      const url = `pac+http://127.0.0.1:${(server.address() as AddressInfo).port}/proxy.pac`;
      await begin(url);
      answer = script(other);
      const set = async () => {
        await rig.use({ upstream: other.url("http") });
        await rig.use({ upstream: url });
      };
      const check = await change("PAC server", set, other.from);
      await downloads.end();
      expect(downloads.faults()).toEqual([]);
      check();
    } finally {
      server.close();
    }
  });

  it("vpnkit's file is followed", async () => {
    const [one, other] = [await start(startTinyproxy), await start(startSquid)];
    const proxies = (proxy: UpstreamProxy) => JSON.stringify({ http: proxy.url("http"), https: proxy.url("http") });
    const file = rig.write("proxies.json", proxies(one));
    await rig.use({ vpnkitFile: file });
    downloads = new Downloads();
    await vi.waitUntil(() => downloads.results.length >= CLIENTS, { timeout: 20_000, interval: 50 });
    const replace = async () => renameSync(rig.write("new.json", proxies(other)), file);
    // The file is looked at every second.
    const check = await change("vpnkit's file", replace, other.from, 2000);
    await downloads.end();
    expect(downloads.faults()).toEqual([]);
    check();
  });
});
