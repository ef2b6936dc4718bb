import type { CloseReason, TcpFlow, TcpHandler } from "../tcp/flow.ts";
import { pattern, patternByte } from "./random.ts";
import type { OwnerAction } from "./segment-steps.ts";
import type { SegmentWatch } from "./segment-watch.ts";

/** What the owner has to know of the peer. */
export interface PeerView {
  readonly watch: SegmentWatch;
  /** The end of the peer's stream as far as it was sent, in bytes. */
  readonly sentEnd: number;
  /** Whether the peer has sent two versions of its stream. */
  readonly hasLied: boolean;
  /** Does what is to happen within a call of this kind. */
  react(event: keyof TcpHandler, flow: TcpFlow): void;
}

/** The owner of one connection: does what the steps say, and checks the order and the content of what it is told. */
export class SegmentOwner implements TcpHandler {
  readonly peer: PeerView;
  consumes: boolean;
  flow: TcpFlow | null = null;
  received = 0;
  reason: CloseReason | null = null;
  #unconsumed = 0;
  #established = false;
  #ended = false;
  /** The owner is within a call of its own into the stack. */
  #calling = "";

  constructor(peer: PeerView, consumes: boolean) {
    this.peer = peer;
    this.consumes = consumes;
  }

  /** Whether the handshake was completed. */
  get isEstablished(): boolean {
    return this.#established;
  }

  /** Does what an owner may do at any time; nothing once the connection is gone, except that it must not matter. */
  act(flow: TcpFlow, action: OwnerAction): void {
    const outer = this.#calling;
    this.#calling = action.act;
    switch (action.act) {
      case "send":
        this.#send(flow, action.length);
        break;
      case "consume": {
        const length = Math.min(action.length, this.#unconsumed);
        this.#unconsumed -= length;
        flow.consumed(length);
        break;
      }
      case "consumes":
        this.consumes = action.on;
        break;
      case "shutdown":
        flow.shutdown();
        this.peer.watch.ended = true;
        break;
      case "abort":
        flow.abort();
        break;
      case "nagle":
        flow.setNagle(action.on);
        break;
      case "keepAlive":
        flow.setKeepAlive(action.ms);
        break;
      case "userTimeout":
        flow.setUserTimeout(action.ms);
        break;
    }
    this.#calling = outer;
  }

  /** Reads everything, from now on as it comes. */
  consumeAll(): void {
    this.consumes = true;
    if (this.flow !== null) this.act(this.flow, { act: "consume", length: this.#unconsumed });
  }

  #send(flow: TcpFlow, length: number): void {
    const { watch } = this.peer;
    const room = flow.sendRoom;
    const bytes = new Uint8Array(length + 2);
    bytes.set(pattern(watch.written, Math.min(length, room)), 2);
    const taken = flow.send(bytes, 2, length);
    if (taken !== Math.min(length, room)) throw new Error(`${taken} of ${length} bytes taken with room for ${room}`);
    if (taken > 0 && (watch.ended || this.reason !== null)) throw new Error("bytes taken after the end");
    watch.written += taken;
  }

  established(flow: TcpFlow): void {
    this.#enter("established");
    if (this.#established) throw new Error("established twice");
    this.#established = true;
    this.peer.react("established", flow);
  }

  data(flow: TcpFlow, bytes: Uint8Array, offset: number, length: number): void {
    this.#enter("data");
    if (!this.#established || this.#ended) throw new Error("data before the handshake or after the end");
    if (length <= 0 || offset < 0 || offset + length > bytes.length) throw new Error(`data of ${length} bytes`);
    if (!this.peer.hasLied) {
      for (let index = 0; index < length; index++) {
        if (bytes[offset + index] !== patternByte(this.received + index)) {
          throw new Error(`the byte at ${this.received + index} of the peer's stream is wrong`);
        }
      }
    }
    this.received += length;
    this.#unconsumed += length;
    if (this.received > this.peer.sentEnd) {
      throw new Error(`${this.received} bytes delivered of ${this.peer.sentEnd} sent`);
    }
    if (this.consumes) this.act(flow, { act: "consume", length });
    this.peer.react("data", flow);
  }

  end(flow: TcpFlow): void {
    this.#enter("end");
    if (!this.#established || this.#ended) throw new Error("an end before the handshake, or a second one");
    this.#ended = true;
    this.peer.react("end", flow);
  }

  writable(flow: TcpFlow): void {
    this.#enter("writable");
    if (flow.sendRoom === 0) throw new Error("writable without room");
    this.peer.react("writable", flow);
  }

  closed(flow: TcpFlow, reason: CloseReason): void {
    if (this.#calling === "abort") this.#calling = "";
    this.#enter("closed");
    this.reason = reason;
    if (flow.sendQueued !== 0 || flow.sendRoom !== 0) throw new Error("a connection that is gone holds data");
    this.peer.react("closed", flow);
  }

  #enter(event: string): void {
    if (this.reason !== null) throw new Error(`${event} after the connection was closed`);
    if (this.#calling !== "") throw new Error(`${event} from within the owner's own ${this.#calling}`);
  }
}
