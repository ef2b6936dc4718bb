import { describe, expect, test } from "vitest";
import { a, addressesOf, ask, lab, lookUp, testClient } from "../testing/zones.ts";
import { MAX_PATTERNS } from "./compiled-zone.ts";
import type { Zone, ZoneRecord } from "./zone.ts";
import { MAX_RECORDS, MAX_ZONES, Zones } from "./zones.ts";

const recordNames = (zone: Zone) => zone.records.map((record) => record.name ?? `/${record.regexp}/`);

describe("a zone that is added", () => {
  test("is the last one when it is new", () => {
    const zones = new Zones([
      { name: "b", records: [] },
      { name: "a", records: [] },
    ]);
    zones.add({ name: "x.a", records: [a("db", "10.0.0.1")] });
    expect(zones.list().map(({ name }) => name)).toEqual(["b", "a", "x.a"]);
    // The zone `a` is asked first, and does not know the name.
    expect(ask(zones, "db.x.a", "A")).toMatchObject({ rcode: 3, authorities: [{ name: "a" }] });
  });

  test("keeps the place of the one that is there, whatever way its name is written", () => {
    const zones = new Zones([
      { name: "x.a", records: [] },
      { name: "a", records: [] },
    ]);
    zones.add({ name: "X.A.", records: [a("db", "10.0.0.1")] });
    expect(zones.list()).toMatchObject([{ records: { length: 1 } }, { name: "a" }]);
    expect(addressesOf(zones, "db.x.a")).toEqual(["10.0.0.1"]);
  });

  test("puts its records before the ones that are there", () => {
    const zones = lab(a("old", "10.0.0.1"), { regexp: "^o", type: "A", address: "10.0.0.2" });
    zones.add({ name: "lab", records: [{ regexp: "^ol", type: "A", address: "10.0.0.3" }, a("new", "10.0.0.4")] });
    expect(zones.list().map(recordNames)).toEqual([["/^ol/", "new", "old", "/^o/"]]);
    expect(addressesOf(zones, "old.lab")).toEqual(["10.0.0.3"]);
    expect(addressesOf(zones, "other.lab")).toEqual(["10.0.0.2"]);
    expect(addressesOf(zones, "new.lab")).toEqual(["10.0.0.4"]);
  });

  test("has the newest records of a name, a wildcard and a regular expression alone, of every type", () => {
    const zones = lab(
      a("db", "10.0.0.1"),
      a("DB", "10.0.0.2"),
      { name: "db", type: "TXT", text: "old" },
      a("*.w", "10.0.0.3"),
      { regexp: "^r", type: "A", address: "10.0.0.4" },
      a("kept", "10.0.0.5"),
    );
    zones.add({
      name: "lab",
      records: [
        a("Db", "10.1.0.1"),
        a("db", "10.1.0.2"),
        a("*.W", "10.1.0.3"),
        { regexp: "^r", type: "TXT", text: "new" },
      ],
    });
    expect(addressesOf(zones, "db.lab")).toEqual(["10.1.0.1", "10.1.0.2"]);
    expect(ask(zones, "db.lab", "TXT")).toMatchObject({ rcode: 0, answers: [] });
    expect(addressesOf(zones, "x.w.lab")).toEqual(["10.1.0.3"]);
    expect(ask(zones, "r1.lab", "A")).toMatchObject({ rcode: 0, answers: [] });
    expect(addressesOf(zones, "kept.lab")).toEqual(["10.0.0.5"]);
    expect(zones.list().map(recordNames)).toEqual([["Db", "db", "*.W", "/^r/", "kept"]]);
  });

  test("may take the place of an alias, or become one", () => {
    const zones = lab({ name: "x", type: "CNAME", target: "www.example" });
    zones.add({ name: "lab", records: [a("x", "10.0.0.1")] });
    expect(addressesOf(zones, "x.lab")).toEqual(["10.0.0.1"]);
    zones.add({ name: "lab", records: [{ name: "x", type: "CNAME", target: "www.example" }] });
    expect(lookUp(zones, "x.lab", "A")).toMatchObject({ kind: "alias", target: "www.example" });
  });

  test("has its own default address, or none", () => {
    const zones = new Zones([{ name: "lab", records: [a("db", "10.0.0.1")], defaultAddress: "10.0.0.2" }]);
    zones.add({ name: "lab", records: [], defaultAddress: "10.0.0.3" });
    expect(addressesOf(zones, "x.lab")).toEqual(["10.0.0.3"]);
    expect(zones.list()).toEqual([{ name: "lab", records: [a("db", "10.0.0.1")], defaultAddress: "10.0.0.3" }]);
    zones.add({ name: "lab", records: [] });
    expect(ask(zones, "x.lab", "A")).toMatchObject({ rcode: 3 });
    expect(zones.list()).toEqual([{ name: "lab", records: [a("db", "10.0.0.1")] }]);
    expect(addressesOf(zones, "db.lab")).toEqual(["10.0.0.1"]);
  });

  test("may be added without end when it says the same", () => {
    const zones = lab(a("other", "10.0.0.1"));
    for (let last = 0; last < 50; last++) zones.add({ name: "lab", records: [a("db", `10.0.1.${last}`)] });
    expect(zones.list()).toEqual([{ name: "lab", records: [a("db", "10.0.1.49"), a("other", "10.0.0.1")] }]);
  });

  test("is another one for each link", () => {
    const zones = new Zones([{ name: "lab", link: "vm1", records: [a("db", "10.0.0.1")] }]);
    zones.add({ name: "lab", link: "vm2", records: [a("db", "10.0.0.2")] });
    zones.add({ name: "lab", records: [a("db", "10.0.0.3")] });
    expect(zones.list()).toMatchObject([{ link: "vm1" }, { link: "vm2" }, { name: "lab" }]);
    zones.add({ name: "lab", link: "vm1", records: [a("db", "10.0.0.4")] });
    expect(zones.list()).toHaveLength(3);
    const from = (link: string) => addressesOf(zones, "db.lab", { ...testClient, link });
    expect([from("vm1"), from("vm2"), from("vm3")]).toEqual([["10.0.0.4"], ["10.0.0.2"], ["10.0.0.3"]]);
  });

  test("is not changed by what becomes of the lists that were given or handed out", () => {
    const records: ZoneRecord[] = [a("db", "10.0.0.1")];
    const zones = new Zones();
    zones.add({ name: "lab", records });
    records.length = 0;
    zones.list().length = 0;
    expect(zones.list()).toEqual([{ name: "lab", records: [a("db", "10.0.0.1")] }]);
  });
});

