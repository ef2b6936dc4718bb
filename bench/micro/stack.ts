import type { BenchmarkEntry } from "./benchmark-entry.ts";
import type { Checkout } from "./checkout.ts";
import type { Benchmark } from "./measure.ts";
import { StackPair } from "./stack-pair.ts";

/** How many full segments a batch has, by the MTU: a read of the link brings a few hundred KiB at most. */
const SEGMENTS = new Map([
  [1500, 64],
  [65_520, 4],
]);
/** Bytes of headers with timestamps: IPv4, TCP and its option. */
const HEADERS = 20 + 32;
const ACKNOWLEDGMENTS = 64;
const MAXIMUM_TURNS = 10_000;

async function loadReceive(checkout: Checkout, mtu: number, segments: number): Promise<Benchmark> {
  const pair = await StackPair.create(checkout, { mtu, guestFrames: segments, hostFrames: segments });
  const { fromGuest, host } = pair;
  const bytes = segments * (mtu - HEADERS);
  return {
    operations: segments,
    prepare: () => pair.batchFromGuest(),
    run() {
      const before = pair.received;
      fromGuest.deliverTo(host);
      if (pair.received - before !== bytes)
        throw new Error(`${pair.received - before} of ${bytes} bytes were received`);
      return bytes;
    },
  };
}

async function loadAcknowledgment(checkout: Checkout): Promise<Benchmark> {
  const mtu = 1500;
  const pair = await StackPair.create(checkout, { mtu, guestFrames: ACKNOWLEDGMENTS, hostFrames: 2 * ACKNOWLEDGMENTS });
  const { fromGuest, host, hostFlow } = pair;
  const bytes = 2 * ACKNOWLEDGMENTS * (mtu - HEADERS);
  return {
    operations: ACKNOWLEDGMENTS,
    prepare: () => pair.acknowledgmentsFromGuest(),
    run() {
      const before = hostFlow.sendQueued;
      fromGuest.deliverTo(host);
      const acknowledged = before - hostFlow.sendQueued;
      if (acknowledged !== bytes) throw new Error(`${acknowledged} of ${bytes} bytes were acknowledged`);
      return bytes;
    },
  };
}

async function loadSend(checkout: Checkout, mtu: number, segments: number): Promise<Benchmark> {
  const pair = await StackPair.create(checkout, { mtu, guestFrames: segments, hostFrames: segments });
  const { fromHost, fullFrame, host } = pair;
  // The congestion window and the buffers grow until a batch fits.
  for (let turns = 0; !fromHost.isFullOf(fullFrame); turns++) {
    if (turns === MAXIMUM_TURNS) throw new Error(`the host does not send ${segments} full segments at once`);
    pair.readyToSend();
    host.flush();
  }
  return {
    operations: segments,
    prepare: () => pair.readyToSend(),
    run() {
      host.flush();
      if (!fromHost.isFullOf(fullFrame)) throw new Error(`${fromHost.count} of ${segments} segments were sent`);
      return fromHost.count;
    },
  };
}

export const stackBenchmarks: readonly BenchmarkEntry[] = [
  ...[...SEGMENTS].map(([mtu, segments]) => ({
    name: `receive: a data segment of ${mtu - HEADERS} bytes`,
    load: (checkout: Checkout) => loadReceive(checkout, mtu, segments),
  })),
  { name: "receive: an ACK of two segments", load: loadAcknowledgment },
  ...[...SEGMENTS].map(([mtu, segments]) => ({
    name: `send: a data segment of ${mtu - HEADERS} bytes`,
    load: (checkout: Checkout) => loadSend(checkout, mtu, segments),
  })),
];
