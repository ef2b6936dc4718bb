import { describe, expect, it } from "vitest";
import { describeStep } from "./progress.ts";

const step = { number: 3, of: 20, round: 2, mtu: 1500, peer: "gvproxy", measure: "up" };
const outcome = {
  peer: "gvproxy",
  mtu: 1500,
  round: 2,
  measure: "up",
  figures: { up: 1.8, "cpu-up": 4.5 },
  stolen: 0,
  notes: [],
};

describe("describeStep", () => {
  it("says what is measured now, and what came of it", () => {
    expect(describeStep(step)).toBe("3/20  run 2, MTU 1500, gvproxy: up ...");
    expect(describeStep(step, outcome)).toBe("3/20  run 2, MTU 1500, gvproxy: up 1.80 Gbit/s, cpu-up 4.50 s/GB");
  });

  it("says why something failed", () => {
    expect(describeStep(step, { ...outcome, failure: "no answer" })).toBe(
      "3/20  run 2, MTU 1500, gvproxy: up FAILED: no answer",
    );
  });
});
