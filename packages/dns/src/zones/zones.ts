/** The names that are answered here and never asked upstream. */
import type { Answer } from "dns-packet";
import type { QueryContext } from "../context.ts";
import { Class, type Query, Rcode, Type } from "../message.ts";
import { buildResponse, buildServFail } from "../response.ts";
import { CompiledZone, type StoredRecord } from "./compiled-zone.ts";
import { canonicalAddress, reverseAddress } from "./reverse-names.ts";
import { DEFAULT_TTL, ownerKey, type Zone, type ZoneRecord, zoneOrigin } from "./zone.ts";

/** How many zones there may be. */
export const MAX_ZONES = 1000;
/** How many records the zones may have together. */
export const MAX_RECORDS = 20_000;

/**
 * How long an answer of a zone whose names come and go may be kept, in seconds, be it that there is no such name: not at
 * all, or else who looks a name up a moment too early would not see it for as long.
 */
export const PASSING_TTL = 0;

/** How many names that come and go are told of one address. */
const MAX_PASSING_NAMES = 16;

/** How many aliases are followed in one answer. */
const MAX_ALIASES = 8;

/** Below it are the names of addresses (RFC 1035, 3.5). */
const ADDRESS_TOP_LABEL = "arpa";

/** What our zones say to a query. */
export type ZoneAnswer =
  | {
      readonly kind: "answer";
      readonly message: Uint8Array;
      /** The zone that answered. */
      readonly zone: string;
    }
  /** The name is an alias of one that is not ours, whose records belong into the answer too. */
  | {
      readonly kind: "alias";
      readonly zone: string;
      readonly aliases: Answer[];
      /** The absolute name, without the dot at the end. */
      readonly target: string;
    };

/** A zone and what was made of it. */
interface Entry {
  readonly zone: Zone;
  readonly compiled: CompiledZone;
}

/** What is known of a name that is ours. */
interface Found {
  /** The zone that it is in; the name itself for an address of ours outside every zone. */
  readonly origin: string;
  /** Null when no record is for it, and it does not exist by the zone. */
  readonly records: readonly StoredRecord[] | null;
  /** The names of the address that it stands for. */
  readonly hosts: readonly string[];
  /** For how long it may be kept that there is no such name or no data, and what the names of an address are. */
  readonly ttl: number;
}

/** The name of an address, with the link that knows it. */
interface HostName {
  readonly name: string;
  readonly link: string | undefined;
}

/** Names that come and go. */
interface PassingZone extends Entry {
  readonly isFor: (context: QueryContext) => boolean;
  /** The names of the addresses in it. */
  readonly hosts: ReadonlyMap<string, readonly HostName[]>;
}

/**
 * The zones of this host, in an order: the first one that a name is in answers for it. Zones of one name and link are
 * one; what is added to a zone goes before what it has. The addresses in them also answer to look-ups by address (in-addr.arpa,
 * ip6.arpa), under every name they have; a zone below in-addr.arpa keeps the other addresses of a network from being
 * asked upstream. Beneath them may be one zone of names that come and go.
 */
export class Zones {
  #entries: Entry[] = [];
  /** The last labels of all names that are ours: most names are known not to be by theirs. */
  #topLabels = new Set<string>();
  /** The names of fixed addresses, with the links that know them. */
  #hosts = new Map<string, HostName[]>();
  #dynamicHosts: { name: string; link: string | undefined; address: (context: QueryContext) => number | null }[] = [];
  #passing: PassingZone | null = null;

  /** @throws {RangeError} when something in `zones` does not fit. */
  constructor(zones: readonly Zone[] = []) {
    const entries: Entry[] = [];
    for (const zone of zones) addTo(entries, zone, "after");
    this.#replace(entries);
  }

