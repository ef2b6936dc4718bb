import type { Clock } from "./clock.ts";

/** The part of a pino logger that the services use. */
export interface Logger {
  trace(fields: object, message: string): void;
  debug(fields: object, message: string): void;
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}

const INTERVAL = 60_000;

/** Logs failures that a peer can repeat at will: one line per kind of failure and minute. */
export class FailureLog {
  readonly #logger: Logger;
  readonly #clock: Clock;
  readonly #kinds = new Map<string, { loggedAt: number; suppressed: number }>();

  constructor(logger: Logger, clock: Clock) {
    this.#logger = logger;
    this.#clock = clock;
  }

  /**
   * Logs `message` as a warning, unless one of the same `kind` was logged less than a minute ago.
   *
   * @param kind one of a fixed set of names, never text from a peer: each is remembered.
   */
  warn(kind: string, fields: object, message: string): void {
    const now = this.#clock.now();
    const known = this.#kinds.get(kind);
    if (known === undefined) {
      this.#kinds.set(kind, { loggedAt: now, suppressed: 0 });
      this.#logger.warn(fields, message);
    } else if (now - known.loggedAt < INTERVAL) {
      known.suppressed++;
    } else {
      this.#logger.warn({ ...fields, suppressed: known.suppressed }, message);
      known.loggedAt = now;
      known.suppressed = 0;
    }
  }
}
