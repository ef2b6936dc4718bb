import type { FrameConsumer } from "../port.ts";

/** Keeps what a port tells it, and lets a test wait for it. */
export class RecordingConsumer implements FrameConsumer {
  /** Copies of the frames, in order. */
  readonly frames: Uint8Array[] = [];
  /** How many frames each batch had. */
  readonly batches: number[] = [];
  pendingCalls = 0;
  writableCalls = 0;
  /** The argument of each call of {@link FrameConsumer.closed}. */
  readonly faults: (string | null)[] = [];
  /** Called with each frame, after it was kept. */
  onFrame: ((frame: Uint8Array) => void) | null = null;
  onWritable: (() => void) | null = null;
  #inBatch = 0;
  readonly #waiting = new Set<() => void>();

  receiveFrame(bytes: Uint8Array, view: DataView, offset: number, length: number): void {
    if (view.buffer !== bytes.buffer || view.byteOffset !== bytes.byteOffset) throw new Error("view is not of bytes");
    if (this.faults.length > 0) throw new Error("a frame after closed()");
    const frame = bytes.slice(offset, offset + length);
    this.frames.push(frame);
    this.#inBatch++;
    this.onFrame?.(frame);
    this.#changed();
  }

  endBatch(): void {
    if (this.faults.length > 0) throw new Error("endBatch() after closed()");
    this.batches.push(this.#inBatch);
    this.#inBatch = 0;
    this.#changed();
  }

  pending(): void {
    this.pendingCalls++;
  }

  writable(): void {
    this.writableCalls++;
    this.onWritable?.();
    this.#changed();
  }

  closed(fault: string | null): void {
    this.faults.push(fault);
    this.#changed();
  }

  /** Resolves once `holds` does, which is asked after each event. */
  async until(holds: () => boolean): Promise<void> {
    while (!holds()) await new Promise<void>((resolve) => this.#waiting.add(resolve));
  }

  /** Resolves once the port has closed, with its fault. */
  async closing(): Promise<string | null> {
    await this.until(() => this.faults.length > 0);
    return this.faults[0];
  }

  #changed(): void {
    for (const resolve of this.#waiting) resolve();
    this.#waiting.clear();
  }
}
