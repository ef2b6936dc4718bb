import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { maskProxyUrl, ProxyUrlError, parseProxy, parseUpstreamSetting } from "./proxy-url.ts";

/** The message of the error that there has to be. */
function errorOf(action: () => unknown): string {
  try {
    action();
  } catch (error) {
    expect(error).toBeInstanceOf(ProxyUrlError);
    return (error as ProxyUrlError).message;
  }
  throw new Error("there was no error");
}

describe("a proxy", () => {
  test.each([
    ["http://proxy.example:3128", "http", "proxy.example", 3128],
    ["https://proxy.example:8443", "https", "proxy.example", 8443],
    ["socks5://proxy.example:1081", "socks5", "proxy.example", 1081],
    ["socks5h://proxy.example:1081", "socks5h", "proxy.example", 1081],
    ["socks://127.0.0.1:7891/", "socks5h", "127.0.0.1", 7891],
    ["proxy.example:3128", "http", "proxy.example", 3128],
    ["127.0.0.1:3128", "http", "127.0.0.1", 3128],
    ["[::1]:3128", "http", "::1", 3128],
    ["http://[2001:DB8:0:0::1]:3128/", "http", "2001:db8::1", 3128],
    ["  HTTP://Proxy.Example.:3128/\n", "http", "proxy.example", 3128],
    ["http://bücher.example:3128", "http", "xn--bcher-kva.example", 3128],
    ["http://my_proxy:65535", "http", "my_proxy", 65535],
    ["@proxy:1", "http", "proxy", 1],
  ] as const)("%s is read", (text, kind, host, port) => {
    expect(parseProxy(text)).toEqual({ kind, host, port });
  });

  test.each([
    ["http://proxy", 80],
    ["https://proxy", 443],
    ["socks5://proxy", 1080],
    ["socks5h://proxy", 1080],
    ["socks://[::1]", 1080],
  ])("%s has the port of its scheme", (text, port) => {
    expect(parseProxy(text).port).toBe(port);
  });

  test.each([
    ["http://me:secret@proxy:1", "me", "secret"],
    ["me:secret@proxy:1", "me", "secret"],
    ["https://me@proxy", "me", ""],
    ["http://:secret@proxy:1", "", "secret"],
    ["http://me:@proxy:1", "me", ""],
    ["http://CORP%5Cme:p%40ss%3A%2F%23%25w%C3%B6rd@proxy:1", "CORP\\me", "p@ss:/#%wörd"],
    ["http://me:a:b@proxy:1", "me", "a:b"],
    ["http://me:p@ss@proxy:1", "me", "p@ss"],
    ["http://me:a+b@[::1]:1", "me", "a+b"],
    ["socks5://me:secret@proxy:1", "me", "secret"],
    ["socks5h://m%3Ae:secret@proxy:1", "m:e", "secret"],
  ])("%s has credentials", (text, user, password) => {
    expect(parseProxy(text).credentials).toEqual({ user, password });
  });

  test.each([
    ["", "it is empty"],
    [" ", "it is empty"],
    ["proxy.example", "without a scheme in front a port has to follow"],
    ["sytem", "without a scheme in front a port has to follow"],
    ["socks4://proxy:1", "SOCKS 4 is not supported"],
    ["socks4a://proxy:1", "SOCKS 4 is not supported"],
    ["ftp://proxy:1", "its scheme is none that is known"],
    ["://proxy:1", "its scheme is none that is known"],
    ["direct://", "its scheme is none that is known"],
    ["http://", "the host is no name and no address"],
    ["http://:3128", "the host is no name and no address"],
    ["http:///path", "no path"],
    ["http://me:secret@", "the host is no name and no address"],
    ["http://-a$:1", "the host is no name and no address"],
    ["http://a..b:1", "the host is no name and no address"],
    ["http://10.1.2:1", "the host is no name and no address"],
    ["http://010.1.2.3:1", "the host is no name and no address"],
    ["http://a%2eb:1", "the host is no name and no address"],
    [`http://${"a".repeat(64)}:1`, "the host is no name and no address"],
    ["http://::1:3128", "an IPv6 address in brackets"],
    ["http://[::1", "an IPv6 address in brackets"],
    ["http://[::1]x:1", "an IPv6 address in brackets"],
    ["http://[proxy]:1", "in brackets is no IPv6 address"],
    ["http://[fe80::1%25eth0]:1", "in brackets is no IPv6 address"],
    ["http://proxy:", "the port is no number from 1 to 65535"],
    ["http://proxy:0", "the port is no number from 1 to 65535"],
    ["http://proxy:65536", "the port is no number from 1 to 65535"],
    ["http://proxy:80x", "the port is no number from 1 to 65535"],
    ["http://proxy:1/path", "no path"],
    ["http://proxy:1?query", "no path"],
    ["http://proxy:1#", "no path"],
    ["http://me:sec ret@proxy:1", "a space or a control character"],
    ["http://proxy:1\r\nX: y", "a space or a control character"],
    ["http://me:a%0d%0aX:1@proxy:1", "a control character"],
    ["http://m%0ae:secret@proxy:1", "a control character"],
    ["http://m%3Ae:secret@proxy:1", "a colon"],
    ["http://me:100%@proxy:1", "percent encoding"],
    ["http://me:%ff@proxy:1", "percent encoding"],
    ["http://me:sec/ret@proxy:1", "is written %2F"],
    ["http://me:sec#ret@proxy:1", "is written %2F"],
    ["socks5://me@proxy:1", "1 to 255 bytes"],
    ["socks5h://:secret@proxy:1", "1 to 255 bytes"],
    [`socks5://me:${"%C3%B6".repeat(128)}@proxy:1`, "1 to 255 bytes"],
    [`http://${"a".repeat(2048)}`, "longer than 2048 characters"],
  ])("%s is none", (text, reason) => {
    const message = errorOf(() => parseProxy(text));
    expect(message).toContain(reason);
    expect(message).toContain("allowed: host:port");
    expect(message.length).toBeLessThan(400);
  });
});

