import { once } from "node:events";
import { accessSync, constants } from "node:fs";
import { join } from "node:path";
import { findCommand, isContinuousIntegration, isRoot } from "../vm/host-packages.ts";
import { addConfiguration, addNamespace, ip, Namespace } from "../vm/namespace.ts";

export interface TapGuestOptions {
  /** Path of the Unix socket where hostd serves QEMU's framing. */
  readonly socket: string;
  /** Part of the namespace's name; letters and digits. */
  readonly name: string;
  /** Hardware address of the guest's eth0. */
  readonly mac?: string;
}

const BRIDGE = join(import.meta.dirname, "bridge.ts");
const DHCP_SCRIPT = join(import.meta.dirname, "udhcpc.script");
/** The kernel drops what does not fit into the device's queue, so it holds more than the windows of a test's flows. */
const QUEUE_LENGTH = 50_000;

/**
 * Whether this host can have TAP guests. It says in one line why not; with CI=true that is an error instead.
 *
 * @throws Error with CI=true if there can be none
 */
export function tapGuestsAreAvailable(): boolean {
  const reason = reasonAgainst();
  if (reason === undefined) return true;
  const message = `tests with TAP guests are skipped: ${reason}`;
  if (isContinuousIntegration()) throw new Error(`with CI=true nothing may be skipped, but ${message}`);
  process.stderr.write(`${message}\n`);
  return false;
}

function reasonAgainst(): string | undefined {
  if (process.platform !== "linux") return `they need Linux, the host runs ${process.platform}`;
  if (!isRoot()) return "making a network namespace takes root; run: sudo npm test";
  if (["ip", "ss", "busybox", "tshark"].some((command) => findCommand(command) === undefined)) {
    return "missing on this host; run: apt-get install --no-install-recommends iproute2 busybox tshark";
  }
  try {
    accessSync("/dev/net/tun", constants.R_OK | constants.W_OK);
  } catch {
    return "there is no /dev/net/tun; run: modprobe tun";
  }
  return undefined;
}

/**
 * A guest without a machine: a network namespace whose eth0 is a TAP device, with hostd at the end of its cable. The
 * host's kernel is the guest's, so it is a real TCP peer at the speed of the host, and programs of the host run in it.
 */
export class TapGuest extends Namespace {
  /**
   * Attaches a guest to hostd and gets it a lease: address, default route, MTU and name server.
   *
   * @throws Error if hostd does not let it attach, or gives it no lease
   */
  static async create({ socket, name, mac = "52:54:00:12:34:56" }: TapGuestOptions): Promise<TapGuest> {
    const guest = new TapGuest(await addNamespace(name));
    try {
      const resolvConf = await addConfiguration(guest.namespace, "resolv.conf");
      await guest.#plugIn(socket);
      await ip("-n", guest.namespace, "link", "set", "eth0", "address", mac, "txqueuelen", String(QUEUE_LENGTH), "up");
      await guest.check(`RESOLV_CONF=${resolvConf} busybox udhcpc -i eth0 -n -q -f -O mtu -s ${DHCP_SCRIPT}`);
      return guest;
    } catch (error) {
      await guest.destroy();
      throw error;
    }
  }

  /** Starts the bridge, which makes eth0, and waits until it is connected. It ends with the namespace or with hostd. */
  async #plugIn(socket: string): Promise<void> {
    const bridge = this.spawn("env", ["UV_THREADPOOL_SIZE=1", process.execPath, BRIDGE, socket, "eth0"]);
    if (bridge.stdout === null || bridge.stderr === null) throw new Error("the bridge has no pipes");
    let errors = "";
    bridge.stderr.setEncoding("utf8").on("data", (text: string) => (errors += text));
    const isReady = await Promise.race([
      once(bridge.stdout, "data").then(() => true),
      once(bridge, "close").then(() => false),
    ]);
    if (!isReady) throw new Error(`no cable from ${this.namespace} to ${socket}: ${errors.trim()}`);
  }
}
