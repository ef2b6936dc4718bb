/** The proxies of a GNOME desktop, which others for Linux use too, as gsettings(1) lists them. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import type { Credentials, ProxyServer } from "../route.ts";
import { ProblemList } from "./problem-list.ts";
import { NOTHING, type SourceReading } from "./proxy-settings.ts";
import type { SystemProgram } from "./system-settings.ts";

const GSETTINGS = "gsettings";
const SCHEMA = "org.gnome.system.proxy";
const FROM = "the settings of GNOME";

/** How the settings of GNOME are read and followed. */
export const GNOME_PROGRAM: SystemProgram = {
  name: FROM,
  read: { program: GSETTINGS, args: ["list-recursively", SCHEMA] },
  parse: parseGnomeProxy,
  // Its schemas are a package of their own.
  isAbsent: ({ isMissing, message }) => isMissing || /No such schema|No schemas installed/.test(message),
  // A monitor is for one schema, without those below it.
  watch: [SCHEMA, `${SCHEMA}.http`, `${SCHEMA}.https`, `${SCHEMA}.socks`].map((schema) => ({
    program: GSETTINGS,
    args: ["monitor", schema],
  })),
};

/** Whether there is a session bus, without which nobody has such settings (systemd's pam_systemd(8) makes the second). */
export function hasSessionBus(env: NodeJS.ProcessEnv): boolean {
  if (env.DBUS_SESSION_BUS_ADDRESS) return true;
  return env.XDG_RUNTIME_DIR ? existsSync(join(env.XDG_RUNTIME_DIR, "bus")) : false;
}

/**
 * Reads what `gsettings list-recursively org.gnome.system.proxy` writes, as GLib's resolver takes it: `https` without a
 * proxy of its own has the SOCKS proxy, or else that for `http` unless `use-same-proxy` is off. The key `enabled` is not
 * used by anybody. There is one pair of credentials, that for `http`; `https` has it too when it goes to the same server.
 *
 * @throws {Error} when the text is something else.
 */
export function parseGnomeProxy(text: string): SourceReading {
  const values = readValues(text);
  const mode = stringOf(values.get("mode"));
  if (mode === null) throw new Error(`gsettings wrote no mode of ${SCHEMA}`);
  if (mode === "none") return NOTHING;
  const problems = new ProblemList(FROM);
  const isAuto = mode === "auto";
  const pac = isAuto ? problems.pac("autoconfig-url", stringOf(values.get("autoconfig-url")) ?? "") : null;
  const [http, https] = isAuto ? [[], []] : readProxies(values, problems);
  if (pac === null && http.length === 0 && https.length === 0) return { ...NOTHING, problems: problems.lines };
  const exclusions = [problems.exclusions(stringsOf(values.get("ignore-hosts")))];
  return { settings: { http, https, pac, exclusions, allowed: null, from: FROM }, problems: problems.lines };
}

/** The proxies for http and https. */
function readProxies(values: ReadonlyMap<string, string>, problems: ProblemList): [ProxyServer[], ProxyServer[]] {
  const proxyOf = (schema: string, kind: ProxyServer["kind"], credentials: Credentials | null = null) => {
    const host = (stringOf(values.get(`${schema}.host`)) ?? "").trim();
    const port = values.get(`${schema}.port`) ?? "0";
    return host === "" ? [] : problems.proxy(`${schema} host and port`, kind, host, port, credentials);
  };
  const http = proxyOf("http", "http", readCredentials(values));
  const https = proxyOf("https", "http");
  const socks = proxyOf("socks", "socks5h");
  const useSame = values.get("use-same-proxy") !== "false";
  const others = socks.length > 0 || !useSame ? socks : http;
  return [http.length > 0 ? http : socks, https.length > 0 ? https.map((server) => sameOr(server, http)) : others];
}

/** One of the others when it is the same server, which has credentials perhaps. */
function sameOr(server: ProxyServer, others: readonly ProxyServer[]): ProxyServer {
  return others.find(({ host, port }) => host === server.host && port === server.port) ?? server;
}

function readCredentials(values: ReadonlyMap<string, string>): Credentials | null {
  if (values.get("http.use-authentication") !== "true") return null;
  const user = stringOf(values.get("http.authentication-user")) ?? "";
  const password = stringOf(values.get("http.authentication-password")) ?? "";
  return user === "" ? null : { user, password };
}

/** The values as text by their keys; a key of a schema below begins with its name: `http.host`. */
function readValues(text: string): Map<string, string> {
  const values = new Map<string, string>();
  for (const line of text.split("\n")) {
    const [, schema, key, value] = /^(\S+) (\S+) (.*)$/.exec(line) ?? [];
    if (schema === SCHEMA) values.set(key, value);
    else if (schema?.startsWith(`${SCHEMA}.`)) values.set(`${schema.slice(SCHEMA.length + 1)}.${key}`, value);
  }
  return values;
}

/** A string of GVariant's text format. */
const STRING = /'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"/g;
const ESCAPE = /\\(?:u([\da-fA-F]{4})|U([\da-fA-F]{8})|(.))/g;
const CONTROLS: Readonly<Record<string, string>> = {
  a: "\x07",
  b: "\b",
  f: "\f",
  n: "\n",
  r: "\r",
  t: "\t",
  v: "\v",
};

function stringsOf(value = ""): string[] {
  return (value.match(STRING) ?? []).map((quoted) =>
    quoted.slice(1, -1).replace(ESCAPE, (_, short?: string, long?: string, character = "") => {
      const code = short ?? long;
      if (code === undefined) return CONTROLS[character] ?? character;
      return Number.parseInt(code, 16) <= 0x10ffff ? String.fromCodePoint(Number.parseInt(code, 16)) : "";
    }),
  );
}

function stringOf(value: string | undefined): string | null {
  return stringsOf(value)[0] ?? null;
}
