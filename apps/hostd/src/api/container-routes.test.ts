import type { PortReport, RunningContainer } from "@hostd/docker";
import { describe, expect, it } from "vitest";
import { containersSchema } from "../control/container-report.ts";
import type { NamedEngine } from "../docker/container-names.ts";
import { serveRoutes } from "../testing/served-routes.ts";
import { containerRoutes } from "./container-routes.ts";

const WEB: RunningContainer = {
  id: "a".repeat(64),
  name: "Web",
  composeName: "web.shop",
  networks: [{ name: "bridge", addresses: ["172.17.0.2", "2001:db8::2"] }],
};
const OTHER: RunningContainer = { id: "b".repeat(64), name: "web.shop", composeName: null, networks: [] };
const HOST: RunningContainer = { id: "c".repeat(64), name: "host", composeName: null, networks: [] };
const PORT: PortReport = {
  ...{ owner: "Web", protocol: "tcp", address: "", port: 8080, containerPort: 80, state: "failed" },
  error: "listen tcp4 0.0.0.0:8080: bind: address already in use",
};

const ENGINE: NamedEngine = {
  address: "tcp://vm:2375",
  zone: "docker.internal",
  directory: {
    list: () => [WEB, OTHER, HOST],
    names: new Map([
      ["web", [WEB]],
      ["web.shop", [OTHER]],
      ["host", [HOST]],
    ]),
    find: (name) => (name === "web" ? [WEB] : []),
    nameAt: () => null,
  },
  vm: () => "vm1",
  ports: () => [PORT, { ...PORT, owner: "service" }],
};

async function play(engine: NamedEngine | null) {
  const asked: string[] = [];
  const dns = {
    // The name is one of hostd's own.
    hasContainer: (name: string, link: string) => asked.push(`${link} ${name}`) > 0 && name !== "host.docker.internal",
  };
  const served = await serveRoutes(containerRoutes({ containers: { engine }, dns }));
  const list = async (query = "") => {
    const { status, body } = await served.askJson(`/v1/containers${query}`);
    expect(status).toBe(200);
    return containersSchema.parse(body);
  };
  return { list, asked };
}

describe("the list of containers", () => {
  it("has their names, addresses, and ports of this host", async () => {
    const { list, asked } = await play(ENGINE);
    const { owner: _, ...port } = PORT;
    expect(await list()).toEqual({
      ...{ engine: "tcp://vm:2375", vm: "vm1", zone: "docker.internal", isKnown: true },
      containers: [
        // A name that is another one's own, or hostd's, is not answered with it.
        { ...WEB, dnsNames: ["web.docker.internal"], ports: [port] },
        { ...OTHER, dnsNames: ["web.shop.docker.internal"], ports: [] },
        { ...HOST, dnsNames: [], ports: [] },
      ],
    });
    expect(asked).toContain("vm1 host.docker.internal");
  });

  it("is that of those of a name", async () => {
    const { list } = await play(ENGINE);
    expect((await list("?name=web")).containers.map(({ id }) => id)).toEqual([WEB.id]);
    expect((await list("?name=db")).containers).toEqual([]);
  });

  it("is empty without an engine, and while it has not said", async () => {
    expect(await (await play(null)).list()).toEqual({
      ...{ engine: null, vm: null, zone: null, isKnown: false },
      containers: [],
    });
    const directory = { ...ENGINE.directory, list: () => null };
    const { list } = await play({ ...ENGINE, zone: undefined, vm: () => undefined, directory });
    expect(await list()).toEqual({
      ...{ engine: "tcp://vm:2375", vm: null, zone: null, isKnown: false },
      containers: [],
    });
  });
});