test("zones of one name in the configuration are one, their records in order", () => {
  const zones = new Zones([
    { name: "lab", records: [a("db", "10.0.0.1")], defaultAddress: "10.0.0.9" },
    { name: "other", records: [] },
    { name: "LAB", records: [a("db", "10.0.0.2"), a("x", "10.0.0.3")] },
  ]);
  expect(zones.list().map(recordNames)).toEqual([["db", "db", "x"], []]);
  expect(addressesOf(zones, "db.lab")).toEqual(["10.0.0.1", "10.0.0.2"]);
  expect(addressesOf(zones, "y.lab")).toEqual(["10.0.0.9"]);
});

describe("a zone that is removed", () => {
  test("is gone with its names and addresses", () => {
    const zones = new Zones([
      { name: "lab", records: [a("db", "10.0.0.1")] },
      { name: "other", records: [] },
    ]);
    expect(zones.remove("LAB.")).toBe(true);
    expect(lookUp(zones, "db.lab", "A")).toBeNull();
    expect(lookUp(zones, "1.0.0.10.in-addr.arpa", "PTR")).toBeNull();
    expect(zones.list().map(({ name }) => name)).toEqual(["other"]);
    expect(zones.remove("lab")).toBe(false);
  });

  test("is the one of its link", () => {
    const zones = new Zones([
      { name: "lab", records: [] },
      { name: "lab", link: "vm1", records: [] },
    ]);
    expect(zones.remove("lab", "vm2")).toBe(false);
    expect(zones.remove("lab", "vm1")).toBe(true);
    expect(zones.list()).toEqual([{ name: "lab", records: [] }]);
  });

  test("may make room for a zone that it was before", () => {
    const zones = new Zones([
      { name: "lab", records: [] },
      { name: "x.lab", records: [a("db", "10.0.0.1")] },
    ]);
    expect(ask(zones, "db.x.lab", "A")).toMatchObject({ rcode: 3 });
    zones.remove("lab");
    expect(addressesOf(zones, "db.x.lab")).toEqual(["10.0.0.1"]);
  });

  test("is reported when its name is none", () => {
    expect(() => lab().remove("a b")).toThrow('"a b" is not a zone name');
  });
});

