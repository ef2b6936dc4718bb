import { isIPv4 } from "node:net";
import { isRecordName, MAX_RECORDS, PASSING_TTL, type ZoneRecord } from "@hostd/dns";
import type { ContainerDirectory } from "@hostd/docker";

/** The addresses of one name that are answered, so that the answer fits a message. */
const MAX_ADDRESSES = 64;

export interface ContainerRecords {
  readonly records: readonly ZoneRecord[];
  /** Names that none of them is for: they are no domain names in the zone, or there are too many. */
  readonly leftOut: readonly string[];
}

/**
 * Makes the records of containers' names. A name that several have is that of all of them.
 *
 * @param names - containers by each of their names.
 * @param zone - the domain that the names are in.
 */
export function containerRecords(names: ContainerDirectory["names"], zone: string): ContainerRecords {
  const records: ZoneRecord[] = [];
  const leftOut: string[] = [];
  for (const [name, containers] of names) {
    const all = containers.flatMap(({ networks }) => networks.flatMap(({ addresses }) => addresses));
    const addresses = [...new Set(all)].slice(0, MAX_ADDRESSES);
    if (addresses.length === 0) continue;
    if (records.length + addresses.length > MAX_RECORDS || !isRecordName(name, zone)) {
      leftOut.push(name);
      continue;
    }
    for (const address of addresses) {
      records.push({ name, type: isIPv4(address) ? "A" : "AAAA", address, ttl: PASSING_TTL });
    }
  }
  return { records, leftOut };
}
