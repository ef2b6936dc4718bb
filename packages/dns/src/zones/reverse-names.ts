/** The names that stand for addresses (RFC 1035, 3.5; RFC 3596, 2.5). */
import { formatIpv4 } from "@hostd/stack";

const IPV4_LABELS = 4;
const IPV6_LABELS = 32;

/**
 * The address that a name below in-addr.arpa or ip6.arpa stands for, in the form of {@link canonicalAddress}; null when
 * it stands for none.
 *
 * @param labels - in lower case, the leftmost first.
 */
export function reverseAddress(labels: readonly string[]): string | null {
  if (labels.at(-1) !== "arpa") return null;
  const family = labels.at(-2);
  const parts = labels.slice(0, -2).reverse();
  if (family === "in-addr" && parts.length === IPV4_LABELS) {
    return parts.every((part) => /^(?:0|[1-9][0-9]{0,2})$/.test(part) && Number(part) < 256) ? parts.join(".") : null;
  }
  if (family === "ip6" && parts.length === IPV6_LABELS) {
    if (!parts.every((part) => /^[0-9a-f]$/.test(part))) return null;
    return canonicalAddress(parts.join("").replace(/(.{4})(?=.)/g, "$1:"));
  }
  return null;
}

/** An address as it is compared here: IPv4 in dotted decimal, IPv6 as RFC 5952 writes it. */
export function canonicalAddress(address: string | number): string {
  if (typeof address === "number") return formatIpv4(address);
  // The parser of URLs writes addresses by that rule.
  return address.includes(":") ? new URL(`http://[${address}]`).hostname.slice(1, -1) : address;
}
