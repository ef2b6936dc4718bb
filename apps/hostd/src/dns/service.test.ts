import { newQuery, parseType, type QueryContext, type Zone } from "@hostd/dns";
import { parseIpv4 } from "@hostd/stack";
import pino from "pino";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { type HostdConfig, parseConfig } from "../config/resolve.ts";
import type { SettingsInput } from "../config/schema.ts";
import { DnsService } from "./service.ts";

const VM = parseIpv4("192.168.65.3");
const CONTAINER = parseIpv4("172.17.0.2");
const byVm: QueryContext = { link: "vm", client: VM, vmAddress: VM };
const byContainer: QueryContext = { link: "vm", client: CONTAINER, vmAddress: VM };
const zone: Zone = { name: "docker.internal", records: [{ name: "web", type: "A", address: "172.17.0.2", ttl: 0 }] };

const config = (dns: SettingsInput["dns"] = {}): HostdConfig => {
  // Nobody is there: what is asked beyond the zones is not answered.
  return parseConfig({ dns: { servers: ["127.0.0.1:1"], hosts: "none", ...dns } }, "test");
};

let lines: Record<string, unknown>[];
let logger: pino.Logger;
let service: DnsService;

beforeEach(() => {
  lines = [];
  logger = pino(
    { level: "info", base: null, timestamp: false },
    { write: (line: string) => void lines.push(JSON.parse(line)) },
  );
  const nameAt = (vm: string, address: string) => (vm === "vm" && address === "172.17.0.2" ? "web" : null);
  service = new DnsService(config(), logger, { nameAt });
});
afterEach(() => service.close());

const addresses = async (name: string, context = byVm) => {
  const { answers } = await service.query(name, parseType("A"), context);
  return answers.map(({ data }) => data);
};

describe("the names of containers", () => {
  it("are answered to whom they are for, and shown beside the zones", async () => {
    service.setContainers(zone, ({ link }) => link === "vm");
    expect(await addresses("web.docker.internal")).toEqual(["172.17.0.2"]);
    expect(await addresses("web.docker.internal", { ...byVm, link: "other" })).toEqual([]);
    expect(service.hasContainer("web.docker.internal", "vm")).toBe(true);
    expect(service.hasContainer("web.docker.internal", "other")).toBe(false);
    expect(service.hasContainer("host.docker.internal", "vm")).toBe(false);
    expect(service.report().containers).toEqual(zone);
    expect(service.report().zones[0].records.map(({ name }) => name)).not.toContain("web");
  });

  it("outlive another configuration, beneath what is new in it", async () => {
    service.setContainers(zone, ({ link }) => link === "vm");
    service.configure(config());
    expect(await addresses("web.docker.internal")).toEqual(["172.17.0.2"]);
    expect(await addresses("web.docker.internal", { ...byVm, link: "other" })).toEqual([]);
    service.configure(config({ zones: [{ name: zone.name, records: [{ name: "web", address: "10.0.0.1" }] }] }));
    expect(await addresses("web.docker.internal")).toEqual(["10.0.0.1"]);
    expect(service.hasContainer("web.docker.internal", "vm")).toBe(false);
  });

  it("end", async () => {
    service.setContainers(zone);
    service.setContainers(null);
    expect(await addresses("web.docker.internal")).toEqual([]);
    expect(service.report().containers).toBeNull();
  });
});

describe("the log", () => {
  const { message: query } = newQuery("host.docker.internal", parseType("A"));
  const ask = (context: QueryContext) => service.makeServer().handleDatagram(query, context, () => {});

  it("has a line for each query that is answered, which names the container, at its level alone", () => {
    ask(byVm);
    expect(lines).toEqual([]);
    logger.level = "debug";
    ask(byVm);
    ask(byContainer);
    ask({ ...byContainer, client: parseIpv4("172.17.0.9") });
    const same = {
      ...{ level: 20, msg: "query answered", vm: "vm", name: "host.docker.internal", type: "A", rcode: "NOERROR" },
      ...{ origin: "zone", milliseconds: expect.any(Number) },
    };
    expect(lines).toEqual([
      { ...same, client: "192.168.65.3" },
      { ...same, client: "172.17.0.2", container: "web" },
      { ...same, client: "172.17.0.9" },
    ]);
  });
});
