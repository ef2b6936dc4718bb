import { describe, expect, it } from "vitest";
import type { HostEnvironment } from "./environment.ts";
import { configFlags, flagLayer } from "./flags.ts";
import { configToData, configToYaml } from "./print.ts";
import { ConfigError } from "./problems.ts";
import { type HostdConfig, parseConfig, resolveConfig } from "./resolve.ts";
import type { SettingsInput } from "./schema.ts";

const environment: HostEnvironment = { variables: {}, homeFolder: "/home/me", userId: 1000 };

type DnsInput = NonNullable<SettingsInput["dns"]>;

function parse(dns: DnsInput): HostdConfig["dns"] {
  return parseConfig({ dns }, "test", environment).dns;
}

/** The messages of the problems with what `read` reads, without the origin. */
function problemsOf(read: () => unknown): string[] {
  try {
    read();
  } catch (error) {
    if (error instanceof ConfigError) return error.message.split("\n").map((line) => line.replace(/^test: dns\./, ""));
    throw error;
  }
  return [];
}

const problems = (dns: unknown) => problemsOf(() => parseConfig({ dns }, "test", environment));

/** The problems with one record of the zone `a.test`, without its place where it is at the record as a whole. */
const recordProblems = (record: object) =>
  problems({ zones: [{ name: "a.test", records: [record] }] }).map((line) => {
    return line.replace(/^zones\[0\]\.records\[0\](?:: |\.)/, "");
  });

describe("what the name server does", () => {
  it("is all read, and printed so that it reads back to the same", () => {
    const dns = parse({
      servers: ["192.0.2.53"],
      rules: [{ domain: "Corp.Example.", servers: ["10.0.0.53", "[fd00::53]:5353"] }],
      resolver: "system",
      hosts: "~/hosts",
      aliases: ["lima", "orbstack"],
      zones: [{ name: "a.test", defaultAddress: "FD00:0::1" }, { name: "b.test" }],
      cache: { entries: 0, megabytes: 1, staleSeconds: 0 },
      randomizeCase: true,
      maxQueriesPerSecond: 5,
    });
    expect(dns).toEqual({
      servers: [{ address: "192.0.2.53", family: 4, port: 53 }],
      rules: [
        {
          domain: "Corp.Example",
          servers: [
            { address: "10.0.0.53", family: 4, port: 53 },
            { address: "fd00::53", family: 6, port: 5353 },
          ],
        },
      ],
      resolver: "system",
      resolvConf: "/etc/resolv.conf",
      hosts: "/home/me/hosts",
      zones: [
        { name: "a.test", records: [], defaultAddress: "fd00::1" },
        { name: "b.test", records: [] },
      ],
      aliases: ["lima", "orbstack"],
      cache: { entries: 0, megabytes: 1, staleSeconds: 0 },
      randomizeCase: true,
      maxQueriesPerSecond: 5,
    });
    const config = parseConfig({ dns: { rules: [{ domain: "a", servers: ["[::1]:53"] }] } }, "test", environment);
    expect(parseConfig(configToData(config), "test", environment)).toEqual(config);
    expect(configToYaml(config)).toContain("rules:\n    - domain: a\n      servers:\n        - ::1\n");
  });

  it("does without a hosts file when told so", () => {
    const config = parseConfig({ dns: { hosts: "none" } }, "test", environment);
    expect(config.dns.hosts).toBeUndefined();
    expect(parseConfig(configToData(config), "test", environment)).toEqual(config);
  });

  it.each<[unknown, string]>([
    [{ resolver: "libc" }, 'resolver: "libc" is not one of servers, system'],
    [{ hosts: "" }, 'hosts: "" is not the path of a file, or "none" (it is empty)'],
    [
      { aliases: ["limb"] },
      'aliases[0]: "limb" is not one of docker-legacy, lima, orbstack, rancher-desktop (did you mean "lima"?)',
    ],
    [{ aliases: ["lima", "lima"] }, "aliases[1]: lima is given twice; allowed: every alias once"],
    [{ cache: { entries: -1 } }, "cache.entries: -1 is not a whole number from 0 to 1000000"],
    [{ cache: { megabytes: 0 } }, "cache.megabytes: 0 is not a whole number of megabytes from 1 to 1024"],
    [{ maxQueriesPerSecond: 0 }, "maxQueriesPerSecond: 0 is not a whole number from 1 to 1000000"],
    [{ randomizeCase: 1 }, "randomizeCase: 1 is not true or false"],
    [
      { servers: ["192.168.65.1:5353"] },
      "servers[0]: 192.168.65.1 is the address of the gateway, so hostd would ask itself; allowed: another name server",
    ],
    [
      { rules: [{ domain: "a.b", servers: ["1.1.1.1", "192.168.65.254"] }] },
      "rules[0].servers[1]: 192.168.65.254 is the address of host, so hostd would ask itself; allowed: another name server",
    ],
    [{ rules: [{ domain: "a.b", servers: [] }] }, "rules[0].servers: the list is empty; allowed: one server or more"],
    [
      {
        rules: [
          { domain: "a.b", servers: ["1.1.1.1"] },
          { domain: "A.b.", servers: ["1.1.1.1"] },
        ],
      },
      'rules[1].domain: "A.b" is given twice; allowed: every domain once',
    ],
    [{ rules: [{ servers: ["1.1.1.1"] }] }, "rules[0].domain: missing; it must be a domain name such as vm.internal"],
    [{ zones: [{ name: "a.b" }, { name: "A.B." }] }, 'zones[1].name: "A.B" is given twice; allowed: every zone once'],
    [
      { zones: [{ name: "a", defaultAddress: "fe80::1%eth0" }] },
      'zones[0].defaultAddress: "fe80::1%eth0" is not an IPv4 or IPv6 address such as 192.168.65.9 or fd00::9',
    ],
  ])("is named where it does not fit: %j", (dns, message) => {
    expect(problems(dns)).toEqual([message]);
  });
});

