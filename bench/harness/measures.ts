import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import {
  DNSPERF_TIMEOUT_MS,
  type DnsperfOptions,
  dnsperfCommand,
  dnsperfNames,
  hasDnsperf,
  parseDnsperf,
} from "../../test/tap/dnsperf.ts";
import { CELLS, DATAGRAM_SIZES, IDLE_FLOWS, PACE } from "./cells.ts";
import { BASE_PORT, type Figures, figureOf, type LoadGenerator, PUBLISHED } from "./load.ts";
import { finish } from "./programs.ts";
import type { RunningPeer } from "./running-peer.ts";
import { summarize } from "./statistics.ts";

/** How long things are measured. */
export interface Durations {
  /** Of each measure that lasts as long as one wants. */
  readonly seconds: number;
  /** What goes before it and does not count. */
  readonly warmup: number;
}

/** What a measure works with. */
export interface Bench {
  readonly running: RunningPeer;
  readonly load: LoadGenerator;
  readonly durations: Durations;
  /** Keeps a figure, by the id of its cell. */
  readonly record: (cell: string, value: number) => void;
  /** Keeps what a reader of the figures should know. */
  readonly note: (text: string) => void;
}

/** Something that is done with a running peer and gives the figures of some cells. */
export interface Measure {
  readonly id: string;
  /** Measures of one stage share a start of the peer: what is measured of memory comes before there was any load. */
  readonly stage: "memory" | "speed";
  readonly run: (bench: Bench) => Promise<void>;
}

const CONNECTIONS = 50;
/** Seconds that dnsperf may take beside those it measures. */
const DNSPERF_GRACE = 20;
/** How long memory has to settle, in milliseconds. */
const SETTLE_MS = 1000;
/** How long flows may take to open, in milliseconds. */
const CONNECT_MS = 15_000;
/** Of a client that sends until it is stopped. */
const ENDLESS = ["--seconds", 1, "--warmup", 600] as const;
/**
 * Of many flows the socket buffers of both ends take a gigabyte, which the kernel takes some seconds to find memory for where
 * its pages have not been in use before, as in a virtual machine. What a peer does is to be seen only then.
 */
const FILLING_SECONDS = 4;
/** So many flows are many. */
const MANY_FLOWS = 100;
/** Fewer than any peer manages. */
const ROUND_TRIPS_PER_SECOND = 3000;
const RTT_CONNECTIONS = 5;

function host({ running }: Bench, port = BASE_PORT): string {
  return `${running.peer.kind.network.host}:${port}`;
}

/** The options of a client that runs for a time, and the time. */
function timed({ durations: { seconds, warmup } }: Bench): { options: (string | number)[]; total: number } {
  return { options: ["--seconds", seconds, "--warmup", warmup], total: seconds + warmup };
}

/** Where a transfer is: bytes and time of the services, and the processor time of the peer. */
async function sample({ load, running }: Bench) {
  return { ...(await load.statistics()), cpu: running.cpuSeconds };
}

type Sample = Awaited<ReturnType<typeof sample>>;

/** Two samples, with the measured time between them. */
async function sampleTwice(bench: Bench): Promise<[Sample, Sample]> {
  const { seconds, warmup } = bench.durations;
  await sleep(warmup * 1000);
  const before = await sample(bench);
  await sleep(seconds * 1000);
  return [before, await sample(bench)];
}

/** Seconds per gigabyte; undefined if they are too few, as they are known to a hundredth only. */
function processorCost(before: Sample, after: Sample, bytes: "discarded" | "sent"): number | undefined {
  const gigabytes = (after[bytes] - before[bytes]) / 1e9;
  const seconds = after.cpu - before.cpu;
  return seconds < 0.05 || gigabytes === 0 ? undefined : seconds / gigabytes;
}

