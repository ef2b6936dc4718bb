import { describe, expect, test } from "vitest";
import { PEER_TIMESTAMP, PeerTimestamps, type TimedSegment } from "./peer-timestamps.ts";

/** What the stack's timestamps count from here: they cross the wrap. */
const STACK = -2;

function fromStack(fields: Partial<TimedSegment>): TimedSegment {
  return { flags: "A", seq: 1, ack: 1, length: 0, timestamps: undefined, ...fields };
}

/** Both have agreed on timestamps; the peer's clock is 10 by then. */
function agreed(): PeerTimestamps {
  let now = 1000;
  const timestamps = new PeerTimestamps(() => now);
  timestamps.sent({ flags: "S", seq: 0, ack: 0, length: 0, timestamps: [PEER_TIMESTAMP, 0] });
  timestamps.received(fromStack({ flags: "SA", seq: 0, timestamps: [STACK, PEER_TIMESTAMP] }));
  now += 10;
  expect(timestamps.agreed).toBe(true);
  expect(timestamps.clock).toBe(10);
  return timestamps;
}

describe("of the stack's segments", () => {
  test("one with the right echo is taken", () => {
    const timestamps = agreed();
    timestamps.received(fromStack({ timestamps: [STACK, PEER_TIMESTAMP] }));
    timestamps.sent({ flags: "A", seq: 1, ack: 1, length: 100, timestamps: [PEER_TIMESTAMP + 10, STACK] });
    timestamps.received(fromStack({ ack: 101, timestamps: [STACK + 5, PEER_TIMESTAMP + 10] }));
  });

  test("one with another echo is not", () => {
    const timestamps = agreed();
    const echoOf = (echo: number) => () => timestamps.received(fromStack({ timestamps: [STACK, echo] }));
    expect(echoOf(PEER_TIMESTAMP + 1)).toThrow("echoes the timestamp 1, not 0");
    timestamps.sent({ flags: "A", seq: 1, ack: 1, length: 100, timestamps: [PEER_TIMESTAMP + 10, STACK] });
    expect(echoOf(PEER_TIMESTAMP)).toThrow("echoes the timestamp 0, not 10");
  });

  test("one with the echo of what came after the first since the last acknowledgment is not", () => {
    const timestamps = agreed();
    timestamps.sent({ flags: "A", seq: 1, ack: 1, length: 100, timestamps: [PEER_TIMESTAMP + 10, STACK] });
    timestamps.sent({ flags: "A", seq: 101, ack: 1, length: 100, timestamps: [PEER_TIMESTAMP + 20, STACK] });
    const late = fromStack({ ack: 201, timestamps: [STACK, PEER_TIMESTAMP + 20] });
    expect(() => timestamps.received(late)).toThrow("echoes the timestamp 20, not 10");
  });

  test("one without them is not, unless it is a reset", () => {
    const timestamps = agreed();
    expect(() => timestamps.received(fromStack({}))).toThrow("without timestamps");
    timestamps.received(fromStack({ flags: "RA" }));
  });

  test("one whose clock runs backwards is not", () => {
    const timestamps = agreed();
    timestamps.received(fromStack({ timestamps: [STACK + 5, PEER_TIMESTAMP] }));
    expect(() => timestamps.received(fromStack({ timestamps: [STACK + 4, PEER_TIMESTAMP] }))).toThrow("backwards");
  });

  test("one with timestamps that the peer did not offer is not", () => {
    const timestamps = new PeerTimestamps(() => 0);
    timestamps.sent({ flags: "S", seq: 0, ack: 0, length: 0, timestamps: undefined });
    const answer = fromStack({ flags: "SA", seq: 0, timestamps: [STACK, PEER_TIMESTAMP] });
    expect(() => timestamps.received(answer)).toThrow("did not offer");
  });
});

describe("the peer's own", () => {
  test("echo the segment that the acknowledgment moves beyond, by its last copy", () => {
    const timestamps = agreed();
    timestamps.sent({ flags: "A", seq: 1, ack: 1, length: 0, timestamps: [PEER_TIMESTAMP, STACK] });
    timestamps.received(fromStack({ seq: 1, length: 100, timestamps: [STACK + 1, PEER_TIMESTAMP] }));
    timestamps.received(fromStack({ seq: 101, length: 100, timestamps: [STACK + 2, PEER_TIMESTAMP] }));
    expect(timestamps.next(undefined, 1)).toEqual([PEER_TIMESTAMP + 10, STACK]);
    expect(timestamps.next(undefined, 201)).toEqual([PEER_TIMESTAMP + 10, STACK + 1]);
    timestamps.received(fromStack({ seq: 1, length: 100, timestamps: [STACK + 9, PEER_TIMESTAMP] }));
    expect(timestamps.next(undefined, 201)).toEqual([PEER_TIMESTAMP + 10, STACK + 9]);
  });

  test("are what the test says, relative to both clocks", () => {
    const timestamps = agreed();
    expect(timestamps.next([7, 3], 1)).toEqual([PEER_TIMESTAMP + 7, STACK + 3]);
    expect(timestamps.next([7, 3], undefined)).toEqual([PEER_TIMESTAMP + 7, 0]);
    expect(timestamps.next(false, 1)).toBeUndefined();
  });
});
