/** ICMP messages (RFC 792). */

import { complement, sum } from "./checksum.ts";

export const ICMP_HEADER_LENGTH = 8;
export const ICMP_ECHO_REPLY = 0;
export const ICMP_DESTINATION_UNREACHABLE = 3;
export const ICMP_ECHO_REQUEST = 8;
export const ICMP_TIME_EXCEEDED = 11;

/** Codes of time exceeded. */
export const TTL_EXCEEDED = 0;
export const REASSEMBLY_TIME_EXCEEDED = 1;

/** Whether the bytes at `message` are a whole ICMP header and the checksum over `length` bytes is right. */
export function isIcmpMessage(view: DataView, message: number, length: number): boolean {
  return length >= ICMP_HEADER_LENGTH && sum(view, message, length) === 0xffff;
}

export function readIcmpType(view: DataView, message: number): number {
  return view.getUint8(message);
}

export function readIcmpCode(view: DataView, message: number): number {
  return view.getUint8(message + 1);
}

export function readEchoIdentifier(view: DataView, message: number): number {
  return view.getUint16(message + 4);
}

export function readEchoSequence(view: DataView, message: number): number {
  return view.getUint16(message + 6);
}

/** The next-hop MTU of "fragmentation needed" (RFC 1191, 4), or 0 from a router that does not tell. */
export function readNextHopMtu(view: DataView, message: number): number {
  return view.getUint16(message + 6);
}

/**
 * Writes the header in front of data that is already in place, checksum included.
 *
 * @param rest - the four bytes after the checksum: identifier and sequence, or an error's unused word.
 * @param dataLength - bytes after the header.
 */
export function writeIcmpHeader(
  view: DataView,
  message: number,
  type: number,
  code: number,
  rest: number,
  dataLength: number,
): void {
  view.setUint8(message, type);
  view.setUint8(message + 1, code);
  view.setUint16(message + 2, 0);
  view.setInt32(message + 4, rest);
  view.setUint16(message + 2, complement(sum(view, message, ICMP_HEADER_LENGTH + dataLength)));
}
