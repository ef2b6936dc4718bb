import { describe, expect, test } from "vitest";
import { a, testClient } from "../testing/zones.ts";
import { CompiledZone } from "./compiled-zone.ts";
import type { Zone, ZoneRecord } from "./zone.ts";

const zoneOf = (records: ZoneRecord[], rest: Partial<Zone> = {}) => new CompiledZone({ name: "lab", records, ...rest });
const re = (regexp: string, address: string): ZoneRecord => ({ regexp, type: "A", address });

/** The data that a zone has for a name; null when it does not exist. */
function dataAt(zone: CompiledZone, name: string): unknown[] | null {
  const records = zone.find(name);
  if (records === null) return null;
  return records.map((record) => {
    const answer = record.answer(name, testClient);
    return answer !== null && "data" in answer ? answer.data : null;
  });
}

describe("wildcards (RFC 4592)", () => {
  test("are for every name below the closest one that exists", () => {
    const zone = zoneOf([a("*", "10.0.0.1"), a("*.w", "10.0.0.2"), a("db", "10.0.0.3"), a("x.y.z", "10.0.0.4")]);
    expect(dataAt(zone, "any.lab")).toEqual(["10.0.0.1"]);
    expect(dataAt(zone, "a.b.c.lab")).toEqual(["10.0.0.1"]);
    expect(dataAt(zone, "a.w.lab")).toEqual(["10.0.0.2"]);
    expect(dataAt(zone, "a.b.w.lab")).toEqual(["10.0.0.2"]);
  });

  test("are not for names that exist, with records or without, nor for what is below them", () => {
    const zone = zoneOf([a("*", "10.0.0.1"), a("db", "10.0.0.3"), a("x.y.z", "10.0.0.4"), a("*.w", "10.0.0.2")]);
    expect(dataAt(zone, "db.lab")).toEqual(["10.0.0.3"]);
    expect(dataAt(zone, "y.z.lab")).toEqual([]);
    expect(dataAt(zone, "z.lab")).toEqual([]);
    // A wildcard makes the name above it exist.
    expect(dataAt(zone, "w.lab")).toEqual([]);
    expect(dataAt(zone, "a.db.lab")).toBeNull();
    expect(dataAt(zone, "a.x.y.z.lab")).toBeNull();
    expect(dataAt(zone, "a.z.lab")).toBeNull();
    expect(dataAt(zone, "lab")).toEqual([]);
  });

  test("are names themselves, below which the wildcard above is not for", () => {
    const zone = zoneOf([a("*", "10.0.0.1")]);
    expect(dataAt(zone, "*.lab")).toEqual(["10.0.0.1"]);
    expect(dataAt(zone, "a.*.lab")).toBeNull();
  });

  test("answer as the example of the RFC does (section 2.2.1)", () => {
    const zone = new CompiledZone({
      name: "example",
      records: [
        { name: "*", type: "TXT", text: "this is a wildcard" },
        { name: "*", type: "MX", preference: 10, exchange: "host1.example." },
        a("host1", "192.0.2.1"),
        { name: "_ssh._tcp.host1", type: "SRV", priority: 0, weight: 0, port: 22, target: "host1.example" },
      ],
    });
    const wildcard = ["TXT", "MX"];
    const typesAt = (name: string) => zone.find(name)?.map((record) => record.answer(name, testClient)?.type) ?? null;
    expect(typesAt("host3.example")).toEqual(wildcard);
    expect(typesAt("foo.bar.example")).toEqual(wildcard);
    expect(typesAt("host1.example")).toEqual(["A"]);
    expect(typesAt("_telnet._tcp.host1.example")).toBeNull();
    expect(typesAt("ghost.*.example")).toBeNull();
    expect(typesAt("_tcp.host1.example")).toEqual([]);
  });

  test("come before the default address, which is for what they are not", () => {
    const zone = zoneOf([a("*.w", "10.0.0.2"), a("x.w", "10.0.0.3")], { defaultAddress: "10.0.0.9" });
    expect(dataAt(zone, "a.w.lab")).toEqual(["10.0.0.2"]);
    expect(dataAt(zone, "a.x.w.lab")).toEqual(["10.0.0.9"]);
    expect(dataAt(zone, "w.lab")).toEqual(["10.0.0.9"]);
    expect(dataAt(zone, "lab")).toEqual([]);
  });
});

