import type { RunningContainer } from "@hostd/docker";
import { describe, expect, it } from "vitest";
import { containerRecords } from "./container-records.ts";

let nextId = 1;

/** A container with these addresses, each in a network of its own. */
function container(...addresses: string[]): RunningContainer {
  return {
    id: String(nextId++).padStart(64, "0"),
    name: "any",
    composeName: null,
    networks: addresses.map((address, number) => ({ name: `net${number}`, addresses: [address] })),
  };
}

describe("the records of containers", () => {
  it("are one for each address of a name, IPv4 and IPv6, that may not be kept", () => {
    const web = container("172.17.0.2", "2001:db8::2", "172.18.0.2", "172.17.0.2");
    expect(containerRecords(new Map([["web", [web]]]), "docker.internal")).toEqual({
      records: [
        { name: "web", type: "A", address: "172.17.0.2", ttl: 0 },
        { name: "web", type: "AAAA", address: "2001:db8::2", ttl: 0 },
        { name: "web", type: "A", address: "172.18.0.2", ttl: 0 },
      ],
      leftOut: [],
    });
  });

  it("are those of all that have a name, up to 64", () => {
    const many = Array.from({ length: 100 }, (_, number) => container(`10.0.0.${number}`));
    const { records, leftOut } = containerRecords(new Map([["web.shop", many]]), "lab");
    expect(records).toHaveLength(64);
    expect(records[63]).toMatchObject({ address: "10.0.0.63" });
    expect(leftOut).toEqual([]);
  });

  it("leave out what is no domain name in the zone, and nothing else", () => {
    const long = "x".repeat(63);
    const names = ["a..b", "a.", `${long}x`, [long, long, long, "y".repeat(61)].join("."), long, "my_box-1.x"];
    const { records, leftOut } = containerRecords(new Map(names.map((name) => [name, [container("10.0.0.1")]])), "lab");
    expect(leftOut).toEqual(names.slice(0, 4));
    expect(records.map(({ name }) => name)).toEqual(names.slice(4));
  });

  it("leave out the last when there are too many", () => {
    const names = Array.from({ length: 20_003 }, (_, number) => `box${number}`);
    const { records, leftOut } = containerRecords(new Map(names.map((name) => [name, [container("10.0.0.1")]])), "lab");
    expect(records).toHaveLength(20_000);
    expect(leftOut).toEqual(names.slice(20_000));
  });

  it("are none for containers without an address", () => {
    expect(containerRecords(new Map([["host", [container()]]]), "lab")).toEqual({ records: [], leftOut: [] });
  });
});
