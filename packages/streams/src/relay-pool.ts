import type { Relay } from "./relay.ts";
import { SlabPool } from "./slab-pool.ts";

/** What the relays of one VM share: memory for what waits, and the end of a batch of frames. */
export class RelayPool {
  readonly slabs: SlabPool;
  /** Called when a connection is ended because there is no memory for what its two ends send. */
  readonly outOfMemory: () => void;
  /** Relays with gathered data. */
  #unflushed: Relay[] = [];
  #isScheduled = false;

  /** @param maxQueuedBytes - bytes of memory for what the two ends of all connections have sent each other. */
  constructor(maxQueuedBytes: number, outOfMemory: () => void) {
    this.slabs = new SlabPool(maxQueuedBytes);
    this.outOfMemory = outOfMemory;
  }

  /** Has {@link Relay.flush} called at the end of the batch; a batch that nobody ends is ended when the current task is. */
  flushLater(relay: Relay): void {
    relay.flushPending = true;
    this.#unflushed.push(relay);
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    queueMicrotask(() => {
      this.#isScheduled = false;
      this.flushBatch();
    });
  }

  /** Writes what the guests sent in a batch of frames. */
  flushBatch(): void {
    const relays = this.#unflushed;
    for (let index = 0; index < relays.length; index++) {
      const relay = relays[index];
      relay.flushPending = false;
      relay.flush();
    }
    relays.length = 0;
  }
}
