/** What of this host leads into VMs, for people. */
import type { ForwardReport } from "../forwards/forward-report.ts";
import { UsageError } from "./api-client.ts";
import { type Column, formatCount, formatTable, type TableStyle } from "./table.ts";

/** How many forwards an error names. */
const MAX_NAMED = 10;

export function describeForwards(forwards: readonly ForwardReport[], style?: TableStyle): string[] {
  if (forwards.length === 0) return ['No port leads into a VM; "hostd ports add 8080:80" opens one.'];
  const columns: Column<ForwardReport>[] = [
    { title: "ID", cell: ({ id }) => id },
    { title: "LEADS TO", cell: ({ to }) => targetText(to) },
    { title: "ORIGIN", cell: ({ origin, persist }) => (persist ? `${origin}, persists` : origin) },
    { title: "STATE", cell: ({ state }) => state },
    { title: "OPEN", cell: (forward) => connections(forward).open, isRight: true },
    { title: "SERVED", cell: (forward) => connections(forward).served, isRight: true, isOptional: true },
    { title: "NOT SERVED", cell: (forward) => connections(forward).notServed, isRight: true, isOptional: true },
  ];
  const failed = forwards.flatMap(({ id, error }) => (error === undefined ? [] : [`${id}: ${error}`]));
  return [...formatTable(columns, forwards, style), ...(failed.length === 0 ? [] : ["", ...failed])];
}

/** What was opened, a line for each. */
export function describeOpened(forwards: readonly ForwardReport[]): string[] {
  return forwards.map(({ id, to }) => `${id} leads to ${targetText(to)}`);
}

/** Where in the VM it leads: a port alone is one of the VM itself. */
export function targetText(to: string): string {
  return /^\d+$/.test(to) ? `vm:${to}` : to;
}

/**
 * The forward that `given` means: its id, or its port, address and port, or path, where one alone has that. `/tcp` or
 * `/udp` at the end says which protocol.
 *
 * @throws {UsageError} when several have it.
 * @throws {Error} when none has.
 */
export function findForward<Forward extends Pick<ForwardReport, "id" | "protocol" | "listen">>(
  forwards: readonly Forward[],
  given: string,
): Forward {
  const byId = forwards.find(({ id }) => id === given);
  if (byId !== undefined) return byId;
  const [, place, protocol] = /^(.*?)(?:\/(tcp|udp))?$/s.exec(given) ?? ["", given];
  const found = forwards.filter((forward) => {
    return (protocol === undefined || forward.protocol === protocol) && isAt(forward.listen, place);
  });
  if (found.length === 1) return found[0];
  if (found.length > 1) throw new UsageError(`${given} may be any of ${idsOf(found)}: name one of them`);
  throw new Error(
    `there is no forward ${given}; ${forwards.length === 0 ? "there is none" : `there are ${idsOf(forwards)}`}`,
  );
}

/** The ids, but for those of a long list. */
function idsOf(forwards: readonly { readonly id: string }[]): string {
  const ids = forwards.slice(0, MAX_NAMED).map(({ id }) => id);
  const more = forwards.length - ids.length;
  return more === 0 ? ids.join(", ") : `${ids.join(", ")} and ${more} more`;
}

/** Whether `place` is a port, an address and port, or a path that `listen` has. */
function isAt(listen: string, place: string): boolean {
  if (listen.startsWith("unix://")) return listen === place || listen === `unix://${place}`;
  return listen === place.replace(/^\*:/, ":") || (/^\d+$/.test(place) && listen.endsWith(`:${place}`));
}

type Statistics = NonNullable<ForwardReport["statistics"]>;
type StreamStatistics = Extract<Statistics, { open: number }>;

/** The connections or, for datagrams, clients. Of clients that are gone nothing is counted. */
function connections({ statistics }: ForwardReport): { open: string; served: string; notServed: string } {
  if (statistics === undefined) return { open: "-", served: "-", notServed: "-" };
  if (!isOfStream(statistics)) return { open: formatCount(statistics.flows), served: "-", notServed: "-" };
  const { open, connected, refused, failed, droppedNoVm, droppedPending, droppedLimit } = statistics;
  const notServed = refused + failed + droppedNoVm + droppedPending + droppedLimit;
  return { open: formatCount(open), served: formatCount(connected), notServed: formatCount(notServed) };
}

function isOfStream(statistics: Statistics): statistics is StreamStatistics {
  return "connected" in statistics;
}
