import type { Socket } from "node:net";
import type { Clock } from "@hostd/streams";
import type { StreamForward } from "./stream-forward.ts";

/** A client of the host that was accepted and is not led anywhere yet. Its socket is paused and was never read from. */
export interface WaitingClient {
  readonly forward: StreamForward;
  readonly socket: Socket;
  /** Until when it may wait, in milliseconds of the clock. */
  readonly until: number;
}

/** How often clients that wait are tried again, in milliseconds. */
const RETRY_TIME = 250;

/** The clients that wait for a VM that answers, as while it boots. What they send waits in the kernel. */
export class WaitingClients {
  readonly #clock: Clock;
  readonly #clients = new Set<WaitingClient>();
  readonly #counts = new Map<StreamForward, number>();
  #stopTimer: (() => void) | null = null;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** How many clients of all forwards wait. */
  get size(): number {
    return this.#clients.size;
  }

  /** How many clients of a forward wait. */
  count(forward: StreamForward): number {
    return this.#counts.get(forward) ?? 0;
  }

  /** Has a client wait; false when its time is over. */
  add(client: WaitingClient): boolean {
    if (client.until <= this.#clock.now()) return false;
    this.#clients.add(client);
    this.#counts.set(client.forward, this.count(client.forward) + 1);
    this.#stopTimer ??= this.#clock.every(RETRY_TIME, () => this.retry());
    return true;
  }

  /** Tries all again, because a VM has shown itself. Those that cannot be led anywhere are added again, or given up. */
  retry(): void {
    const clients = [...this.#clients];
    this.#clients.clear();
    this.#counts.clear();
    for (const client of clients) client.forward.connect(client);
    this.#stopWhenEmpty();
  }

  /** Takes out the clients of a forward. */
  takeAll(forward: StreamForward): WaitingClient[] {
    if (this.count(forward) === 0) return [];
    this.#counts.delete(forward);
    const taken = [...this.#clients].filter((client) => client.forward === forward);
    for (const client of taken) this.#clients.delete(client);
    this.#stopWhenEmpty();
    return taken;
  }

  #stopWhenEmpty(): void {
    if (this.#clients.size > 0) return;
    this.#stopTimer?.();
    this.#stopTimer = null;
  }
}
