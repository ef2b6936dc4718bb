import type { BenchmarkEntry } from "./benchmark-entry.ts";
import type { Checkout } from "./checkout.ts";
import type { Benchmark } from "./measure.ts";

const SEGMENT = 1448;
/** Segments in flight, between two acknowledgments. */
const IN_FLIGHT = 64;
/** Every second segment is acknowledged (RFC 9293, 3.8.6.3). */
const SEGMENTS_PER_ACKNOWLEDGMENT = 2;
const SEGMENTS = 256;

async function load(checkout: Checkout): Promise<Benchmark> {
  const { Delivery, RetransmissionQueue, SegmentRingPool } = await checkout.import<
    typeof import("../../packages/stack/src/tcp/retransmission-queue.ts")
  >("packages/stack/src/tcp/retransmission-queue.ts", {
    Delivery: ["reset"],
    RetransmissionQueue: ["push", "acknowledge"],
    SegmentRingPool: [],
  });
  const { LinkLoad } = await checkout.import<typeof import("../../packages/stack/src/tcp/link-load.ts")>(
    "packages/stack/src/tcp/link-load.ts",
    { LinkLoad: [] },
  );
  const { Rack } = await checkout.import<typeof import("../../packages/stack/src/tcp/rack.ts")>(
    "packages/stack/src/tcp/rack.ts",
    { Rack: ["start"] },
  );
  const delivery = new Delivery();
  const queue = new RetransmissionQueue(new SegmentRingPool(), delivery, new LinkLoad(256));
  const rack = new Rack();
  let next = 0x7fff_0000;
  let acknowledged = next;
  let now = 0.5;
  rack.start(next);
  const push = () => {
    const end = (next + SEGMENT) | 0;
    queue.push(next, end, now);
    next = end;
  };
  for (let segment = 0; segment < IN_FLIGHT; segment++) push();
  return {
    operations: SEGMENTS,
    run() {
      let delivered = 0;
      for (let segment = 0; segment < SEGMENTS; segment += SEGMENTS_PER_ACKNOWLEDGMENT) {
        now += 0.01;
        for (let pushed = 0; pushed < SEGMENTS_PER_ACKNOWLEDGMENT; pushed++) push();
        acknowledged = (acknowledged + SEGMENTS_PER_ACKNOWLEDGMENT * SEGMENT) | 0;
        delivery.reset();
        queue.acknowledge(acknowledged, next, rack, now);
        delivered += delivery.segments;
      }
      if (delivered !== SEGMENTS) throw new Error(`${delivered} of ${SEGMENTS} segments were acknowledged`);
      return delivered;
    },
  };
}

export const retransmissionQueueBenchmarks: readonly BenchmarkEntry[] = [
  { name: "retransmission queue: append and acknowledge a segment", load },
];
