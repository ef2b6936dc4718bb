/** The proxies of a GNOME desktop, which change while they are followed, with its own programs. */
import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readdirSync, readFileSync } from "node:fs";
import { mkdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { systemClock } from "@hostd/streams";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { formatRoute } from "../../packages/httpproxy/src/route.ts";
import { SettingsRouter } from "../../packages/httpproxy/src/router.ts";
import { SettingsStack } from "../../packages/httpproxy/src/sources/settings-stack.ts";
import { systemProgram } from "../../packages/httpproxy/src/sources/system-program.ts";
import { RecordingLogger } from "../../packages/streams/src/testing/recording-logger.ts";
import { ensureGnomeSettings } from "../vm/host-packages.ts";

const missing = ensureGnomeSettings();
const SCHEMA = "org.gnome.system.proxy";
/** How long a change may take to be followed, in milliseconds. */
const FOLLOWED = 1000;

/** Sets a key, `http.host` of the schema below; resolves when that is done. */
async function set(key: string, value: string): Promise<void> {
  const dot = key.indexOf(".");
  const schema = dot === -1 ? SCHEMA : `${SCHEMA}.${key.slice(0, dot)}`;
  const env = { ...process.env, LC_ALL: "C.UTF-8" };
  await promisify(execFile)("gsettings", ["set", schema, key.slice(dot + 1), value], { env });
}

/** How many processes of gsettings this one has. */
function countChildren(): number {
  return readdirSync("/proc").filter((pid) => {
    if (!/^\d+$/.test(pid)) return false;
    try {
      const [, name, parent] = /^\d+ \((.*)\) \S (\d+) /s.exec(readFileSync(`/proc/${pid}/stat`, "utf8")) ?? [];
      return name === "gsettings" && Number(parent) === process.pid;
    } catch {
      // It has ended meanwhile.
      return false;
    }
  }).length;
}

describe.skipIf(missing !== undefined).each([
  ["dconf, which tells of changes by D-Bus", "dconf"],
  ["a key file, which is watched", "keyfile"],
])(`the settings of GNOME in %s (${missing ?? "it is there"})`, (_, backend) => {
  let logger: RecordingLogger;
  let stack: SettingsStack;
  let router: SettingsRouter;
  const cleanups: (() => unknown)[] = [];

  beforeEach(async () => {
    const folder = mkdtempSync(join(tmpdir(), "hostd-gnome-"));
    cleanups.push(() => rm(folder, { recursive: true }));
    for (const [variable, name] of Object.entries({
      XDG_CONFIG_HOME: "config",
      XDG_RUNTIME_DIR: "run",
      HOME: "home",
    })) {
      await mkdir(join(folder, name), { mode: 0o700 });
      vi.stubEnv(variable, join(folder, name));
    }
    vi.stubEnv("GSETTINGS_BACKEND", backend);
    // What it starts gets its environment, so it comes after that is set.
    const bus = spawn("dbus-daemon", ["--session", "--nofork", "--print-address=1"], {
      stdio: ["ignore", "pipe", "ignore"],
    });
    cleanups.push(async () => {
      bus.kill();
      await once(bus, "exit");
    });
    const [address] = await once(bus.stdout.setEncoding("utf8"), "data");
    vi.stubEnv("DBUS_SESSION_BUS_ADDRESS", String(address).trim());

    logger = new RecordingLogger();
    stack = new SettingsStack({
      configuration: null,
      environment: {},
      program: systemProgram("linux"),
      clock: systemClock,
      logger,
    });
    cleanups.push(() => stack.close());
    router = new SettingsRouter({
      settings: stack,
      openPac: (url) => ({
        routes: async () => {
          throw new Error(`${url} is not there`);
        },
        close: () => {},
      }),
      pacFailure: "refuse",
      isThisHost: () => false,
    });
    cleanups.push(() => router.close());
  });

  afterEach(async () => {
    for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
    vi.unstubAllEnvs();
  });

  async function decide(scheme: "http" | "https", host: string): Promise<string[]> {
    const { routes } = await router.decide({ scheme, host, port: scheme === "http" ? 80 : 443 });
    return routes.map(formatRoute);
  }

  /** Waits for the next settings, at most as long as a change may take. */
  async function followed(change: () => Promise<void>): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const stop = stack.onChange(() => resolve());
    await change();
    const timer = setTimeout(() => reject(new Error(`not followed within ${FOLLOWED} ms`)), FOLLOWED);
    try {
      await promise;
    } finally {
      clearTimeout(timer);
      stop();
    }
  }

  /** Waits until changes of each schema are heard, which takes their watchers a moment. */
  async function watched(): Promise<void> {
    let count = 1;
    for (const key of ["ignore-hosts", "http.port", "https.port", "socks.port"]) {
      const value = () => (key === "ignore-hosts" ? `['${count++}.example']` : String(count++));
      await vi.waitFor(() => followed(() => set(key, value())), { timeout: 20_000 });
    }
  }

  test("are followed within a second, as they change", async () => {
    expect(await decide("https", "example.com")).toEqual(["direct"]);
    expect(router.isAlwaysDirect).toBe(true);
    await set("http.host", "proxy.example");
    await set("mode", "manual");
    await vi.waitFor(async () => expect(await decide("https", "example.com")).toEqual(["http://proxy.example:8080"]), {
      timeout: 20_000,
    });
    await watched();

    await followed(() => set("http.port", "3128"));
    expect(await decide("http", "example.com")).toEqual(["http://proxy.example:3128"]);
    await followed(() => set("https.port", "8443"));
    await followed(() => set("https.host", "secure.example"));
    expect(await decide("https", "example.com")).toEqual(["http://secure.example:8443"]);
    await followed(() => set("ignore-hosts", "['corp.example', '10.0.0.0/8']"));
    expect(await decide("http", "www.corp.example")).toEqual(["direct"]);
    expect((await stack.report()).settings.exclusions).toEqual([
      { entries: ["corp.example", "10.0.0.0/8"], from: "the settings of GNOME" },
    ]);
    await followed(() => set("socks.host", "socks.example"));
    await followed(() => set("https.host", ""));
    expect(await decide("https", "example.com")).toEqual([expect.stringMatching(/^socks5h:\/\/socks\.example:\d+$/)]);
    await followed(() => set("autoconfig-url", "http://wpad.example/proxy.pac"));
    await followed(() => set("mode", "auto"));
    expect(await router.decide({ scheme: "http", host: "example.com", port: 80 })).toMatchObject({
      reason: expect.stringContaining("the PAC script http://wpad.example/proxy.pac of the settings of GNOME"),
    });
    await followed(() => set("mode", "none"));
    expect(await decide("http", "example.com")).toEqual(["direct"]);
    expect(router.isAlwaysDirect).toBe(true);
    expect(logger.lines).toEqual([]);
  });

  test("give credentials as they were typed, which are not logged", async () => {
    await set("http.host", "proxy.example");
    await set("http.use-authentication", "true");
    await set("http.authentication-user", "al'ice");
    const password = `s3cret "'\\ \u00fc\u{1f511}`;
    await set("http.authentication-password", password);
    await set("mode", "manual");
    const { http } = await stack.settled();
    expect(http).toEqual([
      { kind: "http", host: "proxy.example", port: 8080, credentials: { user: "al'ice", password } },
    ]);
    expect(JSON.stringify([await stack.report(), logger.lines])).not.toContain("s3cret");
  });

  test("have no process left when they are closed", async () => {
    await stack.settled();
    await vi.waitFor(() => expect(countChildren()).toBe(4));
    stack.close();
    await vi.waitFor(() => expect(countChildren()).toBe(0));
  });

  test("say nothing, without a word, when there are no schemas", async () => {
    vi.stubEnv("XDG_DATA_DIRS", "/nonexistent");
    expect(await stack.settled()).toMatchObject({ from: "the default, as no source names a proxy" });
    expect(countChildren()).toBe(0);
    expect(logger.lines).toEqual([]);
  });
});
