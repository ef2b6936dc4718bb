/** How the proxy reaches origins: where a guest could reach them by itself, and by the names that the guest knows. */
import type { LookupFunction } from "node:net";
import { connect, isIP, isIPv4, type Socket } from "node:net";
import { classifyDestination, type DestinationConfig, type RejectedDestination } from "@hostd/egress";
import { canonicalHost, DIRECT, type DialOrigin, formatHostPort, UpstreamError } from "@hostd/httpproxy";
import { parseIpv4 } from "@hostd/stack";
import { Address6 } from "ip-address";

/** How long the next address of a name waits for the one before it, in milliseconds (RFC 8305, 5). */
const ATTEMPT_DELAY = 250;
/** The idle time after which the host's kernel starts to ask whether the other end is still there, in milliseconds. */
const KEEP_ALIVE_DELAY = 60_000;
const LOOPBACK = ["127.0.0.1", "::1"];

export interface OriginDialerOptions {
  readonly destinations: DestinationConfig;
  /** The addresses of a name as the guest would find them, those to be tried first in front; empty for none. */
  readonly resolve: (name: string) => Promise<readonly string[]>;
}

/** What is said of an address that no connection is made to. */
const REASONS: Readonly<Record<RejectedDestination, string>> = {
  "own-address": "is the gateway, whose own services are reached without a proxy",
  "no-neighbor": "is in the network of the VM, which is reached without a proxy",
  loopback: "is a loopback address, and one's own services are reached without a proxy",
  "this-network": "is no address of a host",
  "link-local": "is a link-local address, which egress.linkLocal keeps from VMs",
  broadcast: "is a broadcast address",
  multicast: "is a multicast address",
};
const HINT = "those of the host are at host.docker.internal";

/** Makes what opens connections to origins for a VM. */
export function originDialer({ destinations, resolve }: OriginDialerOptions): DialOrigin {
  return async ({ host, port, address }, signal) => {
    const named = canonicalHost(address ?? host) ?? host;
    const addresses = isIP(named) === 0 ? await resolve(named) : [named];
    signal.throwIfAborted();
    if (addresses.length === 0) throw Object.assign(new Error(`${named} has no address`), { code: "ENOTFOUND" });
    return await dial(reachable(addresses, destinations, formatHostPort({ host, port })), port, signal);
  };
}

/**
 * Where of this host's own network addresses lead that a guest names.
 *
 * @throws {UpstreamError} when none of them may be reached.
 */
function reachable(addresses: readonly string[], destinations: DestinationConfig, origin: string): string[] {
  const found: string[] = [];
  let refused = "";
  for (const address of addresses) {
    const plain = withoutMapping(address);
    if (isIPv4(plain)) {
      const destination = classifyDestination(parseIpv4(plain), destinations);
      if (destination.kind === "host-loopback") return LOOPBACK;
      if (destination.kind === "outside") found.push(plain);
      else refused = `${plain} ${REASONS[destination.reason]}`;
    } else if (isOutside(plain)) {
      found.push(plain);
    } else {
      refused = `${plain} is a loopback, link-local, multicast or unspecified address`;
    }
  }
  if (found.length > 0) return found;
  throw new UpstreamError(`connections to ${origin} are refused: ${refused}; ${HINT}`, 403, DIRECT);
}

/** An IPv6 address that stands for one of IPv4 as that one (RFC 4291, 2.5.5.2), as it is connected to. */
function withoutMapping(address: string): string {
  if (isIPv4(address)) return address;
  const parsed = new Address6(address.split("%")[0]);
  return parsed.isMapped4() ? parsed.to4().correctForm() : address;
}

/** Whether an IPv6 address is one of another machine that is routed to: neither loopback nor of a link (RFC 4291, 2.4). */
function isOutside(address: string): boolean {
  const parsed = new Address6(address.split("%")[0]);
  return !(
    parsed.isLoopback() ||
    parsed.isLinkLocal() ||
    parsed.isMulticast() ||
    parsed.isUnspecified() ||
    address.includes("%")
  );
}

/** Connects to the first of some addresses that answers. */
async function dial(addresses: readonly string[], port: number, signal: AbortSignal): Promise<Socket> {
  const all = addresses.map((address) => ({ address, family: isIP(address) }));
  const lookup: LookupFunction = (_name, _options, callback) => callback(null, all);
  const socket = connect({
    ...(addresses.length === 1 ? { host: addresses[0] } : { host: "origin.invalid", lookup }),
    port,
    autoSelectFamily: addresses.length > 1,
    autoSelectFamilyAttemptTimeout: ATTEMPT_DELAY,
    allowHalfOpen: true,
    noDelay: true,
    keepAlive: true,
    keepAliveInitialDelay: KEEP_ALIVE_DELAY,
  });
  return await new Promise((taken, failed) => {
    const done = () => {
      signal.removeEventListener("abort", abort);
      socket.off("error", failed);
    };
    const abort = () => {
      socket.on("error", () => {});
      socket.destroy();
      failed(signal.reason);
    };
    socket.once("error", (error) => {
      signal.removeEventListener("abort", abort);
      failed(error);
    });
    socket.once("connect", () => {
      done();
      taken(socket);
    });
    signal.addEventListener("abort", abort, { once: true });
  });
}
