/**
 * What was wrong with others' published ports once, with a real engine behind hostd. The same with an engine that does what
 * a test wants is in packages/docker/src/ports/port-regressions.test.ts.
 */
import { execFile } from "node:child_process";
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { createServer } from "node:http";
import { type AddressInfo, connect } from "node:net";
import { text } from "node:stream/consumers";
import { promisify } from "node:util";
import Docker from "dockerode";
import { describe, expect, it, test, vi } from "vitest";
import { ensureDockerClient, ensureDockerEngine, ensureFirewall, isRoot } from "../vm/host-packages.ts";
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
import { HOSTD_COMMAND } from "./support/hostd-command.ts";

const execFileAsync = promisify(execFile);
const lack = engineGuestsLack(ensureDockerEngine(), ensureDockerClient());
const FAMILIES = ["127.0.0.1", "[::1]"];

describe.skipIf(lack !== undefined)(`with a real engine${lack === undefined ? "" : ` (${lack})`}`, () => {
  const engine = useEngine("docker-regressions", DOCKER);
  const docker = (...words: string[]) => engine().docker(...words);

  /** What the engine says of a container's ports, asked through hostd and without it. */
  const shownPorts = async (name: string): Promise<Record<string, { HostIp: string; HostPort: string }[] | null>> => {
    const words = ["inspect", "-f", "{{json .NetworkSettings.Ports}}", name];
    const shown = await docker(...words);
    expect((await engine().run(words, "", engine().direct)).stdout.trim()).toBe(shown);
    return JSON.parse(shown);
  };
  /** The port of the host that the engine has chosen. */
  const chosen = async (name: string, port: string): Promise<number> => {
    return Number((await shownPorts(name))[port]?.[0].HostPort);
  };

  // docker/for-mac#7722, in Docker Desktop until 4.43.
  it("a start of a container that runs leaves its ports and their connections as they are", async () => {
    const port = await freePort();
    await engine().start("box", ["-p", `${port}:80`], ["nc", "-l", "-p", "80", "-e", "cat"]);
    await expect.poll(() => docker("exec", "box", "netstat", "-ltn"), { timeout: PATIENCE }).toContain(":80 ");
    const open = connect(port, "127.0.0.1");
    open.write("before");
    expect(String(await once(open, "data"))).toBe("before");
    const lines = engine().daemon.log.length;
    await docker("start", "box");
    expect(await engine().published()).toEqual([`tcp/:${port}`]);
    open.write("after");
    expect(String(await once(open, "data"))).toBe("after");
    open.destroy();
    const log = engine().daemon.log.slice(lines);
    expect(log.filter(({ msg }) => msg.includes(`:${port}`))).toEqual([]);
  });

  // A race in Docker Desktop until 4.42.1.
  it("the ports listen when `docker run -p` returns, and lead to the container", async () => {
    const port = await freePort();
    for (let round = 0; round < 5; round++) {
      await engine().start("web", ["-p", `${port}:80`, "-p", "81"]);
      const other = await chosen("web", "81/tcp");
      expect(await engine().published()).toEqual([`tcp/:${port}`, `tcp/:${other}`].sort());
      expect([await isOpen(port), await isOpen(other)]).toEqual([true, true]);
      await untilServed(port);
      await docker("rm", "-f", "web");
      await engine().untilPublished();
    }
  });

  // A deadlock in Docker Desktop until 4.42.1.
  it("containers that are started at once and have each other's ports do not wait for each other for ever", async () => {
    const ports = [await freePort(), await freePort(), await freePort()];
    const flags = [ports, ports.toReversed(), [ports[1]], [ports[2], ports[0]]].map((wanted) => {
      return wanted.flatMap((port) => ["-p", `${port}:80`]);
    });
    const words = flags.map((each) => ["run", "-d", ...each, IMAGE, "sleep", "1000"]);
    const outcomes = await Promise.all(words.map((each) => engine().run(each)));
    expect(outcomes.some(({ status }) => status === 0)).toBe(true);
    for (const { status, stderr } of outcomes) {
      if (status !== 0) expect(stderr).toMatch(/port is already allocated|address already in use/);
    }
    // Who was refused is in nobody's way.
    await engine().removeAll();
    await engine().untilPublished();
    expect(await engine().run(words[1])).toMatchObject({ status: 0 });
  });

  // docker/for-mac#7693 and #7742.
  it("an inspection right after the start has all ports, and those that are only exposed", async () => {
    for (let round = 0; round < 5; round++) {
      await engine().start("web", ["--expose", "8983", "-p", "80", "-p", "127.0.0.1::81"]);
      const { "80/tcp": any, "81/tcp": local, ...rest } = await shownPorts("web");
      expect(any).toContainEqual({ HostIp: "0.0.0.0", HostPort: expect.stringMatching(/^[23][0-9]{4}$/) });
      expect(local).toEqual([{ HostIp: "127.0.0.1", HostPort: expect.stringMatching(/^[23][0-9]{4}$/) }]);
      expect(rest).toEqual({ "8983/tcp": null });
      await docker("rm", "-f", "web");
    }
  });

  // testcontainers/testcontainers-node#818: a client takes the row of its own family, and needs one.
  it("every row that is shown of a port, of either family, is one that can be reached", async () => {
    const port = await freePort();
    await engine().start("web", ["-p", "80", "-p", `${port}:80`]);
    const rows = (await shownPorts("web"))["80/tcp"] ?? [];
    expect(new Set(rows.map(({ HostIp }) => HostIp))).toEqual(new Set(["0.0.0.0", "::"]));
    for (const { HostIp, HostPort } of rows) await untilServed(Number(HostPort), FAMILIES[HostIp === "::" ? 1 : 0]);
    for (const family of FAMILIES) expect(await page(port, family)).toBe(PAGE);
  });

  // Some published UDP ports hung in Docker Desktop until 4.49.
  it("a client's datagrams go on through a restart of the container, and through a stop and a start", async () => {
    const port = await freePort();
    await engine().start("echo", ["-p", `${port}:53/udp`], UDP_ECHO);
    const client = createSocket("udp4");
    const answers = new Set<string>();
    client.on("message", (datagram) => answers.add(String(datagram)));
    const isEchoed = (text: string) => {
      client.send(text, port, "127.0.0.1");
      return answers.has(text);
    };
    const goesOn = (text: string) => vi.waitUntil(() => isEchoed(text), { timeout: PATIENCE, interval: 50 });
    await goesOn("first");
    await docker("restart", "-t", "0", "echo");
    await goesOn("after a restart");
    await docker("stop", "-t", "0", "echo");
    await engine().untilPublished();
    expect(isEchoed("while nobody listens")).toBe(false);
    await docker("start", "echo");
    await goesOn("after a start");
    expect(answers).not.toContain("while nobody listens");
    client.close();
  });

  // UDP port 53 could not be bound in Docker Desktop until 4.36.
  it("port 53 of UDP can be published, with TCP beside it", async () => {
    // An address that nobody else has, so that no name server of this host is in the way.
    const address = "127.53.53.53";
    await engine().start("echo", ["-p", `${address}:53:53/udp`, "-p", `${address}:53:53/tcp`], UDP_ECHO);
    expect(await engine().published()).toEqual([`tcp/${address}:53`, `udp/${address}:53`]);
    await echoed(53, "datagram", address);
  });

  // docker/for-mac#5235.
  it("ports are back after a stop and a start", async () => {
    const port = await freePort();
    await engine().start("web", ["-p", `${port}:80`, "-p", "80"]);
    for (let round = 0; round < 3; round++) {
      await docker("stop", "-t", "0", "web");
      await engine().untilPublished();
      expect(await isOpen(port)).toBe(false);
      await docker("start", "web");
      await untilServed(port);
      // `-p 80` may lead from another port than before.
      for (const { HostPort } of (await shownPorts("web"))["80/tcp"] ?? []) await untilServed(Number(HostPort));
    }
  });

  // docker/for-mac#5521.
  it("ports are back after the engine's restart, which starts containers by their policy", async () => {
    const [always, never] = [await freePort(), await freePort()];
    await engine().start("always", ["--restart", "always", "-p", `${always}:80`, "-p", "80"]);
    await engine().start("never", ["-p", `${never}:80`]);
    await untilServed(never);
    await engine().restart();
    await untilServed(always);
    for (const { HostPort } of (await shownPorts("always"))["80/tcp"] ?? []) await untilServed(Number(HostPort));
    await expect.poll(() => isOpen(never), { timeout: PATIENCE }).toBe(false);
  });

  // docker/for-mac#5301.
  it("ports are back after a network is disconnected and connected, with those chosen anew", async () => {
    const port = await freePort();
    await engine().start("web", ["-p", `${port}:80`, "-p", "80"]);
    await untilServed(port);
    await docker("network", "create", "other");
    for (const network of ["bridge", "other"]) {
      await docker("network", "disconnect", "bridge", "web");
      await engine().untilPublished();
      await docker("network", "connect", network, "web");
      await untilServed(port);
      for (const { HostPort } of (await shownPorts("web"))["80/tcp"] ?? []) await untilServed(Number(HostPort));
    }
    await docker("rm", "-f", "web");
    await docker("network", "rm", "other");
  });

  // docker/desktop-feedback#338.
  it("several ports that are any at once are as many, and all can be reached", async () => {
    const client = new Docker({ socketPath: engine().socket });
    const any = [{ HostIp: "0.0.0.0", HostPort: "0" }];
    const wanted = ["80/tcp", "81/tcp", "82/tcp", "83/tcp", "22/tcp", "3838/udp", "51111/tcp"];
    for (let round = 0; round < 5; round++) {
      const container = await client.createContainer({
        Image: IMAGE,
        Cmd: ["sh", "-c", `mkdir /www; for port in 81 82 83 22 51111; do httpd -p $port -h /www; done; ${WEB[2]}`],
        ExposedPorts: Object.fromEntries(wanted.map((port) => [port, {}])),
        HostConfig: { PortBindings: Object.fromEntries(wanted.map((port) => [port, any])) },
      });
      await container.start();
      const { NetworkSettings } = await container.inspect();
      const ports = wanted.map((port) => Number(NetworkSettings.Ports[port]?.[0]?.HostPort));
      expect(new Set(ports).size).toBe(wanted.length);
      const ids = wanted.map((port, at) => `${port.slice(-3)}/0.0.0.0:${ports[at]}`);
      expect(await engine().published()).toEqual(ids.sort());
      for (const [at, port] of ports.entries()) if (wanted[at] !== "3838/udp") await untilServed(port);
      await container.remove({ force: true });
      await engine().untilPublished();
    }
  });

  // docker/for-mac#7276: editors forward ports by what they run in the container.
  it("connections that editors forward through `docker exec` end each way on their own", async () => {
    await engine().start("web", []);
    await expect.poll(() => docker("exec", "web", "netstat", "-ltn"), { timeout: PATIENCE }).toContain(":80 ");
    const asked = Array.from({ length: 10 }, async () => {
      const child = engine().spawn(["exec", "-i", "web", "nc", "127.0.0.1", "80"]);
      // All is sent, and then it listens for the answer.
      child.stdin.end("GET / HTTP/1.0\r\n\r\n");
      return await text(child.stdout);
    });
    for (const answer of await Promise.all(asked))
      expect(answer).toMatch(new RegExp(`^HTTP/1\\.[01] 200 OK.*${PAGE}\n$`, "s"));
  });

  // docker/for-mac#7332.
  it("host.docker.internal has no IPv6 address, and is reached by the one that it has", async () => {
    const server = createServer((_, response) => response.end("this host"));
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    const { port } = server.address() as AddressInfo;
    await engine().start("box", [], ["sleep", "1000"]);
    const lookUp = async (type: string) => {
      const { stdout } = await engine().run(["exec", "box", "nslookup", `-type=${type}`, "host.docker.internal"]);
      return stdout.slice(stdout.indexOf("\n\n"));
    };
    expect(await lookUp("A")).toContain("Address: 192.168.65.254");
    expect(await lookUp("AAAA")).not.toContain("Address");
    const url = `http://host.docker.internal:${port}/`;
    expect(await docker("exec", "box", "wget", "-q", "-O", "-", url)).toBe("this host");
    server.close();
  });

  // jriguera/container-images, container-network: any signal took the rules of a container away.
  it("`docker kill -s HUP` ends no ports", async () => {
    const port = await freePort();
    await engine().start("web", ["-p", `${port}:80`]);
    await untilServed(port);
    await docker("kill", "-s", "HUP", "web");
    // What comes of it has come when the next event has been seen.
    await engine().start("other", ["-p", "80"]);
    expect(await isOpen(port)).toBe(true);
  });
});

const noNamespace = isRoot() ? ensureFirewall() : "it takes root";

// Docker Desktop from 4.50 on moves its own subnet out of the way.
test.skipIf(noNamespace !== undefined)(
  `a subnet that the host has a route to is told at the start, with a free one${noNamespace === undefined ? "" : ` (${noNamespace})`}`,
  async () => {
    const script = 'ip link set lo up && ip route add 192.168.65.0/24 dev lo && exec "$@"';
    const command = [process.execPath, HOSTD_COMMAND, "up", "--print-config"];
    const { stderr } = await execFileAsync("unshare", ["-n", "sh", "-c", script, "sh", ...command]);
    expect(stderr).toContain(
      "hostd: warning: subnet 192.168.65.0/24 overlaps the host's route 192.168.65.0/24 on lo: " +
        'choose another with --subnet or "subnet:" (for example 192.168.127.0/24)',
    );
  },
);
