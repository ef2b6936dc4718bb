import type {
  CloseReason,
  FourTuple,
  Ipv4,
  RejectReason,
  SendSpace,
  TcpFlow,
  TcpHandler,
  TcpRequest,
} from "@hostd/stack";
import { EventLog } from "./event-log.ts";

export interface FakeGuestOptions {
  /** Bytes of the guest that may be unconsumed. */
  readonly window?: number;
  /** Bytes for the guest that may be unacknowledged. */
  readonly sendBuffer?: number;
  /** Whether the guest reads all it is sent at once; otherwise a test calls {@link PlayedFlow.read}. */
  readonly reads?: boolean;
  /** Whether the handshake is completed by itself; otherwise a test calls {@link PlayedFlow.establish}. */
  readonly answers?: boolean;
}

type Outcome =
  | { readonly kind: "accepted"; readonly flow: PlayedFlow }
  | { readonly kind: "rejected"; readonly reason: RejectReason }
  | { readonly kind: "cancelled" };

/** A guest's SYN. */
export class FakeRequest implements TcpRequest {
  readonly localAddress: Ipv4;
  readonly localPort: number;
  readonly remoteAddress: Ipv4 = 0x0a000002;
  readonly remotePort = 40000;
  cancelled = false;
  onCancel: (() => void) | null = null;
  readonly #options: FakeGuestOptions;
  readonly #outcome = new EventLog<Outcome>();

  constructor(localAddress: Ipv4, localPort: number, options: FakeGuestOptions = {}) {
    this.localAddress = localAddress;
    this.localPort = localPort;
    this.#options = options;
  }

