import type { Fields } from "@hostd/http1";
import type { ProxyServer } from "../route.ts";
import { RouteError, theProxy } from "./route-error.ts";
import type { UpstreamError } from "./upstream-error.ts";

/** Schemes by their registered names (RFC 9110, 16.4.1), in lower case as they compare. */
const SCHEMES: ReadonlyMap<string, string> = new Map(
  ["Basic", "Bearer", "Digest", "Kerberos", "Negotiate", "NTLM"].map((name) => [name.toLowerCase(), name]),
);
/** The most schemes that are named, and the longest name. */
const MAX_SCHEMES = 8;
const MAX_NAME = 32;

/** The value of Proxy-Authorization for a proxy (RFC 7617, 2); null when it has no credentials. */
export function proxyAuthorization({ credentials }: ProxyServer): string | null {
  if (credentials === undefined) return null;
  return `Basic ${Buffer.from(`${credentials.user}:${credentials.password}`).toString("base64")}`;
}

/**
 * Says why an HTTP proxy answered 407 and what can be done.
 *
 * @param fields - of its answer.
 */
export function proxyAuthenticationError(server: ProxyServer, fields: Fields): UpstreamError {
  const schemes = fields.all("proxy-authenticate").flatMap(offeredSchemes);
  const known = [...new Set(schemes.map((name) => SCHEMES.get(name.toLowerCase()) ?? name.slice(0, MAX_NAME)))];
  const message = `${theProxy(server)} ${describe(server, known.slice(0, MAX_SCHEMES))}`;
  return new RouteError(message, 407, { kind: "proxy", server }, { finding: "alive", isFinal: true });
}

function describe({ kind, credentials }: ProxyServer, schemes: readonly string[]): string {
  if (schemes.length === 0) return "wants credentials (407), but does not say in which form";
  if (!schemes.includes("Basic")) {
    return (
      `offers ${listed(schemes)} only to log in (407), which hostd does not speak: run cntlm or px on this host, ` +
      "which do, and set that as the proxy of hostd, such as http://127.0.0.1:3128"
    );
  }
  if (credentials !== undefined) return `refused the user name and password that it was given (407)`;
  return (
    `wants credentials (407; it offers ${listed(schemes)}): give a user name and password in the proxy's URL, as ` +
    `${kind}://USER:PASSWORD@HOST:PORT`
  );
}

function listed(names: readonly string[]): string {
  return names.length < 2 ? names.join() : `${names.slice(0, -1).join(", ")} and ${names.at(-1)}`;
}

/** One part of a list of challenges after the other (RFC 9110, 11.6.1), each with what separates it from the next one. */
const SEPARATOR = /[\s,]+/y;
const TOKEN = /[!#$%&'*+.^_`|~\w-]+/y;
/** The rest of a parameter, whose name is read. Without an end of its string, that is all there is. */
const PARAMETER = /[ \t]*=[ \t]*(?:"(?:[^"\\]|\\.)*(?:"|\\?$)|[^\s,"]*)/sy;
const TOKEN68 = /[ \t]+[\w.~+/-]+=*(?=[ \t]*(?:,|$))/y;

/** The schemes of the challenges in one line of a field. A parameter and a scheme both begin with a token. */
function offeredSchemes(line: string): string[] {
  const schemes: string[] = [];
  let at = 0;
  const skip = (pattern: RegExp): string | null => {
    pattern.lastIndex = at;
    const [text] = pattern.exec(line) ?? [null];
    if (text !== null) at += text.length;
    return text;
  };
  while (at < line.length) {
    if (skip(SEPARATOR) !== null) continue;
    const token = skip(TOKEN);
    // Nothing that can be in a challenge.
    if (token === null) break;
    if (skip(PARAMETER) !== null) continue;
    schemes.push(token);
    skip(TOKEN68);
  }
  return schemes;
}
