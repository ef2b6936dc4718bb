import { once } from "node:events";
import { chmodSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { addNamespace, ip, Namespace } from "../../test/vm/namespace.ts";
import type { GuestNetwork, Peer, Start } from "../peers/peer.ts";
import { BASE_PORT, type LoadGenerator, PUBLISHED } from "./load.ts";
import { cpuSeconds, residentBytes } from "./process-table.ts";
import { Program } from "./programs.ts";
import { networkSettings } from "./sandbox.ts";

const READY_MS = 15_000;
const DEVICE = "eth0";
/**
 * Packets that wait in the guest's device. A TAP device drops what does not fit, where a virtual machine's card would
 * make the guest wait, so it holds more than the windows of many flows.
 */
const QUEUE_LENGTH = 10_000;

export interface StartOptions {
  readonly mtu: number;
  /** An existing folder, for the peer's sockets and its log. */
  readonly folder: string;
  /** The program that connects a TAP device to a socket. */
  readonly bridge: string;
  readonly load: LoadGenerator;
}

let started = 0;

/** A peer that runs, and the guest that is attached to it. */
export class RunningPeer {
  readonly peer: Peer;
  readonly guest: Namespace;
  /** From the start of its process until a VM could attach. */
  readonly startSeconds: number;
  /** What it has written. */
  readonly log: string;
  readonly #program: Program;
  readonly #start: Start;

  private constructor(peer: Peer, guest: Namespace, program: Program, start: Start, startSeconds: number, log: string) {
    this.peer = peer;
    this.guest = guest;
    this.startSeconds = startSeconds;
    this.log = log;
    this.#program = program;
    this.#start = start;
  }

  /**
   * Starts a peer with a guest that has an address, a default route and an eth0 of the given MTU, and reaches the host.
   *
   * @throws Error if the peer does not get that far, with its last words
   */
  static async start(peer: Peer, { mtu, folder, bridge, load }: StartOptions): Promise<RunningPeer> {
    started += 1;
    peer.kind.prepare?.();
    const guest = new Namespace(await addNamespace(`guest${started}`));
    const own = join(folder, `${started}-${peer.id}`);
    mkdirSync(own);
    // Some peers turn into an unprivileged user.
    chmodSync(own, 0o777);
    let program: Program | undefined;
    try {
      const commands = networkSettings().map(([path, value]) => `echo "${value}" > /proc/sys/net/${path}`);
      await guest.check(["set -e", ...commands].join("\n"));
      const namespace = join("/run/netns", guest.namespace);
      const start = { command: peer.installation.command, mtu, folder: own, namespace, published: PUBLISHED };
      const { command, descriptor, isReady, socket } = peer.kind.launch(start);
      const log = join(own, "log");
      const began = performance.now();
      program = Program.start(command, { log, descriptor });
      await program.waitUntil(isReady, READY_MS);
      const startSeconds = (performance.now() - began) / 1000;
      if (socket !== undefined) await plugIn(guest, bridge, socket, mtu, peer.kind.network);
      await checkMtu(guest, mtu);
      await ip("-n", guest.namespace, "link", "set", DEVICE, "txqueuelen", String(QUEUE_LENGTH));
      await greet(guest, load, peer.kind.network.host);
      return new RunningPeer(peer, guest, program, start, startSeconds, log);
    } catch (error) {
      await program?.stop();
      await guest.destroy();
      throw new Error(`does not start: ${error instanceof Error ? error.message : String(error)}`);
    }
  }

  /** How its process ended; undefined while it runs. */
  get end(): string | undefined {
    return this.#program.end;
  }

  /** Processor time that it has used so far. */
  get cpuSeconds(): number {
    return cpuSeconds(this.#program.pid);
  }

  get residentBytes(): number {
    return residentBytes(this.#program.pid);
  }

  /** Makes the published port of the host lead to the guest. */
  async publish(): Promise<void> {
    await this.peer.kind.publish?.(this.#start);
  }

  /** Ends it and removes the guest. */
  async stop(): Promise<void> {
    await this.#program.stop();
    await this.guest.destroy();
  }
}

/** Makes the guest's eth0 a TAP device that is connected to a socket. It ends with the peer or with the namespace. */
async function plugIn(guest: Namespace, bridge: string, socket: string, mtu: number, network: GuestNetwork) {
  const cable = guest.spawn(bridge, [DEVICE, socket]);
  let errors = "";
  cable.stderr.setEncoding("utf8").on("data", (text: string) => (errors += text));
  const isReady = await Promise.race([
    once(cable.stdout, "data").then(() => true),
    once(cable, "close").then(() => false),
  ]);
  if (!isReady) throw new Error(`no cable to ${socket}: ${errors.trim()}`);
  const { address, prefixLength, gateway } = network;
  await ip("-n", guest.namespace, "address", "add", `${address}/${prefixLength}`, "dev", DEVICE);
  await ip("-n", guest.namespace, "link", "set", DEVICE, "mtu", String(mtu), "up");
  await ip("-n", guest.namespace, "route", "add", "default", "via", gateway);
}

/** A peer that sets up the device itself may do so a moment after it says that it is ready. */
async function checkMtu(guest: Namespace, mtu: number): Promise<void> {
  let found = "";
  for (let attempt = 0; attempt < 50; attempt += 1) {
    found = await ip("-n", guest.namespace, "-o", "link", "show", "dev", DEVICE, "up");
    if (found.includes(` mtu ${mtu} `)) return;
    await sleep(20);
  }
  throw new Error(`the guest's ${DEVICE} does not have an MTU of ${mtu}: ${found.trim()}`);
}

/** Lets the guest talk to the host: a peer may not know where the guest is before, as this one asks nobody for a lease. */
async function greet(guest: Namespace, load: LoadGenerator, host: string): Promise<void> {
  try {
    await load.run(guest, ["rtt", "--to", `${host}:${BASE_PORT}`, "--count", 1], 1);
  } catch (error) {
    throw new Error(`the guest does not reach the host: ${error instanceof Error ? error.message : String(error)}`);
  }
}
