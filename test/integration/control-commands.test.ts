import { type ChildProcessByStdio, execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { readFile, rm, writeFile } from "node:fs/promises";
import { connect, createServer, type Socket } from "node:net";
import { join } from "node:path";
import type { Readable, Writable } from "node:stream";
import { fileURLToPath } from "node:url";
import { stripVTControlCharacters } from "node:util";
import type { EmbeddedGuest } from "@hostd/guest";
import { describe, expect, it } from "vitest";
import { closed, serveTcp } from "./support/host-servers.ts";
import { GATEWAY, HOST, inLab, type Lab } from "./support/lab.ts";

const COMMAND = fileURLToPath(new URL("../../apps/hostd/bin/hostd.mjs", import.meta.url));

/** To the other screen of a terminal, without a cursor, and back (xterm's control sequences). */
const ENTER = "\x1b[?1049h\x1b[?25l";
const LEAVE = "\x1b[?25h\x1b[?1049l";

interface Outcome {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** The `hostd` command on the control API of a lab's daemon. */
class Commands {
  readonly api: string;
  readonly #lab: Lab;

  constructor(lab: Lab) {
    this.#lab = lab;
    this.api = join(lab.folder, "api.sock");
  }

  /** Runs a command to its end. */
  async run(...args: string[]): Promise<Outcome> {
    return await new Promise((resolve, reject) => {
      execFile(process.execPath, this.#line(args), { cwd: this.#lab.folder }, (error, stdout, stderr) => {
        const code = error === null ? 0 : error.code;
        if (typeof code === "number") resolve({ code, stdout, stderr });
        else reject(error);
      });
    });
  }

  /** The lines of what a command prints, with one space between columns; it has to succeed. */
  async lines(...args: string[]): Promise<string[]> {
    const outcome = await this.run(...args);
    expect(outcome).toMatchObject({ code: 0, stderr: "" });
    return outcome.stdout
      .trimEnd()
      .split("\n")
      .map((line) => line.replaceAll(/ +/g, " "));
  }

  /** What a command prints with --json. */
  async json(...args: string[]) {
    const { code, stdout, stderr } = await this.run(...args, "--json");
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    return JSON.parse(stdout);
  }

  /** Starts a command that goes on. */
  start(...args: string[]): Running {
    return new Running(this.#lab, process.execPath, this.#line(args));
  }

  /** Starts a command on a terminal of 80 columns and 10 rows. */
  startOnTerminal(...args: string[]): Running {
    const line = [process.execPath, ...this.#line(args)].map((word) => `'${word}'`).join(" ");
    const command = `stty cols 80 rows 10; exec ${line}`;
    return new Running(this.#lab, "script", ["--quiet", "--return", "--flush", "--command", command, "/dev/null"]);
  }

  #line(args: readonly string[]): string[] {
    return [COMMAND, ...args, "--api", `unix://${this.api}`];
  }
}

/** A process and what it has printed. */
class Running {
  readonly #child: ChildProcessByStdio<Writable, Readable, Readable>;
  readonly #ended: Promise<number | null>;
  output = "";
  errors = "";

  constructor(lab: Lab, command: string, args: readonly string[]) {
    const env = { PATH: process.env.PATH, HOME: lab.folder, XDG_RUNTIME_DIR: lab.folder, TERM: "xterm" };
    this.#child = spawn(command, args, { cwd: lab.folder, env, stdio: ["pipe", "pipe", "pipe"] });
    this.#child.stdout.setEncoding("utf8").on("data", (text: string) => {
      this.output += text;
    });
    this.#child.stderr.setEncoding("utf8").on("data", (text: string) => {
      this.errors += text;
    });
    this.#ended = once(this.#child, "close").then(([code]) => (typeof code === "number" ? code : null));
    lab.defer(() => this.#child.kill("SIGKILL"));
  }

  /** Waits until something has been printed. */
  async until(isThere: (output: string) => boolean): Promise<void> {
    while (!isThere(this.output)) {
      const data = once(this.#child.stdout, "data");
      const ended = this.#ended.then((code) => {
        if (!isThere(this.output)) throw new Error(`ended with code ${code}: ${this.output}${this.errors}`);
      });
      await Promise.race([data, ended]);
    }
  }

  type(text: string): void {
    this.#child.stdin.write(text);
  }

  kill(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }

  /** The exit code. */
  async exit(): Promise<number | null> {
    return await this.#ended;
  }
}

