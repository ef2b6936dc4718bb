/** The UDP header (RFC 768). */

import type { Ipv4 } from "../address.ts";
import { complement, pseudoHeaderSum, sum } from "./checksum.ts";
import { PROTOCOL_UDP } from "./ipv4.ts";

export const UDP_HEADER_LENGTH = 8;
/** The longest payload that fits an IPv4 datagram without options. */
export const UDP_MAX_PAYLOAD = 65507;

/** Why a datagram was not accepted by {@link checkUdpDatagram}. */
export type UdpFault = "malformed" | "checksum";

/**
 * Checks length and checksum; a checksum of zero means that the sender made none (RFC 768), and is accepted.
 *
 * @param available - bytes of the IP payload.
 */
export function checkUdpDatagram(
  view: DataView,
  segment: number,
  available: number,
  source: Ipv4,
  destination: Ipv4,
): UdpFault | null {
  if (available < UDP_HEADER_LENGTH) return "malformed";
  const length = view.getUint16(segment + 4);
  if (length < UDP_HEADER_LENGTH || length > available) return "malformed";
  if (view.getUint16(segment + 6) === 0) return null;
  const total = pseudoHeaderSum(source, destination, PROTOCOL_UDP, length) + sum(view, segment, length);
  return complement(total) === 0 ? null : "checksum";
}

export function readUdpSourcePort(view: DataView, segment: number): number {
  return view.getUint16(segment);
}

export function readUdpDestinationPort(view: DataView, segment: number): number {
  return view.getUint16(segment + 2);
}

/** Bytes of header and payload. */
export function readUdpLength(view: DataView, segment: number): number {
  return view.getUint16(segment + 4);
}

/**
 * Writes the header, checksum included.
 *
 * @param payloadLength - bytes of payload.
 * @param payloadSum - the sum of the payload.
 */
export function writeUdpHeader(
  view: DataView,
  segment: number,
  source: Ipv4,
  sourcePort: number,
  destination: Ipv4,
  destinationPort: number,
  payloadLength: number,
  payloadSum: number,
): void {
  const length = UDP_HEADER_LENGTH + payloadLength;
  view.setUint16(segment, sourcePort);
  view.setUint16(segment + 2, destinationPort);
  view.setUint16(segment + 4, length);
  const headerSum = pseudoHeaderSum(source, destination, PROTOCOL_UDP, length) + sourcePort + destinationPort + length;
  const checksum = complement(headerSum + payloadSum);
  // Zero would mean "no checksum"; its one's complement equal is sent instead (RFC 768).
  view.setUint16(segment + 6, checksum === 0 ? 0xffff : checksum);
}