describe("a zone that is refused changes nothing", () => {
  function expectRefusal(zones: Zones, zone: Zone, message: string): void {
    const before = zones.list();
    expect(() => zones.add(zone)).toThrow(new RangeError(message));
    expect(zones.list()).toEqual(before);
    expect(addressesOf(zones, "db.lab")).toEqual(["10.0.0.1"]);
  }
  const records = (count: number) => Array.from({ length: count }, (_, index) => a(`n${index}`, "10.0.0.2"));
  const patterns = (count: number): ZoneRecord[] =>
    Array.from({ length: count }, (_, index) => ({ regexp: `^p${index}$`, type: "A", address: "10.0.0.2" }));

  test("when a record of it is bad", () => {
    expectRefusal(
      lab(a("db", "10.0.0.1")),
      { name: "lab", records: [a("db", "10.0.0.2"), a("x", "10.0.0")] },
      'the A record "x" in the zone lab: not an IPv4 address: "10.0.0"',
    );
  });

  test(`when there would be more than ${MAX_ZONES} zones`, () => {
    const zones = lab(a("db", "10.0.0.1"));
    for (let count = 1; count < MAX_ZONES; count++) zones.add({ name: `zone${count}`, records: [] });
    expectRefusal(zones, { name: "more", records: [] }, "there may be at most 1000 zones");
    expect(lookUp(zones, "x.more", "A")).toBeNull();
    zones.add({ name: "lab", records: [a("other", "10.0.0.3")] });
    zones.remove("zone1");
    zones.add({ name: "more", records: [] });
    expect(zones.list()).toHaveLength(MAX_ZONES);
  });

  test(`when there would be more than ${MAX_RECORDS} records`, () => {
    const zones = lab(a("db", "10.0.0.1"));
    zones.add({ name: "big", records: records(MAX_RECORDS - 1) });
    const message = "zones may have at most 20000 records together";
    expectRefusal(zones, { name: "lab", records: [a("x", "10.0.0.3")] }, message);
    expectRefusal(zones, { name: "more", records: [a("x", "10.0.0.3")] }, message);
    // What takes the place of records is not more of them.
    zones.add({ name: "big", records: [a("n7", "10.0.0.7")] });
    expect(addressesOf(zones, "n7.big")).toEqual(["10.0.0.7"]);
  });

  test(`when a zone would have more than ${MAX_PATTERNS} regular expressions`, () => {
    const zones = lab(a("db", "10.0.0.1"), ...patterns(MAX_PATTERNS));
    const more: ZoneRecord = { regexp: "^more$", type: "A", address: "10.0.0.3" };
    expectRefusal(zones, { name: "lab", records: [more] }, "the zone lab has more than 256 regular expressions");
    zones.add({ name: "lab", records: [{ regexp: "^p0$", type: "A", address: "10.0.0.3" }] });
    expect(addressesOf(zones, "p0.lab")).toEqual(["10.0.0.3"]);
    zones.add({ name: "other", records: [more] });
    expect(addressesOf(zones, "more.other")).toEqual(["10.0.0.3"]);
  });
});
