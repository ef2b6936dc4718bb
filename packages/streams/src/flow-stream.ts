import { Duplex } from "node:stream";
import {
  type CloseReason,
  copyBytes,
  formatIpv4,
  giveRegion,
  type PacketRegion,
  type TcpFlow,
  type TcpHandler,
  type TcpRequest,
  takeRegion,
} from "@hostd/stack";

/** The errors a stream ends with, spelled as Node's sockets spell them. */
const FAULTS: Partial<Record<CloseReason, { code: string; message: string }>> = {
  reset: { code: "ECONNRESET", message: "connection reset by the guest" },
  timeout: { code: "ETIMEDOUT", message: "the guest stopped answering" },
  refused: { code: "ECONNREFUSED", message: "connection refused by the guest" },
  unreachable: { code: "EHOSTUNREACH", message: "the guest is not reachable" },
  detached: { code: "ECONNRESET", message: "the VM went away" },
};

/** Memory for the segments of a batch, in bytes: at first, and when that is full. */
const FIRST_GATHERED = 4 * 1024;
const GATHERED = 64 * 1024;
/** A segment of so many bytes is offered on its own. */
const LARGE_SEGMENT = 16 * 1024;
/** What is read of a socket at once into the memory that is sent from, and in one turn, in bytes. */
const FILLED = 256 * 1024;
const TURN = 512 * 1024;

/**
 * Takes bytes where they lie, before they are made a buffer of for the reader.
 *
 * @returns how many it has taken, from none to all; the reader gets the rest.
 */
export type Offer = (bytes: Uint8Array, offset: number, length: number) => number;

/** Who works on a connection in the place of its stream. When the connection has ended, it destroys the stream. */
export interface FlowTaker extends TcpHandler {
  /** Resets the connection. */
  abandon(): void;
}

/** Streams that were brought something by the batch. */
let gathering: FlowStream[] = [];
let isFlushScheduled = false;

/**
 * A TCP connection of the stack as a Node stream, for services that are written for one: half-close, end-of-stream and
 * reset keep their meaning, and the guest's window follows what the reader takes. The segments that one batch of frames
 * brings are read together.
 */
export class FlowStream extends Duplex {
  /** What the stack tells the connection's events to. */
  readonly handler: TcpHandler;
  #flow: TcpFlow | null = null;
  #gone = false;
  /** The guest has ended its direction. */
  #hasEnded = false;
  /** What the batch has brought. */
  #gathered: PacketRegion | null = null;
  #gatheredLength = 0;
  #isGathering = false;
  #offer: Offer | null = null;
  /** Bytes pushed into the stream's own buffer that the reader has not asked past. */
  #unread = 0;
  #unsent: Buffer | null = null;
  #unsentDone: ((error?: Error | null) => void) | null = null;
  #taker: FlowTaker | null = null;

