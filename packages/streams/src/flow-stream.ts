import { Duplex } from "node:stream";
import { type CloseReason, formatIpv4, type TcpFlow, type TcpHandler, type TcpRequest } from "@hostd/stack";

/** The errors a stream ends with, spelled as Node's sockets spell them. */
const FAULTS: Partial<Record<CloseReason, { code: string; message: string }>> = {
  reset: { code: "ECONNRESET", message: "connection reset by the guest" },
  timeout: { code: "ETIMEDOUT", message: "the guest stopped answering" },
  refused: { code: "ECONNREFUSED", message: "connection refused by the guest" },
  unreachable: { code: "EHOSTUNREACH", message: "the guest is not reachable" },
  detached: { code: "ECONNRESET", message: "the VM went away" },
};

/**
 * A TCP connection of the stack as a Node stream, for services that are written for one: half-close, end-of-stream and
 * reset keep their meaning, and the guest's window follows what the reader takes.
 */
export class FlowStream extends Duplex {
  /** What the stack tells the connection's events to. */
  readonly handler: TcpHandler;
  #flow: TcpFlow | null = null;
  #gone = false;
  /** Bytes pushed into the stream's own buffer that the reader has not asked past. */
  #unread = 0;
  #unsent: Buffer | null = null;
  #unsentDone: ((error?: Error | null) => void) | null = null;

  constructor() {
    super({ allowHalfOpen: true });
    this.handler = {
      established: () => this.emit("connect"),
      data: (flow, bytes, offset, length) => this.#receive(flow, bytes, offset, length),
      end: () => this.push(null),
      writable: () => this.#sendRest(),
      closed: (_flow, reason) => this.#finish(reason),
    };
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
    if (!this.#gone) {
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
    if (this.push(Buffer.copyBytesFrom(bytes, offset, length))) flow.consumed(length);
    else this.#unread += length;
  }

  #finish(reason: CloseReason): void {
    this.#gone = true;
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
