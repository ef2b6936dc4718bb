import { DnsStatistics, type Zone, Zones } from "@hostd/dns";
import { parseIpv4 } from "@hostd/stack";
import { describe, expect, it } from "vitest";
import { EventHub, type HostdEvent } from "../control/event-hub.ts";
import { type ServedRoutes, serveRoutes } from "../testing/served-routes.ts";
import { type DnsControl, type DnsVm, dnsRoutes } from "./api.ts";

const GATEWAY = parseIpv4("192.168.65.1");

const vm = (name: string, address: string): DnsVm => ({
  name,
  dnsStatistics: new DnsStatistics(),
  dnsContext: { link: name, client: parseIpv4(address), vmAddress: parseIpv4(address) },
});
const ONE = vm("one", "192.168.65.3");
const TWO = vm("two", "192.168.65.4");

interface Played {
  readonly served: ServedRoutes;
  readonly zones: Zones;
  /** What the name server was asked. */
  readonly queries: unknown[];
  readonly events: HostdEvent[];
}

/** The routes over a name server of which there are only the zones. */
async function play(vms: readonly DnsVm[] = []): Promise<Played> {
  const zones = new Zones([{ name: "lab", records: [{ name: "old", type: "A", address: "192.0.2.1" }] }]);
  const queries: unknown[] = [];
  const dns = {
    report: () => ({ zones: zones.list() }),
    query: async (name: string, type: number, context: unknown) => {
      queries.push([name, type, context]);
      if (name === "fault") throw new Error("unforeseen");
      if (name === "a..b") throw new RangeError("a..b is no name");
      return { name, type: "A", origin: "zone", source: "lab" };
    },
    addZone: (zone: Zone) => zones.add(zone),
    removeZone: (name: string, link: string | undefined) => zones.remove(name, link),
  };
  const hub = new EventHub();
  const events: HostdEvent[] = [];
  hub.listen((event) => events.push(event));
  const control = { dns, events: hub, vms: () => vms, config: () => ({ gateway: GATEWAY }) };
  // Only what is used of the reports is there.
  const served = await serveRoutes(dnsRoutes(control as unknown as DnsControl));
  return { served, zones, queries, events };
}

const detailOf = ({ body }: { body: unknown }) => (body as { detail: string }).detail;

describe("a look-up by the control API", () => {
  it("is for the only VM, or for the one that is named", async () => {
    const { served, queries } = await play([ONE]);
    expect((await served.askJson("/v1/dns/query?name=a%2Etest&type=https")).body).toMatchObject({ vm: "one" });
    expect(queries).toEqual([["a.test", 65, ONE.dnsContext]]);
    const both = await play([ONE, TWO]);
    expect((await both.served.askJson("/v1/dns/query?name=a.test&vm=two")).body).toMatchObject({ vm: "two" });
    expect(both.queries).toEqual([["a.test", 1, TWO.dnsContext]]);
  });

  it("is for nobody while there is no VM", async () => {
    const { served, queries } = await play();
    expect((await served.askJson("/v1/dns/query?name=a.test")).body).toMatchObject({ vm: null });
    expect(queries).toEqual([["a.test", 1, { link: "", client: GATEWAY, vmAddress: null }]]);
  });

  it.each([
    [[ONE, TWO], "name=a.test", 400, "2 VMs are attached, so one has to be named: one, two"],
    [[ONE, TWO], "name=a.test&vm=three", 400, "no VM three is attached; there are one, two"],
    [[], "name=a.test&vm=three", 400, "no VM three is attached; there is none"],
    [[ONE], "name=a.test&type=FOO", 400, /^"FOO" is not a type of records: A, /],
    [[ONE], "name=a..b", 400, "a..b is no name"],
    [[ONE], "", 400, "the parameter name is missing, as in /v1/dns/query?name=www.example.com"],
    [[ONE], "name=fault", 500, "unforeseen"],
  ])("is refused where it does not fit, with what is allowed", async (vms, query, status, detail) => {
    const { served } = await play(vms);
    const reply = await served.askJson(`/v1/dns/query?${query}`);
    expect(reply.status).toBe(status);
    expect(detailOf(reply)).toMatch(detail);
  });
});

describe("zones given to the control API", () => {
  it("are read as those of the configuration, and go before what is there", async () => {
    const { served, zones, events } = await play();
    const zone = { name: "lab", records: [{ name: "new", address: "2001:db8::1", ttl: 5 }] };
    const added = await served.askJson("/v1/dns/zones", "POST", zone);
    const records = [
      { name: "new", type: "AAAA", address: "2001:db8::1", ttl: 5 },
      { name: "old", type: "A", address: "192.0.2.1" },
    ];
    expect(added).toEqual({ status: 200, body: { name: "lab", records } });
    await served.askJson("/v1/dns/zones", "POST", { name: "private", vm: "one", defaultAddress: "192.0.2.9" });
    expect(zones.list()).toEqual([
      { name: "lab", records },
      { name: "private", link: "one", defaultAddress: "192.0.2.9", records: [] },
    ]);
    expect((await served.askJson("/v1/dns/zones")).body).toEqual(zones.list());
    expect(events).toMatchObject([
      { type: "zone.added", zone: "lab" },
      { type: "zone.added", zone: "private" },
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
  ])("are refused as %j, with the place and what is allowed, and change nothing", async (body, reason) => {
    const { served, zones, events } = await play();
    const before = zones.list();
    const reply = await served.askJson("/v1/dns/zones", "POST", body);
    expect(reply.status).toBe(400);
    expect(detailOf(reply)).toMatch(reason);
    expect(zones.list()).toEqual(before);
    expect(events).toEqual([]);
  });

  it("are taken out by their name and VM", async () => {
    const { served, zones, events } = await play();
    await served.askJson("/v1/dns/zones", "POST", { name: "lab", vm: "one", defaultAddress: "192.0.2.9" });
    const remove = (query: string) => served.askJson(`/v1/dns/zones?${query}`, "DELETE");
    const missing = await remove("name=lab&vm=two");
    expect(missing.status).toBe(404);
    expect(detailOf(missing)).toBe("there is no zone lab of two; there are lab, lab");
    expect((await remove("name=lab&vm=one")).body).toEqual({ removed: "lab" });
    expect((await remove("name=LAB")).body).toEqual({ removed: "LAB" });
    expect(zones.list()).toEqual([]);
    expect(events.slice(1)).toMatchObject([{ type: "zone.removed" }, { type: "zone.removed" }]);
    expect(detailOf(await remove("name=lab"))).toMatch(/^there is no zone lab/);
    expect((await remove("name=a..b")).status).toBe(400);
    expect((await remove("")).status).toBe(400);
  });
});
