import fc from "fast-check";
import type { RejectReason, TcpHandler } from "../tcp/flow.ts";

/** A sequence number that the fuzzer chooses: so many bytes from an interesting place. */
export interface Place<Base extends string> {
  readonly base: Base;
  readonly offset: number;
}

/**
 * Places in the peer's sequence space: what the stack expects next, the right edge of its window, the SYN, the end of
 * all that was sent, and the wrap.
 */
export type SequenceBase = "next" | "edge" | "initial" | "sent" | "wrap";
/**
 * Places in the stack's sequence space: the end of all that it sent, the oldest byte that is not acknowledged, the SYN,
 * the right edge of the peer's window, and the wrap.
 */
export type AcknowledgmentBase = "maximum" | "unacknowledged" | "initial" | "edge" | "wrap";

/** One option of a segment, right or wrong. */
export type OptionStep =
  | {
      readonly option: "timestamps";
      readonly value: "now" | "old" | "ancient" | "new" | "far" | "zero";
      readonly echo: "last" | "old" | "future" | "zero";
    }
  | {
      readonly option: "sack";
      readonly blocks: readonly (readonly [Place<AcknowledgmentBase>, Place<AcknowledgmentBase>])[];
    }
  | { readonly option: "mss"; readonly size: number }
  | { readonly option: "scale"; readonly shift: number }
  | { readonly option: "sackPermitted" }
  | { readonly option: "nop"; readonly count: number }
  | { readonly option: "end" }
  /** The beginning of an option with a length that may be wrong. */
  | { readonly option: "cut"; readonly kind: number; readonly length: number }
  | { readonly option: "raw"; readonly bytes: readonly number[] };

export interface SegmentStep {
  readonly do: "segment";
  readonly flags: string;
  readonly sequence: Place<SequenceBase>;
  readonly acknowledgment: Place<AcknowledgmentBase>;
  /** The field as it stands in the header. */
  readonly window: number;
  readonly length: number;
  /** Whether the data is other than the peer's stream has at that place. */
  readonly lies: boolean;
  /** What a good peer would send, or the options one by one. */
  readonly options: "usual" | readonly OptionStep[];
  /** The header length to claim; the true one when null. */
  readonly headerLength: number | null;
  readonly copies: number;
  /** Whether the stack gets all copies before it may answer. */
  readonly atOnce: boolean;
}

/** What the owner of a connection does, or of a request that waits. */
export type OwnerAction =
  | { readonly act: "send" | "consume"; readonly length: number }
  | { readonly act: "consumes"; readonly on: boolean }
  | { readonly act: "shutdown" | "abort" | "accept" }
  | { readonly act: "reject"; readonly reason: RejectReason }
  | { readonly act: "nagle"; readonly on: boolean }
  | { readonly act: "keepAlive" | "userTimeout"; readonly ms: number };

export type Step =
  | SegmentStep
  /** The peer takes in what the stack has sent, less what is lost (over and over by this pattern), and acknowledges. */
  | {
      readonly do: "answer";
      readonly losses: readonly boolean[];
      readonly reversed: boolean;
      /** Whether each segment is acknowledged, or all together. */
      readonly each: boolean;
      readonly window: number;
    }
  | { readonly do: "wait"; readonly ms: number | "deadline" }
  | { readonly do: "open"; readonly by: "peer" | "stack" | "both" }
  | { readonly do: "owner"; readonly action: OwnerAction }
  /** The owner does something from within the next call of one kind. */
  | { readonly do: "react"; readonly event: keyof TcpHandler; readonly action: OwnerAction }
  | {
      readonly do: "icmp";
      readonly code: number;
      /** The next-hop MTU (RFC 1191, 4). */
      readonly mtu: number;
      /** How true the quote of a segment of the stack's is. */
      readonly quote: "last" | "first" | "sequence" | "port" | "short" | "stranger";
    }
  /** The link takes so many frames more. */
  | { readonly do: "link"; readonly room: number }
  | { readonly do: "arp"; readonly answers: boolean }
  /** SYNs from so many other ports. */
  | { readonly do: "flood"; readonly count: number };

