import type { FrameSink } from "../../link.ts";
import { Random } from "../random.ts";
import type { Simulation } from "./simulation.ts";

/** A time in which a link carries nothing, in milliseconds since the simulation began. */
export interface Outage {
  readonly from: number;
  readonly to: number;
}

/** What one direction of a link does to frames. Probabilities are per frame, 0 to 1; what is absent does not happen. */
export interface LinkOptions {
  /** Bits per second of whole Ethernet frames; without it a frame takes no time on the wire. */
  readonly bandwidth?: number;
  /** Milliseconds from the end of a frame's transmission to its arrival. */
  readonly delay?: number;
  /** Up to so many milliseconds more, without changing the order. */
  readonly jitter?: number;
  /** Frames that may wait for the wire, the one on it included; a further one is dropped. */
  readonly queue?: number;
  /** Whether a full queue refuses frames, as a socket does, in place of dropping them, as a switch does. */
  readonly refusesWhenFull?: boolean;
  readonly loss?: number;
  /** Losses in bursts (Gilbert's model): the probabilities that the link goes bad, and that it is good again. */
  readonly bursts?: { readonly enter: number; readonly leave: number };
  /** The probability that a frame is held back by up to {@link reorderingDelay}, so that later ones overtake it. */
  readonly reordering?: number;
  /** Milliseconds. */
  readonly reorderingDelay?: number;
  readonly duplication?: number;
  /** The probability that bits of a frame flip: one, or some within 15 bits, which the Internet checksum always shows. */
  readonly corruption?: number;
  /** The probability that a frame is refused although the queue has room. */
  readonly refusal?: number;
  readonly outages?: readonly Outage[];
  /** The receiver looks at what has arrived only so often, in milliseconds, and takes it in as one batch. */
  readonly coalescing?: number;
}

/** A frame on its way. Its memory may be that of a duplicate as well. */
export interface FrameInFlight {
  readonly arrivesAt: number;
  readonly bytes: Uint8Array;
  readonly view: DataView;
  readonly isCorrupt: boolean;
}

/** Bytes of an ARP frame. They are spared but in outages: three lost ones in a row end a connection attempt. */
const ARP_FRAME_LENGTH = 42;
/** Where frames are built: away from the start of the memory, and at an even but not aligned offset. */
const FRAME_OFFSET = 6;
const LARGEST_FRAME = 65_536 + 14;
/** How long after a refusal without a reason the link takes frames again, in milliseconds. */
const REFUSAL_MS = 0.05;
/** A burst of this many bits changes the one's complement sum of any 16-bit words it lies in. */
const LONGEST_FLIP = 15;
const DEFAULT_REORDERING_MS = 3;
const NEVER = Number.POSITIVE_INFINITY;

/** One direction of a link: the sender's {@link FrameSink}, and what is on its way to the receiver. */
export class SimulatedLink implements FrameSink {
  readonly bytes = new Uint8Array(FRAME_OFFSET + LARGEST_FRAME);
  readonly view = new DataView(this.bytes.buffer);
  /** Sees each frame as its sender built it. */
  onSent: ((frame: Uint8Array) => void) | null = null;
  /** When the sender, having been refused, is to try again. */
  writableAt = NEVER;
  /** What happened to frames; the sender counts those it sent. */
  readonly counts = { lost: 0, dropped: 0, corrupted: 0, duplicated: 0, reordered: 0, refused: 0, outage: 0 };
  readonly #simulation: Simulation;
  readonly #options: LinkOptions;
  readonly #random: Random;
  readonly #beganAt: number;
  /** When the frames in the queue will have left it, oldest first from `#departuresHead`. */
  readonly #departures: number[] = [];
  #departuresHead = 0;
  /** Frames under way by time of arrival, the next one at `#arrivingHead`. */
  readonly #arriving: FrameInFlight[] = [];
  #arrivingHead = 0;
  #lastArrival = 0;
  #isBad = false;

  constructor(simulation: Simulation, options: LinkOptions) {
    this.#simulation = simulation;
    this.#options = options;
    this.#random = new Random(simulation.random.bits());
    this.#beganAt = simulation.now;
  }

  reserve(length: number): number {
    if (length > LARGEST_FRAME) throw new Error(`a frame of ${length} bytes`);
    const { queue = NEVER, refusesWhenFull = false } = this.#options;
    if (refusesWhenFull && this.#queueLength() >= queue) {
      this.#refuse(this.#departures[this.#departuresHead]);
      return -1;
    }
    if (length !== ARP_FRAME_LENGTH && this.#happens(this.#options.refusal)) {
      this.#refuse(this.#simulation.now + REFUSAL_MS);
      return -1;
    }
    return FRAME_OFFSET;
  }

