import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { HostEnvironment } from "./environment.ts";
import { loadConfigFile, parseConfigText } from "./file.ts";
import { ConfigError } from "./problems.ts";
import { resolveConfig } from "./resolve.ts";

const environment: HostEnvironment = { variables: {}, homeFolder: "/home/me", userId: 1000 };

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "hostd-config-"));
});
afterAll(() => {
  rmSync(folder, { recursive: true });
});

function load(text: string) {
  return resolveConfig([parseConfigText(text, "hostd.yaml", "/etc/hostd")], environment);
}

/** The lines of the error that `run` throws. */
function lines(run: () => unknown): string[] {
  try {
    run();
  } catch (error) {
    if (error instanceof ConfigError) return error.message.split("\n");
    throw error;
  }
  return [];
}

describe("a configuration file", () => {
  it("that is empty, or holds only comments, is the default configuration", () => {
    const defaults = resolveConfig([], environment);
    expect(load("")).toEqual(defaults);
    expect(load("# nothing\n\n---\n")).toEqual(defaults);
  });

  it("may have keys with nothing after them", () => {
    expect(load("dhcp:\n#  domain: a\nlog:\n  level:\n")).toEqual(load(""));
  });

  it("takes MAC addresses as keys without quotes", () => {
    const config = load(
      "dhcp:\n  static:\n    52:54:00:12:34:56: 192.168.65.9\n    08:00:27:00:00:01: 192.168.65.10\n",
    );
    expect(config.dhcp.static).toHaveLength(2);
  });

  it("has relative paths start at its folder, and ~/ at the home folder", () => {
    const config = load("state: state\ncapture: ../a.pcap\ndns: { resolvConf: ~/r.conf }\n");
    expect(config).toMatchObject({
      state: "/etc/hostd/state",
      capture: "/etc/a.pcap",
      dns: { resolvConf: "/home/me/r.conf" },
    });
  });

  it("is read from the disk", () => {
    const path = join(folder, "good.yaml");
    writeFileSync(path, "\ufeffmtu: 4000\nstate: s\n");
    expect(loadConfigFile(path, environment)).toMatchObject({ mtu: 4000, state: join(folder, "s") });
  });
});

describe("a problem in a file is named by line and column", () => {
  it.each([
    ["mtu: 1500\nmtu: 1400\n", ['hostd.yaml:2:1: the key "mtu" is given twice; allowed: every key once']],
    [
      "dhcp:\n  static:\n    52:54:00:00:00:01: 1.2.3.4\n    52:54:00:00:00:01: 1.2.3.5\n",
      ['hostd.yaml:4:5: the key "52:54:00:00:00:01" is given twice; allowed: every key once'],
    ],
    ["dhcp:\n\tfirst: 192.168.65.9\n", ["hostd.yaml:2:1: not YAML: Tabs are not allowed as indentation"]],
    ["mtu: 'x\n", ["hostd.yaml:2:1: not YAML: Missing closing 'quote"]],
    ["mtu: *size\n", ["hostd.yaml:1:6: the alias *size has no anchor before it"]],
    ["mtu: !bytes 1500\n", ["hostd.yaml:1:6: Unresolved tag: !bytes; allowed: plain YAML without tags"]],
    ["mtu: 1500\n---\nmtu: 1400\n", ["hostd.yaml:2:1: a second document starts here; allowed: one document"]],
  ])("when it is not YAML: %j", (text, expected) => {
    expect(lines(() => load(text))).toEqual(expected);
  });

  it("when a key, a value or an item of a list does not fit", () => {
    const text = "# a comment\nmtu: 9\ndhcp:\n  frist: 192.168.65.9\nqemu:\n  - /run/a\n  - b\nlog: { level: loud }\n";
    expect(lines(() => load(text)).map((line) => line.split(" ").slice(0, 2).join(" "))).toEqual([
      "hostd.yaml:7:5: qemu[1]:",
      "hostd.yaml:2:1: mtu:",
      "hostd.yaml:4:3: dhcp.frist:",
      "hostd.yaml:8:8: log.level:",
    ]);
  });

  it("when a key is missing, by where it should be", () => {
    expect(lines(() => load("dns:\n  zones:\n    - records: []\n"))).toEqual([
      "hostd.yaml:3:7: dns.zones[0].name: missing; it must be a domain name such as vm.internal",
    ]);
  });

  it("when values do not go together", () => {
    expect(lines(() => load("subnet: 10.0.0.0/24\n\ngateway: 192.168.65.1\n"))).toEqual([
      "hostd.yaml:3:1: gateway: 192.168.65.1 is outside the subnet 10.0.0.0/24; allowed: 10.0.0.1 to 10.0.0.254",
    ]);
  });

  it("when the whole is no mapping", () => {
    expect(lines(() => load("# list\n- a\n"))).toEqual([
      expect.stringMatching(/^hostd\.yaml:2:1: \["a"\] is not a mapping with the keys qemu, subnet, /),
    ]);
  });

  it("and aliases that multiply are refused instead of expanded", () => {
    const level = (name: string, of: string) => `${name}: &${name} [${Array(30).fill(`*${of}`).join(", ")}]\n`;
    const text = `a: &a [x]\n${level("b", "a")}${level("c", "b")}${level("d", "c")}`;
    expect(lines(() => load(text))).toEqual([expect.stringMatching(/^hostd\.yaml: not YAML: Excessive alias count/)]);
  });
});

describe("a file that cannot be read is named with the reason", () => {
  it("when it is not there", () => {
    const path = join(folder, "missing.yaml");
    expect(lines(() => loadConfigFile(path))).toEqual([
      `cannot read the configuration file ${path}: there is no such file`,
    ]);
  });

  it("when it is a folder", () => {
    expect(lines(() => loadConfigFile(folder))).toEqual([
      `cannot read the configuration file ${folder}: it is a folder`,
    ]);
  });

  it("when it is not text", () => {
    const path = join(folder, "binary.yaml");
    writeFileSync(path, Uint8Array.of(0xff, 0xfe, 0x00));
    expect(lines(() => loadConfigFile(path))).toEqual([
      `cannot read the configuration file ${path}: it is not UTF-8 text`,
    ]);
  });
});
