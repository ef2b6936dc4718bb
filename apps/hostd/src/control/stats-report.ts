/** What the control API tells of how hostd is doing: what the process uses, and everything that is counted. */
import type { EgressStatistics } from "@hostd/egress";
import type { StackStatistics } from "@hostd/stack";
import * as z from "zod";
import { cacheSchema, queryCountersSchema } from "../dns/schemas.ts";
import { forwardReport, forwardReportSchema } from "../forwards/forward-report.ts";
import { eventLoopDelay } from "../metrics/event-loop-delay.ts";
import type { Control } from "./control.ts";
import { count, quantity, type Reported, time } from "./report-schema.ts";

/** A counter for each number of `Statistics`, no more and no less. */
type Counters<Statistics> = Record<keyof Statistics, z.ZodNumber>;

const stackSchema = z
  .strictObject({
    framesReceived: count("Frames from the VM"),
    bytesReceived: count("Their bytes, Ethernet headers included"),
    framesSent: count("Frames to the VM"),
    bytesSent: count("Their bytes, Ethernet headers included"),
    dropMalformed: count("Dropped: a header or option with an impossible length or field"),
    dropChecksum: count("Dropped: a wrong checksum"),
    dropUnhandled: count("Dropped: for another station, or of a protocol that nobody here handles"),
    dropAddress: count("Dropped: a source or destination that may not appear on the link"),
    dropFragment: count("Dropped: a fragment that overlapped, came too late or did not fit the memory"),
    dropTtl: count("Dropped: a packet whose time to live ran out here"),
    dropLinkFull: count("Dropped: a frame that the link, or the queue for an unknown MAC address, could not take"),
    dropUnresolved: count("Dropped: a packet to an address that does not answer ARP"),
    dropRateLimit: count("Dropped: an ICMP error that the rate limit held back"),
    dropConnectionLimit: count("Dropped: a SYN beyond the limit of connections"),
    tcpSegmentsReceived: count("TCP segments from the VM"),
    tcpSegmentsSent: count("TCP segments to the VM"),
    tcpRetransmissions: count("Segments sent again"),
    tcpFastRetransmissions: count("Losses found by acknowledgments, before a timeout"),
    tcpTimeouts: count("Expiries of the retransmission timer"),
    tcpSpuriousTimeouts: count("Expiries that turned out not to have been for a loss"),
    tcpUndoneRecoveries: count("Recoveries that were undone because nothing had been lost"),
    tcpLossProbes: count("Tail loss probes (RFC 8985)"),
    tcpWindowProbes: count("Probes of a closed window"),
    tcpKeepAlives: count("Keep-alive probes"),
    tcpTimestampRejects: count("Segments dropped as old by their timestamps, or for having none"),
    tcpOutOfOrder: count("Segments that came ahead of a gap"),
    tcpChallengeAcks: count("Challenge ACKs (RFC 5961)"),
    tcpAccepted: count("Connections of the guest that were accepted"),
    tcpRejected: count("Connections of the guest that were turned down"),
    tcpDialed: count("Connections into the guest that were begun"),
    udpReceived: count("UDP datagrams from the VM"),
    udpSent: count("UDP datagrams to the VM"),
    icmpReceived: count("ICMP messages from the VM"),
    icmpSent: count("ICMP messages to the VM"),
    arpReceived: count("ARP packets from the VM"),
    arpSent: count("ARP packets to the VM"),
    datagramsReassembled: count("IP datagrams put together from fragments"),
  } satisfies Counters<StackStatistics>)
  .describe("What passed the link, and what TCP/IP did with it");

