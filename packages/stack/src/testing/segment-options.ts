import { sequenceAfter } from "../sequence.ts";
import { concatenate } from "./frames.ts";
import type { AcknowledgmentBase, OptionStep, Place } from "./segment-steps.ts";

/** The largest options of a TCP header. */
const MAX_OPTIONS = 40;

export interface OptionContext {
  /** The peer's clock of timestamps. */
  readonly clock: number;
  /** The value that the stack sent last. */
  readonly lastEcho: number;
  readonly place: (place: Place<AcknowledgmentBase>) => number;
}

/** Builds options step by step, cut off at 40 bytes and filled up to a multiple of four. */
export function buildOptions(
  steps: readonly OptionStep[],
  context: OptionContext,
): { options: Uint8Array; spoilsClock: boolean } {
  const { clock } = context;
  const parts = steps.map((step) => Uint8Array.from(build(step, context)));
  const spoilsClock = steps.some((step) => {
    // What looks like anything may look like a timestamp of the future.
    if (step.option === "raw" || step.option === "cut") return true;
    return step.option === "timestamps" && sequenceAfter(timestampOf(step.value, clock), clock);
  });
  const all = concatenate(...parts).subarray(0, MAX_OPTIONS);
  return { options: concatenate(all, new Uint8Array((4 - (all.length % 4)) % 4)), spoilsClock };
}

function build(step: OptionStep, { clock, lastEcho, place }: OptionContext): number[] {
  switch (step.option) {
    case "timestamps": {
      const echoes = { last: lastEcho, old: lastEcho - 1000, future: lastEcho + 1000, zero: 0 };
      return [8, 10, ...u32(timestampOf(step.value, clock)), ...u32(echoes[step.echo])];
    }
    case "sack":
      return [
        5,
        2 + 8 * step.blocks.length,
        ...step.blocks.flatMap(([from, to]) => [...u32(place(from)), ...u32(place(to))]),
      ];
    case "mss":
      return [2, 4, step.size >> 8, step.size & 255];
    case "scale":
      return [3, 3, step.shift];
    case "sackPermitted":
      return [4, 2];
    case "nop":
      return Array(step.count).fill(1);
    case "end":
      return [0];
    case "cut":
      return [step.kind, step.length];
    case "raw":
      return [...step.bytes];
  }
}

type TimestampValue = Extract<OptionStep, { option: "timestamps" }>["value"];

function timestampOf(value: TimestampValue, clock: number): number {
  const offsets = { now: 0, old: -1, ancient: -(2 ** 31), new: 1, far: 2 ** 30, zero: -clock };
  return (clock + offsets[value]) | 0;
}

function u32(value: number): number[] {
  return [(value >>> 24) & 255, (value >>> 16) & 255, (value >>> 8) & 255, value & 255];
}
