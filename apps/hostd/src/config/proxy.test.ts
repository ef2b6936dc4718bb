import { describe, expect, it } from "vitest";
import { parseConfigText } from "./file.ts";
import { configToData, configToYaml, shownProxy } from "./print.ts";
import { ConfigError, type ConfigProblem } from "./problems.ts";
import { configWarnings, parseConfig } from "./resolve.ts";

const parse = (proxy: unknown) => parseConfig({ proxy }, "test");

function problems(proxy: unknown): readonly ConfigProblem[] {
  try {
    parse(proxy);
  } catch (error) {
    if (error instanceof ConfigError) return error.problems;
    throw error;
  }
  return [];
}

const UPSTREAM_FORM =
  "a proxy such as http://proxy.example:3128, https://, socks5:// or socks5h://, several with commas between, the URL of a PAC " +
  "script with pac+ in front, system or direct";

describe("proxy.upstream", () => {
  it.each([
    ["system", { kind: "system" }],
    ["DIRECT", { kind: "direct" }],
    ["pac+file:///etc/proxy.pac", { kind: "pac", url: "file:///etc/proxy.pac" }],
    ["proxy.example:3128", { kind: "proxies", servers: [{ kind: "http", host: "proxy.example", port: 3128 }] }],
  ])("is %s", (upstream, setting) => {
    expect(parse({ upstream }).proxy.upstream).toEqual({ setting, text: upstream });
  });

  it.each([
    ["", '""', "it is empty"],
    ["none", '"none"', "it is no word that is known"],
    ["http://bob:s3cret@proxy.example:x", '"http://***@proxy.example:***"', "the port is no number from 1 to 65535"],
    ["http://bob:s3cret/proxy.example", '"http://bob:***"', "a proxy has no path, no query and no fragment"],
    ["http://bob:s3@cret@proxy.example/path", '"http://***@proxy.example/path"', "no path, no query and no fragment"],
    ["bob:s3cret@proxy.example", '"***@proxy.example"', "without a scheme in front a port has to follow the host"],
    ["http://a:1, http://bob:s3cret@b:x", '"http://a:1, http://***@b:***"', "the port is no number from 1 to 65535"],
  ])("is refused without a password being shown: %j", (upstream, shown, reason) => {
    const [problem, ...others] = problems({ upstream });
    expect(others).toEqual([]);
    expect(problem.message).toMatch(`test: proxy.upstream: ${shown} is not ${UPSTREAM_FORM} (`);
    expect(problem.message).toContain(reason);
    expect(JSON.stringify(problem)).not.toContain("cret");
  });

  it.each([
    [{ upstream: { url: "http://bob:s3cret@proxy" } }],
    [{ upstream: ["http://bob:s3cret@proxy"] }],
    [{ upstrem: "http://bob:s3cret@proxy" }],
    [{ transparentPorts: "http://bob:s3cret@proxy" }],
    [{ noProxy: ["http://bob:s3cret@proxy"] }],
    ["http://bob:s3cret@proxy"],
  ])("shows no password in the wrong place either: %j", (proxy) => {
    const found = problems(proxy);
    expect(found).toHaveLength(1);
    expect(JSON.stringify(found)).not.toContain("s3cret");
  });

  it("shows none in what a file with a mistake is said of", () => {
    const text = "proxy:\n  upstream: http://bob:s3cret@proxy.example:99999\n";
    expect(() => parseConfigText(text, "hostd.yaml", "/etc")).not.toThrow("s3cret");
    const broken = "proxy:\n  upstream: {http://bob:s3cret@proxy.example\n";
    expect(() => parseConfigText(broken, "hostd.yaml", "/etc")).toThrow(/hostd\.yaml/);
    expect(() => parseConfigText(broken, "hostd.yaml", "/etc")).not.toThrow("s3cret");
  });
});

describe("proxy.transparentPorts", () => {
  it.each([
    ["none", "none"],
    ["all", "all"],
    ["80", [80]],
    [" 80 , 443", [80, 443]],
  ])("is %j", (transparentPorts, ports) => {
    const config = parse({ transparentPorts });
    expect(config.proxy.transparentPorts).toEqual(ports);
    expect(parseConfig(configToData(config), "test")).toEqual(config);
  });

  it.each(["", "0", "80,", "65536", "http", "80-90", "-1", "1e3"])("is not %j", (transparentPorts) => {
    expect(problems({ transparentPorts })[0].message).toMatch(
      /^test: proxy\.transparentPorts: ".*" is not ports such as 80,443, "all" or "none" \(each is a number from 1 to 65535\)$/,
    );
  });
});

describe("proxy.via", () => {
  it("is a token", () => {
    expect(parse({ via: "hostd-1" }).proxy.via).toBe("hostd-1");
    for (const via of ["", "a b", "a,b", "ä", "a".repeat(65)]) expect(problems({ via }), via).toHaveLength(1);
  });
});

describe("the configuration as it is shown", () => {
  it("has *** in the place of a user and a password, and says so", () => {
    const config = parse({
      upstream: "http://bob:s3cret@a:1,https://c",
      noProxy: ".corp.example,http://bob:s3cret@x",
    });
    expect(shownProxy(config)).toMatchObject({
      upstream: "http://***@a:1,https://c",
      noProxy: ".corp.example,***@x",
    });
    expect(configToYaml(config)).not.toContain("s3cret");
    expect(configToYaml(config)).toMatch(/^# In the section proxy \*\*\* stands for a user and a password/);
    expect(parseConfig(configToData(config), "test")).toEqual(config);
  });

  it("is whole where there is no password", () => {
    const config = parse({ upstream: "http://a:1, https://c", noProxy: "*.example" });
    expect(configToYaml(config)).toMatch(/^qemu:/);
    expect(parseConfigText(configToYaml(config), "printed", "/").input).toEqual(configToData(config));
  });
});

describe("docker.injectProxyEnv", () => {
  const warnings = (proxy: object, docker: object) => {
    return configWarnings(parseConfig({ proxy, docker: { injectProxyEnv: true, ...docker } }, "test")).filter(
      (line) => {
        return line.startsWith("docker.injectProxyEnv");
      },
    );
  };

  it("comes with a warning where it does nothing", () => {
    expect(warnings({}, { listen: "/run/docker.sock" })).toEqual([]);
    expect(warnings({ enabled: false }, { listen: "/run/docker.sock" })).toHaveLength(1);
    expect(warnings({}, {})).toHaveLength(1);
  });
});
