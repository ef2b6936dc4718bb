/** What an engine and its containers are told of the proxy. Nothing of it changes while they run. */
import { type Ipv4Network, networkContains, parseIpv4 } from "@hostd/stack";
import type { HostdConfig } from "../config/resolve.ts";
import { formatNetwork } from "../config/values.ts";

/** The proxy on the gateway, as those behind it name it. */
export const PROXY_URL = "http://http.docker.internal:3128";

/** The addresses of private networks (RFC 1918), from which engines take those of theirs. */
const PRIVATE_NETWORKS: readonly Ipv4Network[] = [
  { address: parseIpv4("10.0.0.0"), prefixLength: 8 },
  { address: parseIpv4("172.16.0.0"), prefixLength: 12 },
  { address: parseIpv4("192.168.0.0"), prefixLength: 16 },
];

/**
 * What is reached without the proxy, as `NO_PROXY` has it: what is in the container or beside it, which nobody else reaches
 * as they do. The forms are those of all of curl, Go, wget, Python and Node, but for the networks: wget, Python and Node do
 * not know them and pass them over.
 */
export function noProxyList({ subnet, docker }: Pick<HostdConfig, "subnet" | "docker">): string {
  const zones = [".docker.internal", ".containers.internal"];
  const zone = docker.zone === undefined ? [] : [`.${docker.zone}`];
  const networks = PRIVATE_NETWORKS.some((network) => networkContains(network, subnet.address))
    ? PRIVATE_NETWORKS
    : [...PRIVATE_NETWORKS, subnet];
  const all = ["localhost", "127.0.0.1", "::1", ...zones, ...zone, ...networks.map(formatNetwork)];
  return [...new Set(all)].join(",");
}
