import { type Lease, LeaseTable, macHalves, parseIpv4, parseMac } from "@hostd/stack";
import { expect, it } from "vitest";
import { type LeaseSources, leaseListSchema, leaseReports } from "./lease-report.ts";

const NOW = Date.UTC(2026, 0, 1);
const mac = (number: number) => parseMac(`02:00:00:00:00:0${number}`);
const address = (number: number) => parseIpv4(`192.168.65.${number}`);

/** A VM by its own MAC address, on whose link others have shown addresses. */
function vm(name: string, own: number | null, shown: readonly (readonly [address: number, mac: number])[] = []) {
  const find = (wanted: number) => {
    const found = shown.find(([number]) => address(number) === wanted);
    if (found === undefined) return null;
    const { high, low } = macHalves(mac(found[1]));
    return { resolved: true, macHigh: high, macLow: low };
  };
  // Only what is asked of it is there.
  return {
    name,
    mac: own === null ? null : mac(own),
    stack: { neighbors: { find } },
  } as unknown as LeaseSources["vms"][0];
}

function report(leases: readonly Lease[], sources: Partial<LeaseSources> = {}) {
  const table = new LeaseTable();
  for (const lease of leases) table.set(lease);
  return leaseListSchema.parse(leaseReports({ leases: table, reservations: [], vms: [], now: NOW, ...sources }));
}

const HOUR = 3_600_000;

it("tells of each lease by address, and whether it has ended", () => {
  const leases = [
    { mac: mac(2), address: address(200), expires: NOW },
    { mac: mac(1), address: address(3), expires: NOW + HOUR, hostName: "one" },
  ];
  const nothing = { isStatic: false, vm: null };
  expect(report(leases)).toEqual([
    {
      ...{ mac: "02:00:00:00:00:01", address: "192.168.65.3", expires: "2026-01-01T01:00:00.000Z" },
      ...{ ...nothing, hostName: "one", isActive: true },
    },
    {
      ...{ mac: "02:00:00:00:00:02", address: "192.168.65.200", expires: "2026-01-01T00:00:00.000Z" },
      ...{ ...nothing, hostName: null, isActive: false },
    },
  ]);
});

it("has static addresses that nobody has, beside a lease of another address", () => {
  const reservations = [
    { mac: mac(1), address: address(50) },
    { mac: mac(2), address: address(60) },
  ];
  const leases = [
    { mac: mac(1), address: address(3), expires: NOW + HOUR },
    { mac: mac(2), address: address(60), expires: NOW + HOUR },
  ];
  const told = report(leases, { reservations });
  expect(told.map((lease) => [lease.mac.at(-1), lease.address, lease.isStatic, lease.isActive])).toEqual([
    ["1", "192.168.65.3", false, true],
    ["1", "192.168.65.50", true, false],
    ["2", "192.168.65.60", true, true],
  ]);
  expect(told[1].expires).toBeNull();
});

it("names the VM whose own MAC address it is, or on whose link the address was shown by it", () => {
  const leases = [1, 2, 3, 4].map((number) => ({ mac: mac(number), address: address(number), expires: NOW + HOUR }));
  const vms = [vm("bare", null), vm("first", 1, [[2, 2]]), vm("second", 9, [[3, 9]])];
  expect(report(leases, { vms }).map((lease) => lease.vm)).toEqual(["first", "first", null, null]);
});

it.each([
  [-1e300, "1970-01-01T00:00:00.000Z", false],
  [1e300, "9999-12-31T23:59:59.999Z", true],
])("writes an end of %d, which a file may say, as a time", (expires, written, isActive) => {
  const [lease] = report([{ mac: mac(1), address: address(1), expires }]);
  expect(lease).toMatchObject({ expires: written, isActive });
});
