import { describe, expect, it } from "vitest";
import type { DnsQueryReport, DnsReport } from "../dns/report.ts";
import { describeDns, describeQuery } from "./dns-text.ts";

const NOTHING: DnsReport = {
  zones: [],
  containers: null,
  resolver: "servers",
  upstreams: [],
  search: [],
  cache: { entries: 0, bytes: 0, hits: 0, misses: 0, stale: 0, evictions: 0, maxEntries: 0, maxBytes: 1 },
  hosts: null,
  vms: [],
};

describe("the name server in words", () => {
  it("says what there is not", () => {
    expect(describeDns(NOTHING).split("\n")).toEqual([
      "Zones (the first that a name is in answers):",
      "",
      "Hosts file: none",
      "Search domains: none",
      "",
      "Name servers (the longest domain that a name is in holds):",
      "  none: names of no zone fail",
      "",
      "Cache: none",
      "",
      "VMs:",
      "  none is attached",
    ]);
  });

  it("has zones as master files, servers and VMs as tables", () => {
    const text = describeDns({
      zones: [
        {
          name: "a.test",
          vm: "unix:///vm.sock",
          defaultAddress: "10.0.0.9",
          records: [
            { name: "vm", type: "A", address: null },
            { name: "db", type: "A", address: "10.0.0.1", ttl: 5 },
            { regexp: "^x", type: "AAAA", address: "fd00::1" },
            { name: "c", type: "CNAME", target: "b.test" },
            { name: "t", type: "TXT", text: ["a b", '"'] },
            { name: "m", type: "MX", preference: 1, exchange: "." },
            { name: "s", type: "SRV", priority: 1, weight: 2, port: 3, target: "b.test" },
          ],
        },
      ],
      containers: { name: "docker.internal", records: [{ name: "web", type: "A", address: "172.17.0.2", ttl: 0 }] },
      resolver: "system",
      upstreams: [
        { domain: "corp.example", from: "the configuration", servers: [] },
        {
          domain: "",
          from: "/etc/resolv.conf",
          servers: [
            { server: "10.0.0.53", state: "alive", roundTrip: 1.26, answers: 12, failures: 1 },
            { server: "[fd00::53]:5353", state: "untried", roundTrip: null, answers: 0, failures: 0 },
          ],
        },
      ],
      search: ["a.test", "b.test"],
      cache: {
        entries: 3,
        bytes: 1572864,
        hits: 4,
        misses: 5,
        stale: 6,
        evictions: 7,
        maxEntries: 1,
        maxBytes: 16777216,
      },
      hosts: { path: "/etc/hosts", names: 1 },
      vms: [
        {
          name: "unix:///vm.sock",
          statistics: {
            queries: 10,
            answeredLocally: 1,
            answeredFromCache: 2,
            forwarded: 3,
            failures: 4,
            formErr: 0,
            dropped: 5,
          },
        },
      ],
    });
    expect(text.split("\n")).toEqual([
      "Zones (the first that a name is in answers):",
      "  a.test (for unix:///vm.sock alone)",
      "    vm       A      the VM that asks",
      "    db    5  A      10.0.0.1",
      "    /^x/     AAAA   fd00::1",
      "    c        CNAME  b.test.",
      '    t        TXT    "a b" "\\""',
      "    m        MX     1 .",
      "    s        SRV    1 2 3 b.test.",
      "    every other name: 10.0.0.9",
      "  docker.internal (containers, for names that no zone above has)",
      "    web  0  A  172.17.0.2",
      "",
      "Hosts file: /etc/hosts, 1 name",
      "Search domains: a.test, b.test",
      "",
      "Addresses are looked up by the system's own call, everything else by name servers.",
      "",
      "Name servers (the longest domain that a name is in holds):",
      "  DOMAIN              SERVER           STATE    ROUND TRIP  ANSWERS  FAILURES  FROM",
      "  corp.example        none             -        -           -        -         the configuration",
      "  (every other name)  10.0.0.53        alive    1.3 ms      12       1         /etc/resolv.conf",
      "  (every other name)  [fd00::53]:5353  untried  -           0        0         /etc/resolv.conf",
      "",
      "Cache: 3 of at most 1 answer, 1.5 MB of 16.0 MB",
      "  4 from it, 5 not in it, 6 past their time, 7 dropped for others",
      "",
      "VMs:",
      "  NAME             QUERIES  LOCAL  CACHE  FORWARDED  FAILED  MALFORMED  DROPPED",
      "  unix:///vm.sock  10       1      2      3          4       0          5",
    ]);
  });
});

describe("a look-up in words", () => {
  const report: DnsQueryReport = {
    name: "a.test",
    type: "A",
    vm: null,
    origin: "zone",
    source: "test",
    route: null,
    milliseconds: 12.4,
    rcode: "NOERROR",
    flags: ["aa", "rd"],
    answers: [],
    authorities: [],
    additionals: [],
    isCutOff: false,
  };
  const route = { domain: "", from: "/etc/resolv.conf", servers: ["10.0.0.2", "10.0.0.3"] };
  const rule = { domain: "corp.example", from: "the configuration", servers: ["10.0.0.53"] };

  it.each<[Partial<DnsQueryReport>, string]>([
    [{}, "zone test"],
    [{ origin: "hosts", source: "/etc/hosts" }, "hosts file /etc/hosts"],
    [{ origin: "special", source: "a name of special use" }, "a name of special use"],
    [{ origin: "cache", route }, "10.0.0.2, 10.0.0.3 (/etc/resolv.conf), from the cache"],
    [
      { origin: "stale", route: rule },
      "rule corp.example -> 10.0.0.53 (the configuration), from the cache past its time, as no server answers",
    ],
    [
      { origin: "upstream", source: "10.0.0.53", route: rule },
      "rule corp.example -> 10.0.0.53 (the configuration), answered in 12 ms by 10.0.0.53",
    ],
    [{ origin: "upstream", source: "the system's resolver" }, "answered in 12 ms by the system's resolver"],
    [
      { origin: "failure", source: "no server answered", route: { ...route, servers: [] } },
      "no server (/etc/resolv.conf), no answer after 12 ms: no server answered",
    ],
  ])("says why: %j", (change, why) => {
    expect(describeQuery({ ...report, ...change }).split("\n")[0]).toBe(`a.test A: ${why}`);
  });

  it("shows the answer as dig does", () => {
    const text = describeQuery({
      ...report,
      vm: "unix:///vm.sock",
      answers: [
        { name: "a.test.", ttl: 60, class: "IN", type: "CNAME", data: "long.b.test." },
        { name: "long.b.test.", ttl: 5, class: "IN", type: "A", data: "10.0.0.1" },
      ],
      additionals: [{ name: "x.", ttl: 1, class: "CH", type: "TXT", data: '"y"' }],
      isCutOff: true,
    });
    expect(text.split("\n").slice(1)).toEqual([
      ";; for unix:///vm.sock",
      ";; status: NOERROR, flags: aa rd",
      "",
      ";; ANSWER SECTION:",
      "a.test.       60  IN  CNAME  long.b.test.",
      "long.b.test.  5   IN  A      10.0.0.1",
      "",
      ";; ADDITIONAL SECTION:",
      'x.  1  CH  TXT  "y"',
      "",
      ";; the message ends in the middle of a record",
    ]);
  });
});
