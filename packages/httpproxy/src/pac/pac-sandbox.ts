import { isIPv4 } from "node:net";
import type { Worker } from "node:worker_threads";
import type { Clock } from "@hostd/streams";
import { after, within } from "./after.ts";
import { PacError } from "./pac-error.ts";
import { type Addresses, OWN_ADDRESS, type PacAnswer } from "./pac-protocol.ts";
import { PacThread, ThreadGone } from "./pac-thread.ts";

/** For an answer with all that has to be looked up. */
const FIND_LIMIT = 2000;
/** For one run of the function. A script that is in order takes well below 10 ms. */
const RUN_LIMIT = 1000;
/** For the start of the thread and the script's own run, with all that has to be looked up. */
const LOAD_LIMIT = 5000;
/** Threads are started no more often: each start and end takes a millisecond or two of the main thread. */
const START_INTERVAL = 1000;
/** Names that one answer may depend on. */
const MAX_NAMES = 16;

export interface PacSandboxOptions {
  readonly script: string;
  /** The IPv4 address of a name; null when it has none. */
  readonly lookup: (name: string) => Promise<string | null>;
  readonly ownAddress: () => Promise<string | null>;
  readonly clock: Clock;
  /** Is told what the script says for whoever looks after it. */
  readonly alert: (text: string) => void;
  readonly startWorker: () => Worker;
}

/** One question; it is over when nobody waits for the answer any more. */
interface Inquiry {
  isOver: boolean;
}

/** A PAC script in a thread of its own, which is started anew after the script has brought it down. */
export class PacSandbox {
  readonly #options: PacSandboxOptions;
  #thread: Promise<PacThread> | null = null;
  #running: PacThread | null = null;
  #startedAt = Number.NEGATIVE_INFINITY;
  #isClosed = false;
  #isRetired = false;
  #open = 0;
  #wakeStart: (() => void) | null = null;

  constructor(options: PacSandboxOptions) {
    this.#options = options;
  }

  /**
   * Loads the script, which else happens with the first question.
   *
   * @throws {PacError} when that fails.
   */
  async load(): Promise<void> {
    await this.#readyThread();
  }

  /**
   * What `FindProxyForURL` returns; empty for null and for nothing.
   *
   * @throws {PacError} when it returns something else, throws, or takes too long.
   */
  async find(url: string, host: string): Promise<string> {
    const inquiry: Inquiry = { isOver: false };
    this.#open++;
    try {
      const late = () => new PacError(`there is no answer within ${FIND_LIMIT} ms`);
      return await within(this.#options.clock, FIND_LIMIT, this.#find(url, host, inquiry), late);
    } finally {
      inquiry.isOver = true;
      this.#open--;
      if (this.#isRetired && this.#open === 0) this.close();
    }
  }

  /** Closes it once all questions are answered. */
  retire(): void {
    this.#isRetired = true;
    if (this.#open === 0) this.close();
  }

  close(): void {
    this.#isClosed = true;
    this.#wakeStart?.();
    this.#running?.end();
  }

  async #find(url: string, host: string, inquiry: Inquiry): Promise<string> {
    for (;;) {
      const thread = await this.#readyThread();
      try {
        return await this.#converse(thread, inquiry, (addresses) =>
          thread.ask({ kind: "find", url, host, addresses }, RUN_LIMIT),
        );
      } catch (error) {
        if (!(error instanceof ThreadGone)) throw error;
        this.#check(inquiry);
      }
    }
  }

  /** A thread that has the script; those who want one share it. */
  async #readyThread(): Promise<PacThread> {
    for (;;) {
      this.#check();
      const starting = (this.#thread ??= this.#start());
      let thread: PacThread | null = null;
      try {
        thread = await starting;
        if (!thread.hasEnded) return thread;
      } finally {
        if ((thread === null || thread.hasEnded) && this.#thread === starting) this.#thread = null;
      }
    }
  }

  async #start(): Promise<PacThread> {
    const { clock, script, startWorker } = this.#options;
    await this.#pause(this.#startedAt + START_INTERVAL - clock.now());
    this.#check();
    this.#startedAt = clock.now();
    const thread = new PacThread(clock, startWorker());
    this.#running = thread;
    const inquiry: Inquiry = { isOver: false };
    const loading = this.#converse(thread, inquiry, (addresses) =>
      thread.ask({ kind: "load", script, addresses }, LOAD_LIMIT),
    );
    try {
      await within(clock, LOAD_LIMIT, loading, () => new PacError(`it is not loaded within ${LOAD_LIMIT} ms`));
      return thread;
    } catch (error) {
      inquiry.isOver = true;
      thread.end();
      throw error;
    }
  }

  async #pause(milliseconds: number): Promise<void> {
    if (milliseconds <= 0) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    const stop = after(this.#options.clock, milliseconds, resolve);
    this.#wakeStart = resolve;
    await promise;
    stop();
    this.#wakeStart = null;
  }

  /** Asks until no address is missing. */
  async #converse(
    thread: PacThread,
    inquiry: Inquiry,
    ask: (addresses: Addresses) => Promise<PacAnswer>,
  ): Promise<string> {
    const addresses = new Map<string, string | null>();
    for (;;) {
      const answer = await ask(addresses);
      this.#check(inquiry);
      switch (answer.kind) {
        case "result":
          for (const text of answer.alerts) this.#options.alert(text);
          return answer.text;
        case "failed":
          if (answer.isBroken) thread.end();
          throw new PacError(answer.message);
        case "names":
          if (addresses.size + answer.names.length > MAX_NAMES) {
            throw new PacError(`it looks up more than ${MAX_NAMES} names`);
          }
          await Promise.all(answer.names.map(async (name) => addresses.set(name, await this.#addressOf(name))));
          this.#check(inquiry);
      }
    }
  }

  async #addressOf(name: string): Promise<string | null> {
    const { lookup, ownAddress } = this.#options;
    try {
      const address = await (name === OWN_ADDRESS ? ownAddress() : lookup(name));
      return address !== null && isIPv4(address) ? address : null;
    } catch {
      // To a script all failures are the same.
      return null;
    }
  }

  #check(inquiry?: Inquiry): void {
    if (this.#isClosed) throw new PacError("it is no longer in force");
    if (inquiry?.isOver) throw new PacError("nobody waits for the answer");
  }
}
