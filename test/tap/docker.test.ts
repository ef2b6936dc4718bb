/**
 * The docker command at hostd's socket beside the docker command at the engine's own, with the engine in a VM without a
 * machine, so at the speed of the host.
 */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it, vi } from "vitest";
import { askDaemon } from "../integration/support/control.ts";
import { DOCKER, engineGuestsLack, type Outcome, UDP_ECHO, useEngine } from "../integration/support/engine-guest.ts";
import { heapInUse } from "../integration/support/heap.ts";
import { ensureDockerClient, ensureDockerEngine } from "../vm/host-packages.ts";

const lack = engineGuestsLack(ensureDockerEngine(), ensureDockerClient());
const MEGABYTE = 1_000_000;
/** The command of Debian's package, which has BuildKit without a plugin. */
const DEBIAN_DOCKER = "/usr/bin/docker";
const REACHED = "reached a container";
const WEB = ["sh", "-c", `mkdir -p /www && echo '${REACHED}' >/www/index.html && exec httpd -f -h /www`];

const descriptors = () => readdirSync("/proc/self/fd").length;
const page = async (port: number) => (await (await fetch(`http://127.0.0.1:${port}/`)).text()).trim();

/** What differs from one run of a command to the next: ids, times, and sizes that are measured. */
function withoutChance(text: string): string {
  return (
    text
      .replace(/\b[0-9a-f]{64}\b/g, "ID")
      .replace(/\b[0-9a-f]{12}\b/g, "ID")
      .replace(/\d{4}-\d\d-\d\dT[\d:.]+(?:Z|[+-]\d\d:\d\d)/g, "TIME")
      .replace(/\d+\.\d+ ?m?s\b/g, "TIME")
      .replace(/\(\d+\.\d+s\)/g, "TIME")
      // Between the two of them a second may begin.
      .replace(/\b(?:\d+ seconds|About a minute|\d+ minutes) ago\b/g, "AGO")
  );
}

