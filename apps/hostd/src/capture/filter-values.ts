/** The values in a filter: addresses, networks and numbers. */
import { isIPv4, isIPv6 } from "node:net";
import { formatIpv4, type Mac, parseIpv4, parseMac, prefixMask } from "@hostd/stack";
import { Address6 } from "ip-address";

/** Addresses of IPv4 whose bits under the mask are those of `address`. */
export interface Ipv4Value {
  readonly family: "ipv4";
  readonly address: number;
  readonly mask: number;
}

/** The same for IPv6, in four words of 32 bits. */
export interface Ipv6Value {
  readonly family: "ipv6";
  readonly address: readonly number[];
  readonly mask: readonly number[];
}

/** A MAC address as 52:54:00:12:34:56, or undefined when it is none. */
export function readMacAddress(text: string): Mac | undefined {
  try {
    return parseMac(text);
  } catch {
    return undefined;
  }
}

/** One address, or undefined when it is none. */
export function readAddress(text: string): Ipv4Value | Ipv6Value | undefined {
  if (isIPv4(text)) return { family: "ipv4", address: parseIpv4(text), mask: prefixMask(32) };
  if (isIPv6(text) && !text.includes("%")) {
    return { family: "ipv6", address: ipv6Words(text), mask: ipv6Mask(128) };
  }
  return undefined;
}

/**
 * A network in CIDR form, or an IPv4 one by its first bytes, as 10 or 192.168; one address is a network too.
 *
 * @throws {RangeError} when it has bits behind its prefix.
 */
export function readNetwork(text: string): Ipv4Value | Ipv6Value | undefined {
  const [written, prefixText, ...rest] = text.split("/");
  // tcpdump takes 10 for a network, and 10/8 for nothing.
  if (rest.length > 0 || (prefixText !== undefined && /^\d+$/.test(written))) return undefined;
  const short = /^\d{1,3}(\.\d{1,3}){0,2}$/.test(written);
  const given = short ? written.split(".").length : 4;
  const network = readAddress(short ? `${written}${".0".repeat(4 - given)}` : written);
  if (network === undefined) return undefined;
  const bits = network.family === "ipv4" ? 32 : 128;
  const prefix = prefixText === undefined ? (short ? 8 * given : bits) : readNumber(prefixText, bits);
  if (prefix === undefined) return undefined;
  if (network.family === "ipv4") {
    const mask = prefixMask(prefix);
    const address = network.address & mask;
    if (address !== network.address) throw outsidePrefix(text, `${formatIpv4(address)}/${prefix}`);
    return { ...network, mask };
  }
  const mask = ipv6Mask(prefix);
  if (network.address.some((word, index) => (word & ~mask[index]) !== 0)) throw outsidePrefix(text);
  return { ...network, mask };
}

/** A decimal number up to `most`, or undefined when it is none. One with zeros in front is octal to tcpdump. */
export function readNumber(text: string, most: number): number | undefined {
  if (!/^(0|[1-9]\d*)$/.test(text)) return undefined;
  const value = Number(text);
  return value <= most ? value : undefined;
}

function outsidePrefix(text: string, network?: string): RangeError {
  const example = network === undefined ? "" : `, such as ${network}`;
  return new RangeError(`${text} has bits behind its prefix; allowed: the address of the network itself${example}`);
}

function ipv6Mask(prefix: number): number[] {
  return [0, 32, 64, 96].map((before) => prefixMask(Math.min(Math.max(prefix - before, 0), 32)));
}

function ipv6Words(text: string): number[] {
  const view = new DataView(Uint8Array.from(new Address6(text).toUnsignedByteArray()).buffer);
  return [0, 4, 8, 12].map((at) => view.getInt32(at));
}
