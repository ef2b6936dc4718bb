/** What the control API tells of forwards. */
import {
  type DatagramForwardStatistics,
  type ForwardStatistics,
  formatListen,
  formatTarget,
  type StreamForwardStatistics,
} from "@hostd/portfwd";
import * as z from "zod";
import type { BookedForward } from "./forward-book.ts";

const count = (description: string) => z.int().nonnegative().describe(description);

const streamStatistics = z
  .strictObject({
    connected: count("Connections that the guest answered"),
    refused: count("Connections that the guest refused"),
    failed: count("Connections that ended otherwise before the guest had answered"),
    droppedNoVm: count("Connections reset because no VM was there"),
    droppedPending: count("Connections reset because too many waited"),
    droppedLimit: count("Connections reset because there were too many, or no room in the VM's stack"),
    pending: count("Connections that wait for the guest now"),
    open: count("Connections that are open now"),
  } satisfies Record<keyof StreamForwardStatistics, z.ZodNumber>)
  .describe("What became of the connections of a stream");

const datagramStatistics = z
  .strictObject({
    flows: count("Clients that are known now"),
    received: count("Datagrams led into the guest"),
    answered: count("Answers led back"),
    droppedNoVm: count("Datagrams dropped because no VM was there"),
    droppedLink: count("Datagrams dropped because the VM's link had no room"),
    droppedLimit: count("Datagrams of new clients dropped because there were too many, or no free port"),
    droppedInvalid: count("Datagrams from port 0, or longer than IPv4 allows"),
    droppedUnsent: count("Answers dropped because too many waited for the host to send them"),
    failed: count("Answers that the host did not send, and datagrams that it could not receive"),
    expired: count("Clients that were forgotten because nothing came"),
    evicted: count("Clients that made way for others"),
  } satisfies Record<keyof DatagramForwardStatistics, z.ZodNumber>)
  .describe("What became of datagrams");

export const forwardReportSchema = z.strictObject({
  id: z.string().describe("What it is removed by, such as tcp/127.0.0.1:8080"),
  protocol: z.enum(["tcp", "udp"]).describe("tcp for every stream, udp for datagrams"),
  listen: z.string().describe("Where this host listens"),
  to: z.string().describe("Where in the VM that leads; a port alone is one of the VM's own address"),
  origin: z.enum(["config", "api", "gvproxy", "vpnkit", "guest", "docker"]).describe("Who asked for it"),
  owner: z.string().optional().describe("What it is for, such as the name of a container"),
  persist: z.boolean().describe("Whether it is opened again after a restart"),
  state: z.enum(["listening", "failed"]),
  error: z.string().optional().describe("Why it does not listen; it is tried again"),
  statistics: z.union([streamStatistics, datagramStatistics]).optional(),
});

export type ForwardReport = z.output<typeof forwardReportSchema>;

/** @param statistics - those of all forwards. */
export function forwardReport(
  { id, rule, origin, persist, forward, error, owner }: BookedForward,
  statistics: readonly ForwardStatistics[],
): ForwardReport {
  const listening = forward?.listening;
  const found = statistics.find((candidate) => candidate.listening === listening);
  return {
    id,
    protocol: rule.protocol,
    listen: formatListen(listening ?? rule.listen),
    to: formatTarget(forward?.rule.to ?? rule.to),
    ...(owner === undefined ? {} : { owner }),
    origin,
    persist,
    state: forward === null ? "failed" : "listening",
    ...(error === undefined ? {} : { error }),
    ...(found === undefined ? {} : statisticsOf(found)),
  };
}

function statisticsOf({ tcp, udp }: ForwardStatistics): Pick<ForwardReport, "statistics"> {
  const statistics = tcp ?? udp;
  return statistics === undefined ? {} : { statistics: { ...statistics } };
}
