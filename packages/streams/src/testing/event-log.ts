/** Events in the order they came, for a test to await. */
export class EventLog<Event> {
  readonly events: Event[] = [];
  #waiting: (() => void)[] = [];

  push(event: Event): void {
    this.events.push(event);
    this.changed();
  }

  /** Lets those who wait look again. */
  changed(): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const wake of waiting) wake();
  }

  /** Waits until `condition` holds, looking again at each event. */
  async until(condition: () => boolean): Promise<void> {
    while (!condition()) {
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#waiting.push(resolve);
      await promise;
    }
  }

  /** Waits for the first `count` events. */
  async take(count: number): Promise<Event[]> {
    await this.until(() => this.events.length >= count);
    return this.events.slice(0, count);
  }
}
