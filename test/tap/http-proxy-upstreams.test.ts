/** hostd's HTTP proxy with each of several real proxies behind it. */
import { createHash, randomBytes } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { askDaemon } from "../integration/support/control.ts";
import { ensureProxies, ensureProxyClients } from "../vm/host-packages.ts";
import { type Company, OPEN_WEB, WEB } from "./company.ts";
import { ProxiedGuest } from "./proxied-guest.ts";
import { PROXY_URL } from "./proxy-clients.ts";
import { tapGuestsAreAvailable } from "./tap-guest.ts";
import {
  type Account,
  type ProxyOptions,
  startDante,
  startMicrosocks,
  startSquid,
  startTinyproxy,
  type UpstreamProxy,
} from "./upstream-proxies.ts";

const lack = ensureProxyClients() ?? ensureProxies() ?? (tapGuestsAreAvailable() ? undefined : "no TAP guests here");
/** Both in a URL and in a header, it has to be written otherwise. */
const ACCOUNT: Account = { user: "worker", password: "s3cret:of/company+%" };
/** Tinyproxy takes no more than these characters. */
const PLAIN_ACCOUNT: Account = { user: "worker", password: "correct-horse.battery_staple" };
const WRONG = "wrong-guess";
const SIZE = 1_000_000;
type Start = (company: Company, options: ProxyOptions) => Promise<UpstreamProxy>;

const startTlsSquid: Start = (company, options) => startSquid(company, { ...options, isTls: true });

/** The proxies, as hostd is told of them. */
const KINDS: readonly { name: string; scheme: string; start: Start; account?: Account }[] = [
  { name: "squid", scheme: "http", start: startSquid },
  { name: "squid with Basic authentication", scheme: "http", start: startSquid, account: ACCOUNT },
  { name: "squid by TLS", scheme: "https", start: startTlsSquid },
  { name: "squid by TLS with Basic authentication", scheme: "https", start: startTlsSquid, account: ACCOUNT },
  { name: "tinyproxy", scheme: "http", start: startTinyproxy },
  { name: "tinyproxy with Basic authentication", scheme: "http", start: startTinyproxy, account: PLAIN_ACCOUNT },
  { name: "dante", scheme: "socks5", start: startDante },
  { name: "dante with a password", scheme: "socks5", start: startDante, account: ACCOUNT },
  { name: "dante, which resolves names, with a password", scheme: "socks5h", start: startDante, account: ACCOUNT },
  { name: "microsocks", scheme: "socks5h", start: startMicrosocks },
  { name: "microsocks with a password", scheme: "socks5h", start: startMicrosocks, account: ACCOUNT },
];

/** What curl got. */
interface Fetched {
  /** That of curl. */
  readonly exit: number;
  /** That of the answer, or of the answer to CONNECT if there was none. */
  readonly status: number;
  readonly body: string;
  /** The address as which the web server has seen the request. */
  readonly from: string;
}