/** Waits until so many connections of the services are open at least, or at most. */
async function connectionsReach({ load }: Bench, isReached: (count: number) => boolean, timeoutMs: number) {
  const deadline = performance.now() + timeoutMs;
  while (performance.now() < deadline) {
    if (isReached((await load.statistics()).connections)) return true;
    await sleep(20);
  }
  return false;
}

/** Lets what is left of a transfer drain, so that the next measure does not meet it. */
async function drain(bench: Bench, before: number): Promise<void> {
  await connectionsReach(bench, (count) => count <= before, SETTLE_MS);
}

interface Transfer {
  readonly gbitPerSecond: number;
  readonly cost: number | undefined;
}

/** Counted by the host's services, which are asked there: through a peer that is busy the answer could take long. */
async function transferUp(bench: Bench, flows: number): Promise<Transfer> {
  const { running, load } = bench;
  // What is still closing would be missing later from the count that tells whether all flows are open.
  await drain(bench, 0);
  const { connections } = await load.statistics();
  const client = load.begin(running.guest, ["up", "--to", host(bench), "--flows", flows, ...ENDLESS]);
  const measured = async (): Promise<Transfer> => {
    if (!(await connectionsReach(bench, (count) => count >= connections + flows, CONNECT_MS))) {
      throw new Error(`not all of ${flows} flows were open after ${CONNECT_MS / 1000} s`);
    }
    const [before, after] = await sampleTwice(bench);
    const bytes = after.discarded - before.discarded;
    if (bytes === 0) throw new Error("no byte arrived in the measured time");
    const gbitPerSecond = (bytes * 8) / 1e9 / (after.seconds - before.seconds);
    return { gbitPerSecond, cost: processorCost(before, after, "discarded") };
  };
  try {
    return await Promise.race([measured(), client.failed]);
  } finally {
    await client.stop();
    await drain(bench, connections);
  }
}

/** Counted by the guest's client. */
async function transferDown(bench: Bench, flows: number): Promise<Transfer> {
  const { options, total } = timed(bench);
  const { connections } = await bench.load.statistics();
  const args = ["down", "--to", host(bench), "--flows", flows, ...options];
  const [figures, [before, after]] = await Promise.all([
    bench.load.run(bench.running.guest, args, total),
    sampleTwice(bench),
  ]);
  await drain(bench, connections);
  return { gbitPerSecond: figureOf(figures, "gbitPerSecond"), cost: processorCost(before, after, "sent") };
}

/** One flow, and the processor time that the peer spends on a gigabyte of it. */
async function singleFlow(bench: Bench, direction: "up" | "down"): Promise<void> {
  const { gbitPerSecond, cost } = await TRANSFERS[direction](bench, 1);
  bench.record(direction, gbitPerSecond);
  if (cost === undefined) bench.note("too little was done to know the processor time of a gigabyte");
  else bench.record(`cpu-${direction}`, cost);
}

const TRANSFERS = { up: transferUp, down: transferDown } as const;

function manyFlows(direction: "up" | "down", flows: number): Measure {
  const id = `${direction}${flows}`;
  return {
    id,
    stage: "speed",
    run: async (bench) => {
      const { seconds, warmup } = bench.durations;
      const durations = { seconds, warmup: flows < MANY_FLOWS ? warmup : warmup + FILLING_SECONDS };
      bench.record(id, (await TRANSFERS[direction]({ ...bench, durations }, flows)).gbitPerSecond);
    },
  };
}

/**
 * The median over a few connections, one after the other: where the scheduler puts the processes of an exchange, on one
 * processor or on two, changes the time several times, and it seldom thinks again during a connection.
 */