describe("a rule on the command line", () => {
  const layer = (...rules: string[]) => flagLayer(configFlags(), new Map([["--dns-rule", rules]]));

  it("is a domain with its servers", () => {
    const { dns } = resolveConfig([layer("corp.example=10.0.0.53,[fd00::53]:5353", "b.test=1.2.3.4:53")], environment);
    expect(dns.rules).toEqual(
      parse({
        rules: [
          { domain: "corp.example", servers: ["10.0.0.53", "[fd00::53]:5353"] },
          { domain: "b.test", servers: ["1.2.3.4"] },
        ],
      }).rules,
    );
  });

  it.each([
    ["corp.example", 'the "=" is missing'],
    ["=10.0.0.53", "it is empty"],
    ["a..b=10.0.0.53", 'the label "" does not fit'],
    ["a.b=", '"" is not the address of a name server'],
    ["a.b=10.0.0.53,", '"" is not the address of a name server'],
    ["a.b=ns.example", '"ns.example" is not the address of a name server'],
  ])("is not %j", (rule, reason) => {
    const form = "domain=server[,server] such as corp.example=10.0.0.53";
    expect(problemsOf(() => resolveConfig([layer(rule)], environment))).toEqual([
      `--dns-rule (dns.rules[0]): ${JSON.stringify(rule)} is not ${form} (${reason})`,
    ]);
  });
});

