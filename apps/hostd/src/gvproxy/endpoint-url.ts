/** The URLs by which gvproxy is told where to listen. */
import type { TcpAddress, UnixAddress } from "@hostd/frontends";
import { readEndpoint } from "../config/endpoint.ts";
import { ValueError } from "../config/values.ts";
import { goQuote } from "./go-quote.ts";

/** Something that gvproxy can do and hostd cannot, with what to use in its place. */
export class UnsupportedError extends Error {
  override readonly name = "UnsupportedError";
}

const ALLOWED = "allowed: unix:///PATH or tcp://HOST:PORT";

/**
 * Reads where to listen.
 *
 * @param name - how the flag or key is called, for messages.
 * @throws {UnsupportedError} when gvproxy knows its scheme, and hostd does not.
 * @throws {Error} when it is none.
 */
export function readListenUrl(url: string, name: string): UnixAddress | TcpAddress {
  const scheme = /^([a-z][a-z0-9+.-]*):\/\//i.exec(url)?.[1].toLowerCase();
  if (scheme !== undefined && ["vsock", "unixpacket", "unixgram", "npipe"].includes(scheme)) {
    throw new UnsupportedError(`${name}: ${scheme}:// is not supported yet: use unix:///PATH or tcp://HOST:PORT`);
  }
  try {
    if (scheme === "unix") return addressOf(`unix://${unixPath(url)}`);
    // A port alone is on every address, as for Go.
    if (scheme === "tcp") return addressOf(url.replace(/^tcp:\/\/:/i, "tcp://[::]:"));
  } catch (error) {
    if (!(error instanceof ValueError)) throw error;
    throw new Error(`${name}: cannot listen on ${goQuote(url)}: ${error.message}; ${ALLOWED}`);
  }
  throw new Error(`${name}: cannot listen on ${goQuote(url)}; ${ALLOWED}`);
}

/**
 * The path in a `unix://` URL, as it is on the disk.
 *
 * @throws {ValueError} when it has none.
 */
export function unixPath(url: string): string {
  const path = url.replace(/^unix:\/\//i, "").replace(/[?#].*$/s, "");
  try {
    return decodeURIComponent(path);
  } catch {
    throw new ValueError("the path is not percent-encoded as in a URL");
  }
}

function addressOf(url: string): UnixAddress | TcpAddress {
  const { mode: _, ...address } = readEndpoint(url);
  return address;
}
