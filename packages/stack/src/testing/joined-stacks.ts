import { parseIpv4, parseMac } from "../address.ts";
import type { FrameSink } from "../link.ts";
import { Stack, type StackHandlers } from "../stack.ts";
import type { TcpFlow } from "../tcp/flow.ts";
import type { TcpLimits } from "../tcp/tcp.ts";
import { FlowLog } from "./flow-log.ts";
import { pattern, Random } from "./random.ts";

export const LEFT = parseIpv4("10.0.0.1");
export const RIGHT = parseIpv4("10.0.0.2");

/** What the link between the two stacks does to frames. Each is one in so many, 0 for never. */
export interface Faults {
  readonly lost?: number;
  /** Held back by up to 3 ms, so that later ones overtake. */
  readonly late?: number;
  readonly twice?: number;
  /** Refused by the sender's side of the link, until the next turn. */
  readonly refused?: number;
}

export interface JoinedOptions extends Faults {
  readonly seed: number;
  readonly mtu?: number;
  /** The first sequence numbers of the left and the right side. */
  readonly firstSequences?: readonly [number, number];
  readonly tcpLimits?: Partial<TcpLimits>;
}

/** How long a frame is under way, in milliseconds. */
const DELAY_MS = 0.25;
/** Bytes of an ARP frame. They are spared: three lost ones in a row end a dial. */
const ARP_FRAME = 42;

interface FrameInFlight {
  readonly arrivesAt: number;
  readonly frame: Uint8Array;
}

/** One stack and its side of the link. */
class End implements FrameSink {
  readonly bytes = new Uint8Array(70_000);
  readonly view = new DataView(this.bytes.buffer);
  readonly stack: Stack;
  /** Frames on their way to this end, the next to arrive first. */
  readonly arriving: FrameInFlight[] = [];
  other: End = this;
  readonly #joined: JoinedStacks;

  constructor(joined: JoinedStacks, options: JoinedOptions, side: 0 | 1, handlers: StackHandlers) {
    this.#joined = joined;
    const random = new Random(options.seed + side);
    const first = options.firstSequences?.[side] ?? -1000;
    this.stack = new Stack({
      mac: parseMac(`02:00:00:00:00:0${side + 1}`),
      addresses: [side === 0 ? LEFT : RIGHT],
      network: { address: parseIpv4("10.0.0.0"), prefixLength: 24 },
      mtu: options.mtu ?? 1500,
      now: () => joined.now,
      randomBytes: (bytes) => random.fill(bytes),
      initialSequence: () => first,
      tcpLimits: options.tcpLimits ?? {},
      handlers,
      wake: () => {},
    });
    this.stack.attach(this);
  }

  reserve(length: number): number {
    return length > this.bytes.length || this.#happens("refused", length) ? -1 : 6;
  }

  commit(length: number): void {
    if (this.#happens("lost", length)) return;
    const copies = this.#happens("twice", length) ? 2 : 1;
    for (let copy = 0; copy < copies; copy++) {
      const late = this.#happens("late", length) ? this.#joined.random.below(3000) / 1000 : 0;
      this.other.expect({ arrivesAt: this.#joined.now + DELAY_MS + late, frame: this.bytes.slice(6, 6 + length) });
    }
  }

  #happens(fault: keyof Faults, length: number): boolean {
    return length !== ARP_FRAME && this.#joined.happens(fault);
  }

  expect(inFlight: FrameInFlight): void {
    let at = this.arriving.length;
    while (at > 0 && this.arriving[at - 1].arrivesAt > inFlight.arrivesAt) at--;
    this.arriving.splice(at, 0, inFlight);
  }

  /** Takes in what has arrived, as one batch, and does what is due. */
  turn(): void {
    const { now } = this.#joined;
    while (this.arriving.length > 0 && this.arriving[0].arrivesAt <= now) {
      const { frame } = this.arriving.shift() as FrameInFlight;
      this.stack.receiveFrame(frame, new DataView(frame.buffer), 0, frame.length);
    }
    if (this.stack.nextDeadline <= now) this.stack.poll();
    while (!this.stack.flush()) {}
  }

  get nextAt(): number {
    return Math.min(this.stack.nextDeadline, this.arriving[0]?.arrivesAt ?? Number.POSITIVE_INFINITY);
  }
}

/** Two stacks at the ends of one link, in time that moves by itself. Whoever listens accepts. */
export class JoinedStacks {
  readonly left: Stack;
  readonly right: Stack;
  readonly random: Random;
  now = 1000;
  readonly #options: JoinedOptions;
  readonly #ends: readonly End[];

  /** @param accepts - gives the owner of each connection that the left side opens. */
  constructor(options: JoinedOptions, accepts: () => Transfer) {
    this.#options = options;
    this.random = new Random(options.seed);
    const handlers: StackHandlers = {
      tcpRequest: () => {},
      udpDatagram: () => {},
      echoRequest: () => {},
    };
    const left = new End(this, options, 0, handlers);
    const right = new End(this, options, 1, handlers);
    left.other = right;
    right.other = left;
    this.#ends = [left, right];
    this.left = left.stack;
    this.right = right.stack;
    right.stack.tcpListen(RIGHT, 80, (request) => {
      const transfer = accepts();
      transfer.flow = request.accept(transfer.log);
    });
  }

  happens(fault: keyof Faults): boolean {
    const chance = this.#options[fault] ?? 0;
    return chance > 0 && this.random.oneIn(chance);
  }

  /** Opens a connection from the left to the right. */
  connect(transfer: Transfer): void {
    const tuple = { localAddress: LEFT, localPort: 0, remoteAddress: RIGHT, remotePort: 80 };
    transfer.flow = this.left.tcpDial(tuple, transfer.log);
  }

  /**
   * Lets time go on until `done`.
   *
   * @throws {Error} when that takes more than ten minutes of the stacks' time.
   */
  run(done: () => boolean, everyTurn: () => void = () => {}): void {
    const end = this.now + 600_000;
    for (const each of this.#ends) each.turn();
    while (!done()) {
      const next = Math.min(...this.#ends.map((each) => each.nextAt));
      if (next > end) throw new Error("the stacks do not come to an end");
      this.now = Math.max(this.now, next);
      everyTurn();
      for (const each of this.#ends) each.turn();
    }
  }
}

/** The owner of one end of a connection: writes `length` bytes of the pattern stream, closes, and reads to the end. */
export class Transfer {
  readonly log: FlowLog;
  flow: TcpFlow | null = null;
  readonly #length: number;
  #written = 0;

  constructor(length: number, consumes = true) {
    this.#length = length;
    const write = (flow: TcpFlow) => this.#write(flow);
    this.log = new FlowLog({ established: write, writable: write });
    this.log.consumes = consumes;
  }

  /** How the connection ended, null while it has not. */
  get closed(): string | null {
    const last = this.log.events.at(-1);
    return last?.startsWith("closed ") ? last.slice("closed ".length) : null;
  }

  #write(flow: TcpFlow): void {
    while (this.#written < this.#length) {
      const length = Math.min(32_768, this.#length - this.#written);
      const taken = flow.send(pattern(this.#written, length), 0, length);
      this.#written += taken;
      if (taken < length) return;
    }
    flow.shutdown();
  }
}
