/** `hostd dns`: how the name server of a running hostd is doing, and how it resolves a name. */
import type { DnsQueryReport, DnsReport } from "../dns-report.ts";
import { askApi } from "./api-client.ts";
import { describeDns, describeQuery } from "./dns-text.ts";

export interface DnsOptions {
  readonly api?: string;
  readonly json?: true;
}

/** @returns the exit code. */
export async function runDns({ api, json }: DnsOptions): Promise<number> {
  // Both sides are one program, and nothing is done with it but to show it.
  const report = (await askApi(api, "/dns")) as DnsReport;
  print(json === true ? JSON.stringify(report, null, 2) : describeDns(report));
  return 0;
}

/** @returns the exit code: 1 when there is no answer. */
export async function runDnsQuery(
  name: string,
  type: string | undefined,
  { api, json, vm }: DnsOptions & { readonly vm?: string },
): Promise<number> {
  const parameters = new URLSearchParams({ name, type: type ?? "A", ...(vm === undefined ? {} : { vm }) });
  const report = (await askApi(api, `/dns/query?${parameters}`)) as DnsQueryReport;
  print(json === true ? JSON.stringify(report, null, 2) : describeQuery(report));
  return report.rcode === "SERVFAIL" ? 1 : 0;
}

function print(text: string): void {
  process.stdout.write(`${text}\n`);
}
