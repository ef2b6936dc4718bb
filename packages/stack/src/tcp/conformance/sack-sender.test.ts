import { describe, expect, test } from "vitest";
import type { SackBlock } from "../../testing/frames.ts";
import { type HandshakeOptions, type Peer, trace } from "../../testing/trace.ts";

const MSS = 1000;
const RTT = 100;

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

/** A connection with a window of ten segments. */
function connected(options: HandshakeOptions = { sack: true }): Peer {
  return trace().established({ mss: options.ts ? MSS + 12 : MSS, rtt: RTT, wscale: 7, ...options });
}

/** A connection with segments 0 to 9 in flight for a round trip, and more to send than fits the congestion window. */
function tenInFlight(options?: HandshakeOptions): Peer {
  const t = connected(options);
  t.write(1, 60 * MSS);
  expect(sent(t)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
  t.advance(RTT);
  return t;
}

/** Takes everything that is sent from here on, one round trip apart, until all is acknowledged; returns what was sent. */
function deliverRest(t: Peer, received: Set<number>): number[] {
  const order: number[] = [];
  for (let round = 0; t.flow.sendQueued > 0; round++) {
    expect(round).toBeLessThan(1000);
    for (const index of sent(t)) {
      order.push(index);
      received.add(index);
    }
    t.advance(RTT);
    let next = 0;
    while (received.has(next)) next++;
    acknowledge(t, next);
  }
  return order;
}

/** Segments that leave within a few milliseconds with nothing in flight, at whatever pace: the congestion window. */
function congestionWindow(t: Peer, from: number): number {
  t.expectNothing();
  expect(t.flow.sendQueued).toBe(0);
  t.write(at(from), 40 * MSS);
  t.advance(RTT / 4);
  return sent(t).length;
}

describe("RFC 6675: exactly what is missing is sent again, in order", () => {
  test.each([
    ["one segment", [0]],
    ["the second", [1]],
    ["two in a row", [3, 4]],
    ["three apart", [1, 4, 7]],
    ["all of the first half", [0, 1, 2, 3, 4]],
    ["every second one", [0, 2, 4, 6, 8]],
  ])("%s: %j", (_, lost) => {
    const t = tenInFlight();
    const blocks: SackBlock[] = [];
    let first = 0;
    while (!lost.includes(first)) first++;
    for (let index = first; index < 10; index++) {
      if (lost.includes(index)) continue;
      let last = index;
      while (last + 1 < 10 && !lost.includes(last + 1)) last++;
      blocks.unshift(block(index, last));
      index = last;
    }
    // The peer has room for four blocks; what came in the meantime tells of the first ones.
    for (let known = Math.max(0, blocks.length - 4); known >= 0; known--) {
      acknowledge(t, first, ...blocks.slice(known, known + 4));
    }
    const again: number[] = [];
    const fresh: number[] = [];
    const received = new Set(Array.from({ length: 10 }, (__, index) => index).filter((index) => !lost.includes(index)));
    for (let round = 0; round < 12 && again.length < lost.length; round++) {
      for (const index of sent(t)) {
        (index < 10 ? again : fresh).push(index);
        received.add(index);
      }
      t.advance(RTT);
      let next = 0;
      while (received.has(next)) next++;
      const beyond = [...received].filter((index) => index > next).sort((a, b) => a - b);
      const rest: SackBlock[] = [];
      for (const index of beyond) {
        const last = rest.at(-1);
        if (last !== undefined && last[1] === at(index)) rest[rest.length - 1] = [last[0], at(index + 1)];
        else rest.push(block(index));
      }
      acknowledge(t, next, ...rest.reverse().slice(0, 4));
    }
    expect(again).toEqual(lost);
    deliverRest(t, received);
    expect(t.lan.stack.statistics).toMatchObject({ tcpTimeouts: 0, tcpRetransmissions: lost.length });
  });

  test("what is reported later is sent again later, and nothing twice", () => {
    const t = tenInFlight();
    acknowledge(t, 0, block(1, 4));
    const first = sent(t);
    expect(first[0]).toBe(0);
    acknowledge(t, 0, block(6, 9), block(1, 4));
    const second = sent(t);
    expect(second).toContain(5);
    const all = [...first, ...second];
    expect(all.filter((index) => index < 10)).toEqual([0, 5]);
  });

  test("a block that covers a part of a segment does not count for the whole (4)", () => {
    const t = tenInFlight();
    t.send({ flags: "A", seq: 1, ack: 1, sack: [[at(1) + 1, at(9)]] });
    const received = new Set([2, 3, 4, 5, 6, 7, 8]);
    t.advance(RTT);
    const order = [...sent(t), ...deliverRest(t, received)].filter((index) => index < 10);
    expect(order).toContain(0);
    expect(order).toContain(1);
  });

  test("new data follows as the window allows, beyond what was sent (3)", () => {
    const t = tenInFlight();
    acknowledge(t, 0, block(1, 9));
    const order = sent(t);
    expect(order[0]).toBe(0);
    expect(order.slice(1)).toEqual(order.slice(1).map((_, index) => 10 + index));
  });

  test("the window is reduced once for all losses of a flight (5)", () => {
    for (const lost of [[0], [0, 3, 6]]) {
      const t = connected();
      t.write(1, 10 * MSS);
      t.lan.all();
      t.advance(RTT);
      const blocks = lost.map((first, index) => block(first + 1, (lost[index + 1] ?? 10) - 1)).reverse();
      acknowledge(t, 0, ...blocks);
      expect(sent(t)).toEqual(lost);
      t.advance(RTT);
      acknowledge(t, 10);
      // CUBIC leaves 0.7 of the window, Reno a half (RFC 9438, 4.6; RFC 5681, 3.2).
      const window = congestionWindow(t, 10);
      expect(window).toBeGreaterThanOrEqual(5);
      expect(window).toBeLessThanOrEqual(8);
    }
  });

  test("without loss it stays", () => {
    const t = connected();
    t.write(1, 10 * MSS);
    t.lan.all();
    t.advance(RTT);
    acknowledge(t, 10);
    expect(congestionWindow(t, 10)).toBeGreaterThanOrEqual(10);
  });
});

describe("RFC 5681 and RFC 9438: what a loss leaves of the window", () => {
  test.each([
    ["cubic", 7],
    ["reno", 5],
  ] as const)("with %s it is %i of ten segments", (congestionControl, window) => {
    for (const sack of [true, false]) {
      const t = trace({ tcp: { congestionControl } }).established({ sack, mss: MSS, rtt: RTT, wscale: 7 });
      t.write(1, 10 * MSS);
      t.lan.all();
      t.advance(RTT);
      for (let last = 1; last <= 9; last++) acknowledge(t, 0, ...(sack ? [block(1, last)] : []));
      expect(sent(t)).toEqual([0]);
      t.advance(RTT);
      acknowledge(t, 10);
      expect(congestionWindow(t, 10)).toBe(window);
    }
  });

  test.each([
    ["cubic", 7],
    ["reno", 5],
  ] as const)(
    "with %s a timeout begins a slow start up to %i segments (RFC 5681, 3.1)",
    (congestionControl, threshold) => {
      const t = trace({ tcp: { congestionControl } }).established({ mss: MSS, rtt: RTT, wscale: 7 });
      t.write(1, 60 * MSS);
      t.lan.all();
      t.advance(3 * RTT);
      expect(sent(t)).toEqual([0]);
      const windows: number[] = [];
      let arrived = 10;
      for (let round = 0; round < 6; round++) {
        t.advance(RTT);
        acknowledge(t, arrived);
        const count = sent(t).length;
        windows.push(count);
        arrived += count;
      }
      // It grows by what is acknowledged, up to the threshold, and from there by a segment or so per round trip.
      expect(windows[0]).toBeLessThanOrEqual(2);
      expect(Math.max(...windows)).toBeGreaterThanOrEqual(threshold);
      for (const [round, window] of windows.entries()) {
        const before = windows[round - 1] ?? 1;
        expect(window).toBeLessThanOrEqual(before < threshold ? Math.max(2 * before, threshold + 1) : before + 2);
      }
    },
  );
});

describe("RFC 6937: proportional rate reduction", () => {
  test("in a recovery no more is sent than arrives, at most two for one", () => {
    const t = tenInFlight();
    let total = 0;
    for (let last = 1; last <= 9; last++) {
      acknowledge(t, 0, block(1, last));
      const now = sent(t).length;
      expect(now).toBeLessThanOrEqual(2);
      total += now;
    }
    // Half to seven tenths of what was in flight, and the one that goes at once.
    expect(total).toBeGreaterThanOrEqual(5);
    expect(total).toBeLessThanOrEqual(10);
  });

  test("a burst of losses is not answered by a burst", () => {
    const t = tenInFlight();
    acknowledge(t, 0, block(7, 9));
    expect(sent(t).length).toBeLessThanOrEqual(4);
  });
});

describe("RFC 3042: limited transmit", () => {
  test.each([true, false])("the first two duplicates send a new segment each (selective: %s)", (sack) => {
    const t = tenInFlight({ sack });
    acknowledge(t, 0, ...(sack ? [block(1)] : []));
    expect(sent(t)).toEqual([10]);
    acknowledge(t, 0, ...(sack ? [block(1, 2)] : []));
    expect(sent(t)).toEqual([11]);
  });

  test("not beyond the peer's window", () => {
    const t = connected({ sack: false, wscale: 0, win: 10 * MSS });
    t.write(1, 40 * MSS);
    expect(sent(t).length).toBe(10);
    t.advance(RTT);
    acknowledge(t, 0);
    acknowledge(t, 0);
    t.expectNothing();
  });

  test("the third is a fast retransmission (RFC 5681, 3.2)", () => {
    const t = tenInFlight({ sack: false });
    acknowledge(t, 0);
    acknowledge(t, 0);
    t.lan.all();
    acknowledge(t, 0);
    expect(sent(t)[0]).toBe(0);
    expect(t.lan.stack.statistics).toMatchObject({ tcpFastRetransmissions: 1, tcpTimeouts: 0 });
  });
});

describe("RFC 6582: without selective acknowledgments", () => {
  test("a partial acknowledgment has the next one sent again, without a timeout", () => {
    const t = tenInFlight({ sack: false });
    for (let duplicate = 0; duplicate < 3; duplicate++) acknowledge(t, 0);
    expect(sent(t)).toContain(0);
    t.advance(RTT);
    acknowledge(t, 3);
    expect(sent(t)[0]).toBe(3);
    t.advance(RTT);
    acknowledge(t, 6);
    expect(sent(t)[0]).toBe(6);
    t.advance(RTT);
    acknowledge(t, 12);
    expect(t.lan.stack.statistics).toMatchObject({ tcpTimeouts: 0, tcpRetransmissions: 3, tcpFastRetransmissions: 1 });
  });

  test("duplicates that its own repetitions draw begin no recovery (3.2, step 2)", () => {
    const t = tenInFlight({ sack: false });
    t.advance(2 * RTT);
    expect(sent(t)).toEqual([0]);
    t.advance(RTT);
    acknowledge(t, 10);
    const fresh = sent(t);
    expect(fresh[0]).toBe(10);
    for (let duplicate = 0; duplicate < 3; duplicate++) acknowledge(t, 10);
    expect(sent(t)).not.toContain(10);
    expect(t.lan.stack.statistics.tcpFastRetransmissions).toBe(0);
    // What covers more than that does.
    acknowledge(t, 11);
    for (let duplicate = 0; duplicate < 3; duplicate++) acknowledge(t, 11);
    expect(t.lan.stack.statistics.tcpFastRetransmissions).toBe(1);
  });

  test("segments with data, with another window, or with nothing in flight are no duplicates (RFC 5681, 2)", () => {
    const t = tenInFlight({ sack: false });
    for (let index = 0; index < 5; index++) {
      t.send({ flags: "A", seq: 1 + 10 * index, ack: 1, data: 10 });
      t.send({ flags: "A", seq: 11 + 10 * index, ack: 1, win: 30_000 + index });
    }
    expect(t.lan.stack.statistics.tcpFastRetransmissions).toBe(0);
    expect(t.lan.stack.statistics.tcpRetransmissions).toBe(0);
  });
});

describe("RFC 2883 and RFC 3708: a report of a duplicate undoes a reduction", () => {
  /** Segment 0 is late, is sent again, and arrives twice. */
  function lateFirst(): Peer {
    const t = connected();
    t.write(1, 10 * MSS);
    t.lan.all();
    t.advance(RTT);
    acknowledge(t, 0, block(1, 3));
    expect(sent(t)).toEqual([0]);
    return t;
  }

  test("in the recovery", () => {
    const t = lateFirst();
    t.advance(10);
    acknowledge(t, 4);
    t.advance(RTT);
    acknowledge(t, 8, block(0));
    acknowledge(t, 10);
    expect(congestionWindow(t, 10)).toBeGreaterThanOrEqual(10);
    expect(t.lan.stack.statistics.tcpRetransmissions).toBe(1);
  });

  test("at its end", () => {
    const t = lateFirst();
    t.advance(RTT);
    acknowledge(t, 10, block(0));
    expect(congestionWindow(t, 10)).toBeGreaterThanOrEqual(10);
  });

  test("after it", () => {
    const t = lateFirst();
    t.advance(10);
    acknowledge(t, 10);
    t.advance(RTT - 10);
    acknowledge(t, 10, block(0));
    expect(congestionWindow(t, 10)).toBeGreaterThanOrEqual(10);
  });

  test("not while one of the segments that were sent again was needed", () => {
    const t = connected();
    t.write(1, 10 * MSS);
    t.lan.all();
    t.advance(RTT);
    acknowledge(t, 0, block(2, 9));
    expect(sent(t)).toEqual([0, 1]);
    t.advance(RTT);
    acknowledge(t, 10, block(0));
    expect(congestionWindow(t, 10)).toBeLessThanOrEqual(8);
  });

  test("not by a report of what was never sent again", () => {
    const t = connected();
    t.write(1, 10 * MSS);
    t.lan.all();
    t.advance(RTT);
    acknowledge(t, 0, block(1, 9));
    expect(sent(t)).toEqual([0]);
    t.advance(RTT);
    // The network doubled segment 5.
    acknowledge(t, 10, block(5));
    expect(congestionWindow(t, 10)).toBeLessThanOrEqual(8);
  });
});

describe("RFC 3522: timestamps tell that a retransmission was not needed", () => {
  test("an acknowledgment of the first copy undoes the reduction", () => {
    const t = connected({ sack: true, ts: true });
    t.write(1, 10 * MSS);
    t.lan.all();
    t.advance(RTT);
    const original = RTT;
    acknowledge(t, 0, block(1, 3));
    expect(sent(t)).toEqual([0]);
    t.advance(10);
    t.send({ flags: "A", seq: 1, ack: at(10), ts: [undefined, original] });
    expect(congestionWindow(t, 10)).toBeGreaterThanOrEqual(10);
  });

  test("one of the second does not", () => {
    const t = connected({ sack: true, ts: true });
    t.write(1, 10 * MSS);
    t.lan.all();
    t.advance(RTT);
    acknowledge(t, 0, block(1, 3));
    expect(sent(t)).toEqual([0]);
    t.advance(RTT);
    t.send({ flags: "A", seq: 1, ack: at(10), ts: [undefined, 2 * RTT] });
    expect(congestionWindow(t, 10)).toBeLessThanOrEqual(8);
  });
});

describe("RFC 2018, 8: a peer that drops what it had reported", () => {
  test("has everything sent again that it does not acknowledge", () => {
    const t = connected();
    t.write(1, 10 * MSS);
    t.lan.all();
    t.advance(RTT);
    acknowledge(t, 0, block(1, 9));
    expect(sent(t)[0]).toBe(0);
    t.advance(RTT);
    // It has run out of memory: only the first segment is left.
    const received = new Set([0]);
    acknowledge(t, 1);
    for (let waited = 0; t.flow.sendQueued > 0; waited += RTT) {
      expect(waited).toBeLessThan(60_000);
      for (const index of sent(t)) received.add(index);
      t.advance(RTT);
      let next = 0;
      while (received.has(next)) next++;
      acknowledge(t, next);
    }
    expect(received.size).toBe(10);
    t.expectEvents();
  });

  test("what it reported is kept until it is acknowledged", () => {
    const t = connected();
    t.write(1, 10 * MSS);
    t.lan.all();
    t.advance(RTT);
    acknowledge(t, 0, block(1, 9));
    expect(t.flow.sendQueued).toBe(10 * MSS);
    t.lan.all();
    // Not even a retransmission gets through: after the timeouts it may all be gone.
    t.advance(30_000);
    t.lan.all();
    let next = 1;
    const held: { seq: number; data: number }[] = [];
    for (let waited = 0; t.flow.sendQueued > 0; waited += RTT) {
      expect(waited).toBeLessThan(200_000);
      // The segments may be smaller than at first by now.
      held.push(...t.take());
      for (const { seq, data } of held.sort((one, other) => one.seq - other.seq)) {
        if (seq <= next) next = Math.max(next, seq + data);
      }
      if (next > 1) t.send({ flags: "A", seq: 1, ack: next });
      t.advance(RTT);
    }
    expect(next).toBe(at(10));
  });
});

describe("tcp_reordering", () => {
  test("segments that overtake others by less than the reordering window draw no retransmission", () => {
    const t = tenInFlight();
    acknowledge(t, 0, block(1));
    t.advance(5);
    acknowledge(t, 2);
    acknowledge(t, 2, block(3));
    t.advance(5);
    acknowledge(t, 10);
    for (const index of sent(t)) expect(index).toBeGreaterThanOrEqual(10);
    expect(t.lan.stack.statistics.tcpRetransmissions).toBe(0);
  });

  test("one that was sent again for nothing leaves the window as it was, once that is reported", () => {
    const t = connected();
    t.write(1, 10 * MSS);
    t.lan.all();
    t.advance(RTT);
    acknowledge(t, 0, block(1, 3));
    expect(sent(t)).toEqual([0]);
    acknowledge(t, 4);
    t.advance(RTT);
    acknowledge(t, 10, block(0));
    t.write(at(10), 40 * MSS);
    expect(sent(t).length).toBeGreaterThanOrEqual(10);
  });

  test("a connection that reorders has its reordering window grow with each report (RFC 8985, 6.2, step 4)", () => {
    const t = connected();
    t.write(1, 10 * MSS);
    t.lan.all();
    t.advance(RTT);
    // The first flight shows that there is reordering at all.
    acknowledge(t, 0, block(1));
    t.advance(5);
    acknowledge(t, 10);
    let index = 10;
    // In each other flight the first segment is 30 ms late: more than a quarter of a round trip.
    for (let flight = 0; flight < 12; flight++) {
      t.write(at(index), 10 * MSS);
      const { tcpRetransmissions } = t.lan.stack.statistics;
      const count = sent(t).length;
      t.advance(RTT);
      for (let last = 1; last < count; last++) acknowledge(t, index, block(index + 1, index + last));
      t.advance(30);
      acknowledge(t, index + count);
      if (t.lan.stack.statistics.tcpRetransmissions > tcpRetransmissions) {
        t.advance(RTT - 30);
        acknowledge(t, index + count, block(index));
      }
      // What did not fit the window at first.
      while (t.lan.waiting > 0) {
        t.lan.all();
        t.advance(RTT);
        acknowledge(t, index + 10);
      }
      index += 10;
    }
    expect(t.lan.stack.statistics.tcpRetransmissions).toBeLessThanOrEqual(3);
    expect(t.lan.stack.statistics.tcpTimeouts).toBe(0);
  });
});
