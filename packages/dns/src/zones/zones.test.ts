import { parseIpv4 } from "@hostd/stack";
import type { Answer } from "dns-packet";
import { describe, expect, test } from "vitest";
import { dataOf, decoded, queryMessage, readValid } from "../testing/messages.ts";
import { a, addressesOf, ask, lab, lookUp, rawQuery, testClient } from "../testing/zones.ts";
import { standardZones } from "./standard-zones.ts";
import { Zones } from "./zones.ts";

const zones = new Zones(standardZones({ host: parseIpv4("192.168.65.254"), gateway: parseIpv4("192.168.65.1") }));
const soaOf = (name: string) => [{ type: "SOA", name }];
const noData = { rcode: 0, answers: [], authorities: soaOf("lab") };
const noName = { rcode: 3, answers: [], authorities: soaOf("lab") };

describe("names of a zone", () => {
  test("are found in any case and answered in the case they were asked in", () => {
    const response = ask(zones, "HOST.docker.Internal", "A");
    expect(response).toMatchObject({ rcode: 0, flag_aa: true, flag_ra: true, flag_rd: true, authorities: [] });
    expect(response.answers).toEqual([
      { name: "HOST.docker.Internal", type: "A", class: "IN", ttl: 60, flush: false, data: "192.168.65.254" },
    ]);
    const upper = new Zones([{ name: "LAB.Internal.", records: [a("Db", "10.0.0.1")] }]);
    expect(addressesOf(upper, "db.lab.internal")).toEqual(["10.0.0.1"]);
  });

  test("are answered by the zone in its plain form", () => {
    const upper = new Zones([{ name: "LAB.Internal.", records: [a("db", "10.0.0.1")] }]);
    expect(lookUp(upper, "DB.Lab.internal", "A")).toMatchObject({ kind: "answer", zone: "lab.internal" });
  });

  test.each([
    ["AAAA", 28],
    ["TXT", 16],
    ["MX", 15],
    ["SOA", 6],
    ["HTTPS", 65],
  ])("that exist answer %s with no data and the SOA", (_, type) => {
    const name = ["host", "docker", "internal"].map((label) => Buffer.from(label));
    const answer = zones.answer(rawQuery(name, type), testClient);
    if (answer?.kind !== "answer") throw new Error("there is no answer");
    expect(decoded(answer.message)).toMatchObject({
      rcode: 0,
      flag_aa: true,
      answers: [],
      authorities: [{ type: "SOA", name: "docker.internal", ttl: 60, data: { mname: "docker.internal", minimum: 60 } }],
    });
  });

  test("that do not exist are NXDOMAIN with the SOA for every type", () => {
    for (const type of ["A", "AAAA", "PTR", "ANY"] as const) {
      for (const name of ["nothere.docker.internal", "x.host.docker.internal"]) {
        expect(ask(zones, name, type)).toMatchObject({
          rcode: 3,
          flag_aa: true,
          answers: [],
          authorities: soaOf("docker.internal"),
        });
      }
    }
  });

  test("are only those whose last labels are the zone", () => {
    for (const name of ["internal", "docker.com", "mydocker.internal", "host.docker.internal.example", "."]) {
      expect(lookUp(zones, name, "A")).toBeNull();
    }
    // One label "x.docker" is not the two labels of the zone.
    const message = queryMessage("x-docker.internal", "A");
    message[14] = 0x2e;
    expect(zones.answer(readValid(message), testClient)).toBeNull();
  });

  test("above a record exist without data", () => {
    const deep = new Zones([{ name: "internal", records: [a("a.b.lima", "10.0.0.1")] }]);
    expect(ask(deep, "lima.internal", "A")).toMatchObject({ rcode: 0, answers: [] });
    expect(ask(deep, "b.lima.internal", "A")).toMatchObject({ rcode: 0, answers: [] });
    expect(ask(deep, "c.lima.internal", "A")).toMatchObject({ rcode: 3 });
  });

  test("of the zone itself have its SOA and the records at @", () => {
    const apex = lab(a("@", "10.0.0.1"));
    expect(addressesOf(apex, "lab")).toEqual(["10.0.0.1"]);
    expect(ask(apex, "lab", "SOA")).toMatchObject({
      rcode: 0,
      answers: [{ type: "SOA", data: { rname: "nobody.invalid" } }],
      authorities: [],
    });
    expect(ask(apex, "lab", "AAAA")).toMatchObject(noData);
    expect(ask(lab(), "lab", "A")).toMatchObject(noData);
    expect(ask(apex, "lab", "ANY").answers).toMatchObject([{ type: "A" }, { type: "SOA" }]);
  });

  test("have all their addresses, and ANY asks for everything", () => {
    const several = new Zones([
      { name: "lab", records: [a("db", "10.0.0.1")] },
      { name: "lab", records: [{ name: "db", type: "A", address: parseIpv4("10.0.0.2") }] },
    ]);
    expect(addressesOf(several, "db.lab")).toEqual(["10.0.0.1", "10.0.0.2"]);
    expect(dataOf(ask(several, "db.lab", "ANY").answers, "A")).toEqual(["10.0.0.1", "10.0.0.2"]);
    const types = lab(a("db", "10.0.0.1"), { name: "db", type: "AAAA", address: "fd00::1" }, a("other", "10.0.0.2"));
    expect(ask(types, "db.lab", "ANY").answers).toMatchObject([{ type: "A" }, { type: "AAAA" }]);
    expect(ask(types, "db.lab", "AAAA").answers).toMatchObject([{ type: "AAAA", data: "fd00::1" }]);
  });

  test("belong to the first zone that they are in", () => {
    const outer = { name: "lab", records: [a("db.inner", "10.0.0.1")] };
    const inner = { name: "inner.lab", records: [a("db", "10.0.0.2")] };
    expect(addressesOf(new Zones([inner, outer]), "db.inner.lab")).toEqual(["10.0.0.2"]);
    expect(ask(new Zones([inner, outer]), "no.inner.lab", "A").authorities).toMatchObject(soaOf("inner.lab"));
    expect(addressesOf(new Zones([outer, inner]), "db.inner.lab")).toEqual(["10.0.0.1"]);
    expect(ask(new Zones([outer, inner]), "no.inner.lab", "A").authorities).toMatchObject(soaOf("lab"));
  });

  test("are refused in another class than IN, and never passed on", () => {
    expect(ask(zones, "host.docker.internal", "TXT", { class: "CH" })).toMatchObject({ rcode: 5, answers: [] });
    expect(dataOf(ask(zones, "host.docker.internal", "A", { class: "ANY" }).answers, "A")).toHaveLength(1);
  });
});

