/** What a name was found to be, for people. */
import { isIPv4 } from "node:net";
import type { ContainersReport } from "../control/reports.ts";
import type { DnsQueryReport } from "../dns/report.ts";
import { printable } from "./table.ts";

/** What `hostd resolve --json` prints. */
export interface NameResolution {
  readonly name: string;
  /** The names of the containers that it is a name of; none when the name server was asked. */
  readonly containers: readonly string[];
  /** Each once, IPv4 first. */
  readonly addresses: readonly string[];
}

/** How many containers an error names. */
const MAX_NAMED = 20;

/**
 * @param found - the containers that `name` is a name or id of.
 * @param answers - what the name server says of it; none where there is a container.
 */
export function readResolution(
  name: string,
  { containers }: ContainersReport,
  answers: readonly DnsQueryReport[],
): NameResolution {
  const addresses =
    containers.length > 0
      ? containers.flatMap(({ networks }) => networks.flatMap((network) => network.addresses))
      : answers.flatMap(({ type, answers: records }) => {
          // Beside them are the aliases that lead to them.
          return records.filter((record) => record.type === type).map(({ data }) => data);
        });
  const [ipv4, ipv6] = [addresses.filter(isIPv4), addresses.filter((address) => !isIPv4(address))];
  const names = containers.map((container) => container.name);
  return { name, containers: names, addresses: [...new Set([...ipv4, ...ipv6])] };
}

/** Why there is no address. */
export function describeMissing(
  { name, containers }: NameResolution,
  answers: readonly DnsQueryReport[],
  all: ContainersReport,
): string {
  const shown = JSON.stringify(name);
  if (containers.length > 0) {
    return `the container ${containers[0]} has no address of its own, as with --network host`;
  }
  const failed = answers.find(({ rcode }) => rcode !== "NOERROR" && rcode !== "NXDOMAIN");
  const exists = answers.some(({ rcode }) => rcode === "NOERROR");
  const looked =
    failed !== undefined
      ? `the VM could not look it up (${failed.rcode}: ${printable(failed.source)})`
      : exists
        ? "that name has no address for the VM"
        : "there is no such name for the VM";
  return `no container is ${shown}, and ${looked}; ${describeContainers(all)}`;
}

function describeContainers({ engine, isKnown, containers }: ContainersReport): string {
  if (engine === null) return "containers are known with docker.listen only";
  if (!isKnown) return `the Docker engine at ${engine} has not said which containers run`;
  if (containers.length === 0) return "no container runs";
  const names = containers.slice(0, MAX_NAMED).map((container) => container.name);
  const more = containers.length - names.length;
  return `running: ${names.join(", ")}${more === 0 ? "" : ` and ${more} more`}`;
}
