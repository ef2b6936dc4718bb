/**
 * From what was written to what holds: layers of settings (file, flags) are laid over each other, the rest is filled
 * in with defaults, and the whole is checked for what no key shows alone.
 */
import type { NameAlias, ServerAddress } from "@hostd/dns";
import type { BindRange } from "@hostd/portfwd";
import type { CongestionAlgorithm, Ipv4, Ipv4Network, Mac } from "@hostd/stack";
import { Check, checkConfig, type GivenLayer, usableRange } from "./checks.ts";
import { DEFAULTS, DHCP_RANGE_MAX } from "./defaults.ts";
import type { ResolverKind } from "./dns-schema.ts";
import type { Reach } from "./docker-schema.ts";
import { type Endpoint, formatEndpoint, isLoopbackHost, type UnixAddress } from "./endpoint.ts";
import { type EngineAddress, engineAddress } from "./engine.ts";
import {
  absolutePath,
  defaultApiSocket,
  defaultSocket,
  defaultStateFolder,
  type HostEnvironment,
  processEnvironment,
} from "./environment.ts";
import { type ForwardSpec, readDefaultHost } from "./forward.ts";
import type { Sources } from "./network-schema.ts";
import { ConfigError, type ConfigProblem, type Label, schemaProblems } from "./problems.ts";
import {
  type ProxyFallback,
  readTransparentPorts,
  type TransparentPorts,
  type WrittenUpstream,
} from "./proxy-schema.ts";
import type { ForwardSource } from "./publish-schema.ts";
import { type LogFormat, type LogLevel, type Settings, settingsSchema } from "./schema.ts";
import { readMac, readSubnet } from "./values.ts";
import { type ConfigZone, readZones } from "./zones.ts";

/** An address set aside for the guest with this MAC address. */
export interface StaticLease {
  readonly mac: Mac;
  readonly address: Ipv4;
}

/** Servers that are asked for the names of a domain. */
export interface DnsRule {
  /** Without a dot at its end. */
  readonly domain: string;
  readonly servers: readonly ServerAddress[];
}

