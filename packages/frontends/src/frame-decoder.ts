import { giveRegion, type PacketRegion, takeRegion } from "@hostd/stack";
import { FRAMINGS, type Framing, type FramingFormat } from "./framing.ts";
import type { FrameConsumer } from "./port.ts";

/** Room in front of the read buffer for a frame that the read before it brought only in part, in any framing. */
const CARRY_BYTES = FRAMINGS.qemu.prefixLength + FRAMINGS.qemu.maxFrameLength;
/** Bytes of one read and of that room; a Unix socket has some hundred KiB at a time. */
const BUFFER_BYTES = 1024 * 1024;

/**
 * Cuts a stream into frames, in place.
 *
 * Reads land in {@link readBuffer}. A frame that is not whole at the end of a read is moved to just before the buffer,
 * so that the next read completes it; that is the only copy.
 */
export class FrameDecoder {
  /** Where the transport reads to. */
  readonly readBuffer: Uint8Array;
  readonly #format: FramingFormat;
  readonly #region: PacketRegion;
  /** Where {@link readBuffer} begins in the region's memory. */
  readonly #start: number;
  #carried = 0;

  constructor(framing: Framing) {
    this.#format = FRAMINGS[framing];
    this.#region = takeRegion(BUFFER_BYTES);
    this.#start = this.#region.offset + CARRY_BYTES;
    this.readBuffer = this.#region.bytes.subarray(this.#start, this.#region.offset + BUFFER_BYTES);
  }

  /** Bytes of a frame that is not whole yet. */
  get carried(): number {
    return this.#carried;
  }

  /**
   * Hands over the frames that `length` new bytes in {@link readBuffer} complete.
   *
   * @param isOpen - asked after each frame, because a frame may close the link.
   * @returns what is wrong with the stream, or null.
   */
  push(length: number, consumer: FrameConsumer, isOpen: () => boolean): string | null {
    const { bytes, view } = this.#region;
    const { prefixLength, maxFrameLength } = this.#format;
    const end = this.#start + length;
    let at = this.#start - this.#carried;
    while (end - at >= prefixLength) {
      const frameLength = prefixLength === 4 ? view.getUint32(at) : view.getUint16(at, true);
      if (frameLength === 0 || frameLength > maxFrameLength) {
        const { label } = this.#format;
        return `a frame length of ${frameLength}, allowed are 1 to ${maxFrameLength}: is this ${label} stream framing?`;
      }
      const frame = at + prefixLength;
      if (end - frame < frameLength) break;
      consumer.receiveFrame(bytes, view, frame, frameLength);
      if (!isOpen()) return null;
      at = frame + frameLength;
    }
    this.#carried = end - at;
    if (at < end) bytes.copyWithin(this.#start - this.#carried, at, end);
    return null;
  }

  /** Gives the memory back, once nothing reads into it any more. */
  free(): void {
    giveRegion(this.#region);
  }
}
