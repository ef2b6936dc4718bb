import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { beforeEach, describe, expect, test } from "vitest";
import { FakeClock } from "../../../streams/src/testing/fake-clock.ts";
import { cleanUp, makeFolder, settle } from "../../../streams/src/testing/peer.ts";
import { RecordingLogger } from "../../../streams/src/testing/recording-logger.ts";
import { parseUpstreamSetting } from "../settings/proxy-url.ts";
import { PlayedCommands } from "../testing/played-commands.ts";
import { SCUTIL_PROGRAM } from "./scutil.ts";
import { type ProxyChoice, SettingsStack, type SettingsStackOptions } from "./settings-stack.ts";
import { VpnkitProxyFile } from "./vpnkit-proxy-file.ts";

const ENVIRONMENT = { HTTPS_PROXY: "http://alice:s3cret@environment.example:3128", NO_PROXY: "environment.example" };

/** What scutil writes about a host with this proxy; with none when it is empty. */
function scutil(host: string): string {
  const proxies = host === "" ? "" : `  HTTPSEnable : 1\n  HTTPSPort : 3128\n  HTTPSProxy : ${host}\n`;
  return `<dictionary> {\n  ExceptionsList : <array> {\n    0 : *.local\n  }\n${proxies}}\n`;
}

function choice(upstream: string, ...exclusions: readonly string[]): ProxyChoice {
  return { upstream: parseUpstreamSetting(upstream), exclusions };
}

