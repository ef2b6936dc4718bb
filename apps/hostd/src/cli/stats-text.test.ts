import { describe, expect, it } from "vitest";
import type { StatsReport } from "../control/reports.ts";
import type { TrafficReport } from "../control/stats-report.ts";
import { noTraffic } from "../control/traffic.ts";
import { describeStats, describeVmStats } from "./stats-text.ts";
import { PLAIN } from "./table.ts";

const NONE = noTraffic();

const TRAFFIC: TrafficReport = {
  stack: {
    ...NONE.stack,
    ...{ framesReceived: 1200, bytesReceived: 1_500_000, framesSent: 2300, bytesSent: 99_000_000 },
    ...{ tcpSegmentsReceived: 900, udpReceived: 200, icmpReceived: 3, arpReceived: 2 },
    ...{ tcpSegmentsSent: 1900, udpSent: 300, icmpSent: 4, arpSent: 1 },
    ...{ dropMalformed: 3, dropLinkFull: 1500, tcpRetransmissions: 12, tcpTimeouts: 1 },
  },
  egress: {
    tcp: {
      ...NONE.egress.tcp,
      ...{ open: 10, connected: 120, rejectedDestination: 1, failed: 2 },
      ...{ droppedPending: 1, droppedLimit: 2, droppedMemory: 4 },
    },
    udp: {
      ...NONE.egress.udp,
      ...{ mappings: 5, opened: 50, rejectedDestination: 3, failed: 4 },
      ...{ droppedInvalid: 1, droppedNoSocket: 2, droppedQueue: 4, droppedSource: 8 },
    },
    icmp: {
      ...NONE.egress.icmp,
      ...{ sockets: 1, opened: 6, rejectedDestination: 7, failed: 8, droppedRate: 1, droppedNoSocket: 2 },
    },
  },
  dns: {
    ...NONE.dns,
    queries: 100,
    answeredLocally: 10,
    answeredFromCache: 50,
    forwarded: 36,
    failures: 2,
    dropped: 2,
  },
};

const TRAFFIC_TEXT = [
  "  LINK          BYTES  FRAMES   TCP  UDP  ICMP  ARP",
  "  from the VM  1.5 MB    1.2k   900  200     3    2",
  "  to the VM     99 MB    2.3k  1.9k  300     4    1",
  "",
  "  FLOWS OF THE VM  OPEN  BEGUN  REFUSED  FAILED  DROPPED",
  "  TCP connections    10    120        1       2        7",
  "  UDP                 5     50        3       4       15",
  "  ping                1      6        7       8        3",
  "",
  "  Dropped frames  malformed 3, full link 1.5k",
  "  TCP to the VM   segments sent again 12, timeouts 1",
  "  Names           100 queries: 10 answered by zones, 50 from the cache,",
  "                  36 by servers, 4 failed",
];

const REPORT: StatsReport = {
  process: {
    pid: 1234,
    startedAt: "2026-11-05T12:00:00.000Z",
    uptimeSeconds: 192.5,
    residentBytes: 70_000_000,
    heapUsedBytes: 15_000_000,
    heapTotalBytes: 20_000_000,
    externalBytes: 5_000_000,
    cpuUserSeconds: 1.25,
    cpuSystemSeconds: 0.31,
    eventLoopDelay: null,
  },
  vms: [{ name: "unix:///run/vm.sock", ...TRAFFIC }],
  totals: TRAFFIC,
  cache: { entries: 1, bytes: 300, hits: 50, misses: 36, stale: 0, evictions: 0, maxEntries: 10, maxBytes: 1000 },
  forwards: [
    {
      ...{ id: "tcp/127.0.0.1:8080", protocol: "tcp", listen: "127.0.0.1:8080", to: "80", origin: "config" },
      ...{ persist: false, state: "listening" },
    },
    {
      ...{ id: "tcp/127.0.0.1:80", protocol: "tcp", listen: "127.0.0.1:80", to: "80", origin: "api" },
      ...{ persist: true, state: "failed", error: "in use" },
    },
  ],
};

describe("describeStats", () => {
  it("shows what the process uses, what there is, and what all VMs did", () => {
    expect(describeStats(REPORT)).toEqual([
      "hostd, process 1234, up 3m12s",
      "  Memory     70 MB, of it JavaScript's heap 20 MB",
      "  Processor  1.3 s, and 0.3 s in the system",
      "  VMs        1",
      "  Forwards   1 listening, 1 failed",
      "  DNS cache  1 answer; 50 hits, 36 misses",
      "",
      "All VMs since hostd was started",
      ...TRAFFIC_TEXT,
    ]);
  });

  it("shows how late the event loop is where that was measured, and that there is no VM", () => {
    const eventLoopDelay = { meanSeconds: 0.001, p50Seconds: 0.0002, p99Seconds: 0.0031, maximumSeconds: 0.02 };
    const lines = describeStats({ ...REPORT, process: { ...REPORT.process, eventLoopDelay }, vms: [] });
    expect(lines).toContain("  Event loop  half late by 0.2 ms, 1 in 100 by 3.1 ms");
    expect(lines).toContain("  VMs         none");
  });

  it("makes its titles stand out", () => {
    const style = { ...PLAIN, title: (text: string) => `<${text}>` };
    const titles = describeStats(REPORT, style).filter((line) => line.startsWith("<"));
    expect(titles).toEqual(["<hostd, process 1234, up 3m12s>", "<All VMs since hostd was started>"]);
  });
});

describe("describeVmStats", () => {
  it("shows what one VM did", () => {
    expect(describeVmStats("vm", TRAFFIC)).toEqual(["vm since it was attached", ...TRAFFIC_TEXT]);
  });

  it("says that nothing was dropped", () => {
    expect(describeVmStats("vm", NONE)).toContain("  Dropped frames  none");
  });
});
