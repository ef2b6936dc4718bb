import { describe, expect, it } from "vitest";
import { compare } from "./comparison.ts";
import type { Outcome } from "./outcome.ts";
import { markdownReport, plainReport, type Report } from "./report.ts";

const outcomes: Outcome[] = [
  { peer: "hostd", mtu: 1500, round: 1, measure: "up", figures: { up: 1, "cpu-up": 2 }, stolen: 0.049, notes: [] },
  {
    peer: "gvproxy",
    mtu: 1500,
    round: 1,
    measure: "up",
    figures: { up: 2, "cpu-up": 4 },
    stolen: 0.05,
    notes: ["a remark"],
  },
  {
    peer: "gvproxy",
    mtu: 1500,
    round: 1,
    measure: "dns",
    figures: {},
    failure: "no answer after 12 s",
    stolen: 0,
    notes: [],
  },
  {
    peer: "gvproxy",
    mtu: 1500,
    round: 2,
    measure: "dns",
    figures: {},
    failure: "no answer after 5.7 s",
    stolen: 0.456,
    notes: [],
  },
];
const inabilities = [{ peer: "hostd", mtu: 1500, measure: "publish", reason: "not yet" }];
const report: Report = {
  date: "2026-01-02T03:04:05.000Z",
  minutes: 12.4,
  machine: {
    processor: "Example 9000",
    processors: 2,
    memoryBytes: 24 * 2 ** 30,
    kernel: "6.18.1",
    system: "Debian",
    node: "v26.10.0",
    congestionControl: "cubic",
    openFiles: 20_000,
    load: 0.5,
  },
  rounds: 2,
  durations: { seconds: 2, warmup: 0.5 },
  peers: [
    { id: "hostd", version: "0.1.0" },
    { id: "gvproxy", version: "0.8.1-3" },
  ],
  tables: compare(["hostd", "gvproxy"], outcomes, inabilities),
  inabilities,
  outcomes,
};

describe("plainReport", () => {
  const text = plainReport(report);

  it("says what was measured on what, and when", () => {
    expect(text).toContain("2026-01-02 03:04 UTC, 13 minutes, 2 runs of 2 s after 0.5 s");
    expect(text).toContain(
      "2 processors (Example 9000), 24 GiB, Linux 6.18.1, Debian, Node v26.10.0, cubic, 20,000 open files, load 0.5 before",
    );
    expect(text).toContain("hostd 0.1.0, gvproxy 0.8.1-3");
  });

  it("has a row for each cell, with the ratios", () => {
    expect(text).toMatch(/^TCP up +Gbit\/s +1\.00 +2\.00 +0\.50 +0\.50$/m);
    expect(text).toMatch(/^processor, TCP up +s\/GB +2\.00 +4\.00 +2\.00 +2\.00$/m);
    expect(text).toMatch(/^DNS, 50 at a time +queries\/s +- +failed$/m);
  });

  it("lists where hostd is worse, each failure once whatever its numbers, and what is not measured", () => {
    expect(text).toContain("Below gvproxy\n  0.50: TCP up, MTU 1500 (hostd 1.00, gvproxy 2.00 Gbit/s)\n\n");
    expect(text).toContain("Failed\n  gvproxy, MTU 1500, dns: no answer after 12 s (2 of 2 runs)\n");
    expect(text).toContain("Not measured\n  hostd, MTU 1500, publish: not yet\n");
    expect(text).toContain("Notes\n  gvproxy, MTU 1500, up, run 1: a remark\n");
  });

  it("says with which peers the hypervisor gave much to others, how often, and how much at the most", () => {
    expect(text).toContain(
      "Disturbed\n" +
        "  gvproxy: in 2 of 3 measures 5 % and more of the processors' time went to others than this machine (steal), " +
        "at most 46 % (MTU 1500, dns, run 2)\n\n",
    );
  });
});

describe("the parts below the tables", () => {
  it("say that hostd is worse nowhere rather than nothing", () => {
    const own = outcomes.map((each) => (each.peer === "hostd" ? { ...each, figures: { up: 3, "cpu-up": 1 } } : each));
    const text = plainReport({ ...report, tables: compare(["hostd", "gvproxy"], own, []) });
    expect(text).toContain("Below gvproxy\n  nowhere\n");
  });

  it("compare with nobody when hostd was measured alone", () => {
    const own = outcomes.filter(({ peer }) => peer === "hostd");
    expect(plainReport({ ...report, outcomes: own, tables: compare(["hostd"], own, []) })).not.toContain("Below");
  });
});

describe("markdownReport", () => {
  const page = markdownReport(report);

  it("sets the best of a row in bold, and titles columns with versions", () => {
    expect(page).toContain("|  |  | hostd 0.1.0 | gvproxy 0.8.1 | to gvproxy | to the best |\n");
    expect(page).toContain("| TCP up | Gbit/s | 1.00 | **2.00** | 0.50 | 0.50 |\n");
    expect(page).toContain("| processor, TCP up | s/GB | **2.00** | 4.00 | 2.00 | 2.00 |\n");
  });

  it("leaves out parts that would be empty", () => {
    const { outcomes: _, ...rest } = report;
    const empty = markdownReport({ ...rest, outcomes: [], tables: [], inabilities: [] });
    expect(empty).not.toContain("##");
  });
});
