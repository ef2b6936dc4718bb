/** What no key of a configuration shows alone: whether its values go together. */

import type { ServerAddress } from "@hostd/dns";
import { formatListen, isGuestSocket, isSocketPath } from "@hostd/portfwd";
import { formatIpv4, type Ipv4, type Ipv4Network, networkBroadcast, networkContains } from "@hostd/stack";
import { DHCP_RANGE_MAX } from "./defaults.ts";
import { formatEndpoint } from "./endpoint.ts";
import { expandForward, type GuestPorts, whyMismatched } from "./forward.ts";
import { type KeyPath, valueAt } from "./keys.ts";
import { type ConfigProblem, type Label, problemAt } from "./problems.ts";
import type { HostdConfig } from "./resolve.ts";
import type { Settings } from "./schema.ts";
import { formatNetwork, macText, readMac } from "./values.ts";

/** Reports everything in a configuration that does not go together. */
export function checkConfig(config: HostdConfig, settings: Settings, check: Check): void {
  checkAddresses(config, check);
  checkStaticLeases(settings, config, check);
  checkDns(config, check);
  checkEndpoints(config, check);
  checkForwards(config, settings, check);
}

/** A source of settings that its schema has taken. */
export interface GivenLayer {
  readonly settings: Settings;
  readonly data: unknown;
  readonly label: Label;
}

/** Collects problems, each named where the value was given last. */
export class Check {
  readonly problems: ConfigProblem[] = [];
  readonly #layers: readonly GivenLayer[];

  constructor(layers: readonly GivenLayer[]) {
    this.#layers = layers;
  }

  isGiven(path: KeyPath): boolean {
    return this.#layers.some(({ data }) => valueAt(data, path) !== undefined);
  }

  report(path: KeyPath, reason: string): void {
    const layer = this.#layers.findLast(({ data }) => valueAt(data, path) !== undefined) ?? this.#layers.at(-1);
    if (layer !== undefined) this.problems.push(problemAt(layer.label, path, valueAt(layer.data, path), reason));
  }
}

/** Why a host cannot have `address` in `subnet`, or undefined when it can. */
function whyUnusable(address: Ipv4, subnet: Ipv4Network): string | undefined {
  const { lowest, highest } = usableRange(subnet);
  if (address >= lowest && address <= highest) return undefined;
  const what = !networkContains(subnet, address)
    ? `outside the subnet ${formatNetwork(subnet)}`
    : address < lowest
      ? `the address of the network ${formatNetwork(subnet)} itself`
      : `the broadcast address of the subnet ${formatNetwork(subnet)}`;
  return `${formatIpv4(address)} is ${what}; allowed: ${formatIpv4(lowest)} to ${formatIpv4(highest)}`;
}

function checkAddresses(config: HostdConfig, check: Check): void {
  const { subnet, gateway, host, dhcp } = config;
  const before = check.problems.length;
  const addresses: [KeyPath, Ipv4][] = [
    [["gateway"], gateway],
    [["host"], host],
    [["dhcp", "first"], dhcp.first],
    [["dhcp", "last"], dhcp.last],
  ];
  for (const [path, address] of addresses) {
    const reason = check.isGiven(path) ? whyUnusable(address, subnet) : undefined;
    if (reason !== undefined) check.report(path, reason);
  }
  if (check.problems.length > before) return;
  if (gateway === host) {
    const path = check.isGiven(["host"]) ? "host" : "gateway";
    check.report([path], `${formatIpv4(host)} is both gateway and host; allowed: two different addresses`);
  }
  const range = `${formatIpv4(dhcp.first)} to ${formatIpv4(dhcp.last)}`;
  const rangePath = (["first", "last"] as const).map((name) => ["dhcp", name]).findLast((path) => check.isGiven(path));
  if (dhcp.first > dhcp.last) {
    check.report(
      rangePath ?? ["dhcp"],
      `the range ${range} is empty; allowed: a dhcp.first that is not above dhcp.last`,
    );
    return;
  }
  const size = dhcp.last - dhcp.first + 1;
  if (size > DHCP_RANGE_MAX) {
    check.report(rangePath ?? ["dhcp"], `the range ${range} has ${size} addresses; allowed: at most ${DHCP_RANGE_MAX}`);
  }
  for (const [name, address] of [["gateway", gateway] as const, ["host", host] as const]) {
    if (address < dhcp.first || address > dhcp.last) continue;
    check.report(
      rangePath ?? [name],
      `the range dhcp.first to dhcp.last, ${range}, holds the ${name} address ${formatIpv4(address)}; ` +
        "allowed: a range without gateway and host",
    );
  }
}

function checkStaticLeases(settings: Settings, config: HostdConfig, check: Check): void {
  const { subnet, gateway, host } = config;
  const macs = new Map<string, string>([[macText(config.mac), "the gateway (mac)"]]);
  const owners = new Map<Ipv4, string>([
    [gateway, "the gateway"],
    [host, "host"],
  ]);
  for (const [written, address] of Object.entries(settings.dhcp?.static ?? {})) {
    const path = ["dhcp", "static", written];
    const mac = macText(readMac(written));
    const twin = macs.get(mac);
    const owner = owners.get(address);
    const reason = whyUnusable(address, subnet);
    if (twin !== undefined) check.report(path, `${mac} is already ${twin}; allowed: every MAC address once`);
    if (reason !== undefined) check.report(path, reason);
    else if (owner !== undefined) {
      check.report(path, `${formatIpv4(address)} is already the address of ${owner}; allowed: every address once`);
    }
    macs.set(mac, `given as ${written}`);
    owners.set(address, written);
  }
}

