import { describe, expect, test } from "vitest";
import { isWithoutPorts, readContainer, readPortBindings } from "./container-ports.ts";

const ID = "1aec7d4d0d3fa71b04c57c17c8e5a4416eb8028152fd56b6a6d5ace5a93c220d";
const BOTH = (port: string) => [
  { HostIp: "0.0.0.0", HostPort: port },
  { HostIp: "::", HostPort: port },
];

/** As dockerd 20.10.24 has it after `docker run -p 8080:80 -p 127.0.0.1:8081:81 -p 82 -p 7000-7005:99 -p 53:53/udp`. */
const INSPECTED = {
  Id: ID,
  Name: "/aa",
  State: { Status: "running", Running: true, Paused: false, Restarting: false },
  HostConfig: {
    NetworkMode: "default",
    PortBindings: {
      "53/udp": [{ HostIp: "", HostPort: "53" }],
      "80/tcp": [{ HostIp: "", HostPort: "8080" }],
      "81/tcp": [{ HostIp: "127.0.0.1", HostPort: "8081" }],
      "82/tcp": [{ HostIp: "", HostPort: "" }],
      "99/tcp": [{ HostIp: "", HostPort: "7000-7005" }],
    },
  },
  NetworkSettings: {
    Ports: {
      "53/udp": BOTH("53"),
      "80/tcp": BOTH("8080"),
      "81/tcp": [{ HostIp: "127.0.0.1", HostPort: "8081" }],
      "82/tcp": BOTH("32768"),
      "99/tcp": BOTH("7001"),
      "100/tcp": null,
      "101/tcp": [],
    },
    Networks: {
      bridge: {
        Gateway: "172.17.0.1",
        IPAddress: "172.17.0.2",
        IPv6Gateway: "",
        GlobalIPv6Address: "",
        NetworkID: "a04b30237b1e",
        GwPriority: 0,
      },
    },
  },
};

