/** `hostd stats`: how hostd and its VMs are doing. */
import type { StatsReport } from "../control/reports.ts";
import { type ApiOptions, askApi } from "./api-client.ts";
import { printJson, printLines } from "./print.ts";
import { describeStats, describeVmStats } from "./stats-text.ts";
import { outputStyle } from "./table.ts";

/** @throws {Error} when there is no such VM. */
export async function runStats({ api, json, vm }: ApiOptions & { readonly vm?: string }): Promise<void> {
  const report = (await askApi(api, "/v1/stats")) as StatsReport;
  if (vm === undefined) {
    if (json === true) printJson(report);
    else printLines(describeStats(report, outputStyle()));
    return;
  }
  const found = report.vms.find(({ name }) => name === vm);
  if (found === undefined) {
    const names = report.vms.map(({ name }) => name).join(", ");
    throw new Error(`no VM ${vm} is attached; ${names === "" ? "there is none" : `there are ${names}`}`);
  }
  if (json === true) printJson(found);
  else printLines(describeVmStats(found.name, found, outputStyle()));
}
