import { describe, expect, it } from "vitest";
import { parseConfig } from "../config/resolve.ts";
import { noProxyList } from "./guest-environment.ts";

const STANDARD = "localhost,127.0.0.1,::1,.docker.internal,.containers.internal";
const NETWORKS = "10.0.0.0/8,172.16.0.0/12,192.168.0.0/16";

const listOf = (settings: Parameters<typeof parseConfig>[0]) => noProxyList(parseConfig(settings, "test"));

describe("what containers reach without the proxy", () => {
  it("is what is in them and beside them", () => {
    expect(listOf({})).toBe(`${STANDARD},${NETWORKS}`);
  });

  it("has the domain of containers' names, once", () => {
    expect(listOf({ docker: { zone: "lab.internal" } })).toBe(`${STANDARD},.lab.internal,${NETWORKS}`);
    expect(listOf({ docker: { zone: "docker.internal" } })).toBe(`${STANDARD},${NETWORKS}`);
  });

  it("has the network of the VM, where that is no private one", () => {
    expect(listOf({ subnet: "10.0.2.0/24" })).toBe(`${STANDARD},${NETWORKS}`);
    expect(listOf({ subnet: "100.64.7.0/24" })).toBe(`${STANDARD},${NETWORKS},100.64.7.0/24`);
  });
});
