/** Ethernet II (IEEE 802.3, clause 3; RFC 894): destination, source, EtherType, payload; no frame check sequence. */

import type { Mac } from "../address.ts";

export const ETHERNET_HEADER_LENGTH = 14;
export const ETHERTYPE_IPV4 = 0x0800;
export const ETHERTYPE_ARP = 0x0806;

const SOURCE = 6;
const ETHERTYPE = 12;

/** The first two and the last four bytes of a MAC address, as numbers that compare without an allocation. */
export interface MacHalves {
  high: number;
  low: number;
}

/** Splits a MAC address into its halves. */
export function macHalves(mac: Mac): MacHalves {
  const view = new DataView(mac.buffer, mac.byteOffset, 6);
  return { high: view.getUint16(0), low: view.getInt32(2) };
}

/** Joins the halves of a MAC address. */
export function macFromHalves(high: number, low: number): Mac {
  const mac = new Uint8Array(6);
  const view = new DataView(mac.buffer);
  view.setUint16(0, high);
  view.setInt32(2, low);
  return mac;
}

/** Whether the frame's EtherType may be read, which needs its whole header. */
export function isWholeEthernetHeader(length: number): boolean {
  return length >= ETHERNET_HEADER_LENGTH;
}

export function readEtherType(view: DataView, frame: number): number {
  return view.getUint16(frame + ETHERTYPE);
}

export function readDestinationHigh(view: DataView, frame: number): number {
  return view.getUint16(frame);
}

export function readDestinationLow(view: DataView, frame: number): number {
  return view.getInt32(frame + 2);
}

export function readSourceHigh(view: DataView, frame: number): number {
  return view.getUint16(frame + SOURCE);
}

export function readSourceLow(view: DataView, frame: number): number {
  return view.getInt32(frame + SOURCE + 2);
}

/** Whether the first half of a MAC address has the group bit set: multicast or broadcast. */
export function isGroupMac(high: number): boolean {
  return (high & 0x0100) !== 0;
}

/** Writes a header at `frame`. */
export function writeEthernetHeader(
  view: DataView,
  frame: number,
  destinationHigh: number,
  destinationLow: number,
  sourceHigh: number,
  sourceLow: number,
  etherType: number,
): void {
  view.setUint16(frame, destinationHigh);
  view.setInt32(frame + 2, destinationLow);
  view.setUint16(frame + SOURCE, sourceHigh);
  view.setInt32(frame + SOURCE + 2, sourceLow);
  view.setUint16(frame + ETHERTYPE, etherType);
}
