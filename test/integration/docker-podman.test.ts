/** Podman's Docker-compatible API behind hostd, as the docker command sees it. */
import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import { type IncomingMessage, request } from "node:http";
import { type AddressInfo, createServer } from "node:net";
import { createInterface } from "node:readline";
import { describe, expect, it, vi } from "vitest";
import { ensureDockerClient, ensurePodman } from "../vm/host-packages.ts";
import {
  echoed,
  engineGuestsLack,
  IMAGE,
  isOpen,
  PATIENCE,
  PODMAN,
  UDP_ECHO,
  untilServed,
  useEngine,
  WEB,
} from "./support/engine-guest.ts";
import { freePort } from "./support/gvproxy-process.ts";

const LOOPBACK = "127.0.0.1";
const lack = engineGuestsLack(ensurePodman(), ensureDockerClient());
/** Output on both channels, line by line, and a status. */
const TALK = ["sh", "-c", "for line in one two three; do echo $line; echo not $line >&2; done; exit 3"];

describe.skipIf(lack !== undefined)(`Podman through hostd${lack === undefined ? "" : ` (${lack})`}`, () => {
  const engine = useEngine("docker-podman", PODMAN);
  const docker = (...words: string[]) => engine().docker(...words);
  /** Runs the same twice, through hostd and without. */
  const both = async (words: readonly string[], stdin?: string | Uint8Array) => {
    const outcome = await engine().run(words, stdin);
    expect(outcome).toEqual(await engine().run(words, stdin, engine().direct));
    return outcome;
  };

  it("is what answers", async () => {
    expect(await docker("version", "--format", "{{(index .Server.Components 0).Name}}")).toBe("Podman Engine");
  });

  it("publishes the ports of a container from its start to its end", async () => {
    const [any, local, datagrams] = [await freePort(), await freePort(), await freePort()];
    const flags = [`${any}:80`, `${LOOPBACK}:${local}:80`, `${datagrams}:53/udp`, `${datagrams}:80/tcp`];
    await engine().start(
      "web1",
      flags.flatMap((flag) => ["-p", flag]),
    );
    // Podman has a port as soon as it is asked for, and the container as soon as it runs.
    const ids = [`tcp/:${any}`, `tcp/${LOOPBACK}:${local}`, `tcp/:${datagrams}`, `udp/:${datagrams}`];
    expect(await engine().published()).toEqual(ids.sort());
    for (const port of [any, local, datagrams]) await untilServed(port);
    expect(await docker("port", "web1", "53/udp")).toContain(`:${datagrams}`);
    const shown = JSON.parse(await docker("inspect", "-f", "{{json .NetworkSettings.Ports}}", "web1"));
    expect(shown["80/tcp"]).toContainEqual({ HostIp: LOOPBACK, HostPort: String(local) });
    // It ends by itself.
    await docker("exec", "web1", "touch", "/end");
    await engine().untilPublished();
    expect(await isOpen(any)).toBe(false);
  });

  it("has ports back after a stop and a start, and keeps them through a restart and through signals", async () => {
    const port = await freePort();
    await engine().start("web1", ["-p", `${port}:80`]);
    await docker("stop", "-t", "0", "web1");
    await engine().untilPublished();
    await docker("start", "web1");
    await untilServed(port);
    await docker("start", "web1");
    await untilServed(port);
    await docker("kill", "-s", "HUP", "web1");
    await docker("restart", "-t", "0", "web1");
    await untilServed(port);
    await engine().untilPublished(`tcp/:${port}`);
  });

  it("publishes ports of Podman's choice, which it makes at the creation", async () => {
    await engine().start("web1", ["-p", "80", "-p", "81"]);
    const ports = ["80", "81"].map(async (port) => Number((await docker("port", "web1", port)).split(":").at(-1)));
    const [first, second] = await Promise.all(ports);
    expect(await engine().published()).toEqual([`tcp/:${first}`, `tcp/:${second}`].sort());
    await untilServed(first);
    await docker("restart", "-t", "0", "web1");
    expect(await docker("port", "web1", "80")).toContain(`:${first}`);
    await untilServed(first);
  });

  it("answers for datagrams", async () => {
    const port = await freePort();
    await engine().start("echo", ["-p", `${LOOPBACK}:${port}:53/udp`], UDP_ECHO);
    await echoed(port, "datagram");
  });

  it("refuses a port that a process of the host has, and starts when it is free", async () => {
    const holder = createServer().listen(0, "0.0.0.0");
    await once(holder, "listening");
    const { port } = holder.address() as AddressInfo;
    const { status, stderr } = await engine().run(["run", "-d", "--name", "web1", "-p", `${port}:80`, IMAGE, ...WEB]);
    expect(status).toBe(125);
    expect(stderr).toContain(
      `ports are not available: exposing port TCP 0.0.0.0:${port} -> 127.0.0.1:0: ` +
        `listen tcp4 0.0.0.0:${port}: bind: address already in use`,
    );
    expect(await engine().published()).toEqual([]);
    holder.close();
    await once(holder, "close");
    await docker("start", "web1");
    await untilServed(port);
  });

  it("has a container of its own API published by its events", async () => {
    const port = await freePort();
    const ask = async (path: string, body: object | null, socketPath = engine().socket) => {
      const headers = { "Content-Type": "application/json" };
      const call = request({ socketPath, path: `/v4.0.0/libpod${path}`, method: "POST", headers, agent: false });
      call.end(body === null ? undefined : JSON.stringify(body));
      const [answer] = (await once(call, "response")) as [IncomingMessage];
      return answer.resume().statusCode;
    };
    const portmappings = [{ container_port: 80, host_port: port, protocol: "tcp" }];
    expect(await ask("/containers/create", { name: "own", image: IMAGE, command: WEB, portmappings })).toBe(201);
    expect(await ask("/containers/own/start", null)).toBe(204);
    await untilServed(port);
    // By a client that hostd knows nothing of.
    expect(await ask("/containers/own/stop?timeout=0", null, engine().direct)).toBe(204);
    await engine().untilPublished();
  });

  it("carries attached streams as without hostd: input and its end, outputs, and the status", async () => {
    expect(await both(["run", "-i", "--rm", IMAGE, "cat"], "hi\n")).toEqual({ status: 0, stdout: "hi\n", stderr: "" });
    const content = randomBytes(5_000_000);
    const sum = createHash("sha256").update(content).digest("hex");
    const { stdout } = await both(["run", "-i", "--rm", IMAGE, "sha256sum"], content);
    expect(stdout).toBe(`${sum}  -\n`);
    expect(await both(["run", IMAGE, ...TALK])).toMatchObject({ status: 3, stdout: "one\ntwo\nthree\n" });
  });

  it("carries docker attach: a container that runs gets input, and is heard to its end", async () => {
    await docker("create", "-i", "--name", "box", IMAGE, "sh", "-c", "read line; echo got $line; exit 4");
    await docker("start", "box");
    expect(await engine().run(["attach", "box"], "hello\n")).toMatchObject({ status: 4, stdout: "got hello\n" });
  });

  it("carries docker exec as without hostd", async () => {
    await docker("run", "-d", "--name", "box", IMAGE, "sleep", "1000");
    const content = randomBytes(2_000_000).toString("hex");
    expect(await both(["exec", "-i", "box", "cat"], content)).toEqual({ status: 0, stdout: content, stderr: "" });
    expect(await both(["exec", "box", ...TALK])).toMatchObject({ status: 3, stdout: "one\ntwo\nthree\n" });
    expect(await both(["exec", "box", "no-such-command"])).not.toMatchObject({ status: 0 });
  });

  it("carries docker logs as without hostd, and follows them to the end", async () => {
    await docker(
      "run",
      "--name",
      "box",
      "-d",
      IMAGE,
      "sh",
      "-c",
      "for i in $(seq 1000); do echo line $i; done; echo end >&2",
    );
    await docker("wait", "box");
    const lines = Array.from({ length: 1000 }, (_, at) => `line ${at + 1}\n`).join("");
    expect(await both(["logs", "box"])).toEqual({ status: 0, stdout: lines, stderr: "end\n" });
    expect(await both(["logs", "--tail", "2", "box"])).toMatchObject({ status: 0 });

    await docker("run", "--name", "slow", "-d", IMAGE, "sh", "-c", "for i in 1 2 3 4 5; do echo $i; sleep 0.1; done");
    const followed = engine().spawn(["logs", "-f", "slow"]);
    const heard: string[] = [];
    for await (const line of createInterface({ input: followed.stdout })) heard.push(line);
    expect(heard).toEqual(["1", "2", "3", "4", "5"]);
  });

  it("carries docker events to a client, and others after it is killed", async () => {
    const follow = async () => {
      const child = engine().spawn(["events", "--format", "{{.Action}} {{.Actor.Attributes.name}}"]);
      const lines: string[] = [];
      createInterface({ input: child.stdout }).on("line", (line) => lines.push(line));
      // The command says nothing of when it listens, so something happens until it hears.
      await vi.waitUntil(
        async () => {
          await docker("create", "--rm", "--name", "probe", IMAGE);
          await docker("rm", "probe");
          return lines.some((line) => line.endsWith(" probe"));
        },
        { timeout: PATIENCE, interval: 50 },
      );
      return { child, lines };
    };
    const first = await follow();
    first.child.kill("SIGKILL");
    await once(first.child, "close");
    const { lines } = await follow();
    await docker("run", "--rm", "--name", "short", IMAGE, "true");
    const seen = () => lines.filter((line) => line.endsWith(" short")).map((line) => line.split(" ")[0]);
    await expect
      .poll(seen, { timeout: PATIENCE })
      .toEqual(expect.arrayContaining(["create", "start", "die", "remove"]));
  });

  it("has no ports left after the machine's restart, and those of what is started then", async () => {
    const [one, two] = [await freePort(), await freePort()];
    await engine().start("web1", ["-p", `${one}:80`]);
    await engine().start("web2", ["-p", `${two}:80`]);
    await untilServed(two);
    await engine().restart();
    await engine().untilPublished();
    await docker("start", "web2");
    await untilServed(two);
    await engine().untilPublished(`tcp/:${two}`);
  });
});
