import { describe, expect, test } from "vitest";
import { formatServerAddress } from "../server-address.ts";
import type { Policy } from "./policy.ts";
import { parseLink, parseManager, type ResolvedLink, resolvedPolicy } from "./resolved-properties.ts";

/** Recorded from version 252, where resolv.conf is a file of others; the list of negative trust anchors is shortened. */
const MANAGER =
  '{"type":"a{sv}","data":[{"LLMNRHostname":{"type":"s","data":"vm"},"LLMNR":{"type":"s","data":"yes"},' +
  '"MulticastDNS":{"type":"s","data":"yes"},"DNSOverTLS":{"type":"s","data":"no"},"DNS":{"type":"a(iiay)","data":' +
  "[[0,2,[10,255,255,53]],[3,2,[10,2,0,53]],[2,2,[10,1,0,53]],[2,2,[10,1,0,54]]," +
  '[2,10,[254,128,0,0,0,0,0,0,0,0,0,0,0,0,0,83]]]},"DNSEx":{"type":"a(iiayqs)","data":[[0,2,[10,255,255,53],0,""],' +
  '[3,2,[10,2,0,53],0,""],[2,2,[10,1,0,53],0,""],[2,2,[10,1,0,54],5353,"dns.corp.example"],' +
  '[2,10,[254,128,0,0,0,0,0,0,0,0,0,0,0,0,0,83],0,""]]},"FallbackDNS":{"type":"a(iiay)","data":[]},' +
  '"FallbackDNSEx":{"type":"a(iiayqs)","data":[]},"CurrentDNSServer":{"type":"(iiay)","data":[0,2,[10,255,255,53]]},' +
  '"CurrentDNSServerEx":{"type":"(iiayqs)","data":[0,2,[10,255,255,53],0,""]},"Domains":{"type":"a(isb)","data":' +
  '[[3,".",true],[2,"corp.example",false],[2,"internal.example",true]]},"TransactionStatistics":{"type":"(tt)",' +
  '"data":[2,4]},"CacheStatistics":{"type":"(ttt)","data":[0,0,0]},"DNSSEC":{"type":"s","data":"no"},' +
  '"DNSSECStatistics":{"type":"(tttt)","data":[0,0,0,0]},"DNSSECSupported":{"type":"b","data":false},' +
  '"DNSSECNegativeTrustAnchors":{"type":"as","data":["18.172.in-addr.arpa","home"]},"DNSStubListener":{"type":"s",' +
  '"data":"yes"},"ResolvConfMode":{"type":"s","data":"foreign"}}]}\n';

/** Recorded with the same, of link 2. */
const LINK =
  '{"type":"a{sv}","data":[{"ScopesMask":{"type":"t","data":7},"DNS":{"type":"a(iay)","data":[[2,[10,1,0,53]],' +
  '[2,[10,1,0,54]],[10,[254,128,0,0,0,0,0,0,0,0,0,0,0,0,0,83]]]},"DNSEx":{"type":"a(iayqs)","data":' +
  '[[2,[10,1,0,53],0,""],[2,[10,1,0,54],5353,"dns.corp.example"],[10,[254,128,0,0,0,0,0,0,0,0,0,0,0,0,0,83],0,""]]},' +
  '"CurrentDNSServer":{"type":"(iay)","data":[0,[]]},"CurrentDNSServerEx":{"type":"(iayqs)","data":[0,[],0,""]},' +
  '"Domains":{"type":"a(sb)","data":[["corp.example",false],["internal.example",true]]},"DefaultRoute":' +
  '{"type":"b","data":false},"LLMNR":{"type":"s","data":"yes"},"MulticastDNS":{"type":"s","data":"no"},' +
  '"DNSOverTLS":{"type":"s","data":"no"},"DNSSEC":{"type":"s","data":"no"},"DNSSECNegativeTrustAnchors":' +
  '{"type":"as","data":[]},"DNSSECSupported":{"type":"b","data":false}}]}\n';

const names = new Map([
  [2, "corp0"],
  [3, "lab0"],
  [4, "wlan0"],
]);
const nameOf = (ifindex: number) => names.get(ifindex) ?? null;
const on = { defaultRoute: true, hasDns: true };
const notDefault = { defaultRoute: false, hasDns: true };

/** Routes in short: from the domain to its servers. */
const routesOf = ({ routes }: Policy) =>
  Object.fromEntries(routes.routes.map(({ domain, set }) => [domain, set.servers.map(formatServerAddress)]));

type ServerEntry = readonly [ifindex: number, address: string, port?: number];
type DomainEntry = readonly [ifindex: number, domain: string, routingOnly: boolean];

