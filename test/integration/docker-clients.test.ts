/** Clients of the Docker API that others have written, with a real engine behind hostd. */
import { execFile, spawnSync } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import { mkdir, writeFile } from "node:fs/promises";
import { type AddressInfo, createServer } from "node:net";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { PassThrough, Readable } from "node:stream";
import { buffer, text } from "node:stream/consumers";
import { promisify } from "node:util";
import Docker, { type Container, type ContainerCreateOptions } from "dockerode";
import type { GenericContainer, StartedTestContainer } from "testcontainers";
import { afterEach, beforeAll, describe, expect, it, vi } from "vitest";
import { ensureDockerClient, ensureDockerCompose, ensureDockerEngine } from "../vm/host-packages.ts";
import {
  DOCKER,
  echoed,
  engineGuestsLack,
  IMAGE,
  isOpen,
  PAGE,
  PATIENCE,
  page,
  UDP_ECHO,
  untilServed,
  useEngine,
  WEB,
} from "./support/engine-guest.ts";
import { freePort } from "./support/gvproxy-process.ts";

const execFileAsync = promisify(execFile);
const LOOPBACK = "127.0.0.1";
const lack = engineGuestsLack(ensureDockerEngine(), ensureDockerClient(), ensureDockerCompose());

/** An archive with one file. */
async function archiveOf(folder: string, name: string, content: Uint8Array | string): Promise<Buffer> {
  await mkdir(folder, { recursive: true });
  await writeFile(join(folder, name), content);
  const { stdout } = spawnSync("tar", ["-C", folder, "-c", name], { maxBuffer: 100_000_000 });
  return stdout;
}

