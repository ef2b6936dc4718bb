import { describe, expect, it } from "vitest";
import { configToData } from "../config/print.ts";
import { parseConfig } from "../config/resolve.ts";
import type { SettingsInput } from "../config/schema.ts";
import { answers, fakeHost, found, subjectOf, systemError } from "../testing/fake-host.ts";
import { checkDocker, checkDockerContext, checkDockerSocket, checkEngineInVm } from "./docker-checks.ts";
import type { Host, HttpReply } from "./host.ts";

const rejecting = (code: string) => async () => Promise.reject(systemError(code));

const LISTEN = "unix:///run/docker.sock";
const DOCKER = { docker: { listen: LISTEN } };

/** A host with a hostd that has these settings and VMs. */
function running(settings: SettingsInput = {}, vms: readonly unknown[] = [], changes: Partial<Host> = {}): Host {
  const config = configToData(parseConfig(settings, "test", fakeHost()));
  const hostd = answers({ "/version": { version: "1" }, "/v1/vms": vms, "/v1/config": config });
  const { get = async (): Promise<HttpReply> => ({ status: 404, body: "" }) } = changes;
  return fakeHost({
    ...changes,
    get: (address, path) => {
      const isHostd = address.transport === "unix" && address.path.endsWith("api.sock");
      return isHostd ? hostd(address, path) : get(address, path);
    },
  });
}

const vm = (name: string, address: string | null) => ({ name, address, link: { framesFromVm: 12 } });

describe("the check of Docker", () => {
  const SOCKET = "/var/run/docker.sock";
  const engine = answers({ "/version": { Version: "28.0.4" } });
  const check = (changes: Partial<Host>, dockerHost?: string) =>
    checkDocker(fakeHost({ ...changes, variables: { DOCKER_HOST: dockerHost } }));

  it("says nothing when there is none to be seen", async () => {
    expect(await check({})).toEqual([]);
  });

  it("is content with an engine that answers", async () => {
    const lookAt = found({ [SOCKET]: "socket" });
    expect(await check({ lookAt, get: engine })).toEqual([
      { name: "Docker", status: "ok", seen: `engine 28.0.4 answers at unix://${SOCKET}` },
    ]);
    const desktop = {
      platform: "darwin",
      lookAt: found({ "/home/me/.docker/run/docker.sock": "socket" }),
      get: engine,
    } as const;
    expect(await check(desktop)).toMatchObject([{ seen: expect.stringContaining("/home/me/.docker/run/docker.sock") }]);
    expect(await check({ get: engine }, "unix:///run/engine.sock")).toMatchObject([{ status: "ok" }]);
    expect(await check({ get: engine }, "tcp://192.168.65.3:2376")).toMatchObject([{ status: "ok" }]);
  });

  it("warns of one that does not, and says what to do", async () => {
    const lookAt = found({ [SOCKET]: "socket" });
    expect(await check({ lookAt, get: rejecting("EACCES") })).toMatchObject([
      { status: "warning", advice: expect.stringContaining("group of the socket") },
    ]);
    expect(await check({ get: rejecting("ECONNREFUSED") }, "tcp://[::1]")).toMatchObject([
      { status: "warning", seen: expect.stringContaining("no engine answers at tcp://[::1]:2375: ECONNREFUSED") },
    ]);
    expect(await check({ get: answers({}) }, "unix:///x.sock")).toMatchObject([{ status: "warning" }]);
    expect(await check({ get: async () => ({ status: 200, body: "?" }) }, "unix:///x.sock")).toMatchObject([
      { status: "warning" },
    ]);
  });

  it("warns of one that is open to everybody", async () => {
    expect(await check({ get: engine }, "tcp://192.168.65.3:2375")).toMatchObject([
      { status: "warning", seen: "engine 28.0.4 answers at tcp://192.168.65.3:2375, without a password" },
    ]);
  });

  it("does not try what takes SSH", async () => {
    expect(await check({ get: rejecting("EIO") }, "ssh://me@vm")).toEqual([
      { name: "Docker", status: "ok", seen: "DOCKER_HOST=ssh://me@vm was not tried" },
    ]);
  });
});