function checkDns({ dns, gateway, host }: HostdConfig, check: Check): void {
  const owners = new Map([
    [formatIpv4(gateway), "the gateway"],
    [formatIpv4(host), "host"],
  ]);
  const checkServers = (path: KeyPath, servers: readonly ServerAddress[]) => {
    for (const [index, { address }] of servers.entries()) {
      const owner = owners.get(address);
      if (owner === undefined) continue;
      const reason = `${address} is the address of ${owner}, so hostd would ask itself; allowed: another name server`;
      check.report([...path, index], reason);
    }
  };
  checkServers(["dns", "servers"], dns.servers);
  const domains = new Set<string>();
  for (const [index, { domain, servers }] of dns.rules.entries()) {
    const path = ["dns", "rules", index];
    if (domains.has(domain.toLowerCase())) {
      check.report([...path, "domain"], `${JSON.stringify(domain)} is given twice; allowed: every domain once`);
    }
    domains.add(domain.toLowerCase());
    if (servers.length === 0) check.report([...path, "servers"], "the list is empty; allowed: one server or more");
    checkServers([...path, "servers"], servers);
  }
  for (const [index, alias] of dns.aliases.entries()) {
    if (dns.aliases.indexOf(alias) === index) continue;
    check.report(["dns", "aliases", index], `${alias} is given twice; allowed: every alias once`);
  }
}

function checkEndpoints(config: HostdConfig, check: Check): void {
  const seen = new Set<string>();
  for (const [index, endpoint] of config.qemu.entries()) {
    const url = formatEndpoint(endpoint);
    const systemChooses = endpoint.transport === "tcp" && endpoint.port === 0;
    if (seen.has(url) && !systemChooses) {
      check.report(["qemu", index], `${url} is given twice; allowed: every endpoint once`);
    }
    seen.add(url);
  }
  const { upstream } = config.docker;
  if ("user" in upstream && upstream.identity === "") {
    check.report(["docker", "identity"], "missing; ssh:// needs the file of a private key");
  }
  if (!("user" in upstream)) {
    for (const name of ["identity", "passphrase", "knownHosts"]) {
      const path = ["docker", name];
      if (check.isGiven(path)) check.report(path, "only for an engine that is reached over SSH, ssh://USER@vm/PATH");
    }
  }
  const owners = new Map([...seen].map((url) => [url, "an endpoint of qemu"]));
  const sockets = { api: config.api, vpnkitApi: config.vpnkitApi, "docker.listen": config.docker.listen };
  for (const [name, address] of Object.entries(sockets)) {
    if (address === undefined) continue;
    const url = `unix://${address.path}`;
    const owner = owners.get(url);
    if (owner !== undefined) check.report(name.split("."), `${url} is also ${owner}; allowed: a socket of its own`);
    owners.set(url, `the socket of ${name}`);
  }
}

function checkForwards(config: HostdConfig, settings: Settings, check: Check): void {
  const seen = new Set<string>();
  for (const [index, forward] of config.forwards.entries()) {
    const path = ["forwards", index];
    const { listen, to, protocol } = forward;
    const mismatch = whyMismatched(listen, to, protocol);
    if (mismatch !== undefined) {
      check.report(path, mismatch);
      continue;
    }
    for (const rule of expandForward(forward)) {
      const address = `${rule.protocol} ${formatListen(rule.listen)}`;
      const systemChooses = !isSocketPath(rule.listen) && rule.listen.port === 0;
      if (seen.has(address) && !systemChooses) {
        check.report(
          [...path, "listen"],
          `${formatListen(rule.listen)} is given twice; allowed: every address and port once`,
        );
      }
      seen.add(address);
    }
    const given = settings.forwards?.[index] ?? {};
    if (isGuestSocket(to)) {
      if (to.identity === "") check.report([...path, "identity"], "missing; ssh:// needs the file of a private key");
      checkGuestAddress(to.server.address, config, [...path, "to"], check);
      continue;
    }
    for (const name of ["identity", "passphrase", "knownHosts"] as const) {
      if (name in given) check.report([...path, name], "only for a socket of the guest, ssh://USER@vm/PATH");
    }
    checkGuestAddress(to.address, config, [...path, "to"], check);
  }
}

/** Reports an address that no guest can have. */
function checkGuestAddress(
  address: GuestPorts["address"],
  { gateway, host, subnet }: HostdConfig,
  path: KeyPath,
  check: Check,
): void {
  if (address === null) return;
  const owner = address === gateway ? "the gateway" : address === host ? "host" : undefined;
  if (owner !== undefined) {
    check.report(path, `${formatIpv4(address)} is the address of ${owner}; allowed: one of the VM, or behind it`);
    return;
  }
  const reason = networkContains(subnet, address) ? whyUnusable(address, subnet) : undefined;
  if (reason !== undefined) check.report(path, reason);
}

/** The addresses of a network a host can have. All lie on one side of the sign, so they compare as numbers. */
export function usableRange(subnet: Ipv4Network): { lowest: Ipv4; highest: Ipv4 } {
  return { lowest: subnet.address + 1, highest: networkBroadcast(subnet) - 1 };
}
