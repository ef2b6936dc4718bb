/** Containers by name: over the control API, for VMs that ask, and on the command line. */
import { readFile, writeFile } from "node:fs/promises";
import { connect } from "node:net";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import type { EmbeddedGuest } from "@hostd/guest";
import type { SettingsInput } from "hostd";
import { describe, expect, it } from "vitest";
import { containersSchema } from "../../apps/hostd/src/control/container-report.ts";
import { type FlowReport, flowListSchema } from "../../apps/hostd/src/control/flow-report.ts";
import { dnsSchema } from "../../apps/hostd/src/dns/schemas.ts";
import { publish } from "../../packages/docker/src/testing/port-harness.ts";
import { ScriptedEngine } from "../../packages/docker/src/testing/scripted-engine.ts";
import { ensureDockerClient, ensureDockerEngine } from "../vm/host-packages.ts";
import { askDaemon } from "./support/control.ts";
import { DOCKER, engineGuestsLack, PATIENCE, untilServed, useEngine } from "./support/engine-guest.ts";
import { freePort } from "./support/gvproxy-process.ts";
import { serveTcp } from "./support/host-servers.ts";
import { HostdCommand } from "./support/hostd-command.ts";
import { GATEWAY, HOST, HOST_NAME, inLab, type Lab } from "./support/lab.ts";

const COMPOSE = { "com.docker.compose.service": "web", "com.docker.compose.project": "shop" };
const ENGINE_PORT = 2375;

/** A hostd with a scripted engine in its first VM. */
class NamedLab {
  readonly lab: Lab;
  readonly engine: ScriptedEngine;
  readonly api: string;

  private constructor(lab: Lab) {
    this.lab = lab;
    this.engine = new ScriptedEngine(join(lab.folder, "engine.sock"));
    this.api = join(lab.folder, "api.sock");
  }

  static async start(lab: Lab, settings: SettingsInput["docker"] = {}): Promise<NamedLab> {
    const named = new NamedLab(lab);
    await named.engine.start();
    lab.defer(() => named.engine.stop());
    const docker = { listen: join(lab.folder, "docker.sock"), defaultAddress: "loopback", ...settings };
    await lab.start({ api: named.api, docker });
    return named;
  }

  /** The VM whose engine it is. */
  async boot(): Promise<EmbeddedGuest> {
    const guest = await this.lab.boot(1);
    guest.listen(ENGINE_PORT, (stream) => {
      const socket = connect({ path: this.engine.path, allowHalfOpen: true });
      stream.on("error", () => socket.destroy());
      socket.on("error", () => stream.destroy());
      stream.pipe(socket).pipe(stream);
    });
    await this.engine.followed();
    return guest;
  }

  run(options: Parameters<ScriptedEngine["create"]>[0]): string {
    const id = this.engine.create(options);
    this.engine.startContainer(id);
    return id;
  }

  async containers(query = "") {
    const { status, json } = await askDaemon(this.api, "GET", `/v1/containers${query}`);
    expect(status).toBe(200);
    return containersSchema.parse(json);
  }

  /** Waits until these run by hostd's knowledge, and no others. */
  async known(...names: string[]): Promise<void> {
    await expect
      .poll(
        async () => {
          const { isKnown, containers } = await this.containers();
          return isKnown ? containers.map(({ name }) => name) : null;
        },
        { timeout: 10_000 },
      )
      .toEqual(names.sort());
  }

  async resolve(...args: string[]) {
    const command = new HostdCommand(this.lab, ["resolve", ...args, "--api", this.api]);
    const stdout = await text(command.child.stdout);
    const { code, stderr } = await command.outcome();
    return { code, stdout, stderr };
  }
}

