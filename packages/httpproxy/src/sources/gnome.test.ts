import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { CommandError } from "@hostd/host";
import { describe, expect, test } from "vitest";
import { makeFolder } from "../../../streams/src/testing/peer.ts";
import { GNOME_PROGRAM, hasSessionBus, parseGnomeProxy } from "./gnome.ts";

/** What gsettings 2.74 writes about a desktop as it is set up. */
const NONE = `org.gnome.system.proxy autoconfig-url ''
org.gnome.system.proxy ignore-hosts ['localhost', '127.0.0.0/8', '::1']
org.gnome.system.proxy mode 'none'
org.gnome.system.proxy use-same-proxy true
org.gnome.system.proxy.ftp host ''
org.gnome.system.proxy.ftp port 0
org.gnome.system.proxy.http authentication-password ''
org.gnome.system.proxy.http authentication-user ''
org.gnome.system.proxy.http enabled false
org.gnome.system.proxy.http host ''
org.gnome.system.proxy.http port 8080
org.gnome.system.proxy.http use-authentication false
org.gnome.system.proxy.https host ''
org.gnome.system.proxy.https port 0
org.gnome.system.proxy.socks host ''
org.gnome.system.proxy.socks port 0
`;

/** The same with other values. */
function gsettings(values: Readonly<Record<string, string>>): string {
  const lines = NONE.trimEnd().split("\n");
  for (const [key, value] of Object.entries({ mode: "'manual'", ...values })) {
    const dot = key.indexOf(".");
    const path = dot === -1 ? ` ${key}` : `.${key.slice(0, dot)} ${key.slice(dot + 1)}`;
    const start = `org.gnome.system.proxy${path} `;
    const index = lines.findIndex((line) => line.startsWith(start));
    lines[index] = start + value;
  }
  return `${lines.join("\n")}\n`;
}

const HTTP = { "http.host": "'proxy.example'", "http.port": "3128" };
const HTTP_SERVER = { kind: "http", host: "proxy.example", port: 3128 };
const SOCKS = { "socks.host": "'socks.example'", "socks.port": "1080" };
const SOCKS_SERVER = { kind: "socks5h", host: "socks.example", port: 1080 };

