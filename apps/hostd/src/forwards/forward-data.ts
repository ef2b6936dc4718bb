/** A forward as the configuration writes it, where it comes from somewhere else: the control API, the state folder. */
import { type ForwardRule, isGuestSocket, isSocketPath } from "@hostd/portfwd";
import { formatIpv4 } from "@hostd/stack";
import { expandForward, forwardToData } from "../config/forward.ts";
import { type HostdConfig, resolveConfig } from "../config/resolve.ts";
import { formatNetwork } from "../config/values.ts";

/** What a forward is read by beside what it says itself. */
export type ForwardSurroundings = Pick<HostdConfig, "subnet" | "gateway" | "host" | "publish">;

/** How the configuration calls it. */
const PLACE = "forwards[0]";

/**
 * Reads a forward as the configuration writes it: one rule, or as many as its range has ports.
 *
 * @param around - the network it is for, and where a port without an address listens.
 * @throws {ConfigError} with everything that does not fit.
 */
export function readForwardData(data: unknown, around: ForwardSurroundings): ForwardRule[] {
  const label = (_: unknown, key: string) => `forward${key.slice(PLACE.length)}`;
  const { subnet, gateway, host, publish } = around;
  const input = {
    subnet: formatNetwork(subnet),
    gateway: formatIpv4(gateway),
    host: formatIpv4(host),
    publish: { address: publish.address === "" ? "all" : publish.address },
    forwards: [data],
  };
  const { forwards } = resolveConfig([{ input, base: process.cwd(), label }]);
  return forwards.flatMap(expandForward);
}

/** Writes a rule as {@link readForwardData} reads it. */
export function ruleToData({ protocol, listen, to }: ForwardRule) {
  return forwardToData({
    protocol,
    listen: isSocketPath(listen) ? listen : { host: listen.host, ports: { first: listen.port, last: listen.port } },
    to: isGuestSocket(to) ? to : { address: to.address, ports: { first: to.port, last: to.port } },
  });
}
