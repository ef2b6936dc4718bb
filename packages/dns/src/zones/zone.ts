/** Zones as data: what the configuration and the control API say, checked. */

import { isIP, isIPv6 } from "node:net";
import { type Ipv4, parseIpv4 } from "@hostd/stack";
import { RE2JS, RE2JSException } from "re2js";
import type { QueryContext } from "../context.ts";

/**
 * The address of a name: an IPv4 address as a number or in dotted decimal, or a function of who asks. Null says that
 * the name exists but has no address for this client.
 */
export type RecordAddress = Ipv4 | string | ((context: QueryContext) => Ipv4 | null);

/** Which names of a zone a record is for. Exactly one of the two is given. */
export interface RecordOwner {
  /**
   * The name relative to the zone, of one or more labels; `@` is the zone itself. With `*` as the first label it is for
   * every name below the rest that does not exist (RFC 4592).
   */
  readonly name?: string;
  /**
   * A regular expression in the syntax of RE2. It is for every name of the zone with a match anywhere in the part before
   * the zone's name, in any case.
   */
  readonly regexp?: string;
}

/** What a record says, by its type. */
export type RecordData =
  | { readonly type: "A"; readonly address: RecordAddress }
  | { readonly type: "AAAA"; readonly address: string }
  | { readonly type: "CNAME"; readonly target: string }
  | { readonly type: "PTR"; readonly target: string }
  /** A text of any length; it is cut into strings of 255 bytes (RFC 1035, 3.3.14). A list has a string for each item. */
  | { readonly type: "TXT"; readonly text: string | readonly string[] }
  | { readonly type: "MX"; readonly preference: number; readonly exchange: string }
  | {
      readonly type: "SRV";
      readonly priority: number;
      readonly weight: number;
      readonly port: number;
      readonly target: string;
    };

/** One record of a zone. */
export type ZoneRecord = RecordOwner & RecordData & { /** Seconds; 60 when it is not given. */ readonly ttl?: number };

/** A domain with all that is in it: a name without a record does not exist, unless the zone has a default address. */
export interface Zone {
  /** The absolute name, with or without a dot at the end. */
  readonly name: string;
  readonly records: readonly ZoneRecord[];
  /** The IPv4 or IPv6 address of each name of the zone, but the zone itself, that no record is for. */
  readonly defaultAddress?: string;
  /** The link whose clients alone have this zone; all have it when it is not given. */
  readonly link?: string;
}

/** How long an answer may be kept, in seconds: short, because an address may change with the next configuration. */
export const DEFAULT_TTL = 60;

/** The highest TTL (RFC 2181, section 8). */
const MAX_TTL = 0x7fff_ffff;
/** The longest text of a TXT record in bytes, so that it fits a message with its question and a few others. */
const MAX_TEXT = 16_384;
/** Bytes of one string of a TXT record (RFC 1035, 3.3). */
const MAX_STRING = 255;
/** The longest regular expression in characters. */
const MAX_REGEXP = 1000;
/** The most instructions that a regular expression may become: each may have to be tried at each character of a name. */
const MAX_INSTRUCTIONS = 5000;

/** The absolute name of a zone in lower case, without the dot at the end. */
export function zoneOrigin(zone: Pick<Zone, "name">): string {
  const absolute = zone.name.endsWith(".") ? zone.name.slice(0, -1) : zone.name;
  return checkedName(absolute, () => `${JSON.stringify(zone.name)} is not a zone name`);
}

/**
 * The full name that a record is for, in lower case; with a first label `*` where it is a wildcard.
 *
 * @throws {RangeError} when it is no name.
 */
export function ownerName(name: string, origin: string): string {
  if (name === "@") return origin;
  const what = () => `${JSON.stringify(name)} is not a name of a record in the zone ${origin}`;
  if (name === "*") return `*.${origin}`;
  if (name.startsWith("*.")) return `*.${checkedName(`${name.slice(2)}.${origin}`, what)}`;
  return checkedName(`${name}.${origin}`, what);
}

/**
 * Whether a record may be for a name.
 *
 * @param name - relative to the zone.
 * @param zone - the name of the zone.
 */
export function isRecordName(name: string, zone: string): boolean {
  try {
    ownerName(name, zoneOrigin({ name: zone }));
    return true;
  } catch {
    return false;
  }
}

/**
 * What a record is for, in a form that is the same for all records of one owner: the full name as {@link ownerName}
 * gives it, or the regular expression between slashes, which no name has.
 *
 * @throws {RangeError} when the record has not exactly one of the two, or its name is none.
 */
export function ownerKey({ name, regexp }: RecordOwner, origin: string): string {
  if (name !== undefined && regexp === undefined) return ownerName(name, origin);
  if (name === undefined && regexp !== undefined) return `/${regexp}/`;
  throw new RangeError(`a record in the zone ${origin} needs a name or a regular expression, not both`);
}

