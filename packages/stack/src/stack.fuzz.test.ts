import { describe, expect, it } from "vitest";
import { fuzzFrames } from "./testing/fuzz.ts";

describe("a stack that is fed with random and mutated frames", () => {
  it.each([1, 2, 3])("lives, keeps its tables bounded and leaves nothing behind (seed %i)", (seed) => {
    const report = fuzzFrames({ seed, goesOn: (frames) => frames < 30_000 });
    expect(report.frames).toBe(30_000);
    // The frames reach every part: connections came to be and ended in more than one way, and much was dropped.
    expect(report.accepted).toBeGreaterThan(50);
    expect(Object.keys(report.closed)).toEqual(expect.arrayContaining(["aborted", "detached", "finished", "reset"]));
    const { dropMalformed, dropChecksum, dropAddress, dropFragment, icmpSent, udpSent, arpSent } = report.statistics;
    for (const count of [dropMalformed, dropChecksum, dropAddress, dropFragment, icmpSent, udpSent, arpSent]) {
      expect(count).toBeGreaterThan(0);
    }
  });

  it("does the same again for the same seed", () => {
    const run = () => fuzzFrames({ seed: 7, goesOn: (frames) => frames < 2000 });
    expect(run()).toEqual(run());
  });
});
