import type { Clock } from "../clock.ts";

/** A clock that a test advances. */
export class FakeClock implements Clock {
  readonly #timers = new Set<{ at: number; readonly period: number; readonly callback: () => void }>();
  #now = 1000;

  now(): number {
    return this.#now;
  }

  every(milliseconds: number, callback: () => void): () => void {
    const timer = { at: this.#now + milliseconds, period: milliseconds, callback };
    this.#timers.add(timer);
    return () => this.#timers.delete(timer);
  }

  /** Timers that have not been stopped. */
  get timers(): number {
    return this.#timers.size;
  }

  /** Lets time pass, calling the timers that fall due in their order. */
  advance(milliseconds: number): void {
    const end = this.#now + milliseconds;
    for (;;) {
      const due = [...this.#timers].filter((timer) => timer.at <= end).sort((one, other) => one.at - other.at)[0];
      if (due === undefined) break;
      this.#now = due.at;
      due.at += due.period;
      due.callback();
    }
    this.#now = end;
  }
}
