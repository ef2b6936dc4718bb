import { Random } from "../../packages/stack/src/testing/random.ts";
import type { BenchmarkEntry } from "./benchmark-entry.ts";
import { type Checkout, NotInCheckout } from "./checkout.ts";
import type { Benchmark } from "./measure.ts";
import { type PacketMemory, packetMemory } from "./packet-memory.ts";

/** A full segment at MTU 1500, and what the host's sockets are read by. */
const SIZES = [1448, 65_536];
/** Bytes that wait for their acknowledgment while others are appended, about. */
const QUEUED_BYTES = 256 * 1024;
const ROUNDS = 16;
const PATH = "packages/stack/src/tcp/send-buffer.ts";

type SendBufferModule = typeof import("../../packages/stack/src/tcp/send-buffer.ts");

/** The module as it was before buffers were packet memory, for comparisons with that. */
interface PooledModule {
  readonly BufferPool: new () => object;
  readonly SendBuffer: new (
    pool: object,
  ) => {
    append(bytes: Uint8Array, offset: number, length: number): void;
    copy(offset: number, length: number, target: Uint8Array, at: number): void;
    release(length: number): void;
  };
}

/** What is measured of a send buffer. */
interface Buffer {
  append(source: PacketMemory, at: number, length: number): void;
  copy(offset: number, length: number, target: PacketMemory, at: number): void;
  release(length: number): void;
}

async function newBuffer(checkout: Checkout): Promise<Buffer> {
  try {
    const module = await checkout.import<PooledModule>(PATH, {
      BufferPool: [],
      SendBuffer: ["append", "copy", "release"],
    });
    const buffer = new module.SendBuffer(new module.BufferPool());
    return {
      append: (source, at, length) => buffer.append(source.bytes, source.offset + at, length),
      copy: (offset, length, target, at) => buffer.copy(offset, length, target.bytes, target.offset + at),
      release: (length) => buffer.release(length),
    };
  } catch (error) {
    if (!(error instanceof NotInCheckout)) throw error;
  }
  const { SendBuffer } = await checkout.import<SendBufferModule>(PATH, { SendBuffer: ["append", "copy", "release"] });
  const buffer = new SendBuffer({ bytes: 0, flows: 0, mayReadAhead: true });
  return {
    append: (source, at, length) => buffer.append(source.bytes, source.offset + at, length),
    copy: (offset, length, { bytes, view, offset: start }, at) => buffer.copy(offset, length, bytes, view, start + at),
    release: (length) => buffer.release(length),
  };
}

/** As {@link newBuffer}, for what is read from a socket straight into the buffer. */
async function newBufferInPlace(checkout: Checkout): Promise<Buffer> {
  const { SendBuffer } = await checkout.import<SendBufferModule>(PATH, {
    SendBuffer: ["spaceFor", "fill", "copy", "release"],
  });
  const buffer = new SendBuffer({ bytes: 0, flows: 0, mayReadAhead: true });
  const space = { bytes: new Uint8Array(0), offset: 0, length: 0 };
  return {
    append: (_source, _at, length) => {
      for (let left = length; left > 0; left -= space.length) {
        buffer.spaceFor(left, space);
        buffer.fill(space.length);
      }
    },
    copy: (offset, length, { bytes, view, offset: start }, at) => buffer.copy(offset, length, bytes, view, start + at),
    release: (length) => buffer.release(length),
  };
}

async function load(checkout: Checkout, buffer: Buffer, size: number): Promise<Benchmark> {
  const source = await packetMemory(checkout, 2 * size);
  new Random(size).fill(source.bytes.subarray(source.offset, source.offset + 2 * size));
  const target = await packetMemory(checkout, 2 * size);
  let length = 0;
  for (; length < QUEUED_BYTES; length += size) buffer.append(source, 0, size);
  return {
    operations: ROUNDS,
    run() {
      let total = 0;
      for (let round = 0; round < ROUNDS; round++) {
        buffer.append(source, 2 * round, size);
        buffer.copy(length, size, target, 2 * round);
        buffer.release(size);
        total += target.bytes[target.offset + 2 * round];
      }
      return total;
    },
  };
}

export const sendBufferBenchmarks: readonly BenchmarkEntry[] = SIZES.flatMap((size) => [
  {
    name: `send buffer: append, copy and release ${size} bytes`,
    load: async (checkout: Checkout) => load(checkout, await newBuffer(checkout), size),
  },
  {
    name: `send buffer: fill in place, copy and release ${size} bytes`,
    load: async (checkout: Checkout) => load(checkout, await newBufferInPlace(checkout), size),
  },
]);
