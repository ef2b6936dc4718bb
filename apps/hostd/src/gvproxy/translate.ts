/** From what gvproxy was told to do to the configuration with which hostd does it. */
import { existsSync, statSync } from "node:fs";
import { resolve } from "node:path";
import { getSystemErrorMessage } from "node:util";
import { formatSocketAddress } from "@hostd/frontends";
import { formatIpv4, type Ipv4, type Ipv4Network, networkBroadcast, networkContains, prefixMask } from "@hostd/stack";
import { DHCP_RANGE_MAX } from "../config/defaults.ts";
import { type KeyPath, keyText } from "../config/keys.ts";
import { show } from "../config/problems.ts";
import { type HostdConfig, resolveConfig } from "../config/resolve.ts";
import type { SettingsInput } from "../config/schema.ts";
import { formatNetwork, readIpv4, readSubnet, ValueError } from "../config/values.ts";
import type { GvproxyApiSocket } from "../daemon-api.ts";
import type { SshForward } from "./config-file.ts";
import { readListenUrl, UnsupportedError, unixPath } from "./endpoint-url.ts";
import { goQuote } from "./go-quote.ts";
import type { GvproxySettings } from "./settings.ts";

/** What hostd is started with in place of gvproxy. */
export interface Translation {
  readonly config: HostdConfig;
  /** Where gvproxy's API listens. */
  readonly apis: readonly GvproxyApiSocket[];
  /** The Unix socket that is told what happens. */
  readonly notification: string | undefined;
}

const SUBNET = "192.168.127.0/24";
const GATEWAY_MAC = "5a:94:ef:e4:0c:dd";
/** The MAC address of the VM that Podman and others start. */
const DEVICE_MAC = "5a:94:ef:e4:0c:ee";
const LOOPBACK = "127.0.0.1";
const SSH_PORT = 22;
/** For how long a connection into the VM is held while it boots, in seconds: gvproxy tries SSH for at least a minute. */
const WAIT_SECONDS = 120;

/** The interfaces that hostd does not have, by their keys in a configuration file. */
const UNSUPPORTED_INTERFACES = ["vpnkit", "bess", "stdio", "vfkit"] as const;

/** The names that gvproxy has for keys of hostd's configuration. */
const NAMES: readonly (readonly [key: string, name: string])[] = [
  ["subnet", "-subnet (stack.subnet)"],
  ["gateway", "-gatewayIP (stack.gatewayIP)"],
  ["host", "-hostIP (stack.hostIP, or the address in stack.nat)"],
  ["mac", "stack.gatewayMacAddress"],
  ["mtu", "-mtu (stack.mtu)"],
  ["capture", "-pcap (stack.capture-file)"],
  ["qemu", "-listen-qemu (interfaces.qemu)"],
  ["dhcp.static", "stack.dhcpStaticLeases"],
  ["dhcp.search", "stack.dnsSearchDomains"],
  ["dns.zones", "stack.dns"],
];

/** A forward as hostd's configuration has it. */
type ForwardInput = NonNullable<SettingsInput["forwards"]>[number];

/** What is published, with the name by which it was asked for. */
interface NamedForward {
  readonly name: string;
  readonly forward: ForwardInput;
}

/**
 * Translates gvproxy's settings.
 *
 * @throws {UnsupportedError} when hostd cannot do something of it.
 * @throws {ConfigError | Error} when something in it does not fit.
 */