describe.skipIf(lack !== undefined)("a company's proxies", () => {
  let rig: ProxiedGuest;
  let hash: string;
  let port = 3128;
  const started: UpstreamProxy[] = [];
  /** What was seen in the guest. */
  let seen = "";

  beforeAll(async () => {
    rig = await ProxiedGuest.open("upstreams");
    const content = randomBytes(SIZE);
    hash = createHash("sha256").update(content).digest("hex");
    writeFileSync(join(rig.company.web, "file.bin"), content);
  });

  afterEach(async () => {
    for (const proxy of started) await proxy.kill();
  });

  afterAll(() => rig?.close());

  /** Starts a proxy at a port that none has had. */
  async function start(kind: Start, account?: Account): Promise<UpstreamProxy> {
    const proxy = await kind(rig.company, { port: port++, ...(account === undefined ? {} : { account }) });
    started.push(proxy);
    return proxy;
  }

  /** Fetches the file in the guest, through the proxy that it is told of, or without knowing of one. */
  async function fetch(url: string, proxy: string | null): Promise<Fetched> {
    const work = mkdtempSync(join(tmpdir(), "hostd-client-"));
    try {
      const how = ["--cacert", rig.company.caPath, ...(proxy === null ? [] : ["--proxy", proxy]), "--max-time", "20"];
      const out = ["-D", join(work, "head"), "-o", join(work, "body"), "-w", "'%{http_code} %{http_connect}'"];
      const { status, stdout, stderr } = await rig.guest.exec(`env -i curl -sS ${[...how, ...out, url].join(" ")}`);
      const [code = 0, connect = 0] = stdout.trim().split(" ").map(Number);
      const read = (name: string) => {
        try {
          return readFileSync(join(work, name), "latin1");
        } catch {
          // Nothing has come.
          return "";
        }
      };
      const head = read("head");
      seen += head + stdout + stderr;
      const body = read("body");
      if (code !== 200) seen += body;
      const [, from = ""] = /^x-client: (\S+)/im.exec(head) ?? [];
      return { exit: status, status: code || connect, body, from };
    } finally {
      rmSync(work, { recursive: true, force: true });
    }
  }

  const sum = ({ body }: Fetched) => createHash("sha256").update(body, "latin1").digest("hex");

  /** Every way in which the file can be fetched: told of the proxy, and not. */
  const WAYS = {
    request: { url: `http://${WEB}/file.bin`, proxy: PROXY_URL },
    tunnel: { url: `https://${WEB}/file.bin`, proxy: PROXY_URL },
    untoldRequest: { url: `http://${WEB}/file.bin`, proxy: null },
    untoldTls: { url: `https://${WEB}/file.bin`, proxy: null },
  };

  /** Expects the file in every way, by a proxy that the web server sees at an address. */
  async function expectAll(from: string): Promise<void> {
    for (const { url, proxy } of Object.values(WAYS)) {
      const fetched = await fetch(url, proxy);
      const got = { url, proxy, exit: fetched.exit, from: fetched.from, sum: sum(fetched) };
      expect(got).toEqual({ url, proxy, exit: 0, from, sum: hash });
    }
  }

  it.each(KINDS)("$name takes requests and tunnels, and what was not meant for a proxy", async (kind) => {
    const proxy = await start(kind.start, kind.account);
    await rig.use({ upstream: proxy.url(kind.scheme, kind.account) });
    await expectAll(proxy.from);
  });

  const guarded = KINDS.filter(({ account }) => account !== undefined);

  it.each(guarded)("without its password $name takes nothing, and the client is told why", async (kind) => {
    const proxy = await start(kind.start, kind.account);
    await rig.use({ upstream: proxy.url(kind.scheme) });
    await expectRefusal(proxy.url(kind.scheme), "wants credentials");
    await rig.use({ upstream: proxy.url(kind.scheme, { user: "worker", password: WRONG }) });
    // Tinyproxy answers as an origin does whose own password is wrong.
    if (kind.start === startTinyproxy) await expectUnauthorized();
    else await expectRefusal(proxy.url(kind.scheme), "refused the user name and password that it was given");
  });

  /** Expects all to fail with a proxy, and whoever can be told why to be told. */
  async function expectRefusal(proxy: string, reason: string): Promise<void> {
    for (const { url, proxy: told } of [WAYS.request, WAYS.untoldRequest]) {
      const { status, body } = await fetch(url, told);
      expect({ status, body }).toEqual({ status: 407, body: expect.stringContaining(`the proxy ${proxy} ${reason}`) });
    }
    await expectNoTunnel(407);
  }

  async function expectUnauthorized(): Promise<void> {
    for (const { url, proxy: told } of [WAYS.request, WAYS.untoldRequest]) {
      expect(await fetch(url, told)).toMatchObject({ status: 401, body: expect.stringContaining("tinyproxy") });
    }
    await expectNoTunnel(502);
  }

  /** @param status - of what the client is told that asks for a tunnel; whoever begins with TLS can be told nothing. */
  async function expectNoTunnel(status: number): Promise<void> {
    expect(await fetch(WAYS.tunnel.url, WAYS.tunnel.proxy)).toMatchObject({ exit: 56, status });
    expect(await fetch(WAYS.untoldTls.url, WAYS.untoldTls.proxy)).toMatchObject({ exit: 35, status: 0 });
  }

  it("have the password of a file, which only its owner may read, and another one with the next request", async () => {
    const proxy = await start(startSquid, ACCOUNT);
    const write = (password: string, mode?: number) => rig.write("credentials", `${ACCOUNT.user}:${password}\n`, mode);
    const file = write(ACCOUNT.password);
    await rig.use({ upstream: proxy.url("http"), credentials: file });
    await expectAll(proxy.from);
    const ask = async () => {
      const { status, body } = await fetch(WAYS.request.url, WAYS.request.proxy);
      return status === 200 ? "served" : `${status} ${body.trim()}`;
    };
    write(WRONG);
    expect(await ask()).toMatch(/^407 .*refused the user name and password that it was given/);
    write(ACCOUNT.password, 0o644);
    expect(await ask()).toMatch(/^407 .*wants credentials/);
    expect(rig.hostd.log).toContain(`${file}: its mode is 0644`);
    write(ACCOUNT.password);
    expect(await ask()).toBe("served");
  });

  it("are not asked for what is excluded, which is told no password", async () => {
    const proxy = await start(startSquid, ACCOUNT);
    await rig.use({ upstream: proxy.url("http", ACCOUNT), noProxy: OPEN_WEB });
    const { requests, outside } = rig.company;
    const before = requests.length;
    for (const scheme of ["http", "https"]) {
      for (const told of [PROXY_URL, null]) {
        const fetched = await fetch(`${scheme}://${OPEN_WEB}/file.bin`, told);
        expect({ from: fetched.from, sum: sum(fetched) }).toEqual({ from: outside.hostAddress, sum: hash });
      }
    }
    await expect.poll(() => requests.length).toBe(before + 4);
    expect(proxy.requests).not.toContain(OPEN_WEB);
    const fields = requests.slice(before).flatMap(({ headers }) => headers);
    expect(fields.filter((field) => /authorization/i.test(field))).toEqual([]);
  });

  it("have left their passwords nowhere", async () => {
    const reported = await Promise.all(
      ["/v1/config", "/v1/proxy"].map(async (path) => (await askDaemon(rig.api, "GET", path)).body),
    );
    const places = {
      "the log of hostd": rig.hostd.log,
      "what hostd says of its settings": reported.join(""),
      "what the web server was sent": JSON.stringify(rig.company.requests),
      "what the guest was sent": seen,
      "what the proxies have logged": started.map(({ log }) => log).join(""),
    };
    // Each has something to look at.
    for (const [place, text] of Object.entries(places)) expect(text.length, place).toBeGreaterThan(500);
    expect(places["the log of hostd"]).toMatch(/wants credentials|refused the user name and password/);
    for (const { user, password } of [ACCOUNT, PLAIN_ACCOUNT, { user: "worker", password: WRONG }]) {
      const base64 = (text: string) => Buffer.from(text).toString("base64").replace(/=+$/, "");
      const forms = [password, encodeURIComponent(password), base64(`${user}:${password}`), base64(password)];
      for (const [place, text] of Object.entries(places)) {
        expect(
          forms.filter((form) => text.includes(form)),
          `${place} has a password`,
        ).toEqual([]);
      }
    }
  });
});
