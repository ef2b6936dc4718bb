/** Messages as people read them: records in the notation of master files (RFC 1035, 5.1). Nothing here throws. */
import { HEADER_LENGTH, messageFlags, messageRcode, word } from "./message.ts";
import { canonicalAddress } from "./zones/reverse-names.ts";

/** A record of a message. */
export interface ShownRecord {
  /** Absolute, with the dot at the end. */
  readonly name: string;
  /** Seconds. */
  readonly ttl: number;
  readonly class: string;
  readonly type: string;
  /** What is of no known type, or does not fit its type, is written as RFC 3597, section 5 has it. */
  readonly data: string;
}

/** What a message says. */
export interface ShownMessage {
  /** Such as `NOERROR`. */
  readonly rcode: string;
  /** Such as `aa`, as dig writes them. */
  readonly flags: readonly string[];
  readonly answers: readonly ShownRecord[];
  readonly authorities: readonly ShownRecord[];
  /** Without the OPT record, which is of the transport (RFC 6891). */
  readonly additionals: readonly ShownRecord[];
  /** Whether it ends where a record should be. */
  readonly isCutOff: boolean;
}

/** Writes the next part of a record's data. */
type Part = (data: Reader) => string;

const RCODES = ["NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED"];
const FLAGS: readonly (readonly [number, string])[] = [
  [0x0400, "aa"],
  [0x0200, "tc"],
  [0x0100, "rd"],
  [0x0080, "ra"],
  [0x0020, "ad"],
  [0x0010, "cd"],
];
const CLASSES: Readonly<Record<number, string>> = { 1: "IN", 3: "CH", 4: "HS" };
const OPT = 41;

/** A message, read from a place in it up to an end. Reading past the end throws, which {@link showMessage} catches. */
class Reader {
  readonly message: Uint8Array;
  readonly end: number;
  offset: number;

  constructor(message: Uint8Array, offset: number, end: number) {
    this.message = message;
    this.offset = offset;
    this.end = end;
  }

  /** The next bytes; all that are left when no length is given. */
  bytes(length = this.end - this.offset): Uint8Array {
    const start = this.offset;
    if (length < 0 || start + length > this.end) throw new RangeError("the message ends here");
    this.offset += length;
    return this.message.subarray(start, this.offset);
  }

  number(length: number): number {
    return this.bytes(length).reduce((value, byte) => value * 256 + byte, 0);
  }

  /** A name, whose labels may be those of an earlier one (RFC 1035, 4.1.4). */
  name(): string {
    let text = "";
    let at = this.offset;
    let isDirect = true;
    // A pointer leads back only, so that it ends.
    for (let limit = this.end; ; ) {
      if (at >= limit) throw new RangeError("a name ends too early");
      const length = this.message[at];
      if (length >= 0xc0) {
        if (at + 1 >= this.message.length) throw new RangeError("a name ends too early");
        if (isDirect) this.offset = at + 2;
        isDirect = false;
        const target = word(this.message, at) & 0x3fff;
        if (target >= at) throw new RangeError("a name leads forward");
        limit = at;
        at = target;
        continue;
      }
      at++;
      if (length === 0) break;
      if (length > 63 || at + length > limit || text.length > 4 * 255) throw new RangeError("a label is too long");
      text += `${escaped(this.message.subarray(at, at + length), /[^\x21-\x7e]|[."$();@\\]/g)}.`;
      at += length;
    }
    if (isDirect) this.offset = at;
    return text === "" ? "." : text;
  }

  /** Bytes with their length in front of them. */
  counted(): Uint8Array {
    return this.bytes(this.number(1));
  }

  /** What `part` makes of the rest, as often as it goes. */
  rest(part: Part): string[] {
    const parts: string[] = [];
    while (this.offset < this.end) parts.push(part(this));
    return parts;
  }
}

