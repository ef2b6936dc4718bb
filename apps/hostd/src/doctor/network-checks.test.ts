import { formatServerAddress } from "@hostd/dns";
import { parseIpv4 } from "@hostd/stack";
import { describe, expect, it } from "vitest";
import { fakeHost, files, servers, subjectOf } from "../testing/fake-host.ts";
import type { Host } from "./host.ts";
import { checkNameServers, checkSubnet } from "./network-checks.ts";

/** Servers answer unless their address is named here. */
const silent = (...addresses: readonly string[]): Pick<Host, "askNameServer"> => ({
  askNameServer: async (server) => {
    if (addresses.includes(formatServerAddress(server))) throw new Error("no answer within 1.5 seconds");
    return "NOERROR";
  },
});

describe("the check of name servers", () => {
  it("is content when each answers, whatever it says of the root", async () => {
    const policy = servers({ "": ["192.0.2.53", "2001:db8::53"], "corp.example": ["192.0.2.54:5353"] });
    const host = fakeHost({
      namePolicy: async () => policy,
      askNameServer: async ({ port }) => (port === 5353 ? "REFUSED" : "NOERROR"),
    });
    expect(await checkNameServers(host, subjectOf(host))).toEqual([
      { name: "name server", status: "ok", seen: "192.0.2.53 (for every other name; from /etc/resolv.conf) answers" },
      { name: "name server", status: "ok", seen: "2001:db8::53 (for every other name; from /etc/resolv.conf) answers" },
      {
        name: "name server",
        status: "ok",
        seen: "192.0.2.54:5353 (for corp.example; from /etc/resolv.conf) answers (with REFUSED)",
      },
    ]);
  });

  it("warns of one that does not answer beside others that do", async () => {
    const policy = servers({ "": ["192.0.2.53", "192.0.2.54"] });
    const host = fakeHost({ namePolicy: async () => policy, ...silent("192.0.2.53") });
    const [first, second] = await checkNameServers(host, subjectOf(host));
    expect(first).toMatchObject({
      status: "warning",
      seen: "192.0.2.53 (for every name; from /etc/resolv.conf) does not answer: no answer within 1.5 seconds",
    });
    expect(second.status).toBe("ok");
  });

  it("fails when no server of a domain answers", async () => {
    const policy = servers({ "": ["192.0.2.53"], "corp.example": ["192.0.2.54"] });
    const host = fakeHost({ namePolicy: async () => policy, ...silent("192.0.2.54") });
    expect((await checkNameServers(host, subjectOf(host))).map(({ status }) => status)).toEqual(["ok", "failure"]);
  });

  it("asks a server once that is there for several domains", async () => {
    const domains = Object.fromEntries(["", "a", "b", "c", "d"].map((domain) => [domain, ["192.0.2.53"]]));
    let asked = 0;
    const askNameServer = async () => {
      asked++;
      return "NOERROR";
    };
    const host = fakeHost({ namePolicy: async () => servers(domains), askNameServer });
    const [finding, ...others] = await checkNameServers(host, subjectOf(host));
    expect([asked, others]).toEqual([1, []]);
    expect(finding.seen).toBe("192.0.2.53 (for every other name, a, b, 2 more; from /etc/resolv.conf) answers");
  });

  it.each([{}, { "": [] }, { "corp.example": ["192.0.2.54"] }])("fails without a server: %j", async (byDomain) => {
    const host = fakeHost({ namePolicy: async () => servers(byDomain) });
    const [finding] = await checkNameServers(host, subjectOf(host));
    expect(finding).toMatchObject({ status: "failure", seen: "no name server is known for names in general" });
  });

  it("warns of a resolv.conf that cannot be read, where it is needed", async () => {
    const host = fakeHost({ readFile: files({}) });
    expect(await checkNameServers(host, subjectOf(host))).toMatchObject([{ status: "warning" }, { status: "ok" }]);
    const given = subjectOf(host, { dns: { servers: ["192.0.2.53"] } });
    expect(await checkNameServers(host, given)).toMatchObject([{ status: "ok" }]);
    const mac = fakeHost({ platform: "darwin", readFile: files({}) });
    expect(await checkNameServers(mac, subjectOf(mac))).toMatchObject([{ status: "ok" }]);
  });
});

describe("the check of the subnet", () => {
  it("is content when no route overlaps it", () => {
    const host = fakeHost();
    expect(checkSubnet(host, subjectOf(host))).toEqual([
      { name: "subnet", status: "ok", seen: "192.168.65.0/24 overlaps no route of this host" },
    ]);
  });

  it("warns of a route that does, and names a free subnet", () => {
    const network = { address: parseIpv4("192.168.64.0"), prefixLength: 22 };
    const host = fakeHost({ routes: () => [{ network, device: "eth0" }] });
    expect(checkSubnet(host, subjectOf(host))).toEqual([
      {
        name: "subnet",
        status: "warning",
        seen: "subnet 192.168.65.0/24 overlaps the host's route 192.168.64.0/22 on eth0",
        advice: 'choose another with --subnet or "subnet:" (for example 192.168.127.0/24)',
      },
    ]);
  });
});
