import type { QueryContext, Zone } from "@hostd/dns";
import type { RunningContainer } from "@hostd/docker";
import { beforeEach, describe, expect, it } from "vitest";
import { RecordingLogger } from "../../../../packages/streams/src/testing/recording-logger.ts";
import { ContainerZone } from "./container-zone.ts";

const isFor = ({ link }: QueryContext) => link === "vm1";
const named = (...names: string[]): Map<string, RunningContainer[]> => {
  const networks = [{ name: "bridge", addresses: ["172.17.0.2"] }];
  return new Map(names.map((name) => [name, [{ id: "0".repeat(64), name, composeName: null, networks }]]));
};

let zones: (readonly [Zone | null, unknown])[];
let logger: RecordingLogger;
let zone: ContainerZone;

beforeEach(() => {
  zones = [];
  logger = new RecordingLogger();
  const dns = { setContainers: (given: Zone | null, whose?: unknown) => void zones.push([given, whose]) };
  zone = new ContainerZone({ name: "docker.internal", dns, isFor, logger });
});

describe("the zone of containers", () => {
  it("is there from the start, follows the names, and ends", () => {
    zone.update(named("web"));
    zone.close();
    const record = { name: "web", type: "A", address: "172.17.0.2", ttl: 0 };
    expect(zones).toEqual([
      [{ name: "docker.internal", records: [] }, isFor],
      [{ name: "docker.internal", records: [record] }, isFor],
      [null, undefined],
    ]);
  });

  it("logs the names that are left out, each once", () => {
    zone.update(named("a..b", "web"));
    zone.update(named("a..b", "db"));
    expect(logger.lines).toMatchObject([
      { level: "warn", fields: { zone: "docker.internal", names: ["a..b"], count: 1 } },
    ]);
  });
});
