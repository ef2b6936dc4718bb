import { formatIpv4, type Ipv4, isLoopback, isMulticast } from "@hostd/stack";
import type { HostdConfig } from "../config/resolve.ts";

/** The addresses of the network that are not a guest's. */
export type GatewayAddresses = Pick<HostdConfig, "gateway" | "host">;

/** Why no guest can have an address; undefined when one can. */
export function whyNoGuest(address: Ipv4, { gateway, host }: GatewayAddresses): string | undefined {
  const text = formatIpv4(address);
  if (address === gateway || address === host) return `${text} is an address of the gateway, not of a guest`;
  const isUnusable = isLoopback(address) || isMulticast(address) || address >>> 24 === 0 || address >>> 28 === 15;
  return isUnusable ? `no guest has the address ${text}` : undefined;
}
