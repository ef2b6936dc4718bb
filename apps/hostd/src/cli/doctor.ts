/** `hostd doctor`: what hostd needs of this host, and whether it is there. */
import type { UnixAddress } from "@hostd/frontends";
import { runChecks, worstOf } from "../doctor/checks.ts";
import { realHost } from "../doctor/real-host.ts";
import { RunningHostd } from "../doctor/running-hostd.ts";
import { type ApiOptions, socketOf } from "./api-client.ts";
import { describeFindings, outputStyle } from "./doctor-text.ts";
import { readConfig } from "./up.ts";
import { versionInfo } from "./version.ts";

export interface DoctorOptions extends ApiOptions {
  readonly config?: string;
}

/** @returns the exit code: 1 when something has failed. */
export async function runDoctor({ api, config: configFile, json }: DoctorOptions): Promise<number> {
  const config = await readConfig(configFile, new Map());
  const host = realHost();
  const named: UnixAddress | undefined = api === undefined ? undefined : { transport: "unix", path: socketOf(api) };
  const hostd = new RunningHostd(host, named ?? config.api, named !== undefined);
  const sections = await runChecks(host, { config, configFile, hostd });
  const status = worstOf(sections);
  if (json === true) {
    const checks = sections.flatMap(({ title, findings }) =>
      findings.map((finding) => ({ section: title, ...finding })),
    );
    process.stdout.write(`${JSON.stringify({ status, ...versionInfo(), checks }, null, 2)}\n`);
  } else {
    process.stdout.write(
      describeFindings(sections, outputStyle())
        .map((line) => `${line}\n`)
        .join(""),
    );
  }
  return status === "failure" ? 1 : 0;
}
