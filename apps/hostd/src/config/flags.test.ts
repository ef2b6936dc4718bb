import { parseIpv4 } from "@hostd/stack";
import { describe, expect, it } from "vitest";
import type { HostEnvironment } from "./environment.ts";
import { parseConfigText } from "./file.ts";
import { configFlags, flagLayer } from "./flags.ts";
import { knownKeys } from "./keys.ts";
import { ConfigError } from "./problems.ts";
import { resolveConfig } from "./resolve.ts";

const environment: HostEnvironment = { variables: {}, homeFolder: "/home/me", userId: 1000 };
const flags = configFlags();

function resolve(file: string, given: Record<string, unknown>) {
  const layers = [parseConfigText(file, "hostd.yaml", "/etc"), flagLayer(flags, new Map(Object.entries(given)))];
  return resolveConfig(layers, environment);
}

const one = (port: number) => ({ first: port, last: port });

describe("the schema", () => {
  it("describes every key in a sentence that help and page can end", () => {
    for (const { key, doc } of knownKeys()) {
      expect(doc.description, key).toMatch(/^[A-Z].*[^.]$/);
    }
  });

  it("gives these keys a flag", () => {
    expect(flags.map(({ flags: written, key }) => [written, key])).toEqual([
      ["--qemu <url>", "qemu"],
      ["--subnet <cidr>", "subnet"],
      ["--mtu <bytes>", "mtu"],
      ["--dns-server <address>", "dns.servers"],
      ["--dns-rule <rule>", "dns.rules"],
      ["-p, --publish <ports>", "forwards"],
      ["--proxy <url>", "proxy.upstream"],
      ["--no-proxy <list>", "proxy.noProxy"],
      ["--transparent-ports <list>", "proxy.transparentPorts"],
      ["--docker <url>", "docker.listen"],
      ["--docker-upstream <url>", "docker.upstream"],
      ["--docker-identity <file>", "docker.identity"],
      ["--inject-proxy-env", "docker.injectProxyEnv"],
      ["--state <folder>", "state"],
      ["--api <url>", "api"],
      ["--vpnkit-api <url>", "vpnkitApi"],
      ["--capture <file>", "capture"],
      ["--log-level <level>", "log.level"],
      ["--log-format <format>", "log.format"],
    ]);
    const repeatable = flags.filter((flag) => flag.repeatable).map(({ name }) => name);
    expect(repeatable).toEqual(["--qemu", "--dns-server", "--dns-rule", "--publish"]);
  });
});

describe("flags, file and defaults", () => {
  it("go over each other in that order, mappings key by key", () => {
    const config = resolve("mtu: 4000\nlog: { level: debug, format: json }\negress: { udp: { maxFlows: 7 } }\n", {
      "--mtu": "9000",
      "--log-level": "warn",
    });
    expect(config).toMatchObject({
      mtu: 9000,
      log: { level: "warn", format: "json" },
      egress: { udp: { maxFlows: 7, idleSeconds: 120 } },
      subnet: { prefixLength: 24 },
    });
  });

  it("replace lists as a whole", () => {
    const file = "qemu: [/run/a, /run/b]\ndns: { servers: [192.0.2.1], resolvConf: /r }\n";
    const config = resolve(file, { "--qemu": ["/run/c"], "--dns-server": ["192.0.2.2", "192.0.2.3"] });
    expect(config.qemu).toEqual([{ mode: "listen", transport: "unix", path: "/run/c" }]);
    expect(config.dns.servers.map(({ address }) => address)).toEqual(["192.0.2.2", "192.0.2.3"]);
    expect(config.dns.resolvConf).toBe("/r");
  });

  it("write a published port in one word, which replaces the mappings of the file", () => {
    const file = "forwards: [{ listen: 1, to: 2 }]\n";
    expect(resolve(file, {}).forwards).toMatchObject([{ listen: { ports: one(1) }, to: { ports: one(2) } }]);
    expect(resolve(file, { "--publish": ["8080:80", "0.0.0.0:53:10.0.0.5:5353/udp"] }).forwards).toEqual([
      { protocol: "tcp", listen: { host: "127.0.0.1", ports: one(8080) }, to: { address: null, ports: one(80) } },
      {
        protocol: "udp",
        listen: { host: "0.0.0.0", ports: one(53) },
        to: { address: parseIpv4("10.0.0.5"), ports: one(5353) },
      },
    ]);
  });

  it("have relative paths start where each was written", () => {
    expect(resolve("state: s\n", { "--capture": "c.pcap" })).toMatchObject({
      state: "/etc/s",
      capture: `${process.cwd()}/c.pcap`,
    });
  });

  it("are each blamed for their own problems", () => {
    expect(() => resolve("mtu: 9\n", { "--mtu": "ten", "--qemu": ["/a", "b"] })).toThrow(
      new ConfigError([
        { key: "mtu", value: 9, message: "hostd.yaml:1:1: mtu: 9 is not a whole number of bytes from 576 to 65520" },
        {
          key: "qemu[1]",
          value: "b",
          message:
            '--qemu (qemu[1]): "b" is not an endpoint such as unix:///run/vm.sock or tcp://127.0.0.1:5555, ' +
            "with dial+ in front to connect there",
        },
        {
          key: "mtu",
          value: "ten",
          message: '--mtu (mtu): "ten" is not a whole number of bytes from 576 to 65520',
        },
      ]),
    );
  });

  it("name each published port that does not fit, and others that do not go together", () => {
    expect(() => resolve("", { "--publish": ["8080:80", "x:80", "1:2:3:4:5"], "--mtu": "9" })).toThrow(
      new ConfigError([
        {
          key: "forwards[1]",
          value: "x:80",
          message:
            '--publish (forwards[1]): "x:80" is not [address:]port[-port]:[guest-address:]guest-port[-port][/udp] such as 8080:80 ' +
            '(the port is "x")',
        },
        {
          key: "forwards[2]",
          value: "1:2:3:4:5",
          message:
            '--publish (forwards[2]): "1:2:3:4:5" is not [address:]port[-port]:[guest-address:]guest-port[-port][/udp] such as 8080:80 ' +
            "(it has too many parts; an IPv6 address needs [ ])",
        },
        { key: "mtu", value: 9, message: "--mtu (mtu): 9 is not a whole number of bytes from 576 to 65520" },
      ]),
    );
    expect(() => resolve("", { "--publish": ["8080:80", "127.0.0.1:8080:81"] })).toThrow(
      "--publish (forwards[1].listen): 127.0.0.1:8080 is given twice; allowed: every address and port once",
    );
  });

  it("name the place of the one that no longer fits", () => {
    expect(() => resolve("gateway: 192.168.65.1\n", { "--subnet": "10.0.0.0/24" })).toThrow(
      "hostd.yaml:1:1: gateway: 192.168.65.1 is outside the subnet 10.0.0.0/24; allowed: 10.0.0.1 to 10.0.0.254",
    );
  });
});
