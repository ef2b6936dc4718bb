import { after, type Clock, type Logger, systemClock } from "@hostd/streams";
import { type EngineClient, EngineError } from "./engine-client.ts";
import type { EngineEvent } from "./engine-event.ts";

/** How long it is waited before the engine is asked again, at first and at most, in milliseconds. */
const FIRST_PAUSE = 100;
const LONGEST_PAUSE = 5000;

/**
 * What is asked for. `died` and `remove` are Podman's, and `remove` and `update` those of services. Others, such as those of
 * health checks, come often and change nothing.
 */
const FILTERS = {
  type: ["container", "network", "service"],
  event: ["start", "die", "died", "destroy", "remove", "rename", "connect", "disconnect", "create", "update"],
};

/** Whoever wants to know what happens in an engine. None of it may throw. */
export interface EngineWatcher {
  /** Anything may have happened: the truth is what the engine lists from now on. */
  relist(): void;
  event(event: EngineEvent): void;
  /** Nothing is told until the next {@link relist}. */
  lost?(): void;
}

export interface EngineWatchOptions {
  readonly client: EngineClient;
  /** Each is told everything, in this order. */
  readonly watchers: readonly EngineWatcher[];
  readonly logger: Logger;
  /** For tests; the process's clock unless given. */
  readonly clock?: Clock;
}

/**
 * Follows the events of an engine, across its restarts and those of the VM. An engine that has no events to give, as
 * Podman can be set to, is listed again and again.
 */
export class EngineWatch {
  readonly #client: EngineClient;
  readonly #watchers: readonly EngineWatcher[];
  readonly #logger: Logger;
  readonly #clock: Clock;
  readonly #closing = new AbortController();
  #running: Promise<void> | null = null;
  /** Why there are no events, as it was logged; null while there are. */
  #failure: string | null = "";

  constructor({ client, watchers, logger, clock = systemClock }: EngineWatchOptions) {
    this.#client = client;
    this.#watchers = watchers;
    this.#logger = logger;
    this.#clock = clock;
  }

  start(): void {
    this.#running ??= this.#run();
  }

  /** Resolves when nobody is told anything any more. */
  async close(): Promise<void> {
    this.#closing.abort(new EngineError("the watch is closed", null));
    await this.#running;
  }

  async #run(): Promise<void> {
    const { signal } = this.#closing;
    let pause = FIRST_PAUSE;
    while (!signal.aborted) {
      const began = this.#clock.now();
      const failure = await this.#follow();
      if (signal.aborted) return;
      for (const watcher of this.#watchers) watcher.lost?.();
      this.#log(failure);
      // One that ends at once is not asked more often for that.
      if (this.#clock.now() - began >= LONGEST_PAUSE) pause = FIRST_PAUSE;
      await this.#wait(pause);
      pause = Math.min(2 * pause, LONGEST_PAUSE);
    }
  }

  /** @returns why it came to an end. */
  async #follow(): Promise<string> {
    try {
      const events = await this.#client.events(FILTERS, this.#closing.signal);
      if (this.#failure !== null) this.#logger.info({}, "the events of the Docker engine are followed");
      this.#failure = null;
      this.#relist();
      for await (const event of events) for (const watcher of this.#watchers) watcher.event(event);
      return "the engine has ended the stream";
    } catch (error) {
      if (error instanceof EngineError && error.status !== null && !this.#closing.signal.aborted) this.#relist();
      return error instanceof Error ? error.message : String(error);
    }
  }

  #relist(): void {
    for (const watcher of this.#watchers) watcher.relist();
  }

  #log(failure: string): void {
    // The first try of all mostly comes before the VM is up.
    if (failure === this.#failure) return;
    this.#failure = failure;
    this.#logger.info({ reason: failure }, "the events of the Docker engine cannot be followed; trying again");
  }

  #wait(milliseconds: number): Promise<void> {
    const { signal } = this.#closing;
    return new Promise((resolve) => {
      const done = () => {
        stop();
        signal.removeEventListener("abort", done);
        resolve();
      };
      const stop = after(this.#clock, milliseconds, done);
      signal.addEventListener("abort", done, { once: true });
      if (signal.aborted) done();
    });
  }
}
