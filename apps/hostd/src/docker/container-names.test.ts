import type { RunningContainer } from "@hostd/docker";
import { describe, expect, it } from "vitest";
import { ContainerNames, type NamedEngine } from "./container-names.ts";

/** The names of an engine with one container, `web` at 172.17.0.2. */
function namesOf(vm: string | null | undefined): ContainerNames {
  const names = new ContainerNames();
  const web: RunningContainer = { id: "0".repeat(64), name: "web", composeName: null, networks: [] };
  const engine: NamedEngine = {
    address: "tcp://vm:2375",
    zone: undefined,
    directory: {
      list: () => [web],
      names: new Map([["web", [web]]]),
      find: () => [web],
      nameAt: (address) => (address === "172.17.0.2" ? "web" : null),
    },
    vm: () => vm,
    ports: () => [],
  };
  names.use(engine);
  return names;
}

describe("the name of an address", () => {
  it("is that of a container of the VM that the engine is in", () => {
    const names = namesOf("vm1");
    expect(names.nameAt("vm1", "172.17.0.2")).toBe("web");
    expect(names.nameAt("vm1", "172.17.0.3")).toBeNull();
    // It may have a container with that address too.
    expect(names.nameAt("vm2", "172.17.0.2")).toBeNull();
  });

  it("is not known while there is no VM, and in any VM for an engine behind a socket of the host", () => {
    expect(namesOf(null).nameAt("vm1", "172.17.0.2")).toBeNull();
    expect(namesOf(undefined).nameAt("vm2", "172.17.0.2")).toBe("web");
  });

  it("is not known without an engine", () => {
    const names = namesOf("vm1");
    names.use(null);
    expect([names.nameAt("vm1", "172.17.0.2"), names.areIn("vm1"), names.engine]).toEqual([null, false, null]);
    expect(new ContainerNames().nameAt("vm1", "172.17.0.2")).toBeNull();
  });
});
