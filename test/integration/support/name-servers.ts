import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { randomInt } from "node:crypto";
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir, userInfo } from "node:os";
import { join } from "node:path";
import { setTimeout } from "node:timers/promises";
import type { ServerAddress } from "@hostd/dns";
import { onTestFailed, onTestFinished } from "vitest";
import { findCommand } from "../../vm/host-packages.ts";
import { askUdp, encodeQuery } from "./dns-client.ts";

const LOOPBACK = "127.0.0.1";
/** Ports below those that the kernel gives out, so that no socket of a test is on one when a server starts again. */
const FIRST_PORT = 10_240;
const LAST_PORT = 32_767;
const START_TIME = 10_000;

/** How a name server of Debian is run. */
interface Program {
  readonly command: string;
  readonly args: readonly string[];
  /** Finds the name and the type of each query in its log. */
  readonly logged: RegExp;
}

/** A name server of Debian on the loopback address. It ends with the test, whose failure shows its log. */
export class NameServerProcess {
  readonly address: ServerAddress;
  /** Where its configuration and its zones are. */
  readonly folder: string;
  readonly #program: Program;
  #child: ChildProcess | null = null;
  #log = "";
  #logged: (() => void)[] = [];
  #marks = 0;

  private constructor(address: ServerAddress, folder: string, program: Program) {
    this.address = address;
    this.folder = folder;
    this.#program = program;
  }

  /** @param configure - writes the configuration into the folder. */
  static async start(configure: (port: number, folder: string) => Program): Promise<NameServerProcess> {
    const folder = mkdtempSync(join(tmpdir(), "hostd-dns-"));
    const port = await freePort();
    const server = new NameServerProcess({ address: LOOPBACK, family: 4, port }, folder, configure(port, folder));
    onTestFailed(() => console.error(`${server.#program.command} on port ${port}:\n${server.#log}`));
    onTestFinished(async () => {
      await server.stop();
      rmSync(folder, { recursive: true });
    });
    await server.start();
    return server;
  }

  /** Starts it again, on the same port. Returns when it answers. */
  async start(): Promise<void> {
    const { command, args } = this.#program;
    const child = spawn(findCommand(command) ?? command, args, { stdio: ["ignore", "pipe", "pipe"] });
    this.#child = child;
    for (const output of [child.stdout, child.stderr]) {
      output.setEncoding("utf8").on("data", (text: string) => {
        this.#log += text;
        for (const wake of this.#logged.splice(0)) wake();
      });
    }
    child.on("error", (error) => {
      this.#log += `${error.message}\n`;
    });
    for (const end = performance.now() + START_TIME; performance.now() < end && child.exitCode === null; ) {
      try {
        await askUdp(this.address, encodeQuery("ready.invalid", "A"), 100);
        return;
      } catch {
        // Not yet.
        await setTimeout(20);
      }
    }
    throw new Error(`${command} did not start:\n${this.#log}`);
  }

  /** Ends it. Returns when it is gone. Idempotent. */
  async stop(): Promise<void> {
    const child = this.#child;
    this.#child = null;
    if (child === null || child.exitCode !== null || child.signalCode !== null || child.pid === undefined) return;
    const exited = once(child, "exit");
    child.kill("SIGCONT");
    child.kill("SIGTERM");
    await exited;
  }

  /** Lets it take no query any more, as if it were behind a network that is gone: nobody is told. */
  suspend(): void {
    this.#child?.kill("SIGSTOP");
  }

  resume(): void {
    this.#child?.kill("SIGCONT");
  }

  /** What it was asked since it was made: name, in lower case, and type. */
  async queries(): Promise<string[]> {
    // Whatever was asked before this is logged before this.
    const mark = `mark-${this.#marks++}.invalid`;
    await askUdp(this.address, encodeQuery(mark, "A"), 5000);
    while (!this.#found().some((query) => query === `${mark} A`)) {
      await new Promise<void>((resolve) => this.#logged.push(resolve));
    }
    return this.#found().filter((query) => !/\.(invalid|hostd\.internal) /.test(query) && !query.startsWith("_ta-"));
  }

  /** How often it was asked for a name, since it was made. */
  async countOf(name: string): Promise<number> {
    return (await this.queries()).filter((query) => query.startsWith(`${name} `)).length;
  }

  #found(): string[] {
    return [...this.#log.matchAll(this.#program.logged)].map((match) => {
      return `${match.groups?.name.toLowerCase()} ${match.groups?.type}`;
    });
  }
}

/** Finds a port that is free for UDP and TCP. */
async function freePort(): Promise<number> {
  for (;;) {
    const port = randomInt(FIRST_PORT, LAST_PORT + 1);
    const udp = createSocket("udp4");
    const tcp = createServer();
    try {
      await new Promise<void>((resolve, reject) => udp.once("error", reject).bind(port, LOOPBACK, resolve));
      await new Promise<void>((resolve, reject) => tcp.once("error", reject).listen(port, LOOPBACK, resolve));
      return port;
    } catch {
      // Somebody has it.
    } finally {
      udp.close();
      if (tcp.listening) tcp.close();
    }
  }
}

