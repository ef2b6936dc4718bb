/** Checks of the proxies that requests of guests are sent through. */
import { parseProxy } from "@hostd/httpproxy";
import type { ProxySettingsReport } from "../control/reports.ts";
import { type Finding, failure, messageOf, ok, warning } from "./finding.ts";
import type { Host, Subject } from "./host.ts";

/** The most proxies that are connected to. */
const MAX_PROXIES = 16;
/** What a PAC script is asked for. */
const EXAMPLE = "https://www.example.com";

/** Which proxies are in force, from where, and whether they can be reached. */
export async function checkProxies(host: Host, { config, hostd }: Subject): Promise<Finding[]> {
  const running = await hostd.proxy();
  const { settings, sources } = running ?? (await host.proxySettings(config));
  const problems = sources.flatMap((source) => source.problems);
  return [
    ok("proxies", describeSettings(settings)),
    ...problems.map((problem) => {
      return warning("proxies", problem, "put it right there; hostd proxy shows what each source says");
    }),
    ...checkCredentials(host, config.proxy.credentials),
    ...(await checkScript(settings, hostd)),
    ...(await checkServers(host, settings)),
  ];
}

function describeSettings({ http, https, pac, exclusions, from }: ProxySettingsReport): string {
  const excluded = exclusions.reduce((sum, { entries }) => sum + entries.length, 0);
  const but = excluded === 0 ? "" : `, but for ${excluded} exclusions`;
  if (pac !== null) return `requests go as the PAC script ${pac} says${but} (${from})`;
  if (http.length + https.length === 0) return `none: requests go direct (${from})`;
  const text = (servers: readonly string[]) => (servers.length === 0 ? "direct" : `through ${servers.join(", ")}`);
  const ways = text(http) === text(https) ? text(http) : `${text(http)}, HTTPS ${text(https)}`;
  return `requests go ${ways}${but} (${from})`;
}

function checkCredentials(host: Host, path: string | undefined): Finding[] {
  const reason = path === undefined ? null : host.whyNoCredentials(path);
  return reason === null ? [] : [warning("proxies", reason, "put the file of proxy.credentials right")];
}

async function checkScript({ pac }: ProxySettingsReport, hostd: Subject["hostd"]): Promise<Finding[]> {
  if (pac === null) return [];
  const route = await hostd.proxyRoute(EXAMPLE);
  if (route === null) return [];
  const seen = `for ${EXAMPLE}: ${route.routes.join(", ")} (${route.reason})`;
  return [
    route.reason.includes("which failed")
      ? failure("PAC script", seen, "see that its URL can be fetched from here, and what hostd's log says of it")
      : ok("PAC script", seen),
  ];
}

async function checkServers(host: Host, { http, https }: ProxySettingsReport): Promise<Finding[]> {
  const servers = [...new Set([...http, ...https])].slice(0, MAX_PROXIES);
  const faults = await Promise.all(
    servers.map(async (server) => {
      const { host: name, port } = parseProxy(server);
      return await host.connectTcp({ transport: "tcp", host: name, port }).then(() => null, messageOf);
    }),
  );
  return servers.map((server, index) => {
    const fault = faults[index];
    if (fault === null) return ok("proxy", `${server} takes connections`);
    const seen = `${server} takes no connection: ${fault}`;
    const isAlone = [http, https].some(
      (list) => list.includes(server) && list.every((each) => faults[servers.indexOf(each)]),
    );
    return isAlone
      ? failure("proxy", seen, "see that it runs and can be reached from here, or set another one with hostd proxy set")
      : warning("proxy", seen, "the next one of the list is taken; leave it out, or see that it can be reached");
  });
}
