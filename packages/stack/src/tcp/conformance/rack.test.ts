import { describe, expect, test } from "vitest";
import type { SackBlock } from "../../testing/frames.ts";
import { type HandshakeOptions, type Peer, trace } from "../../testing/trace.ts";

const MSS = 1000;
const RTT = 100;
/** A quarter of the shortest round trip: the reordering window of a connection that has not reported duplicates. */
const REORDERING_WINDOW = RTT / 4;

/** The sequence number that segment `index` begins at, counted from 0. */
function at(index: number): number {
  return 1 + index * MSS;
}

/** The block of the segments `first` to `last`. */
function block(first: number, last = first): SackBlock {
  return [at(first), at(last + 1)];
}

/** The segments that the stack has sent, each of which has to be a full one. */
function sent(t: Peer): number[] {
  return t.take().map(({ seq, data }) => {
    expect(data).toBe(MSS);
    expect((seq - 1) % MSS).toBe(0);
    return (seq - 1) / MSS;
  });
}

/** Acknowledges what is before segment `index`, with these blocks. */
function acknowledge(t: Peer, index: number, ...sack: SackBlock[]): void {
  t.send({ flags: "A", seq: 1, ack: at(index), sack });
}

/** A connection with a round trip of 100 ms and `count` segments in flight, just sent. */
function inFlight(count: number, options: HandshakeOptions = {}): Peer {
  const t = trace().established({ sack: true, mss: MSS, rtt: RTT, wscale: 7, ...options });
  t.write(1, count * MSS);
  expect(sent(t)).toEqual(Array.from({ length: count }, (_, index) => index));
  return t;
}

/** Lets time pass until something is sent; returns what, and after how many milliseconds, to the next whole one. */
function waitForOne(t: Peer): { segments: number[]; waited: number } {
  t.expectNothing();
  const start = t.lan.now;
  while (t.lan.waiting === 0) {
    if (t.lan.now - start > 100_000) throw new Error("nothing was sent");
    t.advance(1);
  }
  return { segments: sent(t), waited: t.lan.now - start };
}

describe("tcp_rack", () => {
  test("a whole flight is lost: after two round trips the last segment is sent again (TLP)", () => {
    const t = inFlight(5);
    const { segments, waited } = waitForOne(t);
    expect(segments).toEqual([4]);
    expect(waited).toBe(2 * RTT);
    expect(t.lan.stack.statistics.tcpTimeouts).toBe(0);
  });

  test("the tail of a flight is lost: two round trips after the last acknowledgment the same", () => {
    const t = inFlight(10);
    t.advance(RTT);
    acknowledge(t, 6);
    const { segments, waited } = waitForOne(t);
    expect(segments).toEqual([9]);
    expect(waited).toBe(2 * RTT);
  });

  test("one segment overtaken by one is sent again after the reordering window", () => {
    const t = inFlight(3);
    t.advance(RTT);
    acknowledge(t, 0, block(1));
    const { segments, waited } = waitForOne(t);
    expect(segments).toEqual([0]);
    expect(waited).toBe(REORDERING_WINDOW);
    // The third was sent before the first was sent again: when that is acknowledged, it is lost.
    t.advance(RTT);
    acknowledge(t, 2);
    expect(sent(t)).toEqual([2]);
    expect(t.lan.stack.statistics).toMatchObject({ tcpTimeouts: 0, tcpRetransmissions: 2 });
  });

  test("two segments overtaken by two: the first after the reordering window, the second with the answer at the latest", () => {
    const t = inFlight(4);
    t.advance(RTT);
    acknowledge(t, 0, block(2, 3));
    const { segments, waited } = waitForOne(t);
    expect(waited).toBe(REORDERING_WINDOW);
    t.advance(RTT);
    segments.push(...sent(t));
    acknowledge(t, segments.length, ...(segments.length < 2 ? [block(2, 3)] : []));
    segments.push(...sent(t));
    expect(segments).toEqual([0, 1]);
  });

  test("where there was reordering, even one overtaken by many has the reordering window", () => {
    const t = inFlight(4);
    t.advance(RTT);
    acknowledge(t, 0, block(3));
    acknowledge(t, 0, block(2, 3));
    acknowledge(t, 0, block(1, 3));
    t.advance(REORDERING_WINDOW - 1);
    t.expectNothing();
    acknowledge(t, 4);
    t.write(at(4), 5 * MSS);
    expect(sent(t)).toEqual([4, 5, 6, 7, 8]);
    t.advance(RTT);
    acknowledge(t, 4, block(5, 8));
    const { segments, waited } = waitForOne(t);
    expect(segments).toEqual([4]);
    expect(waited).toBeGreaterThanOrEqual(REORDERING_WINDOW);
    expect(waited).toBeLessThanOrEqual(RTT);
  });

  test("a retransmission that is lost is found by what was sent after it, without a timeout", () => {
    const t = inFlight(5);
    t.advance(RTT);
    acknowledge(t, 0, block(1, 4));
    expect(sent(t)).toEqual([0]);
    t.advance(1);
    t.write(at(5), MSS);
    expect(sent(t)).toEqual([5]);
    t.advance(RTT);
    acknowledge(t, 0, block(1, 5));
    expect(sent(t)).toEqual([0]);
    t.advance(RTT);
    acknowledge(t, 6);
    expect(t.flow.sendQueued).toBe(0);
    expect(t.lan.stack.statistics).toMatchObject({ tcpTimeouts: 0, tcpRetransmissions: 2 });
  });
});

