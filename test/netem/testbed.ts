import { copyFileSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { DHCP_CLIENTS } from "../vm/guest-commands.ts";
import { HostdProcess, makeFolder } from "../vm/hostd-process.ts";
import type { VmImage } from "../vm/image.ts";
import { Vm } from "../vm/vm.ts";
import type { Cell, Path } from "./paths.ts";
import { TransferServer } from "./transfer-server.ts";

/** Rate of a lane each way, in Mbit/s: a small part of what the emulated machine forwards. */
export const RATE = 20;
/** The queue in front of that rate, in packets: 60 ms of full ones. */
export const QUEUE = 100;
/** Packets that tbf lets out at once after a pause: 12 ms of full ones, so that a late timer costs no goodput. */
export const BURST = 20;
/** Pairs of lanes, one to hostd and one to Linux, that can carry transfers at the same time. */
export const PAIRS = 8;

/** Who is at the other end of the guest's connections: hostd, or a second Linux kernel. */
export const PEERS = ["linux", "hostd"] as const;
export type Peer = (typeof PEERS)[number];

/** A transfer ends when all is received, or after so many seconds from its first byte. */
export interface TransferLimits {
  readonly bytes: number;
  readonly seconds: number;
}

/** Goodput of one transfer as its receiver saw it in Mbit/s, or why it failed. */
export interface Transfer {
  readonly peer: Peer;
  readonly goodput: number;
  readonly failure: string | null;
}

export interface TestbedOptions {
  readonly image: VmImage;
  /** Names the logs in test/output. */
  readonly name: string;
  /** Where hostd shall write a capture of every frame. */
  readonly capture?: string | undefined;
}

/** hostd's name for the host's loopback. */
const HOST = "192.168.65.254";
const LINUX = "10.90.255.2";
const LINUX_PORT = 5001;
const TOOL = "/tmp/transfer.py";
/** The largest Ethernet frame on a link with an MTU of 1500 bytes, as a queueing discipline counts it. */
const FRAME = 1514;

/**
 * A real VM whose connections cross a shaped link: to hostd, and to a second Linux kernel over the same link.
 *
 * In the guest, the namespace `app` has the clients. Lanes, which are veth pairs of their own, join it to the root
 * namespace, each with netem on both ends. The root namespace routes to hostd by eth0, and to the namespace `linux` by a
 * veth pair without a shape, so either connection has the same link and one router on its way. No address is
 * translated.
 */
export class NetemTestbed {
  readonly #vm: Vm;
  readonly #server: TransferServer;
  readonly #resources: AsyncDisposableStack;
  #rounds = 0;

  private constructor(vm: Vm, server: TransferServer, resources: AsyncDisposableStack) {
    this.#vm = vm;
    this.#server = server;
    this.#resources = resources;
  }

  /** Starts the server, hostd and the VM, and builds the lanes. */
  static async create({ image, name, capture }: TestbedOptions): Promise<NetemTestbed> {
    await using resources = new AsyncDisposableStack();
    const folder = resources.adopt(makeFolder(name), (path) => rmSync(path, { recursive: true, force: true }));
    const socket = join(folder, "vm.sock");
    const args = ["--qemu", `unix://${socket}`, "--state", join(folder, "state"), "--log-level", "info"];
    if (capture !== undefined) {
      // hostd writes where it may, which FILE need not be.
      const path = join(folder, "capture.pcap");
      args.push("--capture", path);
      resources.defer(() => copyFileSync(path, capture));
    }
    const hostd = await HostdProcess.start(name, args);
    resources.defer(async () => void (await hostd.stop()));
    const server = resources.adopt(await TransferServer.start(), (each) => each.close());
    const netdev = `stream,id=n0,addr.type=unix,addr.path=${socket}`;
    const vm = await Vm.boot({ image, netdev, name });
    resources.defer(async () => void (await vm.kill()));
    await build(vm);
    return new NetemTestbed(vm, server, resources.move());
  }

  /** Ends all of it. The capture, if there is one, is complete after that. */
  async close(): Promise<void> {
    await this.#resources.disposeAsync();
  }

  /** Makes every lane a path, in both directions. */
  async shape({ roundTrip, netem }: Path): Promise<void> {
    // netem loses, delays and reorders; what is left goes into the queue in front of the rate. The limit of netem itself
    // holds what is under way, and is never reached.
    const commands = lanes().flatMap((lane) => [
      // A discipline in between, because a change of netem keeps packets and settings.
      `qdisc replace dev ${lane} root handle 2: pfifo`,
      `qdisc replace dev ${lane} root handle 1: netem limit 10000 delay ${roundTrip / 2}ms ${netem}`,
      `qdisc replace dev ${lane} parent 1:1 handle 10: tbf rate ${RATE}mbit burst ${BURST * FRAME} limit ${QUEUE * FRAME}`,
      `qdisc replace dev ${lane} parent 10:1 pfifo limit ${QUEUE}`,
    ]);
    await this.#vm.check("tee /tmp/shape | tc -batch - && tc -n app -batch /tmp/shape", { stdin: commands.join("\n") });
  }

  /**
   * Carries one transfer to hostd and one to Linux in each of some pairs of lanes, all at the same time.
   *
   * @throws Error if the guest's tool fails, or if netem saw larger packets than a wire carries
   */
  async round(direction: Cell["direction"], pairs: number, limits: TransferLimits): Promise<Transfer[]> {
    // The lanes change sides from round to round.
    this.#rounds += 1;
    const peers = lanes(2 * pairs).map((lane, index) => ({ lane, peer: PEERS[(index + this.#rounds) % 2]! }));
    const targets = peers.map(({ lane, peer }) => {
      return `${lane}=${peer === "hostd" ? `${HOST}:${this.#server.port}` : `${LINUX}:${LINUX_PORT}`}`;
    });
    const command = `${inNamespace("app")} ${direction} ${limits.bytes} ${limits.seconds} ${targets.join(" ")}`;
    const { stdout } = await this.#vm.check(command, { timeoutMs: (limits.seconds + 60) * 1000 });
    await this.#checkPackets();
    return peers.map(({ lane, peer }) => {
      const result = new RegExp(`^${lane} (?:failed (?<why>.*)|(?<bytes>\\d+) (?<ns>\\d+))$`, "m").exec(stdout)?.groups;
      if (result?.ns === undefined) return { peer, goodput: 0, failure: result?.why ?? "no result" };
      return { peer, goodput: (Number(result.bytes) * 8000) / Number(result.ns), failure: null };
    });
  }

  /** Fails if a queueing discipline has seen packets that are, on an average, larger than a frame. */
  async #checkPackets(): Promise<void> {
    const { stdout } = await this.#vm.check("tc -s qdisc show; tc -n app -s qdisc show");
    for (const [, lane, bytes, packets] of stdout.matchAll(/netem 1: dev (\S+) .*\n Sent (\d+) bytes (\d+) pkt/g)) {
      if (Number(bytes) <= Number(packets) * FRAME) continue;
      throw new Error(`${lane} carried ${bytes} bytes in ${packets} packets: not every one is a frame of its own`);
    }
  }
}

/** Gets the guest its lease, and makes its namespaces, the lanes and Linux's server. */
async function build(vm: Vm): Promise<void> {
  await vm.check(DHCP_CLIENTS.udhcpc);
  await vm.check(`cat >${TOOL}`, { stdin: readFileSync(join(import.meta.dirname, "transfer.py")) });
  // gso_max_segs keeps a sender, and GRO a router, from making one large packet of many, which one loss would take.
  const commands = lanes().flatMap((lane, index) => [
    `link add ${lane} gso_max_segs 1 type veth peer name ${lane} gso_max_segs 1 netns app`,
    `addr add 10.90.${index}.1/24 dev ${lane}`,
    `link set ${lane} up`,
  ]);
  const inside = lanes().flatMap((lane, index) => [
    `addr add 10.90.${index}.2/24 dev ${lane}`,
    `link set ${lane} up`,
    `route add default via 10.90.${index}.1 dev ${lane} metric ${index + 1}`,
  ]);
  const script = [
    "set -e",
    "modprobe -a sch_netem sch_tbf veth",
    "ip netns add app",
    "ip netns add linux",
    `ip -batch - <<'END'\n${commands.join("\n")}\nEND`,
    `ip -n app -batch - <<'END'\n${inside.join("\n")}\nEND`,
    "ip link add linux gso_max_segs 1 type veth peer name eth0 gso_max_segs 1 netns linux",
    `ip addr add 10.90.255.1/24 dev linux`,
    `ip link set linux up`,
    `ip -n linux addr add ${LINUX}/24 dev eth0`,
    "ip -n linux link set eth0 up",
    "ip -n linux route add default via 10.90.255.1",
    "ethtool -K eth0 gro off",
    "sysctl -qw net.ipv4.ip_forward=1",
    // Each connection begins without what the one before it has learned about the path.
    "for name in app linux; do",
    "  ip netns exec $name sysctl -qw net.ipv4.tcp_no_metrics_save=1 net.ipv4.tcp_congestion_control=cubic",
    "done",
  ];
  await vm.check("bash -s", { stdin: script.join("\n") });
  const server = vm.spawn(`exec ${inNamespace("linux")} serve ${LINUX_PORT}`, 86_400_000);
  await server.waitForOutput(/ready/);
}

function lanes(count = 2 * PAIRS): string[] {
  return Array.from({ length: count }, (_, index) => `lane${index}`);
}

/** The command that runs the tool in a namespace of the guest. */
function inNamespace(name: string): string {
  return `ip netns exec ${name} python3 -I -S ${TOOL}`;
}
