import type { Control } from "../control/control.ts";
import { detachedVmSchema, vmListSchema, vmReport } from "../control/vm-report.ts";
import { RequestError } from "./problem.ts";
import type { Route } from "./route.ts";

/** The VMs that are attached. */
export function vmRoutes(control: Pick<Control, "vms" | "vm">): Route[] {
  return [
    {
      method: "GET",
      path: "/v1/vms",
      name: "listVms",
      summary: "The VMs that are attached, the one that has been there for longest first",
      answer: vmListSchema,
      handle: () => control.vms().map(vmReport),
    },
    {
      method: "DELETE",
      path: "/v1/vms",
      name: "detachVm",
      summary:
        "Detaches a VM: resets its connections and closes its link, which hostd opens again where it is the one to connect",
      query: { vm: { description: "The VM's name", required: true, example: "unix:///run/vm.sock" } },
      answer: detachedVmSchema,
      handle: async ({ query }) => {
        const name = query.get("vm") ?? "";
        const vm = control.vm(name);
        if (vm === undefined) throw new RequestError(noSuchVm(name, control.vms()), 404);
        vm.close();
        await vm.ended;
        return { detached: name };
      },
    },
  ];
}

/** Says that there is no VM of a name, and which ones there are. */
export function noSuchVm(name: string, vms: readonly { readonly name: string }[]): string {
  const there = vms.length === 0 ? "there is none" : `there are ${vms.map((vm) => vm.name).join(", ")}`;
  return `no VM ${name} is attached; ${there}`;
}
