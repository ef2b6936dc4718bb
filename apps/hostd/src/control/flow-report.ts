/** What the control API tells of flows. */
import * as z from "zod";
import { count, ipv4Address, quantity, type Reported } from "./report-schema.ts";

export const FLOW_PROTOCOLS = ["tcp", "udp", "icmp"] as const;
/** The states of RFC 9293, 3.3.2 that a connection may be seen in. */
export const TCP_STATES = [
  "SYN-SENT",
  "SYN-RECEIVED",
  "ESTABLISHED",
  "FIN-WAIT-1",
  "FIN-WAIT-2",
  "CLOSE-WAIT",
  "CLOSING",
  "LAST-ACK",
  "TIME-WAIT",
] as const;

export type FlowProtocol = (typeof FLOW_PROTOCOLS)[number];

const port = (description: string) => z.int().min(0).max(65_535).describe(description);

export const flowReportSchema = z.strictObject({
  id: z.string().describe("What it is ended by: tcp/192.168.65.3:40000/192.0.2.1:443, the guest's end first"),
  vm: z.string().describe("The VM's name"),
  protocol: z.enum(FLOW_PROTOCOLS),
  direction: z
    .enum(["out", "in", "own"])
    .describe("out of the guest, in to it as by a published port, or own: to a service of hostd, as DNS over TCP"),
  guest: z
    .strictObject({
      address: ipv4Address("Its address"),
      port: port("Its port; the identifier of echo requests"),
    })
    .describe("The guest's end"),
  container: z
    .string()
    .nullable()
    .describe(
      "The name of the container that has the guest's address; null for the VM's own, and where it is not known",
    ),
  remote: z
    .strictObject({
      address: ipv4Address("Its address"),
      port: port("Its port; null for echo requests").nullable(),
    })
    .describe("The other end as the guest sees it; of a UDP flow out of the guest, the one that it last sent to"),
  client: z
    .strictObject({
      address: z.string().describe("Its IP address; empty for a client of a Unix socket"),
      port: port("Its port; null for a client of a Unix socket").nullable(),
    })
    .nullable()
    .describe("The client of a published port, as the host sees it; null for every other flow"),
  state: z
    .enum(TCP_STATES)
    .nullable()
    .describe("The state of TCP (RFC 9293); SYN-RECEIVED also while the host's answer is waited for. Null for others"),
  ageSeconds: quantity("Seconds since it began"),
  idleSeconds: quantity("Seconds since something came from the guest or was sent to it; for UDP and echo within two"),
  bytesFromGuest: count("Bytes of data that came from the guest, without headers; for TCP, in order"),
  bytesToGuest: count("Bytes of data sent to the guest, without headers; for TCP, those that it has acknowledged"),
  retransmissions: count("Segments sent to the guest again; null for others than TCP").nullable(),
  roundTripMilliseconds: quantity(
    "The smoothed round-trip time to the guest in milliseconds; null for others than TCP, and before it was measured",
  ).nullable(),
});

export const flowListSchema = z.strictObject({
  total: count("How many flows there are of what was asked for, those beyond the limit included"),
  flows: z.array(flowReportSchema).describe("The newest first"),
});

export const endedFlowSchema = z.strictObject({ ended: z.string().describe("The id of the flow") });

export type FlowReport = Reported<typeof flowReportSchema>;
export type FlowListReport = Reported<typeof flowListSchema>;
