import { parseIpv4 } from "@hostd/stack";
import { describe, expect, test } from "vitest";
import type { QueryContext } from "./context.ts";
import { standardZones } from "./standard-zones.ts";
import { dataOf, decoded, type QueryOptions, queryMessage, readValid } from "./testing/messages.ts";
import { type Zone, Zones } from "./zones.ts";

const context: QueryContext = { client: parseIpv4("172.17.0.2"), vmAddress: parseIpv4("192.168.65.3") };
const standard = standardZones({ host: parseIpv4("192.168.65.254"), gateway: parseIpv4("192.168.65.1") });

type AskedType = Parameters<typeof queryMessage>[1];

/** Asks zones of which one is known to hold the name. */
function ask(zones: Zones, name: string, type: AskedType, options: QueryOptions = {}, from = context) {
  const response = zones.answer(readValid(queryMessage(name, type, options)), from);
  if (response === null) throw new Error(`${name} is in no zone`);
  return decoded(response);
}

const zones = new Zones(standard);

describe("standard names", () => {
  test.each([
    ["host.docker.internal", "192.168.65.254"],
    ["gateway.docker.internal", "192.168.65.1"],
    ["vm.docker.internal", "192.168.65.3"],
    ["host.containers.internal", "192.168.65.254"],
    ["gateway.containers.internal", "192.168.65.1"],
  ])("%s has the address %s", (name, address) => {
    const response = ask(zones, name, "A");
    expect(response).toMatchObject({ rcode: 0, flag_aa: true, flag_ra: true, flag_rd: true, authorities: [] });
    expect(response.answers).toEqual([{ name, type: "A", class: "IN", ttl: 60, flush: false, data: address }]);
  });

  test("vm.docker.internal is the VM that asks", () => {
    const other = { client: parseIpv4("192.168.65.9"), vmAddress: parseIpv4("192.168.65.9") };
    expect(dataOf(ask(zones, "vm.docker.internal", "A", {}, other).answers, "A")).toEqual(["192.168.65.9"]);
  });

  test("vm.docker.internal exists without an address while the VM has none", () => {
    const response = ask(zones, "vm.docker.internal", "A", {}, { client: 0, vmAddress: null });
    expect(response).toMatchObject({ rcode: 0, answers: [] });
    expect(response.authorities).toHaveLength(1);
  });
});

describe("names of a zone", () => {
  test("are found in any case and answered in the case they were asked in", () => {
    expect(ask(zones, "HOST.docker.Internal", "A").answers).toMatchObject([
      { name: "HOST.docker.Internal", data: "192.168.65.254" },
    ]);
    const upper = new Zones([{ name: "LAB.Internal.", records: [{ name: "Db", type: "A", address: "10.0.0.1" }] }]);
    expect(dataOf(ask(upper, "db.lab.internal", "A").answers, "A")).toEqual(["10.0.0.1"]);
  });

  test.each(["AAAA", "TXT", "MX", "HTTPS"] as const)("that exist answer %s with no data and the SOA", (type) => {
    const message = queryMessage("host.docker.internal", type === "HTTPS" ? "A" : type);
    if (type === "HTTPS") message[message.length - 3] = 65;
    const response = zones.answer(readValid(message), context);
    expect(response && decoded(response)).toMatchObject({
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
          authorities: [{ type: "SOA", name: "docker.internal" }],
        });
      }
    }
  });

  test("are only those whose last labels are the zone", () => {
    for (const name of ["internal", "docker.com", "mydocker.internal", "host.docker.internal.example", "."]) {
      expect(zones.answer(readValid(queryMessage(name, "A")), context)).toBeNull();
    }
    // One label "x.docker" is not the two labels of the zone.
    const message = queryMessage("x-docker.internal", "A");
    message[14] = 0x2e;
    expect(zones.answer(readValid(message), context)).toBeNull();
  });

  test("above a record exist without data", () => {
    const deep = new Zones([{ name: "internal", records: [{ name: "a.b.lima", type: "A", address: "10.0.0.1" }] }]);
    expect(ask(deep, "lima.internal", "A")).toMatchObject({ rcode: 0, answers: [] });
    expect(ask(deep, "b.lima.internal", "A")).toMatchObject({ rcode: 0, answers: [] });
    expect(ask(deep, "c.lima.internal", "A")).toMatchObject({ rcode: 3 });
  });

  test("of the zone itself have its SOA and the records at @", () => {
    const apex = new Zones([{ name: "lab", records: [{ name: "@", type: "A", address: "10.0.0.1" }] }]);
    expect(dataOf(ask(apex, "lab", "A").answers, "A")).toEqual(["10.0.0.1"]);
    expect(ask(apex, "lab", "SOA")).toMatchObject({
      rcode: 0,
      answers: [{ type: "SOA", data: { rname: "nobody.invalid" } }],
      authorities: [],
    });
    expect(ask(apex, "lab", "AAAA")).toMatchObject({ rcode: 0, answers: [], authorities: [{ type: "SOA" }] });
  });

  test("have all their addresses, and ANY asks for everything", () => {
    const several = new Zones([
      { name: "lab", records: [{ name: "db", type: "A", address: "10.0.0.1" }] },
      { name: "lab", records: [{ name: "db", type: "A", address: parseIpv4("10.0.0.2") }] },
    ]);
    expect(dataOf(ask(several, "db.lab", "A").answers, "A")).toEqual(["10.0.0.1", "10.0.0.2"]);
    expect(dataOf(ask(several, "db.lab", "ANY").answers, "A")).toEqual(["10.0.0.1", "10.0.0.2"]);
  });

  test("belong to the innermost zone", () => {
    const nested = new Zones([
      { name: "lab", records: [{ name: "db.inner", type: "A", address: "10.0.0.1" }] },
      { name: "inner.lab", records: [{ name: "db", type: "A", address: "10.0.0.2" }] },
    ]);
    expect(dataOf(ask(nested, "db.inner.lab", "A").answers, "A")).toEqual(["10.0.0.2"]);
    expect(ask(nested, "no.inner.lab", "A").authorities).toMatchObject([{ name: "inner.lab" }]);
  });

  test("are refused in another class than IN, and never passed on", () => {
    expect(ask(zones, "host.docker.internal", "TXT", { class: "CH" })).toMatchObject({ rcode: 5, answers: [] });
    expect(dataOf(ask(zones, "host.docker.internal", "A", { class: "ANY" }).answers, "A")).toHaveLength(1);
  });

  test("answer an unknown version of EDNS with BADVERS", () => {
    const response = ask(zones, "host.docker.internal", "A", { udpPayloadSize: 1232, ednsVersion: 1 });
    expect(response).toMatchObject({ rcode: 0, answers: [] });
    expect(response.additionals).toMatchObject([{ type: "OPT", extendedRcode: 1, ednsVersion: 0 }]);
  });
});

