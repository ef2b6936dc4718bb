import { type ChildProcess, type ChildProcessByStdio, spawn } from "node:child_process";
import { closeSync, openSync, readFileSync } from "node:fs";
import type { Readable, Writable } from "node:stream";
import { setTimeout as sleep } from "node:timers/promises";

/** How long a program may take to end after SIGTERM, in milliseconds; some wait for their connections. */
const STOP_MS = 500;

export interface ProgramOptions {
  /** Where its standard output and error go. */
  readonly log: string;
  /** A file that it gets as descriptor 3, for writing. */
  readonly descriptor?: string | undefined;
}

/** A program that runs until it is stopped. */
export class Program {
  readonly #child: ChildProcess;
  readonly #log: string;
  readonly #exited: Promise<void>;
  #end: string | undefined;

  private constructor(child: ChildProcess, log: string) {
    this.#child = child;
    this.#log = log;
    this.#exited = new Promise((resolve) => {
      child.once("error", (error) => {
        this.#end = error.message;
        resolve();
      });
      child.once("exit", (status, signal) => {
        this.#end ??= signal === null ? `ended with status ${status}` : `was ended by ${signal}`;
        resolve();
      });
    });
  }

  /** Starts a program; whether that works is seen by {@link Program.end}. */
  static start([program = "", ...args]: readonly string[], { log, descriptor }: ProgramOptions): Program {
    const files = [openSync(log, "w"), ...(descriptor === undefined ? [] : [openSync(descriptor, "w")])];
    const [output, ...others] = files;
    const child = spawn(program, args, { stdio: ["ignore", output, output, ...others] });
    for (const file of files) closeSync(file);
    return new Program(child, log);
  }

  get pid(): number {
    if (this.#child.pid === undefined) throw new Error(this.#end ?? "the program did not start");
    return this.#child.pid;
  }

  /** How it ended, with its last words; undefined while it runs. */
  get end(): string | undefined {
    if (this.#end === undefined) return undefined;
    const words = lastLines(readFileSync(this.#log, "utf8"));
    return words === "" ? this.#end : `${this.#end}: ${words}`;
  }

  /**
   * Waits until a condition holds, which is looked at every millisecond.
   *
   * @throws Error if the program ends before, or the time is up
   */
  async waitUntil(condition: () => boolean, timeoutMs: number): Promise<void> {
    const deadline = performance.now() + timeoutMs;
    while (!condition()) {
      if (this.#end !== undefined) throw new Error(this.end);
      if (performance.now() > deadline) throw new Error(`was not ready after ${timeoutMs / 1000} s`);
      await sleep(1);
    }
  }

  /** Ends it with SIGTERM, and with SIGKILL if that does not help. */
  async stop(): Promise<void> {
    if (this.#end !== undefined) return;
    this.#child.kill("SIGTERM");
    const timer = setTimeout(() => this.#child.kill("SIGKILL"), STOP_MS);
    await this.#exited;
    clearTimeout(timer);
  }
}

/** A process with pipes. */
export type PipedProcess = ChildProcessByStdio<Writable, Readable, Readable>;

/** What a process that has ended has written. */
export interface Output {
  readonly stdout: string;
  readonly stderr: string;
}

/**
 * Waits for the end of a process.
 *
 * @throws Error if its status is not 0, or if it had to be killed because the time was up
 */
export async function finish(child: PipedProcess, timeoutMs: number): Promise<Output> {
  const timer = setTimeout(() => child.kill("SIGKILL"), timeoutMs);
  let stdout = "";
  let stderr = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => (stdout += text));
  child.stderr.setEncoding("utf8").on("data", (text: string) => (stderr += text));
  const status = await new Promise<number | null>((resolve, reject) => {
    child.once("error", reject);
    child.once("close", resolve);
  });
  clearTimeout(timer);
  if (status === 0) return { stdout, stderr };
  const reason = status === null ? `was ended after ${(timeoutMs / 1000).toFixed(0)} s` : `status ${status}`;
  throw new Error(lastLines(stderr) || reason);
}

/** The last lines of a text, as one. */
function lastLines(text: string): string {
  const lines = text.trim().split("\n").slice(-3);
  return lines.join("; ").slice(-400);
}
