import { describe, expect, it } from "vitest";
import type { ContainerReport, ContainersReport } from "../control/reports.ts";
import type { DnsQueryReport } from "../dns/report.ts";
import { describeMissing, readResolution } from "./resolve-text.ts";

const container = (name: string, ...addresses: (readonly string[])[]): ContainerReport => ({
  ...{ id: "a".repeat(64), name, composeName: null, dnsNames: [], ports: [] },
  networks: addresses.map((each, number) => ({ name: `net${number}`, addresses: each })),
});
const list = (...containers: ContainerReport[]): ContainersReport => ({
  ...{ engine: "tcp://vm:2375", vm: "vm", zone: null, isKnown: true },
  containers,
});
const answer = (type: string, rcode: string, ...answers: { type: string; data: string }[]): DnsQueryReport => ({
  ...{ name: "a.test", type, vm: "vm", origin: "failure", source: "no server answered", route: null, milliseconds: 1 },
  ...{ rcode, flags: [], authorities: [], additionals: [], isCutOff: false },
  answers: answers.map((record) => ({ name: "a.test.", ttl: 1, class: "IN", ...record })),
});

describe("the addresses of a name", () => {
  it("are those of its containers, each once, IPv4 first", () => {
    const found = list(
      container("shop-web-1", ["172.17.0.2", "2001:db8::2"], ["172.18.0.2"]),
      container("shop-web-2", ["172.17.0.3"], ["172.17.0.2"]),
    );
    expect(readResolution("web.shop", found, [])).toEqual({
      name: "web.shop",
      containers: ["shop-web-1", "shop-web-2"],
      addresses: ["172.17.0.2", "172.18.0.2", "172.17.0.3", "2001:db8::2"],
    });
  });

  it("are those that the name server gives, without what leads to them", () => {
    const alias = { type: "CNAME", data: "b.test." };
    const answers = [
      answer("A", "NOERROR", alias, { type: "A", data: "192.0.2.1" }),
      answer("AAAA", "NOERROR", alias, { type: "AAAA", data: "2001:db8::1" }),
    ];
    expect(readResolution("a.test", list(), answers)).toEqual({
      name: "a.test",
      containers: [],
      addresses: ["192.0.2.1", "2001:db8::1"],
    });
  });
});

describe("what is said when there is none", () => {
  const missing = (all: ContainersReport, ...answers: DnsQueryReport[]) => {
    return describeMissing(readResolution("web", list(), answers), answers, all);
  };

  it.each([
    [list(container("db"), container("api")), "running: db, api"],
    [list(...Array.from({ length: 22 }, () => container("x"))), `running: ${"x, ".repeat(19)}x and 2 more`],
    [list(), "no container runs"],
    [{ ...list(), isKnown: false }, "the Docker engine at tcp://vm:2375 has not said which containers run"],
    [{ ...list(), engine: null }, "containers are known with docker.listen only"],
  ])("tells which containers there are", (all, expected) => {
    const none = answer("A", "NXDOMAIN");
    expect(missing(all, none, none)).toBe(`no container is "web", and there is no such name for the VM; ${expected}`);
  });

  it.each([
    [["NOERROR", "NOERROR"], "that name has no address for the VM"],
    [["NXDOMAIN", "SERVFAIL"], "the VM could not look it up (SERVFAIL: no server answered)"],
  ])("tells why the name server has none: %j", ([a, aaaa], expected) => {
    expect(missing(list(), answer("A", a), answer("AAAA", aaaa))).toBe(
      `no container is "web", and ${expected}; no container runs`,
    );
  });

  it("tells of a container that has none", () => {
    const resolution = readResolution("web", list(container("web")), []);
    expect(describeMissing(resolution, [], list())).toBe(
      "the container web has no address of its own, as with --network host",
    );
  });
});
