import type { DatagramForwardStatistics, StreamForwardStatistics } from "@hostd/portfwd";
import type { Control } from "../control/control.ts";
import { gaugeBy, type MetricFamily, type Sample, samplesBy } from "./metric-family.ts";

/** What becomes of what comes to the forwards, by each one's id. Its counters go with a forward that is removed. */
export function forwardFamilies({ forwards, forwarder }: Pick<Control, "forwards" | "forwarder">): MetricFamily[] {
  const statistics = new Map(forwarder.stats().map((each) => [each.listening, each]));
  const states = { listening: 0, failed: 0 };
  const streams: [id: string, statistics: Readonly<StreamForwardStatistics>][] = [];
  const datagrams: [id: string, statistics: Readonly<DatagramForwardStatistics>][] = [];
  for (const { id, forward } of forwards.list()) {
    states[forward === null ? "failed" : "listening"]++;
    const found = forward === null ? undefined : statistics.get(forward.listening);
    if (found?.tcp !== undefined) streams.push([id, found.tcp]);
    if (found?.udp !== undefined) datagrams.push([id, found.udp]);
  }
  return [
    gaugeBy("hostd_forwards", "Forwards of the host into VMs.", "state", states),
    ...streamFamilies(streams),
    ...datagramFamilies(datagrams),
  ];
}

function streamFamilies(streams: readonly (readonly [string, Readonly<StreamForwardStatistics>])[]): MetricFamily[] {
  const samples = (label: string, values: (counted: StreamForwardStatistics) => Record<string, number>): Sample[] => {
    return streams.flatMap(([forward, counted]) => samplesBy(label, values(counted), { forward }));
  };
  return [
    {
      type: "counter",
      name: "hostd_forward_connections_total",
      help: "Connections to a forward by what became of them.",
      labelNames: ["forward", "result"],
      samples: samples("result", (counted) => ({
        connected: counted.connected,
        refused: counted.refused,
        failed: counted.failed,
        dropped_no_vm: counted.droppedNoVm,
        dropped_pending: counted.droppedPending,
        dropped_limit: counted.droppedLimit,
      })),
    },
    {
      type: "gauge",
      name: "hostd_forward_connections",
      help: "Connections of a forward.",
      labelNames: ["forward", "state"],
      samples: samples("state", ({ pending, open }) => ({ pending, open })),
    },
  ];
}

function datagramFamilies(
  datagrams: readonly (readonly [string, Readonly<DatagramForwardStatistics>])[],
): MetricFamily[] {
  const samples = (label: string, values: (counted: DatagramForwardStatistics) => Record<string, number>): Sample[] => {
    return datagrams.flatMap(([forward, counted]) => samplesBy(label, values(counted), { forward }));
  };
  return [
    {
      type: "gauge",
      name: "hostd_forward_udp_flows",
      help: "Clients of a forward of datagrams.",
      labelNames: ["forward"],
      samples: datagrams.map(([forward, { flows }]) => ({ labels: { forward }, value: flows })),
    },
    {
      type: "counter",
      name: "hostd_forward_udp_datagrams_total",
      help: "Datagrams of a forward.",
      labelNames: ["forward", "direction"],
      samples: samples("direction", ({ received, answered }) => ({ to_vm: received, from_vm: answered })),
    },
    {
      type: "counter",
      name: "hostd_forward_udp_drops_total",
      help: "Datagrams of a forward that did not get through.",
      labelNames: ["forward", "reason"],
      samples: samples("reason", (counted) => ({
        no_vm: counted.droppedNoVm,
        link_full: counted.droppedLink,
        limit: counted.droppedLimit,
        invalid: counted.droppedInvalid,
        unsent: counted.droppedUnsent,
        failed: counted.failed,
      })),
    },
    {
      type: "counter",
      name: "hostd_forward_udp_flows_ended_total",
      help: "Clients of a forward that were forgotten.",
      labelNames: ["forward", "reason"],
      samples: samples("reason", ({ expired, evicted }) => ({ idle: expired, evicted })),
    },
  ];
}
