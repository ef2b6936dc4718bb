/** What the control API tells of the name server. */
import { type DnsStatistics, parseType, type QueryContext } from "@hostd/dns";
import type { Ipv4 } from "@hostd/stack";
import { type ApiSubject, RequestError } from "./api-subject.ts";
import type { DnsService } from "./dns-service.ts";
import { readZoneRequest } from "./dns-zone-request.ts";

/** A VM that asks for names. */
export interface DnsVm {
  readonly name: string;
  readonly dnsStatistics: DnsStatistics;
  /** As whom it asks. */
  readonly dnsContext: QueryContext;
}

/** @param gateway - who asks while no VM is attached. */
export function dnsSubject(
  service: Pick<DnsService, "report" | "query" | "addZone" | "removeZone">,
  vms: () => readonly DnsVm[],
  gateway: Ipv4,
): Pick<ApiSubject, "dns" | "dnsQuery" | "addZone" | "removeZone"> {
  return {
    dns: () => ({
      ...service.report(),
      vms: vms().map(({ name, dnsStatistics }) => ({ name, statistics: dnsStatistics })),
    }),
    addZone: (body) => refusing(() => service.addZone(readZoneRequest(body))),
    removeZone: (name, vm) =>
      refusing(() => {
        if (service.removeZone(name, vm ?? undefined)) return { removed: name };
        const zones = service
          .report()
          .zones.map((zone) => (zone.vm === undefined ? zone.name : `${zone.name} of ${zone.vm}`));
        throw new RequestError(
          `there is no zone ${name}${vm === null ? "" : ` of ${vm}`}; there are ${zones.join(", ")}`,
        );
      }),
    async dnsQuery(name, type, wanted) {
      const vm = chooseVm(vms(), wanted);
      const context = vm?.dnsContext ?? { link: "", client: gateway, vmAddress: null };
      try {
        const report = await service.query(name, parseType(type), context);
        return { ...report, vm: vm?.name ?? null };
      } catch (error) {
        if (error instanceof RangeError) throw new RequestError(error.message);
        throw error;
      }
    },
  };
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

function chooseVm(vms: readonly DnsVm[], wanted: string | null): DnsVm | null {
  const names = vms.map(({ name }) => name).join(", ");
  if (wanted === null) {
    if (vms.length <= 1) return vms[0] ?? null;
    throw new RequestError(`${vms.length} VMs are attached, so one has to be named: ${names}`);
  }
  const found = vms.find(({ name }) => name === wanted);
  if (found !== undefined) return found;
  throw new RequestError(`no VM ${wanted} is attached; ${vms.length === 0 ? "there is none" : `there are ${names}`}`);
}
