import { describe, expect, it } from "vitest";
import { FLOW_CONTROL, unexplainedMoments } from "./explanation.ts";
import type { AnalysisFlag, CapturedSegment } from "./tshark.ts";

function segment(time: number, stream: number, ...analysis: AnalysisFlag[]): CapturedSegment {
  return {
    frame: Math.round(time * 1000),
    time,
    stream,
    source: "52:54:00:12:34:56",
    flags: "A",
    sequence: 1,
    length: 1000,
    acknowledgment: 1,
    window: 65535,
    timestamps: [0, 0],
    sackPermitted: false,
    maximumSegment: null,
    windowShift: null,
    reported: null,
    analysis,
  };
}

describe("unexplainedMoments", () => {
  it("counts what is late on many connections once", () => {
    const many = Array.from({ length: 40 }, (_, index) => segment(10 + index * 0.1, index, "retransmission"));
    expect(unexplainedMoments(many, FLOW_CONTROL)).toBe(1);
  });

  it("counts what comes later anew, on the same connection as well", () => {
    const times = [10, 14, 20, 100, 110];
    const late = times.map((time) => segment(time, 1, "retransmission", "spurious_retransmission"));
    expect(unexplainedMoments(late, FLOW_CONTROL)).toBe(4);
  });

  it("does not count what is explained", () => {
    expect(unexplainedMoments([segment(10, 1, "window_update"), segment(20, 1)], FLOW_CONTROL)).toBe(0);
  });
});
