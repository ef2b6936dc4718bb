import type { AskedPort } from "@hostd/docker";
import type { PortForwarder } from "@hostd/portfwd";
import type { HostdConfig } from "../config/resolve.ts";

/**
 * Says which ports of this host containers may ask for when they are created.
 *
 * @returns what says why none of those that are asked for can be had; null when one can.
 */
export function portRule(
  { defaultAddress, reach }: Pick<HostdConfig["docker"], "defaultAddress" | "reach">,
  forwarder: Pick<PortForwarder, "whyRefused">,
): (asked: AskedPort) => string | null {
  return ({ address, first, last }) => {
    const unreachable = reach === "vm" ? whyUnreachable(address) : null;
    if (unreachable !== null) return unreachable;
    // Of those that the engine may choose from at its will, one has to be allowed.
    return forwarder.whyRefused(address === "" ? defaultAddress : address, first, last === 0 ? 65_535 : last);
  };
}

/**
 * Says why a port cannot be reached at the VM's own address, where the engine listens on another one: one of the VM's own
 * loopback or bridges, or one that only this host has.
 *
 * @param address - as the container asks for it; empty for every address.
 */
export function whyUnreachable(address: string): string | null {
  if (address === "" || address === "0.0.0.0") return null;
  return (
    `the engine binds it to ${address} in the VM, where it cannot be reached with docker.reach: vm; ` +
    "allowed: no address, which is docker.defaultAddress on this host, or 0.0.0.0"
  );
}