  constructor() {
    super({ allowHalfOpen: true });
    this.handler = {
      established: () => this.emit("connect"),
      data: (flow, bytes, offset, length) => {
        if (this.#taker === null) this.#receive(flow, bytes, offset, length);
        else this.#taker.data(flow, bytes, offset, length);
      },
      end: (flow) => {
        this.#hasEnded = true;
        if (this.#taker === null) this.#endReading();
        else this.#taker.end(flow);
      },
      writable: (flow) => {
        if (this.#taker === null) this.#sendRest();
        else this.#taker.writable(flow);
      },
      closed: (flow, reason) => {
        this.#gone = true;
        if (this.#taker === null) this.#finish(reason);
        else this.#taker.closed(flow, reason);
      },
    };
  }

  /**
   * Has what was gathered be read, at the end of a batch of frames: what comes of it leaves with the batch's
   * acknowledgments then. Of a batch that nobody ends it is read when the current task is over.
   */
  static flushBatch(): void {
    const streams = gathering;
    gathering = [];
    for (const stream of streams) {
      stream.#isGathering = false;
      stream.#pushGathered();
    }
  }

  /** Completes the handshake of a request and gives its stream; null when the request has been cancelled. */
  static accept(request: TcpRequest): FlowStream | null {
    const stream = new FlowStream();
    const flow = request.accept(stream.handler);
    if (flow === null) return null;
    stream.bind(flow);
    return stream;
  }

  /** Sets the connection; for {@link accept}, and for who dials with {@link handler}. */
  bind(flow: TcpFlow): void {
    this.#flow = flow;
  }

  /** The guest's address, as Node's sockets name it. */
  get remoteAddress(): string | undefined {
    return this.#flow === null ? undefined : formatIpv4(this.#flow.remoteAddress);
  }

  get remotePort(): number | undefined {
    return this.#flow?.remotePort;
  }

  get localAddress(): string | undefined {
    return this.#flow === null ? undefined : formatIpv4(this.#flow.localAddress);
  }

  get localPort(): number | undefined {
    return this.#flow?.localPort;
  }

  /** Bytes that were written and that the guest has not acknowledged. */
  get unacknowledged(): number {
    return this.#gone ? 0 : this.writableLength + (this.#flow?.sendQueued ?? 0);
  }

  /** Has bytes offered that nothing else is waiting before to be read; null ends that. */
  offerTo(offer: Offer | null): void {
    this.#offer = offer;
  }

  /**
   * Sends bytes that are read to where they are sent from, as long as nothing waits to be sent.
   *
   * @param most - that may be read.
   * @param read - reads up to so many bytes and says how many there were.
   * @returns how many there were in all.
   */
  fill(most: number, read: (bytes: Uint8Array, offset: number, length: number) => number): number {
    const flow = this.#flow;
    let total = 0;
    while (flow !== null && total < most && total < TURN && this.writableLength === 0 && this.writable && !this.#gone) {
      const space = flow.sendSpace(Math.min(most - total, FILLED));
      if (space === null) break;
      const wanted = space.length;
      const length = read(space.bytes, space.offset, wanted);
      flow.sendFilled(length);
      total += length;
      if (length < wanted) break;
    }
    return total;
  }

  /**
   * Hands the connection over to who works on it directly. The stream itself carries nothing from then on.
   *
   * @returns the connection, and whether the guest has ended its direction, which is not told again. Null, and nothing
   *   has changed, when the connection is gone, something waits to be read or to be sent, or the stream has ended.
   */
  handOver(taker: FlowTaker): { readonly flow: TcpFlow; readonly hasEnded: boolean } | null {
    const flow = this.#flow;
    if (flow === null || this.#gone || this.destroyed || this.readableEnded || this.writableEnded) return null;
    if (this.#gathered !== null || this.readableLength > 0 || this.writableLength > 0) return null;
    this.#taker = taker;
    // It was read already.
    this._read();
    return { flow, hasEnded: this.#hasEnded };
  }

  override _read(): void {
    const unread = this.#unread;
    this.#unread = 0;
    if (unread > 0 && !this.#gone) this.#flow?.consumed(unread);
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    this.#unsent = chunk;
    this.#unsentDone = done;
    this.#sendRest();
  }

  override _final(done: (error?: Error | null) => void): void {
    this.#flow?.shutdown();
    done();
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    this.#dropGathered();
    this.#offer = null;
    if (this.#taker !== null) {
      this.#taker.abandon();
    } else if (!this.#gone) {
      // A stream that has read and written to its end closes in order; anything else breaks off.
      if (!(this.readableEnded && this.writableFinished)) this.#flow?.abort();
    }
    this.#failWrite(error);
    done(error);
  }

  /** Answers the write that waits for room. Node does so itself only for those that wait behind it. */
  #failWrite(error: Error | null): void {
    const done = this.#unsentDone;
    this.#unsent = null;
    this.#unsentDone = null;
    if (done === null) return;
    const destroyed = Object.assign(new Error("the stream was destroyed"), { code: "ERR_STREAM_DESTROYED" });
    process.nextTick(done, error ?? destroyed);
  }

  #receive(flow: TcpFlow, bytes: Uint8Array, offset: number, length: number): void {
    if (this.destroyed) {
      flow.consumed(length);
      return;
    }
    let at = offset;
    let left = length;
    if (left >= LARGE_SEGMENT && this.#gatheredLength === 0) {
      const taken = this.#offerNow(bytes, at, left);
      at += taken;
      left -= taken;
    }
    while (left > 0) {
      // Whoever read what was gathered may have handed the connection over, or ended it.
      if (this.#taker !== null || this.destroyed) {
        this.handler.data(flow, bytes, at, left);
        return;
      }
      const region = this.#roomFor(left);
      const part = Math.min(left, region.size - this.#gatheredLength);
      copyBytes(bytes, at, region.bytes, region.offset + this.#gatheredLength, part);
      this.#gatheredLength += part;
      at += part;
      left -= part;
      if (this.#gatheredLength === GATHERED) this.#pushGathered();
    }
  }

  /** Memory with room for at least one byte behind what was gathered. */
  #roomFor(length: number): PacketRegion {
    const gathered = this.#gathered;
    const used = this.#gatheredLength;
    if (gathered !== null && gathered.size - used >= Math.min(length, GATHERED - used)) return gathered;
    const region = takeRegion(used + length <= FIRST_GATHERED ? FIRST_GATHERED : GATHERED);
    this.#gathered = region;
    if (gathered === null) {
      this.#flushLater();
    } else {
      copyBytes(gathered.bytes, gathered.offset, region.bytes, region.offset, used);
      giveRegion(gathered);
    }
    return region;
  }

  #flushLater(): void {
    if (this.#isGathering) return;
    this.#isGathering = true;
    gathering.push(this);
    if (isFlushScheduled) return;
    isFlushScheduled = true;
    queueMicrotask(() => {
      isFlushScheduled = false;
      FlowStream.flushBatch();
    });
  }

  #pushGathered(): void {
    const gathered = this.#gathered;
    const length = this.#gatheredLength;
    this.#gathered = null;
    this.#gatheredLength = 0;
    if (gathered === null) return;
    const { bytes, offset } = gathered;
    const taken = this.#offerNow(bytes, offset, length);
    const rest = taken === length ? null : Buffer.copyBytesFrom(bytes, offset + taken, length - taken);
    giveRegion(gathered);
    if (rest === null) return;
    if (this.push(rest)) this.#flow?.consumed(rest.length);
    else this.#unread += rest.length;
  }

  /** @returns how many bytes somebody has taken. */
  #offerNow(bytes: Uint8Array, offset: number, length: number): number {
    if (this.#offer === null || this.readableLength > 0) return 0;
    const taken = this.#offer(bytes, offset, length);
    if (taken > 0) this.#flow?.consumed(taken);
    return taken;
  }

  #dropGathered(): void {
    if (this.#gathered !== null) giveRegion(this.#gathered);
    this.#gathered = null;
    this.#gatheredLength = 0;
  }

  #endReading(): void {
    this.#pushGathered();
    this.push(null);
  }

  #finish(reason: CloseReason): void {
    // Both directions tell of an end in order themselves. That somebody else ended it here is no fault.
    if (reason === "finished") return;
    const fault = FAULTS[reason];
    this.destroy(fault && Object.assign(new Error(fault.message), { code: fault.code }));
  }

  #sendRest(): void {
    const chunk = this.#unsent;
    const done = this.#unsentDone;
    if (chunk === null || done === null || this.#flow === null || this.#gone) return;
    const taken = this.#flow.send(chunk, 0, chunk.length);
    if (taken < chunk.length) {
      this.#unsent = chunk.subarray(taken);
      return;
    }
    this.#unsent = null;
    this.#unsentDone = null;
    done();
  }
}
