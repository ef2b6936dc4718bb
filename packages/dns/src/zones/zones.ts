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
}

/**
 * The zones of this host, in an order: the first one that a name is in answers for it. Zones of one name and link are
 * one; what is added to a zone goes before what it has. The addresses in them also answer to look-ups by address (in-addr.arpa,
 * ip6.arpa), under every name they have; a zone below in-addr.arpa keeps the other addresses of a network from being
 * asked upstream.
 */
export class Zones {
  #entries: Entry[] = [];
  /** The last labels of all names that are ours: most names are known not to be by theirs. */
  #topLabels = new Set<string>();
  /** The names of fixed addresses, with the links that know them. */
  #hosts = new Map<string, { name: string; link: string | undefined }[]>();
  #dynamicHosts: { name: string; link: string | undefined; address: (context: QueryContext) => number | null }[] = [];

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
    if (name === found.origin && wants(Type.SOA)) answers.push(startOfAuthority(name));
    if (wants(Type.PTR)) {
      for (const host of found.hosts) answers.push({ type: "PTR", name: owner, ttl: DEFAULT_TTL, data: host });
    }
    return answer(
      buildResponse(query, {
        rcode: found.records === null && found.hosts.length === 0 ? Rcode.NXDOMAIN : Rcode.NOERROR,
        authoritative: true,
        answers,
        // No data and no name are told apart by the response code; both carry the SOA (RFC 2308, section 2).
        authorities: answers.length === aliases ? [startOfAuthority(found.origin)] : [],
      }),
    );
  }

  /** What is known of a name in lower case; null when it is not ours. */
  #find(name: string, context: QueryContext): Found | null {
    const hosts = this.#hostNames(name.split("."), context);
    const zone = this.#zoneOf(name, context);
    if (zone !== null) return { origin: zone.origin, records: zone.find(name), hosts };
    // An address of ours outside every zone is a zone of its own, as a delegation of one name would make it.
    return hosts.length > 0 ? { origin: name, records: null, hosts } : null;
  }

  /** The first zone that a name is in. */
  #zoneOf(name: string, context: QueryContext): CompiledZone | null {
    for (const { compiled } of this.#entries) {
      const { origin, link } = compiled;
      if (link !== undefined && link !== context.link) continue;
      if (name.endsWith(origin) && (name.length === origin.length || name[name.length - origin.length - 1] === ".")) {
        return compiled;
      }
    }
    return null;
  }

  /** The names of the address that a name below in-addr.arpa or ip6.arpa stands for. */
  #hostNames(labels: readonly string[], context: QueryContext): readonly string[] {
    const address = reverseAddress(labels);
    if (address === null) return [];
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
    let records = 0;
    for (const { zone } of entries) records += zone.records.length;
    if (records > MAX_RECORDS) throw new RangeError(`zones may have at most ${MAX_RECORDS} records together`);
    this.#entries = entries;
    this.#topLabels = new Set();
    this.#hosts = new Map();
    this.#dynamicHosts = [];
    for (const { compiled } of entries) {
      const { origin, link } = compiled;
      this.#topLabels.add(origin.slice(origin.lastIndexOf(".") + 1));
      for (const { name, address } of compiled.addresses) {
        this.#topLabels.add(ADDRESS_TOP_LABEL);
        if (typeof address === "function") {
          this.#dynamicHosts.push({ name, link, address });
          continue;
        }
        const key = canonicalAddress(address);
        const known = this.#hosts.get(key);
        if (known === undefined) this.#hosts.set(key, [{ name, link }]);
        else known.push({ name, link });
      }
    }
  }
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

/** The SOA of a zone that nobody transfers, as RFC 6303, section 3 writes it; how long "no" may be kept is ours. */
function startOfAuthority(origin: string): Answer {
  return {
    type: "SOA",
    name: origin,
    ttl: DEFAULT_TTL,
    data: {
      mname: origin,
      rname: "nobody.invalid",
      serial: 1,
      refresh: 3600,
      retry: 1200,
      expire: 604_800,
      minimum: DEFAULT_TTL,
    },
  };
}
