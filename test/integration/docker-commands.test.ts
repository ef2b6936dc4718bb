import { execFile } from "node:child_process";
import { once } from "node:events";
import { readFile, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { ensureDockerClient, ensureDockerEngine, ensureFirewall, isRoot } from "../vm/host-packages.ts";
import { addNamespace, ip, Namespace } from "../vm/namespace.ts";
import { HOSTD_COMMAND } from "./support/hostd-command.ts";
import { inLab, type Lab } from "./support/lab.ts";

const CONTEXT_FORMAT = "{{.Name}} {{.DockerEndpoint}} {{.Current}}";

interface Outcome {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a program to its end, at home in the lab's folder. */
async function run(lab: Lab, program: string, args: readonly string[], variables: Record<string, string> = {}) {
  const env = { PATH: process.env.PATH, HOME: lab.folder, XDG_RUNTIME_DIR: lab.folder, ...variables };
  return await new Promise<Outcome>((resolve, reject) => {
    execFile(program, args, { cwd: lab.folder, env }, (error, stdout, stderr) => {
      const code = error === null ? 0 : error.code;
      if (typeof code === "number") resolve({ code, stdout, stderr });
      else reject(error);
    });
  });
}

const hostd = (lab: Lab, ...args: string[]) => run(lab, process.execPath, [HOSTD_COMMAND, ...args]);

/** What a command that has to succeed prints. */
async function printed(outcome: Promise<Outcome>): Promise<string> {
  const { code, stdout, stderr } = await outcome;
  expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
  return stdout;
}

/** A Docker engine that tells its version, and nothing else. */
async function serveEngine(lab: Lab, name: string, version: unknown): Promise<string> {
  const path = join(lab.folder, name);
  const server = createServer((request, response) => {
    const isPing = request.url?.endsWith("/_ping") === true;
    const body = isPing ? "OK" : JSON.stringify(version);
    const isThere = isPing || request.url?.endsWith("/version") === true;
    response.writeHead(isThere ? 200 : 404, { "API-Version": "1.41", "Content-Type": "application/json" });
    response.end(isThere ? body : '{"message":"page not found"}');
  });
  lab.defer(() => {
    server.close();
    server.closeAllConnections();
  });
  server.listen(path);
  await once(server, "listening");
  return path;
}

const ENGINE = {
  Version: "24.0.7",
  ApiVersion: "1.41",
  MinAPIVersion: "1.12",
  Components: [{ Name: "Engine", Version: "24.0.7" }],
};

const noClient = ensureDockerClient();

describe.skipIf(noClient !== undefined)(`hostd docker-context${noClient === undefined ? "" : ` (${noClient})`}`, () => {
  const docker = (lab: Lab, ...args: string[]) => run(lab, "docker", args);
  const contexts = async (lab: Lab) => {
    return (await printed(docker(lab, "context", "ls", "--format", CONTEXT_FORMAT))).trimEnd().split("\n");
  };
  const DEFAULT = "default unix:///var/run/docker.sock";

  it("has the docker command use the engine that the running hostd serves, until it is removed", () =>
    inLab(async (lab) => {
      const api = join(lab.folder, "api.sock");
      const upstream = await serveEngine(lab, "engine.sock", ENGINE);
      const listen = `unix://${join(lab.folder, "docker.sock")}`;
      await lab.start({ api, docker: { listen, upstream: `unix://${upstream}` } });
      expect(await printed(hostd(lab, "docker-context", "create", "--use", "--api", api))).toBe(
        `the docker command uses the context hostd from now on, which leads to ${listen}\n`,
      );
      expect(await contexts(lab)).toEqual([`${DEFAULT} false`, `hostd ${listen} true`]);
      expect(await printed(docker(lab, "version", "--format", "{{.Server.Version}}"))).toBe("24.0.7\n");
      expect(JSON.parse(await printed(docker(lab, "context", "inspect", "hostd")))).toMatchObject([
        { Name: "hostd", Endpoints: { docker: { Host: listen, SkipTLSVerify: false } }, TLSMaterial: {} },
      ]);
      expect(JSON.parse(await printed(hostd(lab, "docker-context", "--json")))).toEqual({
        name: "hostd",
        host: listen,
        isUsed: true,
        isOurs: true,
        folder: join(lab.folder, ".docker"),
      });

      expect(await printed(hostd(lab, "docker-context", "rm"))).toBe(
        "the context hostd is removed; the docker command uses default again\n",
      );
      expect(await contexts(lab)).toEqual([`${DEFAULT} true`]);
      expect(await hostd(lab, "docker-context")).toMatchObject({
        code: 1,
        stderr: expect.stringContaining("there is no context hostd in "),
      });
    }));

  it("goes together with what the docker command itself does to contexts", () =>
    inLab(async (lab) => {
      const listen = `unix://${join(lab.folder, "docker.sock")}`;
      const create = () => printed(hostd(lab, "docker-context", "create", "--name", "work", "--docker", listen));
      expect(await create()).toBe(
        `the context work leads to ${listen}; "docker context use work" has the docker command use it\n`,
      );
      expect(await contexts(lab)).toEqual([`${DEFAULT} true`, `work ${listen} false`]);
      expect(await docker(lab, "context", "use", "work")).toMatchObject({ code: 0 });
      expect(await printed(hostd(lab, "docker-context", "--name", "work"))).toBe(
        `name        work\nhost        ${listen}\nused        yes\nwritten by  hostd\n`,
      );
      // It is still ours when it was changed.
      expect(await docker(lab, "context", "update", "work", "--description", "mine")).toMatchObject({ code: 0 });
      await create();
      expect(await docker(lab, "context", "use", "default")).toMatchObject({ code: 0 });
      const config = await readFile(join(lab.folder, ".docker", "config.json"), "utf8");
      expect(await printed(hostd(lab, "docker-context", "--name", "work"))).toContain(
        "no, the docker command uses default",
      );
      await printed(hostd(lab, "docker-context", "rm", "--name", "work"));
      expect(await readFile(join(lab.folder, ".docker", "config.json"), "utf8")).toBe(config);
      expect(await contexts(lab)).toEqual([`${DEFAULT} true`]);
    }));

  it("leaves a context that the docker command has made alone unless it is forced to", () =>
    inLab(async (lab) => {
      const socket = "unix:///run/mine.sock";
      expect(await docker(lab, "context", "create", "hostd", "--docker", `host=${socket}`)).toMatchObject({ code: 0 });
      for (const args of [["create", "--docker", "/run/other.sock"], ["rm"]]) {
        expect(await hostd(lab, "docker-context", ...args)).toMatchObject({
          code: 1,
          stderr: expect.stringMatching(/the context hostd in .* was not written by hostd; --force /),
        });
      }
      expect(await contexts(lab)).toEqual([`${DEFAULT} true`, `hostd ${socket} false`]);
      await printed(hostd(lab, "docker-context", "create", "--docker", "/run/other.sock", "--force"));
      expect(await contexts(lab)).toEqual([`${DEFAULT} true`, "hostd unix:///run/other.sock false"]);
      await printed(hostd(lab, "docker-context", "rm"));
    }));

  it("says what in the environment goes over it", () =>
    inLab(async (lab) => {
      const args = [HOSTD_COMMAND, "docker-context", "create", "--use", "--docker", "/run/d.sock"];
      const warned = await run(lab, process.execPath, args, { DOCKER_HOST: "tcp://127.0.0.1:1" });
      expect(warned).toMatchObject({
        code: 0,
        stderr: "hostd: warning: not here: DOCKER_HOST is set to tcp://127.0.0.1:1, which goes over it\n",
      });
      const folder = join(lab.folder, "elsewhere");
      const quiet = await run(lab, process.execPath, args, { DOCKER_CONTEXT: "hostd", DOCKER_CONFIG: folder });
      expect(quiet).toMatchObject({ code: 0, stderr: "" });
      expect(JSON.parse(await readFile(join(folder, "config.json"), "utf8"))).toEqual({ currentContext: "hostd" });
    }));

  it("takes no name that the docker command does not take", () =>
    inLab(async (lab) => {
      for (const name of ["default", "a", "x y", "../x", "x_y"]) {
        const theirs = await docker(lab, "context", "create", name, "--docker", "host=unix:///x");
        const ours = await hostd(lab, "docker-context", "create", "--force", "--name", name, "--docker", "/x");
        expect(ours.code === 0, name).toBe(theirs.code === 0);
        if (ours.code !== 0) expect(ours).toMatchObject({ code: 2, stderr: expect.stringContaining("allowed: ") });
      }
    }));

  it("says what it needs to know the socket", () =>
    inLab(async (lab) => {
      const api = join(lab.folder, "api.sock");
      const create = (...args: string[]) => hostd(lab, "docker-context", "create", "--api", api, ...args);
      expect(await create()).toMatchObject({ code: 1, stderr: expect.stringContaining("--docker names the socket") });
      await lab.start({ api });
      expect(await create()).toMatchObject({ code: 1, stderr: expect.stringContaining("serves no Docker engine") });
      expect(await create("--docker", "tcp://127.0.0.1:2375")).toMatchObject({
        code: 2,
        stderr: expect.stringContaining('"tcp://127.0.0.1:2375" is not the address of a Unix socket'),
      });
    }));
});

describe("hostd docker-config", () => {
  it("has the keys of the engine that hostd serves, and the values of that hostd", () =>
    inLab(async (lab) => {
      const api = join(lab.folder, "api.sock");
      const upstream = await serveEngine(lab, "engine.sock", ENGINE);
      const listen = `unix://${join(lab.folder, "docker.sock")}`;
      await lab.start({
        api,
        subnet: "10.9.0.0/24",
        mtu: 1400,
        docker: { listen, upstream: `unix://${upstream}` },
      });
      const { code, stdout, stderr } = await hostd(lab, "docker-config", "--api", api);
      expect(code).toBe(0);
      expect(JSON.parse(stdout)).toEqual({
        dns: ["10.9.0.1"],
        "host-gateway-ip": "10.9.0.254",
        mtu: 1400,
        "default-network-opts": { bridge: { "com.docker.network.driver.mtu": "1400" } },
        proxies: {
          "http-proxy": "http://http.docker.internal:3128",
          "https-proxy": "http://http.docker.internal:3128",
          "no-proxy":
            "localhost,127.0.0.1,::1,.docker.internal,.containers.internal,10.0.0.0/8,172.16.0.0/12,192.168.0.0/16",
        },
      });
      expect(stderr.replaceAll("\n", " ")).toContain("--proxy http://10.9.0.1:3128");
      expect(stderr).toContain(`For Docker 24.0.7, which answers at ${listen}.`);
      for (const key of Object.keys(JSON.parse(stdout))) expect(stderr).toMatch(new RegExp(`^  ${key} {2,}\\w`, "m"));
      expect(Math.max(...stderr.split("\n").map(({ length }) => length))).toBeLessThanOrEqual(100);
    }));

  it("is for the newest engine where none answers, and says so", () =>
    inLab(async (lab) => {
      await writeFile(join(lab.folder, "hostd.yaml"), "docker: { listen: unix:///nobody/docker.sock }\n");
      const { code, stdout, stderr } = await hostd(lab, "docker-config", "--config", "hostd.yaml");
      expect({ code, daemon: JSON.parse(stdout) }).toMatchObject({
        code: 0,
        daemon: { "allow-direct-routing": true, "host-gateway-ips": ["192.168.65.254"] },
      });
      expect(stderr.replaceAll("\n", " ")).toMatch(
        /For Docker 28\.2 and newer, since no engine has answered at unix:\/\/\/nobody\/docker\.sock \(.*ENOENT.*\)/,
      );
    }));

  it.each([
    ["an answer that is no engine's", "not an engine", 'says that its version is ""'],
    ["a version that nobody has released", { Version: "dev" }, 'says that its version is "dev"'],
  ])("is for the newest engine after %s", (_, version, text) =>
    inLab(async (lab) => {
      const path = await serveEngine(lab, "docker.sock", version);
      await writeFile(join(lab.folder, "hostd.yaml"), `docker: { listen: "unix://${path}" }\n`);
      const { stdout, stderr } = await hostd(lab, "docker-config", "--config", "hostd.yaml");
      expect(JSON.parse(stdout)).toHaveProperty("allow-direct-routing", true);
      expect(stderr.replaceAll("\n", " ")).toContain(text);
    }),
  );

  it.each([
    ["Podman, which has no such file", { Version: "4.3.1", Components: [{ Name: "Podman Engine" }] }, "is Podman"],
    ["an engine whose keys are not known", { Version: "19.03.15" }, "hostd knows the keys of 20.10 and newer"],
  ])("fails for %s", (_, version, text) =>
    inLab(async (lab) => {
      const path = await serveEngine(lab, "docker.sock", version);
      await writeFile(join(lab.folder, "hostd.yaml"), `docker: { listen: "unix://${path}" }\n`);
      expect(await hostd(lab, "docker-config", "--config", "hostd.yaml")).toMatchObject({
        code: 1,
        stdout: "",
        stderr: expect.stringContaining(text),
      });
    }),
  );

  it("has the engine use hostd's proxy, another one, or none, which an older engine is told of where it is asked for", () =>
    inLab(async (lab) => {
      const proxyOf = async (...args: string[]) => (await configOf(lab, ...args)).daemon.proxies?.["http-proxy"];
      expect(await proxyOf("--engine-version", "23.0")).toBe("http://http.docker.internal:3128");
      expect(await proxyOf("--engine-version", "23.0", "--proxy", "http://proxy:8080/")).toBe("http://proxy:8080");
      expect(await proxyOf("--engine-version", "23.0", "--proxy", "none")).toBeUndefined();
      const unit = async (...args: string[]) =>
        JSON.stringify((await configOf(lab, "--engine-version", "20.10", ...args)).files);
      expect(await unit()).not.toContain("PROXY");
      expect(await unit("--proxy", "http://proxy:8080")).toContain("HTTP_PROXY=http://proxy:8080");
      const file = join(lab.folder, "off.yaml");
      await writeFile(file, "proxy: { enabled: false }\n");
      const { stdout } = await hostd(lab, "docker-config", "--config", file);
      expect(JSON.parse(stdout)).not.toHaveProperty("proxies");
    }));

  it("has the engine listen on the address of the VM that is attached", () =>
    inLab(async (lab) => {
      const api = join(lab.folder, "api.sock");
      await lab.start({ api });
      const ask = async () => {
        const args = ["docker-config", "--tcp", "--engine-version", "28.2", "--json", "--api", api];
        return JSON.parse(await printed(hostd(lab, ...args)));
      };
      expect((await ask()).notes.join()).toContain("The VM's address is taken to be 192.168.65.3");
      await lab.boot(1);
      await lab.boot(2);
      const { daemon, notes } = await ask();
      expect(daemon).toMatchObject({ hosts: ["fd://", "tcp://192.168.65.3:2375"], tls: false });
      expect(notes.join()).not.toContain("taken to be 192");
    }));

  it.each([
    [["--engine-version", "28"], "allowed: two numbers such as 28.2, from 20.10 on"],
    [["--engine-version", "19.03"], "is too old; allowed: two numbers such as 28.2, from 20.10 on"],
    [["--proxy", "proxy:3128"], "allowed: http://HOST:PORT, https://HOST:PORT or none"],
    [["--proxy", "http://localhost:3128"], "a proxy of this host is at host.docker.internal"],
    [["--interface", "eth0 -j ACCEPT"], "is not the name of a network interface"],
    [["--config", "missing.yaml"], "there is no such file"],
  ])("refuses %j with what is allowed", (args, text) =>
    inLab(async (lab) => {
      expect(await hostd(lab, "docker-config", ...args)).toMatchObject({
        code: 2,
        stdout: "",
        stderr: expect.stringContaining(text),
      });
    }),
  );
});

/** What a command prints with --json for the configuration of an empty file. */
// biome-ignore lint/suspicious/noExplicitAny: it is looked into, and nothing else.
async function configOf(lab: Lab, ...args: string[]): Promise<any> {
  const file = join(lab.folder, "hostd.yaml");
  await writeFile(file, "mtu: 1400\n");
  return JSON.parse(await printed(hostd(lab, "docker-config", "--json", "--config", file, ...args)));
}

const noEngine = ensureDockerEngine();

describe.skipIf(noEngine !== undefined)(`an engine${noEngine === undefined ? "" : ` (${noEngine})`}`, () => {
  /** Has the engine read a configuration with one fault more, at which it ends. */
  const faultsOf = async (lab: Lab, daemon: Record<string, unknown>) => {
    const file = join(lab.folder, "daemon.json");
    await writeFile(file, JSON.stringify({ ...daemon, "max-concurrent-downloads": -1 }));
    const folders = ["data-root", "exec-root", "pidfile"].map((name) => `--${name}=${join(lab.folder, name)}`);
    const { code, stderr } = await run(lab, "dockerd", [`--config-file=${file}`, ...folders]);
    expect(code).toBe(1);
    return stderr;
  };

  it("knows every key that is printed for its version, with such a value", () =>
    inLab(async (lab) => {
      const [version] = /\d+\.\d+/.exec(await printed(run(lab, "dockerd", ["--version"]))) ?? [""];
      const args = ["--no-masquerade", "--tcp", "--proxy", "http://proxy:3128"];
      const { daemon } = await configOf(lab, "--engine-version", version, ...args);
      expect(await faultsOf(lab, daemon)).toContain("invalid max concurrent downloads: -1");
      expect(await faultsOf(lab, { ...daemon, "no-such-key": 1 })).toContain(
        "the following directives don't match any configuration option: no-such-key",
      );
    }));
});

const noFirewall = isRoot() ? ensureFirewall() : "it takes root";

describe.skipIf(noFirewall !== undefined)(`the port${noFirewall === undefined ? "" : ` (${noFirewall})`}`, () => {
  /** Connects, and tells of what came of it; the rules drop, so that nothing comes of it in half a second. */
  const CONNECT = `
    const socket = require("net").connect({ port: 2375, host: process.argv[1], localAddress: process.argv[2] });
    const ended = (outcome) => { console.log(outcome); process.exit(); };
    socket.on("connect", () => ended("connected")).on("error", ({ code }) => ended(code));
    setTimeout(ended, 500, "silence");`;

  async function namespaces(lab: Lab) {
    const made = await Promise.all(["engine", "gateway", "container"].map(addNamespace));
    const all = made.map((name) => new Namespace(name));
    lab.defer(() => Promise.all(all.map((namespace) => namespace.destroy())));
    const [engine, gateway, container] = all;
    const link = async (other: Namespace, name: string, address: string, peers: readonly string[]) => {
      await ip("-n", engine.namespace, "link", "add", name, "type", "veth", "peer", "eth0", "netns", other.namespace);
      await engine.check(`ip addr add ${address}/24 dev ${name}; ip link set ${name} up`);
      for (const peer of peers) await other.check(`ip addr add ${peer}/24 dev eth0`);
      await other.check(`ip link set eth0 up; ip route add default via ${address}`);
    };
    await link(gateway, "eth0", "192.168.65.3", ["192.168.65.1", "192.168.65.9"]);
    await link(container, "docker0", "172.17.0.1", ["172.17.0.2"]);
    return { engine, gateway, container };
  }

  it("that the engine listens on with --tcp is reached from the gateway's address over the VM's link alone", () =>
    inLab(async (lab) => {
      const { engine, gateway, container } = await namespaces(lab);
      const { files } = await configOf(lab, "--tcp", "--engine-version", "28.2");
      const unit: string = files.find(({ path }: { path: string }) =>
        path.endsWith("docker.service.d/hostd.conf"),
      ).text;
      const commands = [...unit.matchAll(/^ExecStartPre=(.*)$/gm)].map(([, command]) => command);
      const listening = engine.spawn(process.execPath, [
        "-e",
        "require('net').createServer((socket) => socket.end()).listen(2375, '192.168.65.3', () => console.log('up'))",
      ]);
      await once(listening.stdout, "data");
      const connect = async (from: Namespace, local: string, to = "192.168.65.3") => {
        const child = from.spawn(process.execPath, ["-e", CONNECT, to, local]);
        const [line] = (await once(child.stdout, "data")) as [Buffer];
        return String(line).trim();
      };
      expect(await connect(container, "172.17.0.2")).toBe("connected");

      // As often as the engine is started.
      for (let starts = 0; starts < 2; starts++) for (const command of commands) await engine.check(command);
      expect((await engine.check("iptables -S INPUT")).stdout.match(/-j DROP$/gm)).toHaveLength(2);
      expect(await connect(gateway, "192.168.65.1")).toBe("connected");
      expect(await connect(gateway, "192.168.65.9")).toBe("silence");
      expect(await connect(container, "172.17.0.2")).toBe("silence");
      expect(await connect(engine, "127.0.0.1")).toBe("silence");
    }));
});
