/** What the control API tells of the name server, for people. */
import type { DnsQueryReport, DnsRecordReport, DnsReport } from "../dns/report.ts";
import { alignRows, counted } from "./table.ts";

/** The zones, the name servers and the figures. */
export function describeDns(report: DnsReport): string {
  const { zones, containers, upstreams, resolver, search, cache, hosts, vms } = report;
  const servers = upstreams.flatMap(({ domain, from, servers: all }) => {
    const domainText = domain === "" ? "(every other name)" : domain;
    if (all.length === 0) return [[domainText, "none", "-", "-", "-", "-", from]];
    return all.map(({ server, state, roundTrip, answers, failures }) => {
      const time = roundTrip === null ? "-" : `${roundTrip.toFixed(1)} ms`;
      return [domainText, server, state, time, String(answers), String(failures), from];
    });
  });
  const asked = vms.map(({ name, statistics }) => {
    const { queries, answeredLocally, answeredFromCache, forwarded, failures, formErr, dropped } = statistics;
    return [name, ...[queries, answeredLocally, answeredFromCache, forwarded, failures, formErr, dropped].map(String)];
  });
  return [
    "Zones (the first that a name is in answers):",
    ...zones.flatMap(({ name, vm, defaultAddress, records }) => [
      `  ${name}${vm === undefined ? "" : ` (for ${vm} alone)`}`,
      ...alignRows(records.map(recordRow), { indent: 4 }),
      ...(defaultAddress === undefined ? [] : [`    every other name: ${defaultAddress}`]),
    ]),
    ...(containers === null
      ? []
      : [
          `  ${containers.name} (containers, for names that no zone above has)`,
          ...alignRows(containers.records.map(recordRow), { indent: 4 }),
        ]),
    "",
    `Hosts file: ${hosts === null ? "none" : `${hosts.path}, ${counted(hosts.names, "name")}`}`,
    `Search domains: ${search.length === 0 ? "none" : search.join(", ")}`,
    "",
    ...(resolver === "system"
      ? ["Addresses are looked up by the system's own call, everything else by name servers.", ""]
      : []),
    "Name servers (the longest domain that a name is in holds):",
    ...(servers.length === 0
      ? ["  none: names of no zone fail"]
      : alignRows([["DOMAIN", "SERVER", "STATE", "ROUND TRIP", "ANSWERS", "FAILURES", "FROM"], ...servers], {
          indent: 2,
        })),
    "",
    ...cacheLines(cache),
    "",
    "VMs:",
    ...(asked.length === 0
      ? ["  none is attached"]
      : alignRows([["NAME", "QUERIES", "LOCAL", "CACHE", "FORWARDED", "FAILED", "MALFORMED", "DROPPED"], ...asked], {
          indent: 2,
        })),
  ].join("\n");
}

/** How a name is resolved and why, and the answer as dig writes it. */
export function describeQuery(report: DnsQueryReport): string {
  const { name, type, rcode, flags, answers, authorities, additionals, isCutOff, vm } = report;
  const lines = [`${name} ${type}: ${explanation(report)}`];
  if (vm !== null) lines.push(`;; for ${vm}`);
  lines.push(`;; status: ${rcode}, flags: ${flags.join(" ")}`);
  for (const [title, records] of [
    ["ANSWER", answers],
    ["AUTHORITY", authorities],
    ["ADDITIONAL", additionals],
  ] as const) {
    if (records.length === 0) continue;
    const rows = records.map((record) => [record.name, String(record.ttl), record.class, record.type, record.data]);
    lines.push("", `;; ${title} SECTION:`, ...alignRows(rows));
  }
  if (isCutOff) lines.push("", ";; the message ends in the middle of a record");
  return lines.join("\n");
}

function explanation({ origin, source, route, milliseconds }: DnsQueryReport): string {
  const through = route === null ? "" : `${routeText(route)}, `;
  const time = `${milliseconds < 10 ? milliseconds.toFixed(1) : Math.round(milliseconds)} ms`;
  switch (origin) {
    case "zone":
      return `zone ${source}`;
    case "hosts":
      return `hosts file ${source}`;
    case "special":
      return source;
    case "cache":
      return `${through}from the cache`;
    case "stale":
      return `${through}from the cache past its time, as no server answers`;
    case "upstream":
      return `${through}answered in ${time} by ${source}`;
    case "failure":
      return `${through}no answer after ${time}: ${source}`;
  }
}

function routeText({ domain, from, servers }: NonNullable<DnsQueryReport["route"]>): string {
  const to = servers.length === 0 ? "no server" : servers.join(", ");
  return domain === "" ? `${to} (${from})` : `rule ${domain} -> ${to} (${from})`;
}

/** A record as a master file has it, but for a name that is a regular expression. */
function recordRow(record: DnsRecordReport): string[] {
  const owner = record.name ?? `/${record.regexp ?? ""}/`;
  return [owner, record.ttl === undefined ? "" : String(record.ttl), record.type, recordData(record)];
}

function recordData(record: DnsRecordReport): string {
  switch (record.type) {
    case "A":
      return record.address ?? "the VM that asks";
    case "AAAA":
      return record.address;
    case "CNAME":
    case "PTR":
      return absolute(record.target);
    case "TXT":
      return [record.text]
        .flat()
        .map((text) => JSON.stringify(text))
        .join(" ");
    case "MX":
      return `${record.preference} ${absolute(record.exchange)}`;
    case "SRV":
      return `${record.priority} ${record.weight} ${record.port} ${absolute(record.target)}`;
  }
}

function absolute(name: string): string {
  return name.endsWith(".") ? name : `${name}.`;
}

function cacheLines({
  entries,
  bytes,
  hits,
  misses,
  stale,
  evictions,
  maxEntries,
  maxBytes,
}: DnsReport["cache"]): string[] {
  if (maxEntries === 0) return ["Cache: none"];
  const size = (count: number) => `${(count / (1024 * 1024)).toFixed(1)} MB`;
  return [
    `Cache: ${entries} of at most ${counted(maxEntries, "answer")}, ${size(bytes)} of ${size(maxBytes)}`,
    `  ${hits} from it, ${misses} not in it, ${stale} past their time, ${evictions} dropped for others`,
  ];
}
