import { spawn, spawnSync } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { chmodSync, chownSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import { type AddressInfo, connect, createServer as createTcpServer } from "node:net";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from "vitest";
import { askDaemon } from "../integration/support/control.ts";
import { DHCP_CLIENTS, MAKE_BUSYBOX_CONTAINER_IMAGE, START_DOCKER, START_SSHD } from "./guest-commands.ts";
import { ensureDockerClient } from "./host-packages.ts";
import { ARTIFACTS, HostdProcess, makeFolder } from "./hostd-process.ts";
import { ensureVm, imageOf } from "./image.ts";
import { CONTAINER_PROCESSORS, Vm } from "./vm.ts";

const availability = await ensureVm();
const missing = ensureDockerClient();
const LOOPBACK = "127.0.0.1";

interface Result {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** A web server in a container: busybox' httpd, with one page. */
const WEB = ["sh", "-c", "mkdir -p /www && echo served >/www/index.html && exec httpd -f -p 80 -h /www"];
/** Gives a container the VM's python. */
const PYTHON = ["/usr", "/lib", "/lib64"].flatMap((folder) => ["-v", `${folder}:${folder}:ro`]);
/** Sends datagrams to port 53 back, and what comes over TCP. */
const ECHO_BOTH = [
  "python3",
  "-c",
  `
import socket, threading
datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
datagrams.bind(("", 53))
streams = socket.create_server(("", 53))
def serve():
    while True:
        connection, _ = streams.accept()
        while data := connection.recv(65536):
            connection.sendall(data)
        connection.close()
threading.Thread(target=serve, daemon=True).start()
while True:
    data, client = datagrams.recvfrom(65536)
    datagrams.sendto(data, client)
`,
];

describe.skipIf(!availability.available || missing !== undefined)("docker on the host, dockerd in the VM", () => {
  const folder = makeFolder("docker");
  const socket = join(folder, "vm.sock");
  const api = join(folder, "api.sock");
  const dockerSocket = join(folder, "docker.sock");
  const key = join(folder, "key");
  const args = () => [
    // QEMU listens, so that it outlives hostd.
    ...["--qemu", `dial+unix://${socket}`, "--api", api, "--state", join(folder, "state")],
    ...["--docker", `unix://${dockerSocket}`, "--docker-upstream", "ssh://root@vm/run/docker.sock"],
    ...["--docker-identity", key],
  ];
  let hostd: HostdProcess;
  let vm: Vm;

  /** Runs the real docker command on the host. */
  const docker = async (words: readonly string[], stdin?: string | Buffer): Promise<Result> => {
    const env = { ...process.env, DOCKER_HOST: `unix://${dockerSocket}`, DOCKER_CONFIG: join(folder, "config") };
    const child = spawn("docker", words, { env, stdio: "pipe" });
    child.stdin.on("error", () => {});
    child.stdin.end(stdin);
    const [stdout, stderr, [status]] = await Promise.all([
      text(child.stdout),
      text(child.stderr),
      once(child, "close") as Promise<[number | null]>,
    ]);
    return { status, stdout, stderr };
  };
  /** The same for one that has to succeed; gives what it printed. */
  const succeed = async (words: readonly string[], stdin?: string | Buffer): Promise<string> => {
    const { status, stdout, stderr } = await docker(words, stdin);
    if (status !== 0) throw new Error(`docker ${words.join(" ")}: status ${status}\n${stdout}${stderr}`);
    return stdout.trim();
  };
  const run = (...words: string[]) => succeed(["run", "-d", ...words]);
  const web = (name: string, ...flags: string[]) => {
    return run("--name", name, ...flags, "busybox", ...WEB);
  };
  const fetched = async (port: number, host = LOOPBACK): Promise<string> => {
    const response = await fetch(`http://${host}:${port}/`);
    return (await response.text()).trim();
  };
  /** Whether somebody listens on a port of the host. */
  const isOpen = async (port: number, host = LOOPBACK): Promise<boolean> => {
    const probe = connect(port, host);
    const opened = await new Promise<boolean>((resolve) => {
      probe.once("connect", () => resolve(true));
      probe.once("error", () => resolve(false));
    });
    probe.destroy();
    return opened;
  };
  const untilClosed = async (port: number, host = LOOPBACK) => {
    await vi.waitUntil(async () => !(await isOpen(port, host)), { timeout: 30_000, interval: 20 });
  };
  /** A container listens some time after it was started. */
  const untilServed = async (port: number, host = LOOPBACK) => {
    await vi.waitUntil(async () => (await fetched(port, host).catch(() => null)) === "served", {
      timeout: 60_000,
      interval: 100,
    });
  };
  const published = async () => {
    const { json } = await askDaemon(api, "GET", "/v1/forwards");
    return (json as { id: string; owner?: string }[]).map(({ id }) => id);
  };

  beforeAll(async () => {
    spawnSync("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-f", key]);
    const { uid, gid } = statSync(folder);
    chownSync(key, uid, gid);
    hostd = await HostdProcess.start("docker", args());
    const netdev = `stream,id=n0,server=on,addr.type=unix,addr.path=${socket}`;
    vm = await Vm.boot({
      ...{ image: imageOf(availability), netdev, processors: CONTAINER_PROCESSORS },
      ...{ name: "docker", artifacts: ARTIFACTS },
    });
    // QEMU runs as another user than hostd here.
    chmodSync(socket, 0o666);
    await vm.check(DHCP_CLIENTS.udhcpc);
    // As docs/docker.md has it: addresses that only this host has, and ports that it does not hand out itself.
    await vm.check("sysctl -w net.ipv4.ip_nonlocal_bind=1 net.ipv4.ip_local_port_range=' 20000 30000'");
    await vm.check(START_DOCKER, { timeoutMs: 120_000 });
    await vm.check(MAKE_BUSYBOX_CONTAINER_IMAGE, { timeoutMs: 60_000 });
    await vm.check(START_SSHD, { stdin: spawnSync("cat", [`${key}.pub`]).stdout, timeoutMs: 60_000 });
    expect(await succeed(["version", "--format", "{{.Server.Os}}"])).toBe("linux");
  });

  afterAll(async () => {
    await vm?.kill();
    await hostd?.stop();
    rmSync(folder, { recursive: true, force: true });
  });

  // What a test has left would be in the way of those after it.
  afterEach(async () => {
    const containers = await docker(["ps", "-aq"]);
    const ids = containers.stdout.split("\n").filter((id) => id !== "");
    if (ids.length > 0) await docker(["rm", "-f", ...ids]);
  }, 60_000);

  it("docker run -p has the port on the host when it returns, until the container ends", async () => {
    await web("one", "-p", "18080:80");
    await untilServed(18_080);
    expect(await succeed(["port", "one"])).toContain("80/tcp -> 0.0.0.0:18080");
    await succeed(["rm", "-f", "one"]);
    await untilClosed(18_080);
    expect(await published()).toEqual([]);
  });

  it("publishes on the address that was asked for, and on no other", async () => {
    await web("local", "-p", `${LOOPBACK}:18081:80`);
    await untilServed(18_081);
    expect(await published()).toEqual([`tcp/${LOOPBACK}:18081`]);
    expect(await isOpen(18_081, "127.0.0.2")).toBe(false);
    await succeed(["rm", "-f", "local"]);
    // An address that only the host has.
    await web("own", "-p", "127.0.0.3:18081:80");
    await untilServed(18_081, "127.0.0.3");
    await succeed(["rm", "-f", "own"]);
  });

  it("publishes what the engine chose, ranges, and two protocols on one port", async () => {
    await web("random", "-P", "--expose", "80");
    const chosen = Number(/0\.0\.0\.0:(\d+)/.exec(await succeed(["port", "random", "80"]))?.[1]);
    await untilServed(chosen);
    await succeed(["rm", "-f", "random"]);

    const loop = "for p in 9000 9001 9002; do (while :; do echo $p | nc -l -p $p; done) & done; wait";
    await run("--name", "range", "-p", "19000-19002:9000-9002", "busybox", "sh", "-c", loop);
    for (const port of [19_000, 19_001, 19_002]) {
      const said = () => text(connect({ port, host: LOOPBACK })).catch(() => "");
      await vi.waitUntil(async () => (await said()).trim() === String(port - 10_000), {
        timeout: 30_000,
        interval: 100,
      });
    }
    await succeed(["rm", "-f", "range"]);

    await run("--name", "both", ...PYTHON, "-p", "15353:53/udp", "-p", "15353:53/tcp", "busybox", ...ECHO_BOTH);
    const client = createSocket("udp4");
    // What comes before the container listens is lost.
    const sending = setInterval(() => client.send("datagram", 15_353, LOOPBACK), 200);
    const [answer] = (await once(client, "message")) as [Buffer];
    clearInterval(sending);
    client.close();
    expect(String(answer)).toBe("datagram");
    const stream = connect({ port: 15_353, host: LOOPBACK, allowHalfOpen: true });
    stream.end("stream");
    expect(await text(stream)).toBe("stream");
    await succeed(["rm", "-f", "both"]);
  });

  it("refuses a port that a process of the host has, as Docker Desktop does, and leaves nothing behind", async () => {
    const holder = createTcpServer().listen(18_082, "0.0.0.0");
    await once(holder, "listening");
    const refused = await docker(["run", "-d", "--name", "held", "-p", "18082:80", "busybox", "sleep", "1000"]);
    expect(refused.status).toBe(125);
    expect(refused.stderr).toContain(
      "ports are not available: exposing port TCP 0.0.0.0:18082 -> 127.0.0.1:0: " +
        "listen tcp4 0.0.0.0:18082: bind: address already in use",
    );
    expect(await succeed(["inspect", "-f", "{{.State.Status}}", "held"])).toBe("created");
    expect(await published()).toEqual([]);
    await new Promise((resolve) => holder.close(resolve));
    await succeed(["start", "held"]);
    expect(await published()).toContain("tcp/:18082");
    await succeed(["rm", "-f", "held"]);
  });

  it("has the engine's own words where another container has the port", async () => {
    await web("first", "-p", "18083:80");
    const refused = await docker(["run", "-d", "--name", "second", "-p", "18083:80", "busybox", "sleep", "1000"]);
    expect(refused.status).toBe(125);
    expect(refused.stderr).toContain("port is already allocated");
    await untilServed(18_083);
    await succeed(["rm", "-f", "first", "second"]);
  });

  it("has ports back after docker restart, network changes, and restarts of hostd and of dockerd", async () => {
    await web("kept", "--restart", "always", "-p", "18084:80");
    await succeed(["restart", "-t", "0", "kept"]);
    await untilServed(18_084);
    await succeed(["start", "kept"]);
    await untilServed(18_084);
    await succeed(["network", "disconnect", "bridge", "kept"]);
    await succeed(["network", "connect", "bridge", "kept"]);
    await untilServed(18_084);
    // The engine starts again, and the container by itself with it.
    await vm.check("kill $(cat /run/docker.pid); while [ -e /run/docker.pid ]; do sleep 0.1; done", {
      timeoutMs: 60_000,
    });
    await vm.check(START_DOCKER, { timeoutMs: 120_000 });
    await untilServed(18_084);
    // hostd starts again, and finds the container by asking.
    await hostd.stop();
    expect(await isOpen(18_084)).toBe(false);
    hostd = await HostdProcess.start("docker", args());
    await untilServed(18_084);
    await succeed(["kill", "--signal", "HUP", "kept"]);
    expect(await published()).toContain("tcp/:18084");
    await succeed(["rm", "-f", "kept"]);
    await untilClosed(18_084);
  }, 180_000);

  it("carries attached streams: input and its end, output and status", async () => {
    expect(await succeed(["run", "-i", "--rm", "busybox", "cat"], "hi\n")).toBe("hi");
    const data = randomBytes(20_000_000);
    const sum = createHash("sha256").update(data).digest("hex");
    expect(await succeed(["run", "-i", "--rm", "busybox", "sha256sum"], data)).toBe(`${sum}  -`);
    expect((await docker(["run", "--rm", "busybox", "sh", "-c", "exit 42"])).status).toBe(42);
  });

  it("carries docker exec, logs, cp, save and load, and events to clients that come and go", async () => {
    await run("--name", "busy", "busybox", "sh", "-c", "i=0; while :; do i=$((i+1)); echo line $i; sleep 0.1; done");
    expect(await succeed(["exec", "-i", "busy", "cat"], "through exec")).toBe("through exec");
    const file = join(folder, "file");
    writeFileSync(file, randomBytes(5_000_000));
    await succeed(["cp", file, "busy:/file"]);
    await succeed(["cp", "busy:/file", `${file}.back`]);
    expect(readFileSync(`${file}.back`).equals(readFileSync(file))).toBe(true);
    const descriptors = readdirSync(`/proc/${hostd.pid}/fd`).length;
    const env = { ...process.env, DOCKER_HOST: `unix://${dockerSocket}` };
    for (const words of [["logs", "-f", "busy"], ["events"], ["stats"]]) {
      const child = spawn("docker", words, { env, stdio: ["ignore", "pipe", "ignore"] });
      if (words[0] !== "events") await once(child.stdout, "data");
      child.kill("SIGKILL");
      await once(child, "close");
    }
    await vi.waitUntil(() => readdirSync(`/proc/${hostd.pid}/fd`).length <= descriptors, { timeout: 10_000 });
    await succeed(["rm", "-f", "busy"]);
    const image = await docker(["save", "busybox", "-o", `${file}.tar`]);
    expect(image.status).toBe(0);
    expect(await succeed(["load", "-i", `${file}.tar`])).toContain("Loaded image: busybox:latest");
  }, 120_000);

  it("leaves nothing behind of containers that come and go", async () => {
    const descriptors = readdirSync(`/proc/${hostd.pid}/fd`).length;
    for (let round = 0; round < 4; round++) {
      await succeed(["run", "--rm", "-p", "18090:80", "-p", "18090:80/udp", "busybox", "true"]);
    }
    await untilClosed(18_090);
    expect(await published()).toEqual([]);
    expect(readdirSync(`/proc/${hostd.pid}/fd`).length).toBeLessThanOrEqual(descriptors + 2);
  }, 180_000);

  it("reaches the host by its name, and by host-gateway", async () => {
    const server: Server = createServer((_, response) => response.end("from the host"));
    server.listen(0, LOOPBACK);
    await once(server, "listening");
    const { port } = server.address() as AddressInfo;
    const get = (name: string) => ["busybox", "wget", "-q", "-O", "-", `http://${name}:${port}/`];
    expect(await succeed(["run", "--rm", ...get("host.docker.internal")])).toBe("from the host");
    expect(await succeed(["run", "--rm", "--add-host", "me:host-gateway", ...get("me")])).toBe("from the host");
    server.close();
  });
});
