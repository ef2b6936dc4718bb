/** `hostd ps`: the VMs that are attached. */
import type { VmReport } from "../control/reports.ts";
import { type ApiOptions, askApi } from "./api-client.ts";
import { printJson, printLines } from "./print.ts";
import { describeVms } from "./ps-text.ts";
import { outputStyle } from "./table.ts";

export async function runPs({ api, json }: ApiOptions): Promise<void> {
  // Both sides are one program, and nothing is done with it but to show it.
  const vms = (await askApi(api, "/v1/vms")) as readonly VmReport[];
  if (json === true) printJson(vms);
  else printLines(describeVms(vms, Date.now(), outputStyle()));
}
