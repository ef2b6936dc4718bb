/**
 * DHCP messages (RFC 2131, section 2) with their options (RFC 2132): a checked parser and an emitter.
 *
 * Options that are split over several instances are joined (RFC 3396), and the `file` and `sname` fields are read and
 * written as further room for options where option 52 says so (RFC 2132, 9.3).
 */

import type { Ipv4 } from "../address.ts";

/** The UDP port of servers and relays. */
export const DHCP_SERVER_PORT = 67;
/** The UDP port of clients. */
export const DHCP_CLIENT_PORT = 68;

/** `op` of what a client sends. */
export const BOOTREQUEST = 1;
/** `op` of what a server sends. */
export const BOOTREPLY = 2;
/** `htype` of Ethernet. */
export const HTYPE_ETHERNET = 1;
/** The bit of `flags` by which a client asks for its reply as a broadcast (RFC 2131, section 2). */
export const DHCP_FLAG_BROADCAST = 0x8000;

/** IPv4 and UDP headers, which the maximum DHCP message size (option 57) counts in. */
export const DHCP_HEADERS_LENGTH = 28;
/** The least that option 57 may say, and what every client takes that does not send it (RFC 2132, 9.10). */
export const DHCP_MINIMUM_MAXIMUM_SIZE = 576;

/** The values of option 53 (RFC 2132, 9.6). */
export const DHCP_TYPE = {
  discover: 1,
  offer: 2,
  request: 3,
  decline: 4,
  ack: 5,
  nak: 6,
  release: 7,
  inform: 8,
} as const;

/** A value of {@link DHCP_TYPE}. */
export type DhcpMessageType = (typeof DHCP_TYPE)[keyof typeof DHCP_TYPE];

/** The codes of the options used here (RFC 2132, RFC 3046, RFC 3397). */
export const DHCP_OPTION = {
  pad: 0,
  subnetMask: 1,
  router: 3,
  domainNameServer: 6,
  hostName: 12,
  domainName: 15,
  interfaceMtu: 26,
  broadcastAddress: 28,
  requestedAddress: 50,
  leaseTime: 51,
  overload: 52,
  messageType: 53,
  serverIdentifier: 54,
  parameterRequestList: 55,
  message: 56,
  maximumMessageSize: 57,
  renewalTime: 58,
  rebindingTime: 59,
  clientIdentifier: 61,
  relayAgentInformation: 82,
  domainSearch: 119,
  end: 255,
} as const;

/** A DHCP message. The fields have the names of RFC 2131, figure 1. */
export interface DhcpMessage {
  readonly op: number;
  readonly htype: number;
  readonly hops: number;
  /** Transaction id, 0 to 2^32 - 1. */
  readonly xid: number;
  readonly secs: number;
  readonly flags: number;
  readonly ciaddr: Ipv4;
  readonly yiaddr: Ipv4;
  readonly siaddr: Ipv4;
  readonly giaddr: Ipv4;
  /** The client's hardware address, of as many bytes as `hlen` says (0 to 16). */
  readonly chaddr: Uint8Array;
  /** Option 53. */
  readonly type: DhcpMessageType;
  /** All other options but the overload option. */
  readonly options: DhcpOptions;
}

const SNAME_OFFSET = 44;
const FILE_OFFSET = 108;
const COOKIE_OFFSET = 236;
const OPTIONS_OFFSET = 240;
const MAGIC_COOKIE = 0x63825363;
const CHADDR_LENGTH = 16;
/** A BOOTP message is never shorter (RFC 951 has 300 bytes, and relays and clients exist that drop less). */
const BOOTP_LENGTH = 300;
const OPTION_LENGTH_LIMIT = 255;
const LABEL = /^[A-Za-z0-9_-]{1,63}$/;
const SEARCH_LIMIT = 64;

const FIXED_LENGTHS: ReadonlyMap<number, number> = new Map([
  [DHCP_OPTION.subnetMask, 4],
  [DHCP_OPTION.interfaceMtu, 2],
  [DHCP_OPTION.broadcastAddress, 4],
  [DHCP_OPTION.requestedAddress, 4],
  [DHCP_OPTION.leaseTime, 4],
  [DHCP_OPTION.overload, 1],
  [DHCP_OPTION.messageType, 1],
  [DHCP_OPTION.serverIdentifier, 4],
  [DHCP_OPTION.maximumMessageSize, 2],
  [DHCP_OPTION.renewalTime, 4],
  [DHCP_OPTION.rebindingTime, 4],
]);

