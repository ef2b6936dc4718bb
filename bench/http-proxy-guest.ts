/**
 * Measures the HTTP proxy with a guest, so with the stack in front of it:
 *
 * - one body down and up: by a connection that hostd passes on, by requests and by tunnels of the proxy, and by connections
 *   that were not meant for a proxy, once with and once without an upstream proxy;
 * - requests per second on connections that are kept, beside those of squid, which the guest reaches through the same stack;
 * - memory of idle tunnels beside that of connections that are passed on.
 *
 *   sudo node bench/http-proxy-guest.ts [--rounds N] [--megabytes N] [--seconds S] [--connections N] [--tunnels N]
 *     [--mtus LIST] [--json] [--profile FOLDER]
 *
 * It runs in a sandbox as `npm run bench` does. All is measured by turns, and the median is shown. With `--profile` the
 * processor profile of hostd is written there. Takes Linux, root, `cc` and Python, and squid for its figures.
 */
import { type ChildProcessWithoutNullStreams, spawn } from "node:child_process";
import { once } from "node:events";
import { chmodSync, mkdirSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import { askDaemon } from "../test/integration/support/control.ts";
import { findCommand, isRoot } from "../test/vm/host-packages.ts";
import { BASE_PORT, compileRig, figureOf, LoadGenerator, type Rig } from "./harness/load.ts";
import { finish } from "./harness/programs.ts";
import { RunningPeer } from "./harness/running-peer.ts";
import { becomeHost, runInSandbox, sandboxFolder } from "./harness/sandbox.ts";
import { summarize } from "./harness/statistics.ts";
import { hostd } from "./peers/hostd.ts";
import type { Peer } from "./peers/peer.ts";

const TRANSFER = join(import.meta.dirname, "http-proxy-guest", "transfer.py");
const { gateway, host } = hostd.network;
const PROXY = `${gateway}:3128`;
/** The address of the host in the sandbox that is not loopback, as an origin outside. */
const OUTSIDE = "192.0.2.1";
const BODY_PORT = 4001;
const UPSTREAM_PORT = 4002;
const SQUID_PORT = 4004;
const HOLD_PORT = BASE_PORT + 5;
/** Connections and collections of before are over then, in milliseconds. */
const SETTLE_MS = 1000;
const GRACE_MS = 120_000;

const { values } = parseArgs({
  options: {
    rounds: { type: "string", default: "3" },
    megabytes: { type: "string", default: "1000" },
    seconds: { type: "string", default: "3" },
    connections: { type: "string", default: "50" },
    tunnels: { type: "string", default: "5000" },
    mtus: { type: "string", default: "1500,65520" },
    json: { type: "boolean", default: false },
    profile: { type: "string" },
  },
});

function numberOf(name: "rounds" | "megabytes" | "seconds" | "connections" | "tunnels", most: number): number {
  const number = Number(values[name]);
  if (Number.isInteger(number) && number >= 0 && number <= most) return number;
  throw new RangeError(`--${name} ${values[name]} is not a whole number of 0 to ${most}`);
}

const rounds = numberOf("rounds", 1000);
const bytes = numberOf("megabytes", 100_000) * 1e6;
const seconds = numberOf("seconds", 600);
const connections = numberOf("connections", 10_000);
const tunnels = numberOf("tunnels", 10_000);
const mtus = values.mtus.split(",").map((text) => {
  const mtu = Number(text);
  if (!Number.isInteger(mtu) || mtu < 576 || mtu > 65_520) throw new RangeError(`--mtus ${text} is not 576 to 65520`);
  return mtu;
});

/** A way in which a body is moved: its name, what the client does, and whether there is an upstream proxy meanwhile. */
interface Way {
  readonly name: string;
  readonly words: readonly string[];
  readonly isUpstream: boolean;
  /** The way that it is compared with. */
  readonly beside: string | null;
}

const WAYS: readonly Way[] = [
  { name: "direct", words: ["direct", `${host}:${BODY_PORT}`], isUpstream: false, beside: null },
  { name: "requests", words: ["plain", `${host}:${BODY_PORT}`], isUpstream: false, beside: "direct" },
  { name: "tunnel", words: ["tunnel", `${host}:${BODY_PORT}`], isUpstream: false, beside: "direct" },
  { name: "port 80, direct", words: ["direct", `${OUTSIDE}:80`], isUpstream: false, beside: null },
  { name: "port 80, upstream", words: ["direct", `${OUTSIDE}:80`], isUpstream: true, beside: "port 80, direct" },
  { name: "port 443, direct", words: ["tls", `${OUTSIDE}:443`], isUpstream: false, beside: null },
  { name: "port 443, upstream", words: ["tls", `${OUTSIDE}:443`], isUpstream: true, beside: "port 443, direct" },
];

/** Figures of all rounds by name. */
const figures = new Map<string, number[]>();
function note(name: string, value: number): void {
  const known = figures.get(name);
  if (known === undefined) figures.set(name, [value]);
  else known.push(value);
}

/** Starts a program of the host, and waits for its first word. */
async function serve(program: string, args: readonly string[]): Promise<void> {
  const child = spawn(program, args, { stdio: ["ignore", "pipe", "inherit"] });
  child.once("exit", (status) => {
    throw new Error(`${program} ${args.join(" ")} ended with ${status}`);
  });
  await once(child.stdout, "data");
}

/** Squid on the host's loopback. */
async function startSquid(program: string, folder: string): Promise<void> {
  const own = join(folder, "squid");
  mkdirSync(own);
  chmodSync(own, 0o777);
  const config = join(own, "squid.conf");
  const lines = [
    `http_port 127.0.0.1:${SQUID_PORT}`,
    "http_access allow all",
    "cache deny all",
    "access_log none",
    `cache_log ${own}/cache.log`,
    "pid_filename none",
    "pinger_enable off",
    "visible_hostname squid.example",
    `coredump_dir ${own}`,
    "shutdown_lifetime 0 seconds",
    "max_filedescriptors 65535",
  ];
  writeFileSync(config, `${lines.join("\n")}\n`);
  const child = spawn(program, ["-N", "-f", config], { stdio: "ignore" });
  for (let tries = 0; tries < 100 && child.exitCode === null; tries++) {
    const socket = connect(SQUID_PORT, "127.0.0.1");
    const isUp = await once(socket, "connect").then(
      () => true,
      () => false,
    );
    socket.destroy();
    if (isUp) return;
    await sleep(100);
  }
  throw new Error("squid does not start");
}

/** hostd with a control API, and with a profile if one is wanted. */
function subject(mtu: number): { readonly peer: Peer; readonly api: () => string } {
  const [installation] = hostd.installations();
  if (installation === undefined) throw new Error("there is no hostd");
  const [node = "", ...rest] = installation.command;
  const { profile } = values;
  const flags =
    profile === undefined ? [] : ["--cpu-prof", `--cpu-prof-dir=${profile}`, `--cpu-prof-name=${mtu}.cpuprofile`];
  let api = "";
  const kind = {
    ...hostd,
    launch: (start: Parameters<typeof hostd.launch>[0]) => {
      api = join(start.folder, "api.sock");
      const launch = hostd.launch(start);
      return { ...launch, command: [...launch.command, "--api", api, "--proxy", "direct"] };
    },
  };
  const command = [node, ...flags, ...rest];
  return { peer: { id: "hostd", kind, installation: { ...installation, command } }, api: () => api };
}

function runInGuest({ guest }: RunningPeer, words: readonly (string | number)[]): ChildProcessWithoutNullStreams {
  return guest.spawn("python3", [TRANSFER, ...words.map(String)]);
}

/** Measures one body in each way, by turns. */
async function measureBodies(running: RunningPeer, api: string, mtu: number): Promise<void> {
  for (const direction of ["get", "put"] as const) {
    const arrow = direction === "get" ? "down" : "up";
    const rates = new Map<string, number>();
    for (const { name, words, isUpstream, beside } of WAYS) {
      const upstream = isUpstream ? `http://127.0.0.1:${UPSTREAM_PORT}` : "direct";
      const { status, body } = await askDaemon(api, "PUT", "/v1/proxy", { upstream });
      if (status !== 200) throw new Error(`hostd does not take the proxy: ${body}`);
      const [way = "", origin = ""] = words;
      const before = running.cpuSeconds;
      const { stdout } = await finish(runInGuest(running, [direction, way, origin, bytes, PROXY]), GRACE_MS);
      const rate = bytes / 1e6 / Number(stdout);
      rates.set(name, rate);
      const title = `${mtu} ${arrow}, ${name}`;
      note(`${title}: MB/s`, rate);
      note(`${title}: s of hostd a GB`, ((running.cpuSeconds - before) * 1e9) / bytes);
      const other = beside === null ? undefined : rates.get(beside);
      if (other !== undefined) note(`${title}: of that direct`, rate / other);
    }
  }
}

async function measureRequests(
  running: RunningPeer,
  load: LoadGenerator,
  mtu: number,
  hasSquid: boolean,
): Promise<void> {
  const warmup = 0.5;
  const measure = async (name: string, words: readonly (string | number)[]) => {
    const args = ["http", ...words, "--connections", connections, "--seconds", seconds, "--warmup", warmup];
    const before = running.cpuSeconds;
    const result = await load.run(running.guest, args, seconds + warmup);
    const rate = figureOf(result, "requestsPerSecond");
    note(`${mtu} ${name}: requests/s`, rate);
    note(`${mtu} ${name}: p99 ms`, figureOf(result, "p99") / 1000);
    note(`${mtu} ${name}: µs of hostd a request`, ((running.cpuSeconds - before) * 1e6) / (rate * (seconds + warmup)));
    return rate;
  };
  await measure("passed on", ["--to", `${host}:${BASE_PORT}`]);
  const own = await measure("proxy", ["--to", `${host}:${BASE_PORT}`, "--proxy", PROXY]);
  if (!hasSquid) return;
  const squid = await measure("squid", ["--to", `127.0.0.1:${BASE_PORT}`, "--proxy", `${host}:${SQUID_PORT}`]);
  note(`${mtu} proxy: of squid's requests`, own / squid);
}

async function measureTunnels(running: RunningPeer, load: LoadGenerator, mtu: number): Promise<void> {
  const origin = `${host}:${HOLD_PORT}`;
  const openTunnels = async (count: number) => {
    const child = runInGuest(running, ["tunnels", count, origin, PROXY]);
    const ended = finish(child, GRACE_MS);
    await Promise.race([once(child.stdout, "data"), ended]);
    return async () => {
      child.stdin.end();
      await ended;
    };
  };
  const openFlows = async (count: number) => {
    const client = await load.open(
      running.guest,
      ["idle", "--to", `${host}:${BASE_PORT}`, "--flows", count, "--hold", 120],
      120,
    );
    return () => client.close();
  };
  for (const [name, open] of [
    ["flow that is passed on", openFlows],
    ["tunnel", openTunnels],
  ] as const) {
    // The first ones load code.
    await (await open(100))();
    await sleep(SETTLE_MS);
    const before = running.residentBytes;
    const close = await open(tunnels);
    await sleep(SETTLE_MS);
    note(`${mtu} memory: KB an idle ${name}`, (running.residentBytes - before) / tunnels / 1000);
    await close();
    await sleep(SETTLE_MS);
  }
}

async function measureAll(folder: string): Promise<void> {
  await becomeHost(folder);
  const rig: Rig = await compileRig(folder);
  const load = new LoadGenerator(rig.load);
  await load.serve("host", "127.0.0.1");
  await serve("python3", [TRANSFER, "serve", "80", "443", String(BODY_PORT)]);
  await serve("python3", [TRANSFER, "upstream", String(UPSTREAM_PORT)]);
  const squid = findCommand("squid");
  if (squid !== undefined) await startSquid(squid, folder);
  for (const mtu of mtus) {
    const { peer, api } = subject(mtu);
    const start = () => RunningPeer.start(peer, { mtu, folder, bridge: rig.bridge, load });
    if (tunnels > 0) {
      const running = await start();
      await measureTunnels(running, load, mtu);
      await running.stop();
    }
    const running = await start();
    for (let round = 0; round < rounds; round++) {
      if (bytes > 0) await measureBodies(running, api(), mtu);
      if (connections > 0) await measureRequests(running, load, mtu, squid !== undefined);
    }
    await running.stop();
  }
  show();
}

function show(): void {
  const summaries = [...figures].map(([name, all]) => [name, summarize(all)] as const);
  if (values.json) {
    console.log(JSON.stringify({ node: process.version, ...Object.fromEntries(summaries) }));
    return;
  }
  const shown = (value: number) => (value >= 100 ? value.toFixed(0) : value.toPrecision(3));
  for (const [name, { median, min, max }] of summaries) {
    console.log(`${name.padEnd(48)} ${shown(median).padStart(8)}   (${shown(min)} to ${shown(max)})`);
  }
}

const folder = sandboxFolder();
if (folder === undefined) {
  if (process.platform !== "linux" || !isRoot())
    throw new Error("it makes network namespaces, which takes Linux and root");
  process.exitCode = await runInSandbox(import.meta.filename, process.argv.slice(2));
} else {
  await measureAll(folder);
  process.exit();
}
