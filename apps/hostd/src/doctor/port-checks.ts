/** Checks of the ports of this host that the configuration publishes. */
import { type ForwardRule, formatListen, isSocketPath } from "@hostd/portfwd";
import { expandForward } from "../config/forward.ts";
import { idOf } from "../forwards/forward-book.ts";
import type { ForwardReport } from "../forwards/forward-report.ts";
import { type Finding, failure, messageOf, ok, warning } from "./finding.ts";
import type { Host, Subject } from "./host.ts";
import { lookAtSocket } from "./socket-checks.ts";

/** The most ports that are tried, and that are named in one line. */
const MAX_TRIED = 256;
const MAX_NAMED = 4;
/** Ports below this are for root unless the system is told otherwise. */
const FIRST_UNPRIVILEGED_PORT = 1024;
/** The bit of CAP_NET_BIND_SERVICE (capabilities(7)). */
const CAP_NET_BIND_SERVICE = 1n << 10n;

/** Whether each is free, held by the hostd that runs, or by somebody else. */
export async function checkPorts(host: Host, { config, hostd }: Subject): Promise<Finding[]> {
  const rules = config.forwards.flatMap(expandForward);
  const forwards = await hostd.forwards();
  const held = new Map(forwards.map((forward) => [forward.id, forward]));
  const isHeld = (rule: ForwardRule) => held.has(idOf({ rule, listening: rule.listen }));
  const others = rules.filter((rule) => !isHeld(rule) && (isSocketPath(rule.listen) || rule.listen.port !== 0));
  const tried = others.slice(0, MAX_TRIED);
  const failures = await Promise.all(tried.map((rule) => tryRule(host, config, rule)));
  const free = tried.filter((_, index) => failures[index] === null);
  const listening = forwards.filter(({ state }) => state === "listening");
  return [
    ...summary(
      free.map(({ listen }) => formatListen(listen)),
      "free",
    ),
    ...summary(
      listening.map(({ listen }) => listen),
      "held by the hostd that runs",
    ),
    ...(others.length > tried.length
      ? [ok("ports", `${others.length - tried.length} more ports of the configuration were not tried`)]
      : []),
    ...failures.filter((finding) => finding !== null),
    ...forwards.flatMap(failedForward),
    ...(rules.length === 0 && forwards.length === 0 ? [ok("ports", "none is published")] : []),
  ];
}

async function tryRule(host: Host, config: Subject["config"], rule: ForwardRule): Promise<Finding | null> {
  const { listen } = rule;
  if (!isSocketPath(listen)) {
    return await host.tryForward(config, rule).then(
      () => null,
      (error: unknown) => portFailure(messageOf(error)),
    );
  }
  const found = await lookAtSocket(host, listen.path);
  if (found === "free" || found === "stale") return null;
  const why =
    typeof found === "object" ? found.reason : found === "answers" ? "a process listens there" : "it is no socket";
  return failure("port", `${formatListen(listen)} cannot be listened on: ${why}`, "remove it, or choose another path");
}

/** What to do is behind what is wrong, in parentheses, where the system's reason says something of it. */
function portFailure(message: string): Finding {
  const [, seen, advice = "stop what holds it, or choose another port"] = /^(.*?)(?: \((ports below .*)\))?$/s.exec(
    message,
  ) ?? [message, message];
  return failure("port", seen, advice);
}

function failedForward({ id, state, error = "it does not listen" }: ForwardReport): Finding[] {
  if (state === "listening") return [];
  return [failure("port", `${id}: ${error}`, `hostd tries again; "hostd ports rm ${id}" has it stop`)];
}

function summary(addresses: readonly string[], what: string): Finding[] {
  if (addresses.length === 0) return [];
  const named = addresses.slice(0, MAX_NAMED).join(", ");
  const more = addresses.length > MAX_NAMED ? ` and ${addresses.length - MAX_NAMED} more` : "";
  return [ok("ports", `${named}${more} ${addresses.length === 1 ? "is" : "are"} ${what}`)];
}

/** Which ports this user may listen on. */
export async function checkLowPorts(host: Host, { config }: Subject): Promise<Finding[]> {
  if (host.platform === "darwin") return [ok("low ports", "macOS lets every user listen on ports below 1024")];
  if (host.platform !== "linux") return [];
  const text = await host.readFile("/proc/sys/net/ipv4/ip_unprivileged_port_start");
  const first = Number.parseInt(text, 10);
  if (!(first > 0)) return [ok("low ports", "every port may be listened on (net.ipv4.ip_unprivileged_port_start)")];
  const status = await host.readFile("/proc/self/status");
  const capabilities = BigInt(`0x${/^CapEff:\s*([\da-f]+)$/m.exec(status)?.[1] ?? "0"}`);
  if ((capabilities & CAP_NET_BIND_SERVICE) !== 0n) {
    return [ok("low ports", "every port may be listened on (CAP_NET_BIND_SERVICE)")];
  }
  const low = config.forwards.flatMap(expandForward).flatMap(({ listen }) => {
    return !isSocketPath(listen) && listen.port > 0 && listen.port < first ? [listen.port] : [];
  });
  const seen = `ports below ${first} are for root`;
  if (low.length === 0) return [ok("low ports", `${seen}, and none of them is published`)];
  const lowest = Math.min(...low);
  return [
    warning(
      "low ports",
      `${seen}, and ${lowest} is published`,
      `sysctl -w net.ipv4.ip_unprivileged_port_start=${lowest}, or give node the capability CAP_NET_BIND_SERVICE, or ` +
        `have systemd listen and pass the socket on, or publish from ${FIRST_UNPRIVILEGED_PORT} on`,
    ),
  ];
}
