/** What the control API tells of DHCP leases. */
import { formatIpv4, formatMac, type Ipv4, type Lease, type LeaseTable, type Mac, macHalves } from "@hostd/stack";
import * as z from "zod";
import type { HostdConfig } from "../config/resolve.ts";
import type { VmSession } from "../vm-session.ts";
import { ipv4Address, macAddress, type Reported, time } from "./report-schema.ts";

export const leaseReportSchema = z.strictObject({
  mac: macAddress("The MAC address that has the lease"),
  address: ipv4Address("The address that it has"),
  expires: time("When the lease ends or has ended; null for a static address that was not asked for yet").nullable(),
  hostName: z.string().nullable().describe("What the client calls itself; null where it does not say"),
  isActive: z.boolean().describe("Whether it has not ended"),
  isStatic: z.boolean().describe("Whether the configuration gives this MAC address this address"),
  vm: z.string().nullable().describe("The VM on whose link the MAC address is; null when that is not known"),
});

export const leaseListSchema = z.array(leaseReportSchema);

export type LeaseReport = Reported<typeof leaseReportSchema>;

/** What the list is made of. */
export interface LeaseSources {
  readonly leases: Pick<LeaseTable, "list">;
  /** The addresses that the configuration gives to MAC addresses. */
  readonly reservations: HostdConfig["dhcp"]["static"];
  readonly vms: readonly Pick<VmSession, "name" | "stack" | "mac">[];
  /** Unix-epoch milliseconds. */
  readonly now: number;
}

/** Every lease, those that have ended and static addresses that nobody has asked for included, by address. */
export function leaseReports({ leases, reservations, vms, now }: LeaseSources): LeaseReport[] {
  const reserved = new Map(reservations.map(({ mac, address }) => [formatMac(mac), address]));
  const known = new Map(leases.list().map((lease) => [formatMac(lease.mac), lease]));
  const unasked = reservations.filter(({ mac, address }) => known.get(formatMac(mac))?.address !== address);
  const listed: (Pick<Lease, "mac" | "address"> & Partial<Lease>)[] = [...known.values(), ...unasked];
  return listed
    .sort((one, other) => (one.address >>> 0) - (other.address >>> 0))
    .map(({ mac, address, expires, hostName }) => ({
      mac: formatMac(mac),
      address: formatIpv4(address),
      expires: expires === undefined ? null : timeText(expires),
      hostName: hostName ?? null,
      isActive: expires !== undefined && expires > now,
      isStatic: reserved.get(formatMac(mac)) === address,
      vm: vms.find((vm) => isOnLink(vm, mac, address))?.name ?? null,
    }));
}

/** The state folder may say any number: what is beyond the years that ISO 8601 writes with four digits is cut to them. */
function timeText(time: number): string {
  return new Date(Math.min(Math.max(0, time), LAST_TIME)).toISOString();
}

const LAST_TIME = Date.UTC(9999, 11, 31, 23, 59, 59, 999);

/** Whether a MAC address is the VM's own, or that of another machine of its link that has shown the address. */
function isOnLink({ mac: own, stack }: LeaseSources["vms"][number], mac: Mac, address: Ipv4): boolean {
  const { high, low } = macHalves(mac);
  const ownHalves = own === null ? null : macHalves(own);
  if (ownHalves?.high === high && ownHalves.low === low) return true;
  const neighbor = stack.neighbors.find(address);
  return neighbor?.resolved === true && neighbor.macHigh === high && neighbor.macLow === low;
}