/** A daemon with a control API, and a guest that serves port 80. */
async function startLab(lab: Lab, settings: Parameters<Lab["start"]>[0] = {}) {
  const commands = new Commands(lab);
  const daemon = await lab.start({ api: commands.api, ...settings });
  const guest = await lab.boot(1);
  guest.listen(80, (stream) => {
    stream.on("error", () => {});
    stream.write("served");
    stream.on("data", (data) => stream.write(data));
  });
  return { commands, daemon, guest };
}

/** Connects to a port or socket of the host, and waits for the guest's first words. */
async function connected(lab: Lab, to: number | string): Promise<Socket> {
  const socket = typeof to === "number" ? connect({ port: to, host: "127.0.0.1" }) : connect({ path: to });
  socket.on("error", () => {});
  lab.defer(() => socket.destroy());
  const [data] = await once(socket, "data");
  expect(String(data)).toBe("served");
  return socket;
}

/** The port of the host that a line of `hostd ports add` names. */
function portOf(line: string): number {
  return Number(/:(\d+) leads to /.exec(line)?.[1]);
}

/** A port of the host's loopback that is free, and the next one, which is not. */
async function neighbors(lab: Lab): Promise<{ free: number; taken: number }> {
  for (;;) {
    const first = createServer().listen(0, "127.0.0.1");
    await once(first, "listening");
    const address = first.address();
    const free = typeof address === "object" && address !== null ? address.port : 0;
    const next = createServer();
    const isTaken = await new Promise<boolean>((resolve) => {
      next.once("error", () => resolve(false));
      if (free < 65_535) next.listen(free + 1, "127.0.0.1", () => resolve(true));
      else resolve(false);
    });
    await new Promise((resolve) => first.close(resolve));
    if (!isTaken) continue;
    lab.defer(() => next.close());
    return { free, taken: free + 1 };
  }
}

/** Has a guest connect to a server of the host, and hands out its end when data has come. */
async function connectOut(lab: Lab, guest: EmbeddedGuest) {
  const server = await serveTcp(lab, (socket) => socket.resume().write("hello"));
  const stream = await guest.connect(HOST, server.port);
  // It may be there until the guest goes.
  stream.on("error", () => {});
  await once(stream, "data");
  return { server, stream };
}

describe("hostd ps, leases and stats", () => {
  it("show the VMs, what DHCP gave them, and what they did", () =>
    inLab(async (lab) => {
      const { commands, guest } = await startLab(lab);
      await guest.ping(GATEWAY);
      const vm = `unix://${lab.socket}`;
      const [titles, line, ...more] = await commands.lines("ps");
      expect(titles).toBe("NAME ADDRESS MAC UP FLOWS FROM VM TO VM");
      expect(line).toMatch(`${vm} 192.168.65.3 02:00:00:00:01:01 `);
      expect(more).toEqual([]);
      expect(await commands.json("ps")).toMatchObject([{ name: vm, address: "192.168.65.3", mtu: 1500 }]);

      expect(await commands.lines("leases")).toEqual([
        "ADDRESS MAC HOST NAME KIND EXPIRES VM",
        expect.stringMatching(`192.168.65.3 02:00:00:00:01:01 .* dynamic in 23h59m ${vm}`),
      ]);
      expect(await commands.json("leases")).toMatchObject([{ address: "192.168.65.3", isActive: true, vm }]);

      expect(await commands.lines("stats")).toEqual(
        expect.arrayContaining([
          expect.stringMatching(`^hostd, process ${process.pid}, up `),
          " VMs 1",
          "All VMs since hostd was started",
          " LINK BYTES FRAMES TCP UDP ICMP ARP",
        ]),
      );
      expect((await commands.lines("stats", "--vm", vm))[0]).toBe(`${vm} since it was attached`);
      const { vms, totals } = await commands.json("stats");
      expect(totals.stack.icmpReceived).toBe(1);
      expect(await commands.json("stats", "--vm", vm)).toMatchObject({ name: vm, dns: vms[0].dns });
      expect(await commands.run("stats", "--vm", "vm")).toEqual({
        code: 1,
        stdout: "",
        stderr: `hostd: no VM vm is attached; there are ${vm}\n`,
      });
    }));

  it("say that no VM is there", () =>
    inLab(async (lab) => {
      const commands = new Commands(lab);
      await lab.start({ api: commands.api });
      expect(await commands.lines("ps")).toEqual(["No VM is attached."]);
      expect(await commands.lines("leases")).toEqual(["No lease was given yet."]);
      expect(await commands.lines("flows")).toEqual(["There are no flows."]);
      expect(await commands.json("ps")).toEqual([]);
    }));
});