export function translate(settings: GvproxySettings): Translation {
  const { stack, interfaces, listen, services } = settings;
  for (const name of UNSUPPORTED_INTERFACES) {
    if (interfaces[name] === undefined) continue;
    throw new UnsupportedError(
      `-listen-${name} (interfaces.${name}) is not supported yet: have the VM attach with QEMU's stream framing at ` +
        "-listen-qemu, or by /connect of the API at -listen",
    );
  }
  // One framing is that of all, and hyperkit's unless QEMU's was asked for.
  const framing = interfaces.qemu === undefined ? {} : { framing: "qemu" as const };
  const apis = [
    ...listen.map((url) => ({ address: readListenUrl(url, "-listen"), canConnect: true, ...framing })),
    ...(services === undefined ? [] : [{ address: readListenUrl(services, "-services"), canConnect: false }]),
  ];
  const addresses = readAddresses(settings);
  const { subnet, gateway, device, host } = addresses;
  const forwards = [
    ...stackForwards(settings, device),
    ...settings.sshForwards.map((forward, index) => sshForward(forward, index, device)),
  ];
  const input: SettingsInput = {
    qemu: qemuEndpoint(interfaces.qemu),
    subnet: formatNetwork(subnet),
    gateway: formatIpv4(gateway),
    host: formatIpv4(host),
    mac: stack.gatewayMacAddress ?? GATEWAY_MAC,
    ...(stack.mtu === undefined ? {} : { mtu: stack.mtu }),
    dhcp: { ...poolOf(addresses), ...leases(settings, device), ...searchDomains(settings) },
    dns: { zones: zones(settings, addresses) },
    egress: { linkLocal: settings.linkLocal },
    forwards: forwards.map(({ forward }) => forward),
    publish: { waitSeconds: WAIT_SECONDS },
    // Podman tells its machines of the proxies of the host itself.
    proxy: { enabled: false, upstream: "direct", transparentPorts: "none" },
    guestApi: { enabled: true, allow: ["any"] },
    api: "none",
    ...(stack["capture-file"] === undefined ? {} : { capture: resolve(stack["capture-file"]) }),
  };
  const label = (path: KeyPath) => nameOf(path, forwards);
  return {
    config: resolveConfig([{ input, base: process.cwd(), label }]),
    apis,
    notification: notificationPath(settings.notification),
  };
}

interface Addresses {
  readonly subnet: Ipv4Network;
  readonly gateway: Ipv4;
  readonly device: Ipv4;
  readonly host: Ipv4;
}

function readAddresses({ stack }: GvproxySettings): Addresses {
  const subnet = readNetwork(stack.subnet ?? SUBNET);
  const names = {
    gateway: "-gatewayIP (stack.gatewayIP)",
    host: "-hostIP (stack.hostIP)",
    device: "-deviceIP (stack.deviceIP)",
  };
  const address = (text: string | undefined, name: string, standard: Ipv4) =>
    text === undefined ? standard : readAddress(text, name);
  const gateway = address(stack.gatewayIP, names.gateway, subnet.address + 1);
  const last = networkBroadcast(subnet) - 1;
  const host = translatedAddress(stack, subnet, gateway) ?? address(stack.hostIP, names.host, last);
  let free = subnet.address + 2;
  while (free === gateway || free === host) free++;
  const device = address(stack.deviceIP, names.device, free);
  const owners = new Map<Ipv4, string>();
  for (const [role, own] of [["gateway", gateway] as const, ["host", host] as const, ["device", device] as const]) {
    const fault = whyUnusable(own, subnet);
    if (fault !== undefined) throw new Error(`${names[role]}: ${fault}`);
    const owner = owners.get(own);
    if (owner !== undefined) throw new Error(`${names[role]}: ${formatIpv4(own)} is that of the ${owner} already`);
    owners.set(own, role);
  }
  for (const text of stack.gatewayVirtualIPs ?? []) {
    const virtual = readAddress(text, "stack.gatewayVirtualIPs");
    if (virtual === gateway || virtual === host) continue;
    throw new UnsupportedError(
      `stack.gatewayVirtualIPs: ${text} is not supported yet: the gateway has ${formatIpv4(gateway)} and the address in ` +
        `stack.nat, ${formatIpv4(host)}`,
    );
  }
  return { subnet, gateway, device, host };
}

/** The address that stack.nat leads to this host, the one translation that hostd has. */
function translatedAddress(
  { nat = {}, hostIP }: GvproxySettings["stack"],
  subnet: Ipv4Network,
  gateway: Ipv4,
): Ipv4 | undefined {
  const entries = Object.entries(nat);
  if (entries.length === 0) return undefined;
  for (const text of entries.flat()) readAddress(text, "stack.nat");
  const address = readAddress(entries[0][0], "stack.nat");
  if (entries.length > 1 || entries[0][1] !== LOOPBACK || address === gateway || !networkContains(subnet, address)) {
    throw new UnsupportedError(
      `stack.nat: ${show(nat)} is not supported yet: one address of the subnet that is not the gateway's may lead to ` +
        LOOPBACK,
    );
  }
  if (hostIP !== undefined && hostIP !== entries[0][0]) {
    throw new Error(`-hostIP (stack.hostIP): ${hostIP} is not the address in stack.nat, ${entries[0][0]}; give one`);
  }
  return address;
}