/** An answer of the Manager with servers and domains. */
function manager(
  servers: readonly ServerEntry[],
  domains: readonly DomainEntry[],
  fallback: readonly ServerEntry[] = [],
) {
  const bytes = (entries: readonly ServerEntry[]) =>
    entries.map(([ifindex, address, port = 0]) => [ifindex, 2, address.split(".").map(Number), port, ""]);
  const properties = {
    DNSEx: { type: "a(iiayqs)", data: bytes(servers) },
    FallbackDNSEx: { type: "a(iiayqs)", data: bytes(fallback) },
    Domains: { type: "a(isb)", data: domains },
  };
  return parseManager(JSON.stringify({ type: "a{sv}", data: [properties] }));
}

const links = (entries: Record<number, ResolvedLink>) =>
  new Map(Object.entries(entries).map(([ifindex, link]) => [Number(ifindex), link]));

describe("parseManager", () => {
  test("reads the servers with their ports, and the domains", () => {
    expect(parseManager(MANAGER)).toEqual({
      servers: [
        { ifindex: 0, server: { address: "10.255.255.53", family: 4, port: 53 } },
        { ifindex: 3, server: { address: "10.2.0.53", family: 4, port: 53 } },
        { ifindex: 2, server: { address: "10.1.0.53", family: 4, port: 53 } },
        { ifindex: 2, server: { address: "10.1.0.54", family: 4, port: 5353 } },
        { ifindex: 2, server: { address: "fe80::53", family: 6, port: 53 } },
      ],
      fallbackServers: [],
      domains: [
        { ifindex: 3, domain: "", routingOnly: true },
        { ifindex: 2, domain: "corp.example", routingOnly: false },
        { ifindex: 2, domain: "internal.example", routingOnly: true },
      ],
    });
  });

  test("reads the servers of a version that has no ports", () => {
    const { servers } = parseManager(MANAGER.replace("DNSEx", "Unknown"));
    expect(servers.map(({ server }) => formatServerAddress(server))).toEqual([
      "10.255.255.53",
      "10.2.0.53",
      "10.1.0.53",
      "10.1.0.54",
      "fe80::53",
    ]);
  });

  test("leaves out entries of unknown form", () => {
    const servers = [
      [2, 2, [10, 1, 0], 0, ""],
      [2, 2, [10, 1, 0, 256], 0, ""],
      [2, 2, [10, 1, 0, "1"], 0, ""],
      [2, 10, [10, 1, 0, 1], 0, ""],
      [2, 99, [10, 1, 0, 1], 0, ""],
      ["2", 2, [10, 1, 0, 1], 0, ""],
      [2, 2, [10, 1, 0, 1], 65_536, ""],
      [2, 2],
      null,
      [2, 2, [10, 1, 0, 9], 0, ""],
    ];
    const domains = [[2, "a..b", false], [2, "x.example"], [2, 7, true], "y", [2, "OK.Example.", false]];
    const properties = { DNSEx: { data: servers }, Domains: { data: domains } };
    expect(parseManager(JSON.stringify({ data: [properties] }))).toEqual({
      servers: [{ ifindex: 2, server: { address: "10.1.0.9", family: 4, port: 53 } }],
      fallbackServers: [],
      domains: [{ ifindex: 2, domain: "ok.example", routingOnly: false }],
    });
  });

  test.each(["", "Call failed", "null", "[]", '{"data":[]}', '{"data":[null]}', '{"data":{"DNSEx":1}}'])(
    "refuses %j",
    (text) => expect(() => parseManager(text)).toThrow("busctl: the answer is no list of properties in JSON"),
  );

  test("refuses an answer without servers", () => {
    expect(() => parseManager('{"data":[{"DNSEx":{"data":1}}]}')).toThrow("systemd-resolved gave no list of servers");
    expect(() => parseManager('{"data":[{}]}')).toThrow("systemd-resolved gave no list of servers");
  });
});

describe("parseLink", () => {
  test("reads whether a link is asked, and for what", () => {
    expect(parseLink(LINK)).toEqual({ defaultRoute: false, hasDns: true });
    expect(parseLink(LINK.replace('"b","data":false', '"b","data":true'))).toEqual(on);
  });

  test("reads a link that is down", () => {
    expect(parseLink(LINK.replace('"t","data":7', '"t","data":0')).hasDns).toBe(false);
    expect(parseLink(LINK.replace('"t","data":7', '"t","data":6')).hasDns).toBe(false);
  });

  test("takes a link of a version without DefaultRoute as one that is asked for every name", () => {
    expect(parseLink(LINK.replace("DefaultRoute", "Unknown")).defaultRoute).toBe(true);
  });

  test("refuses what is no answer of a link", () => {
    expect(() => parseLink("Unknown object")).toThrow("no list of properties");
    expect(() => parseLink('{"data":[{}]}')).toThrow("no scopes of a link");
  });
});