describe("RFC 8985, 6.2: time tells what is lost", () => {
  test("three segments beyond a gap are enough, as three duplicates are (step 4)", () => {
    const t = inFlight(10);
    t.advance(RTT);
    acknowledge(t, 0, block(1));
    acknowledge(t, 0, block(1, 2));
    t.expectNothing();
    acknowledge(t, 0, block(1, 3));
    expect(sent(t)).toEqual([0]);
  });

  test("what was sent later than the newest segment that arrived is not lost", () => {
    const t = trace().established({ sack: true, mss: MSS, rtt: RTT, wscale: 7 });
    t.write(1, 4 * MSS);
    t.advance(50);
    t.write(at(4), 4 * MSS);
    expect(sent(t)).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
    t.advance(50);
    acknowledge(t, 0, block(1, 3));
    expect(sent(t)).toEqual([0]);
    t.advance(49);
    t.expectNothing();
    t.advance(1);
    acknowledge(t, 0, block(5, 7), block(1, 3));
    expect(sent(t)).toEqual([4]);
  });

  test("the reordering window is longer after a report of a duplicate (step 4)", () => {
    const t = inFlight(10);
    t.advance(RTT);
    // Reordering is seen; then a segment is more than a quarter of a round trip late, and arrives twice.
    acknowledge(t, 0, block(1));
    acknowledge(t, 2);
    acknowledge(t, 2, block(3, 9));
    expect(waitForOne(t)).toEqual({ segments: [2], waited: REORDERING_WINDOW });
    t.advance(5);
    acknowledge(t, 10);
    t.advance(RTT - 5);
    acknowledge(t, 10, block(2));
    t.write(at(10), 4 * MSS);
    expect(sent(t)).toEqual([10, 11, 12, 13]);
    t.advance(RTT);
    acknowledge(t, 10, block(11));
    expect(waitForOne(t)).toEqual({ segments: [10], waited: 2 * REORDERING_WINDOW });
  });

  test("it is never longer than the smoothed round trip", () => {
    const t = inFlight(2);
    t.advance(RTT);
    acknowledge(t, 1, block(0));
    acknowledge(t, 2);
    for (let flight = 1; flight < 20; flight++) {
      t.write(at(2 * flight), 2 * MSS);
      t.lan.all();
      t.advance(RTT);
      acknowledge(t, 2 * flight + 2, block(2 * flight));
    }
    t.write(at(40), 4 * MSS);
    t.lan.all();
    t.advance(RTT);
    acknowledge(t, 40, block(41));
    const { segments, waited } = waitForOne(t);
    expect(segments).toEqual([40]);
    expect(waited).toBeLessThanOrEqual(RTT);
  });

  test("an acknowledgment that comes too soon to be of the retransmission says nothing (step 2)", () => {
    const t = inFlight(10);
    t.advance(RTT);
    acknowledge(t, 0, block(3, 5));
    expect(sent(t).slice(0, 3)).toEqual([0, 1, 2]);
    // The originals were only late.
    t.advance(5);
    acknowledge(t, 3, block(3, 5));
    acknowledge(t, 6);
    t.advance(5);
    acknowledge(t, 10);
    for (const index of sent(t)) expect(index).toBeGreaterThanOrEqual(10);
    expect(t.lan.stack.statistics.tcpRetransmissions).toBe(3);
  });

  test("a timeout takes for lost what has been out for a round trip, and no more (6.3)", () => {
    const t = inFlight(2);
    // RTO is 300 ms, the probe comes at 200 ms.
    t.advance(2 * RTT);
    expect(sent(t)).toEqual([1]);
    t.advance(290);
    t.write(at(2), 2 * MSS);
    expect(sent(t)).toEqual([2, 3]);
    t.advance(20);
    expect(sent(t)).toEqual([0]);
    expect(t.lan.stack.statistics.tcpTimeouts).toBe(1);
    t.advance(70);
    acknowledge(t, 0, block(2, 3));
    t.advance(30);
    acknowledge(t, 1, block(2, 3));
    expect(sent(t)).toEqual([1]);
    t.advance(RTT);
    acknowledge(t, 4);
    t.advance(10_000);
    t.expectNothing();
  });

  test("at a timeout the first segment is sent again, whatever else is in flight, and so on (RFC 6298, 5.4 to 5.6)", () => {
    const t = trace().established({ sack: true, mss: MSS, rtt: RTT, wscale: 7 });
    t.write(1, 60 * MSS);
    t.lan.all();
    t.advance(RTT);
    // Segment 0 is lost, and again when it is sent again; what arrives beyond it has new data sent until the timeout.
    let beyond = 3;
    for (const wait of [0, 100, 100, 60, 30, 5, 4]) {
      t.advance(wait);
      acknowledge(t, 0, block(1, beyond++));
    }
    expect(sent(t)).toEqual([0, 10, 11, 12, 13, 14, 15]);
    const start = t.lan.now;
    while (t.lan.stack.statistics.tcpTimeouts === 0) {
      expect(t.lan.now - start).toBeLessThan(1000);
      t.advance(1);
    }
    expect(sent(t)).toEqual([0]);
    t.advance(2000);
    expect(t.take().some(({ seq }) => seq === 1)).toBe(true);
  });
});