describe.skipIf(lack !== undefined)(`through hostd${lack === undefined ? "" : ` (${lack})`}`, () => {
  const engine = useEngine("docker-clients", DOCKER);
  describe("dockerode", () => {
    let docker: Docker;
    beforeAll(() => {
      docker = new Docker({ socketPath: engine().socket });
    });

    const create = (options: ContainerCreateOptions): Promise<Container> => {
      return docker.createContainer({ Image: IMAGE, ...options });
    };
    /** A container that runs until it is killed. */
    const start = async (command: string[] = ["sleep", "1000"]): Promise<Container> => {
      const container = await create({ Cmd: command });
      await container.start();
      return container;
    };
    /** Both outputs of a stream, apart, to its end. */
    const outputs = async (stream: NodeJS.ReadableStream): Promise<{ stdout: Buffer; stderr: string }> => {
      const [stdout, stderr] = [new PassThrough(), new PassThrough()];
      docker.modem.demuxStream(stream, stdout, stderr);
      stream.on("end", () => {
        stdout.end();
        stderr.end();
      });
      const [out, err] = await Promise.all([buffer(stdout), text(stderr)]);
      return { stdout: out, stderr: err };
    };

    it("attaches before the start, and sends megabytes and their end while it is sent as many", async () => {
      const container = await create({
        Cmd: ["sh", "-c", "exec 3>&1; tee /dev/fd/3 | sha256sum >&2; exit 7"],
        AttachStdin: true,
        OpenStdin: true,
        StdinOnce: true,
      });
      const stream = await container.attach({ stream: true, hijack: true, stdin: true, stdout: true, stderr: true });
      const ended = container.wait({ condition: "next-exit" });
      await container.start();
      const content = randomBytes(10_000_000);
      stream.end(content);
      const { stdout, stderr } = await outputs(stream);
      expect(stdout.equals(content)).toBe(true);
      expect(stderr).toBe(`${createHash("sha256").update(content).digest("hex")}  -\n`);
      expect(await ended).toMatchObject({ StatusCode: 7 });
    });

    it("attaches to a terminal and changes its size", async () => {
      const container = await create({ Cmd: ["sh"], Tty: true, OpenStdin: true, AttachStdin: true });
      const stream = await container.attach({ stream: true, hijack: true, stdin: true, stdout: true, stderr: true });
      await container.start();
      let seen = "";
      stream.setEncoding("utf8").on("data", (piece: string) => (seen += piece));
      const until = (text: string) => vi.waitUntil(() => seen.includes(text), { timeout: PATIENCE, interval: 10 });
      await container.resize({ w: 123, h: 45 });
      stream.write("stty size\n");
      await until("45 123");
      stream.write("exit 4\n");
      await once(stream, "end");
      expect(await container.wait()).toMatchObject({ StatusCode: 4 });
    });

    it("runs commands with input in a container that runs, and hears both outputs and the status", async () => {
      const container = await start();
      const exec = await container.exec({
        Cmd: ["sh", "-c", "cat; echo 'that was all' >&2; exit 3"],
        AttachStdin: true,
        AttachStdout: true,
        AttachStderr: true,
      });
      const stream = await exec.start({ hijack: true, stdin: true });
      const content = randomBytes(1_000_000);
      stream.end(content);
      const { stdout, stderr } = await outputs(stream);
      expect(stdout.equals(content)).toBe(true);
      expect(stderr).toBe("that was all\n");
      expect(await exec.inspect()).toMatchObject({ Running: false, ExitCode: 3 });

      // Without the upgrade the answer is a stream without a length.
      const plain = await container.exec({ Cmd: ["echo", "hello"], AttachStdout: true });
      expect(String((await outputs(await plain.start({}))).stdout)).toBe("hello\n");
    });

    it("reads logs, and follows them to the end of the container", async () => {
      const container = await create({
        Cmd: ["sh", "-c", "echo one; echo two >&2; read line; echo three"],
        OpenStdin: true,
      });
      const stdin = await container.attach({ stream: true, hijack: true, stdin: true });
      await container.start();
      const options = { stdout: true, stderr: true };
      const followed = await container.logs({ ...options, follow: true });
      await once(followed, "readable");
      stdin.end("go on\n");
      expect(await outputs(followed)).toEqual({ stdout: Buffer.from("one\nthree\n"), stderr: "two\n" });
      await container.wait();
      const all = Readable.from([await container.logs(options)]);
      expect(await outputs(all)).toEqual({ stdout: Buffer.from("one\nthree\n"), stderr: "two\n" });
    });

    it("follows events, and the engine hears when it does not any more", async () => {
      const listeners = async () => ((await docker.info()) as { NEventsListener: number }).NEventsListener;
      const before = await listeners();
      const container = await create({ Cmd: ["true"] });
      const stream = await docker.getEvents({ filters: { container: [container.id], type: ["container"] } });
      expect(await listeners()).toBe(before + 1);
      const lines = createInterface({ input: stream as Readable });
      const actions: string[] = [];
      lines.on("line", (line) => actions.push(JSON.parse(line).Action));
      await container.start();
      await container.wait();
      await container.remove();
      await expect.poll(() => actions, { timeout: PATIENCE }).toEqual(["start", "die", "destroy"]);
      (stream as Readable).destroy();
      await expect.poll(listeners, { timeout: PATIENCE }).toBe(before);
    });

    it("is sent statistics for as long as it wants them", async () => {
      const container = await start();
      const stream = (await container.stats({ stream: true })) as Readable;
      const lines: { id: string; read: string }[] = [];
      for await (const line of createInterface({ input: stream })) if (lines.push(JSON.parse(line)) === 2) break;
      stream.destroy();
      expect(lines.map(({ id }) => id)).toEqual([container.id, container.id]);
      expect(lines[0].read).not.toBe(lines[1].read);
      expect(await container.stats({ stream: false })).toMatchObject({ id: container.id });
    });

    it("puts archives into a container and gets them from there", async () => {
      const container = await start();
      const content = randomBytes(5_000_000);
      const folder = join(engine().lab.folder, "archive");
      const archive = await archiveOf(folder, "file", content);
      // One with a length, and one in chunks.
      await container.putArchive(archive, { path: "/" });
      const pieces = Array.from({ length: 100 }, (_, at) => archive.subarray(at * 60_000, (at + 1) * 60_000));
      await container.putArchive(Readable.from(pieces, { objectMode: false }), { path: "/bin" });
      for (const path of ["/file", "/bin/file"]) {
        const back = await buffer((await container.getArchive({ path })) as Readable);
        const { stdout } = spawnSync("tar", ["-x", "-O"], { input: back, maxBuffer: 100_000_000 });
        expect(stdout.equals(content), path).toBe(true);
        const { "x-docker-container-path-stat": stat } = (await container.infoArchive({ path })).headers;
        expect(JSON.parse(Buffer.from(stat, "base64").toString())).toMatchObject({ name: "file", size: 5_000_000 });
      }
    });

    it("builds an image and follows its progress, and hears why one cannot be built", async () => {
      const progress = async (dockerfile: string) => {
        const context = await archiveOf(join(engine().lab.folder, "context"), "Dockerfile", dockerfile);
        const stream = await docker.buildImage(Readable.from([context]), { t: "built" });
        return await new Promise<{ stream?: string }[]>((resolve, reject) => {
          docker.modem.followProgress(stream, (error, steps) => (error === null ? resolve(steps) : reject(error)));
        });
      };
      const steps = await progress(`FROM ${IMAGE}\nRUN echo built >/what\nCMD ["cat", "/what"]\n`);
      const said = steps.map(({ stream = "" }) => stream).join("");
      expect(said).toContain("Step 2/3 : RUN echo built >/what");
      expect(said).toContain("Successfully tagged built:latest");
      const [stdout, stderr] = [new PassThrough(), new PassThrough()];
      const [{ StatusCode }] = await docker.run("built", [], [stdout, stderr], { Tty: false });
      expect(StatusCode).toBe(0);
      expect(String(stdout.read())).toBe("built\n");
      const failed = await progress(`FROM ${IMAGE}\nRUN exit 9\n`);
      expect(failed.at(-1)).toMatchObject({ error: "The command '/bin/sh -c exit 9' returned a non-zero code: 9" });
    });

    it("publishes ports, and has the error of a start whose port is taken", async () => {
      const holder = createServer().listen(0, "0.0.0.0");
      await once(holder, "listening");
      const { port } = holder.address() as AddressInfo;
      const container = await create({
        Cmd: WEB,
        ExposedPorts: { "80/tcp": {} },
        HostConfig: { PortBindings: { "80/tcp": [{ HostPort: String(port) }] } },
      });
      await expect(container.start()).rejects.toMatchObject({
        statusCode: 500,
        json: {
          message:
            `ports are not available: exposing port TCP 0.0.0.0:${port} -> 127.0.0.1:0: ` +
            `listen tcp4 0.0.0.0:${port}: bind: address already in use`,
        },
      });
      holder.close();
      await once(holder, "close");
      await container.start();
      expect(await engine().published()).toEqual([`tcp/:${port}`]);
      await untilServed(port);
      // A start of what runs already, which the engine answers with 304.
      await expect(container.start()).rejects.toMatchObject({ statusCode: 304 });
      expect(await page(port)).toBe(PAGE);
      const { NetworkSettings } = await container.inspect();
      expect(NetworkSettings.Ports["80/tcp"][0]).toEqual({ HostIp: "0.0.0.0", HostPort: String(port) });
    });
  });

  describe("testcontainers", () => {
    let library: typeof import("testcontainers");
    const started: StartedTestContainer[] = [];
    /** There is no registry. */
    const container = (command: string[] = WEB): GenericContainer => {
      return new library.GenericContainer(IMAGE)
        .withPullPolicy({ shouldPull: () => false })
        .withStartupTimeout(20_000)
        .withCommand(command);
    };

    beforeAll(async () => {
      const variables = {
        DOCKER_HOST: `unix://${engine().socket}`,
        DOCKER_CONFIG: join(engine().lab.folder, "config"),
        HOME: engine().lab.folder,
        TESTCONTAINERS_RYUK_DISABLED: "true",
        // In a container it would take the gateway of a network for where ports are.
        TESTCONTAINERS_HOST_OVERRIDE: "localhost",
      };
      for (const [name, value] of Object.entries(variables)) vi.stubEnv(name, value);
      library = await import("testcontainers");
      return () => vi.unstubAllEnvs();
    });
    afterEach(async () => {
      for (const one of started.splice(0)) await one.stop({ timeout: 0 });
    });

    const start = async (wanted: GenericContainer): Promise<StartedTestContainer> => {
      const running = await wanted.start();
      started.push(running);
      return running;
    };

    it("finds the ports of the host that lead to those that are exposed, and waits until they listen", async () => {
      const web = await start(
        container(["sh", "-c", `sleep 0.3; httpd -p 81 -h /bin; ${WEB[2]}`])
          .withExposedPorts(80, 81, "53/udp")
          .withWaitStrategy(library.Wait.forListeningPorts()),
      );
      expect(web.getHost()).toBe("localhost");
      const [first, second, third] = [web.getMappedPort(80), web.getMappedPort(81), web.getMappedPort("53/udp")];
      expect(await page(first, "localhost")).toBe(PAGE);
      expect((await fetch(`http://localhost:${second}/busybox`)).status).toBe(200);
      expect(await engine().published()).toEqual([`tcp/:${first}`, `tcp/:${second}`, `udp/:${third}`].sort());
      await web.stop({ timeout: 0 });
      started.length = 0;
      expect(await isOpen(first)).toBe(false);
    });

    it("waits for a line of the log, for a page, and for a command that succeeds", async () => {
      const { Wait } = library;
      const said = await start(
        container()
          .withWaitStrategy(Wait.forLogMessage(/^ready/))
          .withExposedPorts(80),
      );
      await untilServed(said.getMappedPort(80));
      const served = await start(
        container(["sh", "-c", `sleep 0.3; ${WEB[2]}`])
          .withWaitStrategy(Wait.forHttp("/index.html", 80).forStatusCode(200))
          .withExposedPorts(80),
      );
      expect(await page(served.getMappedPort(80))).toBe(PAGE);
      await start(container().withWaitStrategy(Wait.forSuccessfulCommand("test -e /www/index.html")));
      await expect(
        container(["false"]).withWaitStrategy(Wait.forLogMessage("never", 1)).withStartupTimeout(5000).start(),
      ).rejects.toThrow("never");
    });

    it("waits until a container is healthy, and until it has ended", async () => {
      const { Wait } = library;
      const health = { test: ["CMD-SHELL", "wget -q -O - http://127.0.0.1/"] as ["CMD-SHELL", string] };
      await start(
        container()
          .withHealthCheck({ ...health, interval: 200, retries: 50 })
          .withWaitStrategy(Wait.forHealthCheck()),
      );
      const done = await start(container(["echo", "done"]).withWaitStrategy(Wait.forOneShotStartup()));
      expect(await text(await done.logs())).toBe("done\n");
    });

    it("runs commands, and copies files both ways", async () => {
      const web = await start(
        container()
          .withExposedPorts(80)
          .withCopyContentToContainer([{ content: "given at the start", target: "/given" }]),
      );
      expect(await web.exec(["cat", "/given"])).toMatchObject({ exitCode: 0, output: "given at the start" });
      expect(await web.exec(["sh", "-c", "echo out; echo err >&2; exit 5"])).toMatchObject({
        exitCode: 5,
        stdout: "out\n",
        stderr: "err\n",
      });
      const content = randomBytes(3_000_000);
      await web.copyContentToContainer([{ content, target: "/www/large" }]);
      const answer = await fetch(`http://localhost:${web.getMappedPort(80)}/large`);
      expect(Buffer.from(await answer.arrayBuffer()).equals(content)).toBe(true);
      const archive = await buffer((await web.copyArchiveFromContainer("/www/large")) as Readable);
      const { stdout } = spawnSync("tar", ["-x", "-O"], { input: archive, maxBuffer: 100_000_000 });
      expect(stdout.equals(content)).toBe(true);
    });

    it("has the port that it asks for, and finds those of a restart", async () => {
      const port = await freePort();
      const command = ["sh", "-c", `httpd -p 81 -h /bin; ${WEB[2]}`];
      const web = await start(container(command).withExposedPorts({ container: 80, host: port }, 81));
      expect(web.getMappedPort(80)).toBe(port);
      await untilServed(port);
      await web.restart({ timeout: 0 });
      expect(web.getMappedPort(80)).toBe(port);
      await untilServed(port);
      expect(await engine().published()).toEqual([`tcp/:${port}`, `tcp/:${web.getMappedPort(81)}`].sort());
    });

    it("reaches containers of networks that it makes, by their names and by the ports of the host", async () => {
      const network = await new library.Network().start();
      const web = await start(container().withNetwork(network).withNetworkAliases("web").withExposedPorts(80));
      expect(await page(web.getMappedPort(80))).toBe(PAGE);
      const client = await start(container(["sleep", "1000"]).withNetwork(network));
      expect(await client.exec(["wget", "-q", "-O", "-", "http://web/"])).toMatchObject({ output: `${PAGE}\n` });
      for (const one of started.splice(0)) await one.stop({ timeout: 0 });
      await network.stop();
    });

    it("reaches UDP in a container", async () => {
      const echo = await start(container(UDP_ECHO).withExposedPorts("53/udp"));
      await echoed(echo.getMappedPort("53/udp"), "datagram");
    });
  });

  describe("docker-compose in Python", () => {
    it("brings services up and down, and shows their ports", async () => {
      const folder = join(engine().lab.folder, "project");
      const port = await freePort();
      await mkdir(folder);
      const service = { image: IMAGE, command: WEB };
      // JSON is YAML.
      await writeFile(
        join(folder, "docker-compose.yml"),
        JSON.stringify({
          version: "3",
          services: {
            web: { ...service, ports: [`${LOOPBACK}:${port}:80`] },
            many: { ...service, ports: ["80"], depends_on: ["web"] },
          },
        }),
      );
      const env = { PATH: process.env.PATH, HOME: folder, DOCKER_HOST: `unix://${engine().socket}` };
      const compose = async (...args: string[]) => {
        const { stdout } = await execFileAsync("docker-compose", ["--no-ansi", ...args], { cwd: folder, env });
        return stdout.trim();
      };
      await compose("up", "-d", "--scale", "many=2");
      expect(await compose("port", "web", "80")).toBe(`${LOOPBACK}:${port}`);
      const chosen: number[] = [];
      for (const index of ["1", "2"]) {
        chosen.push(Number((await compose("port", "--index", index, "many", "80")).split(":").at(-1)));
      }
      for (const one of [port, ...chosen]) await untilServed(one);
      expect(await engine().published()).toEqual(
        [`tcp/${LOOPBACK}:${port}`, ...chosen.map((one) => `tcp/:${one}`)].sort(),
      );
      const running = await compose("ps", "--services", "--filter", "status=running");
      expect(running.split("\n").sort()).toEqual(["many", "web"]);
      expect(await compose("exec", "-T", "web", "cat", "/www/index.html")).toBe(PAGE);
      expect(await compose("logs", "--no-color", "web")).toContain("ready");
      await compose("down", "-t", "0");
      expect(await engine().docker("ps", "-aq")).toBe("");
      expect(await isOpen(port)).toBe(false);
    });
  });
});
