import { request } from "node:http";
import { connect } from "node:net";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import type { SettingsInput } from "hostd";
import { describe, expect, it, vi } from "vitest";
import { publish } from "../../packages/docker/src/testing/port-harness.ts";
import { ScriptedEngine } from "../../packages/docker/src/testing/scripted-engine.ts";
import { ensureDockerClient, ensureDockerEngine } from "../vm/host-packages.ts";
import { DOCKER, engineGuestsLack, IMAGE, useEngine } from "./support/engine-guest.ts";
import { freePort } from "./support/gvproxy-process.ts";
import { inLab, type Lab } from "./support/lab.ts";

/** A hostd that serves a scripted engine. */
async function startEngine(lab: Lab, settings: SettingsInput = {}) {
  const engine = new ScriptedEngine(join(lab.folder, "engine.sock"));
  await engine.start();
  lab.defer(() => engine.stop());
  const socketPath = join(lab.folder, "docker.sock");
  const start = () => {
    const docker = { listen: `unix://${socketPath}`, upstream: `unix://${engine.path}`, defaultAddress: "loopback" };
    return lab.start({ ...settings, docker: { ...docker, ...settings.docker } });
  };
  return { engine, socketPath, start };
}

/** What the docker command asks of hostd's socket. */
async function post(socketPath: string, path: string, body: object | null = null) {
  return await new Promise<{ status: number | undefined; message: unknown }>((resolve, reject) => {
    const outgoing = request({ socketPath, path, method: "POST", agent: false }, async (response) => {
      const answer = await text(response);
      resolve({ status: response.statusCode, message: answer === "" ? null : JSON.parse(answer).message });
    });
    outgoing.once("error", reject);
    outgoing.end(body === null ? undefined : JSON.stringify(body));
  });
}

const create = (...ports: readonly string[]) => ({ Image: "web", HostConfig: { PortBindings: publish(...ports) } });

describe("docker create", () => {
  it("is refused for ports that publish.allow does not have, before the engine is asked", () =>
    inLab(async (lab) => {
      const { engine, socketPath, start } = await startEngine(lab, {
        publish: { allow: ["127.0.0.1:8000-8999"] },
      });
      await start();
      const ask = (...ports: readonly string[]) => post(socketPath, "/v1.44/containers/create", create(...ports));
      const prefix = "ports are not available: exposing port TCP";
      const allowed = "is not allowed; allowed: 127.0.0.1:8000-8999";
      expect(await ask("80:80")).toEqual({
        status: 403,
        message: `${prefix} 0.0.0.0:80 -> 127.0.0.1:0: listening on 127.0.0.1:80 ${allowed}`,
      });
      expect(await ask("8080:80", "10.0.0.1:8081:81")).toEqual({
        status: 403,
        message: `${prefix} 10.0.0.1:8081 -> 127.0.0.1:0: listening on 10.0.0.1:8081 ${allowed}`,
      });
      expect(await ask("9000-9010:80")).toMatchObject({ status: 403 });
      expect(engine.requests).not.toContain("POST /containers/create");
      // The scripted engine knows no such request: the words are its own.
      for (const [times, port] of ["8080:80", "80", "8990-9010:80"].entries()) {
        expect(await ask(port)).toMatchObject({ message: "No such container: create" });
        expect(engine.requests.filter((one) => one === "POST /containers/create")).toHaveLength(times + 1);
      }
    }));
});

describe("with docker.reach: vm", () => {
  it("a port leads to the one that the engine has in the VM", () =>
    inLab(async (lab) => {
      const { engine, socketPath, start } = await startEngine(lab, { docker: { reach: "vm" } });
      await start();
      const guest = await lab.boot(1);
      const port = await freePort();
      guest.listen(port, (stream) => {
        stream.on("error", () => {});
        stream.end(`port ${port} of the VM`);
      });
      const id = engine.create({ portBindings: publish(`${port}:80`) });
      expect(await post(socketPath, `/v1.44/containers/${id}/start`)).toMatchObject({ status: 204 });
      const client = connect({ port, host: "127.0.0.1" });
      expect(await text(client)).toBe(`port ${port} of the VM`);
    }));

  it("a port that the engine binds to an address of its own is refused, and told of where it is there already", () =>
    inLab(async (lab) => {
      const { engine, socketPath, start } = await startEngine(lab, { docker: { reach: "vm" } });
      const port = await freePort();
      const options = { portBindings: publish(`127.0.0.1:${port}:80`) };
      const before = engine.create({ ...options, name: "before" });
      engine.startContainer(before);
      const daemon = await start();
      const reason =
        "the engine binds it to 127.0.0.1 in the VM, where it cannot be reached with docker.reach: vm; " +
        "allowed: no address, which is docker.defaultAddress on this host, or 0.0.0.0";
      await vi.waitFor(() => {
        expect(daemon.log.filter(({ msg }) => msg === "a port of a container cannot be published")).toMatchObject([
          { container: "before", port: `127.0.0.1:${port}/tcp`, reason },
        ]);
      });
      expect(daemon.control.forwards.list()).toEqual([]);

      const message = `ports are not available: exposing port TCP 127.0.0.1:${port} -> 127.0.0.1:0: ${reason}`;
      expect(await post(socketPath, "/v1.44/containers/create", create(`127.0.0.1:${port}:80`))).toEqual({
        status: 403,
        message,
      });
      const after = engine.create({ ...options, name: "after" });
      expect(await post(socketPath, `/v1.44/containers/${after}/start`)).toEqual({ status: 500, message });
      expect(engine.requests).not.toContain(`POST /containers/${after}/start`);
    }));
});

const lack = engineGuestsLack(ensureDockerEngine(), ensureDockerClient());

describe.skipIf(lack !== undefined)(`a real engine${lack === undefined ? "" : ` (${lack})`}`, async () => {
  const port = await freePort();
  // With `leased`, containers could not be reached at their own addresses.
  const engine = useEngine("docker-policy", DOCKER, {
    docker: { reach: "vm", defaultAddress: "loopback" },
    publish: { allow: [`127.0.0.1:${port}`] },
    egress: { sources: "leased" },
  });

  it("is reached at the VM's address with docker.reach: vm, and has no container left of what is refused", async () => {
    const page = "mkdir /www && echo hello >/www/index.html && exec httpd -f -h /www";
    await engine().docker("run", "-d", "--name", "web", "-p", `${port}:80`, IMAGE, "sh", "-c", page);
    const fetchPage = async () => (await fetch(`http://127.0.0.1:${port}/`)).text().catch(() => "");
    await vi.waitFor(async () => expect(await fetchPage()).toBe("hello\n"), { timeout: 20_000 });

    const refusal = async (publishing: string) => {
      const { status, stderr } = await engine().run(["run", "--name", "refused", "-p", publishing, IMAGE, "true"]);
      expect(status).toBe(125);
      return stderr;
    };
    expect(await refusal("80:81")).toContain(`listening on 127.0.0.1:80 is not allowed; allowed: 127.0.0.1:${port}`);
    expect(await refusal(`127.0.0.1:${port}:81`)).toContain("cannot be reached with docker.reach: vm");
    expect(await engine().docker("ps", "-a", "--format", "{{.Names}}")).toBe("web");
  });
});
