/** The names that are answered here and never asked upstream. */
import { formatIpv4, type Ipv4, parseIpv4 } from "@hostd/stack";
import type { Answer } from "dns-packet";
import type { QueryContext } from "./context.ts";
import { Class, type Query, Rcode, Type } from "./message.ts";
import { buildResponse } from "./response.ts";

/**
 * The address of a name: an IPv4 address as a number or in dotted decimal, or a function of who asks. Null says that
 * the name exists but has no address for this client.
 */
export type RecordAddress = Ipv4 | string | ((context: QueryContext) => Ipv4 | null);

/** One record of a zone. */
export interface ZoneRecord {
  /** The name relative to the zone, of one or more labels; `@` is the zone itself. */
  readonly name: string;
  readonly type: "A";
  readonly address: RecordAddress;
}

/** A domain with all that is in it: a name without a record does not exist. */
export interface Zone {
  /** The absolute name, with or without a dot at the end. */
  readonly name: string;
  readonly records: readonly ZoneRecord[];
}

/** How long an answer may be kept, in seconds: short, because an address may change with the next configuration. */
const TTL = 60;

/** Below it are the names of addresses (RFC 1035, 3.5). */
const ADDRESS_TOP_LABEL = "arpa";

/** A record as it is stored: its data depends on who asks. */
interface StoredRecord {
  readonly type: number;
  /** Null when there is nothing for this client. */
  answer(name: string, context: QueryContext): Answer | null;
}

/** The records of each name of a zone that exists, by its full name in lower case. */
type ZoneNames = Map<string, StoredRecord[]>;

/** An address with the name it belongs to. */
interface HostAddress {
  readonly name: string;
  readonly address: (context: QueryContext) => Ipv4 | null;
}

/**
 * The zones of this host. Zones of the same name are one; of two zones where one is inside the other, the inner
 * answers for its names. The addresses in them also answer to look-ups by address (in-addr.arpa), under every name
 * they have; a zone below in-addr.arpa keeps the other addresses of a network from being asked upstream.
 */
export class Zones {
  readonly #zones = new Map<string, ZoneNames>();
  /** The last labels of all names that are ours: most names are known not to be by theirs. */
  readonly #topLabels = new Set<string>();
  /** The names of fixed addresses, and the addresses that depend on who asks. */
  readonly #hosts = new Map<Ipv4, string[]>();
  readonly #dynamicHosts: HostAddress[] = [];

  /** @throws {RangeError} when a name or an address of `zones` does not fit. */
  constructor(zones: readonly Zone[]) {
    for (const zone of zones) {
      const origin = zoneOrigin(zone.name);
      let names = this.#zones.get(origin);
      if (names === undefined) {
        names = new Map([[origin, []]]);
        this.#zones.set(origin, names);
        this.#topLabels.add(origin.slice(origin.lastIndexOf(".") + 1));
      }
      for (const record of zone.records) this.#add(names, origin, record);
    }
  }

