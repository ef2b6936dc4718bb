import { formatIpv4, parseIpv4 } from "@hostd/stack";
import { describe, expect, test } from "vitest";
import { classifyDestination, type DestinationConfig } from "./destination.ts";

const config: DestinationConfig = {
  hostAddress: parseIpv4("192.168.65.254"),
  ownAddresses: new Set([parseIpv4("192.168.65.1"), parseIpv4("192.168.65.254"), parseIpv4("198.18.0.1")]),
  network: { address: parseIpv4("192.168.65.0"), prefixLength: 24 },
  linkLocal: true,
};

function classify(address: string, change: Partial<DestinationConfig> = {}): string {
  const destination = classifyDestination(parseIpv4(address), { ...config, ...change });
  if (destination.kind === "outside") return `outside ${formatIpv4(destination.address)}`;
  return destination.kind === "rejected" ? destination.reason : destination.kind;
}

describe("classifyDestination", () => {
  test.each([
    ["192.168.65.254", "host-loopback"],
    ["192.168.65.1", "own-address"],
    ["198.18.0.1", "own-address"],
    ["192.168.65.2", "no-neighbor"],
    ["192.168.65.0", "broadcast"],
    ["192.168.65.255", "broadcast"],
    ["255.255.255.255", "broadcast"],
    ["127.0.0.0", "loopback"],
    ["127.0.0.1", "loopback"],
    ["127.255.255.255", "loopback"],
    ["0.0.0.0", "this-network"],
    ["0.255.255.255", "this-network"],
    ["224.0.0.0", "multicast"],
    ["239.255.255.255", "multicast"],
    ["1.0.0.0", "outside 1.0.0.0"],
    ["126.255.255.255", "outside 126.255.255.255"],
    ["128.0.0.1", "outside 128.0.0.1"],
    ["169.254.169.254", "outside 169.254.169.254"],
    ["192.168.64.255", "outside 192.168.64.255"],
    ["192.168.66.0", "outside 192.168.66.0"],
    ["223.255.255.255", "outside 223.255.255.255"],
    ["240.0.0.1", "outside 240.0.0.1"],
  ])("%s is %s", (address, expected) => {
    expect(classify(address)).toBe(expected);
  });

  test("without a host address its place in the network is one of the stack's own", () => {
    expect(classify("192.168.65.254", { hostAddress: null })).toBe("own-address");
  });

  test("a network of 31 bits has no broadcast address", () => {
    const network = { address: parseIpv4("10.0.0.2"), prefixLength: 31 };
    expect(classify("10.0.0.2", { network })).toBe("no-neighbor");
    expect(classify("10.0.0.3", { network })).toBe("no-neighbor");
    expect(classify("10.0.0.4", { network })).toBe("outside 10.0.0.4");
  });

  test("keeps guests from link-local addresses when it is to", () => {
    expect(classify("169.254.169.254", { linkLocal: false })).toBe("link-local");
    expect(classify("169.254.0.0", { linkLocal: false })).toBe("link-local");
    expect(classify("169.253.255.255", { linkLocal: false })).toBe("outside 169.253.255.255");
    expect(classify("169.255.0.0", { linkLocal: false })).toBe("outside 169.255.0.0");
  });
});