describe("records", () => {
  test("of every type are answered as they are given", () => {
    const all = lab(
      { name: "x", type: "A", address: "10.0.0.1" },
      { name: "x", type: "AAAA", address: "FD00:0::1" },
      { name: "x", type: "PTR", target: "Host.example." },
      { name: "x", type: "TXT", text: "v=spf1 -all" },
      { name: "x", type: "MX", preference: 10, exchange: "mail.example" },
      { name: "x", type: "SRV", priority: 1, weight: 2, port: 65_535, target: "db.example." },
    );
    expect(dataOf(ask(all, "x.lab", "A").answers, "A")).toEqual(["10.0.0.1"]);
    expect(dataOf(ask(all, "x.lab", "AAAA").answers, "AAAA")).toEqual(["fd00::1"]);
    expect(dataOf(ask(all, "x.lab", "PTR").answers, "PTR")).toEqual(["Host.example"]);
    expect(dataOf(ask(all, "x.lab", "TXT").answers, "TXT")).toEqual([[Buffer.from("v=spf1 -all")]]);
    expect(dataOf(ask(all, "x.lab", "MX").answers, "MX")).toEqual([{ preference: 10, exchange: "mail.example" }]);
    expect(dataOf(ask(all, "x.lab", "SRV").answers, "SRV")).toEqual([
      { priority: 1, weight: 2, port: 65_535, target: "db.example" },
    ]);
    expect(ask(all, "x.lab", "ANY").answers).toHaveLength(6);
  });

  test("are kept for their TTL, or for a minute", () => {
    const timed = lab({ name: "db", type: "A", address: "10.0.0.1", ttl: 0 }, a("db", "10.0.0.2"));
    expect(ask(timed, "db.lab", "A").answers).toMatchObject([{ ttl: 0 }, { ttl: 60 }]);
    expect(ask(lab({ name: "t", type: "TXT", text: "", ttl: 0x7fff_ffff }), "t.lab", "TXT").answers).toMatchObject([
      { ttl: 0x7fff_ffff },
    ]);
  });

  test("with a long text have it in strings of 255 bytes", () => {
    const [data] = dataOf(ask(lab({ name: "t", type: "TXT", text: "ä".repeat(300) }), "t.lab", "TXT").answers, "TXT");
    if (!Array.isArray(data)) throw new Error("not a list of strings");
    expect(data.map(({ length }) => length)).toEqual([255, 255, 90]);
    expect(Buffer.concat(data).toString()).toBe("ä".repeat(300));
  });

  test("with a list of texts have a string for each", () => {
    const listed = lab({ name: "t", type: "TXT", text: ["one", "", "three"] });
    expect(dataOf(ask(listed, "t.lab", "TXT").answers, "TXT")).toEqual([
      ["one", "", "three"].map((s) => Buffer.from(s)),
    ]);
  });

  test("with a function have the address for the client that asks, or none", () => {
    const dynamic = lab({ name: "me", type: "A", address: ({ vmAddress }) => vmAddress });
    expect(addressesOf(dynamic, "me.lab")).toEqual(["192.168.65.3"]);
    expect(addressesOf(dynamic, "me.lab", { ...testClient, vmAddress: parseIpv4("10.0.0.9") })).toEqual(["10.0.0.9"]);
    expect(ask(dynamic, "me.lab", "A", {}, { ...testClient, vmAddress: null })).toMatchObject(noData);
  });

  test("that lead to the root say that there is nothing", () => {
    const none = lab({ name: "_x._tcp", type: "SRV", priority: 0, weight: 0, port: 0, target: "." });
    expect(dataOf(ask(none, "_x._tcp.lab", "SRV").answers, "SRV")).toMatchObject([{ target: "." }]);
  });
});

