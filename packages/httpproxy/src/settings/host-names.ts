import { isIP } from "node:net";
import { domainToASCII } from "node:url";
import { Address4, Address6 } from "ip-address";

/** The longest name of a host, in characters (RFC 1035, 2.3.4). */
export const MAX_NAME = 253;
/** What the parser of URLs would take for the end of the host, or decode. */
const NO_NAME = /[/?#@\\%:[\]]/;
/** Labels as resolvers take them: letters, digits and hyphens, and the underscore, which many names have. */
const LABEL = /^[a-z0-9_-]{1,63}$/;

/** A literal address. An IPv4-mapped IPv6 address (RFC 4291, 2.5.5.2) is the IPv4 address in it. */
export interface IpLiteral {
  /** How many bits it has. */
  readonly width: 32 | 128;
  readonly value: bigint;
}

/**
 * A name in the form in which names are compared: in lower case, as A-labels (RFC 5891), without a dot at its end. A
 * text that IDNA refuses becomes an empty one; nothing else is checked.
 */
export function normalizeName(text: string): string {
  let name = text;
  if (/[^ -~]/.test(name)) name = NO_NAME.test(name) ? "" : domainToASCII(name);
  name = name.toLowerCase();
  return name.endsWith(".") ? name.slice(0, -1) : name;
}

/**
 * Whether a text of {@link normalizeName} can be the name of a host. One whose last label is a number cannot: clients
 * take it for an address (URL Standard, "ends in a number").
 */
export function isHostName(name: string): boolean {
  if (name.length > MAX_NAME) return false;
  const labels = name.split(".");
  return labels.every((label) => LABEL.test(label)) && !/^[0-9]+$/.test(labels[labels.length - 1]);
}

/** Reads an address in dotted decimal, or an IPv6 address without brackets, whose zone is left out; null for all else. */
export function parseIpLiteral(text: string): IpLiteral | null {
  switch (isIP(text)) {
    case 4:
      return { width: 32, value: new Address4(text).bigInt() };
    case 6:
      return unmapped(new Address6(text).bigInt());
    default:
      return null;
  }
}

function unmapped(value: bigint): IpLiteral {
  return value >> 32n === 0xffffn ? { width: 32, value: value & 0xffff_ffffn } : { width: 128, value };
}