const u8: Part = (data) => String(data.number(1));
const u16: Part = (data) => String(data.number(2));
const u32: Part = (data) => String(data.number(4));
const name: Part = (data) => data.name();
const string: Part = (data) => quoted(data.counted());
const hex: Part = (data) => hexText(data.bytes());
const base64: Part = (data) => Buffer.from(data.bytes()).toString("base64");
const ipv4: Part = (data) => data.bytes(4).join(".");
const ipv6: Part = (data) => canonicalAddress(hexText(data.bytes(16)).replace(/(.{4})(?=.)/g, "$1:"));
/** The rest as one string. */
const text: Part = (data) => quoted(data.bytes());
const salt: Part = (data) => hexText(data.counted()) || "-";
/** As RFC 4034, 3.2 writes a time. */
const time: Part = (data) => {
  const iso = new Date(data.number(4) * 1000).toISOString();
  return iso.slice(0, 19).replaceAll(/[-:T]/g, "");
};
const type: Part = (data) => typeName(data.number(2));
/** A bit map of types (RFC 4034, 4.1.2). */
const types: Part = (data) =>
  data
    .rest((window) => {
      const base = 256 * window.number(1);
      const names = [...window.counted()].flatMap((byte, index) => {
        return [0, 1, 2, 3, 4, 5, 6, 7].filter((bit) => byte & (0x80 >>> bit)).map((bit) => base + 8 * index + bit);
      });
      return names.map(typeName).join(" ");
    })
    .join(" ");
/** A hash in the alphabet of RFC 4648, section 7. */
const base32: Part = (data) => {
  const bits = [...data.counted()].map((byte) => byte.toString(2).padStart(8, "0")).join("");
  return (bits.match(/.{1,5}/g) ?? [])
    .map((five) => Number.parseInt(five.padEnd(5, "0"), 2).toString(32))
    .join("")
    .toUpperCase();
};
const tag: Part = (data) => escaped(data.counted(), /[^0-9a-z]/gi);

/** The parameters of a service binding, by their number (RFC 9460, 14.3). */
const SERVICE_PARAMETERS: readonly (readonly [string, Part])[] = [
  ["mandatory", (data) => data.rest((keys) => serviceKey(keys.number(2))).join(",")],
  ["alpn", (data) => `"${data.rest((ids) => escaped(ids.counted(), /[^\x21-\x7e]|["\\,]/g)).join(",")}"`],
  ["no-default-alpn", () => ""],
  ["port", u16],
  ["ipv4hint", (data) => data.rest(ipv4).join(",")],
  ["ech", base64],
  ["ipv6hint", (data) => data.rest(ipv6).join(",")],
];

const parameter: Part = (data) => {
  const key = data.number(2);
  const length = data.number(2);
  const end = data.offset + length;
  data.bytes(length);
  const value = (SERVICE_PARAMETERS[key]?.[1] ?? text)(new Reader(data.message, end - length, end));
  return value === "" ? serviceKey(key) : `${serviceKey(key)}=${value}`;
};
const parameters: Part = (data) => data.rest(parameter).join(" ");

/** The types that are known by name, and what their data is made of; nothing for those that no record has. */
const TYPES: Readonly<Record<string, readonly [number, ...Part[]]>> = {
  A: [1, ipv4],
  NS: [2, name],
  CNAME: [5, name],
  SOA: [6, name, name, u32, u32, u32, u32, u32],
  PTR: [12, name],
  HINFO: [13, string, string],
  MX: [15, u16, name],
  TXT: [16, (data) => data.rest(string).join(" ")],
  AAAA: [28, ipv6],
  SRV: [33, u16, u16, u16, name],
  NAPTR: [35, u16, u16, string, string, string, name],
  DNAME: [39, name],
  DS: [43, u16, u8, u8, hex],
  SSHFP: [44, u8, u8, hex],
  RRSIG: [46, type, u8, u8, u32, time, time, u16, name, base64],
  NSEC: [47, name, types],
  DNSKEY: [48, u16, u8, u8, base64],
  NSEC3: [50, u8, u8, u16, salt, base32, types],
  NSEC3PARAM: [51, u8, u8, u16, salt],
  TLSA: [52, u8, u8, u8, hex],
  SVCB: [64, u16, name, parameters],
  HTTPS: [65, u16, name, parameters],
  ANY: [255],
  URI: [256, u16, u16, text],
  CAA: [257, u8, tag, text],
};

