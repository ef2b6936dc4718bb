/** The timing loop of the micro-benchmarks, and its statistics. */

/** Something that is done over and over, to learn what it costs. */
export interface Benchmark {
  /** Operations of one call of {@link run}. */
  readonly operations: number;
  /** Makes ready what the next {@link run} uses up; neither its time nor its memory counts. */
  prepare?(): void;
  /**
   * Does the operations.
   *
   * @returns a number that depends on all of them, so that the engine cannot leave them out.
   */
  run(): number | Promise<number>;
}

/** What samples of a quantity look like. */
export interface Summary {
  readonly median: number;
  /** The first and the third quartile. */
  readonly low: number;
  readonly high: number;
  readonly minimum: number;
  readonly samples: number;
}

/** What one operation of a benchmark costs. */
export interface Measurement {
  /** Nanoseconds of elapsed time. */
  readonly nanoseconds: Summary;
  /** Bytes allocated on the engine's heap. */
  readonly heapBytes: number;
  /** Bytes allocated as the memory of an `ArrayBuffer`, outside of the heap. */
  readonly bufferBytes: number;
}

/** How much slower one of two sides is that were measured by turns: their quotient, and its range over the turns. */
export interface Ratio {
  readonly median: number;
  readonly lowest: number;
  readonly highest: number;
}

/** Time of one sample: long against the clock's reading, short against what the machine does beside. */
const SAMPLE_MS = 5;
const FEWEST_SAMPLES = 5;
/** After so long the slowest to settle has: a long loop, which the compilers enter and leave several times. */
const WARM_UP_MS = 750;
/** Readings of the allocated memory; a collection in between spoils few of them. */
const READINGS = 41;
/** Operations between two readings, unless they allocate so much that a collection would be likely. */
const OPERATIONS_PER_READING = 4096;
const BYTES_PER_READING = 64 * 1024;
/** So many looks, a millisecond apart, have to find the memory of buffers unchanged; after so many it is taken as it is. */
const SAME_LOOKS = 5;
const MOST_LOOKS = 200;

/** What benchmarks returned ends up here: a store that the engine does not leave out, though nobody reads it. */
let consumed = 0;

/**
 * The value below which the part `fraction` of the values lies, between two values by linear interpolation (Hyndman and
 * Fan 1996, definition 7).
 *
 * @throws {RangeError} when there are no values.
 */
export function quantile(values: readonly number[], fraction: number): number {
  if (values.length === 0) throw new RangeError("there is no quantile of no values");
  const sorted = [...values].sort((one, other) => one - other);
  const position = fraction * (sorted.length - 1);
  const below = Math.floor(position);
  const above = Math.min(below + 1, sorted.length - 1);
  return sorted[below] + (position - below) * (sorted[above] - sorted[below]);
}

export function median(values: readonly number[]): number {
  return quantile(values, 0.5);
}

export function summarize(values: readonly number[]): Summary {
  return {
    median: median(values),
    low: quantile(values, 0.25),
    high: quantile(values, 0.75),
    minimum: quantile(values, 0),
    samples: values.length,
  };
}

/** Half of the distance between the quartiles, as a part of the median. */
export function spread({ median, low, high }: Summary): number {
  return median === 0 ? 0 : (high - low) / 2 / median;
}

/** One measurement of several of the same thing: the medians, of which each process has its own. */
export function combine(measurements: readonly Measurement[]): Measurement {
  const middle = (of: (measurement: Measurement) => number) => median(measurements.map(of));
  return {
    nanoseconds: {
      median: middle(({ nanoseconds }) => nanoseconds.median),
      low: middle(({ nanoseconds }) => nanoseconds.low),
      high: middle(({ nanoseconds }) => nanoseconds.high),
      minimum: Math.min(...measurements.map(({ nanoseconds }) => nanoseconds.minimum)),
      samples: measurements.reduce((sum, { nanoseconds }) => sum + nanoseconds.samples, 0),
    },
    heapBytes: middle(({ heapBytes }) => heapBytes),
    bufferBytes: middle(({ bufferBytes }) => bufferBytes),
  };
}

/**
 * Compares two sides that were measured by turns, so that what the machine did meanwhile met both.
 *
 * @param times - the time of each turn.
 * @param against - the other side's in the same turns.
 * @throws {RangeError} when there are not as many of one as of the other.
 */
export function ratioOf(times: readonly number[], against: readonly number[]): Ratio {
  if (times.length !== against.length) {
    throw new RangeError(`${times.length} turns of one side and ${against.length} of the other`);
  }
  const quotients = times.map((time, turn) => time / against[turn]);
  return { median: median(quotients), lowest: quantile(quotients, 0), highest: quantile(quotients, 1) };
}