  commit(length: number): void {
    const frame = this.bytes.slice(FRAME_OFFSET, FRAME_OFFSET + length);
    this.onSent?.(frame);
    const { bandwidth = NEVER, queue = NEVER, duplication } = this.#options;
    if (this.#queueLength() >= queue) {
      this.counts.dropped++;
      return;
    }
    const { now } = this.#simulation;
    const last = this.#departures.at(-1) ?? 0;
    const departure = Math.max(now, last) + (length * 8000) / bandwidth;
    if (departure > now) this.#departures.push(departure);
    if (this.#isDead(departure)) {
      this.counts.outage++;
      return;
    }
    const isSpared = length === ARP_FRAME_LENGTH;
    if (!isSpared && this.#isLost()) {
      this.counts.lost++;
      return;
    }
    this.#propagate(frame, departure, isSpared);
    if (!isSpared && this.#happens(duplication)) {
      this.counts.duplicated++;
      this.#propagate(frame, departure, isSpared);
    }
  }

  /** When the next frame arrives, or Infinity. */
  get nextArrival(): number {
    return this.#arrivingHead < this.#arriving.length ? this.#arriving[this.#arrivingHead].arrivesAt : NEVER;
  }

  /** Takes the next frame that has arrived by now, or null. */
  take(): FrameInFlight | null {
    if (this.nextArrival > this.#simulation.now) return null;
    const frame = this.#arriving[this.#arrivingHead++];
    this.#arrivingHead = compact(this.#arriving, this.#arrivingHead);
    return frame;
  }

  #propagate(frame: Uint8Array, departure: number, isSpared: boolean): void {
    const {
      delay = 0,
      jitter = 0,
      reordering,
      reorderingDelay = DEFAULT_REORDERING_MS,
      coalescing = 0,
    } = this.#options;
    let arrivesAt = departure + delay + jitter * this.#fraction();
    if (!isSpared && this.#happens(reordering)) {
      this.counts.reordered++;
      arrivesAt += reorderingDelay * this.#fraction();
    } else {
      arrivesAt = Math.max(arrivesAt, this.#lastArrival);
      this.#lastArrival = arrivesAt;
    }
    const isCorrupt = !isSpared && this.#happens(this.#options.corruption);
    const bytes = isCorrupt ? this.#corrupt(frame) : frame;
    if (coalescing > 0) arrivesAt = Math.ceil(arrivesAt / coalescing) * coalescing;
    let at = this.#arriving.length;
    while (at > this.#arrivingHead && this.#arriving[at - 1].arrivesAt > arrivesAt) at--;
    const inFlight = { arrivesAt, bytes, view: new DataView(bytes.buffer), isCorrupt };
    if (at === this.#arriving.length) this.#arriving.push(inFlight);
    else this.#arriving.splice(at, 0, inFlight);
  }

  /** A copy of a frame with bits flipped. */
  #corrupt(original: Uint8Array): Uint8Array {
    const frame = original.slice();
    this.counts.corrupted++;
    const first = this.#random.below(frame.length * 8);
    const end = this.#random.oneIn(2) ? first + 1 : Math.min(frame.length * 8, first + LONGEST_FLIP);
    frame[first >> 3] ^= 0x80 >> (first & 7);
    for (let bit = first + 1; bit < end; bit++) if (this.#random.oneIn(2)) frame[bit >> 3] ^= 0x80 >> (bit & 7);
    return frame;
  }

  #isLost(): boolean {
    const { loss, bursts } = this.#options;
    if (bursts !== undefined) {
      this.#isBad = this.#isBad ? !this.#happens(bursts.leave) : this.#happens(bursts.enter);
      if (this.#isBad) return true;
    }
    return this.#happens(loss);
  }

  #isDead(time: number): boolean {
    const { outages } = this.#options;
    if (outages === undefined) return false;
    const elapsed = time - this.#beganAt;
    return outages.some(({ from, to }) => from <= elapsed && elapsed < to);
  }

  #refuse(until: number): void {
    this.counts.refused++;
    this.writableAt = until;
  }

  #queueLength(): number {
    const { now } = this.#simulation;
    while (this.#departuresHead < this.#departures.length && this.#departures[this.#departuresHead] <= now) {
      this.#departuresHead++;
    }
    this.#departuresHead = compact(this.#departures, this.#departuresHead);
    return this.#departures.length - this.#departuresHead;
  }

  #happens(probability = 0): boolean {
    return probability > 0 && this.#fraction() < probability;
  }

  /** A number from 0 up to, but not including, 1. */
  #fraction(): number {
    return (this.#random.bits() >>> 0) / 2 ** 32;
  }
}

/** Drops what was taken from the front of a queue once that is most of it; returns where the rest begins. */
function compact(queue: unknown[], head: number): number {
  if (head < 64 || head < queue.length >> 1) return head;
  queue.splice(0, head);
  return 0;
}
