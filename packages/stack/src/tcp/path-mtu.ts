import type { Ipv4 } from "../address.ts";

/** How long a path is taken to carry no more, in milliseconds (RFC 1191, 6.3). */
const LIFETIME_MS = 10 * 60 * 1000;
/** Paths remembered; beyond, the oldest is forgotten. */
const MAX_PATHS = 1024;
/**
 * The smallest MTU that is believed. IPv4 allows 68, but every host takes 576 bytes (RFC 1122, 3.3.2), and less in a
 * forged message would only cost.
 */
export const MINIMUM_MTU = 576;
/** Common MTUs, for routers that do not say which one would do (RFC 1191, 7.1). */
const PLATEAUS = [32000, 17914, 8166, 4352, 2002, 1492, 1006, MINIMUM_MTU];

/** The MTUs of paths that carry less than the link does (RFC 1191). */
export class PathMtuCache {
  readonly #paths = new Map<Ipv4, { readonly mtu: number; readonly until: number }>();

  /** The MTU of the path to an address, Infinity when nothing is known of it. */
  get(address: Ipv4, now: number): number {
    if (this.#paths.size === 0) return Number.POSITIVE_INFINITY;
    const path = this.#paths.get(address);
    if (path === undefined) return Number.POSITIVE_INFINITY;
    if (now < path.until) return path.mtu;
    this.#paths.delete(address);
    return Number.POSITIVE_INFINITY;
  }

  /** Remembers that the path to an address carries packets of `mtu` bytes at most; more than is known is not believed. */
  limit(address: Ipv4, mtu: number, now: number): void {
    if (mtu > this.get(address, now)) return;
    this.#paths.delete(address);
    if (this.#paths.size >= MAX_PATHS) {
      for (const oldest of this.#paths.keys()) {
        this.#paths.delete(oldest);
        break;
      }
    }
    this.#paths.set(address, { mtu, until: now + LIFETIME_MS });
  }
}

/**
 * The MTU to go on with after a packet of `sent` bytes did not pass a router.
 *
 * @param told - what the router says would pass, 0 when it does not.
 * @returns Infinity when that is no reason to send less.
 */
export function nextMtu(sent: number, told: number): number {
  if (told >= sent) return Number.POSITIVE_INFINITY;
  if (told > 0) return Math.max(MINIMUM_MTU, told);
  return PLATEAUS.find((plateau) => plateau < sent) ?? MINIMUM_MTU;
}
