import { parseIpv4 } from "@hostd/stack";
import { describe, expect, test } from "vitest";
import { dataOf } from "../testing/messages.ts";
import { a, addressesOf, ask, lab, lookUp, testClient } from "../testing/zones.ts";
import { standardZones } from "./standard-zones.ts";
import { Zones } from "./zones.ts";

const standard = standardZones({ host: parseIpv4("192.168.65.254"), gateway: parseIpv4("192.168.65.1") });
const zones = new Zones(standard);
const namesOf = (from: Zones, name: string, context = testClient) =>
  dataOf(ask(from, name, "PTR", {}, context).answers, "PTR");

/** fd00::1 */
const V6_ONE = `1.${"0.".repeat(29)}d.f.ip6.arpa`;

describe("look-ups by address", () => {
  test("give every name of an address", () => {
    const response = ask(zones, "254.65.168.192.IN-ADDR.arpa", "PTR");
    expect(response).toMatchObject({ rcode: 0, flag_aa: true, authorities: [] });
    expect(response.answers).toMatchObject([
      { name: "254.65.168.192.IN-ADDR.arpa", ttl: 60, data: "host.docker.internal" },
      { name: "254.65.168.192.IN-ADDR.arpa", ttl: 60, data: "kubernetes.docker.internal" },
      { name: "254.65.168.192.IN-ADDR.arpa", ttl: 60, data: "host.containers.internal" },
    ]);
  });

  test("give the names of the client that asks", () => {
    expect(namesOf(zones, "3.65.168.192.in-addr.arpa")).toEqual(["vm.docker.internal"]);
    const other = { ...testClient, vmAddress: parseIpv4("192.168.65.9") };
    expect(namesOf(zones, "9.65.168.192.in-addr.arpa", other)).toEqual(["vm.docker.internal"]);
    expect(lookUp(zones, "3.65.168.192.in-addr.arpa", "PTR", {}, other)).toBeNull();
    expect(lookUp(zones, "3.65.168.192.in-addr.arpa", "PTR", {}, { ...testClient, vmAddress: null })).toBeNull();
  });

  test("give the names of an IPv6 address, however it is written", () => {
    const v6 = lab(
      { name: "one", type: "AAAA", address: "FD00:0:0::0001" },
      { name: "mapped", type: "AAAA", address: "::ffff:10.0.0.1" },
    );
    expect(namesOf(v6, V6_ONE)).toEqual(["one.lab"]);
    expect(namesOf(v6, V6_ONE.toUpperCase())).toEqual(["one.lab"]);
    expect(namesOf(v6, `1.0.0.0.0.0.a.0.f.f.f.f.${"0.".repeat(20)}ip6.arpa`)).toEqual(["mapped.lab"]);
    expect(lookUp(v6, `2${V6_ONE.slice(1)}`, "PTR")).toBeNull();
    expect(lookUp(v6, V6_ONE.slice(2), "PTR")).toBeNull();
  });

  test("give each name once, and no wildcard, regular expression or older record of a name", () => {
    const one = lab(a("db", "10.0.0.1"), a("DB", "10.0.0.1"), a("*", "10.0.0.1"), {
      regexp: "^r",
      type: "A",
      address: "10.0.0.1",
    });
    expect(namesOf(one, "1.0.0.10.in-addr.arpa")).toEqual(["db.lab"]);
    one.add({ name: "lab", records: [a("db", "10.0.0.2")] });
    expect(lookUp(one, "1.0.0.10.in-addr.arpa", "PTR")).toBeNull();
    expect(namesOf(one, "2.0.0.10.in-addr.arpa")).toEqual(["db.lab"]);
  });

  test("give no data for other types", () => {
    expect(ask(zones, "1.65.168.192.in-addr.arpa", "A")).toMatchObject({
      rcode: 0,
      answers: [],
      authorities: [{ type: "SOA", name: "1.65.168.192.in-addr.arpa" }],
    });
  });

  test("are answered under the name of the address", () => {
    expect(lookUp(zones, "1.65.168.192.IN-ADDR.arpa", "PTR")).toMatchObject({
      kind: "answer",
      zone: "1.65.168.192.in-addr.arpa",
    });
    expect(ask(zones, "1.65.168.192.in-addr.arpa", "SOA").answers).toMatchObject([{ type: "SOA" }]);
  });

  test("are refused in other classes", () => {
    expect(ask(zones, "1.65.168.192.in-addr.arpa", "PTR", { class: "CH" })).toMatchObject({ rcode: 5, answers: [] });
  });

  test("are not ours when no name has an address", () => {
    const empty = new Zones([{ name: "lab", records: [] }]);
    for (const name of ["1.0.0.10.in-addr.arpa", "arpa"]) expect(lookUp(empty, name, "PTR")).toBeNull();
    expect(ask(empty, "db.lab", "A")).toMatchObject({ rcode: 3 });
  });

  test("of other addresses are not ours", () => {
    for (const name of [
      "9.65.168.192.in-addr.arpa",
      "65.168.192.in-addr.arpa",
      "01.65.168.192.in-addr.arpa",
      "x.1.65.168.192.in-addr.arpa",
      "arpa",
    ]) {
      expect(lookUp(zones, name, "PTR")).toBeNull();
    }
  });

  test("of a whole network are ours when it has a zone", () => {
    const whole = new Zones([...standard, { name: "65.168.192.in-addr.arpa", records: [] }]);
    const soa = { type: "SOA", name: "65.168.192.in-addr.arpa" };
    expect(ask(whole, "9.65.168.192.in-addr.arpa", "PTR")).toMatchObject({ rcode: 3, authorities: [soa] });
    expect(ask(whole, "1.65.168.192.in-addr.arpa", "A")).toMatchObject({ rcode: 0, authorities: [soa] });
    expect(namesOf(whole, "1.65.168.192.in-addr.arpa")).toEqual([
      "gateway.docker.internal",
      "http.docker.internal",
      "gateway.containers.internal",
    ]);
  });

  test("give the PTR records of a zone before the names of the address", () => {
    const both = new Zones([
      { name: "0.0.10.in-addr.arpa", records: [{ name: "1", type: "PTR", target: "written.example" }] },
      { name: "lab", records: [a("db", "10.0.0.1")] },
    ]);
    expect(namesOf(both, "1.0.0.10.in-addr.arpa")).toEqual(["written.example", "db.lab"]);
  });
});

