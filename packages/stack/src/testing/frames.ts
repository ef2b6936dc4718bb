/**
 * Frames as tests write and read them: a second implementation of every format, straight from the RFCs and without any
 * code of the stack, so that an error on one side does not cancel out on the other.
 */

import type { Ipv4, Mac } from "../address.ts";

/** The one's complement sum of RFC 1071, word by word as its section 1 describes it. */
export function naiveChecksum(...parts: readonly Uint8Array[]): number {
  const all = concatenate(...parts.map((part, index) => padOdd(part, index === parts.length - 1)));
  let sum = 0;
  for (let index = 0; index < all.length; index += 2) {
    sum += all[index] * 256 + (index + 1 < all.length ? all[index + 1] : 0);
    if (sum > 0xffff) sum -= 0xffff;
  }
  return 0xffff - sum;
}

function padOdd(part: Uint8Array, isLast: boolean): Uint8Array {
  if (!isLast && part.length % 2 === 1) throw new Error("only the last part of a sum may have an odd length");
  return part;
}

export function concatenate(...parts: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(parts.reduce((length, part) => length + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

export function text(value: string): Uint8Array {
  return Uint8Array.from(value, (character) => character.charCodeAt(0));
}

function u16(value: number): number[] {
  return [(value >>> 8) & 255, value & 255];
}

function u32(value: number): number[] {
  return [...u16(value >>> 16), ...u16(value)];
}

function readU16(bytes: Uint8Array, at: number): number {
  return bytes[at] * 256 + bytes[at + 1];
}

/** An address as the stack holds it: signed. */
function readU32(bytes: Uint8Array, at: number): number {
  return (readU16(bytes, at) << 16) | readU16(bytes, at + 2);
}

export function ethernet(destination: Mac, source: Mac, etherType: number, payload: Uint8Array): Uint8Array {
  return concatenate(destination, source, Uint8Array.from(u16(etherType)), payload);
}

export interface Ipv4Fields {
  readonly source: Ipv4;
  readonly destination: Ipv4;
  readonly protocol: number;
  readonly payload: Uint8Array;
  readonly ttl?: number;
  /** Type of service, whose lowest two bits are ECN's (RFC 3168, 5). */
  readonly tos?: number;
  readonly identification?: number;
  readonly dontFragment?: boolean;
  readonly moreFragments?: boolean;
  /** In bytes, a multiple of 8. */
  readonly fragmentOffset?: number;
  /** A multiple of 4 bytes. */
  readonly options?: Uint8Array;
  readonly version?: number;
  /** In bytes; the true one when absent. */
  readonly headerLength?: number;
  readonly totalLength?: number;
  readonly checksum?: number;
}

export function ipv4(fields: Ipv4Fields): Uint8Array {
  const options = fields.options ?? new Uint8Array(0);
  const headerLength = fields.headerLength ?? 20 + options.length;
  const totalLength = fields.totalLength ?? 20 + options.length + fields.payload.length;
  const flags =
    (fields.dontFragment ? 0x4000 : 0) | (fields.moreFragments ? 0x2000 : 0) | ((fields.fragmentOffset ?? 0) / 8);
  const header = Uint8Array.from([
    (fields.version ?? 4) * 16 + headerLength / 4,
    fields.tos ?? 0,
    ...u16(totalLength),
    ...u16(fields.identification ?? 0x1234),
    ...u16(flags),
    fields.ttl ?? 64,
    fields.protocol,
    0,
    0,
    ...u32(fields.source),
    ...u32(fields.destination),
    ...options,
  ]);
  header.set(u16(fields.checksum ?? naiveChecksum(header)), 10);
  return concatenate(header, fields.payload);
}

function pseudoHeader(source: Ipv4, destination: Ipv4, protocol: number, length: number): Uint8Array {
  return Uint8Array.from([...u32(source), ...u32(destination), 0, protocol, ...u16(length)]);
}

export interface UdpFields {
  readonly source: Ipv4;
  readonly sourcePort: number;
  readonly destination: Ipv4;
  readonly destinationPort: number;
  readonly payload: Uint8Array;
  readonly length?: number;
  readonly checksum?: number;
}

export function udp(fields: UdpFields): Uint8Array {
  const length = fields.length ?? 8 + fields.payload.length;
  const datagram = concatenate(
    Uint8Array.from([...u16(fields.sourcePort), ...u16(fields.destinationPort), ...u16(length), 0, 0]),
    fields.payload,
  );
  const computed = naiveChecksum(pseudoHeader(fields.source, fields.destination, 17, length), datagram);
  datagram.set(u16(fields.checksum ?? (computed === 0 ? 0xffff : computed)), 6);
  return datagram;
}

/** @param rest - the four bytes after the checksum. */
export function icmp(type: number, code: number, rest: number, data: Uint8Array, checksum?: number): Uint8Array {
  const message = concatenate(Uint8Array.from([type, code, 0, 0, ...u32(rest)]), data);
  message.set(u16(checksum ?? naiveChecksum(message)), 2);
  return message;
}

export interface ArpFields {
  readonly operation: number;
  readonly senderMac: Mac;
  readonly senderAddress: Ipv4;
  readonly targetMac?: Mac;
  readonly targetAddress: Ipv4;
}

export function arp(fields: ArpFields): Uint8Array {
  return Uint8Array.from([
    ...u16(1),
    ...u16(0x0800),
    6,
    4,
    ...u16(fields.operation),
    ...fields.senderMac,
    ...u32(fields.senderAddress),
    ...(fields.targetMac ?? new Uint8Array(6)),
    ...u32(fields.targetAddress),
  ]);
}

export interface TcpFields {
  readonly source: Ipv4;
  readonly sourcePort: number;
  readonly destination: Ipv4;
  readonly destinationPort: number;
  /** Absolute, modulo 2^32. */
  readonly sequence: number;
  readonly acknowledgment: number;
  /** A string of the letters of {@link TCP_FLAGS}. */
  readonly flags: string;
  readonly window: number;
  /** A multiple of 4 bytes. */
  readonly options?: Uint8Array;
  readonly payload?: Uint8Array;
  readonly urgentPointer?: number;
  readonly headerLength?: number;
  readonly checksum?: number;
}

/** The letters that stand for the flags, each at the place of its bit: FIN is bit 0, E is ECE, C is CWR. */
export const TCP_FLAGS = "FSRPAUEC";

export function tcp(fields: TcpFields): Uint8Array {
  const options = fields.options ?? new Uint8Array(0);
  let flags = 0;
  for (const letter of fields.flags) {
    const bit = TCP_FLAGS.indexOf(letter);
    if (bit < 0) throw new Error(`no such TCP flag: ${letter}`);
    flags |= 1 << bit;
  }
  const segment = concatenate(
    Uint8Array.from([
      ...u16(fields.sourcePort),
      ...u16(fields.destinationPort),
      ...u32(fields.sequence),
      ...u32(fields.acknowledgment),
      ((fields.headerLength ?? 20 + options.length) / 4) * 16,
      flags,
      ...u16(fields.window),
      0,
      0,
      ...u16(fields.urgentPointer ?? 0),
      ...options,
    ]),
    fields.payload ?? new Uint8Array(0),
  );
  const sum = naiveChecksum(pseudoHeader(fields.source, fields.destination, 6, segment.length), segment);
  segment.set(u16(fields.checksum ?? sum), 16);
  return segment;
}

/** A block of selective acknowledgment (RFC 2018, 3): the first sequence number in it and the first behind it. */
export type SackBlock = readonly [start: number, end: number];

/** The value and the echo reply of a timestamps option (RFC 7323, 3.2). */
export type Timestamps = readonly [value: number, echo: number];

/** The options of a segment; all numbers absolute, modulo 2^32. */
export interface TcpOptionFields {
  readonly mss?: number | undefined;
  readonly windowScale?: number | undefined;
  readonly sackPermitted?: boolean | undefined;
  readonly timestamps?: Timestamps | undefined;
  readonly sack?: readonly SackBlock[] | undefined;
}

/** Options in the order in which Linux has them, each group of four bytes filled up with no-operations. */
export function tcpOptions({ mss, windowScale, sackPermitted, timestamps, sack }: TcpOptionFields): Uint8Array {
  const options: number[] = [];
  if (mss !== undefined) options.push(2, 4, ...u16(mss));
  if (sackPermitted && timestamps !== undefined) options.push(4, 2);
  else if (sackPermitted) options.push(1, 1, 4, 2);
  else if (timestamps !== undefined) options.push(1, 1);
  if (timestamps !== undefined) options.push(8, 10, ...timestamps.flatMap(u32));
  if (windowScale !== undefined) options.push(1, 3, 3, windowScale);
  if (sack !== undefined && sack.length > 0) options.push(1, 1, 5, 2 + 8 * sack.length, ...sack.flat().flatMap(u32));
  if (options.length > 40) throw new Error(`${options.length} bytes of options do not fit a TCP header`);
  return Uint8Array.from(options);
}

/** The options of a SYN without timestamps and selective acknowledgments. */
export function synOptions(mss: number | undefined, windowScale: number | undefined): Uint8Array {
  return tcpOptions({ mss, windowScale });
}

export interface ParsedEthernet {
  readonly destination: Mac;
  readonly source: Mac;
}

export interface ParsedArp extends ParsedEthernet {
  readonly kind: "arp";
  readonly operation: number;
  readonly senderMac: Mac;
  readonly senderAddress: Ipv4;
  readonly targetMac: Mac;
  readonly targetAddress: Ipv4;
}

export interface ParsedIpv4 {
  readonly sourceAddress: Ipv4;
  readonly destinationAddress: Ipv4;
  readonly protocol: number;
  readonly ttl: number;
  readonly identification: number;
  readonly dontFragment: boolean;
  readonly moreFragments: boolean;
  readonly fragmentOffset: number;
  readonly ipPayload: Uint8Array;
}

export interface ParsedFragment extends ParsedEthernet, ParsedIpv4 {
  readonly kind: "fragment";
}

export interface ParsedUdp extends ParsedEthernet, ParsedIpv4 {
  readonly kind: "udp";
  readonly sourcePort: number;
  readonly destinationPort: number;
  readonly payload: Uint8Array;
}

export interface ParsedIcmp extends ParsedEthernet, ParsedIpv4 {
  readonly kind: "icmp";
  readonly type: number;
  readonly code: number;
  readonly rest: number;
  readonly data: Uint8Array;
}

export interface ParsedTcp extends ParsedEthernet, ParsedIpv4 {
  readonly kind: "tcp";
  readonly sourcePort: number;
  readonly destinationPort: number;
  readonly sequence: number;
  readonly acknowledgment: number;
  /** In the order of {@link TCP_FLAGS}, but S before A and F, P and R in front of A. */
  readonly flags: string;
  readonly window: number;
  readonly mss: number | undefined;
  readonly windowScale: number | undefined;
  readonly sackPermitted: boolean;
  readonly timestamps: Timestamps | undefined;
  readonly sack: readonly SackBlock[];
  /** The options as they stand in the header. */
  readonly options: Uint8Array;
  readonly payload: Uint8Array;
}

export type ParsedFrame = ParsedArp | ParsedFragment | ParsedUdp | ParsedIcmp | ParsedTcp;

function check(condition: boolean, problem: string): void {
  if (!condition) throw new Error(`a bad frame was sent: ${problem}`);
}

/**
 * Reads a frame that the stack sent.
 *
 * @throws {Error} when a length, a checksum, or a field that has only one right value is wrong.
 */
export function parseFrame(frame: Uint8Array): ParsedFrame {
  check(frame.length >= 14, "shorter than an Ethernet header");
  const link = { destination: frame.slice(0, 6), source: frame.slice(6, 12) };
  check((link.source[0] & 1) === 0, "the source is a group address");
  const etherType = readU16(frame, 12);
  if (etherType === 0x0806) return { ...link, ...parseArp(frame.subarray(14)) };
  check(etherType === 0x0800, `EtherType ${etherType}`);
  const packet = parseIpv4(frame.subarray(14));
  if (packet.moreFragments || packet.fragmentOffset > 0) return { kind: "fragment", ...link, ...packet };
  return { ...link, ...packet, ...parseTransport(packet) };
}

/** Reads the transport header of a packet, whole or put together from fragments. */
export function parseTransport(packet: ParsedIpv4): ParsedTransport {
  switch (packet.protocol) {
    case 1:
      return parseIcmp(packet.ipPayload);
    case 6:
      return parseTcp(packet);
    case 17:
      return parseUdp(packet);
    default:
      throw new Error(`a bad frame was sent: protocol ${packet.protocol}`);
  }
}

type OnlyTransport<Whole> = Omit<Whole, keyof ParsedEthernet | keyof ParsedIpv4>;
export type ParsedTransport = OnlyTransport<ParsedUdp> | OnlyTransport<ParsedIcmp> | OnlyTransport<ParsedTcp>;

function parseArp(packet: Uint8Array): OnlyTransport<ParsedArp> {
  check(packet.length === 28, `an ARP packet of ${packet.length} bytes`);
  check(readU16(packet, 0) === 1 && readU16(packet, 2) === 0x0800, "ARP for other than IPv4 over Ethernet");
  check(packet[4] === 6 && packet[5] === 4, "ARP address lengths");
  return {
    kind: "arp",
    operation: readU16(packet, 6),
    senderMac: packet.slice(8, 14),
    senderAddress: readU32(packet, 14),
    targetMac: packet.slice(18, 24),
    targetAddress: readU32(packet, 24),
  };
}

function parseIpv4(packet: Uint8Array): ParsedIpv4 {
  check(packet.length >= 20, "shorter than an IPv4 header");
  check(packet[0] === 0x45, "version or header length");
  check(packet[1] === 0, "type of service");
  check(readU16(packet, 2) === packet.length, `total length ${readU16(packet, 2)} in ${packet.length} bytes`);
  check(naiveChecksum(packet.subarray(0, 20)) === 0, "IPv4 checksum");
  const flags = readU16(packet, 6);
  check((flags & 0x8000) === 0, "the reserved flag");
  const dontFragment = (flags & 0x4000) !== 0;
  const moreFragments = (flags & 0x2000) !== 0;
  const fragmentOffset = (flags & 0x1fff) * 8;
  check(!dontFragment || (!moreFragments && fragmentOffset === 0), "a fragment that may not be one");
  check(!moreFragments || (packet.length - 20) % 8 === 0, "a fragment that does not end on 8 bytes");
  check(packet[8] > 0, "a time to live of 0");
  return {
    sourceAddress: readU32(packet, 12),
    destinationAddress: readU32(packet, 16),
    protocol: packet[9],
    ttl: packet[8],
    identification: readU16(packet, 4),
    dontFragment,
    moreFragments,
    fragmentOffset,
    ipPayload: packet.slice(20),
  };
}

function parseIcmp(message: Uint8Array): OnlyTransport<ParsedIcmp> {
  check(message.length >= 8, "shorter than an ICMP header");
  check(naiveChecksum(message) === 0, "ICMP checksum");
  return { kind: "icmp", type: message[0], code: message[1], rest: readU32(message, 4), data: message.slice(8) };
}

function parseUdp({ sourceAddress, destinationAddress, ipPayload }: ParsedIpv4): OnlyTransport<ParsedUdp> {
  check(ipPayload.length >= 8, "shorter than a UDP header");
  check(readU16(ipPayload, 4) === ipPayload.length, "UDP length");
  check(readU16(ipPayload, 6) !== 0, "no UDP checksum");
  const header = pseudoHeader(sourceAddress, destinationAddress, 17, ipPayload.length);
  check(naiveChecksum(header, ipPayload) === 0, "UDP checksum");
  return {
    kind: "udp",
    sourcePort: readU16(ipPayload, 0),
    destinationPort: readU16(ipPayload, 2),
    payload: ipPayload.slice(8),
  };
}

function parseTcp(packet: ParsedIpv4): OnlyTransport<ParsedTcp> {
  const segment = packet.ipPayload;
  check(segment.length >= 20, "shorter than a TCP header");
  const headerLength = (segment[12] >> 4) * 4;
  check(headerLength >= 20 && headerLength <= segment.length, "TCP data offset");
  check((segment[12] & 15) === 0, "reserved bits of TCP");
  check(segment[13] >> 6 === 0, "ECE or CWR, though ECN is refused");
  check(readU16(segment, 18) === 0, "an urgent pointer");
  const header = pseudoHeader(packet.sourceAddress, packet.destinationAddress, 6, segment.length);
  check(naiveChecksum(header, segment) === 0, "TCP checksum");
  check(packet.dontFragment, "a TCP segment without DF");
  check(packet.identification === 0, "an identification on a packet that is not to be fragmented");
  let flags = "";
  for (const letter of "SFRPAU") if ((segment[13] & (1 << TCP_FLAGS.indexOf(letter))) !== 0) flags += letter;
  return {
    kind: "tcp",
    sourcePort: readU16(segment, 0),
    destinationPort: readU16(segment, 2),
    sequence: readU32(segment, 4),
    acknowledgment: readU32(segment, 8),
    flags,
    window: readU16(segment, 14),
    ...parseTcpOptions(segment.subarray(20, headerLength), (segment[13] & 2) !== 0),
    options: segment.slice(20, headerLength),
    payload: segment.slice(headerLength),
  };
}

type ParsedTcpOptions = Pick<ParsedTcp, "mss" | "windowScale" | "sackPermitted" | "timestamps" | "sack">;

/** The length of each option that the stack may send; 0 where it varies. */
const OPTION_LENGTHS: Readonly<Record<number, number>> = { 2: 4, 3: 3, 4: 2, 5: 0, 8: 10 };

function parseTcpOptions(options: Uint8Array, isSyn: boolean): ParsedTcpOptions {
  const seen = new Map<number, number>();
  for (let at = 0; at < options.length; ) {
    const kind = options[at];
    if (kind === 1) {
      at++;
      continue;
    }
    const right = OPTION_LENGTHS[kind];
    check(right !== undefined, `TCP option ${kind}`);
    check(at + 1 < options.length, `TCP option ${kind} without a length`);
    const length = options[at + 1];
    check(right === 0 || length === right, `the length of TCP option ${kind}`);
    check(length >= 2 && at + length <= options.length, `TCP option ${kind} past the end of the header`);
    check(!seen.has(kind), `TCP option ${kind} twice`);
    // Of what the stack sends, only these two may be outside of a SYN, and only selective acknowledgments must be.
    check(kind === 8 || isSyn === (kind !== 5), `TCP option ${kind} on a segment ${isSyn ? "with" : "without"} SYN`);
    seen.set(kind, at + 2);
    at += length;
  }
  const mss = seen.get(2);
  const windowScale = seen.get(3);
  const timestamps = seen.get(8);
  return {
    mss: mss === undefined ? undefined : readU16(options, mss),
    windowScale: windowScale === undefined ? undefined : options[windowScale],
    sackPermitted: seen.has(4),
    timestamps: timestamps === undefined ? undefined : [readU32(options, timestamps), readU32(options, timestamps + 4)],
    sack: parseSack(options, seen.get(5)),
  };
}

function parseSack(options: Uint8Array, start: number | undefined): SackBlock[] {
  if (start === undefined) return [];
  const length = options[start - 1] - 2;
  check(length >= 8 && length <= 32 && length % 8 === 0, `${length} bytes of SACK blocks`);
  const blocks: SackBlock[] = [];
  for (let at = start; at < start + length; at += 8) {
    const block: SackBlock = [readU32(options, at), readU32(options, at + 4)];
    check(((block[1] - block[0]) | 0) > 0, "a SACK block that is empty or runs backwards");
    blocks.push(block);
  }
  for (const [index, [left, right]] of blocks.entries()) {
    for (const [start, end] of blocks.slice(index + 1)) {
      const apart = ((left - end) | 0) > 0 || ((start - right) | 0) > 0;
      // The first block lies within another when it tells of a duplicate (RFC 2883, 4).
      const within = index === 0 && ((left - start) | 0) >= 0 && ((end - right) | 0) >= 0;
      check(apart || within, "SACK blocks that overlap or touch");
    }
  }
  return blocks;
}

/** Puts the fragments of one datagram together, in whatever order they are, and reads it. */
export function reassemble(fragments: readonly ParsedFragment[]): ParsedIpv4 & ParsedTransport {
  const sorted = [...fragments].sort((a, b) => a.fragmentOffset - b.fragmentOffset);
  let at = 0;
  for (const [index, fragment] of sorted.entries()) {
    check(fragment.fragmentOffset === at, `a fragment at ${fragment.fragmentOffset}, not ${at}`);
    check(fragment.moreFragments === index < sorted.length - 1, "more fragments");
    check(fragment.identification === sorted[0].identification, "fragments of two datagrams");
    at += fragment.ipPayload.length;
  }
  const whole: ParsedIpv4 = { ...sorted[0], ipPayload: concatenate(...sorted.map((each) => each.ipPayload)) };
  return { ...whole, ...parseTransport(whole) };
}
