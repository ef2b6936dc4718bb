import type { BenchmarkEntry } from "./benchmark-entry.ts";
import { checksumBenchmarks } from "./checksum.ts";
import { dnsBenchmarks } from "./dns.ts";
import { flowTableBenchmarks } from "./flow-table.ts";
import { frameDecoderBenchmarks } from "./frame-decoder.ts";
import { parseBenchmarks } from "./parse.ts";
import { retransmissionQueueBenchmarks } from "./retransmission-queue.ts";
import { sendBufferBenchmarks } from "./send-buffer.ts";
import { stackBenchmarks } from "./stack.ts";
import { timerQueueBenchmarks } from "./timer-queue.ts";

/** Every micro-benchmark, in the order of the report: from what a frame meets first. */
export const BENCHMARKS: readonly BenchmarkEntry[] = [
  ...frameDecoderBenchmarks,
  ...parseBenchmarks,
  ...checksumBenchmarks,
  ...flowTableBenchmarks,
  ...stackBenchmarks,
  ...sendBufferBenchmarks,
  ...retransmissionQueueBenchmarks,
  ...timerQueueBenchmarks,
  ...dnsBenchmarks,
];
