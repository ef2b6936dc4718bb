/**
 * Where the stack builds the frames it sends: the transport's own batch buffer.
 *
 * A transport keeps room for its framing (a length prefix, say) in front of each reserved frame, so that what a turn
 * of the event loop produced leaves in one write without another copy.
 */
export interface FrameSink {
  /** The memory that {@link reserve} hands out offsets into; replaced by `reserve`, so read it after each call. */
  readonly bytes: Uint8Array;
  /** A view of {@link bytes} from its first byte. */
  readonly view: DataView;

  /**
   * Makes room for one frame.
   *
   * @param length - bytes of the whole Ethernet frame, without a frame check sequence.
   * @returns the offset of the frame in {@link bytes}, or -1 when the transport can take no more for now; the stack's
   *   owner then calls `Stack.flush` once it can.
   */
  reserve(length: number): number;

  /**
   * Queues the frame that was last reserved. A reserved frame that is never committed is not sent.
   *
   * @param length - bytes of the frame as it was built, at most what was reserved.
   */
  commit(length: number): void;
}

/** A link that takes every frame and drops it: what a stack holds while no VM is attached. */
export class NullLink implements FrameSink {
  readonly bytes = new Uint8Array(65536 + 128);
  readonly view = new DataView(this.bytes.buffer);

  reserve(length: number): number {
    return length <= this.bytes.length ? 0 : -1;
  }

  commit(): void {}
}
