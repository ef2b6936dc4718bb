/** `hostd reload`: has hostd read its configuration again. */
import type { ReloadReport } from "../control/control.ts";
import { type ApiOptions, askApi } from "./api-client.ts";
import { printJson, printLines } from "./print.ts";
import { describeReload } from "./reload-text.ts";

export async function runReload({ api, json }: ApiOptions): Promise<void> {
  const report = (await askApi(api, "/v1/config/reload", { method: "POST" })) as ReloadReport;
  if (json === true) printJson(report);
  else printLines(describeReload(report));
}