describe("a setting", () => {
  test("is one of two words", () => {
    expect(parseUpstreamSetting("direct")).toEqual({ kind: "direct" });
    expect(parseUpstreamSetting(" System\n")).toEqual({ kind: "system" });
  });

  test.each([
    ["pac+http://pac.example/proxy.pac", "http://pac.example/proxy.pac"],
    ["PAC+HTTPS://Pac.Example:8443/p?a=b", "https://pac.example:8443/p?a=b"],
    ["pac+file:///etc/proxy.pac", "file:///etc/proxy.pac"],
    ["pac+file:/etc/proxy%20one.pac", "file:///etc/proxy%20one.pac"],
  ])("%s is a script", (text, url) => {
    expect(parseUpstreamSetting(text)).toEqual({ kind: "pac", url });
  });

  test.each([
    ["pac+", "comes no URL"],
    ["pac+http://", "comes no URL"],
    ["pac+/etc/proxy.pac", "comes no URL"],
    ["pac+ftp://host/proxy.pac", "http, https or file"],
    ["pac+data:,x", "http, https or file"],
    ["pac+file://host/proxy.pac", "after three slashes"],
    ["pac+file:///", "no path of a file"],
    ["pac+http://me:secret@host/proxy.pac", "no user and no password"],
    [`pac+http://host/${"a".repeat(2048)}`, "longer than"],
  ])("%s is no script", (text, reason) => {
    const message = errorOf(() => parseUpstreamSetting(text));
    expect(message).toContain(reason);
    expect(message).toContain("allowed: pac+http://host/path");
    expect(message).not.toContain("secret");
  });

  test("is one proxy, or several in their order", () => {
    expect(parseUpstreamSetting("proxy:3128")).toEqual({
      kind: "proxies",
      servers: [{ kind: "http", host: "proxy", port: 3128 }],
    });
    expect(parseUpstreamSetting("http://me:a%2Cb@one:1 ,two:2,\tsocks5://[::1]")).toEqual({
      kind: "proxies",
      servers: [
        { kind: "http", host: "one", port: 1, credentials: { user: "me", password: "a,b" } },
        { kind: "http", host: "two", port: 2 },
        { kind: "socks5", host: "::1", port: 1080 },
      ],
    });
  });

  test.each([
    ["", "it is empty"],
    ["sytem", "it is no word that is known"],
    ["none", "it is no word that is known"],
  ])("%j is none, and the error has all that is allowed", (text, reason) => {
    const message = errorOf(() => parseUpstreamSetting(text));
    expect(message).toContain(reason);
    for (const allowed of ["direct", "system", "pac+http://", "pac+file://", "https://", "socks5://", "host:port"]) {
      expect(message).toContain(allowed);
    }
  });

  test.each([
    ["one:1,", "it is empty"],
    ["one:1,,two:2", "it is empty"],
    ["one:1,direct", "a list is of proxies alone"],
    ["System,one:1", "a list is of proxies alone"],
    ["one:1,pac+http://host/x", "a list is of proxies alone"],
    ["one:1,two", "without a scheme in front a port has to follow"],
    [Array(17).fill("one:1").join(), "more than 16 proxies"],
  ])("%s is no list", (text, reason) => {
    expect(errorOf(() => parseUpstreamSetting(text))).toContain(reason);
  });

  test("a comma in a password does not make two proxies of one", () => {
    const message = errorOf(() => parseUpstreamSetting("http://me:12,34@proxy:1"));
    expect(message).toContain("a comma in a password is written %2C");
    expect(message).toContain('"http://***@proxy:1"');
  });
});

