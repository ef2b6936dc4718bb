export interface KeyedTasksOptions {
  /** What is done for a key that was asked for. */
  readonly work: (key: string) => Promise<boolean>;
  /** How many keys are worked on at once. */
  readonly maxConcurrent: number;
}

/**
 * Does one thing at a time for each key. What is asked for again before it has begun is done once, and begins after the
 * last time that it was asked for, so that a burst costs little and the last of it is never missed.
 */
export class KeyedTasks {
  readonly #options: KeyedTasksOptions;
  /** When what was begun or waits for a key will be over. */
  readonly #tails = new Map<string, Promise<unknown>>();
  /** What has been asked for and has not begun. */
  readonly #requested = new Map<string, Promise<boolean>>();
  #running = 0;
  readonly #waiting: (() => void)[] = [];
  #idle: (() => void)[] = [];

  constructor(options: KeyedTasksOptions) {
    this.#options = options;
  }

  /** Keys for which something is done or waits. */
  get size(): number {
    return this.#tails.size;
  }

  has(key: string): boolean {
    return this.#tails.has(key);
  }

  /** Has the work done for a key. */
  request(key: string): Promise<boolean> {
    const requested = this.#requested.get(key);
    if (requested !== undefined) return requested;
    const result = this.run(key, async () => {
      await this.#slot();
      this.#requested.delete(key);
      try {
        return await this.#options.work(key);
      } finally {
        this.#freeSlot();
      }
    });
    this.#requested.set(key, result);
    return result;
  }

  /** Does something else for a key, after all that was asked for before. */
  run<T>(key: string, task: () => Promise<T>): Promise<T> {
    const result = (this.#tails.get(key) ?? Promise.resolve()).then(task);
    const over = () => {
      if (this.#tails.get(key) !== tail) return;
      this.#tails.delete(key);
      if (this.#tails.size === 0) for (const resolve of this.#idle.splice(0)) resolve();
    };
    const tail: Promise<unknown> = result.then(over, over);
    this.#tails.set(key, tail);
    return result;
  }

  /** Resolves when there is nothing to do. */
  async idle(): Promise<void> {
    if (this.#tails.size > 0) await new Promise<void>((resolve) => this.#idle.push(resolve));
  }

  async #slot(): Promise<void> {
    if (this.#running < this.#options.maxConcurrent) this.#running++;
    else await new Promise<void>((resolve) => this.#waiting.push(resolve));
  }

  #freeSlot(): void {
    const next = this.#waiting.shift();
    if (next === undefined) this.#running--;
    else next();
  }
}