  /**
   * Adds a zone. Where one of its name and link is there, its records go before the ones that are, and those of the same
   * name or regular expression are gone; its default address, or that it has none, holds from now on, and the zone keeps
   * its place. Otherwise it is the last zone.
   *
   * @returns the zone as it is then.
   * @throws {RangeError} when something in it does not fit; then nothing has changed.
   */
  add(zone: Zone): Zone {
    const entries = [...this.#entries];
    const added = addTo(entries, zone, "before");
    this.#replace(entries);
    return added.zone;
  }

  /**
   * Takes a zone out, whole; false when there is none of that name and link.
   *
   * @throws {RangeError} when `name` is not the name of a zone.
   */
  remove(name: string, link?: string): boolean {
    const origin = zoneOrigin({ name });
    const entries = this.#entries.filter(({ compiled }) => compiled.origin !== origin || compiled.link !== link);
    if (entries.length === this.#entries.length) return false;
    this.#replace(entries);
    return true;
  }

  /**
   * Replaces the zone of names that come and go. It is beneath the others: none of its records is for a name that another
   * zone has a record for, be it by a wildcard or its default address, or that is in a zone further down than it. Where the
   * zone of its name, or one that it is a part of, has no such name, its records answer. What is not in it may not be kept
   * either ({@link PASSING_TTL}).
   *
   * @param zone - null for none. Its link does not count.
   * @param isFor - which clients have it; all unless given.
   * @throws {RangeError} when something in it does not fit; then nothing has changed.
   */
  setPassing(zone: Zone | null, isFor: (context: QueryContext) => boolean = () => true): void {
    if (zone === null) {
      this.#passing = null;
    } else {
      checkRecordCount(zone.records.length);
      const compiled = new CompiledZone(zone);
      const hosts = new Map<string, HostName[]>();
      for (const { name, address } of compiled.addresses) {
        if (typeof address === "function") continue;
        const key = canonicalAddress(address);
        if ((hosts.get(key)?.length ?? 0) < MAX_PASSING_NAMES) addHost(hosts, key, { name, link: undefined });
      }
      this.#passing = { zone, compiled, hosts, isFor };
    }
    this.#findTopLabels();
  }

  /** The zone of names that come and go; null when there is none. */
  get passing(): Zone | null {
    return this.#passing?.zone ?? null;
  }

  /** Whether a client that looks up `name`, which is in lower case, gets records of the zone of names that come and go. */
  isPassing(name: string, context: QueryContext): boolean {
    const records = this.#passing?.compiled.find(name) ?? null;
    return hasRecords(records) && this.#find(name, context)?.records === records;
  }

  /** The zones in their order, those of one name and link joined, the newest records first. */
  list(): Zone[] {
    return this.#entries.map(({ zone }) => ({ ...zone, records: [...zone.records] }));
  }

  /** Answers a query for one of our names; null for a name that is not ours. */
  answer(query: Query, context: QueryContext): ZoneAnswer | null {
    const { question } = query;
    const { labels, type } = question;
    const topLabel = labels.at(-1);
    if (topLabel === undefined || !this.#topLabels.has(topLabel)) return null;
    let name = labels.join(".");
    let found = this.#find(name, context);
    if (found === null) return null;
    const { origin } = found;
    const answer = (message: Uint8Array): ZoneAnswer => ({ kind: "answer", message, zone: origin });

    if (question.class !== Class.IN && question.class !== Class.ANY) {
      return answer(buildResponse(query, { rcode: Rcode.REFUSED }));
    }

    const wants = (wanted: number) => type === wanted || type === Type.ANY;
    const answers: Answer[] = [];
    // The records of an alias are those of the name it leads to (RFC 1034, 4.3.2), which may be in another zone.
    let owner = question.name;
    while (!wants(Type.CNAME)) {
      const alias = found.records?.find((record) => record.type === Type.CNAME)?.answer(owner, context);
      if (alias?.type !== "CNAME") break;
      // A loop is an error (RFC 1034, 3.6.2).
      if (answers.length === MAX_ALIASES) return answer(buildServFail(query));
      answers.push(alias);
      owner = alias.data;
      name = owner.toLowerCase();
      found = this.#find(name, context);
      if (found === null) return { kind: "alias", zone: origin, aliases: answers, target: owner };
    }
    const aliases = answers.length;
    for (const record of found.records ?? []) {
      const data = wants(record.type) ? record.answer(owner, context) : null;
      if (data !== null) answers.push(data);
    }
    const { ttl, hosts } = found;
    if (name === found.origin && wants(Type.SOA)) answers.push(startOfAuthority(name, ttl));
    if (wants(Type.PTR)) for (const host of hosts) answers.push({ type: "PTR", name: owner, ttl, data: host });
    return answer(
      buildResponse(query, {
        rcode: found.records === null && hosts.length === 0 ? Rcode.NXDOMAIN : Rcode.NOERROR,
        authoritative: true,
        answers,
        // No data and no name are told apart by the response code; both carry the SOA (RFC 2308, section 2).
        authorities: answers.length === aliases ? [startOfAuthority(found.origin, ttl)] : [],
      }),
    );
  }

  /** What is known of a name in lower case; null when it is not ours. */
  #find(name: string, context: QueryContext): Found | null {
    const address = reverseAddress(name.split("."));
    const zone = this.#zoneOf(name, context);
    const records = zone?.find(name) ?? null;
    const hosts = address === null ? [] : this.#hostNames(address, context);
    const own = { origin: zone?.origin ?? name, records, hosts, ttl: DEFAULT_TTL };
    const passing = this.#passing;
    if (passing?.isFor(context) === true && !hasRecords(records) && hosts.length === 0) {
      const { compiled, hosts: passingHosts } = passing;
      const { origin } = compiled;
      // What another zone has of it, that zone says everything of.
      if (isWithin(name, origin) && (zone === null || isWithin(origin, zone.origin))) {
        const found = compiled.find(name);
        return { origin, records: hasRecords(found) ? found : (records ?? found), hosts, ttl: PASSING_TTL };
      }
      const names = address === null ? undefined : passingHosts.get(address);
      if (names !== undefined) return { ...own, hosts: names.map((host) => host.name), ttl: PASSING_TTL };
    }
    // An address of ours outside every zone is a zone of its own, as a delegation of one name would make it.
    return zone !== null || hosts.length > 0 ? own : null;
  }

  /** The first zone that a name is in. */
  #zoneOf(name: string, context: QueryContext): CompiledZone | null {
    for (const { compiled } of this.#entries) {
      const { origin, link } = compiled;
      if (link !== undefined && link !== context.link) continue;
      if (isWithin(name, origin)) return compiled;
    }
    return null;
  }

  /** The names of an address in the zones. */
  #hostNames(address: string, context: QueryContext): readonly string[] {
    const names = new Set<string>();
    for (const { name, link } of this.#hosts.get(address) ?? []) {
      if (link === undefined || link === context.link) names.add(name);
    }
    for (const host of this.#dynamicHosts) {
      if (host.link !== undefined && host.link !== context.link) continue;
      const value = host.address(context);
      if (value !== null && canonicalAddress(value) === address) names.add(host.name);
    }
    return [...names];
  }

