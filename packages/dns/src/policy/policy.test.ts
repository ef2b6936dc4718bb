import { expect, test } from "vitest";
import { parseServerAddress } from "../server-address.ts";
import { fixedPolicy, fixedServers, type Policy, type Route, RouteTable, RulesFirst } from "./policy.ts";

function route(domain: string, server: string, from = "a test"): Route {
  return { domain, set: { servers: [parseServerAddress(server)], serverTimeout: null, attempts: null }, from };
}

/** The address of the first server for a name; null when there is no route. */
function serverFor(table: RouteTable, name: string): string | null {
  return table.find(name === "." ? [] : name.split("."))?.set.servers[0].address ?? null;
}

test("the longest domain that a name is in decides, whatever the order of the routes", () => {
  const routes = [
    route("", "192.0.2.1"),
    route("corp.example", "192.0.2.2"),
    route("lab.corp.example", "192.0.2.3"),
    route("example", "192.0.2.4"),
  ];
  for (const table of [new RouteTable(routes), new RouteTable(routes.toReversed())]) {
    expect(serverFor(table, "a.lab.corp.example")).toBe("192.0.2.3");
    expect(serverFor(table, "lab.corp.example")).toBe("192.0.2.3");
    expect(serverFor(table, "a.b.corp.example")).toBe("192.0.2.2");
    expect(serverFor(table, "corp.example")).toBe("192.0.2.2");
    expect(serverFor(table, "example")).toBe("192.0.2.4");
    expect(serverFor(table, "example.net")).toBe("192.0.2.1");
    expect(serverFor(table, ".")).toBe("192.0.2.1");
  }
});

test("a domain ends at a dot of the name", () => {
  const table = new RouteTable([route("corp.example", "192.0.2.2"), route("", "192.0.2.1")]);
  expect(serverFor(table, "notcorp.example")).toBe("192.0.2.1");
  expect(serverFor(table, "corp.example.net")).toBe("192.0.2.1");
});

test("without a route for every name there are names that no server is asked for", () => {
  const table = new RouteTable([route("corp.example", "192.0.2.2")]);
  expect(serverFor(table, "www.example")).toBeNull();
  expect(serverFor(table, ".")).toBeNull();
  expect(serverFor(table, "corp.example")).toBe("192.0.2.2");
  expect(serverFor(new RouteTable([]), "www.example")).toBeNull();
});

test("of two routes for one domain the first holds, and the other is not listed", () => {
  const [first, second] = [route("corp.example", "192.0.2.2"), route("corp.example", "192.0.2.3")];
  const table = new RouteTable([first, second]);
  expect(serverFor(table, "a.corp.example")).toBe("192.0.2.2");
  expect(table.routes).toEqual([first]);
});

test("servers that are configured are for every name, and never change", () => {
  const source = fixedServers([parseServerAddress("192.0.2.1")], "--dns-server");
  expect(source.current()).toBe(source.current());
  expect(source.current().search).toEqual([]);
  expect(source.current().routes.routes).toEqual([route("", "192.0.2.1", "--dns-server")]);
});

test("a rule comes before what the host says, also for domains inside its own", () => {
  const host = fixedPolicy({
    routes: new RouteTable([
      route("", "192.0.2.1"),
      route("corp.example", "192.0.2.2"),
      route("lab.corp.example", "192.0.2.3"),
      route("notcorp.example", "192.0.2.4"),
    ]),
    search: ["corp.example"],
  });
  const { routes, search } = new RulesFirst([route("corp.example", "198.51.100.1")], host).current();
  expect(serverFor(routes, "a.corp.example")).toBe("198.51.100.1");
  expect(serverFor(routes, "a.lab.corp.example")).toBe("198.51.100.1");
  expect(serverFor(routes, "notcorp.example")).toBe("192.0.2.4");
  expect(serverFor(routes, "www.example")).toBe("192.0.2.1");
  expect(search).toEqual(["corp.example"]);
});

test("a rule for every name leaves the host's servers out, and a rule inside it still decides", () => {
  const host = fixedPolicy({ routes: new RouteTable([route("corp.example", "192.0.2.2")]), search: [] });
  const rules = [route("", "198.51.100.1"), route("lab.example", "198.51.100.2")];
  const { routes } = new RulesFirst(rules, host).current();
  expect(routes.routes).toEqual(rules);
  expect(serverFor(routes, "a.corp.example")).toBe("198.51.100.1");
  expect(serverFor(routes, "a.lab.example")).toBe("198.51.100.2");
});

test("with rules the policy is the same object until that of the host has changed", () => {
  let underlying: Policy = { routes: new RouteTable([route("", "192.0.2.1")]), search: [] };
  const source = new RulesFirst([route("corp.example", "198.51.100.1")], { current: () => underlying });
  const before = source.current();
  expect(source.current()).toBe(before);
  underlying = { routes: new RouteTable([route("", "192.0.2.9")]), search: ["new.example"] };
  const after = source.current();
  expect(after).not.toBe(before);
  expect(source.current()).toBe(after);
  expect(serverFor(after.routes, "www.example")).toBe("192.0.2.9");
  expect(serverFor(after.routes, "corp.example")).toBe("198.51.100.1");
  expect(after.search).toEqual(["new.example"]);
});