describe("zones of a link", () => {
  const of = (link: string) => ({ ...testClient, link });
  const linked = new Zones([
    { name: "lab", link: "vm1", records: [a("db", "10.0.0.1")] },
    { name: "lab", link: "vm2", records: [a("db", "10.0.0.2"), { name: "me", type: "A", address: (c) => c.client }] },
    { name: "private", link: "vm2", records: [a("db", "10.0.0.2")] },
    { name: "shared", records: [a("db", "10.0.0.2"), { name: "x", type: "CNAME", target: "db.private" }] },
  ]);

  test("are seen by it alone", () => {
    expect(addressesOf(linked, "db.lab", of("vm1"))).toEqual(["10.0.0.1"]);
    expect(addressesOf(linked, "db.lab", of("vm2"))).toEqual(["10.0.0.2"]);
    expect(lookUp(linked, "db.lab", "A", {}, of("vm3"))).toBeNull();
    expect(lookUp(linked, "db.private", "A", {}, of("vm1"))).toBeNull();
    expect(addressesOf(linked, "db.shared", of("vm3"))).toEqual(["10.0.0.2"]);
  });

  test("are not reached through an alias of another", () => {
    expect(ask(linked, "x.shared", "A", {}, of("vm2")).answers).toMatchObject([{}, { data: "10.0.0.2" }]);
    expect(lookUp(linked, "x.shared", "A", {}, of("vm1"))).toMatchObject({ kind: "alias", target: "db.private" });
  });

  test("name addresses for it alone", () => {
    expect(namesOf(linked, "2.0.0.10.in-addr.arpa", of("vm1"))).toEqual(["db.shared"]);
    expect(namesOf(linked, "2.0.0.10.in-addr.arpa", of("vm2"))).toEqual(["db.lab", "db.private", "db.shared"]);
    expect(namesOf(linked, "1.0.0.10.in-addr.arpa", of("vm1"))).toEqual(["db.lab"]);
    expect(lookUp(linked, "1.0.0.10.in-addr.arpa", "PTR", {}, of("vm2"))).toBeNull();
    expect(namesOf(linked, "2.0.17.172.in-addr.arpa", of("vm2"))).toEqual(["me.lab"]);
    expect(lookUp(linked, "2.0.17.172.in-addr.arpa", "PTR", {}, of("vm1"))).toBeNull();
  });

  test("come in the order of all zones", () => {
    const own = { name: "lab", link: "vm1", records: [a("db", "10.0.0.1")] };
    const all = { name: "lab", records: [a("db", "10.0.0.2")] };
    expect(addressesOf(new Zones([own, all]), "db.lab", of("vm1"))).toEqual(["10.0.0.1"]);
    expect(addressesOf(new Zones([own, all]), "db.lab", of("vm2"))).toEqual(["10.0.0.2"]);
    expect(addressesOf(new Zones([all, own]), "db.lab", of("vm1"))).toEqual(["10.0.0.2"]);
  });
});