describe("the check of the Docker socket", () => {
  const check = (host: Host, settings: SettingsInput = DOCKER) => checkDockerSocket(host, subjectOf(host, settings));

  it("says nothing when no hostd serves one", async () => {
    expect(await check(fakeHost())).toEqual([]);
    expect(await check(running())).toEqual([]);
  });

  it("is content with an engine that answers, where the hostd that runs serves it", async () => {
    const get = answers({ "/version": { Version: "28.0.4" } });
    expect(await check(running(DOCKER, [], { get }), {})).toEqual([
      { name: "Docker socket", status: "ok", seen: `engine 28.0.4 answers at ${LISTEN}, from tcp://vm:2375` },
    ]);
  });

  it("warns with what hostd says, and with what to do by the way to the engine", async () => {
    const message =
      "hostd cannot reach the Docker engine at X: refused. Check that it is there; `hostd doctor` tells more";
    const get = async () => ({ status: 502, body: JSON.stringify({ message }) });
    const advice = async (upstream: string, more = {}) => {
      const host = running({ docker: { listen: LISTEN, upstream, ...more } }, [], { get });
      const [finding] = await check(host);
      expect(finding).toMatchObject({
        status: "warning",
        seen: `${LISTEN} says: hostd cannot reach the Docker engine at X: refused. Check that it is there`,
      });
      return finding.advice;
    };
    expect(await advice("tcp://vm:2376")).toContain('listen on port 2376: "hostd docker-config --tcp" prints how');
    expect(await advice("ssh://core@vm/run/docker.sock", { identity: "/key" })).toContain(
      "core has to be let in there by the key of docker.identity, and to be one who may open /run/docker.sock",
    );
    expect(await advice("unix:///run/engine.sock")).toBe(
      "start what listens at unix:///run/engine.sock, or change docker.upstream",
    );
  });

  it("warns when nobody answers, or something that is no engine", async () => {
    expect(await check(running(DOCKER, [], { get: rejecting("ECONNREFUSED") }))).toMatchObject([
      { status: "warning", seen: `no engine answers at ${LISTEN}: ECONNREFUSED: that is what the system says` },
    ]);
    const get = async () => ({ status: 200, body: "<html>" });
    expect(await check(running(DOCKER, [], { get }))).toMatchObject([
      { status: "warning", seen: `no engine answers at ${LISTEN}: status 200` },
    ]);
  });
});

describe("the check of the Docker context", () => {
  const check = async (changes: Partial<Host>, settings: SettingsInput = DOCKER) => {
    const host = fakeHost(changes);
    return await checkDockerContext(host, subjectOf(host, settings));
  };
  /** The contexts of the docker command, with where they lead. */
  const contexts = (hosts: Readonly<Record<string, string>>, current = "default"): Partial<Host> => ({
    findDockerContext: async (name) => (name in hosts ? { name, host: hosts[name], isOurs: true } : null),
    currentDockerContext: async () => current,
  });

  it("says nothing when no engine is served", async () => {
    expect(await check({}, {})).toEqual([]);
  });

  it("is content when docker is led to the socket, however that is", async () => {
    expect(await check(contexts({ hostd: LISTEN }, "hostd"))).toEqual([
      { name: "Docker context", status: "ok", seen: `docker uses the context hostd, which leads to ${LISTEN}` },
    ]);
    expect(await check(contexts({ work: LISTEN }, "work"))).toMatchObject([{ status: "ok" }]);
    const chosen = { ...contexts({ hostd: LISTEN }), variables: { DOCKER_CONTEXT: "hostd" } };
    expect(await check(chosen)).toMatchObject([
      { status: "ok", seen: expect.stringContaining("uses the context hostd") },
    ]);
    expect(await check({ variables: { DOCKER_HOST: LISTEN } })).toMatchObject([
      { status: "ok", seen: `DOCKER_HOST leads docker to ${LISTEN}` },
    ]);
  });

  it("tells how to use the context that is there", async () => {
    expect(await check(contexts({ hostd: LISTEN, work: "unix:///x" }, "work"))).toEqual([
      {
        name: "Docker context",
        status: "ok",
        seen: `the context hostd leads to ${LISTEN}, and docker uses the context work`,
        advice: '"docker context use hostd" has docker use it',
      },
    ]);
    const overridden = { ...contexts({ hostd: LISTEN }, "hostd"), variables: { DOCKER_HOST: "tcp://x:1" } };
    expect(await check(overridden)).toMatchObject([
      {
        status: "ok",
        seen: `the context hostd leads to ${LISTEN}, and docker uses DOCKER_HOST=tcp://x:1`,
        advice: "unset DOCKER_HOST, which goes over it",
      },
    ]);
    const both = { ...contexts({ hostd: LISTEN }), variables: { DOCKER_CONTEXT: "other" } };
    expect(await check(both)).toMatchObject([
      { advice: 'unset DOCKER_CONTEXT, which goes over it; "docker context use hostd" has docker use it' },
    ]);
  });

  it("warns when there is none, or it leads somewhere else", async () => {
    expect(await check({})).toMatchObject([
      {
        status: "warning",
        seen: `there is no context hostd that leads docker to ${LISTEN}; it uses the context default`,
        advice: '"hostd docker-context create --use" makes it, and has docker use it',
      },
    ]);
    expect(await check(contexts({ hostd: "unix:///old.sock" }, "hostd"))).toMatchObject([
      { status: "warning", seen: `the context hostd leads to unix:///old.sock, and hostd serves ${LISTEN}` },
    ]);
  });

  it("goes by the hostd that runs, where its flags say more than the file", async () => {
    const host = running(DOCKER);
    expect(await checkDockerContext(host, subjectOf(host))).toMatchObject([{ status: "warning" }]);
  });
});