describe("hostd ports", () => {
  it("opens ports, ranges and sockets that lead into the VM, lists and closes them", () =>
    inLab(async (lab) => {
      const { commands, guest } = await startLab(lab);
      expect(await commands.lines("ports")).toEqual(['No port leads into a VM; "hostd ports add 8080:80" opens one.']);
      const path = join(lab.folder, "web.sock");
      const [tcp, udp, unix] = await commands.lines("ports", "add", "0:80", "0:7/udp", `unix://${path}:80`);
      expect(tcp).toMatch(/^tcp\/127\.0\.0\.1:\d+ leads to vm:80$/);
      expect(udp).toMatch(/^udp\/127\.0\.0\.1:\d+ leads to vm:7$/);
      expect(unix).toBe(`unix/${path} leads to vm:80`);
      const port = portOf(tcp);
      const kept = await connected(lab, port);
      await connected(lab, path);

      expect(await commands.lines("ports")).toEqual([
        "ID LEADS TO ORIGIN STATE OPEN SERVED NOT SERVED",
        `tcp/127.0.0.1:${port} vm:80 api listening 1 1 0`,
        `udp/127.0.0.1:${portOf(udp)} vm:7 api listening 0 - -`,
        `unix/${path} vm:80 api listening 1 1 0`,
      ]);
      expect(await commands.json("ports")).toMatchObject([
        { id: `tcp/127.0.0.1:${port}`, listen: `127.0.0.1:${port}`, to: "80", statistics: { open: 1 } },
        { protocol: "udp" },
        { listen: `unix://${path}` },
      ]);

      expect(await commands.lines("ports", "rm", String(port), `${portOf(udp)}/udp`)).toEqual([
        `tcp/127.0.0.1:${port} is closed`,
        `udp/127.0.0.1:${portOf(udp)} is closed`,
      ]);
      const refused = connect({ port, host: "127.0.0.1" });
      expect(await once(refused, "error")).toMatchObject([{ code: "ECONNREFUSED" }]);
      kept.write("goes on");
      expect(String((await once(kept, "data"))[0])).toBe("goes on");

      const other = await connected(lab, path);
      expect(await commands.json("ports", "rm", "--kill", path)).toEqual([{ removed: `unix/${path}` }]);
      await closed(other);
      expect(await commands.json("ports")).toEqual([]);
      await guest.ping(GATEWAY);
    }));

  it("opens a range, all of it or nothing", () =>
    inLab(async (lab) => {
      const { commands } = await startLab(lab);
      const { free, taken } = await neighbors(lab);
      const failed = await commands.run("ports", "add", `${free}-${taken}:1-2`, "0:80");
      expect(failed.code).toBe(1);
      expect(failed.stderr).toContain(`listen tcp 127.0.0.1:${taken}: bind: address already in use`);
      // What comes after it is opened nevertheless.
      expect(failed.stdout).toMatch(/^tcp\/127\.0\.0\.1:\d+ leads to vm:80\n$/);
      expect(await commands.json("ports")).toHaveLength(1);
    }));

  it("says why a port cannot be opened or closed", () =>
    inLab(async (lab) => {
      const { commands } = await startLab(lab, { publish: { allow: ["127.0.0.1"] } });
      const opened = await commands.lines("ports", "add", "0:80", "0:81");
      expect(await commands.run("ports", "add", "*:0:80")).toMatchObject({
        code: 1,
        stderr: `hostd: hostd at ${commands.api} says: listening on any:0 is not allowed; allowed: 127.0.0.1\n`,
      });
      expect(await commands.run("ports", "add", "0:ssh://core@vm/run/podman.sock")).toMatchObject({
        code: 2,
        stderr: expect.stringContaining("forward.identity: missing"),
      });
      expect(await commands.run("ports", "rm", "9", "10")).toMatchObject({
        code: 1,
        stdout: "",
        stderr: expect.stringMatching(
          /^hostd: there is no forward 9; there are tcp.*\nhostd: there is no forward 10; /,
        ),
      });
      const udp = await commands.lines("ports", "add", `${portOf(opened[0])}:80/udp`);
      const ids = [opened[0], udp[0]].map((line) => line.split(" ")[0]);
      expect(await commands.run("ports", "rm", String(portOf(opened[0])))).toEqual({
        code: 2,
        stdout: "",
        stderr: `hostd: ${portOf(opened[0])} may be any of ${ids.join(", ")}: name one of them\n`,
      });
      expect(await commands.json("ports")).toHaveLength(3);
    }));

  it("names the key of an SSH forward as seen from where it is run", () =>
    inLab(async (lab) => {
      const { commands, daemon } = await startLab(lab);
      const given = ["ports", "add", "--persist", "--identity", "key", "0:ssh://core@vm/run/podman.sock", "0:80"];
      expect(await commands.run(...given)).toEqual({
        code: 2,
        stdout: "",
        stderr: `hostd: --identity: there is no file ${lab.folder}/key\n`,
      });
      await writeFile(join(lab.folder, "key"), "");
      const [line] = await commands.lines(...given);
      expect(line).toMatch(/^tcp\/127\.0\.0\.1:\d+ leads to ssh:\/\/core@vm:22\/run\/podman\.sock$/);
      await daemon.close();
      const kept = JSON.parse(await readFile(join(lab.folder, "state", "forwards.json"), "utf8"));
      expect(kept).toMatchObject([{ identity: join(lab.folder, "key") }, { to: "80" }]);
      expect(kept[1]).not.toHaveProperty("identity");
    }));
});