/** Runs `runs` times; returns the milliseconds that the runs alone took. */
async function timeRuns(benchmark: Benchmark, runs: number): Promise<number> {
  let elapsed = 0;
  if (benchmark.prepare === undefined) {
    const began = performance.now();
    for (let run = 0; run < runs; run++) {
      const result = benchmark.run();
      consumed = (consumed + (typeof result === "number" ? result : await result)) | 0;
    }
    return performance.now() - began;
  }
  for (let run = 0; run < runs; run++) {
    benchmark.prepare();
    const began = performance.now();
    const result = benchmark.run();
    consumed = (consumed + (typeof result === "number" ? result : await result)) | 0;
    elapsed += performance.now() - began;
  }
  return elapsed;
}

/** Runs until the engine's compilers have settled; returns how many runs fill a sample. */
async function warmUp(benchmark: Benchmark): Promise<number> {
  const until = performance.now() + WARM_UP_MS;
  let runs = 1;
  for (;;) {
    const elapsed = await timeRuns(benchmark, runs);
    const perRun = elapsed / runs;
    const fitting = Math.max(1, Math.ceil(SAMPLE_MS / Math.max(perRun, 1e-6)));
    if (performance.now() >= until) return fitting;
    // The first runs are by far the slowest: what they tell is not to be multiplied by much.
    runs = Math.min(fitting, 4 * runs);
  }
}

interface Allocated {
  readonly heap: number;
  readonly buffers: number;
}

async function allocatedBy(benchmark: Benchmark, runs: number): Promise<Allocated> {
  if (runs > 0) benchmark.prepare?.();
  const before = process.memoryUsage();
  for (let run = 0; run < runs; run++) {
    const result = benchmark.run();
    consumed = (consumed + (typeof result === "number" ? result : await result)) | 0;
  }
  const after = process.memoryUsage();
  return { heap: after.heapUsed - before.heapUsed, buffers: after.arrayBuffers - before.arrayBuffers };
}

/** Waits until the collector, which frees buffers in a thread of its own, has done with those of the runs before. */
async function buffersAreSettled(): Promise<void> {
  let same = 0;
  let last = process.memoryUsage().arrayBuffers;
  for (let look = 0; same < SAME_LOOKS && look < MOST_LOOKS; look++) {
    await new Promise((resolve) => setTimeout(resolve, 1));
    const { arrayBuffers } = process.memoryUsage();
    same = arrayBuffers === last ? same + 1 : 0;
    last = arrayBuffers;
  }
}

/** Bytes that one operation allocates: the median of several readings, as one with a collection in between is too low. */
async function measureAllocation(benchmark: Benchmark): Promise<Allocated> {
  const { operations } = benchmark;
  let runs = 1;
  if (benchmark.prepare === undefined) {
    while (runs * operations < OPERATIONS_PER_READING) {
      const { heap, buffers } = await allocatedBy(benchmark, runs);
      if (Math.abs(heap) + Math.abs(buffers) > BYTES_PER_READING) break;
      runs *= 2;
    }
  }
  await buffersAreSettled();
  const heaps: number[] = [];
  const buffers: number[] = [];
  for (let reading = 0; reading < READINGS; reading++) {
    // The reading itself allocates too.
    const none = await allocatedBy(benchmark, 0);
    const some = await allocatedBy(benchmark, runs);
    heaps.push(some.heap - none.heap);
    buffers.push(some.buffers - none.buffers);
  }
  const perOperation = (differences: number[]) => Math.max(0, median(differences)) / (runs * operations);
  return { heap: perOperation(heaps), buffers: perOperation(buffers) };
}

/**
 * Measures a benchmark, which is to be the only one of its process: what the engine makes of a function depends on
 * everything that has called it.
 *
 * @param seconds - how long to take samples.
 */
export async function measure(benchmark: Benchmark, seconds: number): Promise<Measurement> {
  const runs = await warmUp(benchmark);
  const samples: number[] = [];
  const until = performance.now() + 1000 * seconds;
  while (samples.length < FEWEST_SAMPLES || performance.now() < until) {
    samples.push(((await timeRuns(benchmark, runs)) * 1e6) / (runs * benchmark.operations));
  }
  const { heap, buffers } = await measureAllocation(benchmark);
  return { nanoseconds: summarize(samples), heapBytes: heap, bufferBytes: buffers };
}
