import type { FrameConsumer, FramePort } from "../port.ts";

/** A link without a socket: keeps what is sent, and takes frames only while {@link room} lasts. */
export class FakePort implements FramePort {
  readonly name = "fake";
  readonly bytes = new Uint8Array(128 * 1024);
  readonly view = new DataView(this.bytes.buffer);
  /** Frames that may still be reserved. */
  room = Number.POSITIVE_INFINITY;
  refusals = 0;
  /** Each flush that had something to send, with its frames. */
  readonly flushes: Uint8Array[][] = [];
  consumer: FrameConsumer | null = null;
  /** Called with the frames of each flush. */
  onFlush: ((frames: Uint8Array[]) => void) | null = null;
  #committed: Uint8Array[] = [];
  #closing = false;

  /** Everything that was flushed. */
  get sent(): Uint8Array[] {
    return this.flushes.flat();
  }

  start(consumer: FrameConsumer): void {
    this.consumer = consumer;
  }

  reserve(length: number): number {
    if (this.#closing || this.room <= 0 || length > this.bytes.length) {
      this.refusals++;
      return -1;
    }
    return 0;
  }

  commit(length: number): void {
    this.room--;
    this.#committed.push(this.bytes.slice(0, length));
    if (this.#committed.length === 1) this.consumer?.pending();
  }

  flush(): void {
    const frames = this.#committed;
    if (frames.length === 0) return;
    this.#committed = [];
    this.flushes.push(frames);
    this.onFlush?.(frames);
  }

  close(): void {
    this.flush();
    this.#closing = true;
    queueMicrotask(() => this.leave(null));
  }

  /** Hands over frames as one read. */
  receive(...frames: readonly Uint8Array[]): void {
    for (const frame of frames) {
      this.consumer?.receiveFrame(frame, new DataView(frame.buffer, frame.byteOffset), 0, frame.length);
    }
    this.consumer?.endBatch();
  }

  /** The VM goes. */
  leave(fault: string | null): void {
    const { consumer } = this;
    this.consumer = null;
    consumer?.closed(fault);
  }
}

/** Joins two links: what one flushes the other receives, later, as one read. */
export function joinPorts(left: FakePort, right: FakePort): void {
  left.onFlush = (frames) => setImmediate(() => right.receive(...frames));
  right.onFlush = (frames) => setImmediate(() => left.receive(...frames));
}
