import { isIPv6 } from "node:net";
import { Address6 } from "ip-address";
import type { Credentials, ProxyServer } from "../route.ts";
import { whyNotBasic, whyNotSocks } from "./credentials.ts";
import { isHostName, normalizeName, parseIpLiteral } from "./host-names.ts";

/** The longest URL, in characters. */
const MAX_URL = 2048;
/** The most proxies of a fail-over list. */
const MAX_SERVERS = 16;
/** How much of a text an error shows, in characters. */
const SHOWN = 100;

const PROXY_FORMS =
  "host:port, with http://, https://, socks5:// or socks5h:// in front and user:password@ where needed";
const PAC_FORMS = "pac+http://host/path, pac+https://host/path, pac+file:///path";
const SETTING_FORMS = `direct, system, ${PAC_FORMS}, ${PROXY_FORMS}, or such proxies with commas between`;

/**
 * What a scheme stands for, and the port where the URL has none: that of the scheme, as with Go, Node and Chrome. curl
 * takes 1080 for all but https.
 */
const SCHEMES: ReadonlyMap<string, { readonly kind: ProxyServer["kind"]; readonly port: number }> = new Map([
  ["http", { kind: "http", port: 80 }],
  ["https", { kind: "https", port: 443 }],
  ["socks5", { kind: "socks5", port: 1080 }],
  ["socks5h", { kind: "socks5h", port: 1080 }],
  // Chrome and desktops mean SOCKS 5 with names resolved by the proxy; curl means SOCKS 4.
  ["socks", { kind: "socks5h", port: 1080 }],
]);

/** Where requests go, as a person sets it. */
export type UpstreamSetting =
  | { readonly kind: "direct" }
  /** Whatever the operating system has set. */
  | { readonly kind: "system" }
  /** The URL of a script: http, https or file, without credentials. */
  | { readonly kind: "pac"; readonly url: string }
  /** At least one; the next one is taken when one fails. */
  | { readonly kind: "proxies"; readonly servers: readonly ProxyServer[] };

/** A text that is no proxy. The message says what, why and what is allowed, and has no password in it. */
export class ProxyUrlError extends Error {
  override readonly name = "ProxyUrlError";
  /** Why, alone. */
  readonly reason: string;

  constructor(text: string, reason: string, allowed: string) {
    const masked = maskProxyUrl(text);
    const shown = masked.length > SHOWN ? `${masked.slice(0, SHOWN)}...` : masked;
    super(`${JSON.stringify(shown)} is no proxy: ${reason}; allowed: ${allowed}`);
    this.reason = reason;
  }
}

/**
 * Reads a proxy: `http://user:password@host:port`, or with `https`, `socks5`, `socks5h` or `socks`, which is `socks5h`;
 * and `host:port`, which is `http`. The user and the password are in percent encoding (RFC 3986, 2.1).
 *
 * @throws {ProxyUrlError} when it is none.
 */