describe("aliases", () => {
  const cname = (name: string, target: string) => ({ name, type: "CNAME" as const, target });
  const steps = (answers: readonly Answer[] = []) =>
    answers.map((answer) => `${answer.name} ${answer.type} ${"data" in answer ? answer.data : ""}`);

  test("are followed within a zone", () => {
    const chain = lab(cname("a", "B.lab."), cname("b", "c.lab"), a("c", "10.0.0.1"));
    const response = ask(chain, "A.lab", "A");
    expect(response).toMatchObject({ rcode: 0, flag_aa: true, authorities: [] });
    expect(steps(response.answers)).toEqual(["A.lab CNAME B.lab", "B.lab CNAME c.lab", "c.lab A 10.0.0.1"]);
  });

  test("are not followed for CNAME and ANY", () => {
    const chain = lab(cname("a", "b.lab"), cname("b", "c.lab"), a("c", "10.0.0.1"));
    for (const type of ["CNAME", "ANY"] as const) {
      expect(steps(ask(chain, "a.lab", type).answers)).toEqual(["a.lab CNAME b.lab"]);
    }
  });

  test("are followed into other zones", () => {
    const two = new Zones([
      { name: "lab", records: [cname("a", "db.other"), cname("b", "nodb.other")] },
      { name: "other", records: [a("db", "10.0.0.1")] },
    ]);
    expect(steps(ask(two, "a.lab", "A").answers)).toEqual(["a.lab CNAME db.other", "db.other A 10.0.0.1"]);
    expect(lookUp(two, "a.lab", "A")).toMatchObject({ zone: "lab" });
    // The response code is that of the last name (RFC 6604, section 3), the SOA that of its zone.
    const noData = ask(two, "a.lab", "AAAA");
    expect(noData).toMatchObject({ rcode: 0, authorities: soaOf("other") });
    expect(steps(noData.answers)).toEqual(["a.lab CNAME db.other"]);
    const noName = ask(two, "b.lab", "A");
    expect(noName).toMatchObject({ rcode: 3, authorities: soaOf("other") });
    expect(steps(noName.answers)).toEqual(["b.lab CNAME nodb.other"]);
  });

  test("of names that are not ours are handed on", () => {
    const out = lab(cname("a", "b.lab"), cname("b", "WWW.example."));
    expect(lookUp(out, "a.lab", "AAAA")).toEqual({
      kind: "alias",
      zone: "lab",
      target: "WWW.example",
      aliases: [
        { type: "CNAME", name: "a.lab", ttl: 60, data: "b.lab" },
        { type: "CNAME", name: "b.lab", ttl: 60, data: "WWW.example" },
      ],
    });
    expect(steps(ask(out, "b.lab", "CNAME").answers)).toEqual(["b.lab CNAME WWW.example"]);
  });

  test("of the zone itself lead on for every type", () => {
    const apex = lab(cname("@", "www.example"));
    expect(lookUp(apex, "lab", "A")).toMatchObject({ kind: "alias", target: "www.example" });
  });

  test("of an address lead to its names, and have those of the address that they lead to", () => {
    // Delegation without classes (RFC 2317), within one zone.
    const reverse = new Zones([
      { name: "0.0.10.in-addr.arpa", records: [cname("1", "2.0.0.10.in-addr.arpa")] },
      { name: "lab", records: [a("one", "10.0.0.1"), a("two", "10.0.0.2")] },
    ]);
    expect(steps(ask(reverse, "1.0.0.10.in-addr.arpa", "PTR").answers)).toEqual([
      "1.0.0.10.in-addr.arpa CNAME 2.0.0.10.in-addr.arpa",
      "2.0.0.10.in-addr.arpa PTR two.lab",
    ]);
  });

  test("are followed eight times", () => {
    const chain = (length: number) =>
      lab(
        ...Array.from({ length }, (_, index) => cname(`a${index}`, `a${index + 1}.lab`)),
        a(`a${length}`, "10.0.0.1"),
      );
    expect(ask(chain(8), "a0.lab", "A")).toMatchObject({ rcode: 0, answers: { length: 9 } });
    expect(ask(chain(9), "a0.lab", "A")).toMatchObject({ rcode: 2, answers: [], authorities: [] });
  });

  test("in a loop are an error", () => {
    const loop = lab(cname("a", "b.lab"), cname("b", "a.lab"), cname("self", "self.lab"));
    for (const name of ["a.lab", "self.lab"]) {
      expect(ask(loop, name, "A")).toMatchObject({ rcode: 2, answers: [], authorities: [] });
    }
    expect(steps(ask(loop, "self.lab", "CNAME").answers)).toEqual(["self.lab CNAME self.lab"]);
  });

  test("from wildcards and regular expressions are owned by the name that was asked", () => {
    const synthesized = lab(
      cname("*.w", "db.lab"),
      { regexp: "^r\\d$", type: "CNAME", target: "db.lab" },
      a("db", "10.0.0.1"),
    );
    for (const name of ["x.w.lab", "r1.lab"]) {
      expect(steps(ask(synthesized, name, "A").answers)).toEqual([`${name} CNAME db.lab`, "db.lab A 10.0.0.1"]);
    }
  });
});

