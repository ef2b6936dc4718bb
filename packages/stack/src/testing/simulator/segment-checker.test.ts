import { describe, expect, test } from "vitest";
import { ethernet, ipv4, type TcpOptionFields, tcp, tcpOptions } from "../frames.ts";
import { pattern } from "../random.ts";
import { LEFT, LEFT_MAC, RIGHT, RIGHT_MAC } from "./joined-stacks.ts";
import { SegmentChecker } from "./segment-checker.ts";

const MTU = 1500;
/** Both sides count from just below the wrap. */
const STACK_FIRST = -50;
const PEER_FIRST = -20;

interface Segment {
  readonly flags: string;
  readonly seq: number;
  readonly ack?: number;
  readonly win?: number;
  readonly data?: number | Uint8Array;
  readonly options?: TcpOptionFields;
}

function frame(isStack: boolean, { flags, seq, ack = 0, win = 10_000, data = 0, options = {} }: Segment): Uint8Array {
  const [own, other] = isStack ? [STACK_FIRST, PEER_FIRST] : [PEER_FIRST, STACK_FIRST];
  const [source, destination] = isStack ? [LEFT, RIGHT] : [RIGHT, LEFT];
  const { sack, ...rest } = options;
  const payload = tcp({
    source,
    sourcePort: isStack ? 80 : 40_000,
    destination,
    destinationPort: isStack ? 40_000 : 80,
    sequence: (own + seq) | 0,
    acknowledgment: flags.includes("A") ? (other + ack) | 0 : 0,
    flags,
    window: win,
    options: tcpOptions({ ...rest, sack: sack?.map(([from, to]) => [(other + from) | 0, (other + to) | 0]) }),
    payload: typeof data === "number" ? pattern(seq - 1, data) : data,
  });
  const packet = ipv4({ source, destination, protocol: 6, identification: 0, dontFragment: true, payload });
  return isStack ? ethernet(RIGHT_MAC, LEFT_MAC, 0x0800, packet) : ethernet(LEFT_MAC, RIGHT_MAC, 0x0800, packet);
}

/** A stack that a test writes the segments of. */
class Onlooker {
  readonly checker = new SegmentChecker(MTU);

  sends(segment: Segment): this {
    this.checker.sent(frame(true, segment));
    return this;
  }

  receives(segment: Segment, isCorrupt = false): this {
    const bytes = frame(false, segment);
    if (isCorrupt) bytes[bytes.length - 1] ^= 1;
    this.checker.received(bytes, 0, isCorrupt);
    this.checker.handled();
    return this;
  }
}

const ALL: TcpOptionFields = { mss: 1460, windowScale: 2, sackPermitted: true, timestamps: [1000, 0] };
const ANSWER: TcpOptionFields = { mss: 1460, windowScale: 7, sackPermitted: true, timestamps: [500, 1000] };

/** After a handshake that the peer began, without options but the MSS. */
function plain(mss = 1460): Onlooker {
  return new Onlooker()
    .receives({ flags: "S", seq: 0, options: { mss } })
    .sends({ flags: "SA", seq: 0, ack: 1, options: { mss: 1460 } })
    .receives({ flags: "A", seq: 1, ack: 1 });
}

/** The same with every option. */
function extended(mss = 1460): Onlooker {
  return new Onlooker()
    .receives({ flags: "S", seq: 0, options: { ...ALL, mss } })
    .sends({ flags: "SA", seq: 0, ack: 1, options: ANSWER })
    .receives({ flags: "A", seq: 1, ack: 1, options: { timestamps: [1001, 500] } });
}