export function parseProxy(text: string): ProxyServer {
  const fail: (reason: string) => never = (reason) => {
    throw new ProxyUrlError(text, reason, PROXY_FORMS);
  };
  const url = text.trim();
  if (url === "") fail("it is empty");
  if (url.length > MAX_URL) fail(`it is longer than ${MAX_URL} characters`);
  if (/[\p{Cc}\p{Z}]/u.test(url)) fail("there is a space or a control character in it");
  const schemeEnd = url.indexOf("://");
  const scheme = SCHEMES.get(schemeEnd === -1 ? "http" : url.slice(0, schemeEnd).toLowerCase());
  if (scheme === undefined) return fail(whyNoScheme(url.slice(0, schemeEnd)));
  const rest = schemeEnd === -1 ? url : url.slice(schemeEnd + "://".length);
  const authorityEnd = rest.search(/[/?#]/);
  const authority = authorityEnd === -1 ? rest : rest.slice(0, authorityEnd);
  const beyond = rest.slice(authority.length);
  if (beyond.includes("@")) fail("in the user and the password / is written %2F, ? %3F and # %23");
  if (beyond !== "" && beyond !== "/") fail("a proxy has no path, no query and no fragment");
  const at = authority.lastIndexOf("@");
  const parts = /^(?:\[([^\]]*)\]|([^:[\]]*))(?::([^:]*))?$/.exec(authority.slice(at + 1));
  if (parts === null) return fail("after the scheme and the user comes host:port, with an IPv6 address in brackets");
  const [, bracketed, plain, portText] = parts;
  const host = bracketed === undefined ? readHost(plain) : readIpv6(bracketed);
  if (host === null) {
    return fail(bracketed === undefined ? "the host is no name and no address" : "in brackets is no IPv6 address");
  }
  if (portText === undefined && schemeEnd === -1) fail("without a scheme in front a port has to follow the host");
  const port = portText === undefined ? scheme.port : readPort(portText);
  if (port === null) return fail("the port is no number from 1 to 65535");
  const server = { kind: scheme.kind, host, port };
  if (at <= 0) return server;
  const credentials = readCredentials(authority.slice(0, at));
  if (credentials === null) return fail("the user and the password are not UTF-8 in percent encoding, with %25 for %");
  const reason = scheme.kind.startsWith("socks") ? whyNotSocks(credentials) : whyNotBasic(credentials);
  return reason === null ? { ...server, credentials } : fail(reason);
}

/**
 * Reads where requests go: `direct`, `system`, the URL of a PAC script with `pac+` in front, or proxies with commas
 * between, which are a fail-over list.
 *
 * @throws {ProxyUrlError} when it is none of these.
 */
export function parseUpstreamSetting(text: string): UpstreamSetting {
  const setting = text.trim();
  const word = setting.toLowerCase();
  if (word === "direct" || word === "system") return { kind: word };
  if (word.startsWith("pac+")) return { kind: "pac", url: parsePacUrl(setting) };
  const items = setting.split(",").map((item) => item.trim());
  if (items.length > MAX_SERVERS) {
    throw new ProxyUrlError(text, `there are more than ${MAX_SERVERS} proxies`, SETTING_FORMS);
  }
  if (items.length === 1) {
    if (/^[a-z]*$/.test(word)) {
      throw new ProxyUrlError(text, word === "" ? "it is empty" : "it is no word that is known", SETTING_FORMS);
    }
    return { kind: "proxies", servers: [parseProxy(setting)] };
  }
  for (const item of items) {
    if (/^(?:direct|system|pac\+.*)$/is.test(item)) {
      throw new ProxyUrlError(item, "a list is of proxies alone", PROXY_FORMS);
    }
    if (item.includes("@") && !item.includes("://")) {
      throw new ProxyUrlError(
        text,
        "a comma in a password is written %2C, and a user comes after a scheme",
        PROXY_FORMS,
      );
    }
  }
  return { kind: "proxies", servers: items.map(parseProxy) };
}

/**
 * A setting as it may be shown and logged. What stands before an `@` is `***`, and so is what stands in the place of a
 * port and is no number: it may be a password whose host was forgotten.
 */
export function maskProxyUrl(text: string): string {
  return text
    .split(/(,\s*(?=[a-z][a-z0-9+.-]*:\/\/))/i)
    .map((item) => item.replace(/^(\s*(?:[a-z][a-z0-9+.-]*:\/\/)?).*@/is, "$1***@").replace(NO_PORT, "$1:***"))
    .join("");
}

/** A scheme and a host, and then what should be a port. */
const NO_PORT = /^(\s*(?:[a-z][a-z0-9+.-]*:\/\/)?[^:/?#[\]]*):(?!\/\/|[0-9]*(?:[,/?#]|\s*$)).*$/is;

/** @param text - with `pac+` in front. */
function parsePacUrl(text: string): string {
  const fail: (reason: string) => never = (reason) => {
    throw new ProxyUrlError(text, reason, PAC_FORMS);
  };
  if (text.length > MAX_URL) fail(`it is longer than ${MAX_URL} characters`);
  const url = URL.parse(text.slice("pac+".length));
  if (url === null) return fail("after pac+ comes no URL");
  if (!["http:", "https:", "file:"].includes(url.protocol)) fail("the scheme of a script is http, https or file");
  if (url.username !== "" || url.password !== "") fail("the URL of a script has no user and no password");
  if (url.protocol === "file:" && url.host !== "") fail("a file is on this host: its path comes after three slashes");
  if (url.protocol === "file:" && url.pathname.endsWith("/")) fail("it is no path of a file");
  return url.href;
}

function whyNoScheme(scheme: string): string {
  return /^socks4a?$/i.test(scheme) ? "SOCKS 4 is not supported" : "its scheme is none that is known";
}

function readHost(text: string): string | null {
  const name = normalizeName(text);
  return isHostName(name) || parseIpLiteral(name) !== null ? name : null;
}

/** As RFC 5952 writes it. A zone means nothing but on one machine, so there is none. */
function readIpv6(text: string): string | null {
  return isIPv6(text) && !text.includes("%") ? new Address6(text).correctForm() : null;
}

function readPort(text: string): number | null {
  const port = Number(text);
  return /^[0-9]{1,5}$/.test(text) && port >= 1 && port <= 0xffff ? port : null;
}

function readCredentials(userinfo: string): Credentials | null {
  const colon = userinfo.indexOf(":");
  const user = colon === -1 ? userinfo : userinfo.slice(0, colon);
  const password = colon === -1 ? "" : userinfo.slice(colon + 1);
  try {
    return { user: decodeURIComponent(user), password: decodeURIComponent(password) };
  } catch {
    return null;
  }
}
