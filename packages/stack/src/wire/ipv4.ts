/** The IPv4 header (RFC 791, 3.1). */

import type { Ipv4 } from "../address.ts";
import { complement, fold, sum } from "./checksum.ts";

export const IPV4_HEADER_LENGTH = 20;
/** The longest datagram: the total length field has 16 bits. */
export const IPV4_MAX_LENGTH = 65535;

export const PROTOCOL_ICMP = 1;
export const PROTOCOL_TCP = 6;
export const PROTOCOL_UDP = 17;

/** The default time to live of what this stack sends (RFC 1700). */
export const DEFAULT_TTL = 64;

const DONT_FRAGMENT = 0x4000;
const MORE_FRAGMENTS = 0x2000;
const FRAGMENT_OFFSET = 0x1fff;

/** Why a header was not accepted by {@link checkIpv4Header}. */
export type Ipv4HeaderFault = "malformed" | "checksum";

/**
 * Checks version, header length, total length and header checksum (RFC 1122, 3.2.1).
 *
 * @param available - bytes there are from the header to the end of the frame, padding included.
 * @returns null when the header is sound, so that every other reader of this file may be used.
 */
export function checkIpv4Header(view: DataView, packet: number, available: number): Ipv4HeaderFault | null {
  if (available < IPV4_HEADER_LENGTH) return "malformed";
  const versionAndLength = view.getUint8(packet);
  if (versionAndLength >>> 4 !== 4) return "malformed";
  const headerLength = (versionAndLength & 15) << 2;
  const totalLength = view.getUint16(packet + 2);
  if (headerLength < IPV4_HEADER_LENGTH || totalLength < headerLength || totalLength > available) return "malformed";
  const total = headerLength === IPV4_HEADER_LENGTH ? plainHeaderSum(view, packet) : sum(view, packet, headerLength);
  return total === 0xffff ? null : "checksum";
}

/** The sum of a header without options, which nearly every packet has: cheaper than a loop. */
function plainHeaderSum(view: DataView, packet: number): number {
  const a = view.getInt32(packet);
  const b = view.getInt32(packet + 4);
  const c = view.getInt32(packet + 8);
  const d = view.getInt32(packet + 12);
  const e = view.getInt32(packet + 16);
  const low = (a & 0xffff) + (b & 0xffff) + (c & 0xffff) + (d & 0xffff) + (e & 0xffff);
  return fold(low + (a >>> 16) + (b >>> 16) + (c >>> 16) + (d >>> 16) + (e >>> 16));
}

/** Bytes of the header, options included. */
export function readHeaderLength(view: DataView, packet: number): number {
  return (view.getUint8(packet) & 15) << 2;
}

/** Bytes of header and payload. */
export function readTotalLength(view: DataView, packet: number): number {
  return view.getUint16(packet + 2);
}

export function readIdentification(view: DataView, packet: number): number {
  return view.getUint16(packet + 4);
}

export function readDontFragment(view: DataView, packet: number): boolean {
  return (view.getUint16(packet + 6) & DONT_FRAGMENT) !== 0;
}

/** Whether the packet is a part of a datagram: more fragments follow it, or its offset is not zero. */
export function isFragment(view: DataView, packet: number): boolean {
  return (view.getUint16(packet + 6) & (MORE_FRAGMENTS | FRAGMENT_OFFSET)) !== 0;
}

export function readMoreFragments(view: DataView, packet: number): boolean {
  return (view.getUint16(packet + 6) & MORE_FRAGMENTS) !== 0;
}

/** Where the fragment's payload belongs in the datagram's payload, in bytes. */
export function readFragmentOffset(view: DataView, packet: number): number {
  return (view.getUint16(packet + 6) & FRAGMENT_OFFSET) << 3;
}

export function readTtl(view: DataView, packet: number): number {
  return view.getUint8(packet + 8);
}

export function readProtocol(view: DataView, packet: number): number {
  return view.getUint8(packet + 9);
}

export function readSource(view: DataView, packet: number): Ipv4 {
  return view.getInt32(packet + 12);
}

export function readDestination(view: DataView, packet: number): Ipv4 {
  return view.getInt32(packet + 16);
}

/**
 * Writes a header without options, checksum included.
 *
 * @param totalLength - bytes of header and payload.
 * @param fragmentOffset - bytes, a multiple of 8.
 */
export function writeIpv4Header(
  view: DataView,
  packet: number,
  totalLength: number,
  identification: number,
  dontFragment: boolean,
  moreFragments: boolean,
  fragmentOffset: number,
  ttl: number,
  protocol: number,
  source: Ipv4,
  destination: Ipv4,
): void {
  const flags = (dontFragment ? DONT_FRAGMENT : 0) | (moreFragments ? MORE_FRAGMENTS : 0) | (fragmentOffset >>> 3);
  view.setUint16(packet, 0x4500);
  view.setUint16(packet + 2, totalLength);
  view.setUint16(packet + 4, identification);
  view.setUint16(packet + 6, flags);
  view.setUint8(packet + 8, ttl);
  view.setUint8(packet + 9, protocol);
  view.setInt32(packet + 12, source);
  view.setInt32(packet + 16, destination);
  // The fields are at hand, so their sum is cheaper than reading the header back.
  const total =
    0x4500 +
    totalLength +
    identification +
    flags +
    ((ttl << 8) | protocol) +
    (source >>> 16) +
    (source & 0xffff) +
    (destination >>> 16) +
    (destination & 0xffff);
  view.setUint16(packet + 10, complement(total));
}
