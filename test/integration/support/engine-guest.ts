/** Container engines of Debian's packages, each in a VM without a machine: the network namespace of a TAP guest. */
import { type ChildProcess, type ChildProcessWithoutNullStreams, spawn } from "node:child_process";
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { request } from "node:http";
import { connect, isIPv6 } from "node:net";
import { dirname, join } from "node:path";
import { text } from "node:stream/consumers";
import type { SettingsInput } from "hostd";
import { afterAll, afterEach, beforeAll, expect, vi } from "vitest";
import { TapGuest, tapGuestsAreAvailable } from "../../tap/tap-guest.ts";
import { findCommand, searchPath } from "../../vm/host-packages.ts";
import { Captures } from "./capture.ts";
import { askDaemon } from "./control.ts";
import { GATEWAY, HOST, Lab, type LabDaemon } from "./lab.ts";

/** The image of every container: a static busybox with all of its commands, and the host's perl, which has UDP. */
export const IMAGE = "busybox:latest";
/** What a container's web server has. */
export const PAGE = "served by a container";
/** A container's command that serves {@link PAGE} on its port 80, until it has a file named `end`. */
export const WEB = [
  "sh",
  "-c",
  `mkdir -p /www; echo '${PAGE}' >/www/index.html; httpd -h /www; echo ready; until rm /end 2>/dev/null; do sleep 0.1; done`,
];
/** A container's command that sends datagrams to its port 53 back. */
export const UDP_ECHO = [
  "perl",
  "-e",
  'socket(S, 2, 2, 17); bind(S, pack("S n x12", 2, 53)) or die; send(S, $_, 0, $from) while $from = recv(S, $_, 65536, 0)',
];
/** For an engine on a machine that is busy with other tests, in milliseconds. */
const START_TIME = 60_000;
/** How many ports an engine chooses from. */
const PORTS = 500;
/** For what comes of an event by itself. */
export const PATIENCE = 20_000;

export interface Outcome {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** An engine as a program of this host. */
interface EngineProgram {
  /** @returns the command that serves the engine's API on a socket, with its files in a folder. */
  readonly command: (folder: string, socket: string) => Promise<string[]>;
  /** Where hostd reaches the engine: its own socket, or a port of the VM. */
  readonly upstream: (socket: string) => string;
}

export const DOCKER: EngineProgram = {
  command: async (folder, socket) => {
    const config = join(folder, "daemon.json");
    await writeFile(config, JSON.stringify({ dns: [GATEWAY], "host-gateway-ip": HOST }));
    return [
      ...["dockerd", `--config-file=${config}`, `--data-root=${join(folder, "data")}`, "--storage-driver=vfs"],
      ...[`--host=unix://${socket}`, "--host=tcp://0.0.0.0:2375", "--tls=false"],
    ];
  },
  upstream: () => "tcp://vm:2375",
};

export const PODMAN: EngineProgram = {
  command: async (folder, socket) => {
    const config = join(folder, "containers.conf");
    const networks = join(folder, "networks");
    await mkdir(networks);
    await writeFile(
      config,
      `[containers]
dns_servers = ["${GATEWAY}"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "runc"
[network]
network_backend = "netavark"
network_config_dir = "${networks}"
`,
    );
    return [
      ...["env", `CONTAINERS_CONF=${config}`, "podman", `--root=${join(folder, "root")}`, "--storage-driver=vfs"],
      // What it finds there tells it whether the machine was started anew.
      ...["--runroot=/run/containers", "--tmpdir=/run/libpod", "system", "service", "--time=0", `unix://${socket}`],
    ];
  },
  upstream: (socket) => `unix://${socket}`,
};

/** Ports from which the engine of this process chooses: below those that a host hands out, and no other process's. */
function portRange(): string {
  // Workers that run at the same time have different numbers, and one parent.
  const number = process.ppid + Number(process.env.VITEST_POOL_ID ?? 0);
  const first = 20_000 + PORTS * (number % 25);
  return `${first} ${first + PORTS - 1}`;
}

/**
 * What the tests with an engine lack.
 *
 * @param missing - what other packages say that they need
 * @returns undefined when it is nothing
 */
export function engineGuestsLack(...missing: readonly (string | undefined)[]): string | undefined {
  return missing.find((one) => one !== undefined) ?? (tapGuestsAreAvailable() ? undefined : "no TAP guests here");
}

/** Programs ask for nothing of this user's, and find those of root. */
function environment(folder: string): Record<string, string> {
  return { PATH: searchPath().join(":"), HOME: folder, TMPDIR: folder, DOCKER_CONFIG: join(folder, "config") };
}

/** An engine with hostd between it and Docker clients. */
export class EngineGuest {
  readonly lab: Lab;
  readonly daemon: LabDaemon;
  readonly guest: TapGuest;
  /** The engine's own socket. */
  readonly direct: string;
  /** hostd's, where clients are served. */
  readonly socket: string;
  /** hostd's control API. */
  readonly api: string;
  readonly #command: readonly string[];
  #process: ChildProcess | null = null;

