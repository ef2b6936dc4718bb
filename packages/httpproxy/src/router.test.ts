import { beforeEach, describe, expect, test } from "vitest";
import { settle } from "../../streams/src/testing/peer.ts";
import type { PacResolver } from "./pac/pac-resolver.ts";
import { type Decision, type Destination, formatRoute, type Route } from "./route.ts";
import { SettingsRouter, type SettingsRouterOptions } from "./router.ts";
import { ExclusionList } from "./settings/exclusion-list.ts";
import { parseProxy } from "./settings/proxy-url.ts";
import { directSettings, type Exclusions, type ProxySettings } from "./sources/proxy-settings.ts";

const ENVIRONMENT = "the environment (HTTPS_PROXY)";
const PAC = "http://wpad.example/proxy.pac";
const SCRIPT = `the PAC script ${PAC} of ${ENVIRONMENT}`;

const http = (host: string, port = 80): Destination => ({ scheme: "http", host, port });
const https = (host: string, port = 443): Destination => ({ scheme: "https", host, port });
const proxies = (...urls: readonly string[]) => urls.map(parseProxy);

function exclude(...entries: readonly string[]): Exclusions {
  return { list: ExclusionList.parse(entries), entries, from: "the environment (NO_PROXY)" };
}

/** A PAC script that a test answers for. */
class PlayedPac implements PacResolver {
  readonly url: string;
  readonly asked: { readonly destination: Destination; readonly answer: PromiseWithResolvers<readonly Route[]> }[] = [];
  isClosed = false;

  constructor(url: string) {
    this.url = url;
  }

  routes(destination: Destination): Promise<readonly Route[]> {
    const answer = Promise.withResolvers<readonly Route[]>();
    this.asked.push({ destination, answer });
    return answer.promise;
  }

  close(): void {
    this.isClosed = true;
    for (const { answer } of this.asked) answer.reject(new Error("closed"));
  }
}

