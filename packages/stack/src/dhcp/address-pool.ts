/**
 * Which address a client may have: the range, what is set apart in it, the leases, and the addresses held for a short
 * while because they are on offer or were declined.
 */

import {
  formatIpv4,
  formatMac,
  type Ipv4,
  type Ipv4Network,
  type Mac,
  networkBroadcast,
  networkContains,
  parseMac,
} from "../address.ts";
import type { LeaseTable } from "./lease-table.ts";

/** The most addresses a pool may have: what bounds both its memory and the search for a free address. */
export const DHCP_POOL_LIMIT = 4096;

/** What an {@link AddressPool} gives out. */
export interface AddressPoolOptions {
  readonly subnet: Ipv4Network;
  readonly firstAddress: Ipv4;
  readonly lastAddress: Ipv4;
  /** Addresses that are never given out. */
  readonly reserved: readonly Ipv4[];
  /** MAC addresses as text, each with the address that only it may have, in the range or out of it. */
  readonly reservations: ReadonlyMap<string, Ipv4>;
  readonly leases: LeaseTable;
}

/** An address that is taken until a time: by a client it was offered to, or by no one since it was declined. */
interface Hold {
  readonly owner: string | null;
  readonly until: number;
}

/** The addresses of one subnet. All times are Unix-epoch milliseconds. */
export class AddressPool {
  readonly #subnet: Ipv4Network;
  readonly #first: Ipv4;
  readonly #size: number;
  readonly #reserved: ReadonlySet<Ipv4>;
  readonly #reservations = new Map<string, Ipv4>();
  readonly #reservedFor = new Map<Ipv4, string>();
  readonly #leases: LeaseTable;
  // At most one hold for an address, so no more than the pool has; those that ended go when their address is held anew.
  readonly #holds = new Map<Ipv4, Hold>();
  readonly #offers = new Map<string, Ipv4>();

  /** @throws {RangeError} when the range or a reservation cannot be. */
  constructor(options: AddressPoolOptions) {
    const { subnet, firstAddress, lastAddress } = options;
    const range = `the DHCP range ${formatIpv4(firstAddress)} to ${formatIpv4(lastAddress)}`;
    if (!isHostAddress(subnet, firstAddress) || !isHostAddress(subnet, lastAddress)) {
      throw new RangeError(`${range} must be host addresses of ${formatNetwork(subnet)}`);
    }
    this.#size = (lastAddress >>> 0) - (firstAddress >>> 0) + 1;
    if (this.#size < 1 || this.#size > DHCP_POOL_LIMIT) {
      throw new RangeError(`${range} must be 1 to ${DHCP_POOL_LIMIT} addresses, first to last`);
    }
    this.#subnet = subnet;
    this.#first = firstAddress;
    this.#reserved = new Set(options.reserved);
    this.#leases = options.leases;
    for (const [text, address] of options.reservations) {
      const owner = formatMac(parseMac(text));
      const reservation = `the DHCP reservation of ${formatIpv4(address)} for ${text}`;
      if (!isHostAddress(subnet, address) || this.#reserved.has(address)) {
        throw new RangeError(`${reservation} must be a host address of ${formatNetwork(subnet)} that is not in use`);
      }
      if (this.#reservedFor.has(address) || this.#reservations.has(owner)) {
        throw new RangeError(`${reservation} clashes with another reservation`);
      }
      this.#reservations.set(owner, address);
      this.#reservedFor.set(address, owner);
    }
  }

  /** How many addresses are held for an offer or after a decline, ended holds among them. */
  get holdCount(): number {
    return this.#holds.size;
  }

  /**
   * The address for a client that wants one: its reservation, else its lease of now or before, else the one it asks
   * for, else the one it was offered last, else the lowest that no one ever had, else the one that has been free
   * longest (RFC 2131, 4.3.1), else the one declined longest ago.
   *
   * @returns null when every address is taken.
   */
  choose(mac: Mac, requested: Ipv4 | null, now: number): Ipv4 | null {
    const owner = formatMac(mac);
    const wishes = [
      this.#reservations.get(owner),
      this.#leases.byMac(mac)?.address,
      requested,
      this.#offers.get(owner),
    ];
    for (const address of wishes) {
      if (address != null && this.refusal(mac, address, now) === null) {
        return address;
      }
    }
    return this.#neverUsed(now) ?? this.#longestExpired(mac, now) ?? this.#longestDeclined(now);
  }

