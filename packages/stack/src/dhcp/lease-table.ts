/** Which MAC address has which IPv4 address, and until when. */

import { formatIpv4, formatMac, type Ipv4, type Mac, parseIpv4, parseMac } from "../address.ts";

/** An address given to a client. It stays on record after its end, so that the client gets it again. */
export interface Lease {
  readonly mac: Mac;
  readonly address: Ipv4;
  /** When it ends, in Unix-epoch milliseconds. */
  readonly expires: number;
  /** What the client calls itself (option 12), where that is a host name. */
  readonly hostName?: string;
}

/** A lease as JSON. */
export interface LeaseJson {
  /** Lower-case hexadecimal pairs with colons. */
  readonly mac: string;
  /** Dotted decimal. */
  readonly address: string;
  /** Unix-epoch milliseconds. */
  readonly expires: number;
  readonly hostName?: string;
}

/** An entry that {@link LeaseTable.fromJSON} left out. */
export interface RejectedLease {
  /** Its place in the list, or -1 when the whole is not a list. */
  readonly index: number;
  readonly reason: string;
}

/** Host names as RFC 1123, 2.1 has them, and the underscore that is seen in practice. */
export const HOST_NAME = /^[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,251}[A-Za-z0-9])?$/;

/** The leases by MAC address and by IPv4 address; there is at most one of each. */
export class LeaseTable {
  /** Called after each change; whoever keeps the table on disk writes it then. */
  onChange: (() => void) | null = null;

  readonly #byMac = new Map<string, Lease>();
  readonly #byAddress = new Map<Ipv4, Lease>();

  /** How many leases are on record, those that ended among them. */
  get size(): number {
    return this.#byAddress.size;
  }

  byMac(mac: Mac): Lease | null {
    return this.#byMac.get(formatMac(mac)) ?? null;
  }

  byAddress(address: Ipv4): Lease | null {
    return this.#byAddress.get(address) ?? null;
  }

  /** All leases, those that ended among them, by address. */
  list(): Lease[] {
    return [...this.#byAddress.values()].sort((left, right) => (left.address >>> 0) - (right.address >>> 0));
  }

  /** All leases in no particular order. */
  [Symbol.iterator](): IterableIterator<Lease> {
    return this.#byAddress.values();
  }

  /** Records a lease in place of the MAC address's former one and of the address's former one. */
  set(lease: Lease): void {
    this.#forget(this.byMac(lease.mac));
    this.#forget(this.byAddress(lease.address));
    this.#byMac.set(formatMac(lease.mac), lease);
    this.#byAddress.set(lease.address, lease);
    this.onChange?.();
  }

  /** Removes the lease of an address. */
  delete(address: Ipv4): void {
    const lease = this.byAddress(address);
    if (lease !== null) {
      this.#forget(lease);
      this.onChange?.();
    }
  }

  /** What {@link fromJSON} reads. */
  toJSON(): LeaseJson[] {
    return this.list().map(({ mac, address, ...rest }) => ({
      mac: formatMac(mac),
      address: formatIpv4(address),
      ...rest,
    }));
  }

  /**
   * Reads what {@link toJSON} wrote. An entry that is malformed, or whose MAC or IPv4 address an earlier one has, is
   * left out and named in `rejected`. Never throws.
   */
  static fromJSON(json: unknown): { table: LeaseTable; rejected: RejectedLease[] } {
    const table = new LeaseTable();
    const rejected: RejectedLease[] = [];
    if (!Array.isArray(json)) {
      return { table, rejected: [{ index: -1, reason: "not a list of leases" }] };
    }
    for (const [index, entry] of json.entries()) {
      try {
        const lease = leaseFromJson(entry);
        if (table.byMac(lease.mac) !== null || table.byAddress(lease.address) !== null) {
          throw new RangeError(`an earlier lease has ${formatMac(lease.mac)} or ${formatIpv4(lease.address)}`);
        }
        table.set(lease);
      } catch (error) {
        rejected.push({ index, reason: error instanceof RangeError ? error.message : String(error) });
      }
    }
    return { table, rejected };
  }

  #forget(lease: Lease | null): void {
    if (lease !== null) {
      this.#byMac.delete(formatMac(lease.mac));
      this.#byAddress.delete(lease.address);
    }
  }
}

function leaseFromJson(entry: unknown): Lease {
  if (typeof entry !== "object" || entry === null) {
    throw new RangeError("not an object with mac, address and expires");
  }
  const { mac, address, expires, hostName } = entry as { [Key in keyof LeaseJson]?: unknown };
  if (typeof mac !== "string" || typeof address !== "string") {
    throw new RangeError("mac and address must be text");
  }
  if (typeof expires !== "number" || !Number.isFinite(expires)) {
    throw new RangeError("expires must be a number of milliseconds since the Unix epoch");
  }
  const lease = { mac: parseMac(mac), address: parseIpv4(address), expires };
  if (hostName === undefined) {
    return lease;
  }
  if (typeof hostName !== "string" || !HOST_NAME.test(hostName)) {
    throw new RangeError("hostName must be a host name");
  }
  return { ...lease, hostName };
}
