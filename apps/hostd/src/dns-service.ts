/** The names that VMs can look up: everything of `@hostd/dns` put together as the configuration says. */
import {
  type AnswerCacheOptions,
  DnsServer,
  Forwarder,
  fixedServers,
  formatServerAddress,
  type HostPolicy,
  HostsFile,
  hostPolicy,
  LoopCheck,
  newQuery,
  type QueryContext,
  Resolver,
  type Route,
  RulesFirst,
  type ServerAddress,
  SystemResolver,
  showMessage,
  standardZones,
  typeName,
  type Upstream,
  type Zone,
  type ZoneRecord,
  Zones,
} from "@hostd/dns";
import { formatIpv4 } from "@hostd/stack";
import type { HostdConfig } from "./config/resolve.ts";
import type { DnsQueryReport, DnsRecordReport, DnsReport, DnsZoneReport } from "./dns-report.ts";
import type { Logger } from "./logging.ts";

/** What rules of the configuration are from, for people. */
const CONFIGURATION = "the configuration";
/** The types that the system's own call looks up. */
const SYSTEM_TYPES: readonly string[] = ["A", "AAAA", "PTR"];

/** What all VMs share of the name server. */
export class DnsService {
  readonly #config: HostdConfig;
  readonly #logger: Logger;
  /** What the host itself would ask, with its search domains. */
  readonly #host: HostPolicy;
  readonly #forwarder: Forwarder;
  readonly #hosts: HostsFile | null;
  readonly #resolver: Resolver;

  constructor(config: HostdConfig, logger: Logger) {
    const { dns, host, gateway } = config;
    this.#config = config;
    this.#logger = logger;
    const hasServers = dns.servers.length > 0;
    this.#host = hostPolicy({
      resolvConf: dns.resolvConf,
      ownAddresses: [formatIpv4(gateway), formatIpv4(host)],
      // With servers of the configuration, nothing but the search domains is taken from the host.
      ...(hasServers ? {} : { logger }),
    });
    const servers = hasServers ? fixedServers(dns.servers, CONFIGURATION) : this.#host;
    const rules = dns.rules.map(({ domain, servers }) => route(domain, servers));
    const source = new RulesFirst(rules, servers);
    this.#forwarder = new Forwarder({ source, randomizeCase: dns.randomizeCase, logger });
    this.#hosts = dns.hosts === undefined ? null : new HostsFile({ path: dns.hosts, host, logger });
    const loopCheck = new LoopCheck(this.#forwarder, logger);
    const upstream: Upstream =
      dns.resolver === "system" ? new SystemResolver({ others: this.#forwarder }) : this.#forwarder;
    this.#resolver = new Resolver({
      zones: ownZones(config),
      ...(this.#hosts === null ? {} : { hosts: this.#hosts }),
      loopCheck,
      upstream,
      cache: cacheOptions(dns.cache),
    });
    loopCheck.check();
  }

  /** The domains in which the host looks up short names, as they are now. */
  get searchDomains(): readonly string[] {
    return this.#host.current().search;
  }

  /** A name server for one link; its limits are the link's own. */
  makeServer(): DnsServer {
    return new DnsServer({
      resolver: this.#resolver,
      logger: this.#logger,
      maxForwardedPerSecond: this.#config.dns.maxQueriesPerSecond,
    });
  }

  /**
   * Adds a zone, until hostd ends. What is there of its name and link goes behind it.
   *
   * @throws {RangeError} when something in it does not fit; then nothing has changed.
   */
  addZone(zone: Zone): DnsZoneReport {
    const added = this.#resolver.zones.add(zone);
    this.#logger.info({ zone: zone.name, records: zone.records.length }, "zone added");
    return zoneReport(added);
  }

  /** Takes out a zone of all VMs, or of the one that `link` names; false when there is none. */
  removeZone(name: string, link: string | undefined): boolean {
    const wasThere = this.#resolver.zones.remove(name, link);
    if (wasThere) this.#logger.info({ zone: name }, "zone removed");
    return wasThere;
  }

  /** What is there, and how it has been doing. */
  report(): Omit<DnsReport, "vms"> {
    const { dns } = this.#config;
    const { zones, cache } = this.#resolver;
    return {
      zones: zones.list().map(zoneReport),
      resolver: dns.resolver,
      upstreams: this.#forwarder.report(),
      search: [...(this.#config.dhcp.search ?? this.searchDomains)],
      cache: { ...cache.statistics, maxEntries: dns.cache.entries, maxBytes: cacheOptions(dns.cache).maxBytes },
      hosts: this.#hosts === null ? null : { path: this.#hosts.source, names: this.#hosts.size },
    };
  }

  /**
   * How a name would be resolved for a client, by resolving it.
   *
   * @throws {RangeError} when `name` is no name.
   */
  async query(name: string, type: number, context: QueryContext): Promise<Omit<DnsQueryReport, "vm">> {
    const query = newQuery(name, type);
    const began = performance.now();
    const { message, origin, source } = await this.#resolver.resolve(query, context, "udp", { take: () => true });
    const milliseconds = Math.round((performance.now() - began) * 1000) / 1000;
    const { labels, name: shown } = query.question;
    const isSystem = this.#config.dns.resolver === "system" && SYSTEM_TYPES.includes(typeName(type));
    // An alias in a zone leads to another name, whose route this is not.
    const isOwn = this.#resolver.zones.answer(query, context) !== null;
    const isBeyond = !isOwn && origin !== "special" && origin !== "hosts";
    const found = isBeyond && !isSystem ? this.#forwarder.routeOf(labels) : null;
    return {
      name: shown,
      type: typeName(type),
      origin,
      source,
      route:
        found === null
          ? null
          : { domain: found.domain, from: found.from, servers: found.set.servers.map(formatServerAddress) },
      milliseconds,
      ...showMessage(message),
    };
  }

  close(): void {
    this.#resolver.close();
    this.#host.close();
  }
}

/**
 * The zones of the configuration come before those that everybody gets, since the first one that a name is in answers.
 * Of two with one name, as if it added to `docker.internal`, the records of the configuration hold.
 */
function ownZones({ dns, host, gateway }: HostdConfig): Zones {
  const places = dns.zones.map(({ name }) => ({ name, records: [] }));
  const zones = new Zones([...places, ...standardZones({ host, gateway }, dns.aliases)]);
  for (const zone of dns.zones) zones.add(zone);
  return zones;
}

function route(domain: string, servers: readonly ServerAddress[]): Route {
  return { domain: domain.toLowerCase(), set: { servers, serverTimeout: null, attempts: null }, from: CONFIGURATION };
}

function cacheOptions({ entries, megabytes, staleSeconds }: HostdConfig["dns"]["cache"]): AnswerCacheOptions {
  return { maxEntries: entries, maxBytes: megabytes * 1024 * 1024, staleTime: staleSeconds * 1000 };
}

function zoneReport({ name, link, defaultAddress, records }: Zone): DnsZoneReport {
  return {
    name,
    ...(link === undefined ? {} : { vm: link }),
    ...(defaultAddress === undefined ? {} : { defaultAddress }),
    records: records.map(recordReport),
  };
}

/** A record as the configuration would have it; an address that depends on who asks is null. */
function recordReport(record: ZoneRecord): DnsRecordReport {
  if (record.type !== "A") return record;
  const { address } = record;
  if (typeof address === "function") return { ...record, address: null };
  return { ...record, address: typeof address === "number" ? formatIpv4(address) : address };
}
