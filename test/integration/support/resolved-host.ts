import { type ChildProcessWithoutNullStreams, execFile, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync } from "node:fs";
import { homedir, tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { promisify } from "node:util";
import { ensureNameServers, findCommand, isContinuousIntegration, isRoot } from "../../vm/host-packages.ts";

/** Where Debian's package has the daemon. */
const DAEMONS = ["usr/lib/systemd/systemd-resolved", "lib/systemd/systemd-resolved"];

/** A copy of the package, for hosts that shall not have it installed: that would replace their resolv.conf. */
const CACHE = process.env.HOSTD_PACKAGE_CACHE ?? join(homedir(), ".cache", "hostd", "packages");

const COMMANDS = ["busctl", "dbus-daemon", "ip", "nsenter", "unshare", "mount"];

/** The address of the server behind each link, and what it gives for every name. */
export const CORP = { server: "10.213.81.53", answer: "192.0.2.1" };
export const LAB = { server: "10.213.82.53", answer: "192.0.2.2" };

/**
 * Makes sure that systemd-resolved can be run here; under CI=true it is downloaded if it is missing, not installed.
 *
 * @returns undefined if it can, otherwise one line that says what is missing
 * @throws {Error} with CI=true if something is missing nevertheless
 */
export function ensureResolved(): string | undefined {
  const missing = findMissing();
  if (missing === undefined || !isContinuousIntegration()) return missing;
  throw new Error(`with CI=true nothing may be skipped, but systemd-resolved cannot be run: ${missing}`);
}

function findMissing(): string | undefined {
  const servers = ensureNameServers();
  if (servers !== undefined) return servers;
  if (!isRoot()) return "making a network namespace takes root; run: sudo npm test";
  const commands = COMMANDS.filter((command) => findCommand(command) === undefined);
  if (commands.length > 0) {
    return `missing on this host: ${commands.join(", ")}; run: apt-get install dbus iproute2 systemd util-linux`;
  }
  if (packageRoot() !== undefined) return undefined;
  const target = join(CACHE, "systemd-resolved");
  if (!isContinuousIntegration()) {
    return `missing on this host; run: apt-get download systemd-resolved; dpkg-deb -x systemd-resolved_*.deb ${target}`;
  }
  return download(target);
}

/** Puts the files of the package into a folder. */
function download(target: string): string | undefined {
  mkdirSync(CACHE, { recursive: true });
  const folder = mkdtempSync(join(CACHE, "download-"));
  try {
    const script = "apt-get update && apt-get download systemd-resolved && dpkg-deb -x systemd-resolved_*.deb files";
    const { status, stderr } = spawnSync("sh", ["-c", script], { cwd: folder, encoding: "utf8" });
    if (status !== 0) return `the package cannot be downloaded: ${stderr.trim().split("\n").at(-1)}`;
    if (!existsSync(target)) renameSync(join(folder, "files"), target);
    return packageRoot() === undefined ? `${target} has no systemd-resolved` : undefined;
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** The folder below which the package's files are. */
function packageRoot(): string | undefined {
  return ["/", join(CACHE, "systemd-resolved")].find((root) => DAEMONS.some((path) => existsSync(join(root, path))));
}

/** What the program inside found out, as a line of JSON. */
export interface InsideReport {
  /** From the domain to its servers. */
  readonly routes: Readonly<Record<string, readonly string[]>>;
  readonly search: readonly string[];
  /** Which source was chosen. */
  readonly source: string;
  /** The addresses of each name that was asked for. */
  readonly answers: Readonly<Record<string, readonly string[]>>;
}

/**
 * A host with systemd-resolved of its own: a mount, process and network namespace with a system bus, the daemon, and the
 * links corp0 and lab0, each with a name server behind it that gives every name another address.
 */
export class ResolvedHost {
  readonly #init: ChildProcessWithoutNullStreams;
  readonly #pid: number;
  readonly #folder: string;
  #log: string;

  private constructor(init: ChildProcessWithoutNullStreams, pid: number, folder: string, log: string) {
    this.#init = init;
    this.#pid = pid;
    this.#folder = folder;
    this.#log = log;
    init.stderr.on("data", (text: string) => {
      this.#log += text;
    });
  }

  /** @throws {Error} with what the programs wrote when the host cannot be made. */
  static async create(): Promise<ResolvedHost> {
    const folder = mkdtempSync(join(tmpdir(), "hostd-resolved-"));
    const script = join(import.meta.dirname, "resolved-host.sh");
    // --kill-child ends everything inside with it.
    const namespaces = ["--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"];
    const env = {
      ...process.env,
      FOLDER: folder,
      PACKAGE: packageRoot(),
      CORP_SERVER: CORP.server,
      CORP_ANSWER: CORP.answer,
      LAB_SERVER: LAB.server,
      LAB_ANSWER: LAB.answer,
    };
    const init = spawn("unshare", [...namespaces, "sh", script], { env, stdio: "pipe" });
    let log = "";
    init.stderr.setEncoding("utf8").on("data", (text: string) => {
      log += text;
    });
    const lines = createInterface(init.stdout);
    const [line] = await Promise.race([once(lines, "line"), once(init, "close").then(() => [""])]);
    if (line !== "ready") {
      init.kill("SIGKILL");
      rmSync(folder, { recursive: true });
      throw new Error(`a host with systemd-resolved cannot be made here:\n${log}`);
    }
    const pid = Number(readFileSync(`/proc/${init.pid}/task/${init.pid}/children`, "utf8"));
    return new ResolvedHost(init, pid, folder, log);
  }

  /** What the programs inside wrote. */
  get log(): string {
    return this.#log;
  }

  /** Runs a shell command inside; throws with its output when it fails. */
  async exec(command: string): Promise<string> {
    const { stdout } = await promisify(execFile)("nsenter", [...this.#enter(), "sh", "-c", command], {
      env: { ...process.env, PATH: `${packageRoot()}/usr/bin:${process.env.PATH}` },
    });
    return stdout;
  }

  /** Ends the daemon. Its files stay. */
  async stop(): Promise<void> {
    await this.exec("kill $(cat /run/resolved.pid); while ! [ -e /run/resolved.ended ]; do sleep 0.05; done");
  }

  /** Starts the daemon that was ended, with the stub or without. */
  async start(stub: boolean): Promise<void> {
    const settings = { DNS: "", FallbackDNS: "", LLMNR: "no", MulticastDNS: "no", DNSSEC: "no" };
    const lines = Object.entries({ ...settings, DNSStubListener: stub ? "yes" : "no" }).map((entry) => entry.join("="));
    const file = "/run/systemd/resolved.conf.d/zz-hostd.conf";
    await this.exec(`printf '%s\\n' '[Resolve]' ${lines.join(" ")} > ${file}`);
    // The loop of the script starts it.
    await this.exec("rm /run/resolved.ended; while ! resolvectl status > /dev/null 2>&1; do sleep 0.05; done");
    await this.exec(`resolvectl dns corp0 ${CORP.server} && resolvectl domain corp0 corp.example '~internal.example'`);
    await this.exec(
      `resolvectl dns lab0 ${LAB.server} && resolvectl domain lab0 '' && resolvectl default-route lab0 yes`,
    );
    await this.exec("resolvectl default-route corp0 no");
  }

  async restart(stub: boolean): Promise<void> {
    await this.stop();
    await this.start(stub);
  }

  /** Starts the program that follows the policy of this host and asks for names by it. */
  client(): ResolvedClient {
    const program = join(import.meta.dirname, "resolved-client.ts");
    const child = spawn("nsenter", [...this.#enter(), process.execPath, program], { stdio: "pipe" });
    return new ResolvedClient(child);
  }

  async destroy(): Promise<void> {
    const closed = once(this.#init, "close");
    this.#init.kill("SIGKILL");
    await closed;
    rmSync(this.#folder, { recursive: true });
  }

  #enter(): string[] {
    return ["--target", String(this.#pid), "--mount", "--net", "--pid", "--"];
  }
}

/** A program inside that follows the policy and asks for names. */
export class ResolvedClient {
  readonly #child: ChildProcessWithoutNullStreams;
  readonly #lines: AsyncIterator<string>;
  #errors = "";

  constructor(child: ChildProcessWithoutNullStreams) {
    this.#child = child;
    this.#lines = createInterface(child.stdout)[Symbol.asyncIterator]();
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      this.#errors += text;
    });
  }

  /** What the policy is now, and what names resolve to by it. */
  async report(...names: string[]): Promise<InsideReport> {
    this.#child.stdin.write(`${names.join(" ")}\n`);
    const line = await this.#lines.next();
    if (line.done) throw new Error(`the program inside ended:\n${this.#errors}`);
    return JSON.parse(line.value);
  }

  /** Asks until something holds, for at most so many milliseconds. */
  async until(holds: (report: InsideReport) => boolean, milliseconds: number): Promise<InsideReport> {
    const end = performance.now() + milliseconds;
    for (;;) {
      const report = await this.report();
      if (holds(report)) return report;
      if (performance.now() > end) throw new Error(`after ${milliseconds} ms it is still ${JSON.stringify(report)}`);
    }
  }

  async stop(): Promise<void> {
    const closed = once(this.#child, "close");
    this.#child.stdin.end();
    await closed;
  }
}