  private constructor(lab: Lab, daemon: LabDaemon, guest: TapGuest, command: readonly string[]) {
    this.lab = lab;
    this.daemon = daemon;
    this.guest = guest;
    this.#command = command;
    this.direct = join(lab.folder, "engine.sock");
    this.socket = join(lab.folder, "docker.sock");
    this.api = join(lab.folder, "api.sock");
  }

  /** Starts hostd, attaches a guest, and starts the engine in it with {@link IMAGE}. All ends with the lab. */
  static async boot(lab: Lab, engine: EngineProgram, settings: SettingsInput = {}): Promise<EngineGuest> {
    const direct = join(lab.folder, "engine.sock");
    const docker = { listen: `unix://${join(lab.folder, "docker.sock")}`, upstream: engine.upstream(direct) };
    const daemon = await lab.start({
      api: join(lab.folder, "api.sock"),
      // What passes can be large, and is not about frames.
      capture: join(lab.folder, "vm.pcap"),
      ...settings,
      docker: { ...docker, ...settings.docker },
    });
    const guest = await TapGuest.create({ socket: lab.socket, name: "engine" });
    lab.defer(() => guest.destroy());
    // As docs/docker.md has it: an engine listens on addresses too that only this host has, and chooses ports that the host
    // does not hand out.
    await guest.check(`cd /proc/sys/net/ipv4 && echo 1 >ip_nonlocal_bind && echo ${portRange()} >ip_local_port_range`);
    const started = new EngineGuest(lab, daemon, guest, await engine.command(lab.folder, direct));
    lab.defer(() => started.#end());
    await started.#begin();
    await started.#importImage();
    return started;
  }

  /** Runs the docker command at hostd's socket, or at that of the engine. */
  spawn(words: readonly string[], socket = this.socket): ChildProcessWithoutNullStreams {
    const env = { ...environment(this.lab.folder), DOCKER_HOST: `unix://${socket}`, DOCKER_BUILDKIT: "0" };
    const child = spawn("docker", words, { cwd: this.lab.folder, env, stdio: "pipe" });
    child.stdin.on("error", () => {});
    this.lab.defer(() => child.kill("SIGKILL"));
    return child;
  }

  /** The same to its end. */
  async run(words: readonly string[], stdin: string | Uint8Array = "", socket = this.socket): Promise<Outcome> {
    const child = this.spawn(words, socket);
    child.stdin.end(stdin);
    const [stdout, stderr, [status]] = await Promise.all([
      text(child.stdout),
      text(child.stderr),
      once(child, "close") as Promise<[number | null]>,
    ]);
    return { status, stdout, stderr };
  }

  /** The same for a command that has to succeed; gives what it printed. */
  async docker(...words: string[]): Promise<string> {
    const { status, stdout, stderr } = await this.run(words);
    if (status !== 0) throw new Error(`docker ${words.join(" ")}: status ${status}\n${stdout}${stderr}`);
    return stdout.trim();
  }

  /** Runs a container in the background. */
  async start(name: string, flags: readonly string[], command: readonly string[] = WEB): Promise<void> {
    await this.docker("run", "-d", "--name", name, ...flags, IMAGE, ...command);
  }

  /** Removes all containers. */
  async removeAll(): Promise<void> {
    const ids = await this.docker("ps", "-aq");
    if (ids !== "") await this.docker("rm", "-f", ...ids.split("\n"));
  }

  /** The ports that hostd publishes, such as `tcp/:80` and `udp/127.0.0.1:53`, sorted. */
  async published(): Promise<string[]> {
    const { json } = await askDaemon(this.api, "GET", "/v1/forwards");
    return (json as { id: string }[]).map(({ id }) => id).sort();
  }

  /** Waits until hostd publishes these ports and no others. */
  async untilPublished(...ids: string[]): Promise<void> {
    await expect.poll(() => this.published(), { timeout: PATIENCE }).toEqual(ids.sort());
  }

  /** Has the engine end with all containers, as with its machine, and starts it again. */
  async restart(): Promise<void> {
    const ids = await this.docker("ps", "-aq", "--no-trunc");
    await this.#end();
    // With their machine these would be gone too.
    for (const id of ids === "" ? [] : ids.split("\n")) await removeControlGroups(id);
    await this.#begin();
  }

  get #log(): string {
    return join(this.lab.folder, "engine.log");
  }

