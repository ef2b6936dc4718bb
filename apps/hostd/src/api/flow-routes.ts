import { systemClock } from "@hostd/streams";
import type { Control } from "../control/control.ts";
import {
  endedFlowSchema,
  FLOW_PROTOCOLS,
  type FlowListReport,
  type FlowProtocol,
  flowListSchema,
} from "../control/flow-report.ts";
import { type Flow, flowsOf } from "../control/flows.ts";
import type { VmSession } from "../vm-session.ts";
import { RequestError } from "./problem.ts";
import type { Route } from "./route.ts";
import { noSuchVm } from "./vm-routes.ts";

/** How many flows are listed unless the request says so, and how many it may ask for: each is 400 bytes of JSON. */
const DEFAULT_LIMIT = 1000;
const LARGEST_LIMIT = 20_000;

/** The flows of VMs. */
export function flowRoutes({ vms }: Pick<Control, "vms">): Route[] {
  return [
    {
      method: "GET",
      path: "/v1/flows",
      name: "listFlows",
      summary: "TCP connections and flows of UDP and of echo requests, the newest first",
      query: {
        vm: { description: "The VM; all if not given", example: "unix:///run/vm.sock" },
        protocol: { description: `${FLOW_PROTOCOLS.join(", ")}; all if not given`, example: "tcp" },
        limit: {
          description: `How many at most, up to ${LARGEST_LIMIT}; ${DEFAULT_LIMIT} if not given`,
          example: "50",
        },
      },
      answer: flowListSchema,
      handle: ({ query }) => {
        return listFlows(chosenVms(vms(), query), readProtocol(query), readLimit(query), systemClock.now());
      },
    },
    {
      method: "DELETE",
      path: "/v1/flows",
      name: "endFlow",
      summary: "Ends a flow: TCP is reset to both sides, anything else is forgotten",
      query: {
        id: {
          description: "The flow's id",
          required: true,
          example: "tcp/192.168.65.3:40000/192.0.2.1:443",
        },
        vm: { description: "The VM; needed where several have a flow of the id", example: "unix:///run/vm.sock" },
      },
      answer: endedFlowSchema,
      handle: ({ query }) => {
        const id = query.get("id") ?? "";
        findFlow(chosenVms(vms(), query), id).end();
        return { ended: id };
      },
    },
  ];
}

function listFlows(
  vms: readonly VmSession[],
  protocol: FlowProtocol | null,
  limit: number,
  now: number,
): FlowListReport {
  const flows: Flow[] = [];
  for (const vm of vms) {
    for (const flow of flowsOf(vm)) if (protocol === null || flow.protocol === protocol) flows.push(flow);
  }
  flows.sort((one, other) => other.openedAt - one.openedAt);
  return { total: flows.length, flows: flows.slice(0, limit).map((flow) => flow.report(now)) };
}

/** @throws {RequestError} when there is none of the id, or several. */
function findFlow(vms: readonly VmSession[], id: string): Flow {
  const found: { readonly vm: string; readonly flow: Flow }[] = [];
  for (const vm of vms) {
    for (const flow of flowsOf(vm)) if (flow.report(0).id === id) found.push({ vm: vm.name, flow });
  }
  if (found.length === 0) throw new RequestError(`there is no flow ${id}; /v1/flows lists those that there are`, 404);
  if (found.length > 1) {
    throw new RequestError(`several VMs have a flow ${id}; name one of them: ${found.map(({ vm }) => vm).join(", ")}`);
  }
  return found[0].flow;
}

function chosenVms(vms: readonly VmSession[], query: URLSearchParams): readonly VmSession[] {
  const name = query.get("vm");
  if (name === null) return vms;
  const chosen = vms.filter((vm) => vm.name === name);
  if (chosen.length === 0) throw new RequestError(noSuchVm(name, vms), 404);
  return chosen;
}

function readProtocol(query: URLSearchParams): FlowProtocol | null {
  const written = query.get("protocol");
  if (written === null) return null;
  const protocol = FLOW_PROTOCOLS.find((known) => known === written);
  if (protocol !== undefined) return protocol;
  throw new RequestError(`protocol is ${JSON.stringify(written)}; allowed: ${FLOW_PROTOCOLS.join(", ")}`);
}

function readLimit(query: URLSearchParams): number {
  const written = query.get("limit");
  if (written === null) return DEFAULT_LIMIT;
  const limit = Number(written);
  if (/^\d{1,9}$/.test(written) && limit >= 1 && limit <= LARGEST_LIMIT) return limit;
  throw new RequestError(`limit is ${JSON.stringify(written)}; allowed: 1 to ${LARGEST_LIMIT}`);
}
