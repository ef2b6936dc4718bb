import { isIP, isIPv6, SocketAddress } from "node:net";

const MAPPED_PREFIX = "::ffff:";

/**
 * Writes an address of the host in the one way in which it can be compared: IPv6 in lower case and compressed (RFC 5952),
 * without a zone, and one that is mapped from IPv4 (RFC 4291, 2.5.5.2) as that. Anything else than an address is left as
 * it is.
 */
export function canonicalHost(host: string): string {
  if (!isIPv6(host)) return host;
  const { address } = new SocketAddress({ address: host, family: "ipv6" });
  const mapped = address.startsWith(MAPPED_PREFIX) ? address.slice(MAPPED_PREFIX.length) : "";
  return isIP(mapped) === 4 ? mapped : address;
}

/** Whether an address in canonical form is every one of its family, or of both when it is empty. */
export function isEveryHost(host: string): boolean {
  return host === "" || host === "::" || host === "0.0.0.0";
}
