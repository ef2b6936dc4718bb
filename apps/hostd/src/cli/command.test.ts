import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { parseConfigText } from "../config/file.ts";
import { configFlags } from "../config/flags.ts";
import { configWarnings, resolveConfig } from "../config/resolve.ts";

const root = fileURLToPath(new URL("../../../../", import.meta.url));
const command = join(root, "apps/hostd/bin/hostd.mjs");

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "hostd-command-"));
});
afterAll(() => {
  rmSync(folder, { recursive: true });
});

interface Outcome {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

function start(args: readonly string[], variables: Record<string, string> = {}): ChildProcess {
  const env = { PATH: process.env.PATH, HOME: folder, XDG_RUNTIME_DIR: folder, ...variables };
  return spawn(process.execPath, args, { cwd: folder, env, stdio: ["ignore", "pipe", "pipe"] });
}

async function outcome({ stdout, stderr, ...child }: ChildProcess, exit: Promise<unknown[]>): Promise<Outcome> {
  if (stdout === null || stderr === null) throw new Error(`process ${child.pid} has no pipes`);
  const [out, error, [code]] = await Promise.all([text(stdout), text(stderr), exit]);
  return { code: typeof code === "number" ? code : null, stdout: out, stderr: error };
}

/** Runs a command line of hostd to its end. */
async function hostd(...args: string[]): Promise<Outcome> {
  const child = start([command, ...args]);
  return outcome(child, once(child, "close"));
}

/** A program that runs the command line with a daemon and a demonstration of its own. */
const FIXTURE = `
const { main } = await import(${JSON.stringify(new URL("../main.ts", import.meta.url).href)});
const { DAEMON } = process.env;
await main(process.argv.slice(1), {
  async loadDaemon() {
    return async (config, logger) => {
      if (DAEMON === "fails") throw new Error("listen EADDRINUSE: address already in use");
      logger.info({ mtu: config.mtu }, "started");
      const close = async () => {
        if (DAEMON === "hangs") await new Promise(() => {});
        if (DAEMON === "breaks") throw new Error("EIO");
      };
      if (DAEMON === "crashes") setImmediate(() => { throw new Error("unforeseen"); });
      return { endpoints: ["unix:///run/a,b.sock", "dial+tcp://[::1]:5555"], close };
    };
  },
  async loadDemo() {
    return async ({ vm }) => {
      console.log("demo", vm);
      if (DAEMON === "fails") throw new Error("no QEMU");
      if (DAEMON !== "talks") return;
      for (let count = 0; count < 50_000; count++) {
        console.log("more");
        await new Promise((resolve) => setImmediate(resolve));
      }
      console.error("not ended");
    };
  },
});
`;

function startFixture(daemon: string, ...args: string[]): ChildProcess {
  return start(["--input-type=module", "-e", FIXTURE, "--", ...args], { DAEMON: daemon });
}

async function fixture(daemon: string, ...args: string[]): Promise<Outcome> {
  const child = startFixture(daemon, ...args);
  return outcome(child, once(child, "close"));
}

/** Runs `hostd up` and sends each signal once the text before it has appeared on the output. */
async function upUntil(daemon: string, steps: readonly [text: string, signal: NodeJS.Signals][], ...args: string[]) {
  const child = startFixture(daemon, "up", ...args);
  let seen = "";
  let next = 0;
  const look = (chunk: Buffer) => {
    seen += chunk.toString();
    const step = steps[next];
    if (step !== undefined && seen.includes(step[0])) {
      next += 1;
      child.kill(step[1]);
    }
  };
  child.stdout?.on("data", look);
  child.stderr?.on("data", look);
  return outcome(child, once(child, "close"));
}

const UP_FLAGS =
  'The flags of "hostd up" are --config, --print-config, --qemu, --subnet, --mtu, --dns-server, --dns-rule, --publish, ' +
  "--proxy, --no-proxy, --transparent-ports, --docker, --docker-upstream, --docker-identity, --inject-proxy-env, --state, --api, --vpnkit-api, --capture, --log-level, --log-format, " +
  '--help; see "hostd up --help".\n';

const COMMANDS =
  "The commands are up, demo, check, gvproxy, ps, ports, flows, dns, proxy, resolve, stats, leases, events, reload, capture, doctor, " +
  'docker-context, docker-config, completion, version; see "hostd --help".\n';

describe("hostd", () => {
  it("prints its version", async () => {
    const { version } = JSON.parse(readFileSync(join(root, "apps/hostd/package.json"), "utf8"));
    const line = `hostd ${version} (node ${process.versions.node}, ${process.platform} ${process.arch})\n`;
    expect(await hostd("version")).toEqual({ code: 0, stdout: line, stderr: "" });
    expect(await hostd("--version")).toEqual({ code: 0, stdout: line, stderr: "" });
    const { stdout } = await hostd("version", "--json");
    expect(JSON.parse(stdout)).toEqual({
      version,
      node: process.versions.node,
      platform: process.platform,
      arch: process.arch,
    });
  });

  it("shows its help, on standard error with code 2 when there is no command", async () => {
    const help = await hostd("--help");
    expect(help).toMatchObject({ code: 0, stderr: "" });
    for (const part of [
      "up",
      "demo",
      "check",
      "ps",
      "ports",
      "dns",
      "version",
      "Exit codes:",
      "docs/configuration.md",
    ]) {
      expect(help.stdout).toContain(part);
    }
    expect(await hostd()).toEqual({ code: 2, stdout: "", stderr: help.stdout });
  });

  it("names each flag of up in its help, with its default, the QEMU command line and examples", async () => {
    const { code, stdout } = await hostd("up", "--help");
    expect(code).toBe(0);
    // Wrapping depends on the width alone.
    const flat = stdout.replaceAll(/\s+/g, " ");
    for (const flag of configFlags()) {
      expect(flat).toContain(flag.flags);
      expect(flat).toContain(`default: ${flag.default?.replaceAll("`", "")})`);
    }
    for (const part of [
      "--config <file>",
      "--print-config",
      "Network:",
      "-netdev stream,id=net0,server=off,addr.type=unix,addr.path=/run/vm.sock",
      "hostd up --config hostd.yaml",
      "docs/configuration.md",
    ]) {
      expect(flat).toContain(part);
    }
    expect((await hostd("help", "up")).stdout).toBe(stdout);
  });

  it.each([
    [["upp"], `hostd: unknown command 'upp'\n(Did you mean up?)\n${COMMANDS}`],
    [["--frobnicate"], `hostd: unknown option '--frobnicate'\n${COMMANDS}`],
    [["up", "--mut", "1500"], `hostd: unknown option '--mut'\n(Did you mean --mtu?)\n${UP_FLAGS}`],
    [["up", "--mtu"], `hostd: option '--mtu <bytes>' argument missing\n${UP_FLAGS}`],
    [["up", "vm1"], `hostd: too many arguments for 'up'. Expected 0 arguments but got 1: vm1.\n${UP_FLAGS}`],
    [
      ["version", "--yaml"],
      "hostd: unknown option '--yaml'\n" +
        'The flags of "hostd version" are --json, --help; see "hostd version --help".\n',
    ],
    [
      ["up", "--mtu", "1e3", "--log-level", "loud"],
      'hostd: --mtu (mtu): "1e3" is not a whole number of bytes from 576 to 65520\n' +
        'hostd: --log-level (log.level): "loud" is not one of trace, debug, info, warn, error, fatal, silent\n',
    ],
    [
      ["up", "-p", "80", "--publish", "8080:80", "--mtu", "1"],
      'hostd: --publish (forwards[0]): "80" is not [address:]port[-port]:[guest-address:]guest-port[-port][/udp] ' +
        "such as 8080:80 (the port of the guest is missing)\n" +
        "hostd: --mtu (mtu): 1 is not a whole number of bytes from 576 to 65520\n",
    ],
    [
      ["check", "--config", "nowhere.yaml"],
      "hostd: cannot read the configuration file nowhere.yaml: there is no such file\n",
    ],
  ])("refuses %j with code 2", async (args, stderr) => {
    expect(await hostd(...args)).toEqual({ code: 2, stdout: "", stderr });
  });
});

describe("hostd check", () => {
  it("prints what holds, which is a configuration again", async () => {
    writeFileSync(join(folder, "a.yaml"), "mtu: 4000\ncapture: a.pcap\n");
    const first = await hostd("check", "--config", "a.yaml");
    expect(first).toMatchObject({ code: 0, stdout: expect.stringContaining("mtu: 4000\n") });
    expect(first.stdout).toContain(`unix://${folder}/hostd/vm.sock`);
    expect(first.stdout).toContain(`capture: ${folder}/a.pcap`);
    writeFileSync(join(folder, "b.yaml"), first.stdout);
    expect(await hostd("check", "--config", "b.yaml")).toEqual(first);
  });

  it("warns on standard error", async () => {
    writeFileSync(join(folder, "open.yaml"), "qemu: ['tcp://0.0.0.0:5555']\n");
    const { code, stderr } = await hostd("check", "--config", "open.yaml");
    expect(code).toBe(0);
    expect(stderr).toMatch(/^hostd: warning: qemu: tcp:\/\/0\.0\.0\.0:5555 is reachable from other machines/m);
  });

  it("reads the certificates that it names, as hostd up does", async () => {
    writeFileSync(join(folder, "ca.yaml"), "proxy: { ca: ca.pem }\n");
    writeFileSync(join(folder, "ca.pem"), "-----BEGIN CERTIFICATE-----\n");
    expect(await hostd("check", "--config", "ca.yaml")).toEqual({
      code: 2,
      stdout: "",
      stderr:
        `hostd: proxy.ca: ${folder}/ca.pem has a certificate in line 1 that cannot be read: ` +
        "there is no line -----END CERTIFICATE----- after it\n",
    });
  });

  it("lists every problem of a file and ends with code 2", async () => {
    writeFileSync(join(folder, "bad.yaml"), "mtuu: 1500\ndhcp:\n  leaseSeconds: 1\n");
    expect(await hostd("check", "--config", "bad.yaml")).toEqual({
      code: 2,
      stdout: "",
      stderr:
        "hostd: bad.yaml:3:3: dhcp.leaseSeconds: 1 is not a whole number of seconds from 120 to 4294967294\n" +
        'hostd: bad.yaml:1:1: mtuu: unknown key; did you mean "mtu"? allowed at the top level: ' +
        "qemu, subnet, gateway, host, mac, mtu, dhcp, dns, tcp, egress, forwards, publish, proxy, docker, guestApi, state, api, " +
        "vpnkitApi, capture, log\n",
    });
  });
});

describe("hostd up", () => {
  it("prints the configuration of file and flags together, and starts nothing", async () => {
    writeFileSync(join(folder, "up.yaml"), "mtu: 4000\nqemu: [/run/file.sock]\nlog: { format: json }\n");
    const flags = [
      "--qemu",
      "/run/1.sock",
      "--qemu",
      "/run/2.sock",
      "--log-level",
      "warn",
      "--state",
      "s",
      "-p",
      "81:80",
    ];
    const { code, stdout } = await hostd("up", "--config", "up.yaml", ...flags, "--print-config");
    expect(code).toBe(0);
    expect(stdout).toContain("mtu: 4000\n");
    expect(stdout).toContain("qemu:\n  - unix:///run/1.sock\n  - unix:///run/2.sock\n");
    expect(stdout).toContain("log:\n  level: warn\n  format: json\n");
    expect(stdout).toContain(`state: ${folder}/s\n`);
    expect(stdout).toContain('forwards:\n  - listen: 127.0.0.1:81\n    to: "80"\n    protocol: tcp\n');
  });

  it("says how to attach, closes at a signal and ends with code 0", async () => {
    const { code, stdout, stderr } = await upUntil("works", [["server=on", "SIGTERM"]], "--mtu", "4000");
    expect(stdout.split("\n").slice(1)).toEqual([
      "Attach a VM at unix:///run/a,b.sock:",
      "  qemu-system-x86_64 ... -device virtio-net-pci,netdev=net0 \\",
      "    -netdev stream,id=net0,server=off,addr.type=unix,addr.path=/run/a,,b.sock",
      "Connecting to a VM that listens at tcp://[::1]:5555:",
      "  qemu-system-x86_64 ... -device virtio-net-pci,netdev=net0 \\",
      "    -netdev stream,id=net0,server=on,addr.type=inet,addr.host=::1,addr.port=5555",
      "",
    ]);
    expect(stdout).toMatch(
      /^hostd \S+: subnet 192\.168\.65\.0\/24, gateway 192\.168\.65\.1, this host 192\.168\.65\.254\n/,
    );
    const log = stderr
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line))
      .filter(({ level }) => level === "info");
    expect(log.map(({ msg }) => msg)).toEqual(["started", "SIGTERM: closing", "closed"]);
    expect(log[0]).toMatchObject({ mtu: 4000 });
    expect(code).toBe(0);
  });

  it("writes the log for people when asked", async () => {
    const { code, stderr } = await upUntil("works", [["server=on", "SIGINT"]], "--log-format", "pretty");
    expect(stderr).toMatch(/^\[\S+Z\] INFO: SIGINT: closing\n\[\S+Z\] INFO: closed\n/m);
    expect(code).toBe(0);
  });

  it("ends at once at a second signal", async () => {
    const { code, stderr } = await upUntil("hangs", [
      ["server=on", "SIGTERM"],
      ["SIGTERM: closing", "SIGINT"],
    ]);
    expect(stderr).not.toContain('"closed"');
    expect(code).toBe(130);
  });

  it.each([
    ["fails", [], "cannot start: listen EADDRINUSE: address already in use"],
    ["breaks", [["server=on", "SIGTERM"] as const], "cannot close: EIO"],
    ["crashes", [], "unexpected error"],
  ])("ends with code 1 when the daemon %s", async (daemon, steps, message) => {
    const { code, stderr } = await upUntil(
      daemon,
      steps.map(([seen, signal]) => [seen, signal]),
    );
    expect(JSON.parse(stderr.trim().split("\n").at(-1) ?? "")).toMatchObject({ level: "fatal", msg: message });
    expect(code).toBe(1);
  });

  it("goes on when nobody reads its output", async () => {
    const child = startFixture("works", "up");
    child.stdout?.destroy();
    let log = "";
    child.stderr?.on("data", (chunk: Buffer) => {
      log += chunk.toString();
      if (chunk.includes("started")) setImmediate(() => child.kill("SIGTERM"));
    });
    const [code] = await once(child, "close");
    expect(log).toContain('"closed"');
    expect(code).toBe(0);
  });
});