describe("resolvedPolicy", () => {
  test("makes the domains of the links to routes, and those that are no routing domains to search domains", () => {
    const policy = resolvedPolicy(parseManager(MANAGER), links({ 2: parseLink(LINK), 3: on }), nameOf);
    expect(routesOf(policy)).toEqual({
      "corp.example": ["10.1.0.53", "10.1.0.54:5353", "fe80::53%corp0"],
      "internal.example": ["10.1.0.53", "10.1.0.54:5353", "fe80::53%corp0"],
      "": ["10.2.0.53"],
    });
    expect(policy.search).toEqual(["corp.example"]);
    expect(policy.routes.find(["www", "corp", "example"])).toMatchObject({
      from: "systemd-resolved (corp0)",
      set: { serverTimeout: null, attempts: null },
    });
  });

  test("gives the names of no domain to the links with DefaultRoute and to the servers of the host", () => {
    const servers = manager(
      [
        [0, "192.0.2.1"],
        [2, "192.0.2.2"],
        [3, "192.0.2.3"],
        [4, "192.0.2.4"],
      ],
      [[2, "corp.example", true]],
    );
    const policy = resolvedPolicy(servers, links({ 2: notDefault, 3: on, 4: on }), nameOf);
    expect(routesOf(policy)).toEqual({ "corp.example": ["192.0.2.2"], "": ["192.0.2.1", "192.0.2.3", "192.0.2.4"] });
    expect(policy.routes.find(["www", "example"])?.from).toBe("systemd-resolved (all links, lab0, wlan0)");
  });

  test("gives them only to links with the domain ~. where there is one", () => {
    const servers = manager(
      [
        [0, "192.0.2.1"],
        [2, "192.0.2.2"],
        [3, "192.0.2.3"],
      ],
      [[2, ".", true]],
    );
    expect(routesOf(resolvedPolicy(servers, links({ 2: on, 3: on }), nameOf))).toEqual({ "": ["192.0.2.2"] });
  });

  test("joins the servers of two links that have the same domain, in an order that lasts", () => {
    const entries: ServerEntry[] = [
      [3, "192.0.2.3"],
      [2, "192.0.2.2"],
    ];
    const domains: DomainEntry[] = [
      [3, "corp.example", false],
      [2, "corp.example", false],
    ];
    const known = links({ 2: notDefault, 3: notDefault });
    const one = resolvedPolicy(manager(entries, domains), known, nameOf);
    expect(routesOf(one)).toEqual({ "corp.example": ["192.0.2.2", "192.0.2.3"] });
    expect(one.search).toEqual(["corp.example"]);
    expect(resolvedPolicy(manager(entries.toReversed(), domains.toReversed()), known, nameOf)).toEqual(one);
  });

  test("does not count links that are down, or gone", () => {
    const servers = manager(
      [
        [2, "192.0.2.2"],
        [3, "192.0.2.3"],
        [4, "192.0.2.4"],
      ],
      [
        [2, "corp.example", false],
        [3, "lab.example", false],
        [2, ".", true],
      ],
    );
    const policy = resolvedPolicy(servers, links({ 2: { defaultRoute: true, hasDns: false }, 4: on }), nameOf);
    expect(routesOf(policy)).toEqual({ "": ["192.0.2.4"] });
    expect(policy.search).toEqual([]);
  });

  test("uses the fallback servers when nothing else is for every name", () => {
    const servers = manager([[2, "192.0.2.2"]], [[2, "corp.example", true]], [[0, "192.0.2.9"]]);
    const policy = resolvedPolicy(servers, links({ 2: notDefault }), nameOf);
    expect(routesOf(policy)).toEqual({ "corp.example": ["192.0.2.2"], "": ["192.0.2.9"] });
  });

  test("leaves out a link-local server of a link whose name is not known", () => {
    const policy = resolvedPolicy(parseManager(MANAGER), links({ 2: on }), () => null);
    expect(routesOf(policy)["corp.example"]).toEqual(["10.1.0.53", "10.1.0.54:5353"]);
    expect(policy.routes.find(["corp", "example"])?.from).toBe("systemd-resolved (link 2)");
  });

  test("has no route without servers", () => {
    expect(resolvedPolicy(manager([], [[2, "corp.example", false]]), links({}), nameOf)).toMatchObject({
      routes: { routes: [] },
      search: [],
    });
  });
});
