/** What a request to a proxy is for (RFC 9112, 3.2). */
import { isIPv6 } from "node:net";
import { MessageError } from "@hostd/http1";
import { canonicalHost } from "../canonical-host.ts";
import { formatHostPort, type HostPort } from "../route.ts";

const HTTP_PORT = 80;

/** The absolute form of a request's target (RFC 9112, 3.2.2), taken apart. */
export interface AbsoluteTarget extends HostPort {
  /** The authority as it is written, for Host. */
  readonly authority: string;
  /** The path with its query, empty when there is none. */
  readonly path: string;
}

/**
 * Reads the target of a request to a proxy.
 *
 * @throws {MessageError} when it is no URL of plain HTTP.
 */
export function readAbsoluteTarget(target: string): AbsoluteTarget {
  const match = /^([A-Za-z][A-Za-z0-9+.-]*):\/\/([^/?#]*)([^#]*)$/.exec(target);
  if (match === null) {
    throw new MessageError(
      "this is an HTTP proxy: a request has to name the whole URL, as clients do that are told of a proxy",
    );
  }
  const [, scheme, authority, path] = match;
  if (scheme.toLowerCase() !== "http") {
    throw new MessageError(`the scheme ${scheme} is not served: http is, and everything else through CONNECT`);
  }
  const { host, port = HTTP_PORT } = readAuthority(authority);
  return { host, port, authority, path };
}

/**
 * Reads the target of CONNECT: a host and a port (RFC 9110, 9.3.6).
 *
 * @throws {MessageError} when it is none.
 */
export function readConnectTarget(target: string): HostPort {
  const { host, port } = readAuthority(target);
  if (port === undefined) throw new MessageError("CONNECT without a port");
  return { host, port };
}

/**
 * Reads a host with or without a port, as it is in a URL and in Host (RFC 3986, 3.2).
 *
 * @throws {MessageError} when it is none.
 */
export function readAuthority(authority: string): { readonly host: string; readonly port?: number } {
  if (authority.includes("@")) throw new MessageError("a user name before the host is not allowed");
  const match = /^(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9._~-]+))(?::(\d{0,5}))?$/.exec(authority);
  if (match === null) throw new MessageError("malformed host");
  const [, address, name, digits = ""] = match;
  if (address !== undefined && !isIPv6(address)) throw new MessageError("malformed IPv6 address");
  const host = address?.toLowerCase() ?? canonicalHost(withoutLastDot(name.toLowerCase()));
  if (host === null || host === "" || host.length > 255 || host.includes("..") || host.startsWith(".")) {
    throw new MessageError("malformed host");
  }
  if (digits === "") return { host };
  const port = Number(digits);
  if (port === 0 || port > 65_535) throw new MessageError("the port is not 1 to 65535");
  return { host, port };
}

/** A host and a port as they stand in a URL of plain HTTP. */
export function writeAuthority({ host, port }: HostPort): string {
  return port === HTTP_PORT ? formatHostPort({ host, port }).slice(0, -":80".length) : formatHostPort({ host, port });
}

function withoutLastDot(name: string): string {
  return name.endsWith(".") ? name.slice(0, -1) : name;
}