/** The options of a message in the order they are sent, each value whole however it is split on the wire. */
export class DhcpOptions {
  readonly #values = new Map<number, Uint8Array>();

  /** Codes and values in the order they were set. */
  [Symbol.iterator](): IterableIterator<[code: number, value: Uint8Array]> {
    return this.#values.entries();
  }

  /** The value of an option, or null when it is absent. */
  bytes(code: number): Uint8Array | null {
    return this.#values.get(code) ?? null;
  }

  /** An option that is one IPv4 address, or null when it is absent or of another length. */
  ipv4(code: number): Ipv4 | null {
    const value = this.#values.get(code);
    return value?.length === 4 ? viewOf(value).getInt32(0) : null;
  }

  /** An option that is a list of IPv4 addresses; empty when it is absent or its length is no multiple of 4. */
  ipv4List(code: number): Ipv4[] {
    const value = this.#values.get(code);
    if (value === undefined || value.length % 4 !== 0) {
      return [];
    }
    const view = viewOf(value);
    return Array.from({ length: value.length / 4 }, (_, index) => view.getInt32(index * 4));
  }

  /** An option of two bytes, or null when it is absent or of another length. */
  uint16(code: number): number | null {
    const value = this.#values.get(code);
    return value?.length === 2 ? viewOf(value).getUint16(0) : null;
  }

  /** An option of four bytes, or null when it is absent or of another length. */
  uint32(code: number): number | null {
    const value = this.#values.get(code);
    return value?.length === 4 ? viewOf(value).getUint32(0) : null;
  }

  /**
   * An option that is text, without the NULs some clients end it with (RFC 2132, section 2). Null when it is absent,
   * empty, or has anything in it but printable ASCII: the text comes from the guest and ends up in logs.
   */
  text(code: number): string | null {
    let text = "";
    for (const byte of this.#values.get(code) ?? []) {
      text += String.fromCharCode(byte);
    }
    text = text.replace(/\0+$/, "");
    return /^[\x20-\x7e]+$/.test(text) ? text : null;
  }

  set(code: number, value: Uint8Array): this {
    this.#values.set(code, value);
    return this;
  }

  setIpv4(code: number, ...addresses: Ipv4[]): this {
    const value = new Uint8Array(addresses.length * 4);
    const view = viewOf(value);
    addresses.forEach((address, index) => {
      view.setInt32(index * 4, address);
    });
    return this.set(code, value);
  }

  setUint16(code: number, number: number): this {
    return this.set(code, Uint8Array.of(number >>> 8, number));
  }

  setUint32(code: number, number: number): this {
    return this.set(code, Uint8Array.of(number >>> 24, number >>> 16, number >>> 8, number));
  }

  /** Sets an option to text, which must be ASCII. */
  setText(code: number, text: string): this {
    return this.set(
      code,
      Uint8Array.from(text, (character) => character.charCodeAt(0)),
    );
  }
}

/**
 * Reads a message from a UDP payload. What it returns is copied and keeps nothing of `bytes`.
 *
 * @returns null when it is no well-formed DHCP message: too short, without the magic cookie or a known message type,
 *   with an option that runs past its field, or with an option of {@link DHCP_OPTION} of a length it cannot have.
 */
export function parseDhcpMessage(bytes: Uint8Array, offset: number, length: number): DhcpMessage | null {
  if (length < OPTIONS_OFFSET || offset < 0 || offset + length > bytes.length) {
    return null;
  }
  const view = viewOf(bytes);
  const op = bytes[offset];
  const hlen = bytes[offset + 2];
  if (
    (op !== BOOTREQUEST && op !== BOOTREPLY) ||
    hlen > CHADDR_LENGTH ||
    view.getUint32(offset + COOKIE_OFFSET) !== MAGIC_COOKIE
  ) {
    return null;
  }
  const values = parseOptions(bytes, offset, length);
  const type = values?.get(DHCP_OPTION.messageType)?.[0];
  if (values == null || !isMessageType(type)) {
    return null;
  }
  const options = new DhcpOptions();
  for (const [code, value] of values) {
    if (code !== DHCP_OPTION.messageType && code !== DHCP_OPTION.overload) {
      options.set(code, value);
    }
  }
  return {
    op,
    htype: bytes[offset + 1],
    hops: bytes[offset + 3],
    xid: view.getUint32(offset + 4),
    secs: view.getUint16(offset + 8),
    flags: view.getUint16(offset + 10),
    ciaddr: view.getInt32(offset + 12),
    yiaddr: view.getInt32(offset + 16),
    siaddr: view.getInt32(offset + 20),
    giaddr: view.getInt32(offset + 24),
    chaddr: bytes.slice(offset + 28, offset + 28 + hlen),
    type,
    options,
  };
}