async function roundTrips(bench: Bench): Promise<Record<"p50" | "p99", number>> {
  const { seconds, warmup } = bench.durations;
  const part = (time: number) => Math.ceil((time * ROUND_TRIPS_PER_SECOND) / RTT_CONNECTIONS);
  const args = ["rtt", "--to", host(bench), "--count", part(seconds), "--warmup", part(warmup)];
  const found: Figures[] = [];
  while (found.length < RTT_CONNECTIONS) {
    found.push(await bench.load.run(bench.running.guest, args, seconds + warmup));
  }
  const median = (name: string) => summarize(found.map((figures) => figureOf(figures, name))).median;
  return { p50: median("p50"), p99: median("p99") };
}

async function requests(bench: Bench, cell: string, to: string, flags: readonly (string | number)[]): Promise<void> {
  const { options, total } = timed(bench);
  const place = cell === "publish" ? "host" : bench.running.guest;
  const args = ["http", "--to", to, "--connections", CONNECTIONS, ...options, ...flags];
  const figures = await bench.load.run(place, args, total);
  bench.record(cell, figureOf(figures, "requestsPerSecond"));
  const errors = figureOf(figures, "errors");
  if (errors > 0) bench.note(`${errors} requests failed`);
}

/** Requests from the host to the guest's services, through the published port. */
async function published(bench: Bench): Promise<void> {
  await bench.load.serve(bench.running.guest, "0.0.0.0");
  await bench.running.publish();
  await requests(bench, "publish", `127.0.0.1:${PUBLISHED.host}`, ["--port", PUBLISHED.host, "--close"]);
}

async function names(bench: Bench): Promise<void> {
  const { options, total } = timed(bench);
  const to = `${bench.running.peer.kind.network.resolver}:53`;
  const args = ["dns", "--to", to, "--name", "name.example", "--outstanding", CONNECTIONS, ...options];
  const figures = await bench.load.run(bench.running.guest, args, total);
  bench.record("dns", figureOf(figures, "queriesPerSecond"));
  for (const what of ["lost", "errors"]) {
    const count = figureOf(figures, what);
    if (count > 0) bench.note(`${count} ${what === "lost" ? "queries had no answer" : "answers were errors"}`);
  }
}

/** Debian's dnsperf: as many answers as there can be to names that may be kept, and how slow those to new ones get. */
async function dnsperf(bench: Bench): Promise<void> {
  if (!hasDnsperf()) {
    bench.note("dnsperf is not installed: apt-get install dnsperf");
    return;
  }
  const { running, durations } = bench;
  const folder = await mkdtemp(join(tmpdir(), "hostd-bench-"));
  const run = async (prefix: string, count: number, limits: Pick<DnsperfOptions, "outstanding" | "perSecond">) => {
    const names = join(folder, prefix);
    await writeFile(names, dnsperfNames(prefix, "example", count));
    const seconds = Math.ceil(durations.seconds);
    const [program = "", ...args] = dnsperfCommand({
      server: running.peer.kind.network.resolver,
      names,
      seconds,
      ...limits,
    });
    const { stdout } = await finish(running.guest.spawn(program, args), (seconds + DNSPERF_GRACE) * 1000);
    const result = parseDnsperf(stdout);
    if (result.lost > 0) bench.note(`dnsperf, ${prefix} names: ${result.lost} of ${result.sent} queries had no answer`);
    return result;
  };
  try {
    // The services of the host let names be kept that begin so.
    bench.record("dns-kept", (await run("kept", 100, { outstanding: 100 })).perSecond);
    const paced = { outstanding: 1000, perSecond: 5000 };
    // Like the warm-up of the others: a program with a compiler of its own has seen new names then.
    await run("first", 100_000, paced);
    const fresh = await run("new", 100_000, paced);
    // What had no answer took longer than any that had.
    bench.record("dns-mean", fresh.mean);
    bench.record("dns-slowest", fresh.lost > 0 ? DNSPERF_TIMEOUT_MS : fresh.slowest);
  } finally {
    await rm(folder, { recursive: true });
  }
}