  accept(handler: TcpHandler): TcpFlow | null {
    if (this.cancelled || this.#outcome.events.length > 0) return null;
    const flow = new PlayedFlow(this, handler, this.#options);
    this.#outcome.push({ kind: "accepted", flow });
    return flow;
  }

  reject(reason: RejectReason): void {
    if (!this.cancelled && this.#outcome.events.length === 0) this.#outcome.push({ kind: "rejected", reason });
  }

  /** The guest gives up. */
  cancel(): void {
    this.cancelled = true;
    this.onCancel?.();
    this.#outcome.push({ kind: "cancelled" });
  }

  get answered(): boolean {
    return this.#outcome.events.length > 0;
  }

  /** How the request was turned down. */
  async rejection(): Promise<RejectReason> {
    const [outcome] = await this.#outcome.take(1);
    if (outcome.kind !== "rejected") throw new Error(`the request was ${outcome.kind}`);
    return outcome.reason;
  }

  /** The accepted connection. */
  async flow(): Promise<PlayedFlow> {
    const [outcome] = await this.#outcome.take(1);
    if (outcome.kind !== "accepted") throw new Error(`the request was ${outcome.kind}`);
    return outcome.flow;
  }
}

/** The memory that frames are received into; overwritten after each call, as a link's is. */
const frame = new Uint8Array(65536);

/** A connection whose guest is played by the test. */
export class PlayedFlow implements TcpFlow {
  readonly localAddress: Ipv4;
  readonly localPort: number;
  readonly remoteAddress: Ipv4;
  readonly remotePort: number;
  /** Bytes that the host took, as told by {@link consumed}. */
  consumedBytes = 0;
  sentBytes = 0;
  largestQueue = 0;
  closeReason: CloseReason | null = null;
  shutdownCalled = false;
  readonly #handler: TcpHandler;
  readonly #window: number;
  readonly #sendBuffer: number;
  readonly #reads: boolean;
  #queue: Buffer[] = [];
  #queued = 0;
  #received: Buffer[] = [];
  #receivedBytes = 0;
  #blocked = false;
  #space = new Uint8Array(0);
  #guestEnded = false;
  readonly #changes = new EventLog<never>();

  constructor(tuple: FourTuple, handler: TcpHandler, options: FakeGuestOptions) {
    this.localAddress = tuple.localAddress;
    this.localPort = tuple.localPort;
    this.remoteAddress = tuple.remoteAddress;
    this.remotePort = tuple.remotePort;
    this.#handler = handler;
    this.#window = options.window ?? 256 * 1024;
    this.#sendBuffer = options.sendBuffer ?? 256 * 1024;
    this.#reads = options.reads ?? true;
    if (options.answers ?? true) setImmediate(() => this.establish());
  }

  /** The handshake is complete. */
  establish(): void {
    if (this.closeReason === null) this.#handler.established(this);
    this.#changes.changed();
  }

  get sendRoom(): number {
    return this.shutdownCalled || this.closeReason !== null ? 0 : this.#sendBuffer - this.#queued;
  }

  get sendQueued(): number {
    return this.#queued;
  }

  send(bytes: Uint8Array, offset: number, length: number): number {
    const taken = Math.min(length, this.sendRoom);
    if (taken > 0) {
      this.#queue.push(Buffer.from(bytes.slice(offset, offset + taken)));
      this.#queued += taken;
      this.largestQueue = Math.max(this.largestQueue, this.#queued);
      if (this.#reads) setImmediate(() => this.read(Number.POSITIVE_INFINITY));
    }
    if (taken < length) this.#blocked = true;
    this.#changes.changed();
    return taken;
  }

  hasSendRoom(bytes: number): boolean {
    this.#blocked ||= this.sendRoom < bytes;
    return this.sendRoom >= bytes;
  }

  sendSpace(most: number): Readonly<SendSpace> | null {
    const length = Math.min(most, this.sendRoom);
    this.#blocked = length === 0;
    this.#space = new Uint8Array(length);
    return length === 0 ? null : { bytes: this.#space, offset: 0, length };
  }

  sendFilled(length: number): void {
    this.send(this.#space, 0, length);
  }

  consumed(length: number): void {
    this.consumedBytes += length;
    if (this.consumedBytes > this.sentBytes) throw new Error("more was consumed than the guest sent");
    this.#changes.changed();
  }

  shutdown(): void {
    this.shutdownCalled = true;
    this.#finishWhenDone();
    this.#changes.changed();
  }

  setNagle(): void {}

  setKeepAlive(): void {}

  setUserTimeout(): void {}

  abort(): void {
    this.#close("aborted");
  }

  /** The guest acknowledges and reads up to `count` bytes. */
  read(count: number): void {
    let left = count;
    while (left > 0 && this.#queue.length > 0) {
      const [first] = this.#queue;
      const part = first.subarray(0, left);
      this.#received.push(part);
      this.#receivedBytes += part.length;
      this.#queued -= part.length;
      left -= part.length;
      if (part.length === first.length) this.#queue.shift();
      else this.#queue[0] = first.subarray(part.length);
    }
    // As the stack does: half of the buffer is worth the owner's attention.
    if (this.#blocked && this.sendRoom >= this.#sendBuffer >> 1 && this.closeReason === null) {
      this.#blocked = false;
      this.#handler.writable(this);
    }
    this.#finishWhenDone();
    this.#changes.changed();
  }

  /** What the guest has read. */
  get received(): Buffer {
    this.#received = [Buffer.concat(this.#received)];
    return this.#received[0];
  }

  get receivedBytes(): number {
    return this.#receivedBytes;
  }

  /** Bytes that the window allows the guest to send. */
  get windowLeft(): number {
    return this.#window - (this.sentBytes - this.consumedBytes);
  }

  /** The guest sends one segment, which must fit the window. */
  segment(bytes: Uint8Array): void {
    if (bytes.length > this.windowLeft) throw new Error("the segment does not fit the window");
    const offset = 54;
    frame.set(bytes, offset);
    this.sentBytes += bytes.length;
    this.#handler.data(this, frame, offset, bytes.length);
    frame.fill(0xee, offset, offset + bytes.length);
    this.#changes.changed();
  }

  /** The guest sends all of `bytes` in batches of segments as the window allows. */
  async write(bytes: Uint8Array, segmentLength = 1460, segmentsPerBatch = 40): Promise<void> {
    let offset = 0;
    while (offset < bytes.length) {
      await this.until(() => this.windowLeft > 0 || this.closeReason !== null);
      if (this.closeReason !== null) return;
      for (let count = 0; count < segmentsPerBatch && offset < bytes.length && this.windowLeft > 0; count++) {
        const part = bytes.subarray(offset, offset + Math.min(segmentLength, this.windowLeft));
        this.segment(part);
        offset += part.length;
      }
      await new Promise((resolve) => setImmediate(resolve));
    }
  }

  /** The guest sends FIN. */
  end(): void {
    this.#guestEnded = true;
    this.#handler.end(this);
    this.#finishWhenDone();
  }

  /** The guest sends a reset, or goes away in another way. */
  disappear(reason: CloseReason = "reset"): void {
    this.#close(reason);
  }

  /** Waits until `condition` holds, looking again whenever anything happened. */
  until(condition: () => boolean): Promise<void> {
    return this.#changes.until(condition);
  }

  async closed(): Promise<CloseReason | null> {
    await this.until(() => this.closeReason !== null);
    return this.closeReason;
  }

  #finishWhenDone(): void {
    if (!this.#guestEnded || !this.shutdownCalled || this.#queued > 0) return;
    setImmediate(() => this.#close("finished"));
  }

  #close(reason: CloseReason): void {
    if (this.closeReason !== null) return;
    this.closeReason = reason;
    this.#handler.closed(this, reason);
    this.#changes.changed();
  }
}
