import fc from "fast-check";
import type { FlowPlan, JoinedScenario } from "../../../packages/stack/src/testing/simulator/joined-scenario.ts";
import type { Pair } from "../../../packages/stack/src/testing/simulator/joined-stacks.ts";
import type { LinkOptions, Outage } from "../../../packages/stack/src/testing/simulator/link.ts";
import type { ModelScenario } from "../../../packages/stack/src/testing/simulator/model-scenario.ts";
import type { Pace, TransferOptions } from "../../../packages/stack/src/testing/simulator/transfer.ts";

/** How bad a link may be: whether TCP has to get everything across it, or may have to give up. */
type Severity = "bearable" | "any";

/** Something of `pieces` parts, one every so many milliseconds. */
interface Pieces {
  readonly pieces: number;
  readonly every: number;
}

/** Null, but for one in so many. */
function rarely<Value>(oneIn: number, arbitrary: fc.Arbitrary<Value>): fc.Arbitrary<Value | null> {
  return fc.oneof({ weight: oneIn - 1, arbitrary: fc.constant(null) }, { weight: 1, arbitrary });
}

/** Probabilities, and milliseconds. A burst lasts until a frame has it end. */
const WORST: Record<
  Severity,
  { loss: number; burstEnds: number; outages: number; outage: number; outagesFrom: number }
> = {
  // An outage of less than a second swallows one of three ARP requests or of their answers.
  bearable: { loss: 0.04, burstEnds: 0.6, outages: 1, outage: 900, outagesFrom: 3000 },
  any: { loss: 0.3, burstEnds: 0.2, outages: 2, outage: 300_000, outagesFrom: 10_000 },
};

function probability(largest: number): fc.Arbitrary<number> {
  return fc.integer({ min: 0, max: largest * 1000 }).map((thousandths) => thousandths / 1000);
}

function outage(severity: Severity): fc.Arbitrary<Outage> {
  const { outage, outagesFrom } = WORST[severity];
  return fc.tuple(fc.nat(outagesFrom), fc.nat(outage)).map(([from, lasts]) => ({ from, to: from + lasts }));
}

function link(severity: Severity): fc.Arbitrary<LinkOptions> {
  const { loss, burstEnds, outages } = WORST[severity];
  return fc.record(
    {
      bandwidth: fc.constantFrom(1e9, 100e6, 10e6, 1e6),
      delay: fc.constantFrom(0, 0.1, 1, 10, 50, 150),
      jitter: fc.constantFrom(0.05, 1, 20),
      queue: fc.integer({ min: 3, max: 300 }),
      refusesWhenFull: fc.boolean(),
      loss: probability(loss),
      bursts: fc.record({ enter: probability(loss / 4), leave: fc.constantFrom(0.9, burstEnds) }),
      reordering: probability(0.3),
      reorderingDelay: fc.constantFrom(0.1, 3, 30),
      duplication: probability(0.1),
      corruption: probability(loss),
      refusal: probability(0.5),
      outages: fc.array(outage(severity), { maxLength: outages }),
      coalescing: fc.constantFrom(0.05, 1, 10),
    },
    { requiredKeys: [] },
  );
}

/** Sequence numbers around 0 and around 2^31: the first bytes cross the wrap, or the change of sign, or do not. */
const firstSequence = fc
  .tuple(fc.constantFrom(0, 0x8000_0000), fc.integer({ min: -60_000, max: 10 }))
  .map(([base, offset]) => (base + offset) | 0);

const mtu = fc.oneof(fc.constantFrom(1500, 576, 9000, 65_520), fc.integer({ min: 576, max: 65_520 }));

/** The clock's first value: also such that the 32 bits of the timestamps' clock wrap, or change sign. */
const startAt = fc.constantFrom(1000, 2 ** 31 - 3000, 2 ** 32 - 3000);

const common = {
  seed: fc.nat(),
  startAt,
  lateness: fc.constantFrom(0, 0, 1.5, 30),
  pollsEarly: fc.boolean(),
};

const settings = fc.record(
  {
    congestionControl: fc.constantFrom("cubic" as const, "reno" as const),
    timestamps: fc.boolean(),
    selectiveAcknowledgments: fc.boolean(),
    receiveRing: fc.constantFrom(256, 64, 1000),
    bufferBudget: fc.constantFrom(0, 200_000),
  },
  { requiredKeys: [] },
);

const length = fc.oneof(fc.nat(3000), fc.nat(100_000));
const pieces = rarely<Pieces>(
  2,
  fc.record({ pieces: fc.integer({ min: 1, max: 60 }), every: fc.constantFrom(1, 0, 30, 250) }),
);
const closes = fc.constantFrom("when written" as const, "after the peer" as const);

function pace(total: number, pieces: Pieces): Pace {
  return { bytes: Math.max(1, Math.ceil(total / pieces.pieces)), every: pieces.every };
}

interface Manners {
  readonly length: number;
  readonly writes: Pieces | null;
  readonly reads: Pieces | null;
  readonly closes: "when written" | "after the peer";
  readonly abortsAt: number | null;
}

const manners: fc.Arbitrary<Manners> = fc.record({
  length,
  writes: pieces,
  reads: pieces,
  closes,
  abortsAt: fc.constant(null),
});