describe("what a stack may send passes", () => {
  test("data within the window, sent again in other parts, and its FIN", () => {
    const onlooker = plain()
      .sends({ flags: "A", seq: 1, ack: 1, data: 1000 })
      .sends({ flags: "PA", seq: 1001, ack: 1, data: 500 })
      .sends({ flags: "A", seq: 1, ack: 1, data: 1200 })
      .receives({ flags: "A", seq: 1, ack: 1001 })
      .sends({ flags: "FPA", seq: 1001, ack: 1, data: 500 })
      .sends({ flags: "FA", seq: 1501, ack: 1 })
      .receives({ flags: "FA", seq: 1, ack: 1502 })
      .sends({ flags: "A", seq: 1502, ack: 2 });
    expect(onlooker.checker.segments).toBe(7);
  });

  test("one byte as a probe of the window, and of whether the peer is there", () => {
    plain()
      .sends({ flags: "A", seq: 1, ack: 1, data: 100 })
      .receives({ flags: "A", seq: 1, ack: 101, win: 0 })
      .sends({ flags: "A", seq: 101, ack: 1, data: 1 })
      .receives({ flags: "A", seq: 1, ack: 102, win: 0 })
      .sends({ flags: "A", seq: 101, ack: 1, data: 1 });
  });

  test("timestamps, selective acknowledgments and one of a duplicate", () => {
    extended()
      .receives({ flags: "A", seq: 11, ack: 1, data: 10, options: { timestamps: [1002, 500] } })
      .sends({ flags: "A", seq: 1, ack: 1, options: { timestamps: [501, 1001], sack: [[11, 21]] } })
      .receives({ flags: "A", seq: 1, ack: 1, data: 10, options: { timestamps: [1003, 500] } })
      .receives({ flags: "A", seq: 1, ack: 1, data: 10, options: { timestamps: [1004, 500] } })
      .sends({ flags: "A", seq: 1, ack: 21, options: { timestamps: [501, 1003], sack: [[1, 11]] } });
  });

  test("resets of what it does not know, and a new connection after a reset", () => {
    plain()
      .sends({ flags: "RA", seq: 1, ack: 1 })
      .sends({ flags: "R", seq: 1 })
      .receives({ flags: "S", seq: 0, options: { mss: 1460 } })
      .sends({ flags: "SA", seq: 0, ack: 1, options: { mss: 1460 } });
    new Onlooker().sends({ flags: "R", seq: 17 });
  });

  test("a SYN again, with the echo of either copy of the one it answers", () => {
    const repeated = { flags: "S", seq: 0, options: { mss: 1460, timestamps: [2000, 0] } } as const;
    new Onlooker()
      .receives({ flags: "S", seq: 0, options: { mss: 1460, timestamps: [1000, 0] } })
      .receives(repeated)
      .sends({ flags: "SA", seq: 0, ack: 1, options: { mss: 1460, timestamps: [500, 1000] } })
      .sends({ flags: "SA", seq: 0, ack: 1, options: { mss: 1460, timestamps: [500, 2000] } });
  });
});