describe("regular expressions", () => {
  test("are matched anywhere in the part before the zone's name, and in no other", () => {
    const zone = zoneOf([re("^a\\.b$", "10.0.0.1"), re("la", "10.0.0.2")]);
    expect(dataAt(zone, "a.b.lab")).toEqual(["10.0.0.1"]);
    expect(dataAt(zone, "x.a.b.lab")).toBeNull();
    expect(dataAt(zone, "my-lan.x.lab")).toEqual(["10.0.0.2"]);
    expect(dataAt(zone, "lab")).toEqual([]);
  });

  test("and names are gone through in the order in which they stand", () => {
    const first = zoneOf([re("^d", "10.0.0.1"), a("db", "10.0.0.2"), re("^db", "10.0.0.3"), re("b$", "10.0.0.4")]);
    expect(dataAt(first, "db.lab")).toEqual(["10.0.0.1"]);
    const between = zoneOf([re("^x", "10.0.0.1"), a("db", "10.0.0.2"), re("^db", "10.0.0.3")]);
    expect(dataAt(between, "db.lab")).toEqual(["10.0.0.2"]);
    expect(dataAt(between, "dbx.lab")).toEqual(["10.0.0.3"]);
    const both = zoneOf([re("a", "10.0.0.1"), re("b", "10.0.0.2")]);
    expect(dataAt(both, "ba.lab")).toEqual(["10.0.0.1"]);
    expect(dataAt(both, "bb.lab")).toEqual(["10.0.0.2"]);
  });

  test("stand where their first record does, and have all their records", () => {
    const zone = zoneOf([
      a("x", "10.0.0.1"),
      re("d", "10.0.0.2"),
      a("db", "10.0.0.3"),
      re("d", "10.0.0.4"),
      a("x", "10.0.0.5"),
    ]);
    expect(dataAt(zone, "db.lab")).toEqual(["10.0.0.2", "10.0.0.4"]);
    expect(dataAt(zone, "x.lab")).toEqual(["10.0.0.1", "10.0.0.5"]);
  });

  test("are for names that exist without records, and come before wildcards and the default address", () => {
    const zone = zoneOf([a("*", "10.0.0.1"), a("x.deep", "10.0.0.2"), re("^deep|^r", "10.0.0.3")], {
      defaultAddress: "10.0.0.9",
    });
    expect(dataAt(zone, "deep.lab")).toEqual(["10.0.0.3"]);
    expect(dataAt(zone, "r.lab")).toEqual(["10.0.0.3"]);
    expect(dataAt(zone, "s.lab")).toEqual(["10.0.0.1"]);
  });

  test("hide the other types of a name that they come before", () => {
    const zone = zoneOf([{ regexp: "^db$", type: "TXT", text: "t" }, a("db", "10.0.0.1")]);
    expect(zone.find("db.lab")?.map(({ type }) => type)).toEqual([16]);
  });
});

test("names with escaped bytes are for no pattern, wildcard or default address", () => {
  const zone = zoneOf([re(".*", "10.0.0.1"), a("*", "10.0.0.2")], { defaultAddress: "10.0.0.3" });
  expect(dataAt(zone, "a\\046b.lab")).toBeNull();
  expect(dataAt(zone, "\\000.x.lab")).toBeNull();
});

test("addresses are those of names, the zone's own among them", () => {
  const zone = zoneOf(
    [
      a("@", "10.0.0.1"),
      a("Db", "10.0.0.2"),
      { name: "db", type: "AAAA", address: "fd00::1" },
      a("*", "10.0.0.3"),
      a("*.w", "10.0.0.4"),
      re("x", "10.0.0.5"),
      { name: "alias", type: "CNAME", target: "db.lab" },
    ],
    { defaultAddress: "10.0.0.6", link: "vm1" },
  );
  expect(zone.addresses).toEqual([
    { name: "lab", address: "10.0.0.1" },
    { name: "db.lab", address: "10.0.0.2" },
    { name: "db.lab", address: "fd00::1" },
  ]);
  expect(zone).toMatchObject({ origin: "lab", link: "vm1" });
});