describe("hostd flows", () => {
  it("lists the flows of VMs, by VM and protocol", () =>
    inLab(async (lab) => {
      const { commands, guest } = await startLab(lab);
      const { server, stream } = await connectOut(lab, guest);
      const udp = guest.udp();
      udp.send(HOST, 9, Buffer.from("x"));
      const [line] = await commands.lines("ports", "add", "0:80");
      const client = await connected(lab, portOf(line));

      const report = await commands.json("flows");
      expect(report).toMatchObject({ total: 3 });
      const out = `192.168.65.3:\\d+/${HOST}:${server.port}`;
      const [titles, ...lines] = await commands.lines("flows");
      expect(titles).toBe("ID CLIENT STATE AGE IDLE FROM VM TO VM RTT RESENT");
      expect(lines.toSorted()).toEqual([
        expect.stringMatching(`^tcp/${out} - ESTABLISHED \\d+s \\d+s 0 B 5 B `),
        expect.stringMatching(
          `^tcp/192.168.65.3:80/${GATEWAY}:\\d+ 127.0.0.1:${client.localPort} ESTABLISHED \\d+s \\d+s 6 B 0 B `,
        ),
        expect.stringMatching(`^udp/192.168.65.3:\\d+ -> ${HOST}:9 - - \\d+s \\d+s 1 B 0 B - -$`),
      ]);
      expect(await commands.json("flows", "--protocol", "udp")).toMatchObject({ total: 1 });
      expect(await commands.json("flows", "--limit", "2")).toMatchObject({ total: 3, flows: [{}, {}] });
      expect(await commands.json("flows", "--vm", `unix://${lab.socket}`)).toMatchObject({ total: 3 });
      expect(await commands.run("flows", "--vm", "vm")).toMatchObject({ code: 1, stdout: "" });
      expect(await commands.run("flows", "--limit", "0")).toMatchObject({ code: 2, stdout: "" });
      stream.destroy();
      udp.close();
    }));

  it("ends a flow", () =>
    inLab(async (lab) => {
      const { commands, guest } = await startLab(lab);
      const { server, stream } = await connectOut(lab, guest);
      const failed = once(stream, "error");
      const { flows } = await commands.json("flows");
      expect(await commands.lines("flows", "kill", flows[0].id)).toEqual([`${flows[0].id} is ended`]);
      expect(await failed).toMatchObject([{ code: "ECONNRESET" }]);
      await Promise.all(server.sockets.map(closed));
      expect(await commands.run("flows", "kill", flows[0].id)).toMatchObject({
        code: 1,
        stdout: "",
        stderr: expect.stringContaining(`there is no flow ${flows[0].id}`),
      });
    }));

  it("shows them again each second on a pipe, until hostd ends", () =>
    inLab(async (lab) => {
      const { commands, daemon, guest } = await startLab(lab);
      const watched = commands.start("flows", "--watch");
      await watched.until((output) => output.includes("There are no flows.\n"));
      await connectOut(lab, guest);
      await watched.until((output) => output.split("ESTABLISHED").length > 2);
      expect(watched.output).not.toContain("\x1b");
      await daemon.close();
      expect(await watched.exit()).toBe(1);
      expect(watched.errors).toMatch(/^hostd: no hostd listens at /);
    }));

  it("shows them in place on a terminal, which is as before afterwards", () =>
    inLab(async (lab) => {
      const { commands, guest } = await startLab(lab);
      await connectOut(lab, guest);
      const watched = commands.startOnTerminal("flows", "--watch");
      await watched.until((output) => output.split("ESTABLISHED").length > 2);
      watched.type("\x03");
      expect(await watched.exit()).toBe(130);
      expect(watched.output.startsWith(`${ENTER}\x1b[H\x1b[K\x1b[1mID `)).toBe(true);
      expect(watched.output.endsWith(LEAVE)).toBe(true);
      const lines = stripVTControlCharacters(watched.output).split(/\r?\n/);
      expect(lines.filter((line) => line.length > 80)).toEqual([]);
    }));

  it("leaves the terminal as it was when hostd ends", () =>
    inLab(async (lab) => {
      const { commands, daemon } = await startLab(lab);
      const watched = commands.startOnTerminal("flows", "--watch");
      await watched.until((output) => output.includes("There are no flows."));
      await daemon.close();
      expect(await watched.exit()).toBe(1);
      const [, after] = watched.output.split(LEAVE);
      expect(after).toMatch(/^hostd: no hostd listens at .*\r\n$/);
    }));
});