/**
 * Builds a message of at least 300 and at most `maximumLength` bytes of UDP payload. Options are sent in the order
 * they were set, after the message type; those that no longer fit go to `file` and `sname` (option 52), and one
 * longer than 255 bytes is split (RFC 3396).
 *
 * @param maximumLength - at least 300.
 * @returns null when the options do not fit.
 */
export function encodeDhcpMessage(message: DhcpMessage, maximumLength: number): Uint8Array | null {
  const bytes = new Uint8Array(maximumLength);
  const view = viewOf(bytes);
  bytes[0] = message.op;
  bytes[1] = message.htype;
  bytes[2] = message.chaddr.length;
  bytes[3] = message.hops;
  view.setUint32(4, message.xid);
  view.setUint16(8, message.secs);
  view.setUint16(10, message.flags);
  view.setInt32(12, message.ciaddr);
  view.setInt32(16, message.yiaddr);
  view.setInt32(20, message.siaddr);
  view.setInt32(24, message.giaddr);
  bytes.set(message.chaddr, 28);
  view.setUint32(COOKIE_OFFSET, MAGIC_COOKIE);

  // Each field ends with the end option, and the options field keeps room for the overload option.
  const options: OptionField = { next: OPTIONS_OFFSET, end: maximumLength - 4 };
  const file: OptionField = { next: FILE_OFFSET, end: COOKIE_OFFSET - 1 };
  const sname: OptionField = { next: SNAME_OFFSET, end: FILE_OFFSET - 1 };
  const fields = [options, file, sname];
  writeInstance(bytes, options, DHCP_OPTION.messageType, Uint8Array.of(message.type));
  for (const [code, value] of message.options) {
    if (!placeOption(bytes, fields, code, value)) {
      return null;
    }
  }
  const overload = (file.next > FILE_OFFSET ? 1 : 0) | (sname.next > SNAME_OFFSET ? 2 : 0);
  if (overload !== 0) {
    writeInstance(bytes, options, DHCP_OPTION.overload, Uint8Array.of(overload));
  }
  for (const [index, field] of fields.entries()) {
    if (index === 0 || (overload & index) !== 0) {
      bytes[field.next++] = DHCP_OPTION.end;
    }
  }
  return bytes.slice(0, Math.max(BOOTP_LENGTH, options.next));
}

/**
 * Encodes a domain search list (option 119, RFC 3397) as RFC 1035 names, without compression.
 *
 * @throws {RangeError} when a domain is not labels of 1 to 63 letters, digits, `-` and `_`, or longer than 253.
 */
export function encodeDomainSearch(domains: readonly string[]): Uint8Array {
  const value: number[] = [];
  for (const domain of domains) {
    const name = domain.replace(/\.$/, "");
    const labels = name.split(".");
    if (name.length > 253 || !labels.every((label) => LABEL.test(label))) {
      throw new RangeError(
        `not a domain name: ${JSON.stringify(domain)} (labels of 1 to 63 letters, digits, "-" and "_", 253 in all; ` +
          `an internationalized name in its "xn--" form)`,
      );
    }
    for (const label of labels) {
      value.push(label.length, ...Array.from(label, (character) => character.charCodeAt(0)));
    }
    value.push(0);
  }
  return Uint8Array.from(value);
}

/**
 * Reads a domain search list (option 119, RFC 3397), whose names may be compressed with pointers into the option.
 *
 * @returns at most 64 domains, or null when the value is malformed.
 */
export function decodeDomainSearch(value: Uint8Array): string[] | null {
  const domains: string[] = [];
  for (let next = 0; next < value.length && domains.length < SEARCH_LIMIT; ) {
    const labels: string[] = [];
    let size = 0;
    let position = next;
    // A pointer may only lead to before the name it is in, and each further one to before that: so it ends.
    let start = position;
    next = -1;
    for (;;) {
      if (position >= value.length) {
        return null;
      }
      const length = value[position];
      if (length >= 0xc0) {
        if (position + 1 >= value.length) {
          return null;
        }
        const target = ((length & 0x3f) << 8) | value[position + 1];
        if (target >= start) {
          return null;
        }
        next = next === -1 ? position + 2 : next;
        position = start = target;
        continue;
      }
      position += 1;
      if (length === 0) {
        break;
      }
      const label = String.fromCharCode(...value.subarray(position, position + length));
      size += length + 1;
      if (length > 63 || label.length !== length || size > 254 || !LABEL.test(label)) {
        return null;
      }
      labels.push(label);
      position += length;
    }
    next = next === -1 ? position : next;
    if (labels.length > 0) {
      domains.push(labels.join("."));
    }
  }
  return domains;
}

