/** `hostd resolve`: the addresses of a container, or of any other name as the VM would look it up. */
import type { ContainersReport } from "../control/reports.ts";
import type { DnsQueryReport } from "../dns/report.ts";
import { type ApiOptions, askApi } from "./api-client.ts";
import { printJson, printLines } from "./print.ts";
import { describeMissing, readResolution } from "./resolve-text.ts";

/** The types of records that are asked for where it is no container. */
const TYPES = ["A", "AAAA"] as const;

/** @throws {Error} when there is no address. */
export async function runResolve(
  name: string,
  { api, json, vm }: ApiOptions & { readonly vm?: string },
): Promise<void> {
  const found = (await askApi(api, "/v1/containers", { query: { name } })) as ContainersReport;
  const answers: DnsQueryReport[] = [];
  if (found.containers.length === 0) {
    for (const type of TYPES) {
      answers.push((await askApi(api, "/v1/dns/query", { query: { name, type, vm } })) as DnsQueryReport);
    }
  }
  const resolution = readResolution(name, found, answers);
  if (resolution.addresses.length === 0) {
    const all = (await askApi(api, "/v1/containers")) as ContainersReport;
    throw new Error(describeMissing(resolution, answers, all));
  }
  if (json === true) printJson(resolution);
  else printLines(resolution.addresses);
}