/** A configuration in which every value is read, checked and filled in. Paths are absolute, times are in seconds. */
export interface HostdConfig {
  readonly qemu: readonly Endpoint[];
  readonly subnet: Ipv4Network;
  readonly gateway: Ipv4;
  /** The address that stands for the host's loopback address. */
  readonly host: Ipv4;
  /** The gateway's MAC address. */
  readonly mac: Mac;
  readonly mtu: number;
  readonly dhcp: {
    readonly first: Ipv4;
    readonly last: Ipv4;
    readonly leaseSeconds: number;
    readonly domain: string | undefined;
    /** Undefined when those of the host hold. */
    readonly search: readonly string[] | undefined;
    readonly static: readonly StaticLease[];
  };
  readonly dns: {
    /** Empty when the servers of the host are to be asked. */
    readonly servers: readonly ServerAddress[];
    readonly rules: readonly DnsRule[];
    readonly resolver: ResolverKind;
    readonly resolvConf: string;
    /** The hosts file; undefined for none. */
    readonly hosts: string | undefined;
    readonly zones: readonly ConfigZone[];
    readonly aliases: readonly NameAlias[];
    readonly cache: {
      /** 0 for no cache. */
      readonly entries: number;
      readonly megabytes: number;
      readonly staleSeconds: number;
    };
    readonly randomizeCase: boolean;
    /** Of one VM, that are asked of servers. */
    readonly maxQueriesPerSecond: number;
  };
  /** The TCP between hostd and the guest. */
  readonly tcp: {
    readonly congestionControl: CongestionAlgorithm;
    /** Frames that the guest's network card holds. */
    readonly receiveRing: number;
    readonly timestamps: boolean;
    readonly selectiveAcknowledgments: boolean;
    /** 0 for never. */
    readonly keepAliveSeconds: number;
    /** 0 for as long as the retransmissions go on. */
    readonly userTimeoutSeconds: number;
  };
  readonly egress: {
    readonly tcp: { readonly maxFlows: number; readonly maxPending: number };
    readonly udp: { readonly maxFlows: number; readonly idleSeconds: number; readonly dnsIdleSeconds: number };
    readonly icmp: boolean;
    /** Whether 169.254.0.0/16 leads to the host's own links. */
    readonly linkLocal: boolean;
    /** Which source addresses are accepted from a VM. */
    readonly sources: Sources;
  };
  /** Ports of this host that lead into the VM. */
  readonly forwards: readonly ForwardSpec[];
  /** How published ports behave. */
  readonly publish: {
    /** Where a port without an address listens; empty for every address. */
    readonly address: string;
    /** What may be listened on, whoever asks. */
    readonly allow: readonly BindRange[];
    readonly source: ForwardSource;
    readonly waitSeconds: number;
    readonly maxConnections: number;
    readonly maxPending: number;
    readonly maxUdpFlows: number;
    readonly udpIdleSeconds: number;
  };
  /** The HTTP proxy on the gateway. */
  readonly proxy: {
    readonly enabled: boolean;
    readonly upstream: WrittenUpstream;
    readonly noProxy: string;
    readonly transparentPorts: TransparentPorts;
    readonly other: ProxyFallback;
    readonly pacFailure: ProxyFallback;
    readonly ca: string | undefined;
    readonly credentials: string | undefined;
    readonly via: string | undefined;
    readonly vpnkitFile: string | undefined;
  };
  /** The Docker engine in the VM. */
  readonly docker: {
    /** Where its API is served; undefined for not at all. */
    readonly listen: UnixAddress | undefined;
    readonly upstream: EngineAddress;
    /** Where a port without an address listens; empty for every address. */
    readonly defaultAddress: string;
    /** Where published ports lead. */
    readonly reach: Reach;
    readonly forbiddenMounts: readonly string[];
    readonly hostGateway: boolean;
    /** Whether containers are told of the HTTP proxy. */
    readonly injectProxyEnv: boolean;
    /** The domain of the containers' names; undefined for none. */
    readonly zone: string | undefined;
  };
  /** gvproxy's API inside of the VM. */
  readonly guestApi: { readonly enabled: boolean; readonly allow: readonly BindRange[] };
  readonly state: string;
  /** Where the control API listens; undefined for none. */
  readonly api: UnixAddress | undefined;
  /** Where vpnkit's API for exposing ports listens; undefined for none. */
  readonly vpnkitApi: UnixAddress | undefined;
  /** The pcap file every frame is written to; undefined for none. */
  readonly capture: string | undefined;
  readonly log: { readonly level: LogLevel; readonly format: LogFormat };
}

/** One source of settings. */
export interface ConfigLayer {
  /** Plain data as YAML or JSON yields it. A key whose value is null counts as not given. */
  readonly input: unknown;
  /** The folder relative paths are relative to. */
  readonly base: string;
  /** Names a place in this source, for messages. */
  readonly label: Label;
  /** What is wrong with parts of the source that could not be read into {@link input}. */
  readonly problems?: readonly ConfigProblem[];
}

/**
 * Reads a configuration given as plain data.
 *
 * @param origin names the source in messages: a file, a program.
 * @throws {ConfigError} with every problem found.
 */
export function parseConfig(input: unknown, origin: string, environment = processEnvironment()): HostdConfig {
  const label: Label = (_, key) => (key === "" ? origin : `${origin}: ${key}`);
  return resolveConfig([{ input, base: process.cwd(), label }], environment);
}

/**
 * Lays `layers` over each other, the last on top, and resolves the result. Mappings are merged key by key; a list
 * replaces the one below it.
 *
 * @throws {ConfigError} with every problem found in any layer, or in how they go together.
 */
export function resolveConfig(layers: readonly ConfigLayer[], environment = processEnvironment()): HostdConfig {
  const problems: ConfigProblem[] = [];
  const given: GivenLayer[] = [];
  for (const { input, base, label, problems: unread = [] } of layers) {
    problems.push(...unread);
    const data = withoutNulls(input) ?? {};
    const result = settingsSchema.safeParse(data);
    if (result.success) given.push({ settings: withAbsolutePaths(result.data, base, environment), data, label });
    else problems.push(...schemaProblems(result.error, data, label));
  }
  if (problems.length > 0) throw new ConfigError(problems);
  const settings = given.reduce<Settings>((below, { settings: above }) => merge(below, above), {});
  const check = new Check(given);
  const zones = readZones(settings.dns?.zones ?? [], (path, reason) => check.report(["dns", "zones", ...path], reason));
  const config = fillIn(settings, zones, environment);
  checkConfig(config, settings, check);
  if (check.problems.length > 0) throw new ConfigError(check.problems);
  return config;
}

