import { expect, test } from "vitest";
import { readEnvironment } from "./environment.ts";

const proxy = (host: string, port = 3128) => ({ kind: "http", host, port });

test("says nothing when no proxy is set, whatever is excluded", () => {
  const nothing = { settings: null, problems: [] };
  expect(readEnvironment({})).toEqual(nothing);
  expect(readEnvironment({ NO_PROXY: "example.com", PATH: "/bin" })).toEqual(nothing);
  expect(readEnvironment({ http_proxy: "", HTTP_PROXY: " ", ALL_PROXY: "" })).toEqual(nothing);
});

test("gives a proxy for each scheme, with what is excluded, and the names of the variables", () => {
  const { settings, problems } = readEnvironment({
    HTTP_PROXY: "http://one.example:3128",
    HTTPS_PROXY: "https://two.example:3129",
    NO_PROXY: "corp.example, .lab.example",
  });
  expect(problems).toEqual([]);
  expect(settings).toMatchObject({
    http: [proxy("one.example")],
    https: [{ kind: "https", host: "two.example", port: 3129 }],
    pac: null,
    exclusions: [{ entries: ["corp.example", ".lab.example"], from: "the environment (NO_PROXY)" }],
    from: "the environment (HTTP_PROXY, HTTPS_PROXY)",
  });
  expect(settings!.exclusions[0].list.match("www.corp.example", 443)).toBe("corp.example");
});

test("prefers lower case, unless that is empty", () => {
  const { settings } = readEnvironment({
    http_proxy: "http://lower.example:3128",
    HTTP_PROXY: "http://upper.example:3128",
    https_proxy: "",
    HTTPS_PROXY: "http://upper.example:3128",
    no_proxy: "lower.example",
    NO_PROXY: "upper.example",
  });
  expect(settings).toMatchObject({
    http: [proxy("lower.example")],
    https: [proxy("upper.example")],
    exclusions: [{ entries: ["lower.example"], from: "the environment (no_proxy)" }],
    from: "the environment (http_proxy, HTTPS_PROXY)",
  });
});

test("has https go direct when only http has a proxy, and the other way round", () => {
  expect(readEnvironment({ http_proxy: "http://one.example:3128" }).settings).toMatchObject({
    http: [proxy("one.example")],
    https: [],
  });
  expect(readEnvironment({ https_proxy: "http://one.example:3128" }).settings).toMatchObject({
    http: [],
    https: [proxy("one.example")],
  });
});

test("takes ALL_PROXY for each scheme without a variable of its own", () => {
  const socks = { kind: "socks5h", host: "socks.example", port: 1080 };
  expect(readEnvironment({ ALL_PROXY: "socks5h://socks.example:1080" }).settings).toMatchObject({
    http: [socks],
    https: [socks],
    from: "the environment (ALL_PROXY)",
  });
  const both = { all_proxy: "socks5h://socks.example:1080", HTTPS_PROXY: "http://one.example:3128" };
  expect(readEnvironment(both).settings).toMatchObject({
    http: [socks],
    https: [proxy("one.example")],
    from: "the environment (all_proxy, HTTPS_PROXY)",
  });
});

test("takes a value without a scheme for an HTTP proxy", () => {
  expect(readEnvironment({ http_proxy: "one.example:3128", https_proxy: "two.example" }).settings).toMatchObject({
    http: [proxy("one.example")],
    https: [proxy("two.example", 80)],
  });
});

test("takes credentials from the URL", () => {
  expect(readEnvironment({ http_proxy: "http://alice:s3%40cret@one.example:3128" }).settings?.http).toEqual([
    { ...proxy("one.example"), credentials: { user: "alice", password: "s3@cret" } },
  ]);
});

test("takes what is no proxy as not set, and says so without the password", () => {
  const { settings, problems } = readEnvironment({
    HTTP_PROXY: "ftp://alice:s3cret@one.example:3128",
    HTTPS_PROXY: "http://two.example:3128",
    NO_PROXY: "a..b,ok.example",
  });
  expect(settings).toMatchObject({ http: [], https: [proxy("two.example")], from: "the environment (HTTPS_PROXY)" });
  expect(settings!.exclusions[0].list.size).toBe(1);
  expect(problems).toEqual([
    expect.stringMatching(/^the environment: HTTP_PROXY: .*\*\*\*@one\.example/),
    'the environment: the exclusion "a..b": it has an empty label',
  ]);
  expect(problems.join()).not.toContain("s3cret");
});

test("does not repeat a credential that stands in the list of what is excluded", () => {
  const url = `http://alice:s3cret${"x".repeat(200)}@host.example`;
  const { settings, problems } = readEnvironment({
    https_proxy: "http://p:1",
    no_proxy: `${url},bob:s3cret@host,a.example`,
  });
  expect(problems).toHaveLength(2);
  expect(settings?.exclusions[0].entries).toEqual(["http://...", "...@host", "a.example"]);
  expect(JSON.stringify([settings, problems])).not.toMatch(/s3cret|alice|bob/);
});

test("says nothing when no value is a proxy, with the problem", () => {
  const { settings, problems } = readEnvironment({ ALL_PROXY: "http://" });
  expect(settings).toBeNull();
  expect(problems).toEqual([expect.stringMatching(/^the environment: ALL_PROXY: /)]);
});
