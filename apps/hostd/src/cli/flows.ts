/** `hostd flows`: the flows of VMs, and ending one. */
import type { FlowListReport } from "../control/reports.ts";
import { type ApiOptions, askApi } from "./api-client.ts";
import { describeFlows } from "./flows-text.ts";
import { jsonLines, printJson, printLines } from "./print.ts";
import { outputStyle } from "./table.ts";
import { watch } from "./watch.ts";

const PATH = "/v1/flows";

export interface FlowsOptions extends ApiOptions {
  readonly vm?: string;
  readonly protocol?: string;
  /** How many at most. */
  readonly limit?: string;
  /** Whether they are shown again each second. */
  readonly watch?: true;
}

export async function runFlows({ api, json, vm, protocol, limit, watch: isWatched }: FlowsOptions): Promise<void> {
  const makeLines = async () => {
    const report = (await askApi(api, PATH, { query: { vm, protocol, limit } })) as FlowListReport;
    return json === true ? jsonLines(report) : describeFlows(report, outputStyle());
  };
  if (isWatched === true) await watch(makeLines);
  else printLines(await makeLines());
}

/** Ends a flow; a TCP connection is reset at both ends. */
export async function runFlowsKill(
  id: string,
  { api, json, vm }: ApiOptions & { readonly vm?: string },
): Promise<void> {
  const report = (await askApi(api, PATH, { method: "DELETE", query: { vm, id } })) as { readonly ended: string };
  if (json === true) printJson(report);
  else printLines([`${report.ended} is ended`]);
}
