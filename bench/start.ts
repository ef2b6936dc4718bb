/**
 * Measures how long `hostd up` takes from the start of its process until a VM can attach and until one that attaches at
 * once has an address, and the memory that it holds while nothing happens: before any VM came, and with an idle one.
 *
 *   node bench/start.ts [--runs COUNT] [--settle SECONDS] [--command FILE]... [-- NODE-FLAG...]
 *
 * `--command` names the bin/hostd.mjs to measure; several are measured by turns, as the machine is noisy. Node flags are
 * given to hostd's process. Prints a line of JSON for each command: seconds (the median, fastest and slowest run), and
 * resident memory in MB of 10^6 bytes (medians). Its anonymous part is the process's own; the file part is pages of the
 * node binary and its libraries, which the kernel shares among all processes that map them.
 */
import { type ChildProcessByStdio, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import type { Readable } from "node:stream";
import { text } from "node:stream/consumers";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { dialPort, EmbeddedGuest } from "../packages/guest/src/index.ts";

/** This checkout's hostd. */
export const COMMAND = fileURLToPath(new URL("../apps/hostd/bin/hostd.mjs", import.meta.url));

/** How long hostd may take to be ready, in milliseconds. */
const READY_MS = 30_000;

/** What of a process is in memory, in MB of 10^6 bytes (proc(5), `VmRSS` and its parts). */
export interface ResidentMemory {
  readonly total: number;
  readonly anonymous: number;
  readonly file: number;
}

/** Seconds from the start of the process. */
export interface StartTimes {
  /** Until a VM can attach. */
  readonly accepting: number;
  /** Until a VM that attached at once has its address. */
  readonly leased: number;
}

/** A hostd that serves a Unix socket in a temporary folder, with nothing of the machine's configuration. */
export class MeasuredHostd {
  readonly #folder: string;
  readonly #child: ChildProcessByStdio<null, Readable, Readable>;
  readonly #began: number;
  readonly #stderr: Promise<string>;
  #ended = false;

  private constructor(folder: string, command: string, nodeFlags: readonly string[]) {
    this.#folder = folder;
    // With the default endpoint, and so with the control API.
    const args = [resolve(command), "up", "--state", join(folder, "state")];
    const env = { PATH: process.env.PATH, HOME: folder, XDG_RUNTIME_DIR: folder };
    this.#began = performance.now();
    this.#child = spawn(process.execPath, [...nodeFlags, ...args], {
      cwd: folder,
      env,
      stdio: ["ignore", "pipe", "pipe"],
    });
    this.#stderr = text(this.#child.stderr);
    this.#child.once("exit", () => {
      this.#ended = true;
    });
  }

  static async start(command = COMMAND, nodeFlags: readonly string[] = []): Promise<MeasuredHostd> {
    return new MeasuredHostd(await mkdtemp(join(tmpdir(), "hostd-start-")), command, nodeFlags);
  }

  /** Attaches a guest as soon as hostd accepts it, which is tried every millisecond, and gets it an address. */
  async attach(): Promise<{ guest: EmbeddedGuest; times: StartTimes }> {
    const endpoint = { transport: "unix", path: join(this.#folder, "hostd", "vm.sock"), mode: "dial" } as const;
    const until = this.#began + READY_MS;
    for (;;) {
      const port = await dialPort(endpoint).catch((error: Error) => error);
      const accepting = (performance.now() - this.#began) / 1000;
      if (!(port instanceof Error)) {
        const guest = new EmbeddedGuest({ port, mac: Uint8Array.of(2, 0, 0, 0, 1, 1) });
        await guest.configure();
        return { guest, times: { accepting, leased: (performance.now() - this.#began) / 1000 } };
      }
      if (this.#ended || performance.now() > until) {
        throw new Error(`hostd cannot be attached to: ${port.message}; ${await this.#errors()}`);
      }
      await sleep(1);
    }
  }

  /** Waits until hostd has said that VMs can attach. */
  async announced(): Promise<void> {
    let output = "";
    while (!output.includes("-netdev")) {
      const [chunk] = await Promise.race([
        once(this.#child.stdout, "data"),
        once(this.#child, "exit").then(async () => {
          throw new Error(`hostd ended: ${await this.#errors()}`);
        }),
      ]);
      output += chunk;
    }
  }

  async memory(): Promise<ResidentMemory> {
    const status = await readFile(`/proc/${this.#child.pid}/status`, "latin1");
    const field = (name: string) => {
      const kibibytes = new RegExp(`^${name}:\\s+(\\d+) kB$`, "m").exec(status)?.[1];
      if (kibibytes === undefined) throw new Error(`/proc/${this.#child.pid}/status has no ${name}`);
      return (Number(kibibytes) * 1024) / 1e6;
    };
    return { total: field("VmRSS"), anonymous: field("RssAnon"), file: field("RssFile") };
  }

  /** Ends hostd and removes its folder. */
  async stop(): Promise<void> {
    if (!this.#ended) {
      const exit = once(this.#child, "exit");
      this.#child.kill("SIGTERM");
      await exit;
    }
    await rm(this.#folder, { recursive: true, force: true });
  }

  async #errors(): Promise<string> {
    this.#child.kill("SIGKILL");
    return (await this.#stderr).trim() || "it wrote no error";
  }
}

/** One run: the times of a start with a guest, and the memory `settle` seconds later, with and without that guest. */
export interface Measurement {
  readonly times: StartTimes;
  readonly alone: ResidentMemory;
  readonly withVm: ResidentMemory;
}

/** Starts hostd twice, once for a guest and once without. */
export async function measure(settle: number, command = COMMAND, nodeFlags: readonly string[] = []) {
  const served = await MeasuredHostd.start(command, nodeFlags);
  let times: StartTimes;
  let withVm: ResidentMemory;
  try {
    const attached = await served.attach();
    times = attached.times;
    await sleep(settle * 1000);
    withVm = await served.memory();
    await attached.guest.kill();
  } finally {
    await served.stop();
  }
  const idle = await MeasuredHostd.start(command, nodeFlags);
  try {
    await idle.announced();
    await sleep(settle * 1000);
    return { times, withVm, alone: await idle.memory() } satisfies Measurement;
  } finally {
    await idle.stop();
  }
}

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((one, other) => one - other);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

function seconds(runs: readonly Measurement[], pick: (times: StartTimes) => number) {
  const values = runs.map(({ times }) => pick(times));
  const round = (value: number) => Number(value.toFixed(4));
  return { median: round(median(values)), fastest: round(Math.min(...values)), slowest: round(Math.max(...values)) };
}

function megabytes(runs: readonly Measurement[], pick: (run: Measurement) => ResidentMemory): ResidentMemory {
  const of = (part: keyof ResidentMemory) => Number(median(runs.map((run) => pick(run)[part])).toFixed(1));
  return { total: of("total"), anonymous: of("anonymous"), file: of("file") };
}

/** Reads a flag that is a number from `least` on. */
function numberFlag(name: string, written: string, least: number): number {
  const value = Number(written);
  if (written.trim() !== "" && Number.isFinite(value) && value >= least) return value;
  console.error(`start: --${name} ${JSON.stringify(written)} is not a number from ${least} on`);
  process.exit(2);
}

async function main(): Promise<void> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      runs: { type: "string", default: "10" },
      settle: { type: "string", default: "3" },
      command: { type: "string", multiple: true, default: [COMMAND] },
    },
  });
  const runs = Math.trunc(numberFlag("runs", values.runs, 1));
  const settle = numberFlag("settle", values.settle, 0);
  const measured = values.command.map((command) => ({ command, all: [] as Measurement[] }));
  for (let run = 0; run < runs; run++) {
    for (const { command, all } of measured) all.push(await measure(settle, command, positionals));
  }
  for (const { command, all } of measured) {
    const result = {
      command,
      node: process.versions.node,
      runs,
      accepting: seconds(all, ({ accepting }) => accepting),
      leased: seconds(all, ({ leased }) => leased),
      alone: megabytes(all, ({ alone }) => alone),
      withVm: megabytes(all, ({ withVm }) => withVm),
    };
    console.log(JSON.stringify(result));
  }
}

if (import.meta.main) await main();
