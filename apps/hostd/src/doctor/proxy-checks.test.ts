import { describe, expect, it } from "vitest";
import type { ProxyReport, ProxyRouteReport } from "../control/reports.ts";
import { answers, fakeHost, proxies, subjectOf, systemError } from "../testing/fake-host.ts";
import type { Host } from "./host.ts";
import { checkProxies } from "./proxy-checks.ts";

const FROM = "the environment (HTTPS_PROXY)";

const check = (changes: Partial<Host>, settings: Parameters<typeof subjectOf>[1] = {}) => {
  const host = fakeHost(changes);
  return checkProxies(host, subjectOf(host, settings));
};

/** Proxies of which some take no connection. */
const refusing = (...ports: readonly number[]): Host["connectTcp"] => {
  return async ({ port }) => {
    if (ports.includes(port)) throw systemError("ECONNREFUSED");
  };
};

describe("the check of proxies", () => {
  it("says that there is none, and from where that is known", async () => {
    expect(await check({})).toEqual([{ name: "proxies", status: "ok", seen: `none: requests go direct (${FROM})` }]);
  });

  it("shows those in force, and connects to each once", async () => {
    const asked: number[] = [];
    const one = "http://proxy.example:3128";
    const exclusions = [{ entries: [".corp.example", "10.0.0.0/8"], from: "x" }];
    const findings = await check({
      proxySettings: async () => proxies({ http: [one], https: [one, "socks5h://[::1]:1080"], exclusions }),
      connectTcp: async ({ port }) => {
        asked.push(port);
      },
    });
    expect(findings.map(({ status, seen }) => [status, seen])).toEqual([
      ["ok", `requests go through ${one}, HTTPS through ${one}, socks5h://[::1]:1080, but for 2 exclusions (${FROM})`],
      ["ok", `${one} takes connections`],
      ["ok", "socks5h://[::1]:1080 takes connections"],
    ]);
    expect(asked).toEqual([3128, 1080]);
  });

  it("fails for one that takes no connection, and warns where another one is taken then", async () => {
    const list = ["http://proxy.example:1", "http://proxy.example:2"];
    const statuses = async (...ports: readonly number[]) => {
      const findings = await check({
        proxySettings: async () => proxies({ http: list, https: list }),
        connectTcp: refusing(...ports),
      });
      return findings.slice(1).map(({ status }) => status);
    };
    expect(await statuses(1)).toEqual(["warning", "ok"]);
    expect(await statuses(1, 2)).toEqual(["failure", "failure"]);
  });

  it("warns of what a source says that cannot be used, and of credentials that cannot", async () => {
    const findings = await check(
      {
        proxySettings: async () => proxies({}, ["the environment: HTTP_PROXY: it is empty"]),
        whyNoCredentials: (path) => `cannot take credentials from ${path}: its mode is 0644`,
      },
      { proxy: { credentials: "/home/me/proxy" } },
    );
    expect(findings.slice(1)).toMatchObject([
      { status: "warning", seen: "the environment: HTTP_PROXY: it is empty" },
      { status: "warning", seen: "cannot take credentials from /home/me/proxy: its mode is 0644" },
    ]);
  });

  it("is about the hostd that runs, and asks its PAC script", async () => {
    const pac = "http://wpad.example/proxy.pac";
    const { settings, sources } = proxies({ pac });
    const report: ProxyReport = {
      ...{ enabled: true, transparentPorts: "none", isSetAtRunTime: false, upstreams: [], vms: [] },
      ...{ settings, sources },
    };
    const route = (reason: string): ProxyRouteReport => {
      return { scheme: "https", host: "www.example.com", port: 443, routes: ["direct"], reason };
    };
    const ask = (reason: string) => {
      return check({
        proxySettings: async () => {
          throw new Error("nobody else is asked");
        },
        get: answers({
          "/version": { version: "0.1.0" },
          "/v1/proxy": report,
          "/v1/proxy/route?url=https%3A%2F%2Fwww.example.com": route(reason),
        }),
      });
    };
    expect(await ask("the PAC script")).toMatchObject([
      { status: "ok", seen: `requests go as the PAC script ${pac} says (${FROM})` },
      { name: "PAC script", status: "ok", seen: "for https://www.example.com: direct (the PAC script)" },
    ]);
    expect((await ask("the PAC script, which failed (no answer)"))[1]).toMatchObject({ status: "failure" });
  });
});
