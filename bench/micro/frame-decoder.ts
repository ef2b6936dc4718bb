import type { BenchmarkEntry } from "./benchmark-entry.ts";
import { type Checkout, NotInCheckout } from "./checkout.ts";
import type { Benchmark } from "./measure.ts";

const FRAMES = 64;
const FRAME_LENGTH = 1514;
const PREFIX_LENGTH = 4;

async function load(checkout: Checkout): Promise<Benchmark> {
  const { FrameDecoder } = await checkout.import<typeof import("../../packages/frontends/src/frame-decoder.ts")>(
    "packages/frontends/src/frame-decoder.ts",
    { FrameDecoder: ["push"] },
  );
  const decoder = new FrameDecoder("qemu");
  const { readBuffer } = decoder;
  if (!(readBuffer instanceof Uint8Array)) throw new NotInCheckout("FrameDecoder has no readBuffer");
  const view = new DataView(readBuffer.buffer, readBuffer.byteOffset, readBuffer.length);
  const length = FRAMES * (PREFIX_LENGTH + FRAME_LENGTH);
  for (let at = 0; at < length; at += PREFIX_LENGTH + FRAME_LENGTH) view.setUint32(at, FRAME_LENGTH);
  let frames = 0;
  let bytes = 0;
  const consumer = {
    receiveFrame: (_bytes: Uint8Array, _view: DataView, offset: number, frameLength: number) => {
      frames++;
      bytes = (bytes + offset + frameLength) | 0;
    },
    endBatch: () => {},
    pending: () => {},
    writable: () => {},
    closed: () => {},
  };
  const isOpen = () => true;
  return {
    operations: FRAMES,
    run() {
      frames = 0;
      const fault = decoder.push(length, consumer, isOpen);
      if (fault !== null || frames !== FRAMES) throw new Error(`${frames} of ${FRAMES} frames, fault: ${fault}`);
      return bytes;
    },
  };
}

export const frameDecoderBenchmarks: readonly BenchmarkEntry[] = [
  { name: `frame decoder: a frame of ${FRAME_LENGTH} bytes, ${FRAMES} in one read`, load },
];