/** As many datagrams as the sender can send, for what arrives; then few enough for what is lost of them. */
function datagrams(direction: "up" | "down", size: number): Measure {
  const id = `udp-${direction}-${size}`;
  return {
    id,
    stage: "speed",
    run: async (bench) => {
      const send = (seconds: number, rate: number) => {
        const args = [`udp-${direction}`, "--to", host(bench), "--size", size, "--seconds", seconds, "--rate", rate];
        return bench.load.run(bench.running.guest, args, seconds);
      };
      const { seconds } = bench.durations;
      bench.record(id, figureOf(await send(seconds, 0), "receivedPerSecond"));
      bench.record(`${id}-loss`, 100 * figureOf(await send(Math.max(0.3, seconds / 4), PACE), "loss"));
    },
  };
}

async function idleMemory({ running, record }: Bench): Promise<void> {
  await sleep(SETTLE_MS);
  record("rss", running.residentBytes / 1e6);
}

/** Opens more and more idle flows, and looks at what each costs. */
async function idleFlows(bench: Bench): Promise<void> {
  const { running, load, record } = bench;
  const open = (flows: number) =>
    load.open(running.guest, ["idle", "--to", host(bench), "--flows", flows, "--hold", 120], 120);
  // What a first flow sets up once is not the cost of a flow.
  await (await open(100)).close();
  await sleep(SETTLE_MS);
  const before = running.residentBytes;
  const clients = [];
  let opened = 0;
  try {
    for (const flows of IDLE_FLOWS) {
      clients.push(await open(flows - opened));
      opened = flows;
      await sleep(SETTLE_MS);
      record(`flow-${flows}`, (running.residentBytes - before) / flows / 1000);
    }
    record("rtt-idle", (await roundTrips(bench)).p50);
  } finally {
    await Promise.all(clients.map((client) => client.close()));
  }
}

/** All measures, in the order in which they are done. */
export const MEASURES: readonly Measure[] = [
  { id: "start", stage: "memory", run: async ({ running, record }) => record("start", running.startSeconds) },
  { id: "rss", stage: "memory", run: idleMemory },
  { id: "flows", stage: "memory", run: idleFlows },
  { id: "up", stage: "speed", run: (bench) => singleFlow(bench, "up") },
  { id: "down", stage: "speed", run: (bench) => singleFlow(bench, "down") },
  manyFlows("up", 8),
  manyFlows("down", 8),
  { id: "http", stage: "speed", run: (bench) => requests(bench, "http", host(bench), []) },
  // After a measure with many small messages: a program with a compiler of its own is warm then.
  {
    id: "rtt",
    stage: "speed",
    run: async (bench) => {
      const { p50, p99 } = await roundTrips(bench);
      bench.record("rtt-p50", p50);
      bench.record("rtt-p99", p99);
    },
  },
  { id: "close", stage: "speed", run: (bench) => requests(bench, "close", host(bench), ["--close"]) },
  { id: "publish", stage: "speed", run: published },
  { id: "dns", stage: "speed", run: names },
  { id: "dnsperf", stage: "speed", run: dnsperf },
  ...DATAGRAM_SIZES.map((size) => datagrams("up", size)),
  ...DATAGRAM_SIZES.map((size) => datagrams("down", size)),
  manyFlows("up", 1000),
  manyFlows("down", 1000),
];

/** The measures of a quick run. */
export const QUICK_MEASURES = ["start", "rss", "rtt", "up", "down", "up8", "down8", "http", "close", "publish", "dns"];

/**
 * The measures that a word of the command line means: the one of that name, or all those whose names begin with it
 * ("udp", "udp-up").
 */
export function measuresNamed(word: string): readonly Measure[] {
  const exact = MEASURES.filter(({ id }) => id === word);
  return exact.length > 0 ? exact : MEASURES.filter(({ id }) => id.startsWith(`${word}-`));
}

/** The titles of the cells that a measure gives. */
export function cellTitles(measure: string): string[] {
  return CELLS.filter((cell) => cell.measure === measure).map(({ title }) => title);
}
