import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { parseIpv4 } from "../address.ts";
import { MINIMUM_MTU, nextMtu, PathMtuCache } from "./path-mtu.ts";

const ADDRESS = parseIpv4("203.0.113.5");
const OTHER = parseIpv4("10.0.0.9");
const LIFETIME = 10 * 60 * 1000;
const UNKNOWN = Number.POSITIVE_INFINITY;

describe("the cache", () => {
  test("knows the path to an address and no other", () => {
    const paths = new PathMtuCache();
    expect(paths.get(ADDRESS, 0)).toBe(UNKNOWN);
    paths.limit(ADDRESS, 1400, 0);
    expect(paths.get(ADDRESS, 0)).toBe(1400);
    expect(paths.get(OTHER, 0)).toBe(UNKNOWN);
    paths.limit(OTHER, 900, 0);
    paths.limit(ADDRESS, 1300, 0);
    expect([paths.get(ADDRESS, 0), paths.get(OTHER, 0)]).toEqual([1300, 900]);
  });

  test("forgets a path after 10 minutes (RFC 1191, 6.3), counted from what was told last", () => {
    const paths = new PathMtuCache();
    paths.limit(ADDRESS, 1400, 5000);
    paths.limit(OTHER, 1400, 5000);
    expect(paths.get(ADDRESS, 5000 + LIFETIME - 1)).toBe(1400);
    paths.limit(ADDRESS, 1200, 5000 + LIFETIME - 1);
    expect(paths.get(OTHER, 5000 + LIFETIME)).toBe(UNKNOWN);
    expect(paths.get(ADDRESS, 5000 + LIFETIME)).toBe(1200);
    expect(paths.get(ADDRESS, 5000 + 2 * LIFETIME - 2)).toBe(1200);
    expect(paths.get(ADDRESS, 5000 + 2 * LIFETIME - 1)).toBe(UNKNOWN);
    paths.limit(ADDRESS, 1450, 5000 + 3 * LIFETIME);
    expect(paths.get(ADDRESS, 5000 + 3 * LIFETIME)).toBe(1450);
  });

  test("is not told of an increase by a router, which may be late or a forgery (RFC 1191, 3)", () => {
    const paths = new PathMtuCache();
    paths.limit(ADDRESS, 600, 0);
    paths.limit(ADDRESS, 1400, 1000);
    expect(paths.get(ADDRESS, 1000)).toBe(600);
  });

  test("remembers 1024 paths and forgets the one that was told of least recently", () => {
    const paths = new PathMtuCache();
    for (let address = 0; address < 1024; address++) paths.limit(address, 1000 + (address % 100), address);
    paths.limit(1, 900, 2000);
    expect(paths.get(0, 2000)).toBe(1000);
    paths.limit(5000, 1400, 2000);
    paths.limit(5001, 1400, 2000);
    expect([0, 1, 2, 3].map((address) => paths.get(address, 2000))).toEqual([UNKNOWN, 900, UNKNOWN, 1003]);
    for (let address = 6000; address < 6500; address++) paths.limit(address, 1400, 3000);
    const known = Array.from({ length: 7000 }, (_, address) => address).filter(
      (each) => paths.get(each, 3000) < UNKNOWN,
    );
    expect(known).toHaveLength(1024);
    expect(known[0]).toBe(1);
    expect(known[1]).toBe(503);
  });
});

describe("the MTU to go on with", () => {
  test("is what the router says", () => {
    expect(nextMtu(1500, 1400)).toBe(1400);
    expect(nextMtu(1500, 1499)).toBe(1499);
    expect(nextMtu(1500, 576)).toBe(576);
  });

  test("is 576 at least, whatever a router says", () => {
    expect(MINIMUM_MTU).toBe(576);
    for (const told of [1, 67, 68, 296, 575]) expect(nextMtu(1500, told)).toBe(576);
  });

  test("is the next of the common ones when the router does not say (RFC 1191, 7.1)", () => {
    const tries: number[] = [];
    for (let sent = 65535; sent > 576; sent = tries.at(-1) ?? 0) tries.push(nextMtu(sent, 0));
    expect(tries).toEqual([32000, 17914, 8166, 4352, 2002, 1492, 1006, 576]);
    expect(nextMtu(1500, 0)).toBe(1492);
    expect(nextMtu(1492, 0)).toBe(1006);
    expect(nextMtu(1493, 0)).toBe(1492);
    expect(nextMtu(9000, 0)).toBe(8166);
    expect(nextMtu(577, 0)).toBe(576);
    expect(nextMtu(576, 0)).toBe(576);
  });

  test("is no other when the router says that more would pass than was sent", () => {
    expect(nextMtu(1500, 1500)).toBe(UNKNOWN);
    expect(nextMtu(1500, 9000)).toBe(UNKNOWN);
  });

  test("is never less than 576, nor as much as a larger packet that did not pass", () => {
    fc.assert(
      fc.property(fc.integer({ min: 577, max: 65535 }), fc.nat({ max: 65535 }), (sent, told) => {
        const next = nextMtu(sent, told);
        expect(next).toBeGreaterThanOrEqual(576);
        if (told < sent) expect(next).toBeLessThan(sent);
        else expect(next).toBe(UNKNOWN);
      }),
    );
  });
});
