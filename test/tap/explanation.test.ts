import { describe, expect, it } from "vitest";
import { FLOW_CONTROL, LATE_ACKNOWLEDGMENTS, strayResets, unexplained, unexplainedMoments } from "./explanation.ts";
import type { AnalysisFlag, CapturedSegment } from "./tshark.ts";

const GUEST = "52:54:00:12:34:56";
const STACK = "02:68:6f:73:74:64";

function segment(time: number, stream: number, ...analysis: AnalysisFlag[]): CapturedSegment {
  return {
    frame: Math.round(time * 1000),
    time,
    stream,
    source: GUEST,
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

describe("a probe of hostd's", () => {
  /** hostd's last segment with its FIN, sent again after `wait` milliseconds, to a guest that has closed before. */
  function connection(wait: number, acknowledgedAt: number): CapturedSegment[] {
    const last = { source: STACK, flags: "APF", sequence: 1, acknowledgment: 9 };
    const acknowledgment = { source: GUEST, flags: "A", sequence: 9, length: 0, acknowledgment: 1002 };
    const from = (time: number, part: Partial<CapturedSegment>, ...flags: AnalysisFlag[]): CapturedSegment => {
      return { ...segment(time, 1, ...flags), timestamps: [time, 0], ...part };
    };
    return [
      from(1, { flags: "AF", sequence: 8, length: 0 }),
      from(2, last),
      from(2 + wait, last, "retransmission"),
      from(acknowledgedAt, acknowledgment),
      from(acknowledgedAt + 1, acknowledgment, "duplicate_ack"),
      from(acknowledgedAt + 2, { source: STACK, flags: "R", sequence: 1002, length: 0, acknowledgment: 0 }),
    ].sort((one, other) => one.frame - other.frame);
  }

  it("is explained after 50 ms without an acknowledgment, with what the guest and hostd say to it", () => {
    const late = connection(60, 70);
    expect(unexplained(late, LATE_ACKNOWLEDGMENTS)).toEqual([]);
    expect(strayResets(late)).toEqual([]);
  });

  it("is not explained when it came too early, or after the acknowledgment", () => {
    for (const needless of [connection(40, 70), connection(60, 50)]) {
      expect(unexplained(needless, LATE_ACKNOWLEDGMENTS).join()).toContain("retransmission by hostd: ");
      expect(strayResets(needless)).toHaveLength(1);
    }
  });

  it("is no acknowledgment alone, however late that is", () => {
    const late = connection(60, 70).map((each) =>
      each.analysis.includes("retransmission")
        ? { ...each, flags: "A", sequence: 1002, length: 0, analysis: [] }
        : each,
    );
    expect(strayResets(late)).toHaveLength(1);
  });
});
