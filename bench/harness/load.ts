import { type ChildProcessWithoutNullStreams, execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { globSync } from "node:fs";
import { createConnection } from "node:net";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { promisify } from "node:util";
import type { Namespace } from "../../test/vm/namespace.ts";
import { finish } from "./programs.ts";

const RIG = join(import.meta.dirname, "..", "rig");
/** The services of bench/rig/load have this port and those after it. */
export const BASE_PORT = 5000;
const HTTP = 3;
const STATISTICS = 4;
/** The port of the guest's HTTP service, and the port of the host's loopback that leads there. */
export const PUBLISHED = { guest: BASE_PORT + HTTP, host: BASE_PORT + 1000 + HTTP } as const;
/** The clients have deadlines of their own, which are shorter. */
const GRACE_MS = 20_000;
const ENDLESS_MS = 600_000;

/** The programs of bench/rig, compiled. */
export interface Rig {
  readonly bridge: string;
  readonly load: string;
}

/**
 * Compiles the bridge and the load generator into a folder.
 *
 * @throws Error with the compiler's messages
 */
export async function compileRig(folder: string): Promise<Rig> {
  const compile = async (name: string, sources: readonly string[]) => {
    const program = join(folder, name);
    await promisify(execFile)("cc", ["-O2", "-o", program, ...sources, "-lm"]);
    return program;
  };
  const [bridge, load] = await Promise.all([
    compile("bridge", [join(RIG, "bridge.c")]),
    compile("load", globSync(join(RIG, "load", "*.c"))),
  ]);
  return { bridge, load };
}

/** A client that has printed its figures and runs until it is closed. */
export interface OpenClient {
  readonly figures: Figures;
  close(): Promise<void>;
}

/** A client that runs until it is stopped. */
export interface EndlessClient {
  /** Rejects if it ends by itself. */
  readonly failed: Promise<never>;
  stop(): Promise<void>;
}

/** What a client has printed: numbers by name. */
export type Figures = ReadonlyMap<string, number>;

/** What the host's services have counted since they started. */
export interface ServiceStatistics {
  /** By the services' own clock. */
  readonly seconds: number;
  /** Bytes received from guests. */
  readonly discarded: number;
  /** Bytes sent to guests. */
  readonly sent: number;
  /** How many are open. */
  readonly connections: number;
}

/** Runs bench/rig/load, in the host's namespace or in a guest's. */
export class LoadGenerator {
  readonly #program: string;

  constructor(program: string) {
    this.#program = program;
  }

  #spawn(place: Namespace | "host", args: readonly string[]): ChildProcessWithoutNullStreams {
    return place === "host" ? spawn(this.#program, args) : place.spawn(this.#program, args);
  }

  /**
   * Runs a client to its end.
   *
   * @param seconds - how long it should take
   * @throws Error with the client's reason
   */
  async run(place: Namespace | "host", args: readonly (string | number)[], seconds: number): Promise<Figures> {
    const { stdout } = await finish(this.#spawn(place, args.map(String)), seconds * 2000 + GRACE_MS);
    return parseFigures(stdout);
  }

  /** Starts a client that prints its figures and goes on until its standard input ends. */
  async open(place: Namespace | "host", args: readonly (string | number)[], seconds: number): Promise<OpenClient> {
    const child = this.#spawn(place, args.map(String));
    const timeoutMs = seconds * 2000 + GRACE_MS;
    const ended = finish(child, timeoutMs);
    const printed = once(child.stdout, "data").then(([line]) => String(line));
    // Whatever happens first; a client that ends without a word has failed.
    const line = await Promise.race([printed, ended.then(({ stdout }) => stdout)]);
    return {
      figures: parseFigures(line),
      close: async () => {
        child.stdin.end();
        await ended;
      },
    };
  }

  /** Starts a client that would go on for very long. */
  begin(place: Namespace | "host", args: readonly (string | number)[]): EndlessClient {
    const child = this.#spawn(place, args.map(String));
    let isStopped = false;
    const ended = finish(child, ENDLESS_MS).then(
      () => "it ended too early",
      (error: unknown) => (error instanceof Error ? error.message : String(error)),
    );
    return {
      failed: ended.then((reason) => (isStopped ? new Promise<never>(() => {}) : Promise.reject(new Error(reason)))),
      stop: async () => {
        isStopped = true;
        child.kill("SIGKILL");
        await ended;
      },
    };
  }

  /** Starts the services and waits until they all listen; they end with this process or with the namespace. */
  async serve(place: Namespace | "host", address: string, dnsPort?: number): Promise<void> {
    const args = ["serve", "--listen", address, "--port", BASE_PORT];
    const child = this.#spawn(place, [...args, ...(dnsPort === undefined ? [] : ["--dns-port", dnsPort])].map(String));
    let stderr = "";
    child.stderr.setEncoding("utf8").on("data", (part: string) => (stderr += part));
    const isReady = await Promise.race([
      once(child.stdout, "data").then(() => true),
      once(child, "close").then(() => false),
    ]);
    if (!isReady) throw new Error(`the services do not start: ${stderr.trim()}`);
  }

  /** What the host's services have counted. */
  async statistics(): Promise<ServiceStatistics> {
    const figures = parseFigures(await text(createConnection(BASE_PORT + STATISTICS, "127.0.0.1")));
    const figure = (name: string) => figureOf(figures, name);
    return {
      seconds: figure("nanoseconds") / 1e9,
      discarded: figure("discarded"),
      sent: figure("sent"),
      connections: figure("connections"),
    };
  }
}

/**
 * Reads a line of JSON that holds one object of numbers.
 *
 * @throws Error if it is something else
 */
export function parseFigures(line: string): Figures {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    throw new Error(`the load generator printed no JSON: ${JSON.stringify(line.slice(0, 200))}`);
  }
  const figures = new Map<string, number>();
  for (const [name, figure] of Object.entries(value ?? {})) if (Number.isFinite(figure)) figures.set(name, figure);
  return figures;
}

/**
 * One figure of a client.
 *
 * @throws Error if the client printed none of that name
 */
export function figureOf(figures: Figures, name: string): number {
  const figure = figures.get(name);
  if (figure === undefined) throw new Error(`the load generator printed no "${name}"`);
  return figure;
}
