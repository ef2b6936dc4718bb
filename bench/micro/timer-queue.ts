import { Random } from "../../packages/stack/src/testing/random.ts";
import type { BenchmarkEntry } from "./benchmark-entry.ts";
import type { Checkout } from "./checkout.ts";
import type { Benchmark } from "./measure.ts";

const COUNTS = [1, 1000, 10_000];
/** Operations of one run at least: there are so many queues. */
const FEWEST_OPERATIONS = 1000;

interface Entry {
  queuedAt: number;
  queueIndex: number;
}

type Queue = InstanceType<typeof import("../../packages/stack/src/timer-queue.ts").TimerQueue<Entry>>;

/** Queues of `count` entries each, and a deadline between 0 and 1000 for every entry. */
class Timers {
  readonly operations: number;
  readonly #queues: readonly Queue[];
  readonly #count: number;
  readonly #entries: readonly Entry[];
  readonly #deadlines: Float64Array;

  constructor(newQueue: () => Queue, count: number) {
    const queues = Math.ceil(FEWEST_OPERATIONS / count);
    this.operations = queues * count;
    this.#count = count;
    this.#queues = Array.from({ length: queues }, newQueue);
    // A connection's fields start with this value too, which decides how the engine keeps them.
    this.#entries = Array.from({ length: this.operations }, () => ({
      queuedAt: Number.POSITIVE_INFINITY,
      queueIndex: -1,
    }));
    const random = new Random(count);
    this.#deadlines = Float64Array.from({ length: this.operations }, () => random.below(1_000_000) / 1000 + 0.0005);
  }

  /** Schedules every entry, `delay` after its deadline. */
  schedule(delay: number): number {
    for (let at = 0; at < this.#queues.length; at++) {
      const queue = this.#queues[at];
      const end = (at + 1) * this.#count;
      for (let index = end - this.#count; index < end; index++) {
        queue.schedule(this.#entries[index], this.#deadlines[index] + delay);
      }
    }
    return this.#queues[0].size;
  }

  /** Takes every entry out in the order of the deadlines. */
  expire(): number {
    let taken = 0;
    for (const queue of this.#queues) {
      for (let entry = queue.takeDue(4000); entry !== null; entry = queue.takeDue(4000)) taken += entry.queueIndex;
    }
    return taken;
  }
}

/** What is measured, after what; both by the methods of {@link Timers}. */
const OPERATIONS: readonly (readonly [name: string, benchmark: (timers: Timers) => Omit<Benchmark, "operations">])[] = [
  ["insert", (timers) => ({ prepare: () => void timers.expire(), run: () => timers.schedule(0) })],
  [
    // The usual case: the entry stays where it is.
    "re-arm later",
    (timers) => {
      timers.schedule(0);
      return { run: () => timers.schedule(500) };
    },
  ],
  [
    "re-arm sooner",
    (timers) => ({
      prepare: () => {
        timers.expire();
        timers.schedule(2000);
      },
      run: () => timers.schedule(0),
    }),
  ],
  ["expire", (timers) => ({ prepare: () => void timers.schedule(0), run: () => timers.expire() })],
];

export const timerQueueBenchmarks: readonly BenchmarkEntry[] = COUNTS.flatMap((count) =>
  OPERATIONS.map(([name, benchmark]) => ({
    name: `timers: ${name}, ${count} timers`,
    load: async (checkout: Checkout) => {
      const { TimerQueue } = await checkout.import<typeof import("../../packages/stack/src/timer-queue.ts")>(
        "packages/stack/src/timer-queue.ts",
        { TimerQueue: ["schedule", "takeDue"] },
      );
      const timers = new Timers(() => new TimerQueue<Entry>(), count);
      return { operations: timers.operations, ...benchmark(timers) };
    },
  })),
);