interface OptionField {
  next: number;
  readonly end: number;
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function isMessageType(value: number | undefined): value is DhcpMessageType {
  return value !== undefined && value >= DHCP_TYPE.discover && value <= DHCP_TYPE.inform;
}

/** The value of every option, or null when one is malformed. */
function parseOptions(bytes: Uint8Array, offset: number, length: number): Map<number, Uint8Array> | null {
  let overload = 0;
  const whole = scanOptions(bytes, offset + OPTIONS_OFFSET, offset + length, (code, position, size) => {
    if (code === DHCP_OPTION.overload && size === 1) {
      overload = bytes[position];
      return overload >= 1 && overload <= 3;
    }
    return true;
  });
  if (!whole) {
    return null;
  }
  // The order in which instances are joined: options, file, sname (RFC 3396, section 5).
  const fields = [[OPTIONS_OFFSET, length]];
  if ((overload & 1) !== 0) {
    fields.push([FILE_OFFSET, COOKIE_OFFSET]);
  }
  if ((overload & 2) !== 0) {
    fields.push([SNAME_OFFSET, FILE_OFFSET]);
  }
  const visitAll = (visit: OptionVisitor): boolean =>
    fields.every(([start, end]) => scanOptions(bytes, offset + start, offset + end, visit));

  // The lengths first, so that a value of very many instances is not copied anew for each.
  const lengths = new Uint32Array(256);
  const lengthsKnown = visitAll((code, _position, size) => {
    lengths[code] += size;
    return true;
  });
  if (!lengthsKnown) {
    return null;
  }
  const filled = new Uint32Array(256);
  const values = new Map<number, Uint8Array>();
  const wellFormed = visitAll((code, position, size) => {
    let value = values.get(code);
    if (value === undefined) {
      if (!isOptionLength(code, lengths[code])) {
        return false;
      }
      value = new Uint8Array(lengths[code]);
      values.set(code, value);
    }
    value.set(bytes.subarray(position, position + size), filled[code]);
    filled[code] += size;
    return true;
  });
  return wellFormed ? values : null;
}

/** Takes one instance of an option; false stops the scan. */
type OptionVisitor = (code: number, position: number, length: number) => boolean;

/** Walks the options of one field. False when an option runs past the field, or when `visit` says so. */
function scanOptions(bytes: Uint8Array, start: number, end: number, visit: OptionVisitor): boolean {
  let position = start;
  while (position < end) {
    const code = bytes[position++];
    if (code === DHCP_OPTION.end) {
      return true;
    }
    if (code === DHCP_OPTION.pad) {
      continue;
    }
    if (position === end) {
      return false;
    }
    const length = bytes[position++];
    if (length > end - position || !visit(code, position, length)) {
      return false;
    }
    position += length;
  }
  // RFC 2131, 4.1 wants an end option; a field that is simply full is as unambiguous.
  return true;
}

function isOptionLength(code: number, length: number): boolean {
  if (code === DHCP_OPTION.router || code === DHCP_OPTION.domainNameServer) {
    return length > 0 && length % 4 === 0;
  }
  return (FIXED_LENGTHS.get(code) ?? length) === length;
}

/** Writes an option into the first field with room; further instances of it never go to an earlier field. */
function placeOption(bytes: Uint8Array, fields: readonly OptionField[], code: number, value: Uint8Array): boolean {
  let field = 0;
  let from = 0;
  do {
    const piece = value.subarray(from, from + OPTION_LENGTH_LIMIT);
    while (field < fields.length && fields[field].end - fields[field].next < 2 + piece.length) {
      field += 1;
    }
    if (field === fields.length) {
      return false;
    }
    writeInstance(bytes, fields[field], code, piece);
    from += piece.length;
  } while (from < value.length);
  return true;
}

function writeInstance(bytes: Uint8Array, field: OptionField, code: number, value: Uint8Array): void {
  bytes[field.next] = code;
  bytes[field.next + 1] = value.length;
  bytes.set(value, field.next + 2);
  field.next += 2 + value.length;
}
