import { describe, expect, test } from "vitest";
import {
  formatIpv4,
  formatMac,
  isLoopback,
  isMulticast,
  networkBroadcast,
  networkContains,
  parseIpv4,
  parseMac,
  prefixMask,
} from "./address.ts";
import { Random } from "./testing/random.ts";
import { macFromHalves, macHalves } from "./wire/ethernet.ts";

describe("IPv4 addresses", () => {
  test("are signed integers in host order", () => {
    expect(parseIpv4("192.168.65.1")).toBe(0xc0a8_4101 | 0);
    expect(parseIpv4("0.0.0.0")).toBe(0);
    expect(parseIpv4("255.255.255.255")).toBe(-1);
    expect(parseIpv4("1.2.3.4")).toBe(0x0102_0304);
  });

  test("are written as they are read", () => {
    const random = new Random(1);
    for (let round = 0; round < 500; round++) {
      const address = random.bits();
      expect(parseIpv4(formatIpv4(address))).toBe(address);
    }
  });

  test.each([
    "",
    "1",
    "1.2.3",
    "1.2.3.4.5",
    "1.2.3.256",
    "1.2.3.-1",
    "01.2.3.4",
    "1.2.3.4 ",
    " 1.2.3.4",
    "1..3.4",
    "a.b.c.d",
    "0x1.2.3.4",
    "1.2.3.1e1",
    "999.1.1.1",
    "4294967296",
  ])("%j is none", (text) => {
    expect(() => parseIpv4(text)).toThrow(JSON.stringify(text));
  });

  test("have their kinds", () => {
    expect(isLoopback(parseIpv4("127.0.0.1"))).toBe(true);
    expect(isLoopback(parseIpv4("127.255.255.255"))).toBe(true);
    expect(isLoopback(parseIpv4("128.0.0.0"))).toBe(false);
    expect(isMulticast(parseIpv4("224.0.0.0"))).toBe(true);
    expect(isMulticast(parseIpv4("239.255.255.255"))).toBe(true);
    expect(isMulticast(parseIpv4("240.0.0.0"))).toBe(false);
    expect(isMulticast(parseIpv4("223.255.255.255"))).toBe(false);
  });
});

describe("networks", () => {
  test.each([
    [0, "0.0.0.0"],
    [1, "128.0.0.0"],
    [8, "255.0.0.0"],
    [24, "255.255.255.0"],
    [31, "255.255.255.254"],
    [32, "255.255.255.255"],
  ])("a prefix of %i bits has the mask %s", (length, mask) => {
    expect(formatIpv4(prefixMask(length))).toBe(mask);
  });

  test("contain the addresses of their prefix, and end with their broadcast address", () => {
    const network = { address: parseIpv4("192.168.64.0"), prefixLength: 23 };
    expect(formatIpv4(networkBroadcast(network))).toBe("192.168.65.255");
    expect(networkContains(network, parseIpv4("192.168.64.0"))).toBe(true);
    expect(networkContains(network, parseIpv4("192.168.65.255"))).toBe(true);
    expect(networkContains(network, parseIpv4("192.168.66.0"))).toBe(false);
    expect(networkContains(network, parseIpv4("192.168.63.255"))).toBe(false);
    const everything = { address: 0, prefixLength: 0 };
    expect(networkContains(everything, parseIpv4("8.8.8.8"))).toBe(true);
    expect(networkBroadcast(everything)).toBe(-1);
  });
});

describe("MAC addresses", () => {
  test("are read with colons or hyphens and written with colons", () => {
    expect(formatMac(parseMac("52:54:00:AB:cd:0f"))).toBe("52:54:00:ab:cd:0f");
    expect(formatMac(parseMac("52-54-00-ab-cd-0f"))).toBe("52:54:00:ab:cd:0f");
    expect(formatMac(Uint8Array.of(9, 9, 1, 2, 3, 4, 5, 6), 2)).toBe("01:02:03:04:05:06");
  });

  test.each(["", "52:54:00:ab:cd", "52:54:00:ab:cd:0f:01", "52:54-00:ab:cd:0f", "5254.00ab.cd0f", "52:54:00:ab:cd:0g"])(
    "%j is none",
    (text) => {
      expect(() => parseMac(text)).toThrow(JSON.stringify(text));
    },
  );

  test("are split into halves and joined again", () => {
    const random = new Random(2);
    for (let round = 0; round < 100; round++) {
      const memory = random.bytes(9);
      const mac = memory.subarray(3);
      const { high, low } = macHalves(mac);
      expect(macFromHalves(high, low)).toEqual(Uint8Array.from(mac));
    }
  });
});
