import { writeFile } from "node:fs/promises";
import { addNamespace, hasEnded, ip, Namespace } from "./namespace.ts";

export type { ExecResult } from "./namespace.ts";

/** Ranges that an outside host may use: documentation (RFC 5737) and 10.0.0.0/8, so that nothing real is shadowed. */
const ALLOWED_PREFIXES = ["192.0.2.", "198.51.100.", "203.0.113.", "10."];

export interface OutsideOptions {
  /** Part of the namespace's name; letters and digits. */
  readonly name: string;
  /** The /24 between the host and the namespace, in an allowed range; the first free one of a few if left out. */
  readonly subnet?: string;
}

/** Tried in this order when no subnet is given. 192.0.2.0/24 comes late because virtual machines do use it. */
const CANDIDATE_SUBNETS = ["198.51.100.0/24", "203.0.113.0/24", "192.0.2.0/24", "10.213.77.0/24", "10.213.78.0/24"];

let created = 0;

/**
 * Makes a host outside: a network namespace that the root namespace reaches over a veth pair. Takes root.
 *
 * What a process of the host sees there: a port nobody listens on refuses; `unusedAddress` is unreachable (no answer to
 * ARP); `dropPort` and `dropAddress` make black holes; `blockRoute` makes a destination that has no route.
 */
export async function createOutside({ name, subnet }: OutsideOptions): Promise<Outside> {
  const namespace = await addNamespace(name);
  try {
    await removeLeftovers();
    const prefix = (await chooseSubnet(name, subnet)).replace("0/24", "");
    created += 1;
    const device = `hv${process.pid}x${created}`;
    const hostAddress = `${prefix}1`;
    const address = `${prefix}2`;
    await ip("link", "add", device, "type", "veth", "peer", "name", "eth0", "netns", namespace);
    // An address nobody has is then unreachable after 0.2 s instead of 3 s.
    const neighbours = `/proc/sys/net/ipv4/neigh/${device}`;
    await writeFile(`${neighbours}/mcast_solicit`, "2");
    await writeFile(`${neighbours}/retrans_time_ms`, "100");
    await ip("addr", "add", `${hostAddress}/24`, "dev", device);
    await ip("link", "set", device, "up");
    await ip("-n", namespace, "addr", "add", `${address}/24`, "dev", "eth0");
    await ip("-n", namespace, "link", "set", "eth0", "up");
    await ip("-n", namespace, "route", "add", "default", "via", hostAddress);
    return new Outside({ namespace, device, hostAddress, address, unusedAddress: `${prefix}254` });
  } catch (error) {
    await ip("netns", "del", namespace);
    throw error;
  }
}

async function chooseSubnet(name: string, wish: string | undefined): Promise<string> {
  if (wish === undefined) {
    for (const subnet of CANDIDATE_SUBNETS) if ((await conflictingRoute(subnet)) === undefined) return subnet;
    throw new Error(`outside "${name}": the host has routes into each of ${CANDIDATE_SUBNETS.join(", ")}`);
  }
  if (!/^\d{1,3}\.\d{1,3}\.\d{1,3}\.0\/24$/.test(wish)) {
    throw new Error(`outside "${name}": subnet "${wish}" must be a /24, such as ${CANDIDATE_SUBNETS[0]}`);
  }
  await checkUsable(`outside "${name}"`, wish);
  return wish;
}

/** Throws unless an address or prefix is in an allowed range and the host has no route of its own there. */
async function checkUsable(what: string, prefix: string, ownDevice?: string): Promise<void> {
  if (!ALLOWED_PREFIXES.some((allowed) => prefix.startsWith(allowed))) {
    throw new Error(`${what}: ${prefix} is not in ${ALLOWED_PREFIXES.join("* ")}*`);
  }
  const route = await conflictingRoute(prefix, ownDevice);
  if (route !== undefined) throw new Error(`${what}: the host already has a route for ${prefix}: ${route}`);
}

/** A route of the host, other than the default, that overlaps a prefix: taking it over could cut the machine off. */
async function conflictingRoute(prefix: string, ownDevice?: string): Promise<string | undefined> {
  const routes = `${await ip("-4", "route", "show", "root", prefix)}\n${await ip("-4", "route", "show", "match", prefix)}`;
  const isOther = (route: string) =>
    route !== "" && !route.startsWith("default") && (ownDevice === undefined || !route.includes(` dev ${ownDevice} `));
  return routes.split("\n").find(isOther);
}

