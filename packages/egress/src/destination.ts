import {
  IPV4_BROADCAST,
  type Ipv4,
  type Ipv4Network,
  isLoopback,
  isMulticast,
  networkBroadcast,
  networkContains,
} from "@hostd/stack";

/** What {@link classifyDestination} needs to know of the guest's network. */
export interface DestinationConfig {
  /** The address by which guests reach the host's loopback; null when they may not. */
  readonly hostAddress: Ipv4 | null;
  /** The addresses that the stack itself answers for. */
  readonly ownAddresses: ReadonlySet<Ipv4>;
  /** The network that guests share with the gateway. */
  readonly network: Ipv4Network;
  /** Whether link-local addresses are those of the host's links. */
  readonly linkLocal: boolean;
}

/**
 * Why a destination is not reached from the host:
 *
 * - `own-address`: the stack's own, where nothing listens on this port;
 * - `no-neighbor`: an address of the guest's network that nobody has; it is on-link, so never routed out;
 * - `loopback`: 127.0.0.0/8, which on the host would be the host's own loopback (RFC 1122, 3.2.1.3);
 * - `this-network`: 0.0.0.0/8, which a Linux host also takes for its loopback (RFC 1122, 3.2.1.3);
 * - `link-local`: 169.254.0.0/16, which no router passes on (RFC 3927, 2.6.2), and where clouds have their metadata;
 * - `broadcast`, `multicast`: no single host (RFC 1122, 3.2.2: never answered by an ICMP error).
 */
export type RejectedDestination =
  | "own-address"
  | "no-neighbor"
  | "loopback"
  | "this-network"
  | "link-local"
  | "broadcast"
  | "multicast";

export type Destination =
  | { readonly kind: "host-loopback" }
  | { readonly kind: "outside"; readonly address: Ipv4 }
  | { readonly kind: "rejected"; readonly reason: RejectedDestination };

/** The first half of 169.254.0.0/16 (RFC 3927). */
const LINK_LOCAL = 0xa9fe;
const HOST_LOOPBACK: Destination = { kind: "host-loopback" };

/**
 * Where a flow of a guest to `address` goes. Every flow out of a guest passes here, whatever its protocol.
 *
 * An address of one of the host's interfaces is `outside`: a service bound to all interfaces is reached there as it is
 * from any other machine of the host's network.
 */
export function classifyDestination(address: Ipv4, config: DestinationConfig): Destination {
  if (address === config.hostAddress) return HOST_LOOPBACK;
  if (config.ownAddresses.has(address)) return { kind: "rejected", reason: "own-address" };
  if (isLoopback(address)) return { kind: "rejected", reason: "loopback" };
  if (address >>> 24 === 0) return { kind: "rejected", reason: "this-network" };
  if (!config.linkLocal && address >>> 16 === LINK_LOCAL) return { kind: "rejected", reason: "link-local" };
  if (isMulticast(address)) return { kind: "rejected", reason: "multicast" };
  if (address === IPV4_BROADCAST) return { kind: "rejected", reason: "broadcast" };
  const { network } = config;
  if (networkContains(network, address)) {
    // A network of 31 or 32 bits has no broadcast address (RFC 3021).
    const broadcast =
      network.prefixLength < 31 && (address === network.address || address === networkBroadcast(network));
    return { kind: "rejected", reason: broadcast ? "broadcast" : "no-neighbor" };
  }
  return { kind: "outside", address };
}