describe("the sources of settings", () => {
  let clock: FakeClock;
  let commands: PlayedCommands;
  let logger: RecordingLogger;
  let changes: string[];

  beforeEach(() => {
    clock = new FakeClock();
    commands = new PlayedCommands();
    commands.output = scutil("");
    logger = new RecordingLogger();
    changes = [];
  });

  function make(options: Partial<SettingsStackOptions> = {}): SettingsStack {
    const stack = new SettingsStack({
      configuration: null,
      environment: {},
      program: SCUTIL_PROGRAM,
      clock,
      commands,
      logger,
      ...options,
    });
    stack.onChange(({ from }) => changes.push(from));
    cleanUp(() => stack.close());
    return stack;
  }

  test("leave everything direct when none says anything", async () => {
    expect(await make().settled()).toMatchObject({
      http: [],
      https: [],
      pac: null,
      exclusions: [],
      from: "the default, as no source names a proxy",
    });
  });

  test("are asked in their order, and the first that says something is taken as a whole", async () => {
    commands.output = scutil("system.example");
    const configuration = choice("http://configured.example:3128", "configured.example");
    const stack = make({ configuration, environment: ENVIRONMENT });
    expect(stack.current()).toMatchObject({
      http: [{ host: "configured.example" }],
      https: [{ host: "configured.example" }],
      exclusions: [{ entries: ["configured.example"], from: "the configuration" }],
      from: "the configuration",
    });

    stack.set(choice("socks5h://run-time.example:1080"));
    expect(stack.current()).toMatchObject({
      http: [{ kind: "socks5h", host: "run-time.example" }],
      exclusions: [],
      from: "the run-time setting",
    });

    const withoutChoice = make({ environment: ENVIRONMENT });
    expect(withoutChoice.current()).toMatchObject({
      http: [],
      https: [{ host: "environment.example" }],
      exclusions: [{ entries: ["environment.example"] }],
      from: "the environment (HTTPS_PROXY)",
    });

    expect(await make().settled()).toMatchObject({
      http: [],
      https: [{ host: "system.example" }],
      exclusions: [{ entries: ["*.local"] }],
      from: "the settings of macOS",
    });
  });

  test("take direct for something that is said", () => {
    const stack = make({ configuration: choice("direct"), environment: ENVIRONMENT });
    expect(stack.current()).toMatchObject({ http: [], https: [], pac: null, from: "the configuration" });
    stack.set(choice("pac+http://wpad.example/proxy.pac"));
    expect(stack.current()).toMatchObject({
      http: [],
      pac: "http://wpad.example/proxy.pac",
      from: "the run-time setting",
    });
  });

  test("do not ask the operating system as long as another says something", async () => {
    const stack = make({ environment: ENVIRONMENT });
    stack.current();
    stack.set(choice("direct"));
    await settle();
    expect(commands.runs).toEqual([]);
  });

  test("are not known before the operating system has answered, when it is to be asked", async () => {
    commands.output = scutil("system.example");
    const release = commands.hold();
    const stack = make();
    expect(stack.current()).toBeNull();
    const settled = stack.settled();
    stack.set(choice("direct"));
    expect(stack.current()).toMatchObject({ from: "the run-time setting" });
    stack.set(null);
    expect(stack.current()).toBeNull();
    release();
    expect(await settled).toMatchObject({ https: [{ host: "system.example" }] });
  });

  test("leave it to the host with system, and add exclusions to those of the host", async () => {
    commands.output = scutil("system.example");
    const configuration = choice("system", "lab.example");
    const lab = { entries: ["lab.example"], from: "the configuration" };
    const stack = make({ configuration, environment: ENVIRONMENT });
    expect(stack.current()).toMatchObject({
      https: [{ host: "environment.example" }],
      exclusions: [lab, { entries: ["environment.example"], from: "the environment (NO_PROXY)" }],
      from: "the environment (HTTPS_PROXY)",
    });
    expect(await make({ configuration }).settled()).toMatchObject({
      https: [{ host: "system.example" }],
      exclusions: [lab, { entries: ["*.local"], from: "the settings of macOS" }],
      from: "the settings of macOS",
    });
    // The configuration is not asked then.
    const direct = make({ configuration: choice("direct"), environment: ENVIRONMENT });
    direct.set(choice("system"));
    expect(direct.current()).toMatchObject({ exclusions: [{ from: "the environment (NO_PROXY)" }] });
  });

  test("tell of a change at run time, and give the same object until then", () => {
    const stack = make({ environment: ENVIRONMENT });
    const settings = stack.current();
    expect(stack.current()).toBe(settings);
    stack.set(choice("http://one.example:1"));
    stack.set(null);
    expect(stack.current()).toBe(settings);
    expect(changes).toEqual(["the run-time setting", "the environment (HTTPS_PROXY)"]);
  });

  test("tell of a change of the operating system, though nobody asks", async () => {
    const stack = make();
    await stack.settled();
    expect(changes).toEqual([]);
    commands.output = scutil("system.example");
    for (const watcher of commands.watchers) watcher.onOutput();
    clock.advance(100);
    await settle();
    expect(changes).toEqual(["the settings of macOS"]);
    expect(stack.current()).toMatchObject({ https: [{ host: "system.example" }] });
  });

  test("tell nobody who does not want to know any more", () => {
    const stack = make();
    const told: string[] = [];
    const stop = stack.onChange(({ from }) => told.push(from));
    stack.set(choice("direct"));
    stack.set(choice("http://one.example:1"));
    stop();
    stack.set(choice("direct"));
    expect(told).toEqual(["the run-time setting"]);
    expect(changes).toHaveLength(2);
  });

  test("tell nothing of a change that is not in force", async () => {
    const stack = make();
    await stack.settled();
    stack.set(choice("direct"));
    commands.output = scutil("system.example");
    for (const watcher of commands.watchers) watcher.onOutput();
    clock.advance(100);
    await settle();
    expect(changes).toEqual(["the run-time setting"]);
  });

  test("have vpnkit's file for the configuration, as it changes", async () => {
    const path = join(await makeFolder(), "proxy.json");
    const stack = make({ configuration: new VpnkitProxyFile(path, clock), environment: ENVIRONMENT });
    expect(stack.current()).toMatchObject({ from: "the environment (HTTPS_PROXY)" });
    await writeFile(path, '{"http": "http://one.example:3128", "exclude": "lab.example"}');
    clock.advance(1000);
    expect(stack.current()).toMatchObject({
      http: [{ host: "one.example" }],
      https: [],
      exclusions: [{ entries: ["lab.example"], from: path }],
      from: path,
    });
    await writeFile(path, "{}");
    clock.advance(1000);
    expect(stack.current()).toMatchObject({ http: [], https: [], from: path });
    expect(changes).toEqual([path, path]);
    stack.set(choice("direct"));
    expect(stack.current()).toMatchObject({ from: "the run-time setting" });
  });

  test("have each problem logged once, without credentials", async () => {
    const environment = { ...ENVIRONMENT, HTTP_PROXY: "ftp://alice:s3cret@environment.example" };
    const path = join(await makeFolder(), "proxy.json");
    const stack = make({ configuration: new VpnkitProxyFile(path, clock), environment });
    for (let second = 0; second < 5; second++) {
      stack.current();
      clock.advance(1000);
    }
    stack.set(choice("http://one.example:1", "a..b"));
    expect(logger.lines.map(({ level, fields }) => [level, fields])).toEqual([
      ["warn", { problem: `${path}: there is no such file` }],
      ["warn", { problem: expect.stringMatching(/^the environment: HTTP_PROXY: /) }],
      ["warn", { problem: 'the run-time setting: the exclusion "a..b": it has an empty label' }],
    ]);
    expect(JSON.stringify(logger.lines)).not.toContain("s3cret");
    // Back and gone again is another problem.
    await writeFile(path, "{}");
    clock.advance(1000);
    stack.set(null);
    await writeFile(path, "[]");
    clock.advance(1000);
    stack.current();
    expect(logger.lines.at(-1)?.fields).toEqual({ problem: `${path}: it is no JSON object` });
  });

  test("are reported with what each says and whether it is in force, without credentials", async () => {
    commands.output = scutil("system.example");
    const stack = make({ configuration: choice("system", "lab.example"), environment: ENVIRONMENT });
    const environment = {
      http: [],
      https: ["http://environment.example:3128"],
      pac: null,
      exclusions: [{ entries: ["environment.example"], from: "the environment (NO_PROXY)" }],
      allowed: null,
      from: "the environment (HTTPS_PROXY)",
    };
    const system = {
      ...environment,
      https: ["http://system.example:3128"],
      exclusions: [{ entries: ["*.local"], from: "the settings of macOS" }],
      from: "the settings of macOS",
    };
    const report = await stack.report();
    expect(report).toEqual({
      settings: {
        ...environment,
        exclusions: [{ entries: ["lab.example"], from: "the configuration" }, ...environment.exclusions],
      },
      sources: [
        { name: "the run-time setting", says: null, isInForce: false, problems: [] },
        { name: "the configuration", says: "system", isInForce: true, problems: [] },
        { name: "the environment", says: environment, isInForce: true, problems: [] },
        { name: "the settings of macOS", says: system, isInForce: false, problems: [] },
      ],
    });
    stack.set(choice("pac+https://wpad.example/proxy.pac?token=s3cret", "a..b"));
    const later = await stack.report();
    expect(later.settings).toMatchObject({ pac: "https://wpad.example/proxy.pac", from: "the run-time setting" });
    expect(later.sources.map(({ isInForce }) => isInForce)).toEqual([true, false, false, false]);
    expect(later.sources[0].problems).toEqual(['the run-time setting: the exclusion "a..b": it has an empty label']);
    expect(JSON.stringify([report, later])).not.toContain("s3cret");
  });

  test("are reported with the allow list of vpnkit's file", async () => {
    const path = join(await makeFolder(), "proxy.json");
    await writeFile(path, '{"allow_enabled": true, "allow": ["example.org"]}');
    const { settings, sources } = await make({ configuration: new VpnkitProxyFile(path, clock) }).report();
    expect(settings.allowed).toEqual(["example.org"]);
    expect(sources[1]).toMatchObject({ name: `the configuration (${path})`, isInForce: true });
  });

  test("end what follows the operating system", async () => {
    const stack = make();
    await stack.settled();
    expect(commands.watchers.size).toBe(1);
    stack.close();
    expect(commands.watchers.size).toBe(0);
    expect(clock.timers).toBe(0);
    const held = make();
    commands.hold();
    const settled = held.settled();
    held.close();
    expect(await settled).toMatchObject({ http: [], https: [] });
  });
});
