import type { NetworkInterfaceInfo } from "node:os";
import { describe, expect, it } from "vitest";
import { formatNetwork, readSubnet } from "./config/values.ts";
import {
  freeSubnet,
  type HostRoute,
  interfaceRoutes,
  parseRouteTable,
  readHostRoutes,
  subnetClash,
} from "./subnet-clash.ts";

function route(text: string, device = "eth0"): HostRoute {
  const [address, length] = text.split("/");
  const bytes = address.split(".").map(Number);
  const value = (bytes[0] << 24) | (bytes[1] << 16) | (bytes[2] << 8) | bytes[3];
  return { network: { address: value, prefixLength: Number(length) }, device };
}

function shown(routes: readonly HostRoute[]): string[] {
  return routes.map(({ network, device }) => `${formatNetwork(network)} ${device}`);
}

const ROUTE_TABLE = `Iface	Destination	Gateway 	Flags	RefCnt	Use	Metric	Mask		MTU	Window	IRTT
wlan0	00000000	0100A8C0	0003	0	0	600	00000000	0	0	0
wlan0	0000A8C0	00000000	0001	0	0	600	0000FFFF	0	0	0
tun0	00000080	0100080A	0003	0	0	0	00000080	0	0	0
tun0	000A0A0A	00000000	0001	0	0	0	00FFFFFF	0	0	0
*	0000100A	00000000	0201	0	0	0	0000FFFF	0	0	0
down0	0000110A	00000000	0000	0	0	0	0000FFFF	0	0	0
holes	0000120A	00000000	0001	0	0	0	FF00FFFF	0	0	0
short	0000
`;

describe("parseRouteTable", () => {
  it("reads destination and mask in the machine's byte order, without routes that take no packets", () => {
    expect(shown(parseRouteTable(ROUTE_TABLE, true))).toEqual([
      "0.0.0.0/0 wlan0",
      "192.168.0.0/16 wlan0",
      "128.0.0.0/1 tun0",
      "10.10.10.0/24 tun0",
    ]);
    const bigEndian = "header\neth0\tC0A80000\t0\t0001\t0\t0\t0\tFFFF0000\t0\t0\t0\n";
    expect(shown(parseRouteTable(bigEndian, false))).toEqual(["192.168.0.0/16 eth0"]);
  });

  it("reads an empty table", () => {
    expect(parseRouteTable("", true)).toEqual([]);
  });
});

describe("interfaceRoutes", () => {
  it("takes the network of each address that is not loopback", () => {
    const info = (address: string, netmask: string, internal = false): NetworkInterfaceInfo => ({
      address,
      netmask,
      internal,
      family: "IPv4",
      mac: "00:00:00:00:00:00",
      cidr: null,
    });
    const routes = interfaceRoutes({
      lo: [info("127.0.0.1", "255.0.0.0", true)],
      eth0: [
        info("192.168.65.7", "255.255.255.0"),
        {
          address: "fe80::1",
          netmask: "ffff:ffff:ffff:ffff::",
          internal: false,
          family: "IPv6",
          mac: "00:00:00:00:00:00",
          cidr: null,
          scopeid: 2,
        },
      ],
      gone: undefined,
    });
    expect(shown(routes)).toEqual(["192.168.65.0/24 eth0"]);
  });
});

describe("readHostRoutes", () => {
  it("reads the routes of this host", () => {
    for (const { network } of readHostRoutes()) expect(network.prefixLength).toBeLessThanOrEqual(32);
  });
});

describe("subnetClash", () => {
  const subnet = readSubnet("192.168.65.0/24");

  it("says what to change when a route of the host covers the subnet", () => {
    expect(subnetClash(subnet, [route("0.0.0.0/0"), route("192.168.0.0/16", "wlan0")])).toBe(
      "subnet 192.168.65.0/24 overlaps the host's route 192.168.0.0/16 on wlan0: " +
        'choose another with --subnet or "subnet:" (for example 172.24.0.0/24)',
    );
  });

  it.each([
    ["the same network", "192.168.65.0/24"],
    ["a part of it", "192.168.65.128/25"],
    ["one host of it", "192.168.65.77/32"],
  ])("sees %s", (_, text) => {
    expect(subnetClash(subnet, [route(text)])).toBe(
      `subnet 192.168.65.0/24 overlaps the host's route ${text} on eth0: ` +
        'choose another with --subnet or "subnet:" (for example 192.168.127.0/24)',
    );
  });

  it("names the most specific route, the first of equals", () => {
    const routes = [route("192.168.0.0/16", "a"), route("192.168.65.0/24", "b"), route("192.168.65.0/24", "c")];
    expect(subnetClash(subnet, routes)).toContain("the host's route 192.168.65.0/24 on b:");
  });

  it("does not mind neighbours, the default route, or a default route laid in parts", () => {
    const routes = ["0.0.0.0/0", "0.0.0.0/1", "128.0.0.0/1", "192.0.0.0/7", "192.168.64.0/24", "192.168.66.0/23"];
    expect(
      subnetClash(
        subnet,
        routes.map((text) => route(text)),
      ),
    ).toBeUndefined();
  });
});

describe("freeSubnet", () => {
  const free = (length: number, ...taken: string[]) => {
    const found = freeSubnet(
      length,
      taken.map((text) => route(text)),
    );
    return found && formatNetwork(found);
  };

  it("is of the same size and overlaps no route", () => {
    expect(free(24)).toBe("192.168.127.0/24");
    expect(free(29, "192.168.127.0/24")).toBe("192.168.128.0/29");
    expect(free(24, "192.168.127.0/24", "192.168.128.0/17")).toBe("192.168.0.0/24");
    expect(free(20, "192.168.112.0/24")).toBe("192.168.128.0/20");
    expect(free(16, "192.168.1.0/24")).toBe("172.24.0.0/16");
    expect(free(8)).toBe("10.0.0.0/8");
  });

  it("is missing when every private network is taken", () => {
    expect(free(24, "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")).toBeUndefined();
    expect(free(8, "10.1.0.0/16")).toBeUndefined();
  });

  it("leaves the example out of the message then", () => {
    const routes = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"].map((text) => route(text));
    expect(subnetClash(readSubnet("10.0.2.0/24"), routes)).toMatch(/--subnet or "subnet:"$/);
  });
});