describe("without its password", () => {
  test.each([
    ["http://me:secret@proxy:3128", "http://***@proxy:3128"],
    ["me:secret@proxy:3128", "***@proxy:3128"],
    ["me@proxy:3128", "***@proxy:3128"],
    ["http://me:s@e/c#r?e,t@proxy:3128/", "http://***@proxy:3128/"],
    ["http://me:secret@one:1, socks5://you:other@two:2,three:3", "http://***@one:1, socks5://***@two:2,three:3"],
    ["pac+https://me:secret@host/proxy.pac", "pac+https://***@host/proxy.pac"],
    ["http://me:secret", "http://me:***"],
    ["http://me:12ab/x", "http://me:***"],
    ["me:secret", "me:***"],
    ["http://me:sec,http://ret@proxy:1", "http://me:***,http://***@proxy:1"],
    [" http://me:sec\nret@proxy:1", " http://***@proxy:1"],
  ])("%j is shown as %j", (text, masked) => {
    expect(maskProxyUrl(text)).toBe(masked);
  });

  test.each([
    "http://proxy:3128",
    "http://proxy:3128/",
    "proxy:3128",
    "socks5://[::1]:1080",
    "[::1]:1080",
    "http://one:1,two:2",
    "pac+file:///etc/proxy.pac",
    "pac+http://host:80/proxy.pac",
    "direct",
    "system",
    "",
  ])("%j is shown as it is", (text) => {
    expect(maskProxyUrl(text)).toBe(text);
  });
});

test("no error has a password in it, however a URL is broken, and no other error is thrown", () => {
  const scheme = fc.constantFrom(
    "http://",
    "https://",
    "socks5://",
    "socks4://",
    "pac+http://",
    "pac+ftp://",
    "",
    "x://",
  );
  const noise = fc.string({ unit: fc.constantFrom(..."%/?#@:,[] ü"), maxLength: 4 });
  const host = fc.constantFrom("proxy:1", "proxy", "[::1]:1", "[::1", "", ":", "a b:1", "10.1:1", "proxy:x");
  const list = fc.constantFrom("", ",two:2", ",direct", ",http://me:SECRET@two");
  fc.assert(
    fc.property(scheme, noise, noise, host, noise, list, (start, before, after, end, tail, more) => {
      const text = `${start}me:${before}SECRET${after}@${end}${tail}${more}`;
      expect(maskProxyUrl(text)).not.toContain("SECRET");
      for (const parse of [parseProxy, parseUpstreamSetting]) {
        try {
          parse(text);
        } catch (error) {
          expect(error).toBeInstanceOf(ProxyUrlError);
          expect(String(error)).not.toContain("SECRET");
        }
      }
    }),
    { seed: 0x5eed, numRuns: 5000 },
  );
});

test("what is read is what was written", () => {
  const part = fc.string({ unit: "grapheme", minLength: 1, maxLength: 20 }).filter((text) => !/[\p{Cc}:]/u.test(text));
  fc.assert(
    fc.property(part, part, fc.integer({ min: 1, max: 65535 }), (user, password, port) => {
      const text = `http://${encodeURIComponent(user)}:${encodeURIComponent(password)}@proxy.example:${port}`;
      expect(parseUpstreamSetting(text)).toEqual({
        kind: "proxies",
        servers: [{ kind: "http", host: "proxy.example", port, credentials: { user, password } }],
      });
    }),
    { seed: 0x5eed, numRuns: 1000 },
  );
});