  /** Starts the engine; processes and mounts of it and of its containers are in namespaces that end with it. */
  async #begin(): Promise<void> {
    const inside = 'mount -t tmpfs tmpfs /run && mount -t tmpfs tmpfs /var/lib && exec "$@" >>"$LOG" 2>&1';
    const child = spawn(
      "nsenter",
      [
        ...[`--net=/run/netns/${this.guest.namespace}`, "setpriv", "--pdeathsig", "KILL"],
        ...["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"],
        ...["sh", "-c", inside, "engine", ...this.#command],
      ],
      { stdio: "ignore", env: { ...environment(this.lab.folder), LOG: this.#log } },
    );
    this.#process = child;
    await once(child, "spawn");
    await vi.waitUntil(
      async () => {
        if (child.exitCode !== null) throw new Error(`the engine has ended: ${await readFile(this.#log, "utf8")}`);
        return await isAnswering(this.direct);
      },
      { timeout: START_TIME, interval: 50 },
    );
  }

  async #end(): Promise<void> {
    const child = this.#process;
    if (child === null) return;
    this.#process = null;
    const closed = once(child, "close");
    child.kill("SIGKILL");
    await closed;
    // The last of its processes may still be ending.
    await vi.waitUntil(async () => !(await isAnswering(this.direct)), { timeout: START_TIME, interval: 20 });
  }

  async #importImage(): Promise<void> {
    const script = [
      "mkdir -p image/bin && cp $BUSYBOX image/bin/busybox && image/bin/busybox --install image/bin",
      "cp -L --parents $(ldd $(command -v perl) | grep -o '/[^ ]*') image && cp $(command -v perl) image/bin",
      "tar -C image -c . | docker import --change 'CMD [\"/bin/sh\"]' - $IMAGE",
    ].join(" && ");
    const env = {
      ...environment(this.lab.folder),
      DOCKER_HOST: `unix://${this.direct}`,
      BUSYBOX: findCommand("busybox") ?? "busybox",
      IMAGE,
    };
    const child = spawn("sh", ["-c", script], { cwd: this.lab.folder, env, stdio: ["ignore", "ignore", "pipe"] });
    const [errors, [status]] = await Promise.all([text(child.stderr), once(child, "close")]);
    if (status !== 0) throw new Error(`the image cannot be made: ${errors}`);
  }
}

/** What a web server has at a port of this host. */
export async function page(port: number, host = "127.0.0.1"): Promise<string> {
  const answer = await fetch(`http://${host}:${port}/`);
  return (await answer.text()).trim();
}

/** Waits for {@link PAGE} at a port of this host: a container needs a while to serve it. */
export async function untilServed(port: number, host?: string): Promise<void> {
  const isServed = () =>
    page(port, host).then(
      (text) => text === PAGE,
      () => false,
    );
  await vi.waitUntil(isServed, { timeout: PATIENCE, interval: 20 });
}

/** Whether somebody listens on a port of this host. */
export async function isOpen(port: number, host = "127.0.0.1"): Promise<boolean> {
  const socket = connect(port, host);
  const isConnected = await once(socket, "connect").then(
    () => true,
    () => false,
  );
  socket.destroy();
  return isConnected;
}

/** Sends a datagram to a port of this host until it comes back: what comes before a container listens is lost. */
export async function echoed(port: number, datagram: string, host = "127.0.0.1"): Promise<void> {
  const client = createSocket(isIPv6(host) ? "udp6" : "udp4");
  const sending = setInterval(() => client.send(datagram, port, host), 50);
  try {
    const [answer] = (await once(client, "message", { signal: AbortSignal.timeout(PATIENCE) })) as [Buffer];
    if (String(answer) !== datagram) throw new Error(`got ${answer}, not ${datagram}`);
  } finally {
    clearInterval(sending);
    client.close();
  }
}

/** Removes the control groups of a container whose processes have ended. */
async function removeControlGroups(id: string): Promise<void> {
  const named = ["-depth", "-type", "d", "-name", `*${id}*`];
  const removing = spawn("find", ["/sys/fs/cgroup", ...named, "-exec", "rmdir", "{}", ";"], { stdio: "ignore" });
  await once(removing, "close");
}

async function isAnswering(socketPath: string): Promise<boolean> {
  const call = request({ socketPath, path: "/_ping", agent: false }).end();
  return await once(call, "response").then(
    ([answer]) => answer.resume().statusCode === 200,
    () => false,
  );
}

/**
 * Has an engine for the tests of a group, each of which begins without containers.
 *
 * @param name - of hostd's log, which a test that fails leaves in `test/output`
 * @param settings - go over those of hostd
 * @returns gives the engine once the tests run
 */
export function useEngine(name: string, program: EngineProgram, settings: SettingsInput = {}): () => EngineGuest {
  const captures = new Captures(name);
  let lab: Lab | null = null;
  let engine: EngineGuest | null = null;
  let hasFailed = false;
  beforeAll(async () => {
    lab = await Lab.open(captures);
    engine = await EngineGuest.boot(lab, program, settings);
  }, 2 * START_TIME);
  afterEach(async ({ task }) => {
    hasFailed ||= task.result?.state === "fail";
    // Whatever a test was about, nothing is left of its containers.
    await engine?.removeAll();
    await engine?.untilPublished();
  }, START_TIME);
  afterAll(async () => {
    if (hasFailed) {
      await mkdir(dirname(captures.log()), { recursive: true });
      await lab?.writeLog();
    }
    await lab?.close();
  }, START_TIME);
  return () => {
    if (engine === null) throw new Error("the engine is not started yet");
    return engine;
  };
}