describe("a default address", () => {
  const defaults = (address: string) =>
    new Zones([{ name: "lab", records: [a("db", "10.0.0.1"), a("x.deep", "10.0.0.2")], defaultAddress: address }]);

  test("of IPv4 is that of every name without records but the zone itself", () => {
    const zone = defaults("10.9.9.9");
    for (const name of ["nothere.lab", "x.y.lab", "deep.lab", "below.db.lab"]) {
      expect(ask(zone, name, "A").answers).toMatchObject([{ name, ttl: 60, data: "10.9.9.9" }]);
      expect(ask(zone, name, "AAAA")).toMatchObject(noData);
      expect(ask(zone, name, "TXT")).toMatchObject(noData);
    }
    expect(addressesOf(zone, "db.lab")).toEqual(["10.0.0.1"]);
    expect(ask(zone, "lab", "A")).toMatchObject(noData);
    expect(ask(zone, "9.9.9.10.in-addr.lab", "PTR")).toMatchObject(noData);
  });

  test("of IPv6 is an AAAA", () => {
    const zone = defaults("FD00::9");
    expect(dataOf(ask(zone, "nothere.lab", "AAAA").answers, "AAAA")).toEqual(["fd00::9"]);
    expect(ask(zone, "nothere.lab", "A")).toMatchObject(noData);
    expect(ask(zone, "db.lab", "AAAA")).toMatchObject(noData);
  });

  test("has no name of its own", () => {
    expect(lookUp(defaults("10.9.9.9"), "9.9.9.10.in-addr.arpa", "PTR")).toBeNull();
  });
});

describe("names with bytes that are no text", () => {
  const hostile = new Zones([
    {
      name: "lab",
      records: [{ regexp: ".*", type: "A", address: "10.0.0.1" }, a("*.w", "10.0.0.2")],
      defaultAddress: "10.0.0.3",
    },
  ]);
  const labels = (...names: (string | number[])[]) => names.map((name) => Buffer.from(name));

  test("match no regular expression, wildcard or default address", () => {
    for (const byte of [0, 0x0a, 0x20, 0x2e, 0x5c, 0x7f, 0xc3, 0xff]) {
      for (const name of [labels([0x61, byte], "lab"), labels([byte], "w", "lab"), labels("a", [byte], "w", "lab")]) {
        const answer = hostile.answer(rawQuery(name, 1), testClient);
        if (answer?.kind !== "answer") throw new Error("there is no answer");
        expect(answer.message[3] & 15).toBe(3);
      }
    }
  });

  test("that look like one of a zone are none", () => {
    expect(hostile.answer(rawQuery(labels("db.lab"), 1), testClient)).toBeNull();
    expect(zones.answer(rawQuery(labels("x", "docker.internal"), 1), testClient)).toBeNull();
  });

  test("of marks that are printed are names as others", () => {
    const name = rawQuery(labels('a"$%(),;*', "lab"), 1);
    expect(hostile.answer(name, testClient)).toMatchObject({ kind: "answer", zone: "lab" });
    expect(addressesOf(hostile, 'a"$%(),;*.lab')).toEqual(["10.0.0.1"]);
  });
});

test("without records and default address every name but the zone's does not exist", () => {
  expect(ask(lab(), "db.lab", "A")).toMatchObject(noName);
});
