import type { Better } from "./statistics.ts";

/** One row of the table: something that is measured of every peer. */
export interface Cell {
  readonly id: string;
  readonly title: string;
  readonly unit: string;
  readonly better: Better;
  /** Of a figure by which peers are not to be compared. */
  readonly isRemark?: boolean;
  /** The measure that gives it, see {@link MEASURES}; several cells may come of one. */
  readonly measure: string;
}

/** Sizes of UDP payloads in bytes: one packet at any MTU, one just so, and one of several packets at 1500. */
export const DATAGRAM_SIZES = [200, 1400, 8000] as const;

/** Datagrams a second of which the lost ones are counted. */
export const PACE = 10_000;

/** How many flows are open and idle when memory is measured. */
export const IDLE_FLOWS = [1000, 10_000] as const;

const bulk = (id: string, title: string): Cell => ({ id, title, unit: "Gbit/s", better: "more", measure: id });
const cpu = (id: string, title: string, measure: string): Cell => ({
  ...{ id, title, unit: "s/GB", better: "less", measure },
});
const rate = (id: string, title: string, unit: string): Cell => ({ id, title, unit, better: "more", measure: id });

/** The throughput of many flows as a part of that of 8. */
function share(measure: string): Cell {
  return { ...bulk(`${measure}-share`, "of that with 8 flows"), unit: "", measure, isRemark: true };
}

function datagrams(direction: "up" | "down", arrow: string): Cell[] {
  return DATAGRAM_SIZES.flatMap((size) => {
    const measure = `udp-${direction}-${size}`;
    const title = `UDP ${arrow}, ${size} bytes`;
    return [
      rate(measure, title, "datagrams/s"),
      {
        id: `${measure}-loss`,
        title: `${title}, lost at ${PACE.toLocaleString("en-US")}/s`,
        unit: "%",
        better: "less-loss",
        measure,
      },
    ];
  });
}

/** All rows, in the order of the table. Up is from the guest to the host. */
export const CELLS: readonly Cell[] = [
  bulk("up", "TCP up"),
  bulk("down", "TCP down"),
  bulk("up8", "TCP up, 8 flows"),
  bulk("down8", "TCP down, 8 flows"),
  bulk("up1000", "TCP up, 1,000 flows"),
  share("up1000"),
  bulk("down1000", "TCP down, 1,000 flows"),
  share("down1000"),
  cpu("cpu-up", "processor, TCP up", "up"),
  cpu("cpu-down", "processor, TCP down", "down"),
  { id: "rtt-p50", title: "round trip, median", unit: "µs", better: "less", measure: "rtt" },
  { id: "rtt-p99", title: "round trip, 99th percentile", unit: "µs", better: "less", measure: "rtt" },
  rate("http", "HTTP, 50 connections kept", "requests/s"),
  rate("close", "HTTP, a connection each", "requests/s"),
  rate("publish", "HTTP to the guest, a connection each", "requests/s"),
  rate("dns", "DNS, 50 at a time", "queries/s"),
  { id: "dns-kept", title: "DNS, 100 names that may be kept", unit: "queries/s", better: "more", measure: "dnsperf" },
  { id: "dns-mean", title: "DNS, 5,000 new names/s, mean time", unit: "ms", better: "less", measure: "dnsperf" },
  // The worst of thousands is the machine's as much as the program's.
  {
    id: "dns-slowest",
    title: "of these the slowest",
    unit: "ms",
    better: "less",
    measure: "dnsperf",
    isRemark: true,
  },
  ...datagrams("up", "up"),
  ...datagrams("down", "down"),
  { id: "start", title: "start until a VM can attach", unit: "s", better: "less", measure: "start" },
  { id: "rss", title: "memory, idle", unit: "MB", better: "less", measure: "rss" },
  { id: "flow-1000", title: "memory per flow, 1,000 idle", unit: "KB", better: "less", measure: "flows" },
  { id: "flow-10000", title: "memory per flow, 10,000 idle", unit: "KB", better: "less", measure: "flows" },
  { id: "rtt-idle", title: "round trip beside 10,000 idle flows", unit: "µs", better: "less", measure: "flows" },
];
