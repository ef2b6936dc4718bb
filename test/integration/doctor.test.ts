import { once } from "node:events";
import { writeFile } from "node:fs/promises";
import { createServer as createHttpServer } from "node:http";
import { createServer } from "node:net";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { formatIpv4 } from "@hostd/stack";
import { describe, expect, it } from "vitest";
import { ContextStore } from "../../apps/hostd/src/docker/context-store.ts";
import { TapGuest, tapGuestsAreAvailable } from "../tap/tap-guest.ts";
import { ensureFirewall, isRoot } from "../vm/host-packages.ts";
import { serveTcp } from "./support/host-servers.ts";
import { HostdCommand } from "./support/hostd-command.ts";
import { GATEWAY, HOST, inLab, type Lab } from "./support/lab.ts";

interface Report {
  readonly status: string;
  readonly checks: readonly {
    readonly section: string;
    readonly name: string;
    readonly status: string;
    readonly seen: string;
    readonly advice?: string;
  }[];
}

/** What differs from machine to machine, and is not hostd's. */
const OF_THE_MACHINE = [
  "open files",
  "socket limits",
  "ping",
  "name server",
  "name servers",
  "QEMU",
  "Docker",
  "subnet",
];

async function run(lab: Lab, args: readonly string[], variables: Record<string, string> = {}) {
  const command = new HostdCommand(lab, ["doctor", ...args], variables);
  const output = text(command.child.stdout);
  const { code, stderr } = await command.outcome();
  return { code, stderr, stdout: await output };
}

async function runJson(
  lab: Lab,
  args: readonly string[],
  variables: Record<string, string> = {},
): Promise<Report & { code: number | null }> {
  const { code, stdout, stderr } = await run(lab, ["--json", ...args], variables);
  expect(stderr).toBe("");
  return { ...(JSON.parse(stdout) as Report), code };
}

/** A configuration file for the lab's hostd. */
async function writeConfig(lab: Lab, ...lines: readonly string[]): Promise<string> {
  const path = join(lab.folder, "hostd.yaml");
  const own = [`qemu: ["unix://${lab.socket}"]`, `state: ${lab.folder}/state`, `api: unix://${lab.folder}/api.sock`];
  const servers = `dns: { servers: ["${lab.nameServer.address}"] }`;
  await writeFile(path, [...own, servers, ...lines, ""].join("\n"));
  return path;
}

const named = ({ checks }: Report, name: string) => checks.filter((check) => check.name === name);

