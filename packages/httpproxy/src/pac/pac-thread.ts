import { extname } from "node:path";
import { Worker } from "node:worker_threads";
import type { Clock } from "@hostd/streams";
import { after } from "./after.ts";
import { PacError } from "./pac-error.ts";
import type { PacAnswer, PacQuestion } from "./pac-protocol.ts";

/** What the thread's own code may take; QuickJS has its memory beside it. */
const LIMITS = { maxOldGenerationSizeMb: 32, maxYoungGenerationSizeMb: 4, stackSizeMb: 4 };

/** The thread ended before it came to a question, for which that says nothing. */
export class ThreadGone extends Error {
  override readonly name = "ThreadGone";
}

interface Pending {
  readonly question: PacQuestion;
  readonly limit: number;
  readonly resolve: (answer: PacAnswer) => void;
  readonly reject: (error: Error) => void;
}

/** Starts the thread's code, which is a file of the kind that this one is of. */
export function startPacWorker(): Worker {
  const file = new URL(`./pac-worker${extname(import.meta.url)}`, import.meta.url);
  return new Worker(file, { name: "pac", resourceLimits: LIMITS, env: {}, execArgv: [] });
}

/**
 * A thread in which one PAC script runs. It takes questions one after the other, and is ended when one takes too long, which
 * stops it wherever it is: the engine's own interrupts leave out some loops.
 */
export class PacThread {
  readonly #clock: Clock;
  readonly #worker: Worker;
  #pending: Pending[] = [];
  #stopWatchdog: (() => void) | null = null;
  #hasEnded = false;

  constructor(clock: Clock, worker: Worker) {
    this.#clock = clock;
    this.#worker = worker;
    worker.on("message", (answer: PacAnswer) => this.#answered(answer));
    worker.on("error", (error: NodeJS.ErrnoException) => {
      this.#finish(error.code === "ERR_WORKER_OUT_OF_MEMORY" ? "it takes too much memory" : error.message);
    });
    worker.on("exit", () => this.#finish("its thread ended"));
    worker.unref();
  }

  get hasEnded(): boolean {
    return this.#hasEnded;
  }

  /**
   * @param limit - milliseconds that the answer may take from when the thread comes to the question.
   * @throws {PacError} when the thread ended in this question, which is then to blame.
   * @throws {ThreadGone} when it ended in another one.
   */
  ask(question: PacQuestion, limit: number): Promise<PacAnswer> {
    if (this.#hasEnded) return Promise.reject(new ThreadGone());
    return new Promise((resolve, reject) => {
      this.#pending.push({ question, limit, resolve, reject });
      this.#worker.postMessage(question);
      if (this.#pending.length === 1) this.#watch();
    });
  }

  end(): void {
    this.#finish("it is no longer in force");
  }

  #answered(answer: PacAnswer): void {
    this.#pending.shift()?.resolve(answer);
    this.#watch();
  }

  #watch(): void {
    this.#stopWatchdog?.();
    this.#stopWatchdog = null;
    const [current] = this.#pending;
    if (current === undefined) return;
    this.#stopWatchdog = after(this.#clock, current.limit, () => this.#finish(`it runs for over ${current.limit} ms`));
  }

  #finish(reason: string): void {
    if (this.#hasEnded) return;
    this.#hasEnded = true;
    this.#stopWatchdog?.();
    // It never fails for a thread that was started.
    void this.#worker.terminate();
    const [current, ...others] = this.#pending;
    this.#pending = [];
    current?.reject(new PacError(reason));
    for (const { reject } of others) reject(new ThreadGone());
  }
}
