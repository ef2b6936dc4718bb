import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { type PacFunction, type PacValue, pacFunctions } from "./pac-functions.ts";
import { OWN_ADDRESS } from "./pac-protocol.ts";

const ADDRESSES: ReadonlyMap<string, string> = new Map([
  ["intranet.example", "10.1.2.3"],
  ["xn--bcher-kva.example", "192.0.2.80"],
  ["high.example", "192.168.255.1"],
]);

let asked: string[];
let alerts: string[];
let own: string | null;
let functions: Readonly<Record<string, PacFunction>>;

beforeEach(() => {
  asked = [];
  alerts = [];
  own = "192.0.2.7";
  functions = pacFunctions({
    addressOf: (name) => {
      asked.push(name);
      return name === OWN_ADDRESS ? own : (ADDRESSES.get(name) ?? null);
    },
    alert: (text) => void alerts.push(text),
  });
});

afterEach(() => {
  vi.useRealTimers();
});

const call = (name: string, ...args: PacValue[]) => functions[name](...args);

describe("functions of PAC scripts about names", () => {
  it.each<[string, PacValue[], PacValue]>([
    ["isPlainHostName", ["www"], true],
    ["isPlainHostName", ["www.example.com"], false],
    ["isPlainHostName", ["2001:db8::1"], false],
    ["dnsDomainIs", ["www.example.com", ".example.com"], true],
    ["dnsDomainIs", ["www", ".example.com"], false],
    ["dnsDomainIs", ["www.example.org", ".example.com"], false],
    ["dnsDomainIs", [undefined, ".example.com"], false],
    ["localHostOrDomainIs", ["www.example.com", "www.example.com"], true],
    ["localHostOrDomainIs", ["www", "www.example.com"], true],
    ["localHostOrDomainIs", ["www.example.org", "www.example.com"], false],
    ["localHostOrDomainIs", ["home", "www.example.com"], false],
    ["localHostOrDomainIs", [undefined, undefined], true],
    ["dnsDomainLevels", ["www"], 0],
    ["dnsDomainLevels", ["www.example.com"], 2],
    ["shExpMatch", ["http://a.example/b/c", "*/b/*"], true],
    ["shExpMatch", ["http://a.example/b/c", "*/d/*"], false],
    ["shExpMatch", ["(((", "((*"], true],
  ])("%s(%j) is %j", (name, args, result) => {
    expect(call(name, ...args)).toBe(result);
    expect(asked).toEqual([]);
  });
});

describe("functions of PAC scripts about addresses", () => {
  it.each<[string, PacValue[], PacValue, string[]]>([
    ["dnsResolve", ["intranet.example"], "10.1.2.3", ["intranet.example"]],
    ["dnsResolve", ["INTRANET.example"], "10.1.2.3", ["intranet.example"]],
    ["dnsResolve", ["bücher.example"], "192.0.2.80", ["xn--bcher-kva.example"]],
    ["dnsResolve", ["nowhere.example"], null, ["nowhere.example"]],
    ["isResolvable", ["intranet.example"], true, ["intranet.example"]],
    ["isResolvable", ["nowhere.example"], false, ["nowhere.example"]],
    ["isInNet", ["intranet.example", "10.0.0.0", "255.0.0.0"], true, ["intranet.example"]],
    ["isInNet", ["intranet.example", "10.1.2.3", "255.255.255.255"], true, ["intranet.example"]],
    ["isInNet", ["intranet.example", "10.2.0.0", "255.255.0.0"], false, ["intranet.example"]],
    ["isInNet", ["high.example", "192.168.0.0", "255.255.0.0"], true, ["high.example"]],
    ["isInNet", ["nowhere.example", "0.0.0.0", "0.0.0.0"], false, ["nowhere.example"]],
    ["myIpAddress", [], "192.0.2.7", [OWN_ADDRESS]],
  ])("%s(%j) is %j, having looked up %j", (name, args, result, names) => {
    expect(call(name, ...args)).toBe(result);
    expect(asked).toEqual(names);
  });

  it.each<[string, PacValue[], PacValue]>([
    ["dnsResolve", ["10.9.8.7"], "10.9.8.7"],
    ["dnsResolve", ["0x7f.1"], "127.0.0.1"],
    ["dnsResolve", ["2001:db8::1"], null],
    ["dnsResolve", [""], null],
    ["dnsResolve", [undefined], null],
    ["dnsResolve", ["a b"], null],
    ["dnsResolve", ["a/b"], null],
    ["dnsResolve", ["a:80"], null],
    ["dnsResolve", ["a%2eb"], null],
    ["dnsResolve", ["x".repeat(254)], null],
    ["isResolvable", ["10.9.8.7"], true],
    ["isInNet", ["10.9.8.7", "10.0.0.0", "255.0.0.0"], true],
    ["isInNet", ["172.15.0.1", "172.16.0.0", "255.240.0.0"], false],
    ["isInNet", ["intranet.example", "10.0.0", "255.0.0.0"], false],
    ["isInNet", ["intranet.example", "10.0.0.0", "8"], false],
    ["isInNet", ["intranet.example"], false],
  ])("%s(%j) is %j, and nothing is looked up", (name, args, result) => {
    expect(call(name, ...args)).toBe(result);
    expect(asked).toEqual([]);
  });

  it("have a loopback address for a host without another", () => {
    own = null;
    expect(call("myIpAddress")).toBe("127.0.0.1");
  });
});

describe("functions of PAC scripts about the time", () => {
  // A Wednesday.
  const NOON = new Date(2026, 10, 25, 12, 30, 15);
  const UTC_NIGHT = new Date(Date.UTC(2026, 10, 25, 23, 30, 15));

  it.each<[string, PacValue[], boolean, Date]>([
    ["weekdayRange", ["WED"], true, NOON],
    ["weekdayRange", ["THU"], false, NOON],
    ["weekdayRange", ["MON", "FRI"], true, NOON],
    ["weekdayRange", ["FRI", "MON"], false, NOON],
    ["weekdayRange", ["SAT", "WED"], true, NOON],
    ["weekdayRange", ["WED", "GMT"], true, UTC_NIGHT],
    ["weekdayRange", ["THU", "SAT", "GMT"], false, UTC_NIGHT],
    ["timeRange", [12], true, NOON],
    ["timeRange", [13], false, NOON],
    ["timeRange", [12, 13], true, NOON],
    ["timeRange", [13, 14], false, NOON],
    ["timeRange", [9, 0, 17, 30], true, NOON],
    ["timeRange", [12, 31, 17, 30], false, NOON],
    ["timeRange", [12, 30, 15, 12, 30, 16], true, NOON],
    ["timeRange", [12, 30, 16, 12, 30, 20], false, NOON],
    ["timeRange", [23, "GMT"], true, UTC_NIGHT],
    ["timeRange", [9, 0, 17, 0, "GMT"], false, UTC_NIGHT],
    ["dateRange", [25, "NOV", 2026], true, NOON],
    ["dateRange", [26, "NOV", "GMT"], false, UTC_NIGHT],
  ])("%s(%j) is %j", (name, args, result, now) => {
    vi.useFakeTimers({ toFake: ["Date"], now });
    expect(call(name, ...args)).toBe(result);
  });
});

describe("alert", () => {
  it("says a text and returns nothing", () => {
    expect(call("alert", 5)).toBeUndefined();
    expect(alerts).toEqual(["5"]);
  });
});
