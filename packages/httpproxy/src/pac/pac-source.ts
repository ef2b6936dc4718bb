import type { Clock } from "@hostd/streams";
import { after, within } from "./after.ts";
import type { FetchPac } from "./fetch-pac.ts";
import { PacError } from "./pac-error.ts";
import { PacFile } from "./pac-file.ts";

const FETCH_LIMIT = 10_000;
const FIRST_RETRY = 1000;
const LAST_RETRY = 60_000;
/** Somebody may be at work on the file. */
const LAST_FILE_RETRY = 8000;
/** How often a file of this host is looked at. */
const FILE_INTERVAL = 2000;

export interface PacSourceOptions {
  /** `http:`, `https:` or `file:`. */
  readonly url: URL;
  readonly fetch: FetchPac;
  readonly clock: Clock;
  readonly refetchSeconds: number;
  /**
   * Takes a script over. What it rejects with counts as a failure to fetch.
   *
   * @param isAnew - whether it is to be taken over even when it is the one that is in force.
   */
  readonly takeOver: (script: string, isAnew: boolean) => Promise<void>;
  readonly failed: (error: unknown) => void;
}

/** Fetches a PAC file at once and again at intervals, after a failure in 1 s, and twice as long each time, up to 60 s. */
export class PacSource {
  readonly #options: PacSourceOptions;
  readonly #file: PacFile | null;
  readonly #closed = new AbortController();
  #stopTimer: (() => void) | null = null;
  #retry = FIRST_RETRY;
  #isBusy = false;
  /** The next script is to be taken over anew. */
  #isAnewDue = false;
  /** Once more, right after what is under way. */
  #isAgainDue = false;

  constructor(options: PacSourceOptions) {
    this.#options = options;
    this.#file = options.url.protocol === "file:" ? new PacFile(options.url) : null;
    void this.#turn();
  }

  /** Fetches now, and has the script taken over anew: the network is another one. */
  refresh(): void {
    this.#isAnewDue = true;
    this.#isAgainDue = this.#isBusy;
    this.#retry = FIRST_RETRY;
    void this.#turn();
  }

  close(): void {
    this.#closed.abort();
    this.#stopTimer?.();
  }

  async #turn(): Promise<void> {
    if (this.#isBusy || this.#closed.signal.aborted) return;
    this.#isBusy = true;
    this.#stopTimer?.();
    const wait = await this.#attempt();
    this.#isBusy = false;
    if (this.#closed.signal.aborted) return;
    this.#stopTimer = after(this.#options.clock, wait, () => void this.#turn());
    if (!this.#isAgainDue) return;
    this.#isAgainDue = false;
    void this.#turn();
  }

  /** Fetches once. Returns after how many milliseconds that is to be done again. */
  async #attempt(): Promise<number> {
    const { refetchSeconds, takeOver, failed } = this.#options;
    const isAnew = this.#isAnewDue;
    this.#isAnewDue = false;
    if (isAnew) this.#file?.forget();
    try {
      const script = await this.#fetch();
      if (this.#closed.signal.aborted) return 0;
      if (script !== null) await takeOver(script, isAnew);
      this.#retry = FIRST_RETRY;
      return this.#file === null ? refetchSeconds * 1000 : FILE_INTERVAL;
    } catch (error) {
      if (!this.#closed.signal.aborted) failed(error);
      this.#file?.forget();
      this.#isAnewDue ||= isAnew;
      const wait = this.#retry;
      this.#retry = Math.min(2 * wait, this.#file === null ? LAST_RETRY : LAST_FILE_RETRY);
      return wait;
    }
  }

  /** The script; null when it is known to be the same. */
  async #fetch(): Promise<string | null> {
    const { url, fetch, clock } = this.#options;
    const tooLate = new AbortController();
    const signal = AbortSignal.any([tooLate.signal, this.#closed.signal]);
    try {
      const result = this.#file === null ? fetch(url, signal).then(({ text }) => text) : this.#file.read();
      return await within(clock, FETCH_LIMIT, result, () => new PacError(`it has not come within ${FETCH_LIMIT} ms`));
    } finally {
      // Ends what is still under way.
      tooLate.abort();
    }
  }
}