/** The circumstances of a run. */
export interface Scenario {
  readonly mtu: number;
  readonly peerSequence: number;
  readonly stackSequence: number;
  /** The peer's clock of timestamps starts here. */
  readonly timestampBase: number;
  readonly mss: number | undefined;
  readonly windowScale: number | undefined;
  readonly sackPermitted: boolean;
  readonly timestamps: boolean;
  /** The window field of the peer's handshake. */
  readonly window: number;
  readonly open: "peer" | "stack" | "both";
  /** Whether the handshake is done before the first step. */
  readonly established: boolean;
  readonly consumes: boolean;
  /** What the owner does with each request. */
  readonly answers: "accept" | "later";
  readonly congestionControl: "cubic" | "reno";
  readonly keepAliveIdle: number;
  readonly userTimeout: number;
  readonly receiveRing: number;
}

const HALF = 2 ** 31;
const WINDOWS = [0, 1, 2, 100, 1460, 65535];

function weighted<Value>(...choices: (readonly [number, fc.Arbitrary<Value>])[]): fc.Arbitrary<Value> {
  return fc.oneof(...choices.map(([weight, arbitrary]) => ({ weight, arbitrary })));
}

const offset = weighted(
  [12, fc.constant(0)],
  [3, fc.integer({ min: -2, max: 2 })],
  [2, fc.constantFrom(-1461, -1460, -1448, 1448, 1460, 1461, 2896)],
  [2, fc.integer({ min: -70_000, max: 70_000 })],
  [1, fc.constantFrom(HALF - 1, -HALF, HALF - 65_536, 65_536 - HALF, 1 << 30, -(1 << 30))],
);

const acknowledgmentBase = weighted<AcknowledgmentBase>(
  [12, fc.constant("maximum")],
  [6, fc.constant("unacknowledged")],
  [2, fc.constant("edge")],
  [1, fc.constantFrom("initial", "wrap")],
);

const sequencePlace: fc.Arbitrary<Place<SequenceBase>> = weighted(
  [12, fc.constant<Place<SequenceBase>>({ base: "next", offset: 0 })],
  [
    8,
    fc.record({
      base: weighted<SequenceBase>(
        [6, fc.constant("next")],
        [3, fc.constant("edge")],
        [2, fc.constant("sent")],
        [1, fc.constantFrom("initial", "wrap")],
      ),
      offset,
    }),
  ],
);

const acknowledgmentPlace: fc.Arbitrary<Place<AcknowledgmentBase>> = weighted(
  [8, fc.constant<Place<AcknowledgmentBase>>({ base: "maximum", offset: 0 })],
  [12, fc.record({ base: acknowledgmentBase, offset })],
);

const window = weighted(
  [6, fc.constant(65535)],
  [3, fc.constantFrom(...WINDOWS)],
  [1, fc.integer({ min: 0, max: 65535 })],
);

const option: fc.Arbitrary<OptionStep> = weighted<OptionStep>(
  [
    6,
    fc.record({
      option: fc.constant("timestamps"),
      value: fc.constantFrom("now", "now", "old", "ancient", "new", "far", "zero"),
      echo: fc.constantFrom("last", "last", "old", "future", "zero"),
    }),
  ],
  [
    6,
    fc.record({
      option: fc.constant("sack"),
      blocks: fc.array(fc.tuple(acknowledgmentPlace, acknowledgmentPlace), { minLength: 1, maxLength: 5 }),
    }),
  ],
  [1, fc.record({ option: fc.constant("mss"), size: fc.constantFrom(0, 1, 28, 64, 536, 1460, 65535) })],
  [1, fc.record({ option: fc.constant("scale"), shift: fc.constantFrom(0, 7, 14, 15, 255) })],
  [1, fc.constant({ option: "sackPermitted" })],
  [2, fc.record({ option: fc.constant("nop"), count: fc.constantFrom(1, 2, 3, 40) })],
  [1, fc.constant({ option: "end" })],
  [
    2,
    fc.record({
      option: fc.constant("cut"),
      kind: fc.constantFrom(2, 3, 4, 5, 8, 19, 30, 34, 254),
      length: fc.constantFrom(0, 1, 2, 3, 4, 9, 10, 11, 18, 34, 255),
    }),
  ],
  [1, fc.record({ option: fc.constant("raw"), bytes: fc.array(fc.nat(255), { maxLength: 40 }) })],
);