  #add(names: ZoneNames, origin: string, record: ZoneRecord): void {
    const name = record.name === "@" ? origin : checkedName(`${record.name}.${origin}`, record.name, origin);
    // A name above one that exists exists too, if without records (RFC 8020).
    for (let parent = name; parent !== origin; parent = parent.slice(parent.indexOf(".") + 1)) {
      if (!names.has(parent)) names.set(parent, []);
    }
    let address: HostAddress["address"];
    if (typeof record.address === "function") {
      address = record.address;
      this.#dynamicHosts.push({ name, address });
    } else {
      const fixed = typeof record.address === "string" ? parseIpv4(record.address) : record.address;
      address = () => fixed;
      const known = this.#hosts.get(fixed);
      if (known === undefined) this.#hosts.set(fixed, [name]);
      else if (!known.includes(name)) known.push(name);
    }
    this.#topLabels.add(ADDRESS_TOP_LABEL);
    names.get(name)?.push({
      type: Type.A,
      answer(owner, context) {
        const value = address(context);
        return value === null ? null : { type: "A", name: owner, ttl: TTL, data: formatIpv4(value) };
      },
    });
  }

  /** Answers a query for one of our names; null for a name that is not ours. */
  answer(query: Query, context: QueryContext): Uint8Array | null {
    const { question, edns } = query;
    const topLabel = question.labels.at(-1);
    if (topLabel === undefined || !this.#topLabels.has(topLabel)) return null;
    const key = question.labels.join(".");
    const hosts = this.#hostNames(question.labels, context);
    // An address of ours outside every zone is a zone of its own, as a delegation of one name would make it.
    const origin = this.#originOf(key) ?? (hosts.length > 0 ? key : null);
    if (origin === null) return null;

    if (edns !== null && edns.version > 0) return buildResponse(query, { rcode: Rcode.BADVERS });
    if (question.class !== Class.IN && question.class !== Class.ANY) {
      return buildResponse(query, { rcode: Rcode.REFUSED });
    }

    const records = this.#zones.get(origin)?.get(key);
    const wants = (type: number) => question.type === type || question.type === Type.ANY;
    const answers: Answer[] = key === origin && wants(Type.SOA) ? [startOfAuthority(origin)] : [];
    for (const record of records ?? []) {
      const answer = wants(record.type) ? record.answer(question.name, context) : null;
      if (answer !== null) answers.push(answer);
    }
    if (wants(Type.PTR)) {
      for (const host of hosts) answers.push({ type: "PTR", name: question.name, ttl: TTL, data: host });
    }

    const exists = records !== undefined || hosts.length > 0;
    return buildResponse(query, {
      rcode: exists ? Rcode.NOERROR : Rcode.NXDOMAIN,
      authoritative: true,
      answers,
      // No data and no name are told apart by the response code; both carry the SOA (RFC 2308, section 2).
      authorities: answers.length === 0 ? [startOfAuthority(origin)] : [],
    });
  }

  /** The name of the innermost zone that holds a name. */
  #originOf(name: string): string | null {
    for (let suffix = name; ; ) {
      if (this.#zones.has(suffix)) return suffix;
      const dot = suffix.indexOf(".");
      if (dot < 0) return null;
      suffix = suffix.slice(dot + 1);
    }
  }

  /** The names of the address that a name below in-addr.arpa stands for (RFC 1035, 3.5). */
  #hostNames(labels: readonly string[], context: QueryContext): readonly string[] {
    if (labels.length !== 6 || labels[4] !== "in-addr" || labels[5] !== ADDRESS_TOP_LABEL) return [];
    let address: Ipv4;
    try {
      address = parseIpv4(labels.slice(0, 4).reverse().join("."));
    } catch {
      return [];
    }
    const dynamic = this.#dynamicHosts.filter((host) => host.address(context) === address).map((host) => host.name);
    return [...new Set([...(this.#hosts.get(address) ?? []), ...dynamic])];
  }
}

/** The SOA of a zone that nobody transfers, as RFC 6303, section 3 writes it; how long "no" may be kept is ours. */
function startOfAuthority(origin: string): Answer {
  return {
    type: "SOA",
    name: origin,
    ttl: TTL,
    data: {
      mname: origin,
      rname: "nobody.invalid",
      serial: 1,
      refresh: 3600,
      retry: 1200,
      expire: 604_800,
      minimum: TTL,
    },
  };
}

function zoneOrigin(written: string): string {
  const absolute = written.endsWith(".") ? written.slice(0, -1) : written;
  return checkedName(absolute, written, null);
}

/** Checks the form of a full name (RFC 1035, 2.3.4) and returns it in lower case. */
function checkedName(name: string, written: string, zone: string | null): string {
  const labels = name.split(".");
  if (name.length > 253 || labels.some((label) => !/^[a-z0-9_-]{1,63}$/i.test(label))) {
    const what = zone === null ? "zone name" : `name of a record in the zone ${zone}`;
    throw new RangeError(
      `${JSON.stringify(written)} is not a ${what}: labels of 1 to 63 letters, digits, "-" and "_", joined by dots, ` +
        "253 characters in all",
    );
  }
  return name.toLowerCase();
}