describe("hostd dns", () => {
  /** Runs a command line against a control API that answers `reply` to everything; what was asked for comes first. */
  async function against(status: number, reply: object, ...args: string[]): Promise<[string[], Outcome]> {
    const asked: string[] = [];
    const server = createServer((request, response) => {
      asked.push(request.url ?? "");
      response.writeHead(status).end(JSON.stringify(reply));
    });
    const path = join(folder, "api.sock");
    await new Promise<void>((resolve) => server.listen(path, resolve));
    try {
      return [asked, await hostd(...args)];
    } finally {
      server.close();
    }
  }

  const ANSWER = {
    ...{ name: "a.test", type: "A", vm: null, origin: "zone", source: "test", route: null, milliseconds: 1 },
    ...{ rcode: "NXDOMAIN", flags: ["aa"], answers: [], authorities: [], additionals: [], isCutOff: false },
  };

  it("says how to start hostd where none listens", async () => {
    const { code, stdout, stderr } = await hostd("dns");
    expect({ code, stdout }).toEqual({ code: 1, stdout: "" });
    expect(stderr).toContain(`hostd: no hostd listens at ${folder}/hostd/api.sock: start hostd with "hostd up"`);
    expect((await hostd("dns", "query", "a.test", "--api", "nowhere.sock")).stderr).toContain(
      `no hostd listens at ${folder}/nowhere.sock`,
    );
  });

  it("asks for what the command line names, and answers also when there is no such name", async () => {
    const flags = ["--api", "api.sock", "--vm", "unix:///vm#2"];
    const [asked, outcome] = await against(200, ANSWER, "dns", "query", "a.test", "txt", ...flags);
    expect(asked).toEqual(["/v1/dns/query?name=a.test&type=txt&vm=unix%3A%2F%2F%2Fvm%232"]);
    expect(outcome).toEqual({ code: 0, stdout: "a.test A: zone test\n;; status: NXDOMAIN, flags: aa\n", stderr: "" });
  });

  it("prints JSON when asked, and ends with code 1 at SERVFAIL", async () => {
    const failed = { ...ANSWER, rcode: "SERVFAIL" };
    const args = ["dns", "--json", "--api", `unix://${folder}/api.sock`, "query", "a.test"];
    const [asked, outcome] = await against(200, failed, ...args);
    expect(asked).toEqual(["/v1/dns/query?name=a.test&type=A"]);
    expect(outcome).toMatchObject({ code: 1, stderr: "" });
    expect(JSON.parse(outcome.stdout)).toEqual(failed);
  });

  it.each([
    [400, 2],
    [500, 1],
  ])("says what hostd says to a request that it refuses with %d, and ends with code %d", async (status, code) => {
    const [, outcome] = await against(status, { detail: "not this" }, "dns", "--api", "api.sock");
    expect(outcome).toEqual({ code, stdout: "", stderr: `hostd: hostd at ${folder}/api.sock says: not this\n` });
  });

  it("names the flags of its commands", async () => {
    expect(await hostd("dns", "query")).toEqual({
      code: 2,
      stdout: "",
      stderr:
        "hostd: missing required argument 'name'\n" +
        'The flags of "hostd dns query" are --vm, --api, --json, --help; see "hostd dns query --help".\n',
    });
    expect((await hostd("dns", "queries")).code).toBe(2);
  });
});

