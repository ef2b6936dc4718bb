/** Checks of this host: Node, and what the system allows. */
import { type Finding, messageOf, ok, warning } from "./finding.ts";
import type { Host, Subject } from "./host.ts";

/** The oldest Node that hostd runs on. */
const OLDEST_NODE = 24;
/** Files that hostd has open beside those of flows: its sockets, and what Node itself needs. */
const OWN_FILES = 100;
/** What Linux gives unless it was told otherwise; with less, data is lost that hostd would have read a moment later. */
const DEFAULT_BUFFER = 212_992;
/** Clients that hostd asks the kernel to hold for each published port. */
const BACKLOG = 4096;

export function checkNode({ nodeVersion, platform, arch }: Host): Finding[] {
  const seen = `Node ${nodeVersion} on ${platform} ${arch}`;
  if (Number.parseInt(nodeVersion, 10) >= OLDEST_NODE) return [ok("node", seen)];
  return [{ name: "node", status: "failure", seen, advice: `install Node ${OLDEST_NODE} or newer` }];
}

export function checkSystemCalls(host: Host): Finding[] {
  const reason = host.whyNoSystemCalls();
  if (reason === null) return [ok("system calls", "koffi is there")];
  return [
    warning(
      "system calls",
      reason,
      "install koffi beside hostd (npm install koffi): without it pings of the VM get no answer from beyond this host, " +
        "and the send buffer of the VM's socket stays as small as the system makes it",
    ),
  ];
}

export function checkOpenFiles({ openFiles }: Host, { config }: Subject): Finding[] {
  const { egress, publish } = config;
  const needed = egress.tcp.maxFlows + egress.udp.maxFlows + publish.maxConnections + publish.maxUdpFlows + OWN_FILES;
  const limit = Number.isFinite(openFiles) ? `${format(openFiles)} open files are allowed` : "no limit";
  if (openFiles >= needed) return [ok("open files", `${limit}; one VM may take ${format(needed)}`)];
  return [
    warning(
      "open files",
      `${limit}, and one VM may take ${format(needed)}: further connections fail then`,
      `allow more where hostd is started ("ulimit -n ${needed}", or LimitNOFILE=${needed} in a unit of systemd), or ` +
        "lower egress.tcp.maxFlows, egress.udp.maxFlows and publish.maxConnections in the configuration",
    ),
  ];
}

export async function checkPing(host: Host, { config }: Subject): Promise<Finding[]> {
  if (!config.egress.icmp) return [ok("ping", "switched off by the configuration (egress.icmp)")];
  const refusal = host.tryPing();
  if (refusal === null) return [ok("ping", "the VM may ping other hosts")];
  // That there are no system calls is said by another check.
  if (refusal.code === null) return [];
  const advice = "allow it to all groups: sysctl -w net.ipv4.ping_group_range='0 2147483647'";
  const range = await host.readFile("/proc/sys/net/ipv4/ping_group_range").catch(() => null);
  const seen =
    range === null
      ? refusal.reason
      : `the kernel refuses it (${refusal.code}): net.ipv4.ping_group_range is ${range.trim().split(/\s+/).join(" to ")}`;
  return [warning("ping", `pings of the VM get no answer from beyond this host: ${seen}`, advice)];
}

/** What the kernel holds for sockets whose owner has not read yet. */
export async function checkSocketLimits(host: Host): Promise<Finding[]> {
  const { buffers, backlog } = host.platform === "darwin" ? MACOS_LIMITS : LINUX_LIMITS;
  const values = await readLimits(host, [...buffers, backlog]);
  if (typeof values === "string") return [warning("socket limits", values, "look with sysctl")];
  const tight = buffers.filter((name) => (values.get(name) ?? 0) < DEFAULT_BUFFER);
  const queue = values.get(backlog) ?? 0;
  const seen = [...values].map(([name, value]) => `${name.split(".").at(-1)} ${format(value)}`).join(", ");
  const advice = [
    ...tight.map((name) => `sysctl -w ${name}=${DEFAULT_BUFFER}`),
    ...(queue < BACKLOG && host.platform !== "darwin" ? [`sysctl -w ${backlog}=${BACKLOG}`] : []),
  ];
  if (advice.length === 0) return [ok("socket limits", seen)];
  return [
    warning(
      "socket limits",
      `${seen}: datagrams and new connections that come in a burst are lost`,
      `raise what is low: ${advice.join("; ")}`,
    ),
  ];
}

const LINUX_LIMITS = { buffers: ["net.core.rmem_max", "net.core.wmem_max"], backlog: "net.core.somaxconn" };
const MACOS_LIMITS = { buffers: ["kern.ipc.maxsockbuf"], backlog: "kern.ipc.somaxconn" };

/** The values by their names, or why they are not known. */
async function readLimits(host: Host, names: readonly string[]): Promise<Map<string, number> | string> {
  try {
    const values = await Promise.all(
      names.map(async (name): Promise<[string, number]> => {
        const text =
          host.platform === "darwin"
            ? await host.run("/usr/sbin/sysctl", ["-n", name])
            : await host.readFile(`/proc/sys/${name.replaceAll(".", "/")}`);
        const value = Number.parseInt(text, 10);
        if (Number.isNaN(value)) throw new Error(`${name} is ${JSON.stringify(text.trim())}`);
        return [name, value];
      }),
    );
    return new Map(values);
  } catch (error) {
    return messageOf(error);
  }
}

function format(count: number): string {
  return count.toLocaleString("en");
}
