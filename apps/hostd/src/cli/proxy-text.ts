/** What the control API tells of the HTTP proxy, for people. */
import type { ProxyReport, ProxyRouteReport, ProxySettingsReport, ProxyTrialReport } from "../control/reports.ts";
import { alignRows, formatAge, formatTable, PLAIN, printable, type TableStyle } from "./table.ts";

/** How many exclusions are shown where they are many. */
const SHOWN = 20;

/** What is in force, where that is from, and how the proxies do. */
export function describeProxy(report: ProxyReport, style: TableStyle = PLAIN): string[] {
  const { sources, upstreams, vms } = report;
  const problems = sources.flatMap((source) => source.problems);
  return [
    ...describeInForce(report, style),
    "",
    ...formatTable(
      [
        { title: "SOURCE", cell: ({ name }) => name },
        { title: "IN FORCE", cell: ({ isInForce }) => (isInForce ? "yes" : "-") },
        { title: "SAYS", cell: ({ says }) => saysText(says) },
      ],
      sources,
      style,
    ),
    ...(problems.length === 0 ? [] : ["", "What cannot be used:", ...problems.map((each) => `  ${printable(each)}`)]),
    ...(upstreams.length === 0
      ? []
      : [
          "",
          ...formatTable(
            [
              { title: "PROXY", cell: ({ server }) => server },
              { title: "STATE", cell: ({ state }) => state },
              { title: "FOR", cell: ({ sinceSeconds }) => (sinceSeconds === null ? "-" : formatAge(sinceSeconds)) },
              { title: "WHY", cell: whyText },
            ],
            upstreams,
            style,
          ),
        ]),
    ...(vms.length === 0
      ? []
      : [
          "",
          ...formatTable(
            [
              { title: "VM", cell: ({ name }) => name },
              { title: "CONNECTIONS", cell: ({ connections }) => String(connections), isRight: true },
              { title: "TUNNELS", cell: ({ tunnels }) => String(tunnels), isRight: true },
            ],
            vms,
            style,
          ),
        ]),
  ];
}

/** What is in force, and from where. */
export function describeInForce(
  { settings, enabled, transparentPorts }: ProxyReport,
  style: TableStyle = PLAIN,
): string[] {
  const { allowed, from } = settings;
  const facts = [
    ...wayRows(settings),
    ["From", from],
    ...exclusionRows(settings),
    ...(allowed === null ? [] : [["Allowed", `nothing but ${listText(allowed)}`]]),
    ["Guests", guestsText(enabled, transparentPorts)],
  ];
  return [style.title("HTTP proxy"), ...alignRows(facts, { indent: 2 })];
}

/** Which way a request takes, and why. */
export function describeRoute({ scheme, host, port, routes, reason }: ProxyRouteReport): string[] {
  const origin = `${scheme}://${host.includes(":") ? `[${host}]` : host}:${port}`;
  return [printable(`${origin} ${wayText(routes)}`), printable(`  by ${reason}`)];
}

/** The same, with what came of a request. */
export function describeTrial(report: ProxyTrialReport): string[] {
  const { isReached, message, milliseconds } = report;
  return [
    ...describeRoute(report),
    printable(`  ${isReached ? "" : "not reached: "}${message}, after ${milliseconds} ms`),
  ];
}

function wayText([first, ...others]: readonly string[]): string {
  const way = first === "direct" ? "goes direct" : first === "refuse" ? "is refused" : `goes through ${first}`;
  return others.length === 0 ? way : `${way}; when that fails: ${others.join(", ")}`;
}

function wayRows({ http, https, pac }: ProxySettingsReport): string[][] {
  if (pac !== null) return [["Requests", `as the PAC script ${pac} says`]];
  const text = (servers: readonly string[]) => (servers.length === 0 ? "direct" : servers.join(", "));
  if (text(http) === text(https)) return [["Requests", text(http)]];
  return [
    ["Plain HTTP", text(http)],
    ["HTTPS", text(https)],
  ];
}

function exclusionRows({ exclusions }: ProxySettingsReport): string[][] {
  return exclusions.map(({ entries, from }, index) => [
    index === 0 ? "But direct" : "",
    `${listText(entries)} (${from})`,
  ]);
}

function listText(entries: readonly string[]): string {
  const more = entries.length - SHOWN;
  return `${entries.slice(0, SHOWN).join(", ")}${more > 0 ? ` and ${more} more` : ""}`;
}

function guestsText(isEnabled: boolean, ports: ProxyReport["transparentPorts"]): string {
  const explicit = isEnabled ? ["those that use http.docker.internal:3128"] : [];
  const which = ports === "all" ? "every port" : `port ${typeof ports === "string" ? "" : ports.join(" and ")}`;
  const isTransparent = ports !== "none" && ports.length > 0;
  const transparent = isTransparent ? [`all that connect to ${which}, while there is a proxy`] : [];
  return [...explicit, ...transparent].join("; ") || "none is served";
}

function saysText(says: ProxyReport["sources"][number]["says"]): string {
  if (says === null) return "nothing";
  if (says === "system") return "what the host has set, by its environment or its system";
  return wayRows(says)
    .map(([what, way]) => (what === "Requests" ? way : `${what}: ${way}`))
    .join("; ");
}

function whyText({ reason, nextTrySeconds }: ProxyReport["upstreams"][number]): string {
  if (reason === null) return "-";
  return nextTrySeconds === null ? reason : `${reason}; tried again in ${Math.ceil(nextTrySeconds)} s`;
}