describe("the commands that ask a running hostd", () => {
  it.each([
    ["ps"],
    ["ports"],
    ["ports", "add", "8080:80"],
    ["ports", "rm", "8080"],
    ["flows"],
    ["flows", "--watch"],
    ["flows", "kill", "tcp/1"],
    ["stats"],
    ["proxy"],
    ["proxy", "set", "direct"],
    ["proxy", "set", "http://alice:s3cret@proxy:1", "--no-proxy", "a"],
    ["proxy", "unset"],
    ["proxy", "test", "http://x"],
    ["proxy", "test", "http://x", "--no-connect"],
    ["leases"],
    ["events"],
    ["reload"],
  ])("%s %s %s says in one line that none is running", async (...args) => {
    expect(await hostd(...args.filter((arg) => arg !== undefined))).toEqual({
      code: 1,
      stdout: "",
      stderr:
        `hostd: no hostd listens at ${folder}/hostd/api.sock: start hostd with "hostd up", or name the socket of a ` +
        "running one with --api (one that was started with --qemu has a control API only with --api)\n",
    });
  });

  it.each([
    [
      ["proxy", "set", "http://alice@proxy.example:3128"],
      "there is a user and no password in the URL, and no terminal to ask for it at: write USER:PASSWORD@, or leave both out " +
        "and name a file with them by proxy.credentials in the configuration",
    ],
    [
      ["ps", "--api", "tcp://127.0.0.1:80"],
      '--api: "tcp://127.0.0.1:80" is not unix:///PATH or the path of a Unix socket',
    ],
    [["ports", "add", "80", "8080:80/sctp"], '"80" is not [address:]port[-port]:'],
    [["ports", "add", "80", "8080:80/sctp"], '"8080:80/sctp" is not [address:]port[-port]:'],
    [["ports", "add"], "missing required argument 'ports'"],
    [
      ["ports", "close"],
      "too many arguments for 'ports'. Expected 0 arguments but got 1: close.\n" +
        'The commands of "hostd ports" are add, rm. The flags of "hostd ports" are --api, --json, --help; ' +
        'see "hostd ports --help".',
    ],
    [
      ["flows", "--protocol", "sctp"],
      "option '--protocol <name>' argument 'sctp' is invalid. Allowed choices are tcp, udp, icmp.",
    ],
    [
      ["completion", "tcsh"],
      "command-argument value 'tcsh' is invalid for argument 'shell'. Allowed choices are bash, zsh, fish.",
    ],
  ])("refuse %j with code 2", async (args, message) => {
    const { code, stdout, stderr } = await hostd(...args);
    expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
    expect(stderr).toContain(`hostd: ${message}`);
  });
});