describe("a decision", () => {
  let settings: ProxySettings | null;
  let known: PromiseWithResolvers<ProxySettings>;
  let scripts: PlayedPac[];
  let listeners: Set<(settings: ProxySettings) => void>;

  beforeEach(() => {
    settings = directSettings(ENVIRONMENT);
    known = Promise.withResolvers();
    scripts = [];
    listeners = new Set();
  });

  function use(change: Partial<ProxySettings>): ProxySettings {
    const next = { ...directSettings(ENVIRONMENT), ...change };
    settings = next;
    for (const listener of listeners) listener(next);
    return next;
  }

  function make(options: Partial<SettingsRouterOptions> = {}): SettingsRouter {
    return new SettingsRouter({
      settings: {
        current: () => settings,
        settled: () => known.promise,
        onChange: (listener) => {
          listeners.add(listener);
          return () => listeners.delete(listener);
        },
      },
      openPac: (url) => {
        const script = new PlayedPac(url);
        scripts.push(script);
        return script;
      },
      pacFailure: "refuse",
      isThisHost: (host) => host === "host.docker.internal" || host === "192.168.127.254",
      ...options,
    });
  }

  /** A decision with its routes as they are written. */
  async function written(decision: Decision | Promise<Decision>): Promise<[string[], string]> {
    const { routes, reason } = await decision;
    return [routes.map(formatRoute), reason];
  }

  const decide = (destination: Destination) => written(make().decide(destination));

  test("is direct when no proxy is set", async () => {
    expect(await decide(https("example.com"))).toEqual([["direct"], ENVIRONMENT]);
  });

  test("is for the proxies of the scheme, in their order", async () => {
    use({ http: proxies("http://one:1", "socks5h://two:2"), https: proxies("https://three:3") });
    expect(await decide(http("example.com"))).toEqual([["http://one:1", "socks5h://two:2"], ENVIRONMENT]);
    expect(await decide(https("example.com"))).toEqual([["https://three:3"], ENVIRONMENT]);
  });

  test("is direct for a scheme without a proxy", async () => {
    use({ https: proxies("http://one:1") });
    expect(await decide(http("example.com"))).toEqual([["direct"], `${ENVIRONMENT}, which names no proxy for http`]);
  });

  test("is direct for what is excluded, by the entry that says so", async () => {
    use({
      https: proxies("http://one:1"),
      exclusions: [
        { ...exclude("lab.example"), from: "the configuration" },
        exclude(".corp.example", "10.0.0.0/8:443"),
      ],
    });
    const direct = ["direct"];
    expect(await decide(https("a.lab.example"))).toEqual([direct, 'the exclusion "lab.example" of the configuration']);
    expect(await decide(https("www.corp.example"))).toEqual([
      direct,
      'the exclusion ".corp.example" of the environment (NO_PROXY)',
    ]);
    expect(await decide(https("example.com"))).toEqual([["http://one:1"], ENVIRONMENT]);
  });

  test("goes by the port of an exclusion", async () => {
    use({ https: proxies("http://one:1"), exclusions: [exclude("corp.example:8443")] });
    expect((await decide(https("corp.example", 8443)))[0]).toEqual(["direct"]);
    expect((await decide(https("corp.example", 443)))[0]).toEqual(["http://one:1"]);
  });

  test.each([
    ["localhost"],
    ["app.localhost"],
    ["127.0.0.1"],
    ["127.255.0.3"],
    ["::1"],
    ["0:0:0:0:0:0:0:1"],
    ["::ffff:127.0.0.1"],
    ["host.docker.internal"],
    ["192.168.127.254"],
  ])("is always direct for this host: %s", async (host) => {
    use({ http: proxies("http://one:1"), pac: PAC });
    expect(await decide(http(host))).toEqual([["direct"], "the rule that this host itself is always reached directly"]);
    expect(scripts).toEqual([]);
  });

  test.each([
    ["localhost.example"],
    ["notlocalhost"],
    ["128.0.0.1"],
    ["::2"],
    ["::ffff:10.0.0.1"],
    ["127.0.0.1.example"],
  ])("is for a proxy with others: %s", async (host) => {
    use({ http: proxies("http://one:1") });
    expect(await decide(http(host))).toEqual([["http://one:1"], ENVIRONMENT]);
  });

  test("is direct for a client that has connected to this host or to what is excluded, whatever it calls that", async () => {
    use({ http: proxies("http://one:1"), exclusions: [exclude("10.0.0.0/8")] });
    const to = (address: string) => decide({ ...http("www.example.com"), address });
    expect(await to("192.168.127.254")).toEqual([
      ["direct"],
      "the rule that this host itself is always reached directly",
    ]);
    expect(await to("10.1.2.3")).toEqual([["direct"], 'the exclusion "10.0.0.0/8" of the environment (NO_PROXY)']);
    expect(await to("192.0.2.1")).toEqual([["http://one:1"], ENVIRONMENT]);
  });

  test("is for nowhere when an allow list does not have the host, whatever else is set", async () => {
    const allowed = { ...exclude("example.org"), from: "/run/proxy.json", message: "No $& %s for you, %s." };
    use({ https: proxies("http://one:1"), exclusions: [exclude("*")], allowed });
    expect(await decide(https("example.com"))).toEqual([
      ["refuse"],
      "the rule of /run/proxy.json: No $& example.com for you, example.com.",
    ]);
    expect((await decide(https("localhost")))[0]).toEqual(["refuse"]);
    expect((await decide(https("www.example.org")))[0]).toEqual(["direct"]);
  });

  test("is had at once where nobody needs to be asked", () => {
    const atOnce = (destination: Destination) => make().decideAtOnce(destination)?.routes.map(formatRoute);
    use({ http: proxies("http://one:1") });
    expect(atOnce(http("example.com"))).toEqual(["http://one:1"]);
    use({ pac: PAC, exclusions: [exclude("10.0.0.0/8")] });
    expect(atOnce(http("10.1.2.3"))).toEqual(["direct"]);
    expect(atOnce(http("example.com"))).toBeUndefined();
    expect(scripts).toEqual([]);
    settings = null;
    expect(atOnce(http("10.1.2.3"))).toBeUndefined();
  });

  test("has what is added to each proxy, by whoever has named it", async () => {
    const named: [string, string | null][] = [];
    const complete: SettingsRouterOptions["complete"] = (server, script) => {
      named.push([server.host, script]);
      return { ...server, credentials: { user: "alice", password: String(named.length) } };
    };
    const router = make({ complete });
    use({ http: proxies("http://one:1", "http://two:2") });
    const passwords = async () => {
      const { routes } = await router.decide(http("example.com"));
      return routes.map((route) => (route.kind === "proxy" ? route.server.credentials?.password : route.kind));
    };
    expect(await passwords()).toEqual(["1", "2"]);
    expect(await passwords()).toEqual(["3", "4"]);
    use({ pac: PAC });
    const asked = passwords();
    scripts[0].asked[0].answer.resolve([{ kind: "proxy", server: parseProxy("http://three:3") }, { kind: "direct" }]);
    expect(await asked).toEqual(["5", "direct"]);
    expect(named.slice(3)).toEqual([
      ["two", null],
      ["three", PAC],
    ]);
  });

  test("waits for settings that are not known yet", async () => {
    settings = null;
    const router = make();
    expect(router.isAlwaysDirect).toBe(false);
    const decision = written(router.decide(https("example.com")));
    known.resolve(use({ https: proxies("http://one:1") }));
    expect(await decision).toEqual([["http://one:1"], ENVIRONMENT]);
  });

  test("is another one as soon as the settings are", async () => {
    const router = make();
    expect((await written(router.decide(http("example.com"))))[0]).toEqual(["direct"]);
    use({ http: proxies("http://one:1") });
    expect((await written(router.decide(http("example.com"))))[0]).toEqual(["http://one:1"]);
    expect(router.isAlwaysDirect).toBe(false);
  });

  describe("by a PAC script", () => {
    test("is what the script says", async () => {
      use({ pac: `${PAC}?token=s3cret`, exclusions: [exclude("corp.example")] });
      const router = make();
      const decision = written(router.decide(https("example.com")));
      expect(scripts.map(({ url }) => url)).toEqual([`${PAC}?token=s3cret`]);
      const [{ destination, answer }] = scripts[0].asked;
      expect(destination).toEqual(https("example.com"));
      answer.resolve([{ kind: "proxy", server: parseProxy("http://one:1") }, { kind: "direct" }]);
      expect(await decision).toEqual([["http://one:1", "direct"], SCRIPT]);
      expect((await written(router.decide(https("corp.example"))))[0]).toEqual(["direct"]);
      void router.decide(http("example.org"));
      expect(scripts).toHaveLength(1);
      expect(scripts[0].asked).toHaveLength(2);
    });

    test.each([
      ["refuse", "are refused"],
      ["direct", "go direct"],
    ] as const)("is to %s when the script fails and that is set", async (pacFailure, what) => {
      use({ pac: PAC });
      const router = make({ pacFailure });
      const decision = written(router.decide(https("example.com")));
      scripts[0].asked[0].answer.reject(new Error("no answer within 10 s"));
      expect(await decision).toEqual([
        [pacFailure],
        `${SCRIPT}, which failed (no answer within 10 s), so that requests ${what}`,
      ]);
    });

    test("is that of a failure when the script names no way, or cannot be opened", async () => {
      use({ pac: PAC });
      const decision = written(make().decide(https("example.com")));
      scripts[0].asked[0].answer.resolve([]);
      expect(await decision).toEqual([
        ["refuse"],
        `${SCRIPT}, which failed (it names no way), so that requests are refused`,
      ]);
      const openPac = () => {
        throw new Error("no sandbox");
      };
      const [routes, reason] = await written(make({ openPac }).decide(https("example.com")));
      expect(routes).toEqual(["refuse"]);
      expect(reason).toContain("(no sandbox)");
    });

    test("is that of the next script, once there is one, also for who asked the old one", async () => {
      use({ pac: PAC });
      const router = make();
      const early = written(router.decide(https("early.example")));
      use({ pac: "http://other.example/proxy.pac" });
      const late = written(router.decide(https("late.example")));
      expect(scripts[0].isClosed).toBe(true);
      await settle();
      expect(scripts).toHaveLength(2);
      expect(scripts[1].asked.map(({ destination }) => destination.host)).toEqual(["late.example", "early.example"]);
      for (const { answer } of scripts[1].asked) answer.resolve([{ kind: "direct" }]);
      const reason = `the PAC script http://other.example/proxy.pac of ${ENVIRONMENT}`;
      expect(await early).toEqual([["direct"], reason]);
      expect(await late).toEqual([["direct"], reason]);
    });

    test("is that of the proxies that come after the script", async () => {
      use({ pac: PAC });
      const router = make();
      const early = written(router.decide(https("early.example")));
      use({ https: proxies("http://one:1") });
      expect(await written(router.decide(https("late.example")))).toEqual([["http://one:1"], ENVIRONMENT]);
      expect(scripts[0].isClosed).toBe(true);
      expect(await early).toEqual([["http://one:1"], ENVIRONMENT]);
    });

    test("has nothing left of a script that is not in force any more, though nobody asks", () => {
      use({ pac: PAC });
      const router = make();
      void router.decide(https("example.com"));
      use({});
      expect(scripts[0].isClosed).toBe(true);
      router.close();
      expect(listeners.size).toBe(0);
    });

    test("keeps the script when other settings change", async () => {
      use({ pac: PAC });
      const router = make();
      void router.decide(https("example.com"));
      use({ pac: PAC, exclusions: [exclude("corp.example")], from: "the configuration" });
      void router.decide(https("example.org"));
      expect(scripts).toHaveLength(1);
      expect(scripts[0].asked).toHaveLength(2);
    });

    test("comes to an end with settings that change all the time", async () => {
      use({ pac: "http://pac0.example/" });
      let count = 0;
      const router = make({
        openPac: (url) => ({
          routes: async () => {
            use({ pac: `http://pac${++count}.example/` });
            throw new Error(`closed ${url}`);
          },
          close: () => {},
        }),
      });
      const [routes, reason] = await written(router.decide(https("example.com")));
      expect(routes).toEqual(["refuse"]);
      expect(reason).toContain("closed http://pac3.example/");
    });

    test("is that of a failure after the router was closed", async () => {
      use({ pac: PAC });
      const router = make();
      const early = written(router.decide(https("example.com")));
      router.close();
      expect(scripts[0].isClosed).toBe(true);
      expect((await early)[0]).toEqual(["refuse"]);
      expect((await written(router.decide(https("example.com"))))[0]).toEqual(["refuse"]);
      expect(scripts).toHaveLength(1);
    });
  });

  test.each<[string, Partial<ProxySettings>, boolean]>([
    ["no proxy", {}, true],
    ["exclusions alone", { exclusions: [exclude("corp.example")] }, true],
    ["a proxy for http", { http: proxies("http://one:1") }, false],
    ["a proxy for https", { https: proxies("http://one:1") }, false],
    ["a PAC script", { pac: PAC }, false],
    ["a proxy, and everything excluded", { http: proxies("http://one:1"), exclusions: [exclude("*")] }, true],
    ["a script, and everything excluded", { pac: PAC, exclusions: [exclude("a"), exclude("*")] }, true],
    ["everything on one port excluded", { pac: PAC, exclusions: [exclude("*:80")] }, false],
    ["an allow list", { allowed: { ...exclude("*"), message: "" } }, false],
  ])("is always direct, or not, with %s", (_, change, isAlwaysDirect) => {
    use(change);
    expect(make().isAlwaysDirect).toBe(isAlwaysDirect);
  });
});