const NAMES = new Map(Object.entries(TYPES).map(([known, [number]]) => [number, known]));

/** The name of a type of records: `A`, or `TYPE65280` for one that has none here (RFC 3597, section 5). */
export function typeName(number: number): string {
  return NAMES.get(number) ?? `TYPE${number}`;
}

/**
 * Reads the name of a type of records, as {@link typeName} writes it, in upper or lower case.
 *
 * @throws {RangeError} when it is none.
 */
export function parseType(written: string): number {
  const upper = written.toUpperCase();
  const known = Object.hasOwn(TYPES, upper) ? TYPES[upper][0] : undefined;
  const number = known ?? Number(/^TYPE([0-9]{1,5})$/.exec(upper)?.[1]);
  if (number >= 0 && number <= 0xffff) return number;
  throw new RangeError(
    `${JSON.stringify(written)} is not a type of records: ${Object.keys(TYPES).join(", ")} or TYPE0 to TYPE65535`,
  );
}

/** The response code of a message of at least its header, such as `NOERROR`, without its extension by EDNS. */
export function rcodeName(message: Uint8Array): string {
  const rcode = messageRcode(message);
  return RCODES[rcode] ?? `RCODE${rcode}`;
}

/** Reads a message of at least its header, with as many of its records as are there. */
export function showMessage(message: Uint8Array): ShownMessage {
  const reader = new Reader(message, HEADER_LENGTH, message.length);
  const sections: ShownRecord[][] = [[], [], []];
  let isCutOff = false;
  try {
    for (let count = word(message, 4); count > 0; count--) {
      reader.name();
      reader.bytes(4);
    }
    for (const [index, section] of sections.entries()) {
      for (let count = word(message, 6 + 2 * index); count > 0; count--) {
        const record = readRecord(reader);
        if (record !== null) section.push(record);
      }
    }
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    isCutOff = true;
  }
  const flags = messageFlags(message);
  const [answers, authorities, additionals] = sections;
  return {
    rcode: rcodeName(message),
    flags: FLAGS.filter(([bit]) => (flags & bit) !== 0).map(([, flag]) => flag),
    answers,
    authorities,
    additionals,
    isCutOff,
  };
}

/** Null for an OPT record. */
function readRecord(reader: Reader): ShownRecord | null {
  const owner = reader.name();
  const number = reader.number(2);
  const group = reader.number(2);
  const ttl = reader.number(4);
  const length = reader.number(2);
  const start = reader.offset;
  const bytes = reader.bytes(length);
  if (number === OPT) return null;
  const known = typeName(number);
  return {
    name: owner,
    ttl,
    class: CLASSES[group] ?? `CLASS${group}`,
    type: known,
    data: knownData(TYPES[known], new Reader(reader.message, start, start + length)) ?? genericData(bytes),
  };
}

/** Null when the type is not known, or the data does not fit it. */
function knownData(known: readonly [number, ...Part[]] | undefined, data: Reader): string | null {
  if (known === undefined) return null;
  const [, ...parts] = known;
  try {
    const texts = parts.map((part) => part(data)).filter((each) => each !== "");
    return parts.length > 0 && data.offset === data.end ? texts.join(" ") : null;
  } catch (error) {
    if (error instanceof RangeError) return null;
    throw error;
  }
}

function genericData(bytes: Uint8Array): string {
  return bytes.length === 0 ? "\\# 0" : `\\# ${bytes.length} ${hexText(bytes)}`;
}

function serviceKey(key: number): string {
  return SERVICE_PARAMETERS[key]?.[0] ?? `key${key}`;
}

function hexText(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("hex").toUpperCase();
}

function quoted(bytes: Uint8Array): string {
  return `"${escaped(bytes, /[^\x20-\x7e]|["\\]/g)}"`;
}

/** Text with what `special` matches escaped: a printable character by a backslash, any other byte by its number. */
function escaped(bytes: Uint8Array, special: RegExp): string {
  return Buffer.from(bytes)
    .toString("latin1")
    .replaceAll(special, (found) => {
      return /[\x21-\x7e]/.test(found) ? `\\${found}` : `\\${found.charCodeAt(0).toString().padStart(3, "0")}`;
    });
}
