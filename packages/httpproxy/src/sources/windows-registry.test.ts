import { describe, expect, test } from "vitest";
import { parseInternetSettings } from "./windows-registry.ts";

const HEAD = "\r\nHKEY_CURRENT_USER\\Software\\Microsoft\\Windows\\CurrentVersion\\Internet Settings\r\n";

/** What `reg query` writes on Windows 11 about a user's settings, with these values of the proxies. */
function regQuery(...values: readonly string[]): string {
  return [
    `${HEAD}    CertificateRevocation    REG_DWORD    0x1`,
    "    DisableCachingOfSSLPages    REG_DWORD    0x0",
    "    PrivacyAdvanced    REG_DWORD    0x1",
    "    SecureProtocols    REG_DWORD    0x2800",
    "    User Agent    REG_SZ    Mozilla/4.0 (compatible; MSIE 8.0; Win32)",
    "    ZonesSecurityUpgrade    REG_BINARY    9C5A8F1F2A8FD901",
    ...values,
    "    LockDatabase    REG_QWORD    0x1d98f2a1f8f5a9c",
    "",
    "HKEY_CURRENT_USER\\Software\\Microsoft\\Windows\\CurrentVersion\\Internet Settings\\5.0",
    "HKEY_CURRENT_USER\\Software\\Microsoft\\Windows\\CurrentVersion\\Internet Settings\\Connections",
    "",
  ].join("\r\n");
}

const ENABLED = "    ProxyEnable    REG_DWORD    0x1";
const server = (text: string) => `    ProxyServer    REG_SZ    ${text}`;

function proxies(text: string) {
  const { settings, problems } = parseInternetSettings(regQuery(ENABLED, server(text)));
  return { http: settings?.http, https: settings?.https, problems };
}

const PROXY = { kind: "http", host: "proxy.corp.example", port: 8080 };

describe("reg query", () => {
  test("says nothing without a proxy, or with one that is off", () => {
    const nothing = { settings: null, problems: [] };
    expect(parseInternetSettings(regQuery())).toEqual(nothing);
    expect(parseInternetSettings(regQuery("    ProxyEnable    REG_DWORD    0x0"))).toEqual(nothing);
    const off = regQuery("    ProxyEnable    REG_DWORD    0x0", server("proxy.corp.example:8080"));
    expect(parseInternetSettings(off)).toEqual(nothing);
  });

  test("gives one proxy for every scheme", () => {
    const expected = { http: [PROXY], https: [PROXY], problems: [] };
    expect(proxies("proxy.corp.example:8080")).toEqual(expected);
    expect(proxies("http://proxy.corp.example:8080/")).toEqual(expected);
    expect(proxies("HTTP://Proxy.Corp.Example:8080")).toEqual(expected);
    expect(proxies("[2001:db8::1]:8080").http).toEqual([{ kind: "http", host: "2001:db8::1", port: 8080 }]);
    expect(proxies("proxy.corp.example").http).toEqual([{ ...PROXY, port: 80 }]);
  });

  test("gives a proxy for each scheme, and none where there is none", () => {
    expect(proxies("http=proxy.corp.example:8080;https=secure.corp.example:8443;ftp=ftp.corp.example:21")).toEqual({
      http: [PROXY],
      https: [{ kind: "http", host: "secure.corp.example", port: 8443 }],
      problems: [],
    });
    expect(proxies("http=proxy.corp.example:8080")).toEqual({ http: [PROXY], https: [], problems: [] });
  });

  test("gives the SOCKS proxy to schemes without a proxy of their own", () => {
    const socks = { kind: "socks5h", host: "socks.corp.example", port: 1080 };
    expect(proxies("http=proxy.corp.example:8080;socks=socks.corp.example:1080")).toEqual({
      http: [PROXY],
      https: [socks],
      problems: [],
    });
    expect(proxies("socks=socks.corp.example")).toEqual({ http: [socks], https: [socks], problems: [] });
  });

  test("takes exceptions as Windows does", () => {
    const override =
      "    ProxyOverride    REG_SZ    10.*;192.168.*;*.corp.example;intranet.example;<-loopback>;<local>";
    const { settings, problems } = parseInternetSettings(
      regQuery(ENABLED, server("proxy.corp.example:8080"), override),
    );
    expect(problems).toEqual([]);
    const [{ list }] = settings!.exclusions;
    expect(list.match("10.20.30.40", 443)).toBe("10.*");
    expect(list.match("192.168.7.7", 443)).toBe("192.168.*");
    expect(list.match("192.169.7.7", 443)).toBeNull();
    expect(list.match("www.corp.example", 443)).toBe("*.corp.example");
    expect(list.match("corp.example", 443)).toBeNull();
    expect(list.match("www.intranet.example", 443)).toBeNull();
    expect(list.match("printer", 443)).toBe("<local>");
  });

  test("prefers a PAC script, whether a proxy is on or not", () => {
    const pac = "    AutoConfigURL    REG_SZ    http://wpad.corp.example/proxy.pac";
    const expected = {
      http: [],
      https: [],
      pac: "http://wpad.corp.example/proxy.pac",
      from: "the settings of Windows",
    };
    expect(parseInternetSettings(regQuery(pac)).settings).toMatchObject(expected);
    const both = regQuery(ENABLED, server("proxy.corp.example:8080"), pac);
    expect(parseInternetSettings(both).settings).toMatchObject(expected);
  });

  test("takes an empty value as none", () => {
    expect(parseInternetSettings(regQuery("    AutoConfigURL    REG_SZ    ", ENABLED, server("")))).toEqual({
      settings: null,
      problems: [],
    });
  });

  test("leaves out what is no proxy, and says so", () => {
    const { http, https, problems } = proxies("http=proxy.corp.example:port;https=proxy.corp.example:8080");
    expect(http).toEqual([]);
    expect(https).toEqual([PROXY]);
    expect(problems).toEqual([
      expect.stringMatching(/^the settings of Windows: ProxyServer http: .*the port is no number/),
    ]);
  });

  test("is refused when it is something else", () => {
    expect(() => parseInternetSettings("")).toThrow("reg query wrote nothing about the Internet settings");
    expect(() => parseInternetSettings("\r\nHKEY_CURRENT_USER\\Software\\Other\r\n")).toThrow("wrote nothing");
  });
});
