/** The fixed part of the TCP header (RFC 9293, 3.1). */

import type { Ipv4 } from "../address.ts";
import { complement, pseudoHeaderSum, sum } from "./checksum.ts";
import { PROTOCOL_TCP } from "./ipv4.ts";

export const TCP_HEADER_LENGTH = 20;

export const FIN = 0x01;
export const SYN = 0x02;
export const RST = 0x04;
export const PSH = 0x08;
export const ACK = 0x10;
export const URG = 0x20;

/** Why a segment was not accepted by {@link checkTcpSegment}. */
export type TcpFault = "malformed" | "checksum";

/** Checks data offset and checksum of a segment of `length` bytes. */
export function checkTcpSegment(
  view: DataView,
  segment: number,
  length: number,
  source: Ipv4,
  destination: Ipv4,
): TcpFault | null {
  if (length < TCP_HEADER_LENGTH) return "malformed";
  const headerLength = (view.getUint8(segment + 12) >>> 4) << 2;
  if (headerLength < TCP_HEADER_LENGTH || headerLength > length) return "malformed";
  const total = pseudoHeaderSum(source, destination, PROTOCOL_TCP, length) + sum(view, segment, length);
  return complement(total) === 0 ? null : "checksum";
}

export function readTcpSourcePort(view: DataView, segment: number): number {
  return view.getUint16(segment);
}

export function readTcpDestinationPort(view: DataView, segment: number): number {
  return view.getUint16(segment + 2);
}

/** Both ports as one signed 32-bit integer, the source in the high half: a key that costs one read. */
export function readTcpPorts(view: DataView, segment: number): number {
  return view.getInt32(segment);
}

export function readSequenceNumber(view: DataView, segment: number): number {
  return view.getInt32(segment + 4);
}

export function readAcknowledgment(view: DataView, segment: number): number {
  return view.getInt32(segment + 8);
}

/** Bytes of the header, options included. */
export function readTcpHeaderLength(view: DataView, segment: number): number {
  return (view.getUint8(segment + 12) >>> 4) << 2;
}

export function readFlags(view: DataView, segment: number): number {
  return view.getUint8(segment + 13);
}

/** The window field as it stands, before scaling. */
export function readWindow(view: DataView, segment: number): number {
  return view.getUint16(segment + 14);
}

/**
 * Writes the fixed header; options and payload are already in place or are written before
 * {@link writeTcpChecksum}.
 *
 * @param headerLength - bytes of header and options, a multiple of 4.
 */
export function writeTcpHeader(
  view: DataView,
  segment: number,
  sourcePort: number,
  destinationPort: number,
  sequence: number,
  acknowledgment: number,
  headerLength: number,
  flags: number,
  window: number,
): void {
  view.setUint16(segment, sourcePort);
  view.setUint16(segment + 2, destinationPort);
  view.setInt32(segment + 4, sequence);
  view.setInt32(segment + 8, acknowledgment);
  view.setUint16(segment + 12, (headerLength << 10) | flags);
  view.setUint16(segment + 14, window);
  view.setInt32(segment + 16, 0);
}

/**
 * Fills in the checksum of a segment of `length` bytes whose checksum field is zero.
 *
 * @param headerLength - bytes of header and options, which are summed here.
 * @param payloadSum - the sum of what follows them.
 */
export function writeTcpChecksum(
  view: DataView,
  segment: number,
  length: number,
  source: Ipv4,
  destination: Ipv4,
  headerLength: number,
  payloadSum: number,
): void {
  const pseudoHeader = pseudoHeaderSum(source, destination, PROTOCOL_TCP, length);
  view.setUint16(segment + 16, complement(pseudoHeader + sum(view, segment, headerLength) + payloadSum));
}
