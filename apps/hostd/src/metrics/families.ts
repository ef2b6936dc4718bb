/** What hostd tells monitoring: the names, labels and values of Prometheus' metrics. */
import { versionInfo } from "../cli/version.ts";
import type { Control } from "../control/control.ts";
import { FLOW_PROTOCOLS } from "../control/flow-report.ts";
import { countFlows } from "../control/flows.ts";
import type { Traffic } from "../control/traffic.ts";
import { dropReport } from "../control/vm-report.ts";
import { type EventLoopDelay, takeEventLoopDelay } from "./event-loop-delay.ts";
import { forwardFamilies } from "./forward-families.ts";
import { counter, counterBy, gauge, gaugeBy, type MetricFamily } from "./metric-family.ts";

/** What is needed of {@link Control}. */
export type MetricsControl = Pick<
  Control,
  "startedAt" | "vms" | "traffic" | "dns" | "leases" | "forwards" | "forwarder" | "proxy"
>;

/**
 * Every metric as it is now. Counters are sums over all VMs since hostd was started, so none falls when a VM goes; what
 * each VM has counted is in the control API. The delay of the event loop is that since the last call.
 */
export function metricFamilies(control: MetricsControl): MetricFamily[] {
  const traffic = control.traffic();
  return [
    ...processFamilies(control.startedAt, takeEventLoopDelay()),
    ...stateFamilies(control),
    ...linkFamilies(traffic),
    ...tcpFamilies(traffic),
    ...egressFamilies(traffic),
    ...dnsFamilies(traffic, control.dns.report().cache),
    ...forwardFamilies(control),
    ...proxyFamilies(control),
  ];
}

/** The names that Prometheus' own clients give to what every process has. */
function processFamilies(startedAt: number, delay: EventLoopDelay): MetricFamily[] {
  const { user, system } = process.cpuUsage();
  const { version, node } = versionInfo();
  return [
    {
      ...{ type: "gauge", name: "hostd_build_info", help: "The version of hostd and of Node.js; always 1." },
      ...{ labelNames: ["version", "node"], samples: [{ labels: { version, node }, value: 1 }] },
    },
    counter("process_cpu_seconds_total", "Processor time in seconds.", (user + system) / 1e6),
    gauge("process_resident_memory_bytes", "Resident memory in bytes.", process.memoryUsage.rss()),
    gauge("process_start_time_seconds", "When hostd was started, in seconds since the Unix epoch.", startedAt / 1000),
    gaugeBy(
      "hostd_event_loop_delay_seconds",
      "How late the event loop was since the last scrape, in seconds: the mean, percentiles and the maximum.",
      "statistic",
      { mean: delay.meanSeconds, p50: delay.p50Seconds, p99: delay.p99Seconds, max: delay.maximumSeconds },
    ),
  ];
}

function stateFamilies({ vms, leases }: Pick<MetricsControl, "vms" | "leases">): MetricFamily[] {
  const flows = { tcp: 0, udp: 0, icmp: 0 };
  for (const vm of vms()) {
    const counted = countFlows(vm);
    for (const protocol of FLOW_PROTOCOLS) flows[protocol] += counted[protocol];
  }
  const now = Date.now();
  let active = 0;
  for (const { expires } of leases) if (expires > now) active++;
  return [
    gauge("hostd_vms", "VMs that are attached.", vms().length),
    gauge("hostd_dhcp_leases", "Leases that have not ended.", active),
    gaugeBy("hostd_flows", "Flows of all VMs, TCP in every state.", "protocol", flows),
  ];
}

function linkFamilies({ stack }: Traffic): MetricFamily[] {
  const { malformed, checksum, unhandled, address, fragment, ttl, ...drops } = dropReport(stack);
  return [
    counterBy("hostd_link_frames_total", "Ethernet frames.", "direction", {
      from_vm: stack.framesReceived,
      to_vm: stack.framesSent,
    }),
    counterBy("hostd_link_bytes_total", "Bytes of Ethernet frames, headers included.", "direction", {
      from_vm: stack.bytesReceived,
      to_vm: stack.bytesSent,
    }),
    counterBy("hostd_link_drops_total", "Frames and packets that were dropped.", "reason", {
      ...{ malformed, checksum, unhandled, address, fragment, ttl },
      link_full: drops.linkFull,
      unresolved: drops.unresolved,
      rate_limit: drops.rateLimit,
      connection_limit: drops.connectionLimit,
    }),
    counterBy("hostd_udp_datagrams_total", "UDP datagrams of the links.", "direction", {
      from_vm: stack.udpReceived,
      to_vm: stack.udpSent,
    }),
    counterBy("hostd_icmp_messages_total", "ICMP messages of the links.", "direction", {
      from_vm: stack.icmpReceived,
      to_vm: stack.icmpSent,
    }),
    counterBy("hostd_arp_packets_total", "ARP packets of the links.", "direction", {
      from_vm: stack.arpReceived,
      to_vm: stack.arpSent,
    }),
    counter("hostd_ip_reassembled_total", "IP datagrams put together from fragments.", stack.datagramsReassembled),
  ];
}

