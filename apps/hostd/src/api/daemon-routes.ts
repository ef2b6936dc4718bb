import * as z from "zod";
import { versionInfo } from "../cli/version.ts";
import type { Control } from "../control/control.ts";
import type { Route } from "./route.ts";

/** Whether hostd is well, and what it is. */
export function daemonRoutes(control: Pick<Control, "vms">): Route[] {
  return [
    {
      method: "GET",
      path: "/healthz",
      name: "getHealth",
      summary: "Whether hostd is well",
      answer: z.strictObject({ status: z.literal("ok"), vms: z.int() }),
      handle: () => ({ status: "ok", vms: control.vms().length }),
    },
    {
      method: "GET",
      path: "/version",
      name: "getVersion",
      summary: "The version of hostd and of what it runs on",
      answer: z.strictObject({ version: z.string(), node: z.string(), platform: z.string(), arch: z.string() }),
      handle: () => versionInfo(),
    },
  ];
}
