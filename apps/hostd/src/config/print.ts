/** The effective configuration as YAML: what `hostd check` and `hostd up --print-config` show, and read again. */
import { isDeepStrictEqual } from "node:util";
import { formatServerAddress } from "@hostd/dns";
import { maskProxyUrl } from "@hostd/httpproxy";
import { formatBindRange } from "@hostd/portfwd";
import { formatIpv4, formatMac } from "@hostd/stack";
import { stringify } from "yaml";
import { formatEndpoint, formatSocketAddress } from "./endpoint.ts";
import { formatEngine } from "./engine.ts";
import { forwardToData, keyToData } from "./forward.ts";
import type { HostdConfig } from "./resolve.ts";
import type { SettingsInput } from "./schema.ts";
import { formatNetwork } from "./values.ts";
import type { ConfigZone } from "./zones.ts";

/** The configuration as plain data that `parseConfig` reads back to the same configuration. */
export function configToData(config: HostdConfig): SettingsInput {
  const { dhcp, dns, tcp, egress, publish, guestApi, log } = config;
  return {
    qemu: config.qemu.map(formatEndpoint),
    subnet: formatNetwork(config.subnet),
    gateway: formatIpv4(config.gateway),
    host: formatIpv4(config.host),
    mac: formatMac(config.mac),
    mtu: config.mtu,
    dhcp: {
      first: formatIpv4(dhcp.first),
      last: formatIpv4(dhcp.last),
      leaseSeconds: dhcp.leaseSeconds,
      ...(dhcp.domain === undefined ? {} : { domain: dhcp.domain }),
      ...(dhcp.search === undefined ? {} : { search: [...dhcp.search] }),
      static: Object.fromEntries(dhcp.static.map(({ mac, address }) => [formatMac(mac), formatIpv4(address)])),
    },
    dns: {
      servers: dns.servers.map(formatServerAddress),
      rules: dns.rules.map(({ domain, servers }) => ({ domain, servers: servers.map(formatServerAddress) })),
      resolver: dns.resolver,
      resolvConf: dns.resolvConf,
      hosts: dns.hosts ?? "none",
      zones: dns.zones.map(zoneToData),
      aliases: [...dns.aliases],
      cache: dns.cache,
      randomizeCase: dns.randomizeCase,
      maxQueriesPerSecond: dns.maxQueriesPerSecond,
    },
    tcp,
    egress,
    forwards: config.forwards.map(forwardToData),
    publish: {
      ...publish,
      address: publish.address === "" ? "all" : publish.address,
      allow: publish.allow.map(formatBindRange),
    },
    proxy: proxyToData(config),
    docker: dockerToData(config),
    guestApi: { ...guestApi, allow: guestApi.allow.map(formatBindRange) },
    state: config.state,
    api: config.api === undefined ? "none" : formatSocketAddress(config.api),
    vpnkitApi: config.vpnkitApi === undefined ? "none" : formatSocketAddress(config.vpnkitApi),
    ...(config.capture === undefined ? {} : { capture: config.capture }),
    log,
  };
}

function zoneToData({ name, records, defaultAddress }: ConfigZone) {
  return {
    name,
    records: records.map((record) => {
      if (record.type !== "TXT") return { ...record };
      const { text } = record;
      return { ...record, text: typeof text === "string" ? text : [...text] };
    }),
    ...(defaultAddress === undefined ? {} : { defaultAddress }),
  };
}

function proxyToData({ proxy }: HostdConfig) {
  const { enabled, upstream, noProxy, transparentPorts, other, pacFailure, ca, credentials, via, vpnkitFile } = proxy;
  return {
    enabled,
    upstream: upstream.text,
    noProxy,
    transparentPorts: typeof transparentPorts === "string" ? transparentPorts : transparentPorts.join(","),
    other,
    pacFailure,
    ...(ca === undefined ? {} : { ca }),
    ...(credentials === undefined ? {} : { credentials }),
    ...(via === undefined ? {} : { via }),
    ...(vpnkitFile === undefined ? {} : { vpnkitFile }),
  };
}

function dockerToData({ docker }: HostdConfig) {
  const { listen, upstream, defaultAddress, reach, forbiddenMounts, hostGateway, injectProxyEnv, zone } = docker;
  return {
    listen: listen === undefined ? "none" : formatSocketAddress(listen),
    upstream: formatEngine(upstream),
    ...("user" in upstream ? keyToData(upstream) : {}),
    defaultAddress: defaultAddress === "" ? "all" : defaultAddress,
    reach,
    forbiddenMounts: [...forbiddenMounts],
    hostGateway,
    injectProxyEnv,
    ...(zone === undefined ? {} : { zone }),
  };
}

/** The configuration as YAML, without the passwords of proxies. */
export function configToYaml(config: HostdConfig): string {
  const data = configToData(config);
  const proxy = shownProxy(config);
  const isWhole = isDeepStrictEqual(proxy, data.proxy);
  const note = isWhole ? "" : "# In the section proxy *** stands for a user and a password, which are not shown.\n";
  return note + stringify({ ...data, proxy }, { lineWidth: 0 });
}

/** The section `proxy` as it may be shown. */
export function shownProxy(config: HostdConfig): NonNullable<SettingsInput["proxy"]> {
  const data = proxyToData(config);
  // A proxy may stand there by mistake.
  const noProxy = data.noProxy.replace(/[^\s,;]*@/g, "***@");
  return { ...data, upstream: maskProxyUrl(data.upstream), noProxy };
}