describe("gsettings", () => {
  test("say nothing with the mode none, whatever else is set", () => {
    expect(parseGnomeProxy(NONE)).toEqual({ settings: null, problems: [] });
    expect(parseGnomeProxy(gsettings({ mode: "'none'", ...HTTP }))).toEqual({ settings: null, problems: [] });
  });

  test("give a proxy for each scheme", () => {
    const text = gsettings({ ...HTTP, ...SOCKS, "https.host": "'Secure.Example'", "https.port": "8443" });
    const { settings, problems } = parseGnomeProxy(text);
    expect(problems).toEqual([]);
    expect(settings).toMatchObject({
      http: [HTTP_SERVER],
      https: [{ kind: "http", host: "secure.example", port: 8443 }],
      pac: null,
      from: "the settings of GNOME",
    });
  });

  test("give https the SOCKS proxy, or else that for http, as GLib does", () => {
    const withSocks = parseGnomeProxy(gsettings({ ...HTTP, ...SOCKS })).settings;
    expect(withSocks).toMatchObject({ http: [HTTP_SERVER], https: [SOCKS_SERVER] });
    const without = parseGnomeProxy(gsettings(HTTP)).settings;
    expect(without).toMatchObject({ http: [HTTP_SERVER], https: [HTTP_SERVER] });
    const apart = parseGnomeProxy(gsettings({ ...HTTP, "use-same-proxy": "false" })).settings;
    expect(apart).toMatchObject({ http: [HTTP_SERVER], https: [] });
  });

  test("give a SOCKS proxy alone to both schemes", () => {
    expect(parseGnomeProxy(gsettings(SOCKS)).settings).toMatchObject({ http: [SOCKS_SERVER], https: [SOCKS_SERVER] });
  });

  test("give credentials to the server that they are for, under both schemes, and to no other", () => {
    const credentials = { user: "alice", password: "s3cr\u00e9t@/:'\"" };
    const authentication = {
      "http.use-authentication": "true",
      "http.authentication-user": "'alice'",
      "http.authentication-password": `'s3cr\\u00e9t@/:\\'"'`,
    };
    const server = { ...HTTP_SERVER, credentials };
    const other = { "https.host": "'other.example'", "https.port": "3128" };
    const same = { "https.host": "'PROXY.example'", "https.port": "3128" };
    expect(parseGnomeProxy(gsettings({ ...HTTP, ...authentication, ...same })).settings).toMatchObject({
      http: [server],
      https: [server],
    });
    const { settings } = parseGnomeProxy(gsettings({ ...HTTP, ...authentication, ...other }));
    expect(settings?.https).toEqual([{ kind: "http", host: "other.example", port: 3128 }]);
    const off = gsettings({ ...HTTP, ...authentication, "http.use-authentication": "false" });
    expect(parseGnomeProxy(off).settings?.http).toEqual([HTTP_SERVER]);
  });

  test("have credentials that cannot be sent said without them", () => {
    const text = gsettings({
      ...HTTP,
      "http.use-authentication": "true",
      "http.authentication-user": "'al:ice'",
      "http.authentication-password": "'s3cret'",
    });
    const { settings, problems } = parseGnomeProxy(text);
    expect(settings).toBeNull();
    expect(problems).toEqual([expect.stringContaining("the user has a colon in it")]);
    expect(problems.join()).not.toMatch(/s3cret|al:ice/);
  });

  test("give a PAC script with the mode auto, and no proxies", () => {
    const text = gsettings({ mode: "'auto'", "autoconfig-url": "'http://wpad.example/proxy.pac'", ...HTTP });
    expect(parseGnomeProxy(text)).toMatchObject({
      settings: { http: [], https: [], pac: "http://wpad.example/proxy.pac" },
      problems: [],
    });
  });

  test("have automatic discovery and other scripts said as what is not supported", () => {
    expect(parseGnomeProxy(gsettings({ mode: "'auto'" }))).toEqual({
      settings: null,
      problems: ["the settings of GNOME: autoconfig-url is empty, and automatic discovery (WPAD) is not supported"],
    });
    const { settings, problems } = parseGnomeProxy(gsettings({ mode: "'auto'", "autoconfig-url": "'ftp://a/b'" }));
    expect(settings).toBeNull();
    expect(problems).toEqual([expect.stringMatching(/^the settings of GNOME: autoconfig-url: .*http, https or file/)]);
  });

  test("have hosts to be ignored, as GLib takes them", () => {
    const text = gsettings({
      ...HTTP,
      "ignore-hosts": `['corp.example', "o'reilly.example", '10.0.0.0/8', '*.lab.example']`,
    });
    const [{ list, entries }] = parseGnomeProxy(text).settings!.exclusions;
    expect(entries).toEqual(["corp.example", "o'reilly.example", "10.0.0.0/8", "*.lab.example"]);
    expect(list.match("www.corp.example", 80)).toBe("corp.example");
    expect(list.match("10.1.2.3", 80)).toBe("10.0.0.0/8");
    expect(list.match("lab.example", 80)).toBe("*.lab.example");
    expect(list.match("example", 80)).toBeNull();
    const none = parseGnomeProxy(gsettings({ ...HTTP, "ignore-hosts": "@as []" })).settings!;
    expect(none.exclusions[0].entries).toEqual([]);
  });

  test("leave out a proxy without a port, and hosts that are none, and say so", () => {
    const text = gsettings({ "http.host": "'http://proxy.example'", ...SOCKS, "socks.port": "0" });
    const { settings, problems } = parseGnomeProxy(text);
    expect(settings).toBeNull();
    expect(problems).toEqual([
      expect.stringMatching(/^the settings of GNOME: http host and port: /),
      expect.stringMatching(/^the settings of GNOME: socks host and port: .*the port is no number from 1 to 65535/),
    ]);
  });

  test("are refused when they are something else", () => {
    expect(() => parseGnomeProxy("")).toThrow("gsettings wrote no mode of org.gnome.system.proxy");
    expect(() => parseGnomeProxy("org.gnome.system.proxy mode uint32 5\n")).toThrow("wrote no mode");
  });
});

describe("GNOME", () => {
  test("is watched by a monitor for each schema", () => {
    expect(GNOME_PROGRAM.watch.map(({ args }) => args.join(" "))).toEqual([
      "monitor org.gnome.system.proxy",
      "monitor org.gnome.system.proxy.http",
      "monitor org.gnome.system.proxy.https",
      "monitor org.gnome.system.proxy.socks",
    ]);
  });

  test("is not there without gsettings or its schemas", () => {
    const isAbsent = (message: string, isMissing = false) =>
      GNOME_PROGRAM.isAbsent?.(new CommandError(message, isMissing));
    expect(isAbsent("gsettings: there is no such program", true)).toBe(true);
    expect(isAbsent('gsettings: No such schema "org.gnome.system.proxy"')).toBe(true);
    expect(isAbsent("gsettings: No schemas installed")).toBe(true);
    expect(isAbsent("gsettings: killed after 5000 ms")).toBe(false);
  });

  test("has a session bus by the environment, or where systemd makes it", async () => {
    const folder = await makeFolder();
    expect(hasSessionBus({})).toBe(false);
    expect(hasSessionBus({ DBUS_SESSION_BUS_ADDRESS: "unix:path=/run/user/1000/bus" })).toBe(true);
    expect(hasSessionBus({ DBUS_SESSION_BUS_ADDRESS: "", XDG_RUNTIME_DIR: folder })).toBe(false);
    await writeFile(join(folder, "bus"), "");
    expect(hasSessionBus({ XDG_RUNTIME_DIR: folder })).toBe(true);
    await mkdir(join(folder, "empty"));
    expect(hasSessionBus({ XDG_RUNTIME_DIR: join(folder, "empty") })).toBe(false);
  });
});
