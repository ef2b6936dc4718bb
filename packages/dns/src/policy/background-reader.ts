/** How long a value is taken as unchanged, in milliseconds. */
const CHECK_INTERVAL = 1000;
/** How long it is waited after a failure, in milliseconds. */
const RETRY_INTERVAL = 2000;

export interface BackgroundReaderOptions<T> {
  /** Reads the value. It ends early, in whatever way, when the signal aborts. */
  readonly read: (signal: AbortSignal) => Promise<T>;
  /** Something cheap to find out that is different after a change; it is asked for at most once per second. */
  readonly version: () => string;
  /** Milliseconds after which the value is read again though its version is the same. */
  readonly maxAge: number;
  /** The time in milliseconds, from any start on. */
  readonly now: () => number;
  /** Is told why a read failed, once until another reason or a success. */
  readonly onFailure: (reason: string) => void;
}

/**
 * A value that takes time to read. Whoever asks gets the one that was read last; when there may be a newer one, a read
 * is started. There is never more than one, and none without somebody asking.
 */
export class BackgroundReader<T> {
  readonly #options: BackgroundReaderOptions<T>;
  readonly #abort = new AbortController();
  #value: T | null = null;
  #version: string | null = null;
  #nextCheck = Number.NEGATIVE_INFINITY;
  #nextRead = Number.NEGATIVE_INFINITY;
  #reading: Promise<void> | null = null;
  #reason: string | null = null;

  constructor(options: BackgroundReaderOptions<T>) {
    this.#options = options;
  }

  /** The value that was read last; null before the first. It stays when a read fails. */
  current(): T | null {
    const now = this.#options.now();
    if (now >= this.#nextCheck && this.#reading === null && !this.#abort.signal.aborted) {
      this.#nextCheck = now + CHECK_INTERVAL;
      // It is found out before the read, so that a change during the read is seen by the next look.
      const version = this.#options.version();
      if (version !== this.#version || now >= this.#nextRead) {
        this.#version = version;
        this.#reading = this.#read();
      }
    }
    return this.#value;
  }

  /** Resolves when the read that is under way has ended; at once when there is none. */
  async settled(): Promise<void> {
    await this.#reading;
  }

  /** Ends the read that is under way. There is no further one. */
  close(): void {
    this.#abort.abort();
  }

  async #read(): Promise<void> {
    const { read, maxAge, now, onFailure } = this.#options;
    const { signal } = this.#abort;
    try {
      const value = await read(signal);
      if (signal.aborted) return;
      this.#value = value;
      this.#reason = null;
      this.#nextRead = now() + maxAge;
    } catch (error) {
      if (signal.aborted) return;
      this.#nextRead = now() + RETRY_INTERVAL;
      const reason = error instanceof Error ? error.message : String(error);
      if (reason !== this.#reason) onFailure(reason);
      this.#reason = reason;
    } finally {
      this.#reading = null;
    }
  }
}
