/** The DHCP leases, for people. */
import type { LeaseReport } from "../control/reports.ts";
import { type Column, formatAge, formatTable, type TableStyle } from "./table.ts";

/** @param now - the time, in Unix-epoch milliseconds. */
export function describeLeases(leases: readonly LeaseReport[], now: number, style?: TableStyle): string[] {
  if (leases.length === 0) return ["No lease was given yet."];
  const columns: Column<LeaseReport>[] = [
    { title: "ADDRESS", cell: ({ address }) => address },
    { title: "MAC", cell: ({ mac }) => mac },
    { title: "HOST NAME", cell: ({ hostName }) => hostName ?? "-" },
    { title: "KIND", cell: ({ isStatic }) => (isStatic ? "static" : "dynamic") },
    { title: "EXPIRES", cell: ({ expires }) => expiry(expires, now) },
    { title: "VM", cell: ({ vm }) => vm ?? "-", isOptional: true },
  ];
  return formatTable(columns, leases, style);
}

function expiry(expires: string | null, now: number): string {
  if (expires === null) return "-";
  const seconds = (Date.parse(expires) - now) / 1000;
  return seconds > 0 ? `in ${formatAge(seconds)}` : `${formatAge(-seconds)} ago`;
}
