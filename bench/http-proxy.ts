/**
 * Measures the HTTP proxy alone, without a VM: requests per second with keep-alive, megabytes per second of one body, plain
 * and through a tunnel, and the memory of idle tunnels. Beside it in the same run, by turns: the same load without a proxy, by a
 * relay that knows nothing of HTTP, and by squid if it is installed.
 *
 *   node bench/http-proxy.ts [--rounds N] [--seconds S] [--connections N] [--megabytes N] [--tunnels N] [--json]
 *     [--profile FOLDER]
 *
 * The proxies run on one core and everything else on the others, by `taskset`. Processor time is that of the proxy, for each
 * request or gigabyte. With `--profile` the proxy's processor profile is written there. Linux; takes `cc`.
 */
import { type ChildProcess, execFileSync, fork, spawn } from "node:child_process";
import { once } from "node:events";
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import { BASE_PORT, compileRig, figureOf, LoadGenerator } from "./harness/load.ts";
import { cpuSeconds, residentBytes } from "./harness/process-table.ts";
import { type Summary, summarize } from "./harness/statistics.ts";

/** An address of the loopback that nobody else uses. */
const ADDRESS = "127.77.0.1";
const ORIGIN_PORT = 4001;
const PROXY_PORT = 4002;
const RELAY_PORT = 4003;
const SQUID_PORT = 4004;
const FOLDER = join(import.meta.dirname, "http-proxy");
const SQUID = "/usr/sbin/squid";
/** So that connections and collections of before are over. */
const SETTLE_MS = 1000;

const { values } = parseArgs({
  options: {
    rounds: { type: "string", default: "5" },
    seconds: { type: "string", default: "3" },
    connections: { type: "string", default: "32" },
    megabytes: { type: "string", default: "1000" },
    tunnels: { type: "string", default: "5000" },
    json: { type: "boolean", default: false },
    profile: { type: "string" },
  },
});

function wholeNumber(name: "rounds" | "connections" | "megabytes" | "tunnels", most: number): number {
  const number = Number(values[name]);
  if (Number.isInteger(number) && number >= 0 && number <= most) return number;
  throw new RangeError(`--${name} ${values[name]} is not a whole number of 0 to ${most}`);
}

const rounds = wholeNumber("rounds", 1000);
const connections = wholeNumber("connections", 10_000);
const bytes = wholeNumber("megabytes", 100_000) * 1e6;
const tunnels = wholeNumber("tunnels", 10_000);
const seconds = Number(values.seconds);
if (!(seconds >= 0.1 && seconds <= 600)) throw new RangeError(`--seconds ${values.seconds} is not 0.1 to 600`);

/** A process that is measured. */
interface Subject {
  readonly port: number;
  readonly pid: number;
  /** One of ours, which can be asked. */
  readonly child: ChildProcess;
  stop(): void;
}

const mayPin = availableParallelism() > 1;
const others = `1-${Math.max(1, availableParallelism() - 1)}`;
const pin = (pid: number, cores: string) => {
  if (mayPin) execFileSync("taskset", ["-a", "-c", "-p", cores, String(pid)], { stdio: "ignore" });
};

async function start(role: string, port: number, rest: readonly string[] = [], cores = "0"): Promise<Subject> {
  const profile =
    values.profile === undefined || role !== "proxy" ? [] : ["--cpu-prof", `--cpu-prof-dir=${values.profile}`];
  const child = fork(join(FOLDER, "serve.ts"), [role, String(port), ...rest], {
    execArgv: ["--expose-gc", "--max-semi-space-size=8", ...profile],
  });
  await once(child, "message");
  const { pid = 0 } = child;
  pin(pid, cores);
  return { port, pid, child, stop: () => child.disconnect() };
}

function hasSquid(): boolean {
  try {
    execFileSync(SQUID, ["-v"], { stdio: "ignore" });
    return true;
  } catch {
    return false;
  }
}

async function startSquid(folder: string): Promise<Subject> {
  const config = join(folder, "squid.conf");
  const lines = [
    `http_port ${ADDRESS}:${SQUID_PORT}`,
    "http_access allow all",
    "cache deny all",
    "access_log none",
    `cache_log ${folder}/cache.log`,
    `pid_filename ${folder}/squid.pid`,
    `coredump_dir ${folder}`,
    "cache_mem 8 MB",
    "workers 1",
    "via off",
    "forwarded_for delete",
    "shutdown_lifetime 0 seconds",
    "max_filedescriptors 65535",
  ];
  writeFileSync(config, `${lines.join("\n")}\n`);
  chmodSync(folder, 0o777);
  const child = spawn(SQUID, ["-N", "-f", config], { stdio: "ignore" });
  const { pid = 0 } = child;
  for (let tries = 0; ; tries++) {
    const socket = connect(SQUID_PORT, ADDRESS);
    const isUp = await once(socket, "connect").then(
      () => true,
      () => false,
    );
    socket.destroy();
    if (isUp) break;
    if (tries > 100) throw new Error("squid does not start");
    await sleep(100);
  }
  pin(pid, "0");
  return { port: SQUID_PORT, pid, child, stop: () => child.kill("SIGKILL") };
}

/** Runs a client; `use` has what it is for. */
async function withClient<Result>(
  args: readonly (string | number)[],
  use: (seconds: number) => Promise<Result>,
): Promise<Result> {
  const child = fork(join(FOLDER, "client.ts"), args.map(String));
  pin(child.pid ?? 0, others);
  const [message] = await Promise.race([
    once(child, "message"),
    once(child, "exit").then(([status]) => Promise.reject(new Error(`the client ended with ${status}`))),
  ]);
  const exited = child.exitCode === null ? once(child, "exit") : null;
  const result = await use(message.seconds);
  if (child.connected) child.disconnect();
  await exited;
  return result;
}

