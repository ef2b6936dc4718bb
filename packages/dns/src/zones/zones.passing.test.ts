import { describe, expect, test } from "vitest";
import { a, addressesOf, ask, lab, lookUp, testClient } from "../testing/zones.ts";
import { standardZones } from "./standard-zones.ts";
import type { ZoneRecord } from "./zone.ts";
import { MAX_RECORDS, PASSING_TTL, Zones } from "./zones.ts";

const WEB: ZoneRecord = { ...a("web", "172.17.0.2"), ttl: PASSING_TTL };
const otherClient = { ...testClient, link: "vm2" };

function standard(name: string, ...records: ZoneRecord[]): Zones {
  const zones = new Zones(standardZones({ host: 1, gateway: 2 }));
  zones.setPassing({ name, records });
  return zones;
}

const soaOf = (zones: Zones, name: string, type: "A" | "AAAA" | "SOA" | "PTR" | "TXT") => {
  const { rcode, answers = [], authorities = [] } = ask(zones, name, type);
  const soa = [...answers, ...authorities].find((record) => record.type === "SOA");
  return soa?.type === "SOA" ? { rcode, zone: soa.name, ttl: soa.ttl, minimum: soa.data.minimum } : null;
};

describe("names that come and go", () => {
  test("are answered, and may not be kept", () => {
    const zones = standard("docker.internal", WEB);
    expect(ask(zones, "WEB.docker.internal", "A")).toMatchObject({
      rcode: 0,
      flag_aa: true,
      answers: [{ type: "A", name: "WEB.docker.internal", ttl: 0, data: "172.17.0.2" }],
    });
    expect(zones.isPassing("web.docker.internal", testClient)).toBe(true);
    expect(zones.isPassing("host.docker.internal", testClient)).toBe(false);
  });

  test("are gone with the next ones, and that there is no such name may not be kept either", () => {
    const zones = standard("docker.internal", WEB);
    zones.setPassing({ name: "docker.internal", records: [a("db", "172.17.0.3")] });
    const none = { zone: "docker.internal", ttl: 0, minimum: 0 };
    expect(soaOf(zones, "web.docker.internal", "A")).toEqual({ rcode: 3, ...none });
    expect(soaOf(zones, "db.docker.internal", "AAAA")).toEqual({ rcode: 0, ...none });
    expect(soaOf(zones, "docker.internal", "SOA")).toEqual({ rcode: 0, ...none });
    zones.setPassing(null);
    expect(zones.passing).toBeNull();
    expect(soaOf(zones, "db.docker.internal", "A")).toEqual({
      rcode: 3,
      zone: "docker.internal",
      ttl: 60,
      minimum: 60,
    });
  });

  test("never take the place of what the zone of their name has, of any type", () => {
    const zones = standard(
      "docker.internal",
      a("host", "172.17.0.9"),
      a("vm", "172.17.0.9"),
      { name: "gateway", type: "TXT", text: "mine" },
      a("@", "172.17.0.9"),
    );
    expect(addressesOf(zones, "host.docker.internal")).toEqual(["0.0.0.1"]);
    // The client has no address yet.
    expect(ask(zones, "vm.docker.internal", "A", {}, { ...testClient, vmAddress: null })).toMatchObject({
      answers: [],
    });
    expect(ask(zones, "gateway.docker.internal", "TXT")).toMatchObject({ rcode: 0, answers: [] });
    // What is known of a name that stays may be kept.
    expect(soaOf(zones, "host.docker.internal", "AAAA")).toMatchObject({ rcode: 0, ttl: 60 });
    // The zone has no record for itself.
    expect(addressesOf(zones, "docker.internal")).toEqual(["172.17.0.9"]);
  });

  test("never take the place of wildcards, regular expressions and default addresses", () => {
    const zones = new Zones([
      {
        name: "lab",
        records: [a("*.w", "10.0.0.1"), { regexp: "^r", type: "A", address: "10.0.0.2" }, a("deep.er", "10.0.0.3")],
      },
      { name: "all", defaultAddress: "10.0.0.4", records: [] },
    ]);
    const passing = [a("x.w", "172.17.0.2"), a("red", "172.17.0.2"), a("er", "172.17.0.2"), a("web", "172.17.0.2")];
    zones.setPassing({ name: "lab", records: passing });
    expect(["x.w.lab", "red.lab", "er.lab", "web.lab"].map((name) => addressesOf(zones, name)[0])).toEqual([
      "10.0.0.1",
      "10.0.0.2",
      // A name above others is there, without records of its own.
      "172.17.0.2",
      "172.17.0.2",
    ]);
    zones.setPassing({ name: "all", records: passing });
    expect(addressesOf(zones, "web.all")).toEqual(["10.0.0.4"]);
  });

  test("may be a zone of their own, be it below another zone", () => {
    const zones = standard("c.docker.internal", WEB, a("web.shop", "172.17.0.3"));
    expect(addressesOf(zones, "web.c.docker.internal")).toEqual(["172.17.0.2"]);
    expect(addressesOf(zones, "web.shop.c.docker.internal")).toEqual(["172.17.0.3"]);
    expect(soaOf(zones, "shop.c.docker.internal", "A")).toMatchObject({ rcode: 0, zone: "c.docker.internal" });
    expect(soaOf(zones, "no.c.docker.internal", "A")).toMatchObject({ rcode: 3, zone: "c.docker.internal", ttl: 0 });
    expect(soaOf(zones, "no.docker.internal", "A")).toMatchObject({ rcode: 3, zone: "docker.internal", ttl: 60 });
    const alone = new Zones();
    alone.setPassing({ name: "boxes", records: [] });
    expect(soaOf(alone, "web.boxes", "A")).toMatchObject({ rcode: 3, zone: "boxes", ttl: 0 });
    expect(lookUp(alone, "web.other", "A")).toBeNull();
  });

  test("are none of a part of their zone that is a zone of its own", () => {
    const zones = new Zones([{ name: "lab.boxes", records: [] }]);
    zones.setPassing({ name: "boxes", records: [a("x.lab", "172.17.0.2"), WEB] });
    expect(soaOf(zones, "x.lab.boxes", "A")).toMatchObject({ rcode: 3, zone: "lab.boxes", ttl: 60 });
    expect(addressesOf(zones, "web.boxes")).toEqual(["172.17.0.2"]);
  });

  test("are led to by aliases of zones", () => {
    const zones = lab({ name: "www", type: "CNAME", target: "Web.boxes" });
    zones.setPassing({ name: "boxes", records: [WEB] });
    expect(ask(zones, "www.lab", "A").answers).toMatchObject([
      { type: "CNAME", ttl: 60 },
      { type: "A", name: "Web.boxes", ttl: 0, data: "172.17.0.2" },
    ]);
  });

  test("are for some clients alone", () => {
    const zones = new Zones(standardZones({ host: 1, gateway: 2 }));
    zones.setPassing({ name: "boxes", records: [WEB] }, ({ link }) => link === "vm1");
    expect(addressesOf(zones, "web.boxes")).toEqual(["172.17.0.2"]);
    expect(lookUp(zones, "web.boxes", "A", {}, otherClient)).toBeNull();
    expect(lookUp(zones, "2.0.17.172.in-addr.arpa", "PTR", {}, otherClient)).toBeNull();
    expect(zones.isPassing("web.boxes", otherClient)).toBe(false);
    zones.setPassing({ name: "docker.internal", records: [WEB] }, () => false);
    expect(soaOf(zones, "web.docker.internal", "A")).toMatchObject({ rcode: 3, ttl: 60 });
  });

  test("outlive changes of the zones", () => {
    const zones = standard("docker.internal", WEB);
    zones.add({ name: "docker.internal", records: [a("db", "10.0.0.1")] });
    expect(addressesOf(zones, "web.docker.internal")).toEqual(["172.17.0.2"]);
    zones.add({ name: "docker.internal", records: [a("web", "10.0.0.2")] });
    expect(addressesOf(zones, "web.docker.internal")).toEqual(["10.0.0.2"]);
    zones.remove("docker.internal");
    expect(addressesOf(zones, "web.docker.internal")).toEqual(["172.17.0.2"]);
    expect(zones.list().map(({ name }) => name)).toEqual(["containers.internal"]);
    expect(zones.passing).toEqual({ name: "docker.internal", records: [WEB] });
  });

  test("are as they were when others do not fit", () => {
    const zones = standard("docker.internal", WEB);
    expect(() => zones.setPassing({ name: "docker.internal", records: [a("a..b", "10.0.0.1")] })).toThrow("a..b");
    const many = Array.from({ length: MAX_RECORDS + 1 }, (_, number) => a(`b${number}`, "10.0.0.1"));
    expect(() => zones.setPassing({ name: "docker.internal", records: many })).toThrow(
      `at most ${MAX_RECORDS} records`,
    );
    expect(addressesOf(zones, "web.docker.internal")).toEqual(["172.17.0.2"]);
  });
});

