/** The flows of VMs, for people. */
import type { FlowListReport, FlowReport } from "../control/reports.ts";
import { type Column, counted, formatAge, formatBytes, formatCount, formatTable, type TableStyle } from "./table.ts";

export function describeFlows({ total, flows }: FlowListReport, style?: TableStyle): string[] {
  if (flows.length === 0) return ["There are no flows."];
  const hasContainers = flows.some(({ container }) => container !== null);
  const hasClients = flows.some(({ client }) => client !== null);
  const hasSeveralVms = flows.some(({ vm }) => vm !== flows[0].vm);
  const columns: Column<FlowReport>[] = [
    { title: "ID", cell: flowText },
    ...(hasSeveralVms ? [{ title: "VM", cell: ({ vm }: FlowReport) => vm, isOptional: true } as const] : []),
    ...(hasContainers
      ? [{ title: "CONTAINER", cell: ({ container }: FlowReport) => container ?? "-", isOptional: true } as const]
      : []),
    ...(hasClients ? [{ title: "CLIENT", cell: clientText, isOptional: true } as const] : []),
    { title: "STATE", cell: ({ state }) => state ?? "-" },
    { title: "AGE", cell: ({ ageSeconds }) => formatAge(ageSeconds), isRight: true },
    { title: "IDLE", cell: ({ idleSeconds }) => formatAge(idleSeconds), isRight: true, isOptional: true },
    { title: "FROM VM", cell: ({ bytesFromGuest }) => formatBytes(bytesFromGuest), isRight: true },
    { title: "TO VM", cell: ({ bytesToGuest }) => formatBytes(bytesToGuest), isRight: true },
    { title: "RTT", cell: roundTripText, isRight: true, isOptional: true },
    {
      title: "RESENT",
      cell: ({ retransmissions }) => (retransmissions === null ? "-" : formatCount(retransmissions)),
      isRight: true,
      isOptional: true,
    },
  ];
  const shown = total === flows.length ? [] : ["", `The newest ${flows.length} of ${counted(total, "flow")}.`];
  return [...formatTable(columns, flows, style), ...shown];
}

/** The id, with the other end where that is no part of it. */
function flowText({ id, remote: { address, port } }: FlowReport): string {
  const remote = port === null ? address : `${address}:${port}`;
  return id.endsWith(`/${remote}`) ? id : `${id} -> ${remote}`;
}

/** The client of a published port; a Unix socket's has no address. */
function clientText({ client }: FlowReport): string {
  if (client === null) return "-";
  const { address, port } = client;
  if (port === null) return "unix";
  return address.includes(":") ? `[${address}]:${port}` : `${address}:${port}`;
}

function roundTripText({ roundTripMilliseconds }: FlowReport): string {
  return roundTripMilliseconds === null ? "-" : `${roundTripMilliseconds.toFixed(1)} ms`;
}
