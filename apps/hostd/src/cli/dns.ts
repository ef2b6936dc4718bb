/** `hostd dns`: how the name server of a running hostd is doing, and how it resolves a name. */
import type { DnsQueryReport, DnsReport } from "../dns/report.ts";
import { type ApiOptions, askApi } from "./api-client.ts";
import { describeDns, describeQuery } from "./dns-text.ts";
import { printJson, printLines } from "./print.ts";

export async function runDns({ api, json }: ApiOptions): Promise<void> {
  // Both sides are one program, and nothing is done with it but to show it.
  const report = (await askApi(api, "/v1/dns")) as DnsReport;
  if (json === true) printJson(report);
  else printLines([describeDns(report)]);
}

/** @returns the exit code: 1 when there is no answer. */
export async function runDnsQuery(
  name: string,
  type: string | undefined,
  { api, json, vm }: ApiOptions & { readonly vm?: string },
): Promise<number> {
  const query = { name, type: type ?? "A", vm };
  const report = (await askApi(api, "/v1/dns/query", { query })) as DnsQueryReport;
  if (json === true) printJson(report);
  else printLines([describeQuery(report)]);
  return report.rcode === "SERVFAIL" ? 1 : 0;
}
