/**
 * Addresses as numbers: an IPv4 address is one signed 32-bit integer, a MAC address two.
 *
 * Numbers are what the frame path reads from a header, compares and hashes without an allocation. The signed form
 * (what `DataView.getInt32` returns) is used throughout because V8 keeps it unboxed.
 */

/** An IPv4 address as a signed 32-bit integer in host order: 192.168.65.1 is `0xc0a84101 | 0`. */
export type Ipv4 = number;

/** A MAC address as its six bytes. */
export type Mac = Uint8Array;

/** 0.0.0.0, the address of a host that has none yet. */
export const IPV4_ANY: Ipv4 = 0;

/** 255.255.255.255, every host on this link (RFC 919). */
export const IPV4_BROADCAST: Ipv4 = -1;

const DECIMAL_OCTET = /^(?:0|[1-9][0-9]{0,2})$/;

/**
 * Reads an address in dotted decimal.
 *
 * @throws {RangeError} when `text` is not four decimal numbers of 0 to 255 without leading zeros.
 */
export function parseIpv4(text: string): Ipv4 {
  const parts = text.split(".");
  let value = 0;
  for (const part of parts) {
    if (parts.length !== 4 || !DECIMAL_OCTET.test(part) || Number(part) > 255) {
      throw new RangeError(`not an IPv4 address: ${JSON.stringify(text)}`);
    }
    value = (value << 8) | Number(part);
  }
  return value;
}

/** Writes an address in dotted decimal. */
export function formatIpv4(address: Ipv4): string {
  return `${address >>> 24}.${(address >>> 16) & 255}.${(address >>> 8) & 255}.${address & 255}`;
}

/**
 * Reads a MAC address written as six pairs of hexadecimal digits with `:` or `-` between them.
 *
 * @throws {RangeError} when `text` is anything else.
 */
export function parseMac(text: string): Mac {
  if (!/^[0-9a-f]{2}(?:([:-])[0-9a-f]{2})(?:\1[0-9a-f]{2}){4}$/i.test(text)) {
    throw new RangeError(`not a MAC address: ${JSON.stringify(text)}`);
  }
  return Uint8Array.from(text.split(/[:-]/), (pair) => Number.parseInt(pair, 16));
}

/** Writes the six bytes at `offset` as lower-case hexadecimal pairs with colons. */
export function formatMac(bytes: Uint8Array, offset = 0): string {
  let text = "";
  for (let index = 0; index < 6; index++) {
    text += (index === 0 ? "" : ":") + bytes[offset + index].toString(16).padStart(2, "0");
  }
  return text;
}

/** An IPv4 network: its address with the host bits cleared, and the length of its prefix in bits. */
export interface Ipv4Network {
  readonly address: Ipv4;
  readonly prefixLength: number;
}

/** The netmask of a prefix of `prefixLength` bits. */
export function prefixMask(prefixLength: number): Ipv4 {
  return prefixLength === 0 ? 0 : -1 << (32 - prefixLength);
}

/** The last address of a network, which is its directed broadcast (RFC 919). */
export function networkBroadcast(network: Ipv4Network): Ipv4 {
  return network.address | ~prefixMask(network.prefixLength);
}

/** Whether `address` lies in `network`. */
export function networkContains(network: Ipv4Network, address: Ipv4): boolean {
  return (address & prefixMask(network.prefixLength)) === network.address;
}

/** Whether `address` is of 127.0.0.0/8, which may never appear outside a host (RFC 1122, 3.2.1.3). */
export function isLoopback(address: Ipv4): boolean {
  return address >>> 24 === 127;
}

/** Whether `address` is of 224.0.0.0/4 (RFC 1112). */
export function isMulticast(address: Ipv4): boolean {
  return address >>> 28 === 14;
}
