import { spawn } from "node:child_process";
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { constants, tmpdir } from "node:os";
import { join } from "node:path";
import { findCommand, isRoot } from "../../test/vm/host-packages.ts";
import { finish } from "./programs.ts";

/** Names the temporary folder, for the process inside. */
const FOLDER = "HOSTD_BENCH_FOLDER";
const PREFIX = "hostd-bench-";

/** Why this machine cannot have a sandbox, if so. */
export function obstacle(): string | undefined {
  if (process.platform !== "linux") return `it needs Linux; this is ${process.platform}`;
  if (!isRoot()) return "it makes network namespaces, which takes root; run: sudo npm run bench";
  const missing = ["unshare", "ip", "mount", "cc"].filter((command) => findCommand(command) === undefined);
  if (missing.length === 0) return undefined;
  return `missing here: ${missing.join(", ")}; run: apt-get install util-linux mount iproute2 gcc libc6-dev`;
}

/**
 * The folder of the sandbox that this process runs in.
 *
 * @returns undefined outside
 */
export function sandboxFolder(): string | undefined {
  return process.env[FOLDER];
}

/**
 * Runs a script in a sandbox: with namespaces of its own for network, mounts and processes, so that nothing of the machine
 * is touched, no packet leaves it, and everything in it ends with the script, however that ends. Takes root.
 *
 * @returns the status of the script, or 128 plus the number of the signal that ended the sandbox
 */
export async function runInSandbox(script: string, args: readonly string[]): Promise<number> {
  removeLeftovers();
  const folder = mkdtempSync(join(tmpdir(), `${PREFIX}${process.pid}-`));
  // Some peers turn into an unprivileged user.
  chmodSync(folder, 0o755);
  const unshare = ["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"];
  try {
    const child = spawn("unshare", [...unshare, process.execPath, ...process.execArgv, script, ...args], {
      stdio: ["inherit", "inherit", "inherit", "ipc"],
      env: { ...process.env, [FOLDER]: folder },
    });
    let status: number | undefined;
    for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
      process.on(signal, () => {
        status ??= 128 + constants.signals[signal];
        // The script ends when the channel does, and unshare itself heeds no signal.
        if (child.connected) child.disconnect();
      });
    }
    const ended = await new Promise<number | null>((resolve, reject) => {
      child.once("error", reject);
      child.once("exit", resolve);
    });
    return status ?? ended ?? 1;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Removes the folders of runs that were killed. */
function removeLeftovers(): void {
  for (const name of readdirSync(tmpdir())) {
    const pid = new RegExp(`^${PREFIX}(\\d+)-`).exec(name)?.[1];
    if (pid === undefined || isRunning(Number(pid))) continue;
    rmSync(join(tmpdir(), name), { recursive: true, force: true });
  }
}

function isRunning(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}

/**
 * Makes the sandbox "the host" of the benchmark: loopback, a default route that leads nowhere, a name server on loopback,
 * and a place for namespaces. From now on this process ends at once when the one outside does, or wants it to.
 */
export async function becomeHost(folder: string): Promise<void> {
  const end = () => process.exit(1);
  for (const event of ["SIGINT", "SIGTERM", "SIGHUP", "disconnect"]) process.on(event, end);
  if (!process.connected) end();
  // Waiting for the channel shall not keep this process alive.
  process.channel?.unref();

  mkdirSync("/run/netns", { recursive: true });
  await run("mount", "-t", "tmpfs", "tmpfs", "/run/netns");
  const resolvConf = join(folder, "resolv.conf");
  writeFileSync(resolvConf, "nameserver 127.0.0.1\n");
  await run("mount", "--bind", resolvConf, "/etc/resolv.conf");

  for (const [path, value] of networkSettings()) writeFileSync(`/proc/sys/net/${path}`, value);
  await run("ip", "link", "set", "lo", "up");
  // passt takes the guest's addresses from the interface with the default route. Its peer swallows what is sent there.
  await run("ip", "link", "add", "outside", "type", "veth", "peer", "name", "nowhere");
  await run("ip", "address", "add", "192.0.2.1/24", "dev", "outside");
  await run("ip", "link", "set", "nowhere", "up");
  await run("ip", "link", "set", "outside", "up");
  await run("ip", "route", "add", "default", "via", "192.0.2.254", "dev", "outside");
}

/**
 * The congestion control of the guests and of the host's sockets: Linux's default, CUBIC, where a namespace may choose it,
 * else Reno, which is always allowed and does the same as long as nothing is lost. A machine's own choice (such as BBR, which
 * waits between packets) would decide a good part of the figures.
 */
export function congestionControl(): string {
  const allowed = readFileSync("/proc/sys/net/ipv4/tcp_allowed_congestion_control", "utf8");
  return allowed.trim().split(" ").includes("cubic") ? "cubic" : "reno";
}

/**
 * Settings of the host's and of each guest's namespace, as paths below /proc/sys/net: room for 10,000 flows and for
 * thousands of connections a second, clear of the services' ports, and no packets of IPv6 that nobody asked for.
 */
export function networkSettings(): [path: string, value: string][] {
  return [
    ["ipv4/ip_local_port_range", "10000 65535"],
    ["ipv4/tcp_congestion_control", congestionControl()],
    ["ipv6/conf/all/disable_ipv6", "1"],
  ];
}

async function run(program: string, ...args: string[]): Promise<void> {
  try {
    await finish(spawn(program, args), 10_000);
  } catch (error) {
    throw new Error(`${program} ${args.join(" ")}: ${error instanceof Error ? error.message : String(error)}`);
  }
}
