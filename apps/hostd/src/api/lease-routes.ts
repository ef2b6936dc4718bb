import type { Control } from "../control/control.ts";
import { leaseListSchema, leaseReports } from "../control/lease-report.ts";
import type { Route } from "./route.ts";

/** What DHCP has handed out. */
export function leaseRoutes(control: Pick<Control, "leases" | "config" | "vms">): Route[] {
  return [
    {
      method: "GET",
      path: "/v1/leases",
      name: "listLeases",
      summary: "The addresses that DHCP has given or is to give, by address; a lease stays on record after its end",
      answer: leaseListSchema,
      handle: () => {
        const { leases } = control;
        return leaseReports({
          leases,
          reservations: control.config().dhcp.static,
          vms: control.vms(),
          now: Date.now(),
        });
      },
    },
  ];
}