describe("a look-up by an address", () => {
  test("has the names that come and go, of IPv4 and IPv6, and may not be kept", () => {
    const zones = standard("docker.internal", WEB, a("web.shop", "172.17.0.2"), {
      name: "web",
      type: "AAAA",
      address: "2001:DB8::5",
    });
    expect(ask(zones, "2.0.17.172.in-addr.arpa", "PTR").answers).toMatchObject([
      { type: "PTR", ttl: 0, data: "web.docker.internal" },
      { type: "PTR", ttl: 0, data: "web.shop.docker.internal" },
    ]);
    const name = `5.${"0.".repeat(23)}8.b.d.0.1.0.0.2.ip6.arpa`;
    expect(ask(zones, name, "PTR").answers).toMatchObject([{ data: "web.docker.internal" }]);
    expect(soaOf(zones, "2.0.17.172.in-addr.arpa", "TXT")).toMatchObject({ rcode: 0, ttl: 0 });
    // One that nobody has is not ours.
    expect(lookUp(zones, "3.0.17.172.in-addr.arpa", "PTR")).toBeNull();
  });

  test("has 16 of them at most", () => {
    const names = Array.from({ length: 100 }, (_, number) => a(`box${number}`, "172.17.0.2"));
    expect(ask(standard("boxes", ...names), "2.0.17.172.in-addr.arpa", "PTR").answers).toHaveLength(16);
  });

  test("has the names of zones alone where they have one", () => {
    const zones = new Zones([
      ...standardZones({ host: 0x7f000001, gateway: 2 }),
      { name: "17.172.in-addr.arpa", records: [{ name: "2.0", type: "PTR", target: "router.lab" }] },
    ]);
    zones.setPassing({ name: "boxes", records: [WEB, a("db", "172.17.0.3"), a("host", "127.0.0.1")] });
    expect(ask(zones, "2.0.17.172.in-addr.arpa", "PTR").answers).toMatchObject([{ data: "router.lab", ttl: 60 }]);
    expect(ask(zones, "3.0.17.172.in-addr.arpa", "PTR").answers).toMatchObject([{ data: "db.boxes", ttl: 0 }]);
    const ours = ask(zones, "1.0.0.127.in-addr.arpa", "PTR").answers ?? [];
    expect(ours.map((record) => ("data" in record ? record.data : null))).not.toContain("host.boxes");
  });
});
