import { fixedServers, type Policy, parseServerAddress, RouteTable } from "@hostd/dns";
import type { SettingsReport, SettingsSummary } from "@hostd/httpproxy";
import { parseConfig } from "../config/resolve.ts";
import type { SettingsInput } from "../config/schema.ts";
import type { Host, HttpReply, Subject } from "../doctor/host.ts";
import { RunningHostd } from "../doctor/running-hostd.ts";

/** An error as the system has it. */
export function systemError(code: string): Error {
  return Object.assign(new Error(`${code}: that is what the system says`), { code });
}

/** The files of a host; others are not there. */
export function files(texts: Readonly<Record<string, string>>): Host["readFile"] {
  return async (path) => {
    const text = texts[path];
    if (text === undefined) throw systemError("ENOENT");
    return text;
  };
}

/** What is on a host, other paths being free. */
export function found(
  kinds: Readonly<Record<string, "folder" | "socket" | "other">>,
  mode = 0o700,
  userId = 1000,
): Host["lookAt"] {
  return async (path) => {
    const kind = kinds[path];
    return kind === undefined ? null : { kind, mode, userId };
  };
}

/** What an API answers: JSON by its path. */
export function answers(bodies: Readonly<Record<string, unknown>>): Host["get"] {
  return async (_, path): Promise<HttpReply> => {
    const body = bodies[path];
    return body === undefined ? { status: 404, body: "" } : { status: 200, body: JSON.stringify(body) };
  };
}

/** The name servers of a host by domain, as a resolv.conf would have them for the empty one. */
export function servers(byDomain: Readonly<Record<string, readonly string[]>>): Policy {
  const routes = Object.entries(byDomain).map(([domain, addresses]) => {
    const set = fixedServers(addresses.map(parseServerAddress)).current().routes.routes[0].set;
    return { domain, set, from: "/etc/resolv.conf" };
  });
  return { routes: new RouteTable(routes), search: [] };
}

/** Proxy settings, direct but for what is given. */
export function proxies(settings: Partial<SettingsSummary>, problems: readonly string[] = []): SettingsReport {
  const from = "the environment (HTTPS_PROXY)";
  const all = { http: [], https: [], pac: null, exclusions: [], allowed: null, from, ...settings };
  return { settings: all, sources: [{ name: "the environment", says: all, isInForce: true, problems }] };
}

/** A host with everything that hostd needs, and no hostd. */
export function fakeHost(changes: Partial<Host> = {}): Host {
  return {
    platform: "linux",
    arch: "x64",
    nodeVersion: "26.10.0",
    variables: { XDG_RUNTIME_DIR: "/run/user/1000" },
    homeFolder: "/home/me",
    userId: 1000,
    openFiles: 1_048_576,
    readFile: files({
      "/etc/resolv.conf": "nameserver 192.0.2.53\n",
      "/proc/sys/net/core/rmem_max": "212992\n",
      "/proc/sys/net/core/wmem_max": "212992\n",
      "/proc/sys/net/core/somaxconn": "4096\n",
      "/proc/sys/net/ipv4/ip_unprivileged_port_start": "1024\n",
      "/proc/self/status": "Name:\tnode\nCapEff:\t0000000000000000\n",
    }),
    lookAt: found({ "/": "folder", "/home": "folder", "/home/me": "folder" }),
    canWriteIn: async () => true,
    run: async () => "QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7)\n",
    get: async () => {
      throw systemError("ENOENT");
    },
    exchange: async () => "",
    connect: async () => {
      throw systemError("ECONNREFUSED");
    },
    listeningSockets: () => new Set(),
    tryForward: async () => {},
    whyNoSystemCalls: () => null,
    tryPing: () => null,
    routes: () => [],
    findDockerContext: async () => null,
    currentDockerContext: async () => "default",
    namePolicy: async () => servers({ "": ["192.0.2.53"] }),
    proxySettings: async () => proxies({}),
    whyNoCredentials: () => null,
    connectTcp: async () => {},
    askNameServer: async () => "NOERROR",
    ...changes,
  };
}

/** What is checked on a host: a configuration, and the hostd that answers there. */
export function subjectOf(host: Host, settings: SettingsInput = {}, { isNamed = false } = {}): Subject {
  const config = parseConfig(settings, "test", host);
  return { config, configFile: undefined, hostd: new RunningHostd(host, config.api, isNamed) };
}