describe("the containers of an engine in a VM", () => {
  it("are listed by the control API with their names, addresses and ports, as they come and go", () =>
    inLab(async (lab) => {
      const named = await NamedLab.start(lab, { zone: "Docker.Internal" });
      expect(await named.containers()).toEqual({
        ...{ engine: "tcp://vm:2375", vm: null, zone: "Docker.Internal", isKnown: false, containers: [] },
      });
      const id = named.run({ name: "shop-web-1", labels: COMPOSE, portBindings: publish("80") });
      const host = named.run({ name: "host" });
      await named.boot();
      await named.known("shop-web-1", "host");
      const [port] = named.engine.containers.get(id)?.ports["80/tcp"] ?? [];
      await expect
        .poll(() => named.containers("?name=WEB.shop"), { timeout: 10_000 })
        .toEqual({
          ...{ engine: "tcp://vm:2375", vm: `unix://${lab.socket}`, zone: "Docker.Internal", isKnown: true },
          containers: [
            {
              ...{ id, name: "shop-web-1", composeName: "web.shop" },
              dnsNames: ["shop-web-1.docker.internal", "web.shop.docker.internal"],
              networks: [{ name: "bridge", addresses: ["172.17.0.2"] }],
              ports: [
                {
                  ...{ protocol: "tcp", address: "", port: Number(port?.HostPort), containerPort: 80, state: "open" },
                },
              ],
            },
          ],
        });
      // hostd's own name stays hostd's.
      const short = (await named.containers(`?name=${host.slice(-1).padStart(64, "c")}`)).containers;
      expect(short).toMatchObject([{ name: "host", dnsNames: [] }]);
      named.engine.rename(id, "web");
      await named.known("web", "host");
      named.engine.die(id);
      await named.known("host");
    }));

  it("are answered by name to that VM alone, beneath all other names, and by their addresses", () =>
    inLab(async (lab) => {
      const named = await NamedLab.start(lab, { zone: "docker.internal" });
      const guest = await named.boot();
      await expect(guest.resolve("web.docker.internal")).rejects.toThrow("NXDOMAIN");
      const id = named.run({ name: "web", labels: COMPOSE });
      named.run({ name: "host" });
      await named.known("web", "host");
      expect(await guest.resolve("web.docker.internal")).toEqual(["172.17.0.2"]);
      expect(await guest.resolve("WEB.shop.docker.internal")).toEqual(["172.17.0.2"]);
      expect(await guest.resolve(HOST_NAME)).toEqual([HOST]);
      const { json } = await askDaemon(named.api, "GET", "/v1/dns");
      expect(dnsSchema.parse(json).containers?.records.map(({ name }) => name)).toEqual(["host", "web", "web.shop"]);

      const other = await lab.boot(2);
      await expect(other.resolve("web.docker.internal")).rejects.toThrow("NXDOMAIN");
      expect(await other.resolve(HOST_NAME)).toEqual([HOST]);

      named.engine.die(id);
      await named.known("host");
      await expect(guest.resolve("web.docker.internal")).rejects.toThrow("NXDOMAIN");
      // No server of the host was asked.
      expect(lab.nameServer.queries).toEqual([]);
    }));

  it("are no names at all without docker.zone", () =>
    inLab(async (lab) => {
      const named = await NamedLab.start(lab);
      const guest = await named.boot();
      named.run({ name: "web" });
      await named.known("web");
      await expect(guest.resolve("web.docker.internal")).rejects.toThrow("NXDOMAIN");
      expect((await named.containers()).containers).toMatchObject([{ name: "web", dnsNames: [] }]);
    }));

  it("are known in every VM where the engine is behind a socket of the host", () =>
    inLab(async (lab) => {
      const path = join(lab.folder, "engine.sock");
      const named = await NamedLab.start(lab, { upstream: `unix://${path}`, zone: "boxes" });
      await named.engine.followed();
      named.run({ name: "web" });
      await named.known("web");
      expect((await named.containers()).vm).toBeNull();
      for (const number of [1, 2]) {
        const guest = await lab.boot(number);
        expect(await guest.resolve("web.boxes")).toEqual(["172.17.0.2"]);
        await expect(guest.resolve("db.boxes")).rejects.toThrow("NXDOMAIN");
      }
    }));
});

describe("hostd resolve", () => {
  it("prints the addresses of containers by any of their names, and of all other names as the VM sees them", () =>
    inLab(async (lab) => {
      const named = await NamedLab.start(lab, { zone: "boxes" });
      await named.boot();
      const id = named.run({ name: "web", labels: COMPOSE, networks: ["a", "b"], ipv6Address: "2001:db8::2" });
      named.run({ name: "db", labels: COMPOSE });
      named.run({ name: "bare", networks: [], networkMode: "host" });
      await named.known("web", "db", "bare");
      const of = (...lines: string[]) => ({ code: 0, stdout: lines.map((line) => `${line}\n`).join(""), stderr: "" });
      const web = of("172.17.0.2", "172.17.0.3", "2001:db8::2");
      expect(await named.resolve("Web")).toEqual(web);
      expect(await named.resolve(id)).toEqual(web);
      expect(await named.resolve("web.boxes")).toEqual(web);
      expect(await named.resolve("web.shop")).toEqual(of("172.17.0.4", "172.17.0.2", "172.17.0.3", "2001:db8::2"));
      expect(await named.resolve(HOST_NAME)).toEqual(of(HOST));
      expect(await named.resolve("www.test")).toEqual(of("203.0.113.80"));
      const { stdout } = await named.resolve("web.shop", "--json");
      expect(JSON.parse(stdout)).toMatchObject({
        name: "web.shop",
        containers: ["db", "web"],
        addresses: { length: 4 },
      });

      expect(await named.resolve("missing.test")).toEqual({
        code: 1,
        stdout: "",
        stderr: 'hostd: no container is "missing.test", and there is no such name for the VM; running: bare, db, web\n',
      });
      expect(await named.resolve("bare")).toMatchObject({ code: 1, stderr: expect.stringContaining("no address") });
      expect(await named.resolve("a..b")).toMatchObject({ code: 2, stdout: "" });
    }));

  it("works without an engine, and says for which VM where there are several", () =>
    inLab(async (lab) => {
      const named = await NamedLab.start(lab, { listen: "none" });
      const guests = [await lab.boot(1), await lab.boot(2)];
      expect(guests).toHaveLength(2);
      expect(await named.resolve("www.test")).toMatchObject({ code: 2, stderr: expect.stringContaining("2 VMs") });
      const vm = `unix://${lab.socket}`;
      expect(await named.resolve("www.test", "--vm", vm)).toEqual({ code: 0, stdout: "203.0.113.80\n", stderr: "" });
      expect((await named.resolve("nope.test", "--vm", vm)).stderr).toContain("docker.listen");
    }));
});

