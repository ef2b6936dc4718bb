/** Bytes of the length in front of each frame. */
const PREFIX_LENGTH = 4;

/** Frames as QEMU sends them: each behind its length. */
export function encodeQemuFrames(...frames: readonly Uint8Array[]): Uint8Array {
  const stream = new Uint8Array(frames.reduce((sum, { length }) => sum + PREFIX_LENGTH + length, 0));
  const view = new DataView(stream.buffer);
  let at = 0;
  for (const frame of frames) {
    view.setUint32(at, frame.length);
    stream.set(frame, at + PREFIX_LENGTH);
    at += PREFIX_LENGTH + frame.length;
  }
  return stream;
}

/** Cuts what arrives from the host into frames. Made apart from the decoder under test, for whole buffers only. */
export class QemuStreamReader {
  #rest: Buffer = Buffer.alloc(0);

  /** Bytes of a frame that is not whole. */
  get incomplete(): number {
    return this.#rest.length;
  }

  /** @returns the frames that `chunk` completes. */
  push(chunk: Uint8Array): Uint8Array[] {
    const bytes = this.#rest.length === 0 ? Buffer.from(chunk) : Buffer.concat([this.#rest, chunk]);
    const frames: Uint8Array[] = [];
    let at = 0;
    while (bytes.length - at >= PREFIX_LENGTH) {
      const end = at + PREFIX_LENGTH + bytes.readUInt32BE(at);
      if (end > bytes.length) break;
      frames.push(new Uint8Array(bytes.subarray(at + PREFIX_LENGTH, end)));
      at = end;
    }
    this.#rest = bytes.subarray(at);
    return frames;
  }
}