const egressSchema = z
  .strictObject({
    tcp: z.strictObject({
      connected: count("Connections that the host answered"),
      rejectedDestination: count("Connections to a destination that may not be reached"),
      failed: count("Connections that the host could not open"),
      droppedPending: count("Connections dropped because too many waited for the host"),
      droppedLimit: count("Connections not answered because there were too many"),
      droppedMemory: count("Connections reset because there was no memory for what was sent"),
      pending: count("Connections that wait for the host now"),
      open: count("Connections that are open now"),
      queuedBytes: count("Bytes of memory in use for queued data now"),
    } satisfies Counters<EgressStatistics["tcp"]>),
    udp: z.strictObject({
      sent: count("Datagrams of guests handed to the host"),
      received: count("Datagrams handed to guests"),
      rejectedDestination: count("Datagrams to a destination that may not be reached"),
      droppedInvalid: count("Datagrams to or from port 0, or longer than IPv4 allows"),
      droppedNoSocket: count("Datagrams for which the host had no socket"),
      droppedQueue: count("Datagrams dropped because their socket had too many waiting"),
      failed: count("Datagrams that the host would not send"),
      droppedSource: count("Datagrams to a guest from a source that no guest may see"),
      unreachable: count("ICMP errors sent to guests"),
      opened: count("Flows that were begun"),
      expired: count("Flows that were not used for their idle time"),
      evicted: count("Flows that made way for others"),
      mappings: count("Flows now"),
      siblings: count("Sockets that are connected to one destination now"),
    } satisfies Counters<EgressStatistics["udp"]>),
    icmp: z.strictObject({
      sent: count("Echo requests sent from the host"),
      received: count("Replies handed to guests"),
      rejectedDestination: count("Requests to a destination that may not be reached"),
      droppedRate: count("Requests beyond the rate, or while their socket was busy"),
      droppedNoSocket: count("Requests for which the host gave no socket"),
      failed: count("Requests that the host would not send"),
      ignored: count("Messages that are no reply to the socket they came to"),
      opened: count("Flows that were begun"),
      sockets: count("Flows now"),
    } satisfies Counters<EgressStatistics["icmp"]>),
  } satisfies Record<keyof EgressStatistics, z.ZodObject>)
  .describe("What became of what guests sent to the host and beyond");

const trafficShape = { stack: stackSchema, egress: egressSchema, dns: queryCountersSchema };

export const trafficSchema = z.strictObject(trafficShape);

const processSchema = z
  .strictObject({
    pid: z.int().describe("The number of the process"),
    startedAt: time("When hostd was started"),
    uptimeSeconds: quantity("Seconds since then"),
    residentBytes: count("Resident memory in bytes"),
    heapUsedBytes: count("Bytes of JavaScript's heap that are used"),
    heapTotalBytes: count("Bytes of JavaScript's heap"),
    externalBytes: count("Bytes of memory outside of the heap that JavaScript objects hold"),
    cpuUserSeconds: quantity("Processor seconds in user mode since the process began"),
    cpuSystemSeconds: quantity("Processor seconds in the system since the process began"),
    eventLoopDelay: z
      .strictObject({
        meanSeconds: quantity("The mean, in seconds"),
        p50Seconds: quantity("Half are at most this, in seconds"),
        p99Seconds: quantity("99 of 100 are at most this, in seconds"),
        maximumSeconds: quantity("The longest, in seconds"),
      })
      .nullable()
      .describe("How late the event loop was since the last scrape of /metrics; null before the first"),
  })
  .describe("What the process uses");

export const statsReportSchema = z.strictObject({
  process: processSchema,
  vms: z.array(z.strictObject({ name: z.string().describe("The VM's name"), ...trafficShape })).describe("Each VM"),
  totals: trafficSchema.describe("The sum over all VMs since hostd was started, those that are gone included"),
  cache: cacheSchema,
  forwards: z.array(forwardReportSchema).describe("Each forward"),
});

export type TrafficReport = Reported<typeof trafficSchema>;
export type ProcessReport = Reported<typeof processSchema>;
export type StatsReport = Reported<typeof statsReportSchema>;

/** What is needed of {@link Control}. */
export type StatsControl = Pick<Control, "startedAt" | "vms" | "traffic" | "dns" | "forwards" | "forwarder">;

export function statsReport(control: StatsControl): StatsReport {
  const statistics = control.forwarder.stats();
  return {
    process: processReport(control.startedAt),
    vms: control.vms().map((vm) => ({ name: vm.name, ...vm.traffic() })),
    totals: control.traffic(),
    cache: control.dns.report().cache,
    forwards: control.forwards.list().map((entry) => forwardReport(entry, statistics)),
  };
}

function processReport(startedAt: number): ProcessReport {
  const { rss, heapUsed, heapTotal, external } = process.memoryUsage();
  const { user, system } = process.cpuUsage();
  return {
    pid: process.pid,
    startedAt: new Date(startedAt).toISOString(),
    uptimeSeconds: Math.max(0, Date.now() - startedAt) / 1000,
    residentBytes: rss,
    heapUsedBytes: heapUsed,
    heapTotalBytes: heapTotal,
    externalBytes: external,
    cpuUserSeconds: user / 1e6,
    cpuSystemSeconds: system / 1e6,
    eventLoopDelay: eventLoopDelay(),
  };
}
