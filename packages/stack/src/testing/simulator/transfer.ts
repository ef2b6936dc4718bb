import type { TcpFlow } from "../../tcp/flow.ts";
import { FlowLog } from "../flow-log.ts";
import { pattern } from "../random.ts";
import type { Participant, Simulation } from "./simulation.ts";

/** Bytes at a time, and the milliseconds between two times. */
export interface Pace {
  readonly bytes: number;
  readonly every: number;
}

/** What the owner of one end of a connection does. */
export interface TransferOptions {
  /** Bytes of the pattern stream that it writes. */
  readonly length: number;
  /** How it writes; as fast as it is taken when absent. */
  readonly writes?: Pace;
  /** How it reads; at once when absent. */
  readonly reads?: Pace;
  /** When it shuts its direction down; once everything is written when absent. */
  readonly closes?: "when written" | "after the peer";
  /** Resets the connection once it has received so many bytes. */
  readonly abortsAfter?: number;
}

const LARGEST_WRITE = 32_768;
const NEVER = Number.POSITIVE_INFINITY;

/** The owner of one end of a connection: writes the pattern stream, closes, and reads to the end. */
export class Transfer implements Participant {
  readonly log: FlowLog;
  readonly options: TransferOptions;
  flow: TcpFlow | null = null;
  /** Bytes that the stack has taken. */
  written = 0;
  /** Bytes read by their owner, of those that arrived. */
  consumed = 0;
  /** The most bytes that had arrived and were not read. */
  largestUnread = 0;
  readonly #simulation: Simulation;
  #writeAt = NEVER;
  #readAt = NEVER;
  #isEnded = false;

  constructor(simulation: Simulation, options: TransferOptions) {
    this.#simulation = simulation;
    this.options = options;
    this.log = new FlowLog({
      established: () => this.#write(),
      writable: () => this.#write(),
      data: () => this.#receive(),
      end: () => {
        this.#isEnded = true;
        this.#closeWhenDone();
      },
      closed: () => {
        this.#writeAt = NEVER;
        this.#readAt = NEVER;
      },
    });
    this.log.consumes = options.reads === undefined;
    simulation.add(this);
  }

  /** How the connection ended, null while it has not. */
  get closed(): string | null {
    const last = this.log.events.at(-1);
    return last?.startsWith("closed ") ? last.slice("closed ".length) : null;
  }

  get nextAt(): number {
    return Math.min(this.#writeAt, this.#readAt);
  }

  turn(): void {
    const { now } = this.#simulation;
    if (this.#writeAt <= now) {
      this.#writeAt = NEVER;
      this.#write();
    }
    if (this.#readAt <= now) this.#read();
  }

  #write(): void {
    const { flow } = this;
    const { length, writes } = this.options;
    if (flow === null || this.#writeAt !== NEVER) return;
    const most = Math.min(writes?.bytes ?? LARGEST_WRITE, LARGEST_WRITE);
    while (this.written < length) {
      const part = Math.min(most, length - this.written);
      const taken = flow.send(pattern(this.written, part), 0, part);
      this.written += taken;
      // The stack says when there is room again.
      if (taken < part) return;
      if (writes !== undefined && this.written < length) {
        this.#writeAt = this.#simulation.now + writes.every;
        return;
      }
    }
    this.#closeWhenDone();
  }

  #closeWhenDone(): void {
    const { length, closes = "when written" } = this.options;
    if (this.written === length && (closes === "when written" || this.#isEnded)) this.flow?.shutdown();
  }

  #receive(): void {
    const { abortsAfter = NEVER, reads } = this.options;
    if (this.log.receivedBytes >= abortsAfter) {
      this.flow?.abort();
      return;
    }
    if (reads === undefined) return;
    this.largestUnread = Math.max(this.largestUnread, this.log.receivedBytes - this.consumed);
    if (this.#readAt === NEVER) this.#readAt = this.#simulation.now + reads.every;
  }

  #read(): void {
    const { reads } = this.options;
    if (reads === undefined) return;
    const part = Math.min(reads.bytes, this.log.receivedBytes - this.consumed);
    this.consumed += part;
    this.#readAt = this.consumed < this.log.receivedBytes ? this.#simulation.now + reads.every : NEVER;
    this.flow?.consumed(part);
  }
}
