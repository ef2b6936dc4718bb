import type { Destination } from "@hostd/httpproxy";
import { RequestError } from "../api/problem.ts";

const FORMS = "http://HOST[:PORT], https://HOST[:PORT] or HOST:PORT";

/**
 * Reads what a request would be for: a URL, of which nothing counts but its scheme, host and port, or a host and a port, to
 * which a tunnel leads.
 *
 * @throws {RequestError} when it is neither. What stands behind the host is not in the message: it may be a secret.
 */
export function readDestination(text: string): Destination {
  const written = text.trim();
  const scheme = /^([a-z][a-z0-9+.-]*):\/\//i.exec(written)?.[1].toLowerCase();
  if (scheme !== undefined && scheme !== "http" && scheme !== "https") {
    throw new RequestError(`url: nothing with ${scheme}:// passes an HTTP proxy but as HOST:PORT; allowed: ${FORMS}`);
  }
  if (scheme === undefined && !/^[^/?#@]+:\d+$/.test(written)) {
    throw new RequestError(`url: without http:// or https:// in front it is a host and a port; allowed: ${FORMS}`);
  }
  const url = URL.parse(scheme === undefined ? `https://${written}` : written);
  if (url === null || url.hostname === "" || url.port === "0") {
    throw new RequestError(`url: there is no such host, or no such port; allowed: ${FORMS}`);
  }
  const port = Number(url.port) || (url.protocol === "http:" ? 80 : 443);
  const host = url.hostname.replace(/^\[|\]$/g, "").replace(/\.$/, "");
  return { scheme: url.protocol === "http:" ? "http" : "https", host, port };
}