  /** Why a client may not have an address now, or null when it may. */
  refusal(mac: Mac, address: Ipv4, now: number): string | null {
    const owner = formatMac(mac);
    const reservedFor = this.#reservedFor.get(address);
    if (!networkContains(this.#subnet, address)) {
      return `not an address of ${formatNetwork(this.#subnet)}`;
    }
    if (reservedFor !== owner && (reservedFor !== undefined || !this.#isDynamic(address))) {
      return "not an address for this client";
    }
    const lease = this.#leases.byAddress(address);
    if (lease !== null && lease.expires > now && formatMac(lease.mac) !== owner) {
      return `leased to ${formatMac(lease.mac)}`;
    }
    const hold = this.#holds.get(address);
    if (hold !== undefined && hold.until > now && hold.owner !== owner) {
      return hold.owner === null ? "declined as in use by another host" : `offered to ${hold.owner}`;
    }
    return null;
  }

  /** The address reserved for a client, where it could have it. */
  reservation(mac: Mac, now: number): Ipv4 | null {
    const address = this.#reservations.get(formatMac(mac));
    return address !== undefined && this.refusal(mac, address, now) === null ? address : null;
  }

  /** Keeps an address for a client until a time, in place of the one that was kept for it before. */
  offer(mac: Mac, address: Ipv4, until: number): void {
    const owner = formatMac(mac);
    this.forgetOffer(mac);
    this.#hold(address, { owner, until });
    this.#offers.set(owner, address);
  }

  /** Whether an address is kept for a client, as {@link offer} was told. */
  isOffered(mac: Mac, address: Ipv4, now: number): boolean {
    return this.#offers.get(formatMac(mac)) === address && (this.#holds.get(address)?.until ?? 0) > now;
  }

  /** Frees what was kept for a client. */
  forgetOffer(mac: Mac): void {
    const owner = formatMac(mac);
    const address = this.#offers.get(owner);
    if (address !== undefined) {
      this.#holds.delete(address);
      this.#offers.delete(owner);
    }
  }

  /** Gives an address to no one until a time, unless all others are taken. */
  quarantine(address: Ipv4, until: number): void {
    this.#hold(address, { owner: null, until });
  }

  #hold(address: Ipv4, hold: Hold): void {
    const former = this.#holds.get(address)?.owner;
    if (former != null) {
      this.#offers.delete(former);
    }
    this.#holds.set(address, hold);
  }

  /** Whether an address is in the range and set apart for nothing. */
  #isDynamic(address: Ipv4): boolean {
    return (
      (address - this.#first) >>> 0 < this.#size && !this.#reserved.has(address) && !this.#reservedFor.has(address)
    );
  }

  #neverUsed(now: number): Ipv4 | null {
    for (let index = 0; index < this.#size; index++) {
      const address = (this.#first + index) | 0;
      if (
        this.#isDynamic(address) &&
        this.#leases.byAddress(address) === null &&
        (this.#holds.get(address)?.until ?? 0) <= now
      ) {
        return address;
      }
    }
    return null;
  }

  #longestExpired(mac: Mac, now: number): Ipv4 | null {
    let oldest: { address: Ipv4; expires: number } | null = null;
    for (const lease of this.#leases) {
      if (
        lease.expires <= now &&
        (oldest === null || lease.expires < oldest.expires) &&
        this.#isDynamic(lease.address) &&
        this.refusal(mac, lease.address, now) === null
      ) {
        oldest = lease;
      }
    }
    return oldest?.address ?? null;
  }

  #longestDeclined(now: number): Ipv4 | null {
    let oldest: Ipv4 | null = null;
    let until = Number.POSITIVE_INFINITY;
    for (const [address, hold] of this.#holds) {
      if (hold.owner === null && hold.until > now && hold.until < until && this.#isDynamic(address)) {
        oldest = address;
        until = hold.until;
      }
    }
    return oldest;
  }
}

/** Writes a network as its address and prefix length. */
export function formatNetwork(network: Ipv4Network): string {
  return `${formatIpv4(network.address)}/${network.prefixLength}`;
}

/** Whether an address can be a host's: of the network, and neither its first nor its last. */
export function isHostAddress(network: Ipv4Network, address: Ipv4): boolean {
  return networkContains(network, address) && address !== network.address && address !== networkBroadcast(network);
}