describe("hostd events", () => {
  it("tells what happens, until hostd ends", () =>
    inLab(async (lab) => {
      const commands = new Commands(lab);
      const daemon = await lab.start({ api: commands.api });
      const told = [commands.start("events"), commands.start("events", "--json")];
      const vm = `unix://${lab.socket}`;
      // Each follows once it tells of a port that is opened later.
      for (let port = 1; told.some(({ output }) => output === ""); port++) {
        await commands.lines("ports", "add", `0:${port}`);
      }
      const guest = await lab.boot(1);
      await guest.ping(GATEWAY);
      await guest.kill();
      const [text, json] = told;
      await text.until((output) => output.includes(` VM ${vm} detached`));
      await json.until((output) => output.includes('"vm.detached"'));
      const time = "\\d{4}-\\d\\d-\\d\\d \\d\\d:\\d\\d:\\d\\d";
      for (const line of [
        "tcp/127\\.0\\.0\\.1:\\d+ leads to vm:\\d+ \\(api\\)",
        `VM ${vm} attached`,
        "192\\.168\\.65\\.3 leased to 02:00:00:00:01:01.*",
        `VM ${vm} has 192\\.168\\.65\\.3 \\(02:00:00:00:01:01\\)`,
      ]) {
        expect(text.output).toMatch(new RegExp(`^${time}  ${line}$`, "m"));
      }
      const events = json.output
        .trimEnd()
        .split("\n")
        .map((line) => JSON.parse(line));
      expect(events.filter(({ type }) => type !== "forward.added")).toMatchObject(
        expect.arrayContaining(
          [
            { type: "vm.attached", vm },
            { type: "lease.granted", address: "192.168.65.3" },
            { type: "vm.detached", vm },
          ].map((event) => expect.objectContaining(event)),
        ),
      );
      await daemon.close();
      for (const each of told) {
        expect(await each.exit()).toBe(1);
        expect(each.errors).toBe(`hostd: hostd at ${commands.api} is gone\n`);
      }
    }));
});

