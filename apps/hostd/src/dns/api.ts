/** What the control API tells of the name server. */
import { type DnsStatistics, parseType, type QueryContext } from "@hostd/dns";
import * as z from "zod";
import { RequestError } from "../api/problem.ts";
import type { Route } from "../api/route.ts";
import type { HostdConfig } from "../config/resolve.ts";
import type { Control } from "../control/control.ts";
import type { DnsQueryReport, DnsReport } from "./report.ts";
import { dnsQuerySchema, dnsSchema, removedZoneSchema, zoneRequestSchema, zoneSchema } from "./schemas.ts";
import type { DnsService } from "./service.ts";
import { readZoneRequest } from "./zone-request.ts";

/** A VM that asks for names. */
export interface DnsVm {
  readonly name: string;
  readonly dnsStatistics: DnsStatistics;
  /** As whom it asks. */
  readonly dnsContext: QueryContext;
}

/** What the routes need of {@link Control}. */
export interface DnsControl extends Pick<Control, "events"> {
  readonly dns: Pick<DnsService, "report" | "query" | "addZone" | "removeZone">;
  vms(): readonly DnsVm[];
  config(): Pick<HostdConfig, "gateway">;
}

export function dnsRoutes(control: DnsControl): Route[] {
  const { dns, events } = control;
  const report = (): DnsReport => ({
    ...dns.report(),
    vms: control.vms().map(({ name, dnsStatistics }) => ({ name, statistics: dnsStatistics })),
  });
  return [
    {
      method: "GET",
      path: "/v1/dns",
      name: "getDns",
      summary: "The name server: zones, servers that are asked, cache",
      answer: dnsSchema,
      handle: report,
    },
    {
      method: "GET",
      path: "/v1/dns/query",
      name: "queryDns",
      summary: "How a name is resolved, by resolving it",
      query: {
        name: { description: "The whole name", required: true, example: "www.example.com" },
        type: { description: "The type of the records; A if not given", example: "AAAA" },
        vm: { description: "For which VM; the only one if not given", example: "unix:///run/vm.sock" },
      },
      answer: dnsQuerySchema,
      handle: ({ query }) => {
        return queryName(control, query.get("name") ?? "", query.get("type") ?? "A", query.get("vm"));
      },
    },
    {
      method: "GET",
      path: "/v1/dns/zones",
      name: "listZones",
      summary: "The zones, in the order in which they are asked",
      answer: z.array(zoneSchema),
      handle: () => dns.report().zones,
    },
    {
      method: "POST",
      path: "/v1/dns/zones",
      name: "addZone",
      summary: "Adds a zone, or records to one that is there, until hostd ends",
      body: zoneRequestSchema,
      answer: zoneSchema,
      handle: ({ body }) => {
        const added = refusing(() => dns.addZone(readZoneRequest(body)));
        events.emit("zone.added", { zone: added.name });
        return added;
      },
    },
    {
      method: "DELETE",
      path: "/v1/dns/zones",
      name: "removeZone",
      summary: "Takes a zone out, whole",
      query: {
        name: { description: "The zone", required: true, example: "lab.internal" },
        vm: { description: "The VM that alone has it", example: "unix:///run/vm.sock" },
      },
      answer: removedZoneSchema,
      handle: ({ query }) => {
        const [name, vm] = [query.get("name") ?? "", query.get("vm")];
        if (!refusing(() => dns.removeZone(name, vm ?? undefined))) {
          const zones = dns
            .report()
            .zones.map((zone) => (zone.vm === undefined ? zone.name : `${zone.name} of ${zone.vm}`));
          const wanted = `${name}${vm === null ? "" : ` of ${vm}`}`;
          throw new RequestError(`there is no zone ${wanted}; there are ${zones.join(", ")}`, 404);
        }
        events.emit("zone.removed", { zone: name });
        return { removed: name };
      },
    },
  ];
}

async function queryName(
  control: DnsControl,
  name: string,
  type: string,
  wanted: string | null,
): Promise<DnsQueryReport> {
  const vm = chooseVm(control.vms(), wanted);
  const context = vm?.dnsContext ?? { link: "", client: control.config().gateway, vmAddress: null };
  try {
    const report = await control.dns.query(name, parseType(type), context);
    return { ...report, vm: vm?.name ?? null };
  } catch (error) {
    if (error instanceof RangeError) throw new RequestError(error.message);
    throw error;
  }
}

/** What the name server refuses is the fault of the request. */
function refusing<T>(action: () => T): T {
  try {
    return action();
  } catch (error) {
    if (error instanceof RangeError) throw new RequestError(error.message);
    throw error;
  }
}

/**
 * The VM of a name, or the only one when no name is given; null when there is none.
 *
 * @throws {RequestError} when there is none of the name, or several and no name is given.
 */
export function chooseVm<Vm extends { readonly name: string }>(vms: readonly Vm[], wanted: string | null): Vm | null {
  const names = vms.map(({ name }) => name).join(", ");
  if (wanted === null) {
    if (vms.length <= 1) return vms[0] ?? null;
    throw new RequestError(`${vms.length} VMs are attached, so one has to be named: ${names}`);
  }
  const found = vms.find(({ name }) => name === wanted);
  if (found !== undefined) return found;
  throw new RequestError(`no VM ${wanted} is attached; ${vms.length === 0 ? "there is none" : `there are ${names}`}`);
}