/** TCP on the links, whoever is behind it. */
function tcpFamilies({ stack }: Traffic): MetricFamily[] {
  return [
    counterBy("hostd_tcp_segments_total", "TCP segments of the links.", "direction", {
      from_vm: stack.tcpSegmentsReceived,
      to_vm: stack.tcpSegmentsSent,
    }),
    counterBy("hostd_tcp_connections_total", "TCP connections of the links by how they began.", "result", {
      accepted: stack.tcpAccepted,
      rejected: stack.tcpRejected,
      dialed: stack.tcpDialed,
    }),
    counter("hostd_tcp_retransmissions_total", "Segments sent to VMs again.", stack.tcpRetransmissions),
    counter(
      "hostd_tcp_fast_retransmissions_total",
      "Losses that acknowledgments told of, before a timeout.",
      stack.tcpFastRetransmissions,
    ),
    counter("hostd_tcp_timeouts_total", "Expiries of retransmission timers.", stack.tcpTimeouts),
    counter("hostd_tcp_spurious_timeouts_total", "Those that were not for a loss.", stack.tcpSpuriousTimeouts),
    counter("hostd_tcp_undone_recoveries_total", "Recoveries without a loss.", stack.tcpUndoneRecoveries),
    counterBy("hostd_tcp_probes_total", "Segments sent to learn something.", "kind", {
      tail_loss: stack.tcpLossProbes,
      window: stack.tcpWindowProbes,
      keep_alive: stack.tcpKeepAlives,
    }),
    counter("hostd_tcp_out_of_order_total", "Segments of VMs that came ahead of a gap.", stack.tcpOutOfOrder),
    counter("hostd_tcp_challenge_acks_total", "Challenge ACKs (RFC 5961).", stack.tcpChallengeAcks),
    counter(
      "hostd_tcp_timestamp_rejects_total",
      "Segments of VMs dropped for their timestamps (RFC 7323).",
      stack.tcpTimestampRejects,
    ),
  ];
}

/** What became of what guests sent to the host and beyond. */
function egressFamilies({ egress: { tcp, udp, icmp } }: Traffic): MetricFamily[] {
  return [
    counterBy("hostd_egress_tcp_connections_total", "Connections that guests asked for.", "result", {
      connected: tcp.connected,
      failed: tcp.failed,
      rejected_destination: tcp.rejectedDestination,
      dropped_pending: tcp.droppedPending,
      dropped_limit: tcp.droppedLimit,
    }),
    counter(
      "hostd_egress_tcp_memory_resets_total",
      "Connections reset because there was no memory for what was sent.",
      tcp.droppedMemory,
    ),
    gaugeBy("hostd_egress_tcp_connections", "Connections of guests.", "state", {
      pending: tcp.pending,
      open: tcp.open,
    }),
    gauge("hostd_egress_tcp_queued_bytes", "Bytes of memory in use for what waits for the host.", tcp.queuedBytes),
    counterBy("hostd_egress_flows_opened_total", "Flows without connections that guests began.", "protocol", {
      udp: udp.opened,
      icmp: icmp.opened,
    }),
    counterBy("hostd_egress_udp_flows_ended_total", "UDP flows that were forgotten.", "reason", {
      idle: udp.expired,
      evicted: udp.evicted,
    }),
    counterBy("hostd_egress_udp_datagrams_total", "Datagrams between guests and the host.", "direction", {
      from_vm: udp.sent,
      to_vm: udp.received,
    }),
    counterBy("hostd_egress_udp_drops_total", "Datagrams that did not get through.", "reason", {
      rejected_destination: udp.rejectedDestination,
      invalid: udp.droppedInvalid,
      no_socket: udp.droppedNoSocket,
      queue: udp.droppedQueue,
      failed: udp.failed,
      source: udp.droppedSource,
    }),
    counter("hostd_egress_udp_unreachable_total", "ICMP errors about datagrams of guests.", udp.unreachable),
    counterBy("hostd_egress_echo_messages_total", "Echo requests of guests, and replies.", "direction", {
      from_vm: icmp.sent,
      to_vm: icmp.received,
    }),
    counterBy("hostd_egress_echo_drops_total", "Echo requests that did not get through.", "reason", {
      rejected_destination: icmp.rejectedDestination,
      rate: icmp.droppedRate,
      no_socket: icmp.droppedNoSocket,
      failed: icmp.failed,
    }),
  ];
}

type CacheReport = ReturnType<Control["dns"]["report"]>["cache"];

function dnsFamilies({ dns }: Traffic, cache: CacheReport): MetricFamily[] {
  return [
    counterBy("hostd_dns_queries_total", "Queries of guests by what answered them.", "outcome", {
      local: dns.answeredLocally,
      cache: dns.answeredFromCache,
      forwarded: dns.forwarded,
      failure: dns.failures,
      malformed: dns.formErr,
    }),
    counter("hostd_dns_dropped_total", "Messages of guests that got no answer.", dns.dropped),
    counterBy("hostd_dns_cache_lookups_total", "Queries that were looked up in the cache.", "result", {
      hit: cache.hits,
      miss: cache.misses,
      stale: cache.stale,
    }),
    counter("hostd_dns_cache_evictions_total", "Answers that were dropped for others.", cache.evictions),
    gauge("hostd_dns_cache_entries", "Answers that are kept.", cache.entries),
    gauge("hostd_dns_cache_bytes", "Memory of the answers that are kept, in bytes.", cache.bytes),
  ];
}

function proxyFamilies({ vms, proxy }: Pick<MetricsControl, "vms" | "proxy">): MetricFamily[] {
  const connections = { requests: 0, tunnels: 0 };
  for (const { proxyCounts } of vms()) {
    connections.requests += proxyCounts.connections;
    connections.tunnels += proxyCounts.tunnels;
  }
  const upstreams = { working: 0, failing: 0 };
  for (const { state } of proxy.health.report()) upstreams[state]++;
  return [
    gaugeBy("hostd_proxy_connections", "Connections of guests that the HTTP proxy serves.", "kind", connections),
    gaugeBy(
      "hostd_proxy_upstreams",
      "Upstream proxies that were used since the settings have changed.",
      "state",
      upstreams,
    ),
  ];
}
