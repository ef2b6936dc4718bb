import { describe, expect, it } from "vitest";
import type { ProxyReport, ProxyRouteReport, ProxySettingsReport } from "../control/reports.ts";
import { describeInForce, describeProxy, describeRoute, describeTrial } from "./proxy-text.ts";

const ONE = "http://proxy.example:3128";
const TWO = "socks5h://10.0.0.1:1080";
const FROM = "the environment (HTTPS_PROXY)";
const DIRECT: ProxySettingsReport = { http: [], https: [], pac: null, exclusions: [], allowed: null, from: FROM };

function report(settings: Partial<ProxySettingsReport>, more: Partial<ProxyReport> = {}): ProxyReport {
  return {
    ...{ enabled: true, transparentPorts: [80, 443], isSetAtRunTime: false, sources: [], upstreams: [], vms: [] },
    settings: { ...DIRECT, ...settings },
    ...more,
  };
}

describe("what is in force", () => {
  it("is one way where it is the same for all", () => {
    const exclusions = [
      { entries: [".lab.example"], from: "the configuration" },
      { entries: [".corp.example", "10.0.0.0/8"], from: "the environment (NO_PROXY)" },
    ];
    expect(describeInForce(report({ http: [ONE, TWO], https: [ONE, TWO], exclusions }))).toEqual([
      "HTTP proxy",
      "  Requests    http://proxy.example:3128, socks5h://10.0.0.1:1080",
      "  From        the environment (HTTPS_PROXY)",
      "  But direct  .lab.example (the configuration)",
      "              .corp.example, 10.0.0.0/8 (the environment (NO_PROXY))",
      "  Guests      those that use http.docker.internal:3128; all that connect to port 80 and 443, while there is a proxy",
    ]);
  });

  it("is two ways where they differ, or what a script says", () => {
    expect(describeInForce(report({ https: [ONE] })).slice(1, 3)).toEqual([
      "  Plain HTTP  direct",
      "  HTTPS       http://proxy.example:3128",
    ]);
    const pac = "http://wpad.example/proxy.pac";
    expect(describeInForce(report({ pac }))[1]).toBe(`  Requests  as the PAC script ${pac} says`);
  });

  it("names the only hosts that are allowed, and cuts a long list off", () => {
    const entries = Array.from({ length: 25 }, (_, index) => `h${index}`);
    const lines = describeInForce(report({ allowed: ["a", "b"], exclusions: [{ entries, from: "x" }] }));
    expect(lines).toContain("  Allowed     nothing but a, b");
    expect(lines.join("\n")).toContain("h19 and 5 more (x)");
  });

  it.each<[Partial<ProxyReport>, string]>([
    [{ transparentPorts: "none" }, "those that use http.docker.internal:3128"],
    [{ enabled: false, transparentPorts: "all" }, "all that connect to every port, while there is a proxy"],
    [{ enabled: false, transparentPorts: [443] }, "all that connect to port 443, while there is a proxy"],
    [{ enabled: false, transparentPorts: [] }, "none is served"],
    [{ enabled: false, transparentPorts: "none" }, "none is served"],
  ])("says for whom it is: %j", (more, text) => {
    expect(describeInForce(report({}, more)).at(-1)).toBe(`  Guests    ${text}`);
  });
});

describe("the whole", () => {
  it("shows the sources, their problems, how the proxies do, and the VMs", () => {
    const lines = describeProxy(
      report(
        { https: [ONE] },
        {
          sources: [
            { name: "the run-time setting", says: null, isInForce: false, problems: [] },
            { name: "the configuration", says: "system", isInForce: true, problems: ["the configuration: \u001b[31m"] },
            { name: "the environment", says: { ...DIRECT, https: [ONE] }, isInForce: true, problems: [] },
          ],
          upstreams: [
            { server: ONE, state: "working", sinceSeconds: 192, reason: null, nextTrySeconds: null },
            { server: TWO, state: "failing", sinceSeconds: 5, reason: "it is gone", nextTrySeconds: 1.2 },
            { server: "http://x:1", state: "unused", sinceSeconds: null, reason: null, nextTrySeconds: null },
          ],
          vms: [{ name: "unix:///run/vm.sock", connections: 12, tunnels: 3 }],
        },
      ),
    );
    expect(lines.slice(lines.indexOf("") + 1)).toEqual([
      "SOURCE                IN FORCE  SAYS",
      "the run-time setting  -         nothing",
      "the configuration     yes       what the host has set, by its environment or its system",
      "the environment       yes       Plain HTTP: direct; HTTPS: http://proxy.example:3128",
      "",
      "What cannot be used:",
      "  the configuration: ?[31m",
      "",
      "PROXY                      STATE    FOR    WHY",
      "http://proxy.example:3128  working  3m12s  -",
      "socks5h://10.0.0.1:1080    failing  5s     it is gone; tried again in 2 s",
      "http://x:1                 unused   -      -",
      "",
      "VM                   CONNECTIONS  TUNNELS",
      "unix:///run/vm.sock           12        3",
    ]);
  });
});

describe("a route", () => {
  const route = (routes: readonly string[], host = "www.example.com"): ProxyRouteReport => {
    return { scheme: "https", host, port: 443, routes, reason: "the configuration" };
  };

  it.each([
    [["direct"], "goes direct"],
    [["refuse"], "is refused"],
    [[ONE], `goes through ${ONE}`],
    [[ONE, TWO, "direct"], `goes through ${ONE}; when that fails: ${TWO}, direct`],
  ])("%j", (routes, text) => {
    expect(describeRoute(route(routes))).toEqual([`https://www.example.com:443 ${text}`, "  by the configuration"]);
  });

  it("has an IPv6 address in brackets", () => {
    expect(describeRoute(route(["direct"], "2001:db8::1"))[0]).toBe("https://[2001:db8::1]:443 goes direct");
  });

  it("has what came of a request behind it", () => {
    const trial = { ...route([ONE]), status: 200, milliseconds: 45 };
    const message = "www.example.com:443 is reached";
    expect(describeTrial({ ...trial, isReached: true, message }).at(-1)).toBe(`  ${message}, after 45 ms`);
    expect(describeTrial({ ...trial, isReached: false, message: "it is\u0007 not there" }).at(-1)).toBe(
      "  not reached: it is? not there, after 45 ms",
    );
  });
});