/** `hostd up` as a process of its own, with a configuration file. */
async function startUp(lab: Lab, file: string): Promise<Running> {
  const args = [
    COMMAND,
    "up",
    "--config",
    file,
    "--qemu",
    `unix://${lab.socket}`,
    "--state",
    join(lab.folder, "state"),
  ];
  const hostd = new Running(lab, process.execPath, [...args, "--api", `unix://${join(lab.folder, "api.sock")}`]);
  await hostd.until((output) => output.includes("-netdev"));
  return hostd;
}

describe("hostd reload", () => {
  it("has the changes of the configuration hold, and names what needs a restart", () =>
    inLab(async (lab) => {
      const commands = new Commands(lab);
      const file = join(lab.folder, "hostd.yaml");
      await writeFile(file, "mtu: 4000\n");
      await startUp(lab, file);
      expect(await commands.lines("reload")).toEqual(["Nothing has changed."]);
      await writeFile(file, "mtu: 1500\nforwards: [{ listen: 0, to: 80 }]\n");
      expect(await commands.lines("reload")).toEqual(["Changed: forwards", "Holds after a restart of hostd only: mtu"]);
      expect(await commands.json("ports")).toMatchObject([{ to: "80", origin: "config" }]);
      expect(await commands.json("reload")).toEqual({ changed: [], needRestart: ["mtu"] });

      await writeFile(file, "mtu: 1\n");
      expect(await commands.run("reload")).toMatchObject({
        code: 2,
        stdout: "",
        stderr: expect.stringContaining("mtu: 1 is not a whole number of bytes from 576 to 65520"),
      });
      await rm(file);
      expect(await commands.run("reload")).toMatchObject({ code: 2, stdout: "" });
      expect(await commands.json("ports")).toMatchObject([{ to: "80", origin: "config" }]);
    }));
});

describe("hostd ports add --persist", () => {
  it("has ports opened again after a restart", () =>
    inLab(async (lab) => {
      const commands = new Commands(lab);
      const file = join(lab.folder, "hostd.yaml");
      await writeFile(file, "");
      const first = await startUp(lab, file);
      const { free } = await neighbors(lab);
      await commands.lines("ports", "add", "--persist", `${free}:80`);
      await commands.lines("ports", "add", "0:81");
      expect((await commands.lines("ports"))[1]).toBe(`tcp/127.0.0.1:${free} vm:80 api, persists listening 0 0 0`);
      first.kill("SIGTERM");
      expect(await first.exit()).toBe(0);

      await startUp(lab, file);
      expect(await commands.json("ports")).toMatchObject([{ id: `tcp/127.0.0.1:${free}`, persist: true }]);
      await commands.lines("ports", "rm", String(free));
      expect(await commands.json("ports")).toEqual([]);
    }));
});
