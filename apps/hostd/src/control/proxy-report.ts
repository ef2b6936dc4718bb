/** What the control API tells of the HTTP proxy. Nothing of it has credentials. */
import { type Decision, type Destination, formatRoute } from "@hostd/httpproxy";
import * as z from "zod";
import type { HostdConfig } from "../config/resolve.ts";
import type { ProxyService } from "../proxy/proxy-service.ts";
import type { VmSession } from "../vm-session.ts";
import { count, quantity, type Reported } from "./report-schema.ts";

const proxyList = (what: string) => {
  return z.array(z.string()).describe(`${what}, in the order in which they are tried; none for direct`);
};

const settingsSchema = z.strictObject({
  http: proxyList("The proxies for plain HTTP"),
  https: proxyList("The proxies for tunnels, whatever is in them"),
  pac: z.string().nullable().describe("Where the PAC script is that decides in their place"),
  exclusions: z
    .array(z.strictObject({ entries: z.array(z.string()), from: z.string().describe("For people") }))
    .describe("What goes direct nevertheless"),
  allowed: z.array(z.string()).nullable().describe("The only hosts that may be reached; null when all may"),
  from: z.string().describe("Where they are from, for people"),
});

const sourceSchema = z.strictObject({
  name: z.string().describe("For people"),
  says: z
    .union([settingsSchema, z.literal("system")])
    .nullable()
    .describe(
      "`system` leaves it to the environment and the operating system, after what it excludes; null says nothing",
    ),
  isInForce: z.boolean(),
  problems: z.array(z.string()).describe("What of it could not be used"),
});

const upstreamSchema = z.strictObject({
  server: z.string().describe("As a URL"),
  state: z.enum(["unused", "working", "failing"]).describe("unused: not since the settings have changed"),
  sinceSeconds: quantity("For how long it has been so, in seconds").nullable(),
  reason: z.string().nullable().describe("Why it fails; null when it does not"),
  nextTrySeconds: quantity("In how many seconds it is due to be tried again; null when it does not fail").nullable(),
});

export const proxyReportSchema = z.strictObject({
  enabled: z.boolean().describe("Whether the gateway is a proxy for those who know of it, on the ports 3128 and 3129"),
  transparentPorts: z
    .union([z.enum(["none", "all"]), z.array(z.int())])
    .describe("Ports of origins whose connections take the same way, without the guest's knowing"),
  isSetAtRunTime: z.boolean().describe("Whether somebody has set the proxies at run time"),
  settings: settingsSchema.describe("What is in force"),
  sources: z
    .array(sourceSchema)
    .describe("All, in the order in which they are asked; the first that says something holds"),
  upstreams: z.array(upstreamSchema).describe("The proxies that are in force, and others that were used of late"),
  vms: z
    .array(
      z.strictObject({
        name: z.string().describe("The VM's name"),
        connections: count("Connections whose requests are read, or of which it is not known yet what they speak"),
        tunnels: count("Connections that are passed on as they are"),
      }),
    )
    .describe("What goes on in each VM now"),
});

const destinationShape = {
  scheme: z.enum(["http", "https"]).describe("https for a tunnel, whatever is in it"),
  host: z.string(),
  port: z.int().min(1).max(65_535),
};

export const proxyRouteSchema = z.strictObject({
  ...destinationShape,
  routes: z
    .array(z.string())
    .describe("The ways in the order in which they are tried: direct, refuse, or a proxy as a URL without credentials"),
  reason: z.string().describe("Where that is from, for people"),
});

export const proxyTrialSchema = z.strictObject({
  ...proxyRouteSchema.shape,
  isReached: z.boolean().describe("Whether the origin, or the proxy that was asked for it, has answered"),
  status: z.int().nullable().describe("The status of the answer; null when there was none"),
  message: z.string().describe("What happened, for people"),
  milliseconds: quantity("How long it took"),
});

export type ProxyReport = Reported<typeof proxyReportSchema>;
export type ProxySettingsReport = ProxyReport["settings"];
export type ProxyRouteReport = Reported<typeof proxyRouteSchema>;
export type ProxyTrialReport = Reported<typeof proxyTrialSchema>;

export async function proxyReport(
  service: Pick<ProxyService, "report">,
  { proxy }: Pick<HostdConfig, "proxy">,
  vms: readonly Pick<VmSession, "name" | "proxyCounts">[],
): Promise<ProxyReport> {
  const { upstreams, ...report } = await service.report();
  const used = upstreams.map(({ since, nextTry, ...upstream }) => ({
    ...upstream,
    sinceSeconds: since / 1000,
    nextTrySeconds: nextTry === null ? null : nextTry / 1000,
  }));
  const { http, https } = report.settings;
  const unused = [...new Set([...http, ...https])].filter((server) => !used.some((each) => each.server === server));
  return {
    enabled: proxy.enabled,
    ...report,
    upstreams: [
      ...used,
      ...unused.map((server) => ({
        ...{ server, state: "unused" as const, sinceSeconds: null, reason: null, nextTrySeconds: null },
      })),
    ],
    vms: vms.map(({ name, proxyCounts: { connections, tunnels } }) => ({ name, connections, tunnels })),
  };
}

export function routeReport({ scheme, host, port }: Destination, { routes, reason }: Decision): ProxyRouteReport {
  return { scheme, host, port, routes: routes.map(formatRoute), reason };
}
