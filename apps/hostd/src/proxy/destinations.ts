import type { DestinationConfig } from "@hostd/egress";
import type { HostdConfig } from "../config/resolve.ts";

/** What VMs reach from this host, by a flow of their own or through the proxy. */
export function vmDestinations({ host, gateway, subnet, egress }: HostdConfig): DestinationConfig {
  return {
    hostAddress: host,
    ownAddresses: new Set([gateway, host]),
    network: subnet,
    linkLocal: egress.linkLocal,
  };
}
