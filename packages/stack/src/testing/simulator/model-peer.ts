import type { Ipv4, Mac } from "../../address.ts";
import {
  arp,
  ethernet,
  ipv4,
  type ParsedTcp,
  parseFrame,
  type SackBlock,
  type TcpOptionFields,
  tcp,
  tcpOptions,
} from "../frames.ts";
import { pattern, Random } from "../random.ts";
import type { SimulatedLink } from "./link.ts";
import { ModelReceiver, type ModelReceiverOptions } from "./model-receiver.ts";
import type { Participant, Simulation } from "./simulation.ts";

/** One end of the connection. */
export interface ModelEnd {
  readonly mac: Mac;
  readonly address: Ipv4;
  readonly port: number;
}

export interface ModelPeerOptions extends ModelReceiverOptions {
  readonly local: ModelEnd;
  readonly remote: ModelEnd;
  readonly firstSequence: number;
  /** Whether it begins the connection. */
  readonly opens: boolean;
  /** What its SYN says. It uses what both sides offered. */
  readonly mss?: number;
  readonly windowScale?: number;
  readonly sack?: boolean;
  readonly timestamps?: boolean;
  /** Bytes of the pattern stream that it sends. */
  readonly length: number;
  /** Bytes of data in one of its segments at most. */
  readonly largestSegment: number;
  /** When it sends its FIN: behind its data, or not before it has the other side's. */
  readonly closes: "when written" | "after the peer";
}

const FIRST_TIMEOUT_MS = 300;
const LONGEST_TIMEOUT_MS = 5000;
/** Segments in flight at most: there is no congestion control. */
const BURST = 8;
const NEVER = Number.POSITIVE_INFINITY;

/**
 * A TCP as simple as one can be, of none of the stack's code: it acknowledges what it has, and after a timeout sends
 * again from the first byte that is not acknowledged. It never gives up. Numbers are relative, the SYN being 0.
 *
 * It is one host on the link with one connection.
 */
export class ModelPeer implements Participant {
  readonly receiver: ModelReceiver;
  readonly #simulation: Simulation;
  readonly #incoming: SimulatedLink;
  readonly #outgoing: SimulatedLink;
  readonly #options: ModelPeerOptions;
  readonly #random: Random;
  #peerFirst: number | null = null;
  #acknowledged = 0;
  #sendNext = 1;
  #sentEnd = 1;
  #edge = 0;
  #maximumSegment = 0;
  #resendAt = NEVER;
  #timeout = FIRST_TIMEOUT_MS;
  /** A timeout lets one byte go though the window is closed. */
  #mayProbe = false;
  #synDue = false;
  #agreed: TcpOptionFields = {};
  #peerShift = 0;
  #recentTimestamp = 0;
  #isReset = false;