/** Figures of all rounds by name. */
const figures = new Map<string, number[]>();
function note(name: string, value: number): void {
  const known = figures.get(name);
  if (known === undefined) figures.set(name, [value]);
  else known.push(value);
}

async function measureRequests(load: LoadGenerator, name: string, subject: Subject | null): Promise<void> {
  const args = ["http", "--to", `${ADDRESS}:${BASE_PORT}`, "--connections", connections, "--seconds", seconds];
  const warmup = 0.5;
  const proxy = subject === null ? [] : ["--proxy", `${ADDRESS}:${subject.port}`];
  const before = subject === null ? 0 : cpuSeconds(subject.pid);
  const result = await load.run("host", [...args, "--warmup", warmup, ...proxy], seconds + warmup);
  const rate = figureOf(result, "requestsPerSecond");
  note(`${name}: requests/s`, rate);
  note(`${name}: p99 ms`, figureOf(result, "p99") / 1000);
  if (subject === null) return;
  note(`${name}: µs of processor a request`, ((cpuSeconds(subject.pid) - before) * 1e6) / (rate * (seconds + warmup)));
}

async function measureBody(name: string, role: "get" | "connect", port: number, subject: Subject | null) {
  const before = subject === null ? 0 : cpuSeconds(subject.pid);
  const took = await withClient([role, port, ORIGIN_PORT, bytes], (time) => Promise.resolve(time));
  note(`${name}: MB/s`, bytes / 1e6 / took);
  if (subject !== null) note(`${name}: s of processor a GB`, ((cpuSeconds(subject.pid) - before) * 1e9) / bytes);
}

async function measureTunnels(name: string, role: "tunnels" | "flows", subject: Subject): Promise<void> {
  // The first connections load code.
  await withClient([role, subject.port, ORIGIN_PORT, 100], () => Promise.resolve());
  const memory = async (): Promise<readonly [resident: number, heap: number]> => {
    await sleep(SETTLE_MS);
    if (!subject.child.connected) return [residentBytes(subject.pid), 0];
    const answered = once(subject.child, "message");
    subject.child.send("memory");
    const [{ heap }] = await answered;
    return [residentBytes(subject.pid), heap];
  };
  const before = await memory();
  await withClient([role, subject.port, ORIGIN_PORT, tunnels], async () => {
    const after = await memory();
    note(`${name}: resident KB a tunnel`, (after[0] - before[0]) / tunnels / 1000);
    if (after[1] > 0) note(`${name}: heap KB a tunnel`, (after[1] - before[1]) / tunnels / 1000);
  });
}

const folder = mkdtempSync(join(tmpdir(), "hostd-http-proxy-"));
const running: Subject[] = [];
const started = (subject: Subject) => {
  running.push(subject);
  return subject;
};
try {
  const rig = await compileRig(folder);
  const load = new LoadGenerator(rig.load);
  const services = spawn(rig.load, ["serve", "--listen", ADDRESS, "--port", String(BASE_PORT)], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const { pid = 0 } = services;
  running.push({ port: BASE_PORT, pid, child: services, stop: () => services.kill("SIGKILL") });
  await once(services.stdout, "data");
  pin(pid, others);
  // The load generator's processes inherit this.
  pin(process.pid, others);
  started(await start("origin", ORIGIN_PORT, [], others));
  const proxy = started(await start("proxy", PROXY_PORT));
  const relay = started(await start("relay", RELAY_PORT, [String(ORIGIN_PORT)]));
  const squid = hasSquid() ? started(await startSquid(folder)) : null;
  for (let round = 0; round < rounds; round++) {
    if (connections > 0) {
      await measureRequests(load, "direct", null);
      await measureRequests(load, "hostd", proxy);
      if (squid !== null) await measureRequests(load, "squid", squid);
    }
    if (bytes === 0) continue;
    await measureBody("direct", "get", ORIGIN_PORT, null);
    await measureBody("hostd, plain", "get", PROXY_PORT, proxy);
    if (squid !== null) await measureBody("squid, plain", "get", SQUID_PORT, squid);
    await measureBody("relay", "get", RELAY_PORT, relay);
    await measureBody("hostd, tunnel", "connect", PROXY_PORT, proxy);
    if (squid !== null) await measureBody("squid, tunnel", "connect", SQUID_PORT, squid);
  }
  if (tunnels > 0) {
    // In processes that have done nothing before.
    for (const subject of running.splice(2)) subject.stop();
    await sleep(SETTLE_MS);
    await measureTunnels("hostd", "tunnels", started(await start("proxy", PROXY_PORT)));
    await measureTunnels("relay", "flows", started(await start("relay", RELAY_PORT, [String(ORIGIN_PORT)])));
    if (squid !== null) await measureTunnels("squid", "tunnels", started(await startSquid(folder)));
  }
} finally {
  for (const subject of running) subject.stop();
  rmSync(folder, { recursive: true, force: true });
}
const summaries = new Map<string, Summary>([...figures].map(([name, all]) => [name, summarize(all)]));
if (values.json) {
  console.log(JSON.stringify({ node: process.version, ...Object.fromEntries(summaries) }));
} else {
  const shown = (value: number) => (value >= 100 ? value.toFixed(0) : value.toPrecision(3));
  for (const [name, { median, min, max }] of summaries) {
    console.log(`${name.padEnd(40)} ${shown(median).padStart(8)}   (${shown(min)} to ${shown(max)})`);
  }
}