/**
 * Compiles the regular expression of a record. It is matched without regard to case, as names are (RFC 4343). The
 * engine is RE2's, whose time is linear in the length of the name whatever the expression is.
 *
 * @throws {RangeError} when it is none, or too large.
 */
export function ownerPattern(regexp: string, origin: string): RE2JS {
  if (regexp.length > MAX_REGEXP) {
    throw new RangeError(`a regular expression in the zone ${origin} has more than ${MAX_REGEXP} characters`);
  }
  const what = `${JSON.stringify(regexp)} in the zone ${origin}`;
  let pattern: RE2JS;
  try {
    pattern = RE2JS.compile(regexp, RE2JS.CASE_INSENSITIVE);
  } catch (error) {
    if (!(error instanceof RE2JSException)) throw error;
    throw new RangeError(`${what} is not a regular expression in the syntax of RE2: ${error.message}`);
  }
  if (pattern.programSize() > MAX_INSTRUCTIONS) {
    throw new RangeError(`${what} is too large: repetitions may add up to about ${MAX_INSTRUCTIONS} characters`);
  }
  return pattern;
}

/** @throws {RangeError} when the data of a record does not fit its type; its name is not looked at. */
export function checkRecord(record: ZoneRecord, origin: string): void {
  try {
    checkData(record);
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    const owner = JSON.stringify(record.name ?? record.regexp);
    throw new RangeError(`the ${record.type} record ${owner} in the zone ${origin}: ${error.message}`);
  }
}

/** @throws {RangeError} when it is no address. */
export function checkDefaultAddress(address: string, origin: string): void {
  if (isIP(address) === 0 || address.includes("%")) {
    throw new RangeError(
      `the default address of the zone ${origin} is an IPv4 or an IPv6 address, not ${JSON.stringify(address)}`,
    );
  }
}

function checkData(record: ZoneRecord): void {
  const { type, ttl } = record;
  if (ttl !== undefined) checkInteger("a TTL", ttl, 0, MAX_TTL);
  switch (record.type) {
    case "A":
      if (typeof record.address === "string") parseIpv4(record.address);
      // Addresses as numbers are signed; the same bits without a sign are as good.
      if (typeof record.address === "number") checkInteger("an address", record.address, -0x8000_0000, 0xffff_ffff);
      break;
    case "AAAA":
      if (!isIPv6(record.address) || record.address.includes("%")) {
        throw new RangeError(`not an IPv6 address (without "%"): ${JSON.stringify(record.address)}`);
      }
      break;
    case "CNAME":
    case "PTR":
      targetName(record.target);
      break;
    case "TXT": {
      const bytes = textStrings(record.text).reduce((sum, string) => sum + 1 + string.length, 0);
      if (bytes > MAX_TEXT)
        throw new RangeError(`a text has at most ${MAX_TEXT} bytes with its length bytes, not ${bytes}`);
      break;
    }
    case "MX":
      checkInteger("a preference", record.preference, 0, 0xffff);
      targetName(record.exchange);
      break;
    case "SRV":
      checkInteger("a priority", record.priority, 0, 0xffff);
      checkInteger("a weight", record.weight, 0, 0xffff);
      checkInteger("a port", record.port, 0, 0xffff);
      targetName(record.target);
      break;
    default:
      record satisfies never;
      throw new RangeError(`the type is A, AAAA, CNAME, PTR, TXT, MX or SRV, not ${JSON.stringify(type)}`);
  }
}

/**
 * The absolute name that a record leads to, without the dot at the end; `.` for the root, which says that there is none.
 *
 * @throws {RangeError} when it is no name.
 */
export function targetName(target: string): string {
  if (target === ".") return target;
  const absolute = target.endsWith(".") ? target.slice(0, -1) : target;
  checkedName(absolute, () => `${JSON.stringify(target)} is not an absolute domain name`);
  return absolute;
}

/** The strings of a TXT record, each of at most 255 bytes. */
export function textStrings(text: string | readonly string[]): Buffer[] {
  const strings: Buffer[] = [];
  for (const part of typeof text === "string" ? [text] : text) {
    const bytes = Buffer.from(part, "utf8");
    for (let start = 0; start === 0 || start < bytes.length; start += MAX_STRING) {
      strings.push(bytes.subarray(start, start + MAX_STRING));
    }
  }
  return strings.length === 0 ? [Buffer.alloc(0)] : strings;
}

function checkInteger(what: string, value: number, min: number, max: number): void {
  if (!Number.isInteger(value) || value < min || value > max) {
    throw new RangeError(`${what} is a whole number from ${min} to ${max}, not ${value}`);
  }
}

/** Checks the form of a full name (RFC 1035, 2.3.4) and returns it in lower case. */
function checkedName(name: string, what: () => string): string {
  const labels = name.split(".");
  if (name.length > 253 || labels.some((label) => !/^[a-z0-9_-]{1,63}$/i.test(label))) {
    throw new RangeError(
      `${what()}: labels of 1 to 63 letters, digits, "-" and "_", joined by dots, 253 characters in all`,
    );
  }
  return name.toLowerCase();
}
