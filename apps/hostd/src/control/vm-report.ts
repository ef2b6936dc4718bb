/** What the control API tells of VMs. */
import { formatIpv4, formatMac, type StackStatistics } from "@hostd/stack";
import * as z from "zod";
import type { VmSession } from "../vm-session.ts";
import { type CountedVm, countFlows, countForwardedConnections } from "./flows.ts";
import { count, ipv4Address, macAddress, type Reported, time } from "./report-schema.ts";

/** Frames that were dropped, by reason; each is in one of them. */
export const dropsSchema = z
  .strictObject({
    malformed: count("A header or option with an impossible length or field"),
    checksum: count("A wrong checksum"),
    unhandled: count("For another station, or of a protocol that nobody here handles"),
    address: count("A source or destination that may not appear on the link"),
    fragment: count("A fragment that overlapped, came too late or did not fit the memory for reassembly"),
    ttl: count("A packet whose time to live ran out here"),
    linkFull: count("A frame for the VM that its link, or the queue for an unknown MAC address, could not take"),
    unresolved: count("A packet to an address that does not answer ARP"),
    rateLimit: count("An ICMP error that the rate limit held back"),
    connectionLimit: count("A SYN beyond the limit of connections"),
  })
  .describe("Frames and packets that were dropped, by reason");

export const linkSchema = z
  .strictObject({
    framesFromVm: count("Frames that came from the VM"),
    bytesFromVm: count("Their bytes, Ethernet headers included"),
    framesToVm: count("Frames sent to the VM"),
    bytesToVm: count("Their bytes, Ethernet headers included"),
    drops: dropsSchema,
  })
  .describe("What passed the VM's link since it was attached");

export const vmReportSchema = z.strictObject({
  name: z.string().describe("What the VM is called here: its endpoint, with a number where another VM has that name"),
  endpoint: z.string().describe("Where it is attached, as the configuration writes it"),
  mac: macAddress("The MAC address of the VM itself; null until it has an address").nullable(),
  address: ipv4Address("The address that DHCP gave the VM itself; null until it has one").nullable(),
  attachedAt: time("When it was attached"),
  mtu: count("The largest IP packet on its link, in bytes"),
  link: linkSchema,
  flows: z
    .strictObject({
      tcp: count("TCP connections in every state, TIME-WAIT included"),
      udp: count("UDP flows, out of the VM and into it"),
      icmp: count("Flows of echo requests"),
    })
    .describe("What /v1/flows lists of the VM"),
  forwardedConnections: count("Connections of clients of published ports and sockets, those not answered yet included"),
});

export const vmListSchema = z.array(vmReportSchema);
export const detachedVmSchema = z.strictObject({ detached: z.string().describe("The name of the VM") });

export type DropReport = Reported<typeof dropsSchema>;
export type LinkReport = Reported<typeof linkSchema>;
export type VmReport = Reported<typeof vmReportSchema>;

/** What is needed of a VM. */
export type ReportedVm = CountedVm & Pick<VmSession, "name" | "endpoint" | "mac" | "address" | "attachedAt">;

export function vmReport(vm: ReportedVm): VmReport {
  const { name, endpoint, mac, address, attachedAt, stack } = vm;
  return {
    name,
    endpoint,
    mac: mac === null ? null : formatMac(mac),
    address: address === null ? null : formatIpv4(address),
    attachedAt: new Date(attachedAt).toISOString(),
    mtu: stack.mtu,
    link: linkReport(stack.statistics),
    flows: countFlows(vm),
    forwardedConnections: countForwardedConnections(vm),
  };
}

function linkReport(statistics: Readonly<StackStatistics>): LinkReport {
  return {
    framesFromVm: statistics.framesReceived,
    bytesFromVm: statistics.bytesReceived,
    framesToVm: statistics.framesSent,
    bytesToVm: statistics.bytesSent,
    drops: dropReport(statistics),
  };
}

export function dropReport(statistics: Readonly<StackStatistics>): DropReport {
  return {
    malformed: statistics.dropMalformed,
    checksum: statistics.dropChecksum,
    unhandled: statistics.dropUnhandled,
    address: statistics.dropAddress,
    fragment: statistics.dropFragment,
    ttl: statistics.dropTtl,
    linkFull: statistics.dropLinkFull,
    unresolved: statistics.dropUnresolved,
    rateLimit: statistics.dropRateLimit,
    connectionLimit: statistics.dropConnectionLimit,
  };
}
