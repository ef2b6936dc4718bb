import { DnsStatistics, type Zone, Zones } from "@hostd/dns";
import { parseIpv4 } from "@hostd/stack";
import { describe, expect, it } from "vitest";
import { RequestError } from "./api-subject.ts";
import { type DnsVm, dnsSubject } from "./dns-api.ts";
import type { DnsQueryReport } from "./dns-report.ts";
import type { DnsService } from "./dns-service.ts";

type ServiceCalls = "report" | "query" | "addZone" | "removeZone";

const GATEWAY = parseIpv4("192.168.65.1");

const vm = (name: string, address: string): DnsVm => ({
  name,
  dnsStatistics: new DnsStatistics(),
  dnsContext: { link: name, client: parseIpv4(address), vmAddress: parseIpv4(address) },
});
const ONE = vm("one", "192.168.65.3");
const TWO = vm("two", "192.168.65.4");

const ANSWER: Omit<DnsQueryReport, "vm"> = {
  ...{ name: "a.test", type: "A", origin: "zone", source: "test", route: null, milliseconds: 1 },
  ...{ rcode: "NOERROR", flags: [], answers: [], authorities: [], additionals: [], isCutOff: false },
};

/** What is asked of the name server for a request, or the reason for which it is refused. */
async function asked(vms: readonly DnsVm[], type: string, wanted: string | null): Promise<unknown> {
  let call: unknown;
  const service = {
    report: () => {
      throw new Error("not asked for");
    },
    addZone: () => {
      throw new Error("not asked for");
    },
    removeZone: () => {
      throw new Error("not asked for");
    },
    query: async (...parameters: unknown[]) => {
      call = parameters;
      return ANSWER;
    },
  };
  try {
    const report = await dnsSubject(service, () => vms, GATEWAY).dnsQuery("a.test", type, wanted);
    return [report.vm, call];
  } catch (error) {
    if (error instanceof RequestError) return error.message;
    throw error;
  }
}

describe("a look-up by the control API", () => {
  it("is for the only VM, or for the one that is named", async () => {
    expect(await asked([ONE], "https", null)).toEqual(["one", ["a.test", 65, ONE.dnsContext]]);
    expect(await asked([ONE, TWO], "A", "two")).toEqual(["two", ["a.test", 1, TWO.dnsContext]]);
  });

  it("is for nobody while there is no VM", async () => {
    const nobody = { link: "", client: GATEWAY, vmAddress: null };
    expect(await asked([], "A", null)).toEqual([null, ["a.test", 1, nobody]]);
  });

  it("is refused where it does not fit, with what is allowed", async () => {
    expect(await asked([ONE, TWO], "A", null)).toBe("2 VMs are attached, so one has to be named: one, two");
    expect(await asked([ONE, TWO], "A", "three")).toBe("no VM three is attached; there are one, two");
    expect(await asked([], "A", "three")).toBe("no VM three is attached; there is none");
    expect(await asked([ONE], "FOO", null)).toMatch(/^"FOO" is not a type of records: A, /);
  });
});

describe("zones given to the control API", () => {
  function open() {
    const zones = new Zones([{ name: "lab", records: [{ name: "old", type: "A", address: "192.0.2.1" }] }]);
    const service = {
      report: () => ({ zones: zones.list() }),
      query: () => Promise.reject(new Error("not asked for")),
      addZone: (zone: Zone) => zones.add(zone),
      removeZone: (name: string, link: string | undefined) => zones.remove(name, link),
    };
    // Only what is used of the report is there.
    return { zones, subject: dnsSubject(service as unknown as Pick<DnsService, ServiceCalls>, () => [], GATEWAY) };
  }

  it("are read as those of the configuration, and go before what is there", () => {
    const { zones, subject } = open();
    const added = subject.addZone({ name: "lab", records: [{ name: "new", address: "2001:db8::1", ttl: 5 }] });
    const records = [
      { name: "new", type: "AAAA", address: "2001:db8::1", ttl: 5 },
      { name: "old", type: "A", address: "192.0.2.1" },
    ];
    expect(added).toEqual({ name: "lab", records });
    subject.addZone({ name: "private", vm: "one", defaultAddress: "192.0.2.9" });
    expect(zones.list()).toEqual([
      { name: "lab", records },
      { name: "private", link: "one", defaultAddress: "192.0.2.9", records: [] },
    ]);
  });

  it.each([
    [undefined, /^a zone is an object such as/],
    [["lab"], /^a zone is an object such as/],
    [{ name: "lab", vm: 3 }, "vm is the name of a VM, as text"],
    [{}, /^zone\.name: /],
    [{ name: "lab", records: [{ name: "a", type: "MX", address: "192.0.2.1" }] }, /^zone\.records\[0\].*preference/],
    [{ name: "lab", records: [{ regexp: "(", address: "192.0.2.1" }] }, /^zone\.records\[0\]\.regexp: /],
    [{ name: "lab", colour: "red" }, /^zone\.colour: /],
  ])("are refused as %j, with the place and what is allowed, and change nothing", (body, reason) => {
    const { zones, subject } = open();
    const before = zones.list();
    expect(() => subject.addZone(body)).toThrow(RequestError);
    expect(() => subject.addZone(body)).toThrow(reason);
    expect(zones.list()).toEqual(before);
  });

  it("are taken out by their name and VM", () => {
    const { zones, subject } = open();
    subject.addZone({ name: "lab", vm: "one", defaultAddress: "192.0.2.9" });
    expect(() => subject.removeZone("lab", "two")).toThrow("there is no zone lab of two; there are lab, lab");
    expect(subject.removeZone("lab", "one")).toEqual({ removed: "lab" });
    expect(subject.removeZone("LAB", null)).toEqual({ removed: "LAB" });
    expect(zones.list()).toEqual([]);
    expect(() => subject.removeZone("lab", null)).toThrow("there is no zone lab");
    expect(() => subject.removeZone("a..b", null)).toThrow(RequestError);
  });
});
