import type { CloseReason, TcpFlow, TcpHandler } from "../tcp/flow.ts";
import { patternByte } from "./random.ts";

/** What a test does from within an event. */
export type FlowReactions = Partial<{ [Event in keyof TcpHandler]: (flow: TcpFlow) => void }>;

/**
 * The owner of a connection in tests: writes down what it is told, and checks that the data is the stream of
 * {@link patternByte} from its first byte, that it is told in the order of {@link TcpHandler}, and nothing after the end.
 */
export class FlowLog implements TcpHandler {
  /** `established`, `data 100`, `end`, `writable`, `closed finished`. */
  readonly events: string[] = [];
  /** Whether data is consumed as it arrives. */
  consumes = true;
  receivedBytes = 0;
  readonly reactions: FlowReactions;
  #established = false;
  #ended = false;
  #closed = false;

  constructor(reactions: FlowReactions = {}) {
    this.reactions = reactions;
  }

  /** Takes the events so far. */
  take(): string[] {
    return this.events.splice(0);
  }

  established(flow: TcpFlow): void {
    if (this.#established) throw new Error("established twice");
    this.#established = true;
    this.#note("established");
    this.reactions.established?.(flow);
  }

  data(flow: TcpFlow, bytes: Uint8Array, offset: number, length: number): void {
    if (!this.#established || this.#ended) throw new Error("data before the handshake or after the end");
    if (length <= 0 || offset < 0 || offset + length > bytes.length) throw new Error(`data of ${length} bytes`);
    for (let index = 0; index < length; index++) {
      if (bytes[offset + index] !== patternByte(this.receivedBytes + index)) {
        throw new Error(`the byte at ${this.receivedBytes + index} of the stream is wrong`);
      }
    }
    this.receivedBytes += length;
    this.#note(`data ${length}`);
    if (this.consumes) flow.consumed(length);
    this.reactions.data?.(flow);
  }

  end(flow: TcpFlow): void {
    if (!this.#established || this.#ended) throw new Error("an end before the handshake, or a second one");
    this.#ended = true;
    this.#note("end");
    this.reactions.end?.(flow);
  }

  writable(flow: TcpFlow): void {
    this.#note("writable");
    this.reactions.writable?.(flow);
  }

  closed(flow: TcpFlow, reason: CloseReason): void {
    this.#note(`closed ${reason}`);
    this.#closed = true;
    this.reactions.closed?.(flow);
  }

  #note(event: string): void {
    if (this.#closed) throw new Error(`${event} after the connection was closed`);
    this.events.push(event);
  }
}
