/** Zones as gvproxy's API has them. */
import { isIPv4, isIPv6, SocketAddress } from "node:net";
import type { ZoneRecord } from "@hostd/dns";
import { formatIpv4 } from "@hostd/stack";
import type { Control } from "../control/control.ts";
import type { DnsRecordReport } from "../dns/report.ts";
import { GoHttpError } from "./go-http.ts";
import { type GoType, goSlice, goString, goStruct, goText } from "./go-json.ts";
import { GoJsonError } from "./go-json-syntax.ts";

export interface RequestedZone {
  readonly Name: string;
  readonly Records: readonly RequestedRecord[] | null;
  /** Empty for none. */
  readonly DefaultIP: string;
}

interface RequestedRecord {
  readonly Name: string;
  /** Empty for none. */
  readonly IP: string;
  readonly Regexp: string | null;
}

/** A record as it is listed, its fields in this order. */
interface ListedRecord {
  readonly Name: string;
  readonly IP: string;
  readonly Regexp?: string;
}

/** Go's `net.IP`: IPv6 in the one way to write it, and an address that is mapped from IPv4 as that. */
const goIp: GoType<string> = goText("net.IP", "", (text) => {
  if (text === "" || isIPv4(text)) return text;
  if (!isIPv6(text) || text.includes("%")) throw new GoJsonError(`invalid IP address: ${text}`);
  const { address } = new SocketAddress({ address: text, family: "ipv6" });
  return isIPv4(address.replace(/^::ffff:/, "")) ? address.replace(/^::ffff:/, "") : address;
});

const record: GoType<RequestedRecord> = goStruct("types.Record", {
  Name: goString(),
  IP: goIp,
  Regexp: goText<string | null>("*regexp.Regexp", null, (text) => text),
});

export const requestedZone: GoType<RequestedZone> = goStruct("types.Zone", {
  Name: goString(),
  Records: goSlice(record),
  DefaultIP: goIp,
});

/** The zones that all VMs have, with the records that are addresses: gvproxy knows no others. */
export function listZones({ dns, vms }: Control) {
  const vmAddress = vms()[0]?.address ?? null;
  const ownAddress = vmAddress === null ? null : formatIpv4(vmAddress);
  return dns
    .report()
    .zones.filter(({ vm }) => vm === undefined)
    .map(({ name, records, defaultAddress = "" }) => {
      const listed = records.flatMap((each) => listRecord(each, ownAddress));
      return {
        Name: name.endsWith(".") ? name : `${name}.`,
        Records: listed.length === 0 ? null : listed,
        DefaultIP: defaultAddress,
      };
    });
}

/**
 * Adds a zone, or records to one that is there, in front of those it has.
 *
 * @throws {GoHttpError} when something in it does not fit.
 */
export function addZone({ dns, events }: Control, zone: RequestedZone): void {
  const { Name: name, DefaultIP: defaultAddress } = zone;
  const records = (zone.Records ?? []).flatMap(readRecord);
  try {
    const added = dns.addZone({ name, records, ...(defaultAddress === "" ? {} : { defaultAddress }) });
    events.emit("zone.added", { zone: added.name });
  } catch (error) {
    if (error instanceof RangeError) throw new GoHttpError(400, error.message);
    throw error;
  }
}

function listRecord(each: DnsRecordReport, vmAddress: string | null): ListedRecord[] {
  if (each.type !== "A" && each.type !== "AAAA") return [];
  const { name = "", regexp } = each;
  const address = each.address ?? vmAddress;
  if (address === null) return [];
  return [{ Name: name, IP: address, ...(regexp === undefined ? {} : { Regexp: regexp }) }];
}

function readRecord({ Name: name, IP: address, Regexp: regexp }: RequestedRecord): ZoneRecord[] {
  if (name === "" && regexp === null) throw new GoHttpError(400, "a record has neither a Name nor a Regexp");
  if (address === "") throw new GoHttpError(400, `the record ${JSON.stringify(name || regexp)} has no IP`);
  // Nobody keeps what gvproxy answers: it changes with every container.
  const data = { type: isIPv4(address) ? ("A" as const) : ("AAAA" as const), address, ttl: 0 };
  return [...(name === "" ? [] : [{ name, ...data }]), ...(regexp === null ? [] : [{ regexp, ...data }])];
}
