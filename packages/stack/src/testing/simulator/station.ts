import { type Ipv4, type Mac, parseIpv4 } from "../../address.ts";
import { Stack, type StackHandlers, type StackOptions } from "../../stack.ts";
import { Random } from "../random.ts";
import type { SimulatedLink } from "./link.ts";
import type { Participant, Simulation } from "./simulation.ts";

/** Sees what crosses the boundary between a stack and its link. */
export interface FrameObserver {
  /** The stack sent a frame, whatever becomes of it. */
  sent(frame: Uint8Array, now: number): void;
  /** A frame is about to be handed to the stack. */
  received(frame: Uint8Array, now: number, isCorrupt: boolean): void;
  /** The stack has taken in the frame that was received last. */
  handled?(): void;
}

export interface StationOptions {
  readonly mac: Mac;
  readonly address: Ipv4;
  readonly mtu?: number;
  /** The first sequence number of this side of each connection. */
  readonly firstSequence?: number;
  /** Further options of the stack. */
  readonly stack?: Partial<StackOptions>;
  /** Timers of the owner expire up to so many milliseconds late, as those of an event loop do. */
  readonly lateness?: number;
  /** Whether the stack is also polled where it is not due, which may not change anything. */
  readonly pollsEarly?: boolean;
  readonly observers?: readonly FrameObserver[];
}

/** The network that the simulated hosts are in. */
export const NETWORK = { address: parseIpv4("10.0.0.0"), prefixLength: 24 };

/** Of traffic that is not for the stack itself there is none. */
const NO_HANDLERS: StackHandlers = { tcpRequest: () => {}, udpDatagram: () => {}, echoRequest: () => {} };

/** A stack at one end of a link, and its owner, which hands it frames and time as `StackDriver` does in hostd. */
export class Station implements Participant {
  readonly stack: Stack;
  /** Timers expire up to so many milliseconds late. */
  readonly lateness: number;
  /** Whether the machine has vanished. */
  isGone = false;
  readonly #simulation: Simulation;
  readonly #incoming: SimulatedLink;
  readonly #outgoing: SimulatedLink;
  readonly #observers: readonly FrameObserver[];
  readonly #random: Random;
  readonly #pollsEarly: boolean;
  #late = 0;
  /** The stack asked to be flushed. */
  #isAwake = false;

  constructor(simulation: Simulation, incoming: SimulatedLink, outgoing: SimulatedLink, options: StationOptions) {
    const { mac, address, mtu = 1500, firstSequence = -1000, lateness = 0, pollsEarly = false } = options;
    this.#simulation = simulation;
    this.#incoming = incoming;
    this.#outgoing = outgoing;
    this.#observers = options.observers ?? [];
    this.lateness = lateness;
    this.#pollsEarly = pollsEarly;
    this.#random = new Random(simulation.random.bits());
    const randomBytes = new Random(simulation.random.bits());
    this.stack = new Stack({
      mac,
      addresses: [address],
      network: NETWORK,
      mtu,
      randomBytes: (bytes) => randomBytes.fill(bytes),
      initialSequence: () => firstSequence,
      ...options.stack,
      now: () => simulation.now,
      handlers: NO_HANDLERS,
      wake: () => {
        this.#isAwake = true;
      },
    });
    outgoing.onSent = (frame) => {
      for (const observer of this.#observers) observer.sent(frame, simulation.now);
    };
    this.stack.attach(outgoing);
    simulation.add(this);
  }

  /** Whether nothing is under way on the link, either way. */
  get isQuiet(): boolean {
    return Math.min(this.#incoming.nextArrival, this.#outgoing.nextArrival) === Number.POSITIVE_INFINITY;
  }

  get nextAt(): number {
    const { nextArrival } = this.#incoming;
    if (this.isGone) return nextArrival;
    if (this.#isAwake) return this.#simulation.now;
    return Math.min(nextArrival, this.#outgoing.writableAt, this.stack.nextDeadline + this.#late);
  }

  /** Hands over what has arrived as one batch, then does what is due, then lets the stack send. */
  turn(): void {
    const { now } = this.#simulation;
    for (let frame = this.#incoming.take(); frame !== null; frame = this.#incoming.take()) {
      if (this.isGone) continue;
      for (const observer of this.#observers) observer.received(frame.bytes, now, frame.isCorrupt);
      this.stack.receiveFrame(frame.bytes, frame.view, 0, frame.bytes.length);
      for (const observer of this.#observers) observer.handled?.();
    }
    if (this.isGone) return;
    if (this.#outgoing.writableAt <= now) this.#outgoing.writableAt = Number.POSITIVE_INFINITY;
    if (this.stack.nextDeadline + this.#late <= now) this.#poll();
    else if (this.#pollsEarly && this.stack.nextDeadline > now && this.#random.oneIn(4)) this.#pollEarly();
    this.#flush();
  }

  /** The machine is gone, without a word: nothing leaves it any more, and what arrives is lost. */
  vanish(): void {
    this.stack.detach();
    this.isGone = true;
  }

  #poll(): void {
    const { now } = this.#simulation;
    const deadline = this.stack.nextDeadline;
    this.stack.poll();
    this.#flush();
    if (this.stack.nextDeadline <= now) {
      throw new Error(`the stack was polled at ${now} ms, due since ${deadline}, and is still due`);
    }
    if (this.lateness > 0) this.#late = this.#random.below(this.lateness * 1000) / 1000;
  }

  #pollEarly(): void {
    const { stack } = this;
    // What the link refuses now, it may take the next moment.
    if (!this.#flush()) return;
    const { nextDeadline } = stack;
    const { framesSent } = stack.statistics;
    stack.poll();
    this.#flush();
    if (stack.statistics.framesSent !== framesSent || stack.nextDeadline !== nextDeadline) {
      throw new Error(`a poll at ${this.#simulation.now} ms changed something, though due only at ${nextDeadline}`);
    }
  }

  #flush(): boolean {
    this.#isAwake = false;
    const all = this.stack.flush();
    if (!all && this.#outgoing.writableAt === Number.POSITIVE_INFINITY) {
      throw new Error("the stack stopped sending, and the link did not refuse");
    }
    return all;
  }
}
