import { Random } from "../../packages/stack/src/testing/random.ts";
import type { BenchmarkEntry } from "./benchmark-entry.ts";
import type { Checkout } from "./checkout.ts";
import type { Benchmark } from "./measure.ts";
import { heapMemory, type PacketMemory, packetMemory } from "./packet-memory.ts";

/** A header, an acknowledgment, a small one, full segments of MTUs 1500, 9000 and 65520. */
const SIZES = [20, 64, 200, 1460, 8960, 65_480];
const SUMS = 64;

async function load(checkout: Checkout, size: number, memory: PacketMemory, room: number): Promise<Benchmark> {
  const { sum } = await checkout.import<typeof import("../../packages/stack/src/wire/checksum.ts")>(
    "packages/stack/src/wire/checksum.ts",
    { sum: [] },
  );
  const { bytes, view, offset } = memory;
  const random = new Random(size);
  for (let at = 0; at < room; at++) bytes[offset + at] = random.bits();
  // Read from memory, so that neither is a constant to the compiler. Headers begin at any even offset.
  const offsets = Int32Array.from({ length: SUMS }, () => offset + 2 * random.below((room - size) / 2));
  const lengths = new Int32Array(SUMS).fill(size);
  return {
    operations: SUMS,
    run() {
      let total = 0;
      for (let index = 0; index < SUMS; index++) total += sum(view, offsets[index], lengths[index]);
      return total;
    },
  };
}

export const checksumBenchmarks: readonly BenchmarkEntry[] = SIZES.flatMap((size) => {
  // Frames of a batch lie one behind the other; most of it is in the processor's caches.
  const room = 2 ** Math.ceil(Math.log2(Math.max(32 * 1024, 2 * size)));
  return [
    {
      name: `checksum: ${size} bytes`,
      load: async (checkout: Checkout) => load(checkout, size, await packetMemory(checkout, room), room),
    },
    {
      name: `checksum: ${size} bytes on the heap`,
      load: (checkout: Checkout) => load(checkout, size, heapMemory(room), room),
    },
  ];
});