/** What is allowed in a configuration but worth a word to whoever runs it. */
export function configWarnings(config: HostdConfig): string[] {
  const warnings: string[] = [];
  for (const endpoint of config.qemu) {
    if (endpoint.mode === "listen" && endpoint.transport === "tcp" && !isLoopbackHost(endpoint.host)) {
      warnings.push(
        `qemu: ${formatEndpoint(endpoint)} is reachable from other machines, and whoever connects is on the guest ` +
          "network without a password: listen on 127.0.0.1 or a Unix socket instead",
      );
    }
  }
  if (config.qemu.length === 0) warnings.push("qemu: the list is empty, so no VM can attach");
  if (config.docker.listen === undefined && config.docker.zone !== undefined) {
    warnings.push(
      "docker.zone: without docker.listen hostd does not know the containers, and answers none of their names",
    );
  }
  if (config.docker.listen !== undefined && config.docker.reach === "container" && config.egress.sources === "leased") {
    warnings.push(
      "egress.sources: with `leased` hostd drops what containers answer from their own addresses, so that their published " +
        "ports stay silent: set it to `shown`, or docker.reach to `vm`",
    );
  }
  if (config.docker.injectProxyEnv && !config.proxy.enabled) {
    warnings.push("docker.injectProxyEnv: containers are told of no proxy, since proxy.enabled is false");
  }
  if (config.docker.injectProxyEnv && config.docker.listen === undefined) {
    warnings.push(
      "docker.injectProxyEnv: without docker.listen hostd sees no container that is made, and tells none of it",
    );
  }
  return warnings;
}

/** Leaves out the keys whose value is null: in YAML, a key with nothing after it. */
function withoutNulls(data: unknown): unknown {
  if (Array.isArray(data)) return data.map((item) => (item === null ? null : withoutNulls(item)));
  if (!isMapping(data)) return data ?? undefined;
  return Object.fromEntries(
    Object.entries(data)
      .filter(([, value]) => value !== null && value !== undefined)
      .map(([name, value]) => [name, withoutNulls(value)]),
  );
}

function isMapping(data: unknown): data is Record<string, unknown> {
  if (typeof data !== "object" || data === null) return false;
  const prototype: unknown = Object.getPrototypeOf(data);
  return prototype === Object.prototype || prototype === null;
}

function withAbsolutePaths(settings: Settings, base: string, environment: HostEnvironment): Settings {
  const absolute = (path: string) => absolutePath(path, base, environment);
  const { state, capture, dns, forwards, docker, proxy } = settings;
  return {
    ...settings,
    ...(forwards === undefined
      ? {}
      : {
          forwards: forwards.map((forward) => ({
            ...forward,
            ...(forward.identity === undefined ? {} : { identity: absolute(forward.identity) }),
            ...(forward.knownHosts === undefined ? {} : { knownHosts: absolute(forward.knownHosts) }),
          })),
        }),
    ...(docker === undefined
      ? {}
      : {
          docker: {
            ...docker,
            ...(docker.identity === undefined ? {} : { identity: absolute(docker.identity) }),
            ...(docker.knownHosts === undefined ? {} : { knownHosts: absolute(docker.knownHosts) }),
          },
        }),
    ...(proxy === undefined
      ? {}
      : {
          proxy: {
            ...proxy,
            ...(proxy.ca === undefined ? {} : { ca: absolute(proxy.ca) }),
            ...(proxy.credentials === undefined ? {} : { credentials: absolute(proxy.credentials) }),
            ...(proxy.vpnkitFile === undefined ? {} : { vpnkitFile: absolute(proxy.vpnkitFile) }),
          },
        }),
    ...(state === undefined ? {} : { state: absolute(state) }),
    ...(capture === undefined ? {} : { capture: absolute(capture) }),
    ...(dns === undefined
      ? {}
      : {
          dns: {
            ...dns,
            ...(dns.resolvConf === undefined ? {} : { resolvConf: absolute(dns.resolvConf) }),
            ...(typeof dns.hosts === "string" ? { hosts: absolute(dns.hosts) } : {}),
          },
        }),
  };
}