describe("hostd doctor", () => {
  it("says before hostd was ever started that nothing is in its way", () =>
    inLab(async (lab) => {
      const report = await runJson(lab, []);
      const own = report.checks.filter(({ name, status }) => status !== "ok" && !OF_THE_MACHINE.includes(name));
      expect(own).toMatchObject([
        { name: "hostd", status: "warning", seen: expect.stringContaining("no hostd runs at") },
      ]);
      expect(new Set(report.checks.map(({ section }) => section))).toEqual(
        new Set(["This host", "Networks", "hostd", "VMs"]),
      );
      for (const { seen, status, advice } of report.checks) {
        expect(seen).not.toBe("");
        if (status !== "ok") expect(advice, seen).toMatch(/.{10}/);
      }
    }));

  it("finds the hostd that runs, its VM, its ports and its name servers well, and leaves no trace", () =>
    inLab(async (lab) => {
      const daemon = await lab.start({ api: `unix://${lab.folder}/api.sock`, forwards: [{ listen: 0, to: 80 }] });
      const [listening] = daemon.forwards;
      const guest = await lab.boot(1);
      const config = await writeConfig(lab, `forwards: [{ listen: "${listening}", to: 80 }]`);
      const report = await runJson(lab, ["--config", config]);
      expect(report.checks.filter(({ status }) => status === "failure")).toEqual([]);
      expect(named(report, "hostd")).toMatchObject([
        { status: "ok", seen: expect.stringMatching(/^hostd .* answers at/) },
      ]);
      expect(named(report, "VM")).toMatchObject([
        { status: "ok", seen: expect.stringContaining(`has ${formatIpv4(guest.lease?.address ?? 0)}`) },
      ]);
      expect(named(report, "ports")).toMatchObject([{ seen: `${listening} is held by the hostd that runs` }]);
      expect(named(report, "endpoint")).toMatchObject([
        { status: "ok", seen: expect.stringContaining("is listened on") },
      ]);
      expect(named(report, "name server")).toMatchObject([
        {
          status: "ok",
          seen: expect.stringContaining(`${lab.nameServer.address} (for every name; from the configuration)`),
        },
      ]);
      expect(named(report, "state folder")).toMatchObject([{ seen: `${lab.folder}/state can be written to` }]);
      expect(daemon.log.filter(({ msg }) => msg === "VM attached")).toHaveLength(1);
      expect(daemon.control.vms()).toHaveLength(1);
    }));

  it("fails for a port that another process holds, names it, and shows it to people", () =>
    inLab(async (lab) => {
      const server = await serveTcp(lab, (socket) => socket.resume());
      const config = await writeConfig(lab, `forwards: [{ listen: ${server.port}, to: 80 }]`);
      const proxy = await serveTcp(lab, (socket) => socket.resume());
      const { code, stdout, stderr } = await run(lab, ["--config", config], {
        HTTPS_PROXY: `http://me:secret@127.0.0.1:${proxy.port}`,
      });
      expect({ code, stderr }).toEqual({ code: 1, stderr: "" });
      const flat = stdout.replaceAll(/\s+/g, " ");
      expect(flat).toContain(
        `xx port listen tcp 127.0.0.1:${server.port}: bind: address already in use (held by node (process ${process.pid})) ` +
          "-> stop what holds it, or choose another port",
      );
      expect(flat).toContain(`ok proxy http://127.0.0.1:${proxy.port} takes connections`);
      expect(flat).not.toContain("secret");
      expect(flat).toMatch(/\d+ ok, (\d+ warnings?, )?1 failure $/);
      expect(stdout).not.toContain("\x1b");
      expect(Math.max(...stdout.split("\n").map((line) => line.length))).toBeLessThanOrEqual(100);
    }));

  it("warns of an engine in the VM that every container can reach, and not of one for the gateway alone", () =>
    inLab(async (lab) => {
      await lab.start({ api: `unix://${lab.folder}/api.sock` });
      const guest = await lab.boot(1);
      const config = await writeConfig(lab);
      expect(named(await runJson(lab, ["--config", config]), "engine in the VM")).toEqual([]);
      const allowed = [GATEWAY, HOST];
      guest.listen(2375, (stream) => {
        stream.on("error", () => {});
        if (!allowed.includes(String(stream.remoteAddress))) stream.destroy();
        stream.once("data", () => stream.end("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK"));
      });
      expect(named(await runJson(lab, ["--config", config]), "engine in the VM")).toMatchObject([
        {
          status: "warning",
          seen: expect.stringContaining(
            `answers at ${formatIpv4(guest.lease?.address ?? 0)}:2375, not to the gateway alone`,
          ),
        },
      ]);
      allowed.pop();
      expect(named(await runJson(lab, ["--config", config]), "engine in the VM")).toMatchObject([
        { status: "ok", seen: expect.stringMatching(/:2375 to the gateway alone$/) },
      ]);
    }));

  it("looks at the engine that hostd serves, and at what leads docker to it", () =>
    inLab(async (lab) => {
      const listen = `unix://${join(lab.folder, "docker.sock")}`;
      const upstream = join(lab.folder, "engine.sock");
      await lab.start({ api: `unix://${lab.folder}/api.sock`, docker: { listen, upstream: `unix://${upstream}` } });
      const config = await writeConfig(lab);
      const variables = { DOCKER_CONFIG: join(lab.folder, "docker"), DOCKER_HOST: "", DOCKER_CONTEXT: "" };
      const report = await runJson(lab, ["--config", config], variables);
      expect(named(report, "Docker socket")).toMatchObject([
        {
          status: "warning",
          seen: expect.stringContaining(`${listen} says: hostd cannot reach the Docker engine at unix://${upstream}`),
          advice: expect.stringContaining("start what listens at"),
        },
      ]);
      expect(named(report, "Docker context")).toMatchObject([{ status: "warning" }]);

      const engine = createHttpServer((_, response) => response.end('{"Version":"28.2.2","ApiVersion":"1.50"}'));
      engine.listen(upstream);
      await once(engine, "listening");
      lab.defer(() => {
        engine.close();
        engine.closeAllConnections();
      });
      await new ContextStore(variables.DOCKER_CONFIG).write("hostd", listen);
      const better = await runJson(lab, ["--config", config], variables);
      expect(named(better, "Docker socket")).toMatchObject([
        { status: "ok", seen: `engine 28.2.2 answers at ${listen}, from unix://${upstream}` },
      ]);
      expect(named(better, "Docker context")).toMatchObject([
        { status: "ok", advice: '"docker context use hostd" has docker use it' },
      ]);
    }));

  it("does not wait for a program that never answers", () =>
    inLab(async (lab) => {
      const silent = createServer((socket) => socket.on("error", () => {}).resume()).listen(
        join(lab.folder, "api.sock"),
      );
      await once(silent, "listening");
      lab.defer(() => silent.close());
      const config = await writeConfig(lab);
      const began = performance.now();
      const report = await runJson(lab, ["--config", config]);
      expect(performance.now() - began).toBeLessThan(15_000);
      expect(report.code).toBe(1);
      expect(named(report, "hostd")).toMatchObject([
        { status: "failure", seen: expect.stringContaining("no answer within 1.5 seconds") },
      ]);
    }));

  it("fails when the hostd that was named does not run, and refuses what it does not understand", () =>
    inLab(async (lab) => {
      expect(await run(lab, ["--api", "unix:///missing.sock"])).toMatchObject({
        code: 1,
        stdout: expect.stringContaining("no hostd runs at unix:///missing.sock"),
      });
      expect(await run(lab, ["--api", "http://x"])).toMatchObject({ code: 2, stdout: "" });
      const bad = join(lab.folder, "bad.yaml");
      await writeFile(bad, "mtu: 1\n");
      expect(await run(lab, ["--config", bad])).toMatchObject({ code: 2, stderr: expect.stringContaining("mtu") });
    }));
});