  constructor(simulation: Simulation, incoming: SimulatedLink, outgoing: SimulatedLink, options: ModelPeerOptions) {
    this.#simulation = simulation;
    this.#incoming = incoming;
    this.#outgoing = outgoing;
    this.#options = options;
    this.#random = new Random(simulation.random.bits());
    this.receiver = new ModelReceiver(options, this.#random);
    if (options.opens) this.#resendAt = simulation.now;
    simulation.add(this);
  }

  /** `finished` once both sides have closed and this one knows of it, `reset`, or null while the connection goes on. */
  get closed(): "finished" | "reset" | null {
    if (this.#isReset) return "reset";
    return this.#acknowledged > this.#fin && this.receiver.isComplete ? "finished" : null;
  }

  get nextAt(): number {
    const { acknowledgeAt, readAt } = this.receiver;
    const { writableAt } = this.#outgoing;
    // What it has to send waits for a link that refuses.
    const sendAt = writableAt === NEVER ? Math.min(this.#resendAt, acknowledgeAt) : writableAt;
    return Math.min(this.#incoming.nextArrival, sendAt, readAt);
  }

  turn(): void {
    const { now } = this.#simulation;
    for (let frame = this.#incoming.take(); frame !== null; frame = this.#incoming.take()) {
      if (!frame.isCorrupt) this.#receive(frame.bytes);
    }
    if (this.#outgoing.writableAt <= now) this.#outgoing.writableAt = NEVER;
    if (this.#isReset) return;
    if (this.receiver.readAt <= now) this.receiver.read(now);
    if (this.#resendAt <= now) {
      this.#resendAt = NEVER;
      this.#timeout = Math.min(LONGEST_TIMEOUT_MS, this.#timeout * 2);
      this.#sendNext = Math.max(1, this.#acknowledged);
      this.#mayProbe = true;
      this.#synDue = this.#acknowledged === 0;
    }
    if (this.#acknowledged === 0) this.#sendSyn();
    else this.#sendData();
    if (this.receiver.acknowledgeAt <= now) this.#send("A", this.#sentEnd, 0);
  }

  /** The sequence number of its own FIN. */
  get #fin(): number {
    return 1 + this.#options.length;
  }

  #receive(bytes: Uint8Array): void {
    const frame = parseFrame(bytes);
    const { local, remote } = this.#options;
    if (frame.kind === "arp" && frame.operation === 1 && frame.targetAddress === local.address) {
      const { mac: senderMac, address: senderAddress } = local;
      const answer = { operation: 2, senderMac, senderAddress, targetMac: frame.senderMac };
      const packet = arp({ ...answer, targetAddress: frame.senderAddress });
      this.#transmit(ethernet(frame.source, senderMac, 0x0806, packet));
    }
    if (frame.kind !== "tcp" || frame.destinationPort !== local.port || frame.sourcePort !== remote.port) return;
    if (this.#isReset) return;
    if (frame.flags.includes("R")) {
      this.#isReset = true;
      this.#resendAt = NEVER;
      this.receiver.acknowledgeAt = NEVER;
      this.receiver.readAt = NEVER;
    } else if (frame.flags.includes("S")) {
      this.#receiveSyn(frame);
    } else if (this.#peerFirst !== null) {
      const sequence = (frame.sequence - this.#peerFirst) | 0;
      const { timestamps } = frame;
      if (timestamps !== undefined && sequence <= this.receiver.next) this.#recentTimestamp = timestamps[0];
      this.#learn(frame, this.#peerShift);
      this.receiver.receive(sequence, frame.payload, frame.flags.includes("F"), this.#simulation.now);
    }
  }

  #receiveSyn(frame: ParsedTcp): void {
    const { windowScale, sack = false, timestamps = false, largestSegment } = this.#options;
    if (this.#peerFirst === null) {
      this.#peerFirst = frame.sequence;
      this.#maximumSegment = Math.min(frame.mss ?? 536, largestSegment);
      const scales = windowScale !== undefined && frame.windowScale !== undefined;
      this.#peerShift = scales ? (frame.windowScale ?? 0) : 0;
      this.#agreed = {
        windowScale: scales ? windowScale : undefined,
        sackPermitted: sack && frame.sackPermitted,
        timestamps: timestamps ? frame.timestamps : undefined,
      };
    }
    if (frame.timestamps !== undefined) this.#recentTimestamp = frame.timestamps[0];
    if (frame.flags.includes("A")) {
      // The window of a SYN is never scaled (RFC 7323, 2.2).
      this.#learn(frame, 0);
      this.receiver.acknowledgeAt = this.#simulation.now;
    } else {
      this.#synDue = true;
    }
  }

  #learn(frame: ParsedTcp, shift: number): void {
    const acknowledgment = (frame.acknowledgment - this.#options.firstSequence) | 0;
    if (acknowledgment > this.#sentEnd) throw new Error(`${acknowledgment} is acknowledged, and was never sent`);
    if (acknowledgment < this.#acknowledged) return;
    if (acknowledgment > this.#acknowledged) {
      this.#acknowledged = acknowledgment;
      this.#timeout = FIRST_TIMEOUT_MS;
      this.#resendAt = NEVER;
      this.#mayProbe = false;
    }
    this.#sendNext = Math.max(this.#sendNext, acknowledgment);
    this.#edge = Math.max(this.#edge, acknowledgment + frame.window * 2 ** shift);
  }

  #sendSyn(): void {
    if (!this.#synDue) return;
    if (!this.#send(this.#options.opens ? "S" : "SA", 0, 0)) return;
    this.#synDue = false;
    this.#resendAt = this.#simulation.now + this.#timeout;
  }

  /** Sends what the window takes: segments of many sizes, so that what is sent again is cut in other places. */
  #sendData(): void {
    const { closes } = this.#options;
    const mayClose = closes === "when written" || this.receiver.isComplete;
    const end = mayClose ? this.#fin + 1 : this.#fin;
    const limit = Math.min(this.#edge, this.#acknowledged + BURST * this.#maximumSegment);
    while (this.#sendNext < end) {
      const room = this.#mayProbe ? Math.max(1, limit - this.#sendNext) : limit - this.#sendNext;
      this.#mayProbe = false;
      if (room <= 0) break;
      const most = Math.min(room, this.#maximumSegment, this.#fin - this.#sendNext);
      const length = most > 1 && this.#random.oneIn(3) ? 1 + this.#random.below(most) : most;
      const hasFin = mayClose && this.#sendNext + length === this.#fin && length < room;
      if (!this.#send(hasFin ? "FA" : "A", this.#sendNext, length)) break;
      this.#sendNext += length + (hasFin ? 1 : 0);
      this.#sentEnd = Math.max(this.#sentEnd, this.#sendNext);
    }
    if (this.#acknowledged < end && this.#resendAt === NEVER) this.#resendAt = this.#simulation.now + this.#timeout;
  }

  /** Sends a segment; false when the link refuses. */
  #send(flags: string, sequence: number, length: number): boolean {
    const { local, remote, firstSequence } = this.#options;
    const shift = flags.includes("S") ? 0 : Math.min(14, this.#agreed.windowScale ?? 0);
    const segment = tcp({
      source: local.address,
      sourcePort: local.port,
      destination: remote.address,
      destinationPort: remote.port,
      sequence: (firstSequence + sequence) | 0,
      acknowledgment: flags === "S" ? 0 : ((this.#peerFirst ?? 0) + this.receiver.next) | 0,
      flags,
      window: Math.min(0xffff, Math.floor(this.receiver.window / 2 ** shift)),
      options: tcpOptions(this.#segmentOptions(flags)),
      payload: pattern(sequence - 1, length),
    });
    const { address: source } = local;
    const { address: destination } = remote;
    const packet = ipv4({ source, destination, protocol: 6, identification: 0, dontFragment: true, payload: segment });
    if (!this.#transmit(ethernet(remote.mac, local.mac, 0x0800, packet))) return false;
    if (flags !== "S") this.receiver.acknowledgeAt = NEVER;
    return true;
  }

  #segmentOptions(flags: string): TcpOptionFields {
    const { mss, windowScale, sack, timestamps } = this.#options;
    const clock = Math.floor(this.#simulation.now) | 0;
    if (flags === "S") {
      return { mss, windowScale, sackPermitted: sack, timestamps: timestamps ? [clock, 0] : undefined };
    }
    const agreed = this.#agreed;
    const stamps = agreed.timestamps && ([clock, this.#recentTimestamp] as const);
    if (flags === "SA") return { ...agreed, mss, timestamps: stamps };
    return { timestamps: stamps, sack: agreed.sackPermitted ? this.#sackBlocks(stamps === undefined ? 4 : 3) : [] };
  }

  #sackBlocks(count: number): SackBlock[] {
    const first = this.#peerFirst ?? 0;
    return this.receiver.blocks(count).map(([from, to]) => [(first + from) | 0, (first + to) | 0]);
  }

  #transmit(frame: Uint8Array): boolean {
    const at = this.#outgoing.reserve(frame.length);
    if (at < 0) return false;
    this.#outgoing.bytes.set(frame, at);
    this.#outgoing.commit(frame.length);
    return true;
  }
}