describe.skipIf(lack !== undefined)("the docker command through hostd", () => {
  const engine = useEngine("docker-beside", DOCKER);

  /** Runs a command at the engine's own socket and at hostd's, and expects no difference. */
  async function both(words: readonly string[], stdin?: string | Uint8Array): Promise<Outcome> {
    const { direct, socket } = engine();
    const expected = await engine().run(words, stdin, direct);
    const seen = await engine().run(words, stdin, socket);
    expect({
      status: seen.status,
      stdout: withoutChance(seen.stdout),
      stderr: withoutChance(seen.stderr),
    }).toEqual({
      status: expected.status,
      stdout: withoutChance(expected.stdout),
      stderr: withoutChance(expected.stderr),
    });
    return seen;
  }

  /** Has a container run for as long as a test uses it. */
  async function withContainer(words: readonly string[], use: (name: string) => Promise<void>): Promise<void> {
    const name = "used";
    await engine().docker("run", "-d", "--name", name, ...words);
    try {
      await use(name);
    } finally {
      await engine().docker("rm", "-f", name);
    }
  }

  it("has the same outputs and status of containers that are run", async () => {
    expect(await both(["run", "-i", "--rm", "busybox", "cat"], "hi\n")).toMatchObject({ status: 0, stdout: "hi\n" });
    const noisy = "echo out; echo err >&2; exit 3";
    expect(await both(["run", "--rm", "busybox", "sh", "-c", noisy])).toEqual({
      status: 3,
      stdout: "out\n",
      stderr: "err\n",
    });
    expect(await both(["run", "--rm", "busybox", "no-such-command"])).toMatchObject({ status: 127 });
    expect(await both(["run", "--rm", "--publish", "80:80/sctp", "--publish", "x:80", "busybox"])).toMatchObject({
      status: 125,
    });
  });

  it("has the same answers to questions, and the same errors", async () => {
    await both(["version"]);
    await both(["info", "--format", "{{.Driver}} {{.OSType}} {{.ServerVersion}} {{.Swarm.LocalNodeState}}"]);
    await both(["images"]);
    await both(["network", "ls"]);
    await both(["inspect", "busybox"]);
    expect(await both(["inspect", "missing"])).toMatchObject({ status: 1 });
    expect(await both(["start", "missing"])).toMatchObject({ status: 1 });
    expect(await both(["pull", "127.0.0.1:1/missing"])).toMatchObject({ status: 1 });
  });

  it("takes 100 MB of input to a container and gives them back", async () => {
    const data = randomBytes(100 * MEGABYTE);
    const sum = createHash("sha256").update(data).digest("hex");
    expect((await both(["run", "-i", "--rm", "busybox", "sha256sum"], data)).stdout).toBe(`${sum}  -\n`);
    const child = engine().spawn(["run", "-i", "--rm", "busybox", "cat"]);
    const hash = createHash("sha256");
    child.stdout.on("data", (bytes: Buffer) => hash.update(bytes));
    child.stdin.end(data);
    await once(child, "close");
    expect(hash.digest("hex")).toBe(sum);
  });

  it("runs commands in a container that runs, and copies files both ways", async () => {
    await withContainer(["busybox", "sleep", "1000"], async (name) => {
      expect(await both(["exec", "-i", name, "cat"], "through exec")).toMatchObject({ stdout: "through exec" });
      expect(await both(["exec", name, "sh", "-c", "echo no >&2; exit 9"])).toMatchObject({ status: 9 });
      expect(await both(["exec", "-t", name, "sh", "-c", "echo a terminal"])).toMatchObject({ status: 0 });
      const file = join(engine().lab.folder, "copied");
      writeFileSync(file, randomBytes(20 * MEGABYTE));
      await engine().docker("cp", file, `${name}:/file`);
      await engine().docker("cp", `${name}:/file`, `${file}.back`);
      expect(readFileSync(`${file}.back`).equals(readFileSync(file))).toBe(true);
      await both(["cp", `${name}:/missing`, file]);
      await both(["top", name, "-o", "args"]);
      await both(["diff", name]);
    });
  });

  /** Runs a command line at a socket, hostd's unless given, under a terminal, which `script` makes. */
  function underTerminal(
    line: string,
    path = engine().socket,
  ): { child: ChildProcess; printed: () => string; type: (text: string) => void } {
    const { lab } = engine();
    const env = { ...process.env, DOCKER_HOST: `unix://${path}`, DOCKER_CONFIG: join(lab.folder, "config") };
    const child = spawn("script", ["-qefc", `tty; stty rows 33 cols 77; ${line}`, "/dev/null"], { env, stdio: "pipe" });
    lab.defer(() => child.kill("SIGKILL"));
    let text = "";
    child.stdout.setEncoding("utf8").on("data", (part: string) => (text += part));
    return { child, printed: () => text, type: (keys) => void child.stdin.write(keys) };
  }

  it("gives a terminal to docker exec, of its size, and of a new size when that changes", async () => {
    await withContainer(["busybox", "sleep", "1000"], async (name) => {
      const { child, printed, type } = underTerminal(
        `docker exec -it ${name} sh -c 'read a; stty size; read b; stty size'`,
      );
      await vi.waitUntil(() => /\/dev\/pts\/\d+/.test(printed()));
      // The size of the terminal is told once the command has begun, as the docker command does it.
      const sizeOf = async () => {
        const { stdout } = await engine().run([
          "exec",
          name,
          "sh",
          "-c",
          "for t in /dev/pts/[0-9]*; do stty -F $t size; done",
        ]);
        return stdout.trim();
      };
      await vi.waitUntil(async () => (await sizeOf()).includes("33 77"), { timeout: 10_000 });
      type("\n");
      await vi.waitUntil(() => printed().includes("33 77"), { timeout: 10_000 });
      const [terminal = ""] = /\/dev\/pts\/\d+/.exec(printed()) ?? [];
      spawnSync("stty", ["-F", terminal, "rows", "41", "cols", "100"]);
      await vi.waitUntil(async () => (await sizeOf()).includes("41 100"), { timeout: 10_000 });
      type("\n");
      const [status] = await once(child, "close");
      expect(printed()).toContain("41 100");
      expect(status).toBe(0);
    });
  });

  it("attaches to a container, and detaches by the keys for it while the container goes on", async () => {
    await withContainer(["-it", "busybox", "sh", "-c", "while read line; do echo got $line; done"], async (name) => {
      const statuses: unknown[] = [];
      for (const path of [engine().direct, engine().socket]) {
        const { child, printed, type } = underTerminal(`docker attach ${name}`, path);
        await vi.waitUntil(() => printed().includes("/dev/pts"));
        // What is typed before it is attached goes to nobody.
        await vi.waitUntil(
          () => {
            type("word\n");
            return printed().includes("got word");
          },
          { timeout: 20_000, interval: 200 },
        );
        type("\u0010\u0011");
        const [status] = await once(child, "close");
        statuses.push(status);
        expect(printed()).toContain("read escape sequence");
        expect(await engine().docker("inspect", "-f", "{{.State.Running}}", name)).toBe("true");
      }
      expect(statuses[1]).toBe(statuses[0]);
    });
  });

  it("has the engine hear at once when a client that follows is killed", async () => {
    await withContainer(["busybox", "sh", "-c", "while :; do echo line; sleep 0.1; done"], async (name) => {
      for (const words of [["logs", "-f", name], ["events"], ["stats", name], ["exec", "-i", name, "cat"]]) {
        const before = descriptors();
        const child = engine().spawn(words);
        if (words[0] === "events") {
          await vi.waitUntil(() => descriptors() > before);
          await engine().docker("exec", name, "true");
        }
        if (words[0] === "exec") child.stdin.write("echo\n");
        await once(child.stdout, "data");
        child.kill("SIGKILL");
        await once(child, "close");
        await vi.waitUntil(() => descriptors() <= before + 2, { timeout: 10_000 });
      }
    });
  });

  it("saves and loads an image of 200 MB", async () => {
    const data = join(engine().lab.folder, "large");
    await mkdir(data);
    await writeFile(join(data, "blob"), randomBytes(200 * MEGABYTE));
    await writeFile(join(data, "Dockerfile"), "FROM busybox\nCOPY blob /blob\n");
    await engine().docker("build", "-q", "-t", "large", data);
    const { direct, socket } = engine();
    const id = await engine().docker("image", "inspect", "-f", "{{.Id}}", "large");
    const sums: string[] = [];
    for (const path of [direct, socket]) {
      const child = engine().spawn(["save", "large"], path);
      const hash = createHash("sha256");
      const loading = path === socket ? engine().spawn(["load"]) : null;
      child.stdout.on("data", (bytes: Buffer) => hash.update(bytes));
      if (loading !== null) {
        await once(child, "spawn");
        child.stdout.pipe(loading.stdin);
        let printed = "";
        loading.stdout.setEncoding("utf8").on("data", (text: string) => (printed += text));
        await once(loading, "close");
        expect(printed).toContain("Loaded image: large:latest");
      } else {
        await once(child, "close");
      }
      sums.push(hash.digest("hex"));
    }
    expect(sums[1]).toBe(sums[0]);
    expect(await engine().docker("image", "inspect", "-f", "{{.Id}}", "large")).toBe(id);
    await engine().docker("rmi", "large");
  }, 120_000);

  it("builds images with the classic builder and with BuildKit", async () => {
    const context = join(engine().lab.folder, "context");
    await mkdir(context);
    await writeFile(join(context, "hello"), "hello\n");
    await writeFile(
      join(context, "Dockerfile"),
      "FROM busybox\nCOPY hello /hello\nRUN cat /hello >/twice && cat /hello >>/twice\n",
    );
    const classic = await both(["build", "--no-cache", "-t", "classic", context]);
    expect(classic.stdout).toContain("Successfully tagged classic:latest");
    expect(await both(["build", "--no-cache", "-"], "FROM busybox\nRUN exit 7\n")).toMatchObject({ status: 7 });
    const { socket, lab } = engine();
    const env = {
      PATH: process.env.PATH ?? "",
      HOME: lab.folder,
      DOCKER_HOST: `unix://${socket}`,
      DOCKER_BUILDKIT: "1",
    };
    const words = ["build", "--no-cache", "--progress=plain", "-t", "buildkit", context];
    const built = spawn(DEBIAN_DOCKER, words, { env, stdio: ["ignore", "ignore", "pipe"] });
    let log = "";
    built.stderr.setEncoding("utf8").on("data", (text: string) => (log += text));
    const [status] = await once(built, "close");
    expect(log).toContain("naming to docker.io/library/buildkit");
    expect(status).toBe(0);
    for (const image of ["classic", "buildkit"]) {
      expect(await engine().docker("run", "--rm", image, "cat", "/twice")).toBe("hello\nhello");
    }
  }, 120_000);

  it("leaves nothing behind of 200 containers whose ports are used", async () => {
    const { api } = engine();
    const forwards = async () => (await askDaemon(api, "GET", "/v1/forwards")).json as unknown[];
    await engine().docker("run", "--rm", "-p", "0:80", "busybox", "true");
    await vi.waitUntil(async () => (await forwards()).length === 0);
    const before = descriptors();
    const round = async (index: number) => {
      const port = 21_000 + index;
      const name = `round-${index}`;
      const udp = index % 4 === 0 ? ["-p", `${port}:53/udp`] : [];
      await engine().docker("run", "-d", "--name", name, "-p", `${port}:80`, ...udp, "busybox", ...WEB);
      await vi.waitUntil(async () => (await page(port).catch(() => null)) === REACHED, { timeout: 20_000 });
      await engine().docker("rm", "-f", name);
    };
    await round(999);
    const memory = await heapInUse();
    for (let index = 0; index < 200; index += 4) {
      await Promise.all([0, 1, 2, 3].map((offset) => round(index + offset)));
    }
    await vi.waitUntil(async () => (await forwards()).length === 0, { timeout: 10_000 });
    await vi.waitUntil(() => descriptors() <= before + 2, { timeout: 10_000 });
    expect((await heapInUse()) - memory).toBeLessThan(16 * 1024 * 1024);
  }, 300_000);

  it("reaches a container's UDP port, and TCP beside it on the same port", async () => {
    const port = 22_500;
    const words = ["-p", `${port}:53/udp`, "-p", `${port}:80/tcp`, "busybox", "sh", "-c"];
    const quoted = UDP_ECHO.map((word) => `'${word.replaceAll("'", "'\\''")}'`).join(" ");
    await withContainer([...words, `${quoted} & ${WEB[2]}`], async () => {
      await vi.waitUntil(async () => (await page(port).catch(() => null)) === REACHED, { timeout: 20_000 });
      const client = createSocket("udp4");
      // What comes before the container listens is lost.
      const sending = setInterval(() => client.send("datagram", port, "127.0.0.1"), 100);
      const [answer] = (await once(client, "message")) as [Buffer];
      clearInterval(sending);
      client.close();
      expect(String(answer)).toBe("datagram");
    });
  });
});