function owner({ length, writes, reads, closes, abortsAt }: Manners, others: number): TransferOptions {
  return {
    length,
    closes,
    ...(writes === null ? {} : { writes: pace(length, writes) }),
    ...(reads === null ? {} : { reads: pace(others, reads) }),
    ...(abortsAt === null ? {} : { abortsAfter: Math.ceil(abortsAt * others) }),
  };
}

/** At least one side closes without waiting for the other. */
function plan([left, right, answersAfter]: readonly [Manners, Manners, number]): FlowPlan {
  const first: Manners = right.closes === "after the peer" ? { ...left, closes: "when written" } : left;
  return { owners: [owner(first, right.length), owner(right, left.length)], answersAfter };
}

function flow(each: fc.Arbitrary<Manners>): fc.Arbitrary<FlowPlan> {
  return fc.tuple(each, each, fc.constantFrom(0, 0, 5, 700, 2500)).map(plan);
}

function pair<Value>(each: fc.Arbitrary<Value>): fc.Arbitrary<Pair<Value>> {
  return fc.tuple(each, each);
}

/** Two stacks on a link that is bad, but no worse than TCP has to cope with, and whose owners part in peace. */
export const bearableScenario: fc.Arbitrary<JoinedScenario> = fc.record({
  ...common,
  mtu: pair(mtu),
  firstSequences: pair(firstSequence),
  link: pair(link("bearable")),
  stack: settings.map((tcp) => ({ tcp })),
  flows: fc.array(flow(manners), { minLength: 1, maxLength: 3 }),
});

/** A connection whose other side is gone is noticed in finite time only by asking. */
const KEEP_ALIVE = { keepAliveIdle: 30_000, keepAliveInterval: 5000, keepAliveProbes: 5 };

const rejection = fc.constantFrom(
  "refused" as const,
  "silent" as const,
  "host-unreachable" as const,
  "prohibited" as const,
);

/** Owners that may reset the connection once a part of the other's data has come. */
const anyManners = fc
  .tuple(manners, rarely(4, fc.double({ min: 0.01, max: 1, noNaN: true })))
  .map(([each, abortsAt]): Manners => ({ ...each, abortsAt }));

const anyFlow: fc.Arbitrary<FlowPlan> = fc
  .tuple(flow(anyManners), rarely(12, rejection))
  .map(([plan, rejects]) => (rejects === null ? plan : { ...plan, rejects }));

/** Two stacks on any link, whose owners may abort or turn down, and of which one may vanish. */
export const anyScenario: fc.Arbitrary<JoinedScenario> = fc
  .tuple(
    fc.record({
      ...common,
      mtu: pair(mtu),
      firstSequences: pair(firstSequence),
      link: pair(fc.oneof(link("bearable"), link("any"))),
      stack: settings.map((tcp) => ({ tcp: { ...tcp, ...KEEP_ALIVE } })),
      flows: fc.array(anyFlow, { minLength: 1, maxLength: 3 }),
    }),
    rarely(4, fc.record({ side: fc.constantFrom(0 as const, 1 as const), at: fc.nat(3000) })),
  )
  .map(([scenario, vanishes]) => (vanishes === null ? scenario : { ...scenario, vanishes }));

const buffer = fc.oneof(
  fc.integer({ min: 2000, max: 65_535 }),
  fc.integer({ min: 1, max: 2000 }),
  fc.integer({ min: 65_536, max: 1_000_000 }),
);

const modelPeer = fc.record({
  opens: fc.boolean(),
  mss: fc.constantFrom(1460, undefined, 64, 536, 8960, 65_495),
  windowScale: fc.option(fc.integer({ min: 0, max: 15 }), { nil: undefined }),
  sack: fc.boolean(),
  timestamps: fc.boolean(),
  delaysAcknowledgments: fc.boolean(),
  buffer,
  reads: pieces,
  shrinks: fc.boolean(),
  reneges: fc.boolean(),
  length,
  largestSegment: fc.oneof(fc.constantFrom(1460, 65_495), fc.integer({ min: 1, max: 3000 })),
  closes,
});

/** A stack against a simple TCP of other code on a bad link, in which a few bytes at a time take many segments. */
export const modelScenario: fc.Arbitrary<ModelScenario> = fc
  .record({
    ...common,
    mtu,
    firstSequences: pair(firstSequence),
    link: pair(link("bearable")),
    stack: settings.map((tcp) => ({ tcp })),
    manners,
    peer: modelPeer,
  })
  .map(({ manners, peer, ...scenario }) => {
    const { mss, windowScale, reads, ...rest } = peer;
    const { opens, delaysAcknowledgments, largestSegment, closes } = rest;
    // A window that its scaling rounds to nothing would never open.
    const room = Math.max(peer.buffer, 2 ** (Math.min(14, windowScale ?? 0) + 1));
    const sent = Math.min(manners.length, 100 * room, 200 * (mss ?? 536));
    const theirs = Math.min(peer.length, 200 * largestSegment);
    const side = owner({ ...manners, length: sent }, theirs);
    return {
      ...scenario,
      owner: closes === "after the peer" ? { ...side, closes: "when written" } : side,
      peer: {
        opens,
        delaysAcknowledgments,
        largestSegment,
        closes,
        sack: peer.sack,
        timestamps: peer.timestamps,
        shrinks: peer.shrinks,
        reneges: peer.reneges,
        buffer: room,
        length: theirs,
        ...(mss === undefined ? {} : { mss }),
        ...(windowScale === undefined ? {} : { windowScale }),
        ...(reads === null ? {} : { reads: pace(sent, reads) }),
      },
    };
  });