const options = weighted<SegmentStep["options"]>([10, fc.constant("usual")], [4, fc.array(option, { maxLength: 4 })]);

const segment: fc.Arbitrary<SegmentStep> = fc.record({
  do: fc.constant("segment"),
  flags: weighted(
    [20, fc.constantFrom("A", "A", "PA")],
    [4, fc.constant("FA")],
    [2, fc.constantFrom("S", "SA", "SF", "SFA")],
    [2, fc.constantFrom("", "F", "P", "U", "PUA", "FPUA")],
    [1, fc.constantFrom("R", "RA", "SR", "SFRPAU")],
    [1, fc.constantFrom("AE", "AC", "SEC", "PAEC")],
  ),
  sequence: sequencePlace,
  acknowledgment: acknowledgmentPlace,
  window,
  length: weighted(
    [8, fc.constant(0)],
    [2, fc.constant(1)],
    [6, fc.integer({ min: 1, max: 1448 })],
    [1, fc.constantFrom(1460, 9000, 60_000)],
  ),
  lies: weighted([30, fc.constant(false)], [1, fc.constant(true)]),
  options,
  headerLength: weighted<number | null>([40, fc.constant(null)], [1, fc.constantFrom(0, 16, 20, 24, 60)]),
  copies: weighted([30, fc.constant(1)], [4, fc.integer({ min: 2, max: 5 })], [1, fc.integer({ min: 50, max: 300 })]),
  atOnce: fc.boolean(),
});

const action = weighted<OwnerAction>(
  [
    8,
    fc.record({
      act: fc.constant("send"),
      length: weighted(
        [2, fc.constantFrom(0, 1, 100)],
        [3, fc.integer({ min: 1, max: 20_000 })],
        [1, fc.constant(400_000)],
      ),
    }),
  ],
  [3, fc.record({ act: fc.constant("consume"), length: fc.constantFrom(0, 1, 1000, 100_000, 1 << 30) })],
  [2, fc.record({ act: fc.constant("consumes"), on: fc.boolean() })],
  [2, fc.constant({ act: "shutdown" })],
  [1, fc.constantFrom<OwnerAction>({ act: "abort" }, { act: "accept" })],
  [
    1,
    fc.record({
      act: fc.constant("reject"),
      reason: fc.constantFrom("refused", "net-unreachable", "host-unreachable", "prohibited", "silent"),
    }),
  ],
  [1, fc.record({ act: fc.constant("nagle"), on: fc.boolean() })],
  [
    1,
    fc.record({
      act: fc.constantFrom("keepAlive", "userTimeout"),
      ms: fc.constantFrom(0, 1, 1000, 60_000, 7_200_000),
    }),
  ],
);