/** Lays `above` over `below`: mappings key by key, anything else as a whole. */
function merge<T extends object>(below: T, above: T): T {
  const merged = { ...below };
  for (const [name, value] of Object.entries(above)) {
    const under: unknown = Reflect.get(merged, name);
    if (value === undefined) continue;
    Reflect.set(merged, name, isMapping(under) && isMapping(value) ? merge(under, value) : value);
  }
  return merged;
}

function fillIn(settings: Settings, zones: readonly ConfigZone[], environment: HostEnvironment): HostdConfig {
  const {
    dhcp = {},
    dns = {},
    tcp = {},
    egress = {},
    publish = {},
    proxy = {},
    docker = {},
    guestApi = {},
    log = {},
  } = settings;
  const subnet = settings.subnet ?? readSubnet(DEFAULTS.subnet);
  const { lowest, highest } = usableRange(subnet);
  const gateway = settings.gateway ?? lowest;
  const host = settings.host ?? (gateway === highest ? highest - 1 : highest);
  const reserved = [gateway, host];
  const first = dhcp.first ?? firstFree(subnet.address + 3, 1, reserved);
  return {
    qemu: settings.qemu ?? [{ mode: "listen", transport: "unix", path: defaultSocket(environment) }],
    subnet,
    gateway,
    host,
    mac: settings.mac ?? readMac(DEFAULTS.mac),
    mtu: settings.mtu ?? DEFAULTS.mtu,
    dhcp: {
      first,
      last: dhcp.last ?? firstFree(Math.min(highest, first + DHCP_RANGE_MAX - 1), -1, reserved),
      leaseSeconds: dhcp.leaseSeconds ?? DEFAULTS.leaseSeconds,
      domain: dhcp.domain,
      search: dhcp.search,
      static: Object.entries(dhcp.static ?? {}).map(([mac, address]) => ({ mac: readMac(mac), address })),
    },
    dns: {
      servers: dns.servers ?? [],
      rules: dns.rules ?? [],
      resolver: dns.resolver ?? DEFAULTS.resolver,
      resolvConf: dns.resolvConf ?? DEFAULTS.resolvConf,
      hosts: (dns.hosts === undefined ? DEFAULTS.hosts : dns.hosts) ?? undefined,
      zones,
      aliases: dns.aliases ?? [],
      cache: {
        entries: dns.cache?.entries ?? DEFAULTS.cacheEntries,
        megabytes: dns.cache?.megabytes ?? DEFAULTS.cacheMegabytes,
        staleSeconds: dns.cache?.staleSeconds ?? DEFAULTS.cacheStaleSeconds,
      },
      randomizeCase: dns.randomizeCase ?? DEFAULTS.randomizeCase,
      maxQueriesPerSecond: dns.maxQueriesPerSecond ?? DEFAULTS.maxQueriesPerSecond,
    },
    tcp: {
      congestionControl: tcp.congestionControl ?? DEFAULTS.congestionControl,
      receiveRing: tcp.receiveRing ?? DEFAULTS.receiveRing,
      timestamps: tcp.timestamps ?? DEFAULTS.timestamps,
      selectiveAcknowledgments: tcp.selectiveAcknowledgments ?? DEFAULTS.selectiveAcknowledgments,
      keepAliveSeconds: tcp.keepAliveSeconds ?? DEFAULTS.keepAliveSeconds,
      userTimeoutSeconds: tcp.userTimeoutSeconds ?? DEFAULTS.userTimeoutSeconds,
    },
    egress: {
      tcp: {
        maxFlows: egress.tcp?.maxFlows ?? DEFAULTS.tcpMaxFlows,
        maxPending: egress.tcp?.maxPending ?? DEFAULTS.tcpMaxPending,
      },
      udp: {
        maxFlows: egress.udp?.maxFlows ?? DEFAULTS.udpMaxFlows,
        idleSeconds: egress.udp?.idleSeconds ?? DEFAULTS.udpIdleSeconds,
        dnsIdleSeconds: egress.udp?.dnsIdleSeconds ?? DEFAULTS.udpDnsIdleSeconds,
      },
      icmp: egress.icmp ?? DEFAULTS.icmp,
      linkLocal: egress.linkLocal ?? DEFAULTS.linkLocal,
      sources: egress.sources ?? DEFAULTS.sources,
    },
    forwards: readForwards(settings),
    publish: {
      address: defaultHost(settings),
      allow: publish.allow ?? [ANY],
      source: publish.source ?? DEFAULTS.publishSource,
      waitSeconds: publish.waitSeconds ?? DEFAULTS.publishWaitSeconds,
      maxConnections: publish.maxConnections ?? DEFAULTS.publishMaxConnections,
      maxPending: publish.maxPending ?? DEFAULTS.publishMaxPending,
      maxUdpFlows: publish.maxUdpFlows ?? DEFAULTS.publishMaxUdpFlows,
      udpIdleSeconds: publish.udpIdleSeconds ?? DEFAULTS.publishUdpIdleSeconds,
    },
    proxy: {
      enabled: proxy.enabled ?? true,
      upstream: proxy.upstream ?? { setting: { kind: DEFAULTS.proxyUpstream }, text: DEFAULTS.proxyUpstream },
      noProxy: proxy.noProxy ?? "",
      transparentPorts: proxy.transparentPorts ?? readTransparentPorts(DEFAULTS.proxyTransparentPorts),
      other: proxy.other ?? DEFAULTS.proxyOther,
      pacFailure: proxy.pacFailure ?? DEFAULTS.proxyPacFailure,
      ca: proxy.ca,
      credentials: proxy.credentials,
      via: proxy.via,
      vpnkitFile: proxy.vpnkitFile,
    },
    docker: {
      listen: docker.listen ?? undefined,
      upstream: engineAddress(docker),
      defaultAddress: docker.defaultAddress ?? "",
      reach: docker.reach ?? DEFAULTS.dockerReach,
      forbiddenMounts: docker.forbiddenMounts ?? [],
      hostGateway: docker.hostGateway ?? true,
      injectProxyEnv: docker.injectProxyEnv ?? false,
      zone: docker.zone,
    },
    guestApi: { enabled: guestApi.enabled ?? false, allow: guestApi.allow ?? [{ ...ANY, firstPort: 1024 }] },
    state: settings.state ?? defaultStateFolder(environment),
    api: apiOf(settings, environment),
    vpnkitApi: settings.vpnkitApi ?? undefined,
    capture: settings.capture,
    log: { level: log.level ?? DEFAULTS.logLevel, format: log.format ?? DEFAULTS.logFormat },
  };
}

