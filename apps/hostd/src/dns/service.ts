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
  type QueryObserver,
  type QueryResolver,
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
import type { HostdConfig } from "../config/resolve.ts";
import type { ContainerNames } from "../docker/container-names.ts";
import type { Logger } from "../logging.ts";
import type { DnsQueryReport, DnsRecordReport, DnsReport, DnsZoneReport } from "./report.ts";

/** What rules of the configuration are from, for people. */
const CONFIGURATION = "the configuration";
/** The types of addresses, IPv4 first (RFC 1035, 3.2.2; RFC 3596). */
const ADDRESS_TYPES: readonly number[] = [1, 28];
/** The types that the system's own call looks up. */
const SYSTEM_TYPES: readonly string[] = ["A", "AAAA", "PTR"];

/** How names are resolved under one configuration. */
interface Resolving {
  /** What the host itself would ask, with its search domains. */
  readonly host: HostPolicy;
  readonly forwarder: Forwarder;
  readonly hosts: HostsFile | null;
  readonly resolver: Resolver;
}

/** The names of containers. */
interface ContainerNamesZone {
  readonly zone: Zone | null;
  readonly isFor: ((context: QueryContext) => boolean) | undefined;
}

/** What all VMs share of the name server. */
export class DnsService {
  readonly #logger: Logger;
  readonly #observer: QueryObserver;
  /** What is asked by the servers of all VMs, whatever the configuration is. */
  readonly #current: QueryResolver = {
    resolve: (...parameters) => this.#resolving.resolver.resolve(...parameters),
  };
  /** What was added while hostd runs. */
  readonly #added = new Zones();
  /** Zones of the configuration that were removed while hostd runs. */
  readonly #removed: { readonly name: string; readonly link: string | undefined }[] = [];
  #containers: ContainerNamesZone = { zone: null, isFor: undefined };
  #config: HostdConfig;
  #resolving: Resolving;

  /** @param containers - names who asks, in the log. */
  constructor(config: HostdConfig, logger: Logger, containers: Pick<ContainerNames, "nameAt">) {
    this.#logger = logger;
    this.#observer = queryLog(logger, containers);
    this.#config = config;
    this.#resolving = makeResolving(config, ownZones(config), logger);
  }

  /** Has another configuration hold. What was changed in the zones while hostd runs stays, and the cache is new. */
  configure(config: HostdConfig): void {
    const before = this.#resolving;
    const zones = ownZones(config);
    for (const { name, link } of this.#removed) zones.remove(name, link);
    for (const zone of this.#added.list()) zones.add(zone);
    zones.setPassing(this.#containers.zone, this.#containers.isFor);
    this.#resolving = makeResolving(config, zones, this.#logger);
    this.#config = config;
    before.resolver.close();
    before.host.close();
  }

  /** The domains in which the host looks up short names, as they are now. */
  get searchDomains(): readonly string[] {
    return this.#resolving.host.current().search;
  }

  /** A name server for one link; its limits are the link's own. */
  makeServer(): DnsServer {
    return new DnsServer({
      resolver: this.#current,
      logger: this.#logger,
      observer: this.#observer,
      maxForwardedPerSecond: this.#config.dns.maxQueriesPerSecond,
    });
  }

  /**
   * Adds a zone, until hostd ends. What is there of its name and link goes behind it.
   *
   * @throws {RangeError} when something in it does not fit; then nothing has changed.
   */
  addZone(zone: Zone): DnsZoneReport {
    const added = this.#resolving.resolver.zones.add(zone);
    this.#added.add(zone);
    this.#logger.info({ zone: zone.name, records: zone.records.length }, "zone added");
    return zoneReport(added);
  }

  /** Takes out a zone of all VMs, or of the one that `link` names; false when there is none. */
  removeZone(name: string, link: string | undefined): boolean {
    if (!this.#resolving.resolver.zones.remove(name, link)) return false;
    this.#added.remove(name, link);
    const isOwn = ownZones(this.#config).remove(name, link);
    // It may have been added again after it was removed.
    if (isOwn && !this.#removed.some((zone) => zone.name === name && zone.link === link))
      this.#removed.push({ name, link });
    this.#logger.info({ zone: name }, "zone removed");
    return true;
  }

  /**
   * Replaces the zone of the names of containers, which outlives {@link configure}. It is beneath all others, also where it
   * has the name of one.
   *
   * @param zone - null for none.
   * @param isFor - which clients have it; all unless given.
   * @throws {RangeError} when something in it does not fit; then nothing has changed.
   */
  setContainers(zone: Zone | null, isFor?: (context: QueryContext) => boolean): void {
    this.#resolving.resolver.zones.setPassing(zone, isFor);
    this.#containers = { zone, isFor };
  }

  /** Whether the VM named `link` is answered with a container when it looks up `name`, a whole name in lower case. */
  hasContainer(name: string, link: string): boolean {
    const context = { link, client: this.#config.gateway, vmAddress: null };
    return this.#resolving.resolver.zones.isPassing(name, context);
  }

  /** What is there, and how it has been doing. */
  report(): Omit<DnsReport, "vms"> {
    const { dns } = this.#config;
    const { resolver, forwarder, hosts } = this.#resolving;
    const { zones, cache } = resolver;
    return {
      zones: zones.list().map(zoneReport),
      containers: zones.passing === null ? null : zoneReport(zones.passing),
      resolver: dns.resolver,
      upstreams: forwarder.report(),
      search: [...(this.#config.dhcp.search ?? this.searchDomains)],
      cache: { ...cache.statistics, maxEntries: dns.cache.entries, maxBytes: cacheOptions(dns.cache).maxBytes },
      hosts: hosts === null ? null : { path: hosts.source, names: hosts.size },
    };
  }

  /**
   * How a name would be resolved for a client, by resolving it.
   *
   * @throws {RangeError} when `name` is no name.
   */
  async query(name: string, type: number, context: QueryContext): Promise<Omit<DnsQueryReport, "vm">> {
    const query = newQuery(name, type);
    const { resolver, forwarder } = this.#resolving;
    const began = performance.now();
    const { message, origin, source } = await resolver.resolve(query, context, "udp", { take: () => true });
    const milliseconds = rounded(performance.now() - began);
    const { labels, name: shown } = query.question;
    const isSystem = this.#config.dns.resolver === "system" && SYSTEM_TYPES.includes(typeName(type));
    // An alias in a zone leads to another name, whose route this is not.
    const isOwn = resolver.zones.answer(query, context) !== null;
    const isBeyond = !isOwn && origin !== "special" && origin !== "hosts";
    const found = isBeyond && !isSystem ? forwarder.routeOf(labels) : null;
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

  /**
   * The addresses of a name for a client, IPv4 first; none when it has none.
   *
   * @throws {Error} with the code EAI_AGAIN when that could not be found out, EINVAL for what is no name.
   */
  async addresses(name: string, context: QueryContext): Promise<readonly string[]> {
    const { resolver } = this.#resolving;
    const found = await Promise.all(
      ADDRESS_TYPES.map(async (type) => {
        const { message } = await resolver.resolve(queryFor(name, type), context, "udp", { take: () => true });
        return showMessage(message);
      }),
    );
    const answers = found.flatMap((message) => message.answers);
    const addresses = answers.filter(({ type }) => type === "A" || type === "AAAA").map(({ data }) => data);
    if (addresses.length === 0 && found.some(({ rcode }) => rcode === "SERVFAIL")) {
      throw Object.assign(new Error(`${name} could not be looked up`), { code: "EAI_AGAIN" });
    }
    return addresses;
  }

  close(): void {
    this.#resolving.resolver.close();
    this.#resolving.host.close();
  }
}

/** A line for each query, while lines of that level are written. */
function queryLog(logger: Logger, containers: Pick<ContainerNames, "nameAt">): QueryObserver {
  return {
    isListening: () => logger.isLevelEnabled("debug"),
    answered: ({ context, milliseconds, ...query }) => {
      const { link: vm, vmAddress } = context;
      const client = formatIpv4(context.client);
      const container = context.client === vmAddress ? null : containers.nameAt(vm, client);
      const who = { vm, client, ...(container === null ? {} : { container }) };
      logger.debug({ ...who, ...query, milliseconds: rounded(milliseconds) }, "query answered");
    },
  };
}

function queryFor(name: string, type: number) {
  try {
    return newQuery(name, type);
  } catch (error) {
    throw Object.assign(new Error(`${name} is no name`, { cause: error }), { code: "EINVAL" });
  }
}

function makeResolving(config: HostdConfig, zones: Zones, logger: Logger): Resolving {
  const { dns, host, gateway } = config;
  const hasServers = dns.servers.length > 0;
  const policy = hostPolicy({
    resolvConf: dns.resolvConf,
    ownAddresses: [formatIpv4(gateway), formatIpv4(host)],
    // With servers of the configuration, nothing but the search domains is taken from the host.
    ...(hasServers ? {} : { logger }),
  });
  const servers = hasServers ? fixedServers(dns.servers, CONFIGURATION) : policy;
  const rules = dns.rules.map(({ domain, servers }) => route(domain, servers));
  const source = new RulesFirst(rules, servers);
  const forwarder = new Forwarder({ source, randomizeCase: dns.randomizeCase, logger });
  const hosts = dns.hosts === undefined ? null : new HostsFile({ path: dns.hosts, host, logger });
  const loopCheck = new LoopCheck(forwarder, logger);
  const upstream: Upstream = dns.resolver === "system" ? new SystemResolver({ others: forwarder }) : forwarder;
  const resolver = new Resolver({
    zones,
    ...(hosts === null ? {} : { hosts }),
    loopCheck,
    upstream,
    cache: cacheOptions(dns.cache),
  });
  loopCheck.check();
  return { host: policy, forwarder, hosts, resolver };
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

/** To microseconds. */
function rounded(milliseconds: number): number {
  return Math.round(milliseconds * 1000) / 1000;
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
