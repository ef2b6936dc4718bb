/** Where a Unix socket of gvproxy leads, as a URL. */
import { GoAddressError } from "./go-net.ts";
import { goQuote } from "./go-quote.ts";

export interface RemoteUri {
  /** In lower case; empty where there is none. */
  readonly scheme: string;
  readonly user: string;
  readonly host: string;
  readonly port: string;
  readonly path: string;
  readonly query: URLSearchParams;
}

/**
 * Reads a URL as Go's package net/url does, as far as gvproxy's have parts.
 *
 * @throws {GoAddressError} in Go's words.
 */
export function parseRemoteUri(text: string): RemoteUri {
  const fail = (reason: string) => {
    return new GoAddressError(`failed to parse remote uri :${text} : parse ${goQuote(text)}: ${reason}`);
  };
  if (text.startsWith(":")) throw fail("missing protocol scheme");
  const [, scheme = "", rest] = /^(?:([a-z][a-z0-9+.-]*):)?(.*)$/is.exec(text) ?? [];
  const [, authority, path, query] = /^(?:\/\/([^/?]*))?([^?]*)\??(.*)$/s.exec(rest) ?? [];
  if (authority === undefined && scheme === "" && /^[^/]*:/.test(path)) {
    throw fail("first path segment in URL cannot contain colon");
  }
  const [, user = "", server] = /^(?:(.*)@)?(.*)$/s.exec(authority ?? "") ?? [];
  const character = /[ <>"]/.exec(server)?.[0];
  if (character !== undefined) throw fail(`invalid character ${goQuote(character)} in host name`);
  const [, host, port] = /^(\[[^\]]*\]|.*?)(:[^:\]]*)?$/s.exec(server) ?? [];
  if (port !== undefined && !/^:[0-9]*$/.test(port)) throw fail(`invalid port ${goQuote(port)} after host`);
  const decode = (part: string) => {
    const escaped = /%(?![0-9a-f]{2}).{0,2}/is.exec(part)?.[0];
    if (escaped !== undefined) throw fail(`invalid URL escape ${goQuote(escaped)}`);
    try {
      return decodeURIComponent(part);
    } catch {
      throw fail("invalid UTF-8");
    }
  };
  return {
    scheme: scheme.toLowerCase(),
    user: decode(user.replace(/:.*$/s, "")),
    host: decode(host.replace(/^\[(.*)\]$/s, "$1")),
    port: port?.slice(1) ?? "",
    // What is opaque has no path.
    path: authority === undefined && scheme !== "" && !path.startsWith("/") ? "" : decode(path),
    query: new URLSearchParams(query),
  };
}