const noFirewall = isRoot() ? ensureFirewall() : "it takes root";
const noGuest = noFirewall ?? (tapGuestsAreAvailable() ? undefined : "no TAP guests here");

describe.skipIf(noGuest !== undefined)(`hostd doctor, of a VM${noGuest === undefined ? "" : ` (${noGuest})`}`, () => {
  const ENGINE = `
    require("http").createServer((_, response) => response.end("OK"))
      .listen(2375, process.argv[1], () => console.log("up"));`;

  it("tells an engine that all may reach from one behind the rules of docker-config --tcp", () =>
    inLab(async (lab) => {
      await lab.start({ api: `unix://${lab.folder}/api.sock` });
      const guest = await TapGuest.create({ socket: lab.socket, name: "doctor" });
      lab.defer(() => guest.destroy());
      const engine = guest.spawn(process.execPath, ["-e", ENGINE, "192.168.65.3"]);
      await once(engine.stdout, "data");
      const config = await writeConfig(lab);
      expect(named(await runJson(lab, ["--config", config]), "engine in the VM")).toMatchObject([
        { status: "warning", advice: expect.stringContaining('"hostd docker-config --tcp" prints the rules') },
      ]);

      const args = ["docker-config", "--json", "--tcp", "--engine-version", "28.2", "--config", config];
      const printed = JSON.parse(await text(new HostdCommand(lab, args).child.stdout)) as {
        files: { path: string; text: string }[];
      };
      const unit = printed.files.find(({ path }) => path.endsWith("docker.service.d/hostd.conf"));
      for (const [, command] of unit?.text.matchAll(/^ExecStartPre=(.*)$/gm) ?? []) await guest.check(command);
      expect(named(await runJson(lab, ["--config", config]), "engine in the VM")).toMatchObject([
        { status: "ok", seen: expect.stringContaining("answers at 192.168.65.3:2375 to the gateway alone") },
      ]);
    }));
});
