/** `hostd leases`: which addresses DHCP has given out. */
import type { LeaseReport } from "../control/reports.ts";
import { type ApiOptions, askApi } from "./api-client.ts";
import { describeLeases } from "./leases-text.ts";
import { printJson, printLines } from "./print.ts";
import { outputStyle } from "./table.ts";

export async function runLeases({ api, json }: ApiOptions): Promise<void> {
  const leases = (await askApi(api, "/v1/leases")) as readonly LeaseReport[];
  if (json === true) printJson(leases);
  else printLines(describeLeases(leases, Date.now(), outputStyle()));
}
