import { type ChildProcessWithoutNullStreams, execFile, spawn } from "node:child_process";
import { existsSync, rmdirSync, rmSync } from "node:fs";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { isRoot } from "./host-packages.ts";

export interface ExecResult {
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
}

const execFileAsync = promisify(execFile);

/** Where ip-netns(8) finds the files that it mounts over those of /etc for a program inside. */
const CONFIGURATION = "/etc/netns";

/** Runs `ip` on the host; throws with its message. */
export async function ip(...args: string[]): Promise<string> {
  try {
    return (await execFileAsync("ip", args)).stdout;
  } catch (error) {
    throw new Error(`ip ${args.join(" ")}: ${error instanceof Error ? error.message.trim() : String(error)}`);
  }
}

/** Whether the process that made something, and put its id into the name, has ended. */
export function hasEnded(pid: string | undefined): boolean {
  return pid !== undefined && !existsSync(`/proc/${pid}`);
}

/**
 * Adds a network namespace whose loopback is up, after removing those that ended processes left. Takes root.
 *
 * @param name - part of the namespace's name; letters and digits
 * @returns the namespace's name. The process id in it keeps parallel runs apart and tells what a killed run has left.
 */
export async function addNamespace(name: string): Promise<string> {
  if (!/^[a-z0-9]+$/i.test(name)) throw new Error(`namespace "${name}": the name may have letters and digits only`);
  if (!isRoot()) throw new Error(`namespace "${name}": making a network namespace takes root`);
  await removeLeftovers();
  const namespace = `hostd-${process.pid}-${name}`;
  await ip("netns", "add", namespace);
  try {
    await ip("-n", namespace, "link", "set", "lo", "up");
  } catch (error) {
    await ip("netns", "del", namespace);
    throw error;
  }
  return namespace;
}

/** A network namespace made by {@link addNamespace}, in which programs of the host run. */
export class Namespace {
  /** Its name for ip-netns(8). */
  readonly namespace: string;

  constructor(namespace: string) {
    this.namespace = namespace;
  }

  /** Runs a shell command inside to its end; kills it after `timeoutMs`. */
  async exec(command: string, timeoutMs = 30_000): Promise<ExecResult> {
    const child = this.spawn("sh", ["-c", command]);
    const timer = setTimeout(() => child.kill("SIGKILL"), timeoutMs);
    let stdout = "";
    let stderr = "";
    child.stdout.setEncoding("utf8").on("data", (text: string) => (stdout += text));
    child.stderr.setEncoding("utf8").on("data", (text: string) => (stderr += text));
    child.stdin.end();
    const status = await new Promise<number | null>((resolve, reject) => {
      child.once("error", reject);
      child.once("close", resolve);
    });
    clearTimeout(timer);
    if (status === null) throw new Error(`killed after ${timeoutMs} ms in ${this.namespace}: ${command}\n${stderr}`);
    return { status, stdout, stderr };
  }

  /** Runs a shell command inside that is expected to succeed; throws with its output if it does not. */
  async check(command: string, timeoutMs = 30_000): Promise<ExecResult> {
    const result = await this.exec(command, timeoutMs);
    if (result.status === 0) return result;
    throw new Error(`status ${result.status} in ${this.namespace}: ${command}\n${result.stdout}${result.stderr}`);
  }

  /** Starts a program inside, such as a server; `destroy` ends it. Its standard streams are pipes. */
  spawn(program: string, args: readonly string[] = []): ChildProcessWithoutNullStreams {
    return spawn("ip", ["netns", "exec", this.namespace, program, ...args], { stdio: "pipe" });
  }

  /** Ends what runs inside and removes the namespace. */
  async destroy(): Promise<void> {
    await removeNamespace(this.namespace);
  }
}

/**
 * Makes a file that programs started in a namespace from now on see instead of the host's of the same name in /etc. It
 * goes with the namespace.
 *
 * @returns its path on the host
 */
export async function addConfiguration(namespace: string, name: string): Promise<string> {
  const folder = join(CONFIGURATION, namespace);
  await mkdir(folder, { recursive: true });
  await writeFile(join(folder, name), "");
  return join(folder, name);
}

/** Removes the namespaces of processes that did not do so before they ended. */
async function removeLeftovers(): Promise<void> {
  for (const line of (await ip("netns", "list")).split("\n")) {
    const [namespace = ""] = line.split(" ");
    // Another run may be removing the same.
    if (hasEnded(/^hostd-(\d+)-/.exec(namespace)?.[1])) await removeNamespace(namespace).catch(() => {});
  }
}

/** Ends the processes inside, without which the namespace would live on, and removes it with what is in it. */
async function removeNamespace(namespace: string): Promise<void> {
  for (const pid of (await ip("netns", "pids", namespace)).split("\n")) {
    if (pid === "") continue;
    try {
      process.kill(Number(pid), "SIGKILL");
    } catch {
      // It has ended meanwhile.
    }
  }
  await ip("netns", "del", namespace);
  rmSync(join(CONFIGURATION, namespace), { recursive: true, force: true });
  try {
    rmdirSync(CONFIGURATION);
  } catch {
    // It holds another namespace's files, or was never made.
  }
}
