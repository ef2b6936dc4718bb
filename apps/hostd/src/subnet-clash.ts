/**
 * Whether the guests' subnet overlaps a network of the host. Then a guest cannot reach the host's network of that
 * name: its packets end in hostd's own subnet.
 */
import { readFileSync } from "node:fs";
import { type NetworkInterfaceInfo, networkInterfaces } from "node:os";
import { type Ipv4, type Ipv4Network, parseIpv4, prefixMask } from "@hostd/stack";
import { formatNetwork } from "./config/values.ts";

/** A network the host reaches without its default route. */
export interface HostRoute {
  readonly network: Ipv4Network;
  readonly device: string;
}

/**
 * Routes shorter than this are the default route or its parts: a VPN that takes all traffic lays 0.0.0.0/1 and
 * 128.0.0.0/1, or a ladder of /2 to /7, over the default route instead of replacing it.
 */
const SHORTEST_PREFIX = 8;

/** Where a free subnet is looked for: the private networks (RFC 1918), from a place in the first that few use. */
const CANDIDATES: readonly { network: Ipv4Network; start: Ipv4 }[] = [
  { network: { address: parseIpv4("192.168.0.0"), prefixLength: 16 }, start: parseIpv4("192.168.127.0") },
  { network: { address: parseIpv4("172.16.0.0"), prefixLength: 12 }, start: parseIpv4("172.24.0.0") },
  { network: { address: parseIpv4("10.0.0.0"), prefixLength: 8 }, start: parseIpv4("10.127.0.0") },
];

/** The networks this host has an address in or, on Linux, a route to. */
export function readHostRoutes(): HostRoute[] {
  const routes = interfaceRoutes(networkInterfaces());
  if (process.platform !== "linux") return routes;
  try {
    return [...parseRouteTable(readFileSync("/proc/net/route", "latin1")), ...routes];
  } catch {
    // A sandbox may hide /proc; the interfaces still tell most of it.
    return routes;
  }
}

/** The networks of the addresses of the interfaces, as `os.networkInterfaces()` lists them, without loopback. */
export function interfaceRoutes(interfaces: Readonly<Record<string, NetworkInterfaceInfo[] | undefined>>): HostRoute[] {
  return Object.entries(interfaces).flatMap(([device, addresses = []]) =>
    addresses
      .filter(({ family, internal }) => family === "IPv4" && !internal)
      .flatMap(({ address, netmask }) => routeOf(parseIpv4(address), parseIpv4(netmask), device)),
  );
}

/**
 * Reads /proc/net/route: a line for each route, with tabs between its fields, where destination and mask are
 * hexadecimal in the byte order of the machine, which is little-endian on every one Node runs on but s390x.
 */
export function parseRouteTable(text: string, littleEndian = isLittleEndian()): HostRoute[] {
  const read = (hex: string): Ipv4 => {
    const value = Number.parseInt(hex, 16) | 0;
    return littleEndian ? swapBytes(value) : value;
  };
  return text
    .split("\n")
    .slice(1)
    .flatMap((line) => {
      const [device, destination, , flags, , , , mask] = line.trim().split(/\s+/);
      if (![destination, mask].every((field) => /^[0-9a-f]{8}$/i.test(field ?? ""))) return [];
      // RTF_UP 0x1 and RTF_REJECT 0x200 of <linux/route.h>: only what packets really take.
      if ((Number.parseInt(flags, 16) & 0x201) !== 1) return [];
      return routeOf(read(destination), read(mask), device);
    });
}

/** Says which of the host's networks `subnet` overlaps and what to do about it, or undefined when it overlaps none. */
export function subnetClash(subnet: Ipv4Network, routes: readonly HostRoute[]): string | undefined {
  const clash = routes
    .filter(({ network }) => network.prefixLength >= SHORTEST_PREFIX && overlaps(network, subnet))
    .reduce<HostRoute | undefined>((best, route) => (best && longer(best, route) ? best : route), undefined);
  if (clash === undefined) return undefined;
  const free = freeSubnet(subnet.prefixLength, routes);
  const example = free === undefined ? "" : ` (for example ${formatNetwork(free)})`;
  return (
    `subnet ${formatNetwork(subnet)} overlaps the host's route ${formatNetwork(clash.network)} on ${clash.device}: ` +
    `choose another with --subnet or "subnet:"${example}`
  );
}

/** A private network with a prefix of `prefixLength` bits that overlaps none of `routes`, if there is one. */
export function freeSubnet(prefixLength: number, routes: readonly HostRoute[]): Ipv4Network | undefined {
  const taken = routes.filter(({ network }) => network.prefixLength >= SHORTEST_PREFIX);
  // Subnets smaller than a /24 are tried a /24 apart, which is how people number them.
  const step = 2 ** Math.max(32 - prefixLength, 8);
  for (const { network, start } of CANDIDATES) {
    if (network.prefixLength > prefixLength) continue;
    const size = 2 ** (32 - network.prefixLength);
    const first = (start & prefixMask(prefixLength)) - network.address;
    for (let offset = 0; offset < size; offset += step) {
      const candidate = { address: (network.address + ((first + offset) % size)) | 0, prefixLength };
      if (!taken.some((route) => overlaps(route.network, candidate))) return candidate;
    }
  }
  return undefined;
}

function overlaps(one: Ipv4Network, other: Ipv4Network): boolean {
  return ((one.address ^ other.address) & prefixMask(Math.min(one.prefixLength, other.prefixLength))) === 0;
}

function longer(one: HostRoute, other: HostRoute): boolean {
  return one.network.prefixLength >= other.network.prefixLength;
}

/** A route, unless its mask has holes. */
function routeOf(address: Ipv4, mask: Ipv4, device: string): HostRoute[] {
  const prefixLength = Math.clz32(~mask);
  if (prefixMask(prefixLength) !== mask) return [];
  return [{ network: { address: address & mask, prefixLength }, device }];
}

function swapBytes(value: number): number {
  return (value << 24) | ((value & 0xff00) << 8) | ((value >>> 8) & 0xff00) | (value >>> 24);
}

function isLittleEndian(): boolean {
  return new Uint8Array(Uint16Array.of(1).buffer)[0] === 1;
}