const step: fc.Arbitrary<Step> = weighted<Step>(
  [40, segment],
  [
    20,
    fc.record({
      do: fc.constant("answer"),
      losses: weighted(
        [3, fc.constant<boolean[]>([false])],
        [3, fc.array(fc.boolean(), { minLength: 1, maxLength: 8 })],
        [2, fc.constant<boolean[]>([true, ...Array<boolean>(9).fill(false)])],
      ),
      reversed: weighted([4, fc.constant(false)], [1, fc.constant(true)]),
      each: fc.boolean(),
      window,
    }),
  ],
  [
    14,
    fc.record({
      do: fc.constant("wait"),
      ms: weighted<number | "deadline">(
        [3, fc.constantFrom(1, 10, 50, 300)],
        [4, fc.constant("deadline")],
        [1, fc.constantFrom(0, 1000, 5000, 60_000, 700_000)],
        [1, fc.constantFrom(3_600_000, 7_300_000)],
      ),
    }),
  ],
  [14, fc.record({ do: fc.constant("owner"), action })],
  [
    3,
    fc.record({
      do: fc.constant("react"),
      event: fc.constantFrom("established", "data", "end", "writable", "closed"),
      action,
    }),
  ],
  [2, fc.record({ do: fc.constant("open"), by: fc.constantFrom("peer", "stack", "both") })],
  [
    3,
    fc.record({
      do: fc.constant("icmp"),
      code: weighted([3, fc.constant(4)], [1, fc.integer({ min: 0, max: 15 })]),
      mtu: fc.constantFrom(0, 1, 68, 296, 552, 576, 1006, 1400, 1499, 65535),
      quote: fc.constantFrom("last", "last", "first", "sequence", "port", "short", "stranger"),
    }),
  ],
  [3, fc.record({ do: fc.constant("link"), room: fc.constantFrom(0, 1, 3, 1_000_000, 1_000_000) })],
  [1, fc.record({ do: fc.constant("arp"), answers: fc.boolean() })],
  [1, fc.record({ do: fc.constant("flood"), count: fc.integer({ min: 1, max: 20 }) })],
);

/** Steps of a run, at most so many. */
export function steps(maxLength: number): fc.Arbitrary<Step[]> {
  return fc.array(step, { maxLength, size: "max" });
}

/** A segment that somebody forges on the connection of two good stacks. */
export interface Forgery {
  readonly segment: SegmentStep;
  /** Whether the stack gets it, or the companion. */
  readonly toStack: boolean;
  /** What the two ends write before. */
  readonly writes: number;
  /** How long the two stacks go on before the next one. */
  readonly waitMs: number;
}

/** Forgeries, at most so many. */
export function forgeries(maxLength: number): fc.Arbitrary<Forgery[]> {
  const forgery = fc.record({
    segment,
    toStack: fc.boolean(),
    writes: fc.constantFrom(0, 0, 1, 5000),
    waitMs: fc.constantFrom(0, 0, 1, 50, 1000),
  });
  return fc.array(forgery, { maxLength, size: "max" });
}

const firstSequence = weighted(
  [3, fc.constantFrom(-40, -16, 0, HALF - 100, -HALF)],
  [1, fc.integer({ min: -HALF, max: HALF - 1 })],
);

export const scenario: fc.Arbitrary<Scenario> = fc.record({
  mtu: weighted([8, fc.constant(1500)], [1, fc.constantFrom(576, 9000)]),
  peerSequence: firstSequence,
  stackSequence: firstSequence,
  timestampBase: firstSequence,
  mss: weighted<number | undefined>(
    [8, fc.constant(1460)],
    [2, fc.constantFrom(undefined, 0, 1, 100, 536, 8960, 65535)],
  ),
  windowScale: weighted<number | undefined>([3, fc.constant(7)], [3, fc.constantFrom(undefined, 0, 14)]),
  sackPermitted: weighted([3, fc.constant(true)], [1, fc.constant(false)]),
  timestamps: weighted([2, fc.constant(true)], [1, fc.constant(false)]),
  window: weighted([6, fc.constant(65535)], [1, fc.constantFrom(...WINDOWS)]),
  open: weighted<Scenario["open"]>([3, fc.constant("peer")], [3, fc.constantFrom("stack", "both")]),
  established: weighted([8, fc.constant(true)], [1, fc.constant(false)]),
  consumes: weighted([3, fc.constant(true)], [1, fc.constant(false)]),
  answers: weighted<Scenario["answers"]>([6, fc.constant("accept")], [1, fc.constant("later")]),
  congestionControl: fc.constantFrom("cubic", "reno"),
  keepAliveIdle: weighted([6, fc.constant(0)], [1, fc.constantFrom(1000, 60_000)]),
  userTimeout: weighted([6, fc.constant(0)], [1, fc.constantFrom(1000, 60_000)]),
  receiveRing: weighted([4, fc.constant(256)], [1, fc.constant(16)]),
});
