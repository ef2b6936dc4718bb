import { parseIpv4 } from "@hostd/stack";
import { describe, expect, test } from "vitest";
import { addressesOf, ask, lookUp, testClient } from "../testing/zones.ts";
import { NAME_ALIASES, type NameAlias, standardZones } from "./standard-zones.ts";
import { Zones } from "./zones.ts";

const addresses = { host: parseIpv4("192.168.65.254"), gateway: parseIpv4("192.168.65.1") };
const HOST = "192.168.65.254";
const GATEWAY = "192.168.65.1";
const zones = new Zones(standardZones(addresses));

const OF_ALIASES: Record<NameAlias, readonly (readonly [string, string])[]> = {
  "docker-legacy": [
    ["docker.for.mac.localhost", HOST],
    ["docker.for.mac.host.internal", HOST],
    ["docker.for.mac.gateway.internal", GATEWAY],
    ["docker.for.win.localhost", HOST],
    ["docker.for.win.host.internal", HOST],
    ["docker.for.win.gateway.internal", GATEWAY],
  ],
  lima: [["host.lima.internal", HOST]],
  orbstack: [["host.orb.internal", HOST]],
  "rancher-desktop": [
    ["host.rancher-desktop.internal", HOST],
    ["gateway.rancher-desktop.internal", GATEWAY],
  ],
};

describe("the names of every host", () => {
  test.each([
    ["host.docker.internal", HOST],
    ["gateway.docker.internal", GATEWAY],
    ["http.docker.internal", GATEWAY],
    ["kubernetes.docker.internal", HOST],
    ["vm.docker.internal", "192.168.65.3"],
    ["host.containers.internal", HOST],
    ["gateway.containers.internal", GATEWAY],
  ])("%s has the address %s", (name, address) => {
    const response = ask(zones, name, "A");
    expect(response).toMatchObject({ rcode: 0, flag_aa: true, flag_ra: true, flag_rd: true, authorities: [] });
    expect(response.answers).toEqual([{ name, type: "A", class: "IN", ttl: 60, flush: false, data: address }]);
    expect(ask(zones, name, "AAAA")).toMatchObject({ rcode: 0, answers: [] });
  });

  test("vm.docker.internal is the VM that asks", () => {
    const other = { ...testClient, client: parseIpv4("192.168.65.9"), vmAddress: parseIpv4("192.168.65.9") };
    expect(addressesOf(zones, "vm.docker.internal", other)).toEqual(["192.168.65.9"]);
  });

  test("vm.docker.internal exists without an address while the VM has none", () => {
    const response = ask(zones, "vm.docker.internal", "A", {}, { ...testClient, client: 0, vmAddress: null });
    expect(response).toMatchObject({ rcode: 0, answers: [] });
    expect(response.authorities).toHaveLength(1);
  });

  test("no other name of their zones exists", () => {
    for (const name of ["hubproxy.docker.internal", "vm.containers.internal"]) {
      expect(ask(zones, name, "A")).toMatchObject({ rcode: 3 });
    }
  });
});

describe.each(NAME_ALIASES)("the names of %s", (alias) => {
  const withAlias = new Zones(standardZones(addresses, [alias]));

  test.each(OF_ALIASES[alias])("are %s for %s", (name, address) => {
    expect(addressesOf(withAlias, name)).toEqual([address]);
    expect(ask(withAlias, name, "AAAA")).toMatchObject({ rcode: 0, answers: [] });
    expect(lookUp(zones, name, "A")).toBeNull();
  });

  test("are no others than these, beside those of every host", () => {
    const more = withAlias.list().slice(zones.list().length);
    const names = more.flatMap(({ name, records }) =>
      records.map((record) => (record.name === "@" ? name : `${record.name}.${name}`)),
    );
    expect(names.sort()).toEqual(OF_ALIASES[alias].map(([name]) => name).sort());
    expect(addressesOf(withAlias, "host.docker.internal")).toEqual([HOST]);
  });
});

test("the names of several programs stand together", () => {
  const all = new Zones(standardZones(addresses, NAME_ALIASES));
  for (const [name, address] of Object.values(OF_ALIASES).flat()) expect(addressesOf(all, name)).toEqual([address]);
  expect(addressesOf(all, "gateway.containers.internal")).toEqual([GATEWAY]);
});
