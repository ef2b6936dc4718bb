import { describe, expect, test } from "vitest";
import { parseVpnkitProxies } from "./vpnkit-json.ts";

const FROM = "/run/proxy.json";
const parse = (file: unknown) => parseVpnkitProxies(JSON.stringify(file), FROM);

describe("vpnkit's proxy file", () => {
  test("says all that it can say", () => {
    const { settings, problems, transparentPorts } = parse({
      http: "http://alice:s3cret@one.example:3128",
      https: "two.example:3129",
      exclude: "corp.example, 10.0.0.0/8 *.lab.example",
      transparent_http_ports: [80, 8080],
      transparent_https_ports: [443, 8443],
      allow_enabled: true,
      allow: ["example.org", "*.example.net"],
      allow_error_msg: "No %s here.",
      something_else: 1,
    });
    expect(problems).toEqual([]);
    expect(settings).toMatchObject({
      http: [{ kind: "http", host: "one.example", port: 3128, credentials: { user: "alice", password: "s3cret" } }],
      https: [{ kind: "http", host: "two.example", port: 3129 }],
      pac: null,
      exclusions: [{ entries: ["corp.example", "10.0.0.0/8", "*.lab.example"], from: FROM }],
      allowed: { entries: ["example.org", "*.example.net"], message: "No %s here.", from: FROM },
      from: FROM,
    });
    expect(settings?.allowed?.list.match("www.example.org", 443)).toBe("example.org");
    expect(settings?.allowed?.list.match("example.com", 443)).toBeNull();
    expect(transparentPorts).toEqual({ http: [80, 8080], https: [443, 8443] });
  });

  test("says that everything goes direct when there is nothing in it", () => {
    for (const file of [{}, { http: "", https: null, exclude: "", allow_enabled: false, allow: ["example.org"] }]) {
      expect(parse(file)).toEqual({
        settings: { http: [], https: [], pac: null, exclusions: [], allowed: null, from: FROM },
        problems: [],
        transparentPorts: { http: [80], https: [443] },
      });
    }
  });

  test("takes an empty list of ports as none", () => {
    expect(parse({ transparent_http_ports: [] }).transparentPorts).toEqual({ http: [], https: [443] });
  });

  test("allows nothing when nothing is in the list of what is allowed", () => {
    const { settings } = parse({ allow_enabled: true });
    expect(settings?.allowed?.list.match("example.org", 443)).toBeNull();
    expect(settings?.allowed?.message).toBe("Connections to %s are forbidden by policy.");
  });

  test("leaves out what is no proxy and no host, and says so without the password", () => {
    const { settings, problems } = parse({
      http: "gopher://alice:s3cret@one.example",
      https: "http://two.example:3128",
      exclude: "a..b",
    });
    expect(settings).toMatchObject({ http: [], https: [{ host: "two.example" }] });
    expect(problems).toEqual([
      expect.stringMatching(/^\/run\/proxy\.json: http: /),
      `${FROM}: the exclusion "a..b": it has an empty label`,
    ]);
    expect(problems.join()).not.toContain("s3cret");
  });

  test.each([
    ["half a file", '{"http": "http://alice:s3cret@one.example:31', "it is no JSON"],
    ["a list", "[]", "it is no JSON object"],
    ["a word", '"http://one.example"', "it is no JSON object"],
    ["nothing", "null", "it is no JSON object"],
    ["a number as a proxy", '{"http": 3128}', '"http" has to be a string'],
    ["an object as exclusions", '{"exclude": {}}', '"exclude" has to be a list of strings'],
    ["a number among exclusions", '{"exclude": ["a", 1]}', '"exclude" has to be a list of strings'],
    ["a word for a truth value", '{"allow_enabled": "yes"}', '"allow_enabled" has to be true or false'],
    ["port 0", '{"transparent_http_ports": [0]}', '"transparent_http_ports" has to be a list of ports, 1 to 65535'],
    ["a port as a word", '{"transparent_https_ports": ["443"]}', '"transparent_https_ports" has to be a list of ports'],
  ])("is refused with %s", (_, text, message) => {
    expect(() => parseVpnkitProxies(text, FROM)).toThrow(message);
    expect(() => parseVpnkitProxies(text, FROM)).not.toThrow("s3cret");
  });
});