/** A zone of {@link unbound}. */
export interface ServedZone {
  readonly name: string;
  /** In the format of RFC 1035, section 5. */
  readonly text: string;
  /**
   * `authority` answers with AA as the zone's own server, `resolver` as one that has looked it up and checked its
   * signatures.
   */
  readonly as: "authority" | "resolver";
}

export interface UnboundOptions {
  readonly zones?: readonly ServedZone[];
  /** DNSKEY or DS records that are trusted. */
  readonly trustAnchors?: readonly string[];
  /** Lines of its `server:` clause. */
  readonly lines?: readonly string[];
  /** Domains that are asked of somebody else. */
  readonly forward?: { readonly domain: string; readonly server: ServerAddress };
}

/** Starts unbound. It says NXDOMAIN to every name outside its zones. */
export function unbound(options: UnboundOptions): Promise<NameServerProcess> {
  const { zones = [], trustAnchors = [], lines = [], forward } = options;
  return NameServerProcess.start((port, folder) => {
    const transparent = [...zones.map(({ name }) => name), ...(forward === undefined ? [] : [forward.domain])];
    const configuration = [
      "server:",
      `directory: "${folder}"`,
      'username: ""',
      'chroot: ""',
      'pidfile: ""',
      "do-daemonize: no",
      "use-syslog: no",
      'logfile: ""',
      "log-queries: yes",
      "val-log-level: 2",
      `interface: ${LOOPBACK}`,
      `port: ${port}`,
      // Whatever it asks stays on this host.
      `outgoing-interface: ${LOOPBACK}`,
      "do-not-query-localhost: no",
      "do-ip6: no",
      "num-threads: 1",
      "ede: yes",
      "minimal-responses: no",
      "rrset-roundrobin: no",
      'module-config: "validator iterator"',
      'local-zone: "." static',
      ...transparent.map((name) => `local-zone: "${name}." transparent`),
      ...trustAnchors.map((anchor) => `trust-anchor: "${anchor}"`),
      ...lines,
      "remote-control:",
      "control-enable: no",
      ...zones.flatMap(({ name, as }) => {
        const isAuthority = as === "authority" ? "yes" : "no";
        return ["auth-zone:", `name: "${name}"`, `zonefile: "${name}.zone"`, `for-downstream: ${isAuthority}`];
      }),
      ...(forward === undefined
        ? []
        : ["forward-zone:", `name: "${forward.domain}"`, `forward-addr: ${LOOPBACK}@${forward.server.port}`]),
    ];
    for (const { name, text } of zones) writeFileSync(join(folder, `${name}.zone`), text);
    writeFileSync(join(folder, "unbound.conf"), configuration.join("\n"));
    const logged = /info: 127\.0\.0\.1 (?<name>\S+)\. (?<type>\S+) IN$/gm;
    return { command: "unbound", args: ["-d", "-c", join(folder, "unbound.conf")], logged };
  });
}

/** Starts dnsmasq with these lines of configuration. It says NXDOMAIN to every other name of `test`. */
export function dnsmasq(lines: readonly string[]): Promise<NameServerProcess> {
  return NameServerProcess.start((port, folder) => {
    const configuration = [
      `port=${port}`,
      `listen-address=${LOOPBACK}`,
      "bind-interfaces",
      `user=${userInfo().username}`,
      `pid-file=${join(folder, "pid")}`,
      "no-resolv",
      "no-hosts",
      "log-queries",
      "log-facility=-",
      "local=/test/",
      "local-ttl=300",
      ...lines,
    ];
    writeFileSync(join(folder, "dnsmasq.conf"), configuration.join("\n"));
    const logged = /query\[(?<type>[^\]]+)\] (?<name>\S+) from/g;
    return {
      command: "dnsmasq",
      args: ["--keep-in-foreground", `--conf-file=${join(folder, "dnsmasq.conf")}`],
      logged,
    };
  });
}

/** The text of a zone: its SOA, its NS and these lines. Names that are not there may be kept for 60 s. */
export function zoneText(name: string, lines: readonly string[]): string {
  const soa = `@ 300 SOA ns.${name}. admin.${name}. 1 3600 600 86400 60`;
  return `${[`$ORIGIN ${name}.`, "$TTL 300", soa, "@ NS ns", "ns A 127.0.0.1", ...lines].join("\n")}\n`;
}

/** A zone with signatures, and the key that they are made with. */
export interface SignedZone {
  readonly name: string;
  readonly text: string;
  /** The DNSKEY record. */
  readonly key: string;
}

/** Signs a zone with a new key (RFC 4035, section 2), with NSEC records. */
export function signZone(name: string, lines: readonly string[]): SignedZone {
  const folder = mkdtempSync(join(tmpdir(), "hostd-sign-"));
  try {
    const run = (command: string, ...args: string[]) => {
      return execFileSync(findCommand(command) ?? command, args, { cwd: folder, encoding: "utf8" });
    };
    const key = run("ldns-keygen", "-a", "ECDSAP256SHA256", "-k", name).trim();
    writeFileSync(join(folder, "plain"), zoneText(name, lines));
    run("ldns-signzone", "-f", "signed", "plain", key);
    const [record] = readFileSync(join(folder, `${key}.key`), "utf8").split(";", 1);
    return { name, text: readFileSync(join(folder, "signed"), "utf8"), key: record.trim().replaceAll("\t", " ") };
  } finally {
    rmSync(folder, { recursive: true });
  }
}
