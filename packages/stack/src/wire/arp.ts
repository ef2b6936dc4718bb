/** ARP for IPv4 over Ethernet (RFC 826). */

import type { Ipv4 } from "../address.ts";

export const ARP_LENGTH = 28;
export const ARP_REQUEST = 1;
export const ARP_REPLY = 2;

const HARDWARE_ETHERNET = 1;
const PROTOCOL_IPV4 = 0x0800;

/** Whether the bytes at `packet` are a whole ARP packet for IPv4 over Ethernet. */
export function isArpPacket(view: DataView, packet: number, length: number): boolean {
  return (
    length >= ARP_LENGTH &&
    view.getUint16(packet) === HARDWARE_ETHERNET &&
    view.getUint16(packet + 2) === PROTOCOL_IPV4 &&
    view.getUint8(packet + 4) === 6 &&
    view.getUint8(packet + 5) === 4
  );
}

export function readArpOperation(view: DataView, packet: number): number {
  return view.getUint16(packet + 6);
}

export function readArpSenderMacHigh(view: DataView, packet: number): number {
  return view.getUint16(packet + 8);
}

export function readArpSenderMacLow(view: DataView, packet: number): number {
  return view.getInt32(packet + 10);
}

export function readArpSenderAddress(view: DataView, packet: number): Ipv4 {
  return view.getInt32(packet + 14);
}

export function readArpTargetAddress(view: DataView, packet: number): Ipv4 {
  return view.getInt32(packet + 24);
}

/** Writes a packet of {@link ARP_LENGTH} bytes at `packet`. A request's target MAC is zero. */
export function writeArpPacket(
  view: DataView,
  packet: number,
  operation: number,
  senderHigh: number,
  senderLow: number,
  senderAddress: Ipv4,
  targetHigh: number,
  targetLow: number,
  targetAddress: Ipv4,
): void {
  view.setUint16(packet, HARDWARE_ETHERNET);
  view.setUint16(packet + 2, PROTOCOL_IPV4);
  view.setUint8(packet + 4, 6);
  view.setUint8(packet + 5, 4);
  view.setUint16(packet + 6, operation);
  view.setUint16(packet + 8, senderHigh);
  view.setInt32(packet + 10, senderLow);
  view.setInt32(packet + 14, senderAddress);
  view.setUint16(packet + 18, targetHigh);
  view.setInt32(packet + 20, targetLow);
  view.setInt32(packet + 24, targetAddress);
}
