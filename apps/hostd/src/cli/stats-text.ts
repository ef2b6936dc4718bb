/** How hostd and its VMs are doing, for people. */
import type { StatsReport } from "../control/reports.ts";
import type { TrafficReport } from "../control/stats-report.ts";
import { alignRows, counted, formatAge, formatBytes, formatCount, PLAIN, type TableStyle } from "./table.ts";

/** Why frames are dropped, with the counter of each reason. */
const DROPS = {
  malformed: "dropMalformed",
  checksum: "dropChecksum",
  unhandled: "dropUnhandled",
  address: "dropAddress",
  fragment: "dropFragment",
  TTL: "dropTtl",
  "full link": "dropLinkFull",
  "no answer to ARP": "dropUnresolved",
  "rate of ICMP": "dropRateLimit",
  "too many connections": "dropConnectionLimit",
} as const satisfies Record<string, keyof TrafficReport["stack"]>;

/** The process, what there is now, and all VMs since hostd was started. */
export function describeStats(report: StatsReport, style: TableStyle = PLAIN): string[] {
  const { process: used, vms, totals, cache, forwards } = report;
  const late = used.eventLoopDelay;
  const failed = forwards.filter(({ state }) => state === "failed").length;
  const facts = [
    ["Memory", `${formatBytes(used.residentBytes)}, of it JavaScript's heap ${formatBytes(used.heapTotalBytes)}`],
    ["Processor", `${seconds(used.cpuUserSeconds)}, and ${seconds(used.cpuSystemSeconds)} in the system`],
    ...(late === null
      ? []
      : [
          ["Event loop", `half late by ${milliseconds(late.p50Seconds)}, 1 in 100 by ${milliseconds(late.p99Seconds)}`],
        ]),
    ["VMs", vms.length === 0 ? "none" : String(vms.length)],
    ["Forwards", `${forwards.length - failed} listening${failed === 0 ? "" : `, ${failed} failed`}`],
    [
      "DNS cache",
      `${counted(cache.entries, "answer")}; ${formatCount(cache.hits)} hits, ${formatCount(cache.misses)} misses`,
    ],
  ];
  return [
    style.title(`hostd, process ${used.pid}, up ${formatAge(used.uptimeSeconds)}`),
    ...alignRows(facts, { indent: 2 }),
    "",
    style.title("All VMs since hostd was started"),
    ...describeTraffic(totals),
  ];
}

/** What is counted of a VM since it was attached. */
export function describeVmStats(name: string, traffic: TrafficReport, style: TableStyle = PLAIN): string[] {
  return [style.title(`${name} since it was attached`), ...describeTraffic(traffic)];
}

function describeTraffic({ stack, egress: { tcp, udp, icmp }, dns }: TrafficReport): string[] {
  const link = [
    ["LINK", "BYTES", "FRAMES", "TCP", "UDP", "ICMP", "ARP"],
    [
      "from the VM",
      formatBytes(stack.bytesReceived),
      ...counts(
        stack.framesReceived,
        stack.tcpSegmentsReceived,
        stack.udpReceived,
        stack.icmpReceived,
        stack.arpReceived,
      ),
    ],
    [
      "to the VM",
      formatBytes(stack.bytesSent),
      ...counts(stack.framesSent, stack.tcpSegmentsSent, stack.udpSent, stack.icmpSent, stack.arpSent),
    ],
  ];
  const flows = [
    ["FLOWS OF THE VM", "OPEN", "BEGUN", "REFUSED", "FAILED", "DROPPED"],
    [
      "TCP connections",
      ...counts(
        tcp.open,
        tcp.connected,
        tcp.rejectedDestination,
        tcp.failed,
        tcp.droppedPending + tcp.droppedLimit + tcp.droppedMemory,
      ),
    ],
    [
      "UDP",
      ...counts(
        udp.mappings,
        udp.opened,
        udp.rejectedDestination,
        udp.failed,
        udp.droppedInvalid + udp.droppedNoSocket + udp.droppedQueue + udp.droppedSource,
      ),
    ],
    [
      "ping",
      ...counts(
        icmp.sockets,
        icmp.opened,
        icmp.rejectedDestination,
        icmp.failed,
        icmp.droppedRate + icmp.droppedNoSocket,
      ),
    ],
  ];
  const drops = Object.entries(DROPS).flatMap(([reason, key]) => {
    return stack[key] === 0 ? [] : [`${reason} ${formatCount(stack[key])}`];
  });
  const unanswered = dns.failures + dns.formErr + dns.dropped;
  const facts = [
    ["Dropped frames", drops.length === 0 ? "none" : drops.join(", ")],
    [
      "TCP to the VM",
      `segments sent again ${formatCount(stack.tcpRetransmissions)}, timeouts ${formatCount(stack.tcpTimeouts)}`,
    ],
    [
      "Names",
      `${formatCount(dns.queries)} queries: ${formatCount(dns.answeredLocally)} answered by zones, ` +
        `${formatCount(dns.answeredFromCache)} from the cache,`,
    ],
    ["", `${formatCount(dns.forwarded)} by servers, ${formatCount(unanswered)} failed`],
  ];
  return [
    ...alignRows(link, { indent: 2, right: [1, 2, 3, 4, 5, 6] }),
    "",
    ...alignRows(flows, { indent: 2, right: [1, 2, 3, 4, 5] }),
    "",
    ...alignRows(facts, { indent: 2 }),
  ];
}

function counts(...numbers: readonly number[]): string[] {
  return numbers.map(formatCount);
}

function seconds(value: number): string {
  return `${value.toFixed(1)} s`;
}

function milliseconds(value: number): string {
  return `${(value * 1000).toFixed(1)} ms`;
}