/** A Docker engine whose containers keep their own addresses on the way out. */
const WITHOUT_MASQUERADE: typeof DOCKER = {
  ...DOCKER,
  command: async (folder, socket) => {
    const words = await DOCKER.command(folder, socket);
    const config = join(folder, "daemon.json");
    const before: unknown = JSON.parse(await readFile(config, "utf8"));
    await writeFile(config, JSON.stringify(Object.assign({}, before, { "ip-masq": false })));
    return words;
  },
};

const lack = engineGuestsLack(ensureDockerEngine(), ensureDockerClient());

describe.skipIf(lack !== undefined)(`a real engine${lack === undefined ? "" : ` (${lack})`}`, () => {
  const engine = useEngine("docker-names", WITHOUT_MASQUERADE, { docker: { zone: "docker.internal" } });

  const flows = async (): Promise<readonly FlowReport[]> => {
    return flowListSchema.parse((await askDaemon(engine().api, "GET", "/v1/flows?protocol=tcp")).json).flows;
  };
  const inContainer = async (name: string, ...words: string[]) =>
    (await engine().docker("exec", name, ...words)).trim();

  it("has its containers answered to each other and to the VM, in whatever network they are", async () => {
    const { guest, docker, daemon, start } = handles();
    await start("web", []);
    await start("api", ["--label", "com.docker.compose.project=shop", "--label", "com.docker.compose.service=api"]);
    await docker("network", "create", "-o", "com.docker.network.bridge.enable_ip_masquerade=false", "own");
    await start("inside", ["--network", "own"]);
    const address = await docker("inspect", "-f", "{{.NetworkSettings.IPAddress}}", "web");
    const other = await docker("inspect", "-f", "{{.NetworkSettings.Networks.own.IPAddress}}", "inside");
    const lookUp = (name: string) => `nslookup -type=a ${name}`;
    await expect
      .poll(() => inContainer("api", "sh", "-c", `${lookUp("inside.docker.internal")} || true`), { timeout: PATIENCE })
      .toContain(`Address: ${other}`);
    // By the engine's own name server, which asks hostd for what it does not know.
    expect(await inContainer("inside", "sh", "-c", lookUp("web.docker.internal"))).toContain(`Address: ${address}`);
    expect(await inContainer("web", "sh", "-c", lookUp("api.shop.docker.internal"))).toContain("Address: 172.17.");
    const { stdout: fromVm } = await guest.check(`busybox nslookup -type=a web.docker.internal ${GATEWAY}`);
    expect(fromVm).toContain(`Address: ${address}`);
    const asked = daemon.log.filter(({ msg, name }) => msg === "query answered" && name === "web.docker.internal");
    expect(new Set(asked.map(({ container }) => container))).toEqual(new Set(["inside", undefined]));
    await docker("rm", "-f", "inside");
    await expect
      .poll(() => inContainer("api", "sh", "-c", `${lookUp("inside.docker.internal")} || true`), { timeout: PATIENCE })
      .toContain("NXDOMAIN");
    await docker("network", "rm", "own");
  });

  it("has the flows of its containers named, out of the VM and by published ports", async () => {
    const { lab, docker, start } = handles();
    const server = await serveTcp(lab, (socket) => socket.resume());
    const port = await freePort();
    await start("client", [], ["sh", "-c", `sleep 1000 | nc ${HOST} ${server.port}`]);
    await start("web", ["-p", `127.0.0.1:${port}:80`]);
    await untilServed(port);
    const held = connect(port, "127.0.0.1");
    lab.defer(() => held.destroy());
    const named = async () => {
      const all = await flows();
      return all.map(({ direction, container, guest }) => `${direction} ${container} ${guest.port === 80}`).sort();
    };
    await expect
      .poll(named, { timeout: PATIENCE })
      .toEqual(expect.arrayContaining(["in web true", "out client false"]));
    const address = await docker("inspect", "-f", "{{.NetworkSettings.IPAddress}}", "web");
    const command = new HostdCommand(lab, ["resolve", "web", "--api", engine().api]);
    expect(await text(command.child.stdout)).toBe(`${address}\n`);
    held.destroy();
  });

  function handles() {
    const { lab, guest, daemon } = engine();
    return {
      lab,
      guest,
      daemon,
      docker: (...words: string[]) => engine().docker(...words),
      start: (name: string, flags: string[], command?: string[]) => engine().start(name, flags, command),
    };
  }
});