const VIOLATIONS: readonly [problem: string, attempt: () => void][] = [
  ["of no connection", () => new Onlooker().sends({ flags: "A", seq: 1, ack: 1 })],
  [
    "an option that the peer did not offer",
    () => new Onlooker().sends({ flags: "SA", seq: 0, options: { mss: 1460 } }),
  ],
  [
    "an option that the peer did not offer",
    () => {
      const options = { mss: 1460, sackPermitted: true };
      const onlooker = new Onlooker().receives({ flags: "S", seq: 0, options: { mss: 1460 } });
      onlooker.sends({ flags: "SA", seq: 0, ack: 1, options });
    },
  ],
  ["an MSS that is not", () => new Onlooker().sends({ flags: "S", seq: 0, options: { mss: 1400 } })],
  ["data on a SYN", () => new Onlooker().sends({ flags: "S", seq: 0, data: 1, options: { mss: 1460 } })],
  ["no ACK", () => plain().sends({ flags: "P", seq: 1, data: 1 })],
  [
    "before the peer's SYN",
    () =>
      new Onlooker()
        .sends({ flags: "S", seq: 0, options: { mss: 1460 } })
        .sends({ flags: "A", seq: 1, ack: 0, data: 1 }),
  ],
  ["a gap", () => plain().sends({ flags: "A", seq: 2, ack: 1, data: 10 })],
  ["a gap", () => plain().sends({ flags: "A", seq: 2, ack: 1 })],
  ["above the MTU", () => plain(9000).sends({ flags: "A", seq: 1, ack: 1, data: 1461 })],
  ["more than the MSS", () => plain(500).sends({ flags: "A", seq: 1, ack: 1, data: 501 })],
  [
    "more than the MSS",
    () => extended(536).sends({ flags: "A", seq: 1, ack: 1, data: 525, options: { timestamps: [501, 1001] } }),
  ],
  ["beyond the window", () => manySegments(plain(), 10).sends({ flags: "A", seq: 10_001, ack: 1, data: 2 })],
  [
    "has shrunk",
    () => plain().receives({ flags: "A", seq: 1, ack: 1, win: 100 }).sends({ flags: "A", seq: 1, ack: 1, data: 101 }),
  ],
  [
    "other bytes than the first time",
    () =>
      plain()
        .sends({ flags: "A", seq: 1, ack: 1, data: 10 })
        .sends({ flags: "A", seq: 4, ack: 1, data: pattern(0, 5) }),
  ],
  [
    "sent again though it is acknowledged",
    () =>
      plain()
        .sends({ flags: "A", seq: 1, ack: 1, data: 10 })
        .receives({ flags: "A", seq: 1, ack: 11 })
        .sends({ flags: "A", seq: 1, ack: 1, data: 10 }),
  ],
  [
    "data after the FIN",
    () => plain().sends({ flags: "FA", seq: 1, ack: 1, data: 5 }).sends({ flags: "A", seq: 6, ack: 1, data: 1 }),
  ],
  [
    "a FIN at another place",
    () => plain().sends({ flags: "FA", seq: 1, ack: 1, data: 5 }).sends({ flags: "FA", seq: 1, ack: 1, data: 4 }),
  ],
  [
    "a FIN at another place",
    () => plain().sends({ flags: "A", seq: 1, ack: 1, data: 5 }).sends({ flags: "FA", seq: 1, ack: 1, data: 4 }),
  ],
  ["after the reset", () => plain().sends({ flags: "RA", seq: 1, ack: 1 }).sends({ flags: "A", seq: 1, ack: 1 })],
  ["a reset with data", () => plain().sends({ flags: "RA", seq: 1, ack: 1, data: 1 })],
  [
    "an acknowledgment number that went back",
    () =>
      plain()
        .receives({ flags: "A", seq: 1, ack: 1, data: 10 })
        .sends({ flags: "A", seq: 1, ack: 11 })
        .sends({ flags: "A", seq: 1, ack: 5 }),
  ],
  [
    "an acknowledgment of what never came",
    () => plain().receives({ flags: "A", seq: 5, ack: 1, data: 10 }).sends({ flags: "A", seq: 1, ack: 15 }),
  ],
  [
    "an acknowledgment of what never came",
    () => plain().receives({ flags: "A", seq: 1, ack: 1, data: 10 }, true).sends({ flags: "A", seq: 1, ack: 11 }),
  ],
  ["a window whose right edge moved back", () => plain().sends({ flags: "A", seq: 1, ack: 1, win: 5000 })],
  ["not agreed on", () => plain().sends({ flags: "A", seq: 1, ack: 1, options: { sack: [[5, 6]] } })],
  [
    "a SACK block of what never came",
    () => extended().sends({ flags: "A", seq: 1, ack: 1, options: { timestamps: [501, 1001], sack: [[5, 6]] } }),
  ],
  [
    "a SACK block below the acknowledgment",
    () =>
      extended()
        .receives({ flags: "A", seq: 1, ack: 1, data: 10, options: { timestamps: [1002, 500] } })
        .receives({ flags: "A", seq: 21, ack: 1, data: 10, options: { timestamps: [1002, 500] } })
        .sends({
          flags: "A",
          seq: 1,
          ack: 11,
          options: {
            timestamps: [501, 1002],
            sack: [
              [21, 31],
              [1, 5],
            ],
          },
        }),
  ],
  ["timestamps against the agreement", () => extended().sends({ flags: "A", seq: 1, ack: 1 })],
  [
    "timestamps against the agreement",
    () => plain().sends({ flags: "A", seq: 1, ack: 1, options: { timestamps: [1, 1] } }),
  ],
  [
    "a timestamp that went back",
    () => extended().sends({ flags: "A", seq: 1, ack: 1, options: { timestamps: [499, 1001] } }),
  ],
  [
    "an echo of a timestamp that never came",
    () => extended().sends({ flags: "A", seq: 1, ack: 1, options: { timestamps: [501, 1002] } }),
  ],
  [
    "an echoed timestamp that went back",
    () =>
      extended()
        .sends({ flags: "A", seq: 1, ack: 1, options: { timestamps: [501, 1001] } })
        .sends({ flags: "A", seq: 1, ack: 1, options: { timestamps: [501, 1000] } }),
  ],
];

/** Sends so many segments of 1000 bytes. */
function manySegments(onlooker: Onlooker, count: number): Onlooker {
  for (let index = 0; index < count; index++) onlooker.sends({ flags: "A", seq: 1 + 1000 * index, ack: 1, data: 1000 });
  return onlooker;
}

describe("what a stack may not send is found", () => {
  test.each(VIOLATIONS)("%s", (problem, attempt) => {
    expect(attempt).toThrow(problem);
  });
});