describe("look-ups by address", () => {
  test("give every name of an address", () => {
    expect(dataOf(ask(zones, "254.65.168.192.IN-ADDR.arpa", "PTR").answers, "PTR")).toEqual([
      "host.docker.internal",
      "host.containers.internal",
    ]);
    expect(dataOf(ask(zones, "3.65.168.192.in-addr.arpa", "PTR").answers, "PTR")).toEqual(["vm.docker.internal"]);
  });

  test("give no data for other types", () => {
    expect(ask(zones, "1.65.168.192.in-addr.arpa", "A")).toMatchObject({
      rcode: 0,
      answers: [],
      authorities: [{ type: "SOA", name: "1.65.168.192.in-addr.arpa" }],
    });
  });

  test("are not ours when no name has an address", () => {
    const empty = new Zones([{ name: "lab", records: [] }]);
    for (const name of ["1.0.0.10.in-addr.arpa", "arpa"]) {
      expect(empty.answer(readValid(queryMessage(name, "PTR")), context)).toBeNull();
    }
    expect(ask(empty, "db.lab", "A")).toMatchObject({ rcode: 3 });
  });

  test("of other addresses are not ours", () => {
    for (const name of ["9.65.168.192.in-addr.arpa", "65.168.192.in-addr.arpa", "01.65.168.192.in-addr.arpa"]) {
      expect(zones.answer(readValid(queryMessage(name, "PTR")), context)).toBeNull();
    }
  });

  test("of a whole network are ours when it has a zone", () => {
    const whole = new Zones([...standard, { name: "65.168.192.in-addr.arpa", records: [] }]);
    const soa = { type: "SOA", name: "65.168.192.in-addr.arpa" };
    expect(ask(whole, "9.65.168.192.in-addr.arpa", "PTR")).toMatchObject({ rcode: 3, authorities: [soa] });
    expect(ask(whole, "1.65.168.192.in-addr.arpa", "A")).toMatchObject({ rcode: 0, authorities: [soa] });
    expect(dataOf(ask(whole, "1.65.168.192.in-addr.arpa", "PTR").answers, "PTR")).toHaveLength(2);
  });
});

describe("a zone that does not fit", () => {
  const withRecord = (name: string): Zone[] => [{ name: "lab", records: [{ name, type: "A", address: "10.0.0.1" }] }];

  test("is reported with what is allowed", () => {
    expect(() => new Zones([{ name: "a..b", records: [] }])).toThrow(/^"a\.\.b" is not a zone name: labels of 1 to 63/);
    expect(() => new Zones(withRecord("a b"))).toThrow(/^"a b" is not a name of a record in the zone lab: /);
    for (const name of ["", ".", "a.", "x".repeat(64), `${"x".repeat(60)}.`.repeat(5)]) {
      expect(() => new Zones(withRecord(name))).toThrow(RangeError);
    }
    expect(() => new Zones([{ name: "lab", records: [{ name: "a", type: "A", address: "10.0.0" }] }])).toThrow(
      'not an IPv4 address: "10.0.0"',
    );
  });
});
