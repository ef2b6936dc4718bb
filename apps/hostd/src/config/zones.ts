/** Zones as they are written: which keys a record takes follows from its type, which the schema does not show. */

import { isIPv4 } from "node:net";
import { type RecordData, type RecordOwner, Zones } from "@hostd/dns";
import type { RecordSettings, RecordType, ZoneSettings } from "./dns-schema.ts";
import type { KeyPath } from "./keys.ts";

/** A record of a zone of the configuration, as `@hostd/dns` takes it. */
export type ConfigRecord = RecordOwner & { readonly ttl?: number } & (
    | Exclude<RecordData, { type: "A" }>
    | { readonly type: "A"; readonly address: string }
  );

/** A domain hostd answers for itself. The name has no dot at its end. */
export interface ConfigZone {
  readonly name: string;
  readonly records: readonly ConfigRecord[];
  readonly defaultAddress?: string;
}

/** Says what is wrong with the value at a path, which begins with the position of the zone. */
type Report = (path: KeyPath, reason: string) => void;

/** What a record says, by its type. */
const DATA_KEYS = {
  A: ["address"],
  AAAA: ["address"],
  CNAME: ["target"],
  PTR: ["target"],
  TXT: ["text"],
  MX: ["preference", "exchange"],
  SRV: ["priority", "weight", "port", "target"],
} as const satisfies Record<RecordType, readonly (keyof RecordSettings)[]>;

const ALL_DATA_KEYS = [...new Set(Object.values(DATA_KEYS).flat())];

/** The zones without the records that do not fit, which are reported. */
export function readZones(zones: readonly ZoneSettings[], report: Report): ConfigZone[] {
  const names = new Set<string>();
  let isRight = true;
  const fault: Report = (path, reason) => {
    isRight = false;
    report(path, reason);
  };
  const read = zones.map(({ name, records = [], defaultAddress }, index) => {
    if (names.has(name.toLowerCase())) {
      fault([index, "name"], `${JSON.stringify(name)} is given twice; allowed: every zone once`);
    }
    names.add(name.toLowerCase());
    const zone = {
      name,
      records: records.flatMap((record, position) => {
        return readRecord(record, name, (path, reason) => fault([index, "records", position, ...path], reason)) ?? [];
      }),
      ...(defaultAddress === undefined ? {} : { defaultAddress }),
    };
    const reason = isRight ? whyRefused([zone]) : undefined;
    if (reason !== undefined) fault([index], reason);
    return zone;
  });
  const reason = isRight ? whyRefused(read) : undefined;
  if (reason !== undefined) fault([], reason);
  return read;
}

/** What the name server itself has against zones, beyond what is looked at here; undefined when it takes them. */
function whyRefused(zones: readonly ConfigZone[]): string | undefined {
  try {
    new Zones(zones);
    return undefined;
  } catch (error) {
    if (error instanceof RangeError) return error.message;
    throw error;
  }
}

/** Null when it does not fit. */
function readRecord(settings: RecordSettings, zone: string, report: Report): ConfigRecord | null {
  const record = recordOf(settings, zone, report);
  const reason = record === null ? undefined : whyRefused([{ name: zone, records: [record] }]);
  if (reason !== undefined) report(settings.regexp === undefined ? [] : ["regexp"], reason);
  return record;
}

function recordOf(record: RecordSettings, zone: string, report: Report): ConfigRecord | null {
  const owner = ownerOf(record, zone, report);
  const type = typeOf(record, report);
  if (type === null) return null;
  const keys: readonly (keyof RecordSettings)[] = DATA_KEYS[type];
  const missing = keys.filter((key) => record[key] === undefined);
  const extra = ALL_DATA_KEYS.filter((key) => record[key] !== undefined && !keys.includes(key));
  if (missing.length > 0) {
    report([], `${listed(missing)} missing; a record of type ${type} needs ${keys.join(", ")}`);
  }
  for (const key of extra) report([key], `a record of type ${type} has none; allowed: ${keys.join(", ")}`);
  if (owner === null || extra.length > 0) return null;
  const common = { ...owner, ...(record.ttl === undefined ? {} : { ttl: record.ttl }) };
  const { address, target, text, preference, exchange, priority, weight, port } = record;
  switch (type) {
    case "A":
    case "AAAA":
      if (address === undefined) return null;
      if (isIPv4(address) !== (type === "A")) {
        report(["address"], `${address} is not of type ${type}; allowed: an ${type === "A" ? "IPv4" : "IPv6"} address`);
        return null;
      }
      return { ...common, type, address };
    case "CNAME":
    case "PTR":
      return target === undefined ? null : { ...common, type, target };
    case "TXT":
      return text === undefined ? null : { ...common, type, text };
    case "MX":
      if (preference === undefined || exchange === undefined) return null;
      return { ...common, type, preference, exchange };
    case "SRV":
      if (priority === undefined || weight === undefined || port === undefined || target === undefined) return null;
      return { ...common, type, priority, weight, port, target };
  }
}

/** Which names a record is for. */
function ownerOf({ name, regexp }: RecordSettings, zone: string, report: Report): RecordOwner | null {
  if (name !== undefined && regexp !== undefined) {
    report(["regexp"], "name is given too; allowed: one of the two");
    return null;
  }
  if (regexp !== undefined) return { regexp };
  if (name === undefined) {
    report([], "name is missing; allowed: name, or regexp in its place");
    return null;
  }
  const length = name === "@" ? zone.length : name.length + 1 + zone.length;
  if (length <= 253) return { name };
  report(["name"], `with its zone the name has ${length} characters; allowed: at most 253`);
  return null;
}

function typeOf({ type, address }: RecordSettings, report: Report): RecordType | null {
  if (type !== undefined) return type;
  if (address !== undefined) return isIPv4(address) ? "A" : "AAAA";
  const allowed = Object.entries(DATA_KEYS).map(([each, keys]) => `${each} (${keys.join(", ")})`);
  report([], `address is missing; without one the type must be given: ${allowed.join(", ")}`);
  return null;
}

function listed(keys: readonly string[]): string {
  return keys.length === 1 ? `${keys[0]} is` : `${keys.join(", ")} are`;
}
