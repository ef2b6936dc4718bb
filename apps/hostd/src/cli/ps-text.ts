/** The VMs, for people. */
import type { VmReport } from "../control/reports.ts";
import { type Column, formatAge, formatBytes, formatTable, type TableStyle } from "./table.ts";

/** @param now - the time, in Unix-epoch milliseconds. */
export function describeVms(vms: readonly VmReport[], now: number, style?: TableStyle): string[] {
  if (vms.length === 0) return ["No VM is attached."];
  const columns: Column<VmReport>[] = [
    { title: "NAME", cell: ({ name }) => name },
    { title: "ADDRESS", cell: ({ address }) => address ?? "-" },
    { title: "MAC", cell: ({ mac }) => mac ?? "-", isOptional: true },
    { title: "UP", cell: ({ attachedAt }) => formatAge((now - Date.parse(attachedAt)) / 1000), isRight: true },
    { title: "FLOWS", cell: ({ flows }) => String(flows.tcp + flows.udp + flows.icmp), isRight: true },
    { title: "FROM VM", cell: ({ link }) => formatBytes(link.bytesFromVm), isRight: true },
    { title: "TO VM", cell: ({ link }) => formatBytes(link.bytesToVm), isRight: true },
  ];
  return formatTable(columns, vms, style);
}
