import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { chownSync, closeSync, mkdirSync, mkdtempSync, openSync, readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const REPOSITORY = join(import.meta.dirname, "..", "..");
const BIN = join(REPOSITORY, "apps", "hostd", "bin", "hostd.mjs");
/** Where the logs and captures of a run are left. */
export const ARTIFACTS = join(REPOSITORY, "test", "output");

/** The user "nobody": hostd needs no right of root, so the tests take them all away from it. */
const NOBODY = 65534;

/**
 * Whom hostd runs as: nobody, when this process is root and nobody can read the checkout (a clone in a private folder
 * cannot be), else the user of this process.
 */
function unprivileged(): { uid?: number; gid?: number } {
  if (process.getuid?.() !== 0) return {};
  const drop = ["--reuid", String(NOBODY), "--regid", String(NOBODY), "--clear-groups"];
  const isReadable = spawnSync("setpriv", [...drop, "test", "-r", BIN]).status === 0;
  return isReadable ? { uid: NOBODY, gid: NOBODY } : {};
}

const USER = unprivileged();
/** Logs that this process has begun; hostd started again under the same name goes on in its log. */
const begun = new Set<string>();

/** Makes a temporary folder that hostd may write to. */
export function makeFolder(name: string): string {
  const folder = mkdtempSync(join(tmpdir(), `hostd-${name}-`));
  if (USER.uid !== undefined) chownSync(folder, NOBODY, NOBODY);
  return folder;
}

/** The environment of hostd: without the proxies that the host of the tests may have. */
const WITHOUT_PROXIES = Object.fromEntries(
  Object.entries(process.env).filter(([name]) => !/^(?:https?|all|no)_proxy$/i.test(name)),
);

/** A running `hostd up`, as a person starts it. Its log is left in test/output, with a capture when asked for. */
export class HostdProcess {
  readonly #child: ChildProcess;
  readonly #exited: Promise<number | null>;
  readonly #logPath: string;

  private constructor(child: ChildProcess, logPath: string) {
    this.#child = child;
    this.#logPath = logPath;
    this.#exited = new Promise((resolve) => child.once("exit", (status) => resolve(status)));
  }

  /**
   * Starts hostd and waits until VMs can attach.
   *
   * @throws with the log when it ends before that.
   */
  static async start(name: string, args: readonly string[]): Promise<HostdProcess> {
    mkdirSync(ARTIFACTS, { recursive: true });
    const logPath = join(ARTIFACTS, `${name}.hostd.log`);
    const log = openSync(logPath, begun.has(name) ? "a" : "w");
    begun.add(name);
    const child = spawn(process.execPath, [BIN, "up", "--log-level", "debug", ...args], {
      stdio: ["ignore", "pipe", log],
      env: WITHOUT_PROXIES,
      ...USER,
    });
    closeSync(log);
    const hostd = new HostdProcess(child, logPath);
    // The announcement comes once every endpoint is listened on.
    const announced = new Promise<"ready">((resolve) => child.stdout?.once("data", () => resolve("ready")));
    const first = await Promise.race([announced, hostd.#exited]);
    if (first !== "ready") throw new Error(`hostd ended with status ${first}:\n${hostd.log}`);
    return hostd;
  }

  get pid(): number {
    if (this.#child.pid === undefined) throw new Error("hostd has no process id");
    return this.#child.pid;
  }

  get log(): string {
    return readFileSync(this.#logPath, "utf8");
  }

  /** Resident memory in bytes, from Linux's account of the process. */
  get residentBytes(): number {
    const match = /^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${this.pid}/status`, "utf8"));
    return match === null ? 0 : Number(match[1]) * 1024;
  }

  /** Ends it with a signal and returns its exit status. */
  async stop(signal: NodeJS.Signals = "SIGTERM"): Promise<number | null> {
    this.#child.kill(signal);
    return await this.#exited;
  }
}