/** Every address and port of the host. */
const ANY: BindRange = { address: null, firstPort: 0, lastPort: 65_535 };

function defaultHost({ publish }: Settings): string {
  return publish?.address ?? readDefaultHost(DEFAULTS.publishAddress);
}

/** The forwards with what the keys beside their two ends say. One that lacks something is reported by its check. */
function readForwards(settings: Settings): ForwardSpec[] {
  const { forwards = [] } = settings;
  return forwards.map(({ listen, to, protocol = "tcp", identity = "", passphrase, knownHosts }) => ({
    protocol,
    listen: "path" in listen ? listen : { host: listen.host ?? defaultHost(settings), ports: listen.ports },
    to:
      "path" in to
        ? {
            ...to,
            identity,
            ...(passphrase === undefined ? {} : { passphrase }),
            ...(knownHosts === undefined ? {} : { knownHosts }),
          }
        : to,
  }));
}

/** With endpoints of one's own, the default place may be somebody else's. */
function apiOf({ api, qemu }: Settings, environment: HostEnvironment): UnixAddress | undefined {
  if (api !== undefined) return api ?? undefined;
  return qemu === undefined ? { transport: "unix", path: defaultApiSocket(environment) } : undefined;
}

function firstFree(start: Ipv4, step: 1 | -1, reserved: readonly Ipv4[]): Ipv4 {
  let address = start;
  while (reserved.includes(address)) address += step;
  return address;
}
