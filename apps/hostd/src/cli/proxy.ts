/** `hostd proxy`: which way requests of guests take, changing it, and trying it. */
import type { ProxyReport, ProxyRouteReport, ProxyTrialReport } from "../control/reports.ts";
import { type ApiOptions, askApi, UsageError } from "./api-client.ts";
import { printJson, printLines } from "./print.ts";
import { describeInForce, describeProxy, describeRoute, describeTrial } from "./proxy-text.ts";
import { askSecret } from "./secret.ts";
import { outputStyle } from "./table.ts";

const PATH = "/v1/proxy";

export async function runProxy({ api, json }: ApiOptions): Promise<void> {
  // Both sides are one program.
  const report = (await askApi(api, PATH)) as ProxyReport;
  if (json === true) printJson(report);
  else printLines(describeProxy(report, outputStyle()));
}

export interface ProxySetOptions extends ApiOptions {
  /** What goes direct; that of the configuration unless given. */
  readonly noProxy?: string;
}

/** @throws {UsageError} when the proxy is not written right. */
export async function runProxySet(upstream: string, { api, json, noProxy }: ProxySetOptions): Promise<void> {
  const body = { upstream: await withPassword(upstream), ...(noProxy === undefined ? {} : { noProxy }) };
  const report = (await askApi(api, PATH, { method: "PUT", body })) as ProxyReport;
  if (json === true) printJson(report);
  else printLines(describeInForce(report, outputStyle()));
}

export async function runProxyUnset({ api, json }: ApiOptions): Promise<void> {
  const report = (await askApi(api, PATH, { method: "DELETE" })) as ProxyReport;
  if (json === true) printJson(report);
  else printLines(describeInForce(report, outputStyle()));
}

export interface ProxyTestOptions extends ApiOptions {
  /** Whether the request is made, and not only decided on. */
  readonly connect: boolean;
}

/** @returns the exit code: 1 when it was not reached, or when that is refused. */
export async function runProxyTest(url: string, { api, json, connect }: ProxyTestOptions): Promise<number> {
  if (!connect) {
    const route = (await askApi(api, `${PATH}/route`, { query: { url } })) as ProxyRouteReport;
    if (json === true) printJson(route);
    else printLines(describeRoute(route));
    return route.routes[0] === "refuse" ? 1 : 0;
  }
  const trial = (await askApi(api, `${PATH}/test`, { method: "POST", body: { url } })) as ProxyTrialReport;
  if (json === true) printJson(trial);
  else printLines(describeTrial(trial));
  return trial.isReached ? 0 : 1;
}

/**
 * A proxy with its password asked for, where its URL has a user alone: what stands in a command line is seen by everybody on
 * this host, and kept by the shell.
 */
async function withPassword(upstream: string): Promise<string> {
  const match = /^([a-z][a-z0-9+.-]*:\/\/)([^:@/?#,]+)@([^@]*)$/i.exec(upstream.trim());
  if (match === null) return upstream;
  const [, scheme, user, rest] = match;
  const password = await askSecret(`Password of ${user} at ${rest}: `);
  if (password === null) {
    throw new UsageError(
      `there is a user and no password in the URL, and no terminal to ask for it at: write USER:PASSWORD@, or leave both ` +
        "out and name a file with them by proxy.credentials in the configuration",
    );
  }
  return `${scheme}${user}:${encodeURIComponent(password)}@${rest}`;
}