describe("hostd completion", () => {
  it.each(["bash", "zsh", "fish"])("prints a script for %s that has the flags of the configuration", async (shell) => {
    const { code, stdout, stderr } = await hostd("completion", shell);
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    expect(stdout).toContain("vpnkit-api");
  });
});

describe("hostd demo", () => {
  it("runs the demonstration", async () => {
    expect(await fixture("works", "demo")).toEqual({ code: 0, stdout: "demo undefined\n", stderr: "" });
    expect(await fixture("works", "demo", "--vm")).toEqual({ code: 0, stdout: "demo true\n", stderr: "" });
    expect(await fixture("works", "demo", "--no-vm")).toEqual({ code: 0, stdout: "demo false\n", stderr: "" });
  });

  it("ends with code 1 when it fails", async () => {
    expect(await fixture("fails", "demo")).toEqual({ code: 1, stdout: "demo undefined\n", stderr: "hostd: no QEMU\n" });
  });

  it("ends quietly when nobody reads on", async () => {
    const child = startFixture("talks", "demo");
    child.stdout?.once("data", () => child.stdout?.destroy());
    const stderr = child.stderr === null ? "" : text(child.stderr);
    const [code] = await once(child, "close");
    expect([code, await stderr]).toEqual([0, ""]);
  });
});

describe("the pages", () => {
  it("are what the schema and the command line say now", async () => {
    const child = start([join(root, "scripts/generate-docs.mjs"), "--check"]);
    expect(await outcome(child, once(child, "close"))).toEqual({ code: 0, stdout: "", stderr: "" });
  });

  it.each(["docs/configuration.md", "docs/dns.md"])("%s has examples that are valid configurations", (name) => {
    const page = readFileSync(join(root, name), "utf8");
    const examples = [...page.matchAll(/```yaml\n(.*?)```/gs)].map(([, example]) => example);
    expect(examples).not.toEqual([]);
    for (const example of examples) {
      expect(configWarnings(resolveConfig([parseConfigText(example, name, root)]))).toEqual([]);
    }
  });
});