/** A network whose host bits may be set, which Go does not mind. */
function readNetwork(text: string): Ipv4Network {
  const [, address, prefix] = /^([0-9.]+)\/([0-9]{1,2})$/.exec(text) ?? [];
  let masked = text;
  try {
    if (address !== undefined && Number(prefix) <= 32) {
      masked = `${formatIpv4(readIpv4(address) & prefixMask(Number(prefix)))}/${prefix}`;
    }
  } catch {
    // It is not an address: the text is refused as it is.
  }
  return readValue(masked, "-subnet (stack.subnet)", "an IPv4 network such as 192.168.127.0/24, /8 to /29", readSubnet);
}

function readAddress(text: string, name: string): Ipv4 {
  return readValue(text, name, "an IPv4 address", readIpv4);
}

function readValue<Value>(text: string, name: string, what: string, read: (text: string) => Value): Value {
  try {
    return read(text);
  } catch (error) {
    if (!(error instanceof ValueError)) throw error;
    throw new Error(`${name}: ${goQuote(text)} is not ${what}${error.message === "" ? "" : ` (${error.message})`}`);
  }
}

function whyUnusable(address: Ipv4, subnet: Ipv4Network): string | undefined {
  const [lowest, highest] = [subnet.address + 1, networkBroadcast(subnet) - 1];
  if (address >= lowest && address <= highest) return undefined;
  return `${formatIpv4(address)} is not in the subnet ${formatNetwork(subnet)}; allowed: ${formatIpv4(lowest)} to ${formatIpv4(highest)}`;
}

/** The addresses that are leased: the longest run of those that are neither the gateway's nor the host's. */
function poolOf({ subnet, gateway, host }: Addresses): { first: string; last: string } {
  const ends = [subnet.address, networkBroadcast(subnet), gateway, host].toSorted((one, other) => one - other);
  const [first, last] = ends
    .slice(1)
    .map((end, index) => [ends[index] + 1, end - 1])
    .reduce((longest, run) => (run[1] - run[0] > longest[1] - longest[0] ? run : longest));
  return { first: formatIpv4(first), last: formatIpv4(Math.min(last, first + DHCP_RANGE_MAX - 1)) };
}

function leases({ stack, hasFile }: GvproxySettings, device: Ipv4): { static: Record<string, string> } {
  if (!hasFile) return { static: { [DEVICE_MAC]: formatIpv4(device) } };
  const byMac: Record<string, string> = {};
  for (const [address, mac] of Object.entries(stack.dhcpStaticLeases ?? {})) {
    if (mac in byMac) throw new Error(`stack.dhcpStaticLeases: ${mac} has ${byMac[mac]} and ${address}; give one`);
    byMac[mac] = address;
  }
  return { static: byMac };
}

/** Without a configuration file the search domains are those of the host. */
function searchDomains({ stack, hasFile }: GvproxySettings): { search?: string[] } {
  return hasFile ? { search: stack.dnsSearchDomains ?? [] } : {};
}

type ZoneInput = NonNullable<NonNullable<SettingsInput["dns"]>["zones"]>[number];

function zones({ stack, hasFile }: GvproxySettings, { gateway, host }: Addresses): ZoneInput[] {
  if (!hasFile) {
    const records = [
      { name: "gateway", address: formatIpv4(gateway) },
      { name: "host", address: formatIpv4(host) },
    ];
    return ["containers.internal.", "docker.internal."].map((name) => ({ name, records }));
  }
  return (stack.dns ?? []).map(({ name = "", records = [], defaultIP }) => ({
    name,
    records: records.flatMap(({ name: owner, regexp, ip }) => {
      const address = ip === undefined ? {} : { address: ip };
      // One that has both is for the name, and for what the expression matches.
      if (owner !== undefined && regexp !== undefined)
        return [
          { name: owner, ...address },
          { regexp, ...address },
        ];
      return [
        { ...(owner === undefined ? {} : { name: owner }), ...(regexp === undefined ? {} : { regexp }), ...address },
      ];
    }),
    ...(defaultIP === undefined ? {} : { defaultAddress: defaultIP }),
  }));
}