describe("the check of the engine in the VM", () => {
  const OK = "OKHTTP/1.1 200 OK\r\n\r\nOK";
  const one = vm("one", "192.168.65.3");
  const check = (host: Host, settings: SettingsInput = {}) => checkEngineInVm(host, subjectOf(host, settings));

  it("says nothing where it cannot be seen", async () => {
    expect(await check(fakeHost())).toEqual([]);
    expect(await check(running({}, [one, vm("two", null)], { exchange: async () => "OK" }))).toEqual([]);
    expect(await check(running({}, [one], { exchange: rejecting("ECONNRESET") }))).toEqual([]);
  });

  it("warns of one that answers to more than the gateway", async () => {
    const asked: string[] = [];
    const exchange: Host["exchange"] = async (path, first, second) => {
      asked.push(path, first, second);
      return first.includes("ip=192.168.65.3&") ? OK : "OK";
    };
    const host = running({}, [one, vm("two", "192.168.65.4")], { exchange });
    expect(await check(host)).toEqual([
      {
        name: "engine in the VM",
        status: "warning",
        seen: "the engine of one answers at 192.168.65.3:2375, not to the gateway alone, and so to containers of the VM",
        advice: expect.stringMatching(
          /"hostd docker-config --tcp" prints the rules.*ssh:\/\/USER@vm\/var\/run\/docker.sock/,
        ),
      },
    ]);
    const head = "HTTP/1.1\r\nHost: hostd\r\nContent-Length: 0\r\n\r\n";
    const question = "GET /_ping HTTP/1.1\r\nHost: docker\r\nConnection: close\r\n\r\n";
    const socket = "/run/user/1000/hostd/api.sock";
    expect(asked.slice(0, 6)).toEqual([
      ...[socket, `POST /tunnel?ip=192.168.65.3&port=2375&from=gateway ${head}`, question],
      ...[socket, `POST /tunnel?ip=192.168.65.3&port=2375&from=host ${head}`, question],
    ]);
  });

  it("is content with one that answers to the gateway alone", async () => {
    const exchange: Host["exchange"] = async (_, first) => {
      if (first.includes("from=host")) throw new Error("no answer within 1 seconds");
      return OK;
    };
    expect(await check(running({}, [one], { exchange }))).toEqual([
      {
        name: "engine in the VM",
        status: "ok",
        seen: "the engine of one answers at 192.168.65.3:2375 to the gateway alone",
      },
    ]);
  });

  it("looks at the port of docker.upstream too", async () => {
    const exchange: Host["exchange"] = async (_, first) => (first.includes("port=4243&") ? OK : "OK");
    const host = running({ docker: { upstream: "tcp://vm:4243" } }, [one], { exchange });
    expect(await check(host)).toMatchObject([{ seen: expect.stringContaining("answers at 192.168.65.3:4243,") }]);
  });

  it("warns of its port when the configuration publishes it where containers reach it", async () => {
    const host = fakeHost();
    expect(await check(host, { forwards: [{ listen: "8000-8002", to: "2374-2376" }] })).toMatchObject([
      {
        status: "warning",
        seen: "port 2375 of the VM is published on 127.0.0.1:8001, where containers may reach an engine too",
      },
    ]);
    for (const forward of [
      { listen: "unix:///run/docker.sock", to: 2375 },
      { listen: 2375, to: 2376 },
      { listen: 2375, to: 2375, protocol: "udp" as const },
    ]) {
      expect(await check(host, { forwards: [forward] })).toEqual([]);
    }
  });
});
