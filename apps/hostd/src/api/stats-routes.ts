import { type StatsControl, statsReport, statsReportSchema } from "../control/stats-report.ts";
import type { Route } from "./route.ts";

/** What is counted. */
export function statsRoutes(control: StatsControl): Route[] {
  return [
    {
      method: "GET",
      path: "/v1/stats",
      name: "getStats",
      summary: "What the process uses, and everything that is counted of VMs and forwards",
      answer: statsReportSchema,
      handle: () => statsReport(control),
    },
  ];
}
