import { chmodSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { rootCertificates } from "node:tls";
import {
  type Destination,
  formatRoute,
  type ProxyServer,
  parseUpstreamSetting,
  type SystemProgram,
} from "@hostd/httpproxy";
import { describe, expect, it } from "vitest";
import { cleanUp, makeFolder } from "../../../../packages/streams/src/testing/peer.ts";
import { ConfigError } from "../config/problems.ts";
import { parseConfig } from "../config/resolve.ts";
import type { SettingsInput } from "../config/schema.ts";
import { EventHub, type HostdEvent } from "../control/event-hub.ts";
import { createLogger } from "../logging.ts";
import { ProxyService } from "./proxy-service.ts";

const HTTP: Destination = { scheme: "http", host: "www.example.com", port: 80 };
const HTTPS: Destination = { ...HTTP, scheme: "https", port: 443 };
const PEM = `${rootCertificates[0]}\n`;

const configOf = (proxy: SettingsInput["proxy"]) => parseConfig({ proxy }, "test");

/** A service with an environment and a configuration, and what it tells. */
function make(
  proxy: SettingsInput["proxy"] = {},
  environment: NodeJS.ProcessEnv = {},
  program: SystemProgram | null = null,
) {
  const events = new EventHub();
  const told: HostdEvent[] = [];
  events.listen((event) => told.push(event));
  const log: string[] = [];
  const output = { isTerminal: false, hasColors: false, write: (line: string) => log.push(line) };
  const service = new ProxyService({
    config: configOf(proxy),
    resolve: async () => [],
    events,
    environment,
    program,
    logger: createLogger({ level: "debug", format: "json" }, output),
  });
  cleanUp(() => service.close());
  const routes = async (destination: Destination) => (await service.decide(destination)).routes.map(formatRoute);
  const server = async (destination: Destination): Promise<ProxyServer> => {
    const [route] = (await service.decide(destination)).routes;
    if (route.kind !== "proxy") throw new Error(`it is ${route.kind}`);
    return route.server;
  };
  const messages = () => log.map((line) => String(JSON.parse(line).msg));
  return { service, told, log, messages, routes, server };
}

async function writeSecret(text: string): Promise<string> {
  const path = join(await makeFolder(), "credentials");
  writeFileSync(path, text, { mode: 0o600 });
  return path;
}

describe("which way requests take", () => {
  it("is what the environment says, unless the configuration or somebody at run time says something else", async () => {
    const environment = { HTTPS_PROXY: "http://env.test:1", NO_PROXY: ".corp.test" };
    const { service, routes } = make({}, environment);
    expect([await routes(HTTP), await routes(HTTPS)]).toEqual([["direct"], ["http://env.test:1"]]);
    service.prepare(configOf({ upstream: "http://file.test:2", noProxy: ".lab.test" }))();
    expect([await routes(HTTP), await routes(HTTPS)]).toEqual([["http://file.test:2"], ["http://file.test:2"]]);
    service.set({ upstream: parseUpstreamSetting("socks5h://set.test:3") });
    expect(await routes(HTTPS)).toEqual(["socks5h://set.test:3"]);
    service.set({ upstream: { kind: "system" } });
    expect(await routes(HTTPS)).toEqual(["http://env.test:1"]);
    service.set(null);
    expect(await routes(HTTPS)).toEqual(["http://file.test:2"]);
    expect((await service.report()).isSetAtRunTime).toBe(false);
  });

  it("has the exclusions of the configuration at run time, unless others are set", async () => {
    const { service, routes } = make({ upstream: "http://file.test:2", noProxy: "www.example.com" });
    const upstream = parseUpstreamSetting("http://set.test:3");
    service.set({ upstream });
    expect(await routes(HTTP)).toEqual(["direct"]);
    service.prepare(configOf({ upstream: "http://file.test:2", noProxy: "other.example" }))();
    expect(await routes(HTTP)).toEqual(["http://set.test:3"]);
    service.set({ upstream, noProxy: "example.com" });
    expect(await routes(HTTP)).toEqual(["direct"]);
    service.set({ upstream, noProxy: "" });
    expect(await routes(HTTP)).toEqual(["http://set.test:3"]);
  });

  it("is direct for this host's own names, and known at once for addresses", async () => {
    const { service, routes } = make({ upstream: "http://file.test:2", noProxy: "10.0.0.0/8" });
    for (const host of ["host.docker.internal", "192.168.65.254", "host.containers.internal", "127.0.0.1"]) {
      expect(await routes({ ...HTTP, host }), host).toEqual(["direct"]);
    }
    expect([service.isDirect("10.1.2.3", 443), service.isDirect("192.0.2.1", 443)]).toEqual([true, false]);
    service.set({ upstream: { kind: "pac", url: "http://127.0.0.1:9/proxy.pac" } });
    // The script is not asked for that.
    expect([service.isDirect("10.1.2.3", 443), service.isDirect("192.0.2.1", 443)]).toEqual([true, false]);
    service.set({ upstream: { kind: "direct" } });
    expect(service.isDirect("192.0.2.1", 443)).toBe(true);
  });

  it("comes with the ports that vpnkit's file has", async () => {
    const file = join(await makeFolder(), "proxy.json");
    writeFileSync(file, JSON.stringify({ https: "http://vpnkit.test:3", transparent_http_ports: [80, 8080] }));
    const { service, routes } = make({ vpnkitFile: file, upstream: "http://file.test:2" });
    expect(await routes(HTTPS)).toEqual(["http://vpnkit.test:3"]);
    expect(service.transparentPorts).toEqual([80, 8080, 443]);
    service.prepare(configOf({ upstream: "direct", transparentPorts: "all" }))();
    expect(service.transparentPorts).toBe("all");
    expect(await routes(HTTPS)).toEqual(["direct"]);
  });
});

describe("other settings", () => {
  it("are told with the way and without credentials, once", async () => {
    const { service, told, log } = make({ upstream: "http://u:s3cret@one.test:1" });
    await service.report();
    service.set({ upstream: parseUpstreamSetting("http://bob:s3cret@two.test:2"), noProxy: ".corp.test" });
    service.set({ upstream: parseUpstreamSetting("http://bob:0ther@two.test:2"), noProxy: ".corp.test" });
    service.prepare(configOf({ upstream: "http://three.test:3" }))();
    service.set(null);
    const fields = { pac: null, exclusions: [], from: "the configuration" };
    expect(told.map(({ time: _, ...event }) => event)).toEqual([
      {
        ...{ type: "proxy.changed", http: ["http://two.test:2"], https: ["http://two.test:2"], pac: null },
        ...{ exclusions: [".corp.test"], from: "the run-time setting" },
      },
      { type: "proxy.changed", http: ["http://three.test:3"], https: ["http://three.test:3"], ...fields },
    ]);
    expect(JSON.stringify([told, log, await service.report()])).not.toMatch(/s3cret|0ther/);
  });

  it("are not there after a configuration that is the same", async () => {
    const { service, told } = make({ upstream: "http://one.test:1" });
    await service.report();
    service.prepare(configOf({ upstream: "http://one.test:1" }))();
    expect(told).toEqual([]);
  });

  it("have every proxy tried anew", () => {
    const { service } = make({ upstream: "http://one.test:1" });
    service.health.reached({ kind: "http", host: "one.test", port: 1 });
    expect(service.health.report()).toHaveLength(1);
    service.set({ upstream: parseUpstreamSetting("http://one.test:1") });
    expect(service.health.report()).toEqual([]);
  });
});

describe("the file of credentials", () => {
  it("is for proxies without them, those of this host too, and is read for each request", async () => {
    const credentials = await writeSecret("alice:first\n");
    const { service, server } = make({ credentials }, { HTTPS_PROXY: "http://env.test:1" });
    expect((await server(HTTPS)).credentials).toEqual({ user: "alice", password: "first" });
    writeFileSync(credentials, "alice:another one\n");
    expect((await server(HTTPS)).credentials).toEqual({ user: "alice", password: "another one" });
    service.set({ upstream: parseUpstreamSetting("http://bob:own@set.test:2") });
    expect((await server(HTTPS)).credentials).toEqual({ user: "bob", password: "own" });
  });

  it("is complained about at once when nobody may use it, and once", async () => {
    const credentials = await writeSecret("alice:s3cret\n");
    chmodSync(credentials, 0o644);
    const { server, messages } = make({ credentials, upstream: "http://one.test:1" });
    const complaint = `proxy.credentials: cannot take credentials from ${credentials}: its mode is 0644; allowed: 0600 and 0400`;
    expect(messages()).toEqual([complaint]);
    for (let count = 0; count < 3; count++) expect((await server(HTTP)).credentials).toBeUndefined();
    expect(messages()).toEqual([complaint]);
    chmodSync(credentials, 0o600);
    expect((await server(HTTP)).credentials).toEqual({ user: "alice", password: "s3cret" });
    chmodSync(credentials, 0o640);
    await server(HTTP);
    expect(messages()).toHaveLength(2);
  });

  it("is for the proxies of a script that somebody has named to hostd, and not of one that only the system names", async () => {
    const credentials = await writeSecret("alice:s3cret\n");
    const script = join(await makeFolder(), "proxy.pac");
    writeFileSync(script, 'function FindProxyForURL() { return "PROXY script.test:3128"; }');
    const url = `file://${script}`;
    const settings = { http: [], https: [], pac: url, exclusions: [], allowed: null, from: "the system" };
    const program: SystemProgram = {
      name: "the system",
      read: { program: process.execPath, args: ["--version"] },
      parse: () => ({ settings, problems: [] }),
      watch: [],
    };
    const { service, server } = make({ credentials }, {}, program);
    expect(await server(HTTPS)).toEqual({ kind: "http", host: "script.test", port: 3128 });
    service.set({ upstream: { kind: "pac", url } });
    expect((await server(HTTPS)).credentials).toEqual({ user: "alice", password: "s3cret" });
    service.set(null);
    expect((await server(HTTPS)).credentials).toBeUndefined();
    service.prepare(configOf({ credentials, upstream: `pac+${url}` }))();
    expect((await server(HTTPS)).credentials).toEqual({ user: "alice", password: "s3cret" });
  });
});

describe("the file of certificates", () => {
  it("is for proxies that are reached by TLS, whoever has named them", async () => {
    const ca = join(await makeFolder(), "ca.pem");
    writeFileSync(ca, PEM);
    const { service, server } = make({ ca }, { HTTPS_PROXY: "https://env.test", HTTP_PROXY: "http://env.test:1" });
    expect([(await server(HTTPS)).ca, (await server(HTTP)).ca]).toEqual([PEM, undefined]);
    writeFileSync(ca, `${PEM}# another\n`);
    expect((await server(HTTPS)).ca).toBe(PEM);
    service.prepare(configOf({ ca }))();
    expect((await server(HTTPS)).ca).toBe(`${PEM}# another\n`);
  });

  it("is refused when there is none, nothing in it, or one that is not whole, and then nothing has changed", async () => {
    const folder = await makeFolder();
    const none = join(folder, "none.pem");
    const empty = join(folder, "empty.pem");
    writeFileSync(empty, "text");
    const garbled = join(folder, "garbled.pem");
    writeFileSync(garbled, `# ours\n${PEM}-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n`);
    const line = PEM.split("\n").length + 1;
    const cut = join(folder, "cut.pem");
    writeFileSync(cut, PEM.slice(0, 200));
    const { service, routes } = make({ upstream: "http://one.test:1" });
    for (const [ca, reason] of [
      [none, /^proxy\.ca: .*none\.pem has no certificates: ENOENT/],
      [empty, /^proxy\.ca: .*empty\.pem has no certificates: there is no line -----BEGIN CERTIFICATE-----/],
      [garbled, new RegExp(`^proxy\\.ca: .*garbled\\.pem has a certificate in line ${line} that cannot be read: `)],
      [cut, /in line 1 that cannot be read: there is no line -----END CERTIFICATE----- after it$/],
    ] as const) {
      expect(() => make({ ca })).toThrow(ConfigError);
      expect(() => service.prepare(configOf({ ca, upstream: "direct" }))).toThrow(reason);
    }
    expect(await routes(HTTP)).toEqual(["http://one.test:1"]);
  });
});