  /** @throws {RangeError} when they are too many. */
  #replace(entries: Entry[]): void {
    if (entries.length > MAX_ZONES) throw new RangeError(`there may be at most ${MAX_ZONES} zones`);
    checkRecordCount(entries.reduce((sum, { zone }) => sum + zone.records.length, 0));
    this.#entries = entries;
    this.#hosts = new Map();
    this.#dynamicHosts = [];
    for (const { compiled } of entries) {
      const { link } = compiled;
      for (const { name, address } of compiled.addresses) {
        if (typeof address === "function") this.#dynamicHosts.push({ name, link, address });
        else addHost(this.#hosts, canonicalAddress(address), { name, link });
      }
    }
    this.#findTopLabels();
  }

  #findTopLabels(): void {
    const entries = this.#passing === null ? this.#entries : [...this.#entries, this.#passing];
    this.#topLabels = new Set();
    for (const { compiled } of entries) {
      const { origin, addresses } = compiled;
      this.#topLabels.add(origin.slice(origin.lastIndexOf(".") + 1));
      if (addresses.length > 0) this.#topLabels.add(ADDRESS_TOP_LABEL);
    }
  }
}

function checkRecordCount(count: number): void {
  if (count > MAX_RECORDS) throw new RangeError(`zones may have at most ${MAX_RECORDS} records together`);
}

function addHost(hosts: Map<string, HostName[]>, address: string, host: HostName): void {
  const known = hosts.get(address);
  if (known === undefined) hosts.set(address, [host]);
  else known.push(host);
}

/** Whether a name is that of a zone, or in it. */
function isWithin(name: string, origin: string): boolean {
  return name.endsWith(origin) && (name.length === origin.length || name[name.length - origin.length - 1] === ".");
}

function hasRecords(records: readonly StoredRecord[] | null): boolean {
  return records !== null && records.length > 0;
}

/**
 * Adds a zone to a list, whose other entries stay as they are.
 *
 * @param place - where its records go when the zone is there: before those it has, or after them as one with them.
 */
function addTo(entries: Entry[], zone: Zone, place: "before" | "after"): Entry {
  const origin = zoneOrigin(zone);
  const index = entries.findIndex(({ compiled }) => compiled.origin === origin && compiled.link === zone.link);
  const known = entries[index]?.zone ?? { name: zone.name, records: [] };
  const joined =
    place === "before"
      ? { ...zone, records: [...zone.records, ...recordsBeside(known, zone, origin)] }
      : { ...known, ...zone, records: [...known.records, ...zone.records] };
  const entry = { zone: joined, compiled: new CompiledZone(joined) };
  entries[index < 0 ? entries.length : index] = entry;
  return entry;
}

/** The records of a zone that still hold when those of `newer` come before them: one owner has the newest alone. */
function recordsBeside(known: Zone, newer: Zone, origin: string): ZoneRecord[] {
  const owners = new Set(newer.records.map((record) => ownerKey(record, origin)));
  return known.records.filter((record) => !owners.has(ownerKey(record, origin)));
}

/**
 * The SOA of a zone that nobody transfers, as RFC 6303, section 3 writes it.
 *
 * @param ttl - for how long "no" may be kept (RFC 2308, section 5).
 */
function startOfAuthority(origin: string, ttl: number): Answer {
  return {
    type: "SOA",
    name: origin,
    ttl,
    data: {
      mname: origin,
      rname: "nobody.invalid",
      serial: 1,
      refresh: 3600,
      retry: 1200,
      expire: 604_800,
      minimum: ttl,
    },
  };
}
