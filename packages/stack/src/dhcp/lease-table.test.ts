import { describe, expect, it } from "vitest";
import { parseIpv4, parseMac } from "../address.ts";
import { LeaseTable } from "./lease-table.ts";

const A = parseMac("52:54:00:00:00:0a");
const B = parseMac("52:54:00:00:00:0b");
const FIRST = parseIpv4("192.168.65.3");
const SECOND = parseIpv4("192.168.65.200");

describe("a lease table", () => {
  it("finds a lease by MAC address and by IPv4 address", () => {
    const table = new LeaseTable();
    const lease = { mac: A, address: SECOND, expires: 5, hostName: "vm" };
    table.set(lease);

    expect(table.byMac(Uint8Array.from(A))).toBe(lease);
    expect(table.byAddress(SECOND)).toBe(lease);
    expect(table.byMac(B)).toBeNull();
    expect(table.byAddress(FIRST)).toBeNull();
  });

  it("keeps one lease for a MAC address", () => {
    const table = new LeaseTable();
    table.set({ mac: A, address: FIRST, expires: 1 });
    table.set({ mac: A, address: SECOND, expires: 2 });

    expect(table.byAddress(FIRST)).toBeNull();
    expect(table.byMac(A)?.address).toBe(SECOND);
    expect(table.size).toBe(1);
  });

  it("keeps one lease for an address", () => {
    const table = new LeaseTable();
    table.set({ mac: A, address: FIRST, expires: 1 });
    table.set({ mac: B, address: FIRST, expires: 2 });

    expect(table.byMac(A)).toBeNull();
    expect(table.byAddress(FIRST)?.mac).toEqual(B);
    expect(table.size).toBe(1);
  });

  it("lists by address as an unsigned number", () => {
    const table = new LeaseTable();
    const addresses = ["192.168.65.9", "10.0.0.9", "192.168.65.10", "127.255.255.1"];
    for (const [index, address] of addresses.entries()) {
      table.set({ mac: parseMac(`52:54:00:00:00:0${index}`), address: parseIpv4(address), expires: 0 });
    }

    expect(table.list().map(({ address }) => address)).toEqual(
      ["10.0.0.9", "127.255.255.1", "192.168.65.9", "192.168.65.10"].map(parseIpv4),
    );
  });

  it("reports each change once, and no call that changes nothing", () => {
    const table = new LeaseTable();
    let changes = 0;
    table.onChange = () => {
      changes += 1;
    };

    table.set({ mac: A, address: FIRST, expires: 1 });
    expect(changes).toBe(1);
    table.set({ mac: B, address: FIRST, expires: 1 });
    expect(changes).toBe(2);
    table.delete(SECOND);
    expect(changes).toBe(2);
    table.delete(FIRST);
    expect(changes).toBe(3);
    expect(table.byMac(B)).toBeNull();
  });

  it("is the same after JSON", () => {
    const table = new LeaseTable();
    table.set({ mac: B, address: SECOND, expires: 1_763_000_000_000 });
    table.set({ mac: A, address: FIRST, expires: 7, hostName: "vm-1.local" });
    const text = JSON.stringify(table);

    expect(JSON.parse(text)).toEqual([
      { mac: "52:54:00:00:00:0a", address: "192.168.65.3", expires: 7, hostName: "vm-1.local" },
      { mac: "52:54:00:00:00:0b", address: "192.168.65.200", expires: 1_763_000_000_000 },
    ]);
    const { table: read, rejected } = LeaseTable.fromJSON(JSON.parse(text));
    expect(rejected).toEqual([]);
    expect(read.list()).toEqual(table.list());
  });

  it("leaves out bad entries and says which and why", () => {
    const good = { mac: "52:54:00:00:00:0a", address: "192.168.65.3", expires: 7 };
    const { table, rejected } = LeaseTable.fromJSON([
      null,
      "lease",
      { ...good, mac: "52:54:00" },
      { ...good, address: "192.168.65.300" },
      { ...good, address: 5 },
      { ...good, expires: "tomorrow" },
      { ...good, expires: Number.POSITIVE_INFINITY },
      { ...good, hostName: "not a name" },
      good,
      { ...good, mac: "52:54:00:00:00:0b" },
      { ...good, address: "192.168.65.4" },
    ]);

    expect(table.toJSON()).toEqual([good]);
    expect(rejected.map(({ index, reason }) => `${index}: ${reason}`)).toEqual([
      "0: not an object with mac, address and expires",
      "1: not an object with mac, address and expires",
      '2: not a MAC address: "52:54:00"',
      '3: not an IPv4 address: "192.168.65.300"',
      "4: mac and address must be text",
      "5: expires must be a number of milliseconds since the Unix epoch",
      "6: expires must be a number of milliseconds since the Unix epoch",
      "7: hostName must be a host name",
      "9: an earlier lease has 52:54:00:00:00:0b or 192.168.65.3",
      "10: an earlier lease has 52:54:00:00:00:0a or 192.168.65.4",
    ]);
  });

  it.each([[undefined], [null], [{}], ["[]"], [7]])("is empty when the JSON is %j", (json) => {
    const { table, rejected } = LeaseTable.fromJSON(json);

    expect(table.size).toBe(0);
    expect(rejected).toEqual([{ index: -1, reason: "not a list of leases" }]);
  });
});