describe("what an engine says of a container", () => {
  test("has the ports that it asked for and those that it has, and where it is reached", () => {
    const any = { first: 0, last: 0 };
    expect(readContainer(INSPECTED)).toEqual({
      id: ID,
      name: "aa",
      isStarted: true,
      asked: [
        { protocol: "udp", containerPort: 53, address: "", first: 53, last: 53 },
        { protocol: "tcp", containerPort: 80, address: "", first: 8080, last: 8080 },
        { protocol: "tcp", containerPort: 81, address: "127.0.0.1", first: 8081, last: 8081 },
        { protocol: "tcp", containerPort: 82, address: "", ...any },
        { protocol: "tcp", containerPort: 99, address: "", first: 7000, last: 7005 },
      ],
      bound: [
        { protocol: "udp", containerPort: 53, address: "", port: 53 },
        { protocol: "tcp", containerPort: 80, address: "", port: 8080 },
        { protocol: "tcp", containerPort: 81, address: "127.0.0.1", port: 8081 },
        { protocol: "tcp", containerPort: 82, address: "", port: 32_768 },
        { protocol: "tcp", containerPort: 99, address: "", port: 7001 },
      ],
      attachments: [{ network: "a04b30237b1e", address: "172.17.0.2", isJoined: true }],
    });
  });

  test("has no ports that are there while it does not run, or waits to be started again", () => {
    for (const State of [{}, { Running: false }, { Running: true, Restarting: true }, null]) {
      expect(readContainer({ ...INSPECTED, State })?.bound).toEqual([]);
    }
    expect(readContainer({ ...INSPECTED, State: { Running: true, Restarting: true } })?.isStarted).toBe(true);
  });

  test("tells every address from the default one by what was asked for", () => {
    const PortBindings = {
      "80/tcp": [
        { HostIp: "0.0.0.0", HostPort: "80" },
        { HostIp: "", HostPort: "81" },
      ],
    };
    const Ports = { "80/tcp": [{ HostIp: "0.0.0.0", HostPort: "80" }, ...BOTH("81")] };
    const value = { ...INSPECTED, HostConfig: { PortBindings }, NetworkSettings: { Ports } };
    expect(readContainer(value)?.bound.map(({ address, port }) => `${address}:${port}`)).toEqual(["0.0.0.0:80", ":81"]);
  });

  test("may have an address of the engine's own setting in place of the default one", () => {
    const Ports = { "80/tcp": [{ HostIp: "127.0.0.1", HostPort: "8080" }] };
    const value = { ...INSPECTED, NetworkSettings: { Ports } };
    expect(readContainer(value)?.bound).toMatchObject([{ address: "127.0.0.1", port: 8080 }]);
  });

  test("has ports of images that are published without being asked for one by one", () => {
    const value = {
      ...INSPECTED,
      HostConfig: { PublishAllPorts: true },
      NetworkSettings: { Ports: { "80/tcp": BOTH("32768") } },
    };
    expect(readContainer(value)?.bound).toEqual([{ protocol: "tcp", containerPort: 80, address: "", port: 32_768 }]);
  });

  test("writes addresses in one way", () => {
    const Ports = {
      "80/tcp": [
        { HostIp: "0:0:0:0:0:0:0:1", HostPort: "80" },
        { HostIp: "FE80::A", HostPort: "80" },
      ],
    };
    const value = { ...INSPECTED, NetworkSettings: { Ports } };
    expect(readContainer(value)?.bound.map(({ address }) => address)).toEqual(["::1", "fe80::a"]);
  });

  test("may be of none, or nonsense", () => {
    for (const value of [null, [], "x", {}, { Id: "../x" }, { Id: ID.toUpperCase() }])
      expect(readContainer(value)).toBeNull();
    const nonsense = {
      Id: ID,
      Name: 5,
      State: [],
      HostConfig: { PortBindings: [], NetworkMode: {} },
      NetworkSettings: {
        Ports: { "80/tcp": [5, null, {}], x: BOTH("1"), "0/tcp": BOTH("1"), "65536": BOTH("1") },
        Networks: 1,
      },
    };
    expect(readContainer(nonsense)).toEqual({
      id: ID,
      name: "",
      isStarted: false,
      asked: [],
      bound: [],
      attachments: [],
    });
    const Ports = { "80/tcp": ["", "0", "65536", "-1", "1e3", "80 ", "0x50", 80].map((HostPort) => ({ HostPort })) };
    expect(readContainer({ ...INSPECTED, NetworkSettings: { Ports } })?.bound).toEqual([]);
    const Networks = { a: { IPAddress: "::1" }, b: null, c: { IPAddress: "172.17.0.999" } };
    expect(
      readContainer({ ...INSPECTED, NetworkSettings: { Networks } })?.attachments.map(({ address }) => address),
    ).toEqual(["", "", ""]);
  });

  test("takes no time worth telling for as many ports as an answer can have", () => {
    const rows = Array.from({ length: 100_000 }, (_, index) => ({
      HostIp: "0.0.0.0",
      HostPort: String((index % 65_535) + 1),
    }));
    const value = {
      ...INSPECTED,
      HostConfig: { PortBindings: { "80/tcp": rows } },
      NetworkSettings: { Ports: { "80/tcp": rows } },
    };
    const start = performance.now();
    expect(readContainer(value)?.bound).toHaveLength(65_535);
    expect(performance.now() - start).toBeLessThan(2000);
  });
});

describe("ports that are asked for", () => {
  test.each([
    ["80", 80, 80],
    ["", 0, 0],
    ["0", 0, 0],
    ["8000-8010", 8000, 8010],
    ["80-80", 80, 80],
    ["080", 80, 80],
  ])("are read of %j", (HostPort, first, last) => {
    expect(readPortBindings({ "80/tcp": [{ HostPort }] })).toMatchObject([{ first, last }]);
  });

  test.each(["x", "80-", "-80", "80-79", "65536", "0-5", "1-2-3", " 80"])("are none of %j", (HostPort) => {
    expect(readPortBindings({ "80/tcp": [{ HostPort }] })).toEqual([]);
  });

  test("are of TCP unless it is told, in any case", () => {
    const bindings = { "80": [{}], "81/UDP": [{}], "82/sctp": [{}] };
    expect(readPortBindings(bindings).map(({ protocol }) => protocol)).toEqual(["tcp", "udp", "sctp"]);
  });
});

test.each([
  ["host", true],
  ["none", true],
  ["container:web", true],
  ["default", false],
  ["bridge", false],
  ["hosts", false],
  ["", false],
])("a container in the network mode %j has no ports of its own: %s", (mode, expected) => {
  expect(isWithoutPorts(mode)).toBe(expected);
});