/** The metric marks a route as made by one process, so that another can tell whether it is left over. */
const ROUTE_PROTOCOL = "173";

/** Removes the links and routes of processes that did not do so before they ended. */
async function removeLeftovers(): Promise<void> {
  // Another run may be removing the same.
  const ignoreGone = () => {};
  for (const line of (await ip("-o", "link", "show", "type", "veth")).split("\n")) {
    const [, device, pid] = /^\d+: (hv(\d+)x\d+)@/.exec(line) ?? [];
    if (device !== undefined && hasEnded(pid)) await ip("link", "del", device).catch(ignoreGone);
  }
  for (const line of (await ip("route", "show", "proto", ROUTE_PROTOCOL)).split("\n")) {
    const [, kind, target, metric] = /^(\w+) (\S+).* metric (\d+)/.exec(line) ?? [];
    if (kind !== undefined && target !== undefined && metric !== undefined && hasEnded(metric)) {
      await ip("route", "del", kind, target, "metric", metric).catch(ignoreGone);
    }
  }
}

/** A host outside, made by {@link createOutside}. */
export class Outside extends Namespace {
  /** The host's end of the veth pair, for captures. The outside's end is eth0. */
  readonly device: string;
  /** Address of the host in the subnet (.1). */
  readonly hostAddress: string;
  /** Address of the outside (.2). */
  readonly address: string;
  /** An address of the subnet that nobody has (.254): EHOSTUNREACH after about 0.2 s. */
  readonly unusedAddress: string;
  readonly #blocked: string[][] = [];

  constructor(names: Pick<Outside, "namespace" | "device" | "hostAddress" | "address" | "unusedAddress">) {
    super(names.namespace);
    this.device = names.device;
    this.hostAddress = names.hostAddress;
    this.address = names.address;
    this.unusedAddress = names.unusedAddress;
  }

  /** Gives the outside one more address, on its side of the veth, and the host a route to it. */
  async addAddress(address: string): Promise<void> {
    await checkUsable("addAddress", address, this.device);
    await ip("-n", this.namespace, "addr", "add", `${address}/32`, "dev", "eth0");
    // In the subnet itself the host finds it by ARP.
    const route = await ip("route", "get", address);
    if (!route.includes(` dev ${this.device} `)) await ip("route", "add", `${address}/32`, "via", this.address);
  }

  /** From now on the outside swallows what is sent to a port: a black hole. */
  async dropPort(protocol: "tcp" | "udp", port: number): Promise<void> {
    await this.check(`iptables -w -A INPUT -p ${protocol} --dport ${port} -j DROP`);
  }

  /** From now on the outside swallows everything that is sent to one of its addresses; gives it the address if needed. */
  async dropAddress(address: string): Promise<void> {
    if ((await this.exec(`ip -o addr show to ${address}`)).stdout === "") await this.addAddress(address);
    await this.check(`iptables -w -A INPUT -d ${address} -j DROP`);
  }

  /**
   * Gives the host a route that refuses a destination: `unreachable` answers EHOSTUNREACH, `prohibit` EACCES and `throw`
   * ENETUNREACH, each at once. Traffic of the host to it fails until `destroy`.
   *
   * @param destination - an address or prefix in a documentation range or 10.0.0.0/8
   */
  async blockRoute(destination: string, kind: "unreachable" | "prohibit" | "throw" = "throw"): Promise<void> {
    await checkUsable("blockRoute", destination, this.device);
    const route = [kind, destination, "metric", String(process.pid), "proto", ROUTE_PROTOCOL];
    await ip("route", "add", ...route);
    this.#blocked.push(route);
  }

  /** Ends what runs inside and removes the namespace, the veth pair and the routes. */
  override async destroy(): Promise<void> {
    for (const route of this.#blocked.splice(0)) await ip("route", "del", ...route);
    // With the namespace alone the pair would go too, but some time later.
    await ip("link", "del", this.device);
    await super.destroy();
  }
}