describe("a record", () => {
  it.each<[object, object]>([
    [
      { name: "a", address: "1.2.3.4" },
      { name: "a", type: "A", address: "1.2.3.4" },
    ],
    [
      { name: "@", address: "FD00:0::1", ttl: 0 },
      { name: "@", ttl: 0, type: "AAAA", address: "fd00::1" },
    ],
    [
      { name: "*", type: "CNAME", target: "b.c." },
      { name: "*", type: "CNAME", target: "b.c" },
    ],
    [
      { name: "*.d", type: "PTR", target: "." },
      { name: "*.d", type: "PTR", target: "." },
    ],
    [
      { regexp: "^db-[0-9]+$", type: "TXT", text: "x" },
      { regexp: "^db-[0-9]+$", type: "TXT", text: "x" },
    ],
    [
      { name: "t", type: "TXT", text: ["x", ""] },
      { name: "t", type: "TXT", text: ["x", ""] },
    ],
    [
      { name: "m", type: "MX", preference: 10, exchange: "m.c" },
      { name: "m", type: "MX", preference: 10, exchange: "m.c" },
    ],
    [
      { name: "_x._tcp", type: "SRV", priority: 1, weight: 2, port: 3, target: "s.c" },
      { name: "_x._tcp", type: "SRV", priority: 1, weight: 2, port: 3, target: "s.c" },
    ],
  ])("%j is read, and printed so that it reads back to the same", (written, expected) => {
    const config = parseConfig({ dns: { zones: [{ name: "a.test", records: [written] }] } }, "test", environment);
    expect(config.dns.zones).toEqual([{ name: "a.test", records: [expected] }]);
    expect(parseConfig(configToData(config), "test", environment)).toEqual(config);
  });

  it.each<[object, string]>([
    [{ address: "1.2.3.4" }, "name is missing; allowed: name, or regexp in its place"],
    [{ name: "a", regexp: "a", address: "1.2.3.4" }, "regexp: name is given too; allowed: one of the two"],
    [
      { name: "a" },
      "address is missing; without one the type must be given: A (address), AAAA (address), CNAME (target), " +
        "PTR (target), TXT (text), MX (preference, exchange), SRV (priority, weight, port, target)",
    ],
    [{ name: "a", type: "A" }, "address is missing; a record of type A needs address"],
    [{ name: "a", type: "CNAME" }, "target is missing; a record of type CNAME needs target"],
    [
      { name: "a", type: "SRV", port: 1 },
      "priority, weight, target are missing; a record of type SRV needs priority, weight, port, target",
    ],
    [{ name: "a", address: "1.2.3.4", port: 80 }, "port: a record of type A has none; allowed: address"],
    [{ name: "a", type: "TXT", text: "x", target: "b" }, "target: a record of type TXT has none; allowed: text"],
    [{ name: "a", type: "A", address: "::1" }, "address: ::1 is not of type A; allowed: an IPv4 address"],
    [{ name: "a", type: "AAAA", address: "1.2.3.4" }, "address: 1.2.3.4 is not of type AAAA; allowed: an IPv6 address"],
    [{ name: "a", type: "SPF", text: "x" }, 'type: "SPF" is not one of A, AAAA, CNAME, PTR, TXT, MX, SRV'],
    [
      { name: "a", type: "MX", preference: 65_536, exchange: "m" },
      "preference: 65536 is not a whole number from 0 to 65535",
    ],
    [{ name: "a", address: "1.2.3.4", ttl: -1 }, "ttl: -1 is not a whole number of seconds from 0 to 2147483647"],
    [
      { name: "a*.b", address: "1.2.3.4" },
      'name: "a*.b" is not a domain name relative to the zone such as "db" or "*.db", or "@" for the zone itself ' +
        '(the label "a*" does not fit)',
    ],
    [
      { name: "a", type: "CNAME", target: "b c" },
      'target: "b c" is not an absolute domain name such as db.example, or "." for none (the label "b c" does not fit)',
    ],
    [
      { name: "b.".repeat(124).concat("c"), address: "1.2.3.4" },
      "name: with its zone the name has 256 characters; allowed: at most 253",
    ],
  ])("%j is named with what is allowed", (record, message) => {
    expect(recordProblems(record)).toEqual([message]);
  });

  it("with a regular expression that is none is named with the reason", () => {
    const [message, ...others] = recordProblems({ regexp: "(", address: "1.2.3.4" });
    expect(message).toMatch(/^regexp: "\(" in the zone a\.test is not a regular expression.*missing closing \)/);
    expect(others).toEqual([]);
    expect(recordProblems({ regexp: "a(?=b)", address: "1.2.3.4" })).toHaveLength(1);
  });

  it("beside a CNAME of its name is named with its zone", () => {
    const records = [
      { name: "c", type: "CNAME", target: "b.c" },
      { name: "c", address: "1.2.3.4" },
    ] as const;
    expect(problems({ zones: [{ name: "a.test", records }] })).toEqual([
      expect.stringMatching(/^zones\[0\]: "c" in the zone a\.test has a CNAME record, beside which no other may stand/),
    ]);
  });
});
