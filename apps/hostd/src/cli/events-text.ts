/** What happens in hostd, for people. */
import type { HostdEvent } from "../control/event-hub.ts";
import { targetText } from "./ports-text.ts";
import { printable } from "./table.ts";

/** An event on one line, with the local time. */
export function describeEvent(event: HostdEvent): string {
  return printable(`${localTime(new Date(event.time))}  ${sentence(event)}`);
}

function sentence(event: HostdEvent): string {
  switch (event.type) {
    case "vm.attached":
      return `VM ${event.vm} attached`;
    case "vm.detached":
      return `VM ${event.vm} detached${event.fault === undefined ? "" : `: ${event.fault}`}`;
    case "vm.address":
      return `VM ${event.vm} has ${event.address} (${event.mac})`;
    case "lease.granted":
      return `${event.address} leased to ${event.mac}${event.host === undefined ? "" : ` (${event.host})`}`;
    case "lease.released":
      return `${event.address} released by ${event.mac}`;
    case "forward.added":
      return `${event.id} leads to ${targetText(event.to)} (${event.origin})`;
    case "forward.removed":
      return `${event.id} leads nowhere any more (${event.origin})`;
    case "forward.failed":
      return `${event.id} cannot be opened: ${event.error} (${event.origin})`;
    case "zone.added":
      return `zone ${event.zone} added`;
    case "zone.removed":
      return `zone ${event.zone} removed`;
    case "proxy.changed":
      return `proxy settings changed: ${proxyText(event)}, from ${event.from}`;
    case "config.reloaded":
      return `configuration read again: ${event.changed.length === 0 ? "nothing" : event.changed.join(", ")} changed`;
    default:
      return unknownEvent(event);
  }
}

function proxyText({ http, https, pac }: Extract<HostdEvent, { readonly type: "proxy.changed" }>): string {
  if (pac !== null) return `the PAC script ${pac}`;
  const text = (servers: readonly string[]) => (servers.length === 0 ? "direct" : servers.join(", "));
  return text(http) === text(https) ? text(http) : `${text(http)} for plain HTTP, ${text(https)} for HTTPS`;
}

/** An event of a hostd that is newer than this command. */
function unknownEvent(event: object): string {
  const { type, time: _, ...fields } = { type: "", time: "", ...event };
  return [type, ...Object.entries(fields).map(([name, value]) => `${name}=${JSON.stringify(value)}`)].join(" ");
}

/** Such as `2026-11-05 14:03:09`. */
function localTime(time: Date): string {
  const two = (part: number) => String(part).padStart(2, "0");
  const date = [time.getFullYear(), two(time.getMonth() + 1), two(time.getDate())].join("-");
  return `${date} ${[time.getHours(), time.getMinutes(), time.getSeconds()].map(two).join(":")}`;
}