/** The ports that lead into the VM: those of the configuration file, or the one of SSH. */
function stackForwards({ stack, hasFile, sshPort }: GvproxySettings, device: Ipv4): NamedForward[] {
  if (!hasFile) {
    if (sshPort === -1) return [];
    if (sshPort < 1024 || sshPort > 65_535) throw new Error("ssh-port value must be between 1024 and 65535");
    const forward = { listen: `${LOOPBACK}:${sshPort}`, to: `${formatIpv4(device)}:${SSH_PORT}` };
    return [{ name: "-ssh-port", forward }];
  }
  return Object.entries(stack.forwards ?? {}).map(([from, to]) => {
    const name = `stack.forwards[${goQuote(from)}]`;
    const isUdp = from.startsWith("udp:");
    const local = isUdp ? from.slice("udp:".length) : from;
    // Go takes no address for every one, and the name of the loopback address.
    const listen = local.replace(/^:/, "*:").replace(/^localhost:/, `${LOOPBACK}:`);
    return { name, forward: { listen, to, ...(isUdp ? { protocol: "udp" } : {}) } };
  });
}

/** A Unix socket of this host that leads to one in the VM. */
function sshForward(forward: SshForward, index: number, device: Ipv4): NamedForward {
  const { socket = "", dest = "", user = "", identity = "" } = forward;
  const name = socket === "" ? `forwards[${index}]` : `-forward-sock ${socket}`;
  for (const [part, text] of Object.entries({ socket, dest, user, identity })) {
    if (text === "") throw new Error(`${name}: ${part} is missing`);
  }
  try {
    statSync(identity);
  } catch (error) {
    throw new Error(`identity file ${goQuote(identity)} can't be loaded: stat ${identity}: ${goReason(error)}`);
  }
  if (!dest.startsWith("/")) throw new Error(`${name}: ${goQuote(dest)} is not an absolute path in the VM`);
  const scheme = /^([^:/]*):\/\//.exec(socket)?.[1];
  if (scheme !== undefined && scheme !== "unix") {
    throw new UnsupportedError(`${name}: ${scheme}:// is not supported yet: use the path of a Unix socket`);
  }
  const path = resolve(scheme === undefined ? socket : readValue(socket, name, "the URL of a Unix socket", unixPath));
  return {
    name,
    forward: {
      listen: `unix://${path}`,
      to: `ssh://${user}@${formatIpv4(device)}:${SSH_PORT}${dest}`,
      identity: resolve(identity),
    },
  };
}

/** Where VMs attach. Nobody is to lose a socket that another gvproxy has. */
function qemuEndpoint(url: string | undefined): string[] {
  if (url === undefined) return [];
  const address = readListenUrl(url, "-listen-qemu");
  if (address.transport === "unix" && existsSync(address.path))
    throw new Error(`${goQuote(address.path)} already exists`);
  return [formatSocketAddress(address)];
}

function notificationPath({ path, url }: GvproxySettings["notification"]): string | undefined {
  if (url === undefined) return path;
  if (!url.startsWith("unix://")) throw new Error("notification listen address must be unix:// address");
  return readValue(url, "-notification", "the URL of a Unix socket", unixPath);
}

/** The system's reason in Go's words. */
function goReason(error: unknown): string {
  const errno = error instanceof Error && "errno" in error ? Number(error.errno) : Number.NaN;
  return Number.isNaN(errno) ? String(error) : getSystemErrorMessage(errno);
}

/** How gvproxy calls what hostd's configuration has at `path`. */
function nameOf(path: KeyPath, forwards: readonly NamedForward[]): string {
  const [first, second] = path;
  if (first === "forwards" && typeof second === "number") return forwards[second].name;
  const key = keyText(path);
  const known = NAMES.find(([name]) => key === name || key.startsWith(`${name}.`) || key.startsWith(`${name}[`));
  if (known === undefined) return key;
  const rest = key.slice(known[0].length);
  return known[1] + rest.replace(/\.address$/, ".ip").replace(/\.defaultAddress$/, ".defaultIP");
}
