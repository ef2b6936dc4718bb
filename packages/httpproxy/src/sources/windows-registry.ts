/** The proxies of a Windows host, as its registry has them for WinINET. */
import type { ProxyServer } from "../route.ts";
import { ProblemList, SYSTEM_EXCLUSIONS } from "./problem-list.ts";
import { NOTHING, type SourceReading } from "./proxy-settings.ts";
import type { SystemProgram } from "./system-settings.ts";

const FROM = "the settings of Windows";
const KEY = "HKCU\\Software\\Microsoft\\Windows\\CurrentVersion\\Internet Settings";

/** How the settings of Windows are read. No program tells when they change. */
export const WINDOWS_PROGRAM: SystemProgram = {
  name: FROM,
  read: { program: "reg", args: ["query", KEY] },
  parse: parseInternetSettings,
  watch: [],
};

/**
 * Reads what `reg query` writes about the key of the Internet settings.
 *
 * `ProxyServer` is one proxy for every scheme, or `scheme=host:port` for each; `socks` is for schemes that have none of
 * their own, as WinINET takes it. WinINET means SOCKS 4 by that, which few servers speak alone: it is SOCKS 5 here, and
 * names are resolved by the proxy. A PAC script comes before proxies.
 *
 * @throws {Error} when the text is something else.
 */
export function parseInternetSettings(text: string): SourceReading {
  const values = readValues(text);
  const problems = new ProblemList(FROM);
  const url = values.get("autoconfigurl") ?? "";
  const pac = url === "" ? null : problems.pac("AutoConfigURL", url);
  const isEnabled = Number(values.get("proxyenable") ?? "0") !== 0;
  const [http, https] =
    pac === null && isEnabled ? readProxyServer(values.get("proxyserver") ?? "", problems) : [[], []];
  if (pac === null && http.length === 0 && https.length === 0) return { ...NOTHING, problems: problems.lines };
  const exclusions = [problems.exclusions(values.get("proxyoverride") ?? "", FROM, SYSTEM_EXCLUSIONS)];
  return { settings: { http, https, pac, exclusions, allowed: null, from: FROM }, problems: problems.lines };
}

/** The values by their names in lower case; names in the registry have no case. */
function readValues(text: string): Map<string, string> {
  const lines = text.split(/\r?\n/);
  if (!lines.some((line) => /^HKEY_CURRENT_USER\\.*\\Internet Settings$/i.test(line))) {
    throw new Error("reg query wrote nothing about the Internet settings");
  }
  const values = new Map<string, string>();
  for (const line of lines) {
    // Values of a key are indented; an empty one ends after its type.
    const [, name, value] = /^ {4}(\S.*?) {4}REG_(?:SZ|EXPAND_SZ|DWORD)(?: {4}(.*))?$/.exec(line) ?? [];
    if (name !== undefined) values.set(name.toLowerCase(), (value ?? "").trim());
  }
  return values;
}

/** The proxies for http and https. */
function readProxyServer(text: string, problems: ProblemList): [ProxyServer[], ProxyServer[]] {
  const byScheme = new Map<string, ProxyServer[]>();
  for (const item of text.split(/[;\s]+/)) {
    if (item === "") continue;
    const separator = item.indexOf("=");
    const scheme = separator === -1 ? "" : item.slice(0, separator).toLowerCase();
    const address = item.slice(separator + 1);
    const isForUs = scheme === "" || scheme === "http" || scheme === "https" || scheme === "socks";
    // The first of several is taken.
    if (!isForUs || byScheme.has(scheme)) continue;
    // Some settings dialogues leave a scheme before the host.
    const [, authority] = /^(?:(?:https?|socks5?):\/\/)?([^/]*)\/?$/i.exec(address) ?? [];
    const name = scheme === "" ? "ProxyServer" : `ProxyServer ${scheme}`;
    const kind = scheme === "socks" ? "socks5h" : "http";
    byScheme.set(scheme, problems.proxyUrl(name, `${kind}://${authority ?? ""}`));
  }
  const proxiesFor = (scheme: string) => byScheme.get(scheme) ?? byScheme.get("") ?? byScheme.get("socks") ?? [];
  return [proxiesFor("http"), proxiesFor("https")];
}
