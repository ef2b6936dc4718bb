import { isIPv4 } from "node:net";
import { formatIpv4, parseIpv4 } from "@hostd/stack";
import type { Answer } from "dns-packet";
import type { RE2JS } from "re2js";
import type { QueryContext } from "../context.ts";
import { Type } from "../message.ts";
import {
  checkDefaultAddress,
  checkRecord,
  DEFAULT_TTL,
  ownerKey,
  ownerPattern,
  type RecordAddress,
  targetName,
  textStrings,
  type Zone,
  type ZoneRecord,
  zoneOrigin,
} from "./zone.ts";

/** A record ready to be answered with: its data may depend on who asks. */
export interface StoredRecord {
  readonly type: number;
  /** Null when there is nothing for this client. */
  answer(name: string, context: QueryContext): Answer | null;
}

/** An address that stands in a zone under a name. */
export interface NamedAddress {
  readonly name: string;
  readonly address: RecordAddress;
}

/** The records of one name, of one wildcard, or of all names that match. */
interface Owner {
  /** Where the first of its records stands among those of the zone. */
  readonly position: number;
  readonly records: StoredRecord[];
}

interface Pattern extends Owner {
  readonly pattern: RE2JS;
}

/** How many regular expressions a zone may have, all of which may have to be tried for a name. */
export const MAX_PATTERNS = 256;

const NO_RECORDS: readonly StoredRecord[] = [];

/**
 * A zone made ready for look-ups. Names and regular expressions are gone through in the order in which they stand, and
 * the first that fits is taken; then the wildcards (RFC 4592), then the default address.
 */
export class CompiledZone {
  readonly origin: string;
  /** Undefined for a zone of all links. */
  readonly link: string | undefined;
  /** The addresses of its names, wildcards and defaults not among them. */
  readonly addresses: readonly NamedAddress[];
  /** All names that exist, wildcards as they are written. Those without records are there for the ones below them. */
  readonly #names = new Map<string, Owner>();
  readonly #patterns: Pattern[] = [];
  readonly #default: readonly StoredRecord[] | null;

  /** @throws {RangeError} when something in the zone does not fit. */
  constructor(zone: Zone) {
    this.origin = zoneOrigin(zone);
    this.link = zone.link;
    this.#names.set(this.origin, { position: -1, records: [] });
    const owners = new Map<string, Owner>();
    const addresses: NamedAddress[] = [];
    for (const [position, record] of zone.records.entries()) {
      checkRecord(record, this.origin);
      const key = ownerKey(record, this.origin);
      const owner = owners.get(key) ?? this.#addOwner(record, key, position);
      owners.set(key, owner);
      owner.records.push(stored(record));
      if (owner.records.length > 1 && (record.type === "CNAME" || owner.records[0].type === Type.CNAME)) {
        const written = JSON.stringify(record.name ?? record.regexp);
        throw new RangeError(
          `${written} in the zone ${this.origin} has a CNAME record, beside which no other may stand (RFC 1034, 3.6.2)`,
        );
      }
      if (record.regexp !== undefined || key.startsWith("*")) continue;
      if (record.type === "A" || record.type === "AAAA") addresses.push({ name: key, address: record.address });
    }
    this.addresses = addresses;
    this.#default = zone.defaultAddress === undefined ? null : defaultRecords(zone.defaultAddress, this.origin);
  }

  /**
   * The records for a name of the zone, in lower case; none when it exists without one, null when it does not exist.
   * Records of several types may be among them.
   */
  find(name: string): readonly StoredRecord[] | null {
    const named = this.#names.get(name);
    const isNamed = named !== undefined && named.records.length > 0;
    // What is not written plainly stands for one name alone, and no record is for it.
    const isPlain = name !== this.origin && !name.includes("\\");
    if (isPlain && this.#patterns.length > 0) {
      const prefix = name.slice(0, -this.origin.length - 1);
      for (const { position, pattern, records } of this.#patterns) {
        if (isNamed && named.position < position) break;
        if (pattern.matcher(prefix).find()) return records;
      }
    }
    if (isNamed) return named.records;
    // A wildcard is not for a name that exists, be it without records (RFC 4592, 2.2.2).
    if (named === undefined && isPlain) {
      const wildcard = this.#wildcardFor(name);
      if (wildcard !== undefined) return wildcard.records;
    }
    if (isPlain && this.#default !== null) return this.#default;
    return named === undefined ? null : NO_RECORDS;
  }

  /** The wildcard right below the closest name that exists (RFC 4592, 3.3.1). */
  #wildcardFor(name: string): Owner | undefined {
    let encloser = name;
    do encloser = encloser.slice(encloser.indexOf(".") + 1);
    while (!this.#names.has(encloser));
    return this.#names.get(`*.${encloser}`);
  }

  /** @param key - of {@link ownerKey}. */
  #addOwner({ regexp }: ZoneRecord, key: string, position: number): Owner {
    if (regexp !== undefined) {
      if (this.#patterns.length === MAX_PATTERNS) {
        throw new RangeError(`the zone ${this.origin} has more than ${MAX_PATTERNS} regular expressions`);
      }
      const pattern = { position, pattern: ownerPattern(regexp, this.origin), records: [] };
      this.#patterns.push(pattern);
      return pattern;
    }
    // A name above one that exists exists too, if without records (RFC 8020).
    for (let parent = key; !this.#names.has(parent); parent = parent.slice(parent.indexOf(".") + 1)) {
      this.#names.set(parent, { position: -1, records: [] });
    }
    const owner: Owner = { position, records: [] };
    this.#names.set(key, owner);
    return owner;
  }
}

function defaultRecords(address: string, origin: string): readonly StoredRecord[] {
  checkDefaultAddress(address, origin);
  return [stored({ name: "*", type: isIPv4(address) ? "A" : "AAAA", address })];
}

/** @param record - one that passed {@link checkRecord}. */
function stored(record: ZoneRecord): StoredRecord {
  const { ttl = DEFAULT_TTL } = record;
  switch (record.type) {
    case "A": {
      const { address } = record;
      if (typeof address === "function") {
        return {
          type: Type.A,
          answer(name, context) {
            const value = address(context);
            return value === null ? null : { type: "A", name, ttl, data: formatIpv4(value) };
          },
        };
      }
      const data = formatIpv4(typeof address === "string" ? parseIpv4(address) : address);
      return { type: Type.A, answer: (name) => ({ type: "A", name, ttl, data }) };
    }
    case "AAAA":
      return { type: Type.AAAA, answer: (name) => ({ type: "AAAA", name, ttl, data: record.address }) };
    case "CNAME":
    case "PTR": {
      const { type } = record;
      const data = targetName(record.target);
      return { type: Type[type], answer: (name) => ({ type, name, ttl, data }) };
    }
    case "TXT": {
      const data = textStrings(record.text);
      return { type: Type.TXT, answer: (name) => ({ type: "TXT", name, ttl, data }) };
    }
    case "MX": {
      const data = { preference: record.preference, exchange: targetName(record.exchange) };
      return { type: Type.MX, answer: (name) => ({ type: "MX", name, ttl, data }) };
    }
    case "SRV": {
      const { priority, weight, port } = record;
      const data = { priority, weight, port, target: targetName(record.target) };
      return { type: Type.SRV, answer: (name) => ({ type: "SRV", name, ttl, data }) };
    }
  }
}
