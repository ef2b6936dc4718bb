import { Random } from "../../packages/stack/src/testing/random.ts";
import type { BenchmarkEntry } from "./benchmark-entry.ts";
import type { Checkout } from "./checkout.ts";
import type { Benchmark } from "./measure.ts";

const COUNTS = [1, 100, 10_000];
const LOOK_UPS = 16_384;
const GUEST = 0x0a000002;
/** Ports of the guest below are of flows, those above of none. */
const FIRST_FREE_PORT = 32_768;

/** A four-tuple as the guest's segments have it: from one address, to some servers. */
interface Tuple {
  readonly remoteAddress: number;
  readonly localAddress: number;
  readonly ports: number;
}

function tupleOf(number: number, firstPort: number): Tuple {
  const server = 0xcb007100 + (number % 16);
  return { remoteAddress: GUEST, localAddress: server | 0, ports: ((firstPort + number) << 16) | 443 };
}

async function load(checkout: Checkout, count: number, isHit: boolean): Promise<Benchmark> {
  const { FlowTable } = await checkout.import<typeof import("../../packages/stack/src/tcp/flow-table.ts")>(
    "packages/stack/src/tcp/flow-table.ts",
    { FlowTable: ["add", "get"] },
  );
  const table = new FlowTable<Tuple>(0x5eed);
  for (let number = 0; number < count; number++) table.add(tupleOf(number, 1024));
  const random = new Random(count);
  const localAddresses = new Int32Array(LOOK_UPS);
  const ports = new Int32Array(LOOK_UPS);
  for (let index = 0; index < LOOK_UPS; index++) {
    const tuple = tupleOf(random.below(count), isHit ? 1024 : FIRST_FREE_PORT);
    localAddresses[index] = tuple.localAddress;
    ports[index] = tuple.ports;
  }
  const run = () => {
    let found = 0;
    for (let index = 0; index < LOOK_UPS; index++) {
      const entry = table.get(GUEST, localAddresses[index], ports[index]);
      if (entry !== null) found++;
    }
    return found;
  };
  const expected = isHit ? LOOK_UPS : 0;
  if (run() !== expected) throw new Error(`not ${expected} of ${LOOK_UPS} look-ups found their flow`);
  return { operations: LOOK_UPS, run };
}

export const flowTableBenchmarks: readonly BenchmarkEntry[] = COUNTS.flatMap((count) =>
  [true, false].map((isHit) => ({
    name: `flow look-up: ${isHit ? "hit" : "miss"} among ${count}`,
    load: (checkout: Checkout) => load(checkout, count, isHit),
  })),
);