describe("RFC 8985, 7: the tail loss probe", () => {
  test("is new data where there is some that the window allows (7.3)", () => {
    const t = trace().established({ sack: true, mss: MSS, rtt: RTT, wscale: 7 });
    // Ten fill the congestion window, and more waits.
    t.write(1, 20 * MSS);
    expect(sent(t).length).toBe(10);
    const { segments, waited } = waitForOne(t);
    expect(waited).toBe(2 * RTT);
    expect(segments).toEqual([10]);
  });

  test("is the last segment where the peer's window has no room for new data", () => {
    const t = trace().established({ sack: true, mss: MSS, rtt: RTT, win: 4 * MSS });
    t.write(1, 20 * MSS);
    expect(sent(t)).toEqual([0, 1, 2, 3]);
    expect(waitForOne(t)).toEqual({ segments: [3], waited: 2 * RTT });
  });

  test("comes no sooner than 50 ms while nothing was ever lost, and than 10 ms once something was", () => {
    for (const rtt of [0, 1, 4]) {
      const t = inFlight(3, { rtt });
      const first = waitForOne(t);
      expect(first.segments).toEqual([2]);
      expect(first.waited).toBe(50);
      // Segment 0 alone was lost, as the probe's acknowledgment shows.
      acknowledge(t, 0, [at(1), at(3)]);
      expect(t.lan.waiting > 0 ? sent(t) : waitForOne(t).segments).toEqual([0]);
      acknowledge(t, 3);
      t.write(at(3), 2 * MSS);
      expect(sent(t)).toEqual([3, 4]);
      const second = waitForOne(t);
      expect(second.segments).toEqual([4]);
      expect(second.waited).toBeGreaterThanOrEqual(10);
      expect(second.waited).toBeLessThan(50);
    }
  });

  test("gives a single segment 200 ms more, for a delayed acknowledgment (7.2)", () => {
    // SRTT 500, RTTVAR 250: the timeout would be 1500.
    const t = inFlight(1, { rtt: 500 });
    const { segments, waited } = waitForOne(t);
    expect(segments).toEqual([0]);
    expect(waited).toBe(2 * 500 + 200);
    expect(t.lan.stack.statistics.tcpTimeouts).toBe(0);
  });

  test("comes no later than the retransmission timeout", () => {
    // 2 * 10 + 200 would be past SRTT + 200.
    const t = inFlight(1, { rtt: 10 });
    const { segments, waited } = waitForOne(t);
    expect(segments).toEqual([0]);
    expect(waited).toBe(210);
  });

  test("is sent once, and the retransmission timeout is next (7.3)", () => {
    const t = inFlight(5);
    expect(waitForOne(t)).toEqual({ segments: [4], waited: 200 });
    const { segments, waited } = waitForOne(t);
    expect(segments[0]).toBe(0);
    expect(waited).toBe(300);
    expect(t.lan.stack.statistics.tcpTimeouts).toBe(1);
  });

  test("begins anew with each acknowledgment of something new", () => {
    const t = inFlight(6);
    for (let index = 1; index < 4; index++) {
      t.advance(150);
      acknowledge(t, index);
      t.expectNothing();
    }
    expect(waitForOne(t).segments).toEqual([5]);
  });

  test("shows by the acknowledgment it draws what else is lost (7.4.1)", () => {
    const t = inFlight(5);
    t.advance(2 * RTT);
    expect(sent(t)).toEqual([4]);
    t.advance(RTT);
    acknowledge(t, 1, block(4));
    const again: number[] = [];
    for (let next = 1; next < 4; next++) {
      if (t.lan.waiting > 0) again.push(...sent(t));
      if (again.length < next) again.push(...waitForOne(t).segments);
      t.advance(RTT);
      acknowledge(t, next < 3 ? next + 1 : 5, ...(next < 3 ? [block(4)] : []));
    }
    expect(again).toEqual([1, 2, 3]);
    expect(t.flow.sendQueued).toBe(0);
    expect(t.lan.stack.statistics).toMatchObject({ tcpTimeouts: 0, tcpRetransmissions: 4 });
  });

  test("that made good for a loss reduces the window (7.4.2)", () => {
    const t = trace().established({ sack: true, mss: MSS, rtt: RTT, wscale: 7 });
    t.write(1, 10 * MSS);
    t.lan.all();
    t.advance(2 * RTT);
    expect(sent(t)).toEqual([9]);
    t.advance(RTT);
    // Only the last one was lost. That the probe is what arrived shows when nothing reports it as a duplicate.
    acknowledge(t, 10);
    t.write(at(10), 60 * MSS);
    // What leaves within a few milliseconds is the window, at whatever pace.
    t.advance(RTT / 4);
    const first = sent(t).length;
    t.advance(RTT);
    acknowledge(t, 10 + first);
    t.advance(RTT / 4);
    expect(sent(t).length).toBeLessThan(first);
  });

  test("that was for nothing, as its report tells, does not (7.4.2)", () => {
    const t = trace().established({ sack: true, mss: MSS, rtt: RTT, wscale: 7 });
    t.write(1, 10 * MSS);
    t.lan.all();
    t.advance(2 * RTT);
    expect(sent(t)).toEqual([9]);
    acknowledge(t, 10);
    t.advance(RTT);
    acknowledge(t, 10, block(9));
    t.write(at(10), 40 * MSS);
    t.advance(RTT / 4);
    expect(sent(t).length).toBeGreaterThanOrEqual(10);
  });

  test("sends a lost FIN again", () => {
    const t = trace().established({ sack: true, mss: MSS, rtt: RTT });
    t.write(1, 2 * MSS);
    t.flow.shutdown();
    t.lan.flush();
    t.lan.all();
    t.advance(2 * RTT);
    const [probe, ...more] = t.take();
    expect(more).toEqual([]);
    expect(probe.flags).toContain("F");
    expect(probe.seq + probe.data).toBe(1 + 2 * MSS);
  });

  test("is not for a peer without selective acknowledgments", () => {
    const t = inFlight(5, { sack: false });
    t.advance(299);
    t.expectNothing();
    t.advance(1);
    expect(sent(t)[0]).toBe(0);
    expect(t.lan.stack.statistics.tcpTimeouts).toBe(1);
  });

  test("is not sent when nothing is in flight, nor into a closed window", () => {
    const t = inFlight(3);
    t.advance(RTT);
    t.send({ flags: "A", seq: 1, ack: at(3), win: 0 });
    t.write(at(3), 3 * MSS);
    t.advance(250);
    for (const { data } of t.take()) expect(data).toBeLessThanOrEqual(1);
  });
});
