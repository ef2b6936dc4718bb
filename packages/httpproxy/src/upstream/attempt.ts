import type { Duplex } from "node:stream";
import type { Clock } from "@hostd/streams";

/** One try of one route. When it fails, is aborted or takes too long, all that it opened is closed. */
export class Attempt {
  readonly #caller: AbortSignal;
  readonly #clock: Clock;
  readonly #controller = new AbortController();
  readonly #aborted = Promise.withResolvers<never>();
  readonly #streams: Duplex[] = [];
  #stopTimer: (() => void) | null = null;

  /** @param caller - aborts it. */
  constructor(caller: AbortSignal, clock: Clock) {
    this.#caller = caller;
    this.#clock = clock;
  }

  /** Is aborted when the try is over without success. */
  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /**
   * Does the work of the try. The caller's signal has no effect on what it gives.
   *
   * @throws what the work throws, the reason of the caller's signal, or the error of the limit.
   */
  async run<Result>(work: () => Promise<Result>): Promise<Result> {
    this.#caller.throwIfAborted();
    const abort = () => this.#abort(this.#caller.reason);
    this.#caller.addEventListener("abort", abort);
    try {
      const result = await Promise.race([work(), this.#aborted.promise]);
      this.signal.throwIfAborted();
      return result;
    } catch (error) {
      this.#abort(error);
      throw this.signal.reason;
    } finally {
      this.#stopTimer?.();
      this.#caller.removeEventListener("abort", abort);
    }
  }

  /** Limits the time from now on, in milliseconds, in place of an earlier limit. */
  limit(milliseconds: number, makeError: () => Error): void {
    this.#stopTimer?.();
    this.#stopTimer = this.#clock.every(milliseconds, () => this.#abort(makeError()));
  }

  /** Has a stream closed unless the try succeeds. Its errors are nobody's until somebody else listens for them. */
  own<Stream extends Duplex>(stream: Stream): Stream {
    stream.on("error", () => {});
    this.#streams.push(stream);
    if (this.signal.aborted) stream.destroy();
    this.signal.throwIfAborted();
    return stream;
  }

  #abort(reason: unknown): void {
    if (this.signal.aborted) return;
    this.#controller.abort(reason);
    for (const stream of this.#streams) stream.destroy();
    this.#aborted.reject(reason);
  }
}
