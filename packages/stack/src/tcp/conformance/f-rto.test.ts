import { describe, expect, test } from "vitest";
import { type HandshakeOptions, type Peer, trace } from "../../testing/trace.ts";

const MSS = 1000;
const RTT = 100;

/** The sequence number that segment `index` begins at, counted from 0. */
function at(index: number): number {
  return 1 + index * MSS;
}

/** The segments that the stack has sent, each of which has to be a full one. */
function sent(t: Peer): number[] {
  return t.take().map(({ seq, data }) => {
    expect(data).toBe(MSS);
    expect((seq - 1) % MSS).toBe(0);
    return (seq - 1) / MSS;
  });
}

function acknowledge(t: Peer, index: number): void {
  t.send({ flags: "A", seq: 1, ack: at(index) });
}

/** A connection whose segments 0 to 9 are delayed: the timer has expired, and segment 0 was sent again. */
function timedOut(options: HandshakeOptions = {}): Peer {
  const t = trace().established({ mss: options.ts ? MSS + 12 : MSS, rtt: RTT, wscale: 7, ...options });
  t.write(1, 60 * MSS);
  expect(sent(t).length).toBe(10);
  while (t.lan.stack.statistics.tcpTimeouts === 0) t.advance(1);
  expect(sent(t).at(-1)).toBe(0);
  return t;
}

describe("RFC 5682: spurious timeouts", () => {
  test("the first acknowledgment has two segments of new data sent (2.1, step 2b)", () => {
    const t = timedOut();
    t.advance(10);
    acknowledge(t, 1);
    expect(sent(t)).toEqual([10, 11]);
  });

  test("acknowledgments of what was sent once show that nothing was lost: nothing else is sent again (step 3b)", () => {
    const t = timedOut();
    t.advance(10);
    for (let index = 1; index <= 10; index++) acknowledge(t, index);
    for (const index of sent(t)) expect(index).toBeGreaterThanOrEqual(10);
    expect(t.lan.stack.statistics).toMatchObject({ tcpTimeouts: 1, tcpRetransmissions: 1 });
  });

  test("the window is what it was before (RFC 4015)", () => {
    const t = timedOut();
    t.advance(10);
    acknowledge(t, 1);
    acknowledge(t, 2);
    acknowledge(t, 10);
    const inFlight = sent(t).length;
    expect(inFlight).toBeGreaterThanOrEqual(10);
  });

  test("duplicates instead show that something was: it is sent again (step 3a)", () => {
    const t = timedOut();
    t.advance(RTT);
    acknowledge(t, 1);
    expect(sent(t)).toEqual([10, 11]);
    t.advance(RTT);
    // Both new segments arrive beyond the gap.
    acknowledge(t, 1);
    acknowledge(t, 1);
    const again = sent(t);
    expect(again[0]).toBe(1);
    for (const index of again) expect(index).toBeLessThan(10);
    // The rest follows, in order, a slow start's worth at a time.
    const order = [...again];
    let next = 1;
    for (let round = 0; round < 20 && next < 10; round++) {
      t.advance(RTT);
      next = Math.max(...order) + 1;
      acknowledge(t, next === 10 ? 12 : next);
      order.push(...sent(t).filter((index) => index < 10));
    }
    expect(order).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9]);
    expect(t.lan.stack.statistics.tcpTimeouts).toBe(1);
  });

  test("an acknowledgment of everything, after a timeout for one lost segment, leaves the window reduced", () => {
    const t = timedOut();
    t.advance(RTT);
    acknowledge(t, 10);
    expect(sent(t).length).toBeLessThan(10);
    expect(t.lan.stack.statistics.tcpRetransmissions).toBe(1);
  });

  test("where there is no new data to send, the lost segments are (step 2b)", () => {
    const t = trace().established({ mss: MSS, rtt: RTT });
    t.write(1, 5 * MSS);
    t.lan.all();
    t.advance(300);
    expect(sent(t)).toEqual([0]);
    t.advance(RTT);
    acknowledge(t, 1);
    expect(sent(t)).toEqual([1, 2]);
    t.advance(RTT);
    acknowledge(t, 3);
    expect(sent(t)).toEqual([3, 4]);
    t.advance(RTT);
    acknowledge(t, 5);
    expect(t.lan.stack.statistics).toMatchObject({ tcpTimeouts: 1, tcpRetransmissions: 5 });
  });

  test("with selective acknowledgments the same holds (3)", () => {
    const t = timedOut({ sack: true });
    const { tcpRetransmissions } = t.lan.stack.statistics;
    t.advance(10);
    for (let index = 1; index <= 10; index++) acknowledge(t, index);
    for (const index of sent(t)) expect(index).toBeGreaterThanOrEqual(10);
    expect(t.lan.stack.statistics).toMatchObject({ tcpTimeouts: 1, tcpRetransmissions });
  });

  test("with selective acknowledgments a timeout for a loss is no less one", () => {
    const t = timedOut({ sack: true });
    t.advance(RTT);
    acknowledge(t, 1);
    const order = sent(t);
    for (let round = 0; round < 20 && !order.includes(1); round++) {
      const highest = Math.max(9, ...order);
      t.advance(RTT);
      // What is new arrives beyond the gap.
      if (highest > 9) t.send({ flags: "A", seq: 1, ack: at(1), sack: [[at(10), at(highest + 1)]] });
      order.push(...sent(t));
    }
    expect(order).toContain(1);
    expect(t.lan.stack.statistics.tcpTimeouts).toBe(1);
  });

  test("timestamps show it by the first acknowledgment already (RFC 3522)", () => {
    const t = timedOut({ ts: true });
    const { tcpRetransmissions } = t.lan.stack.statistics;
    t.advance(10);
    // The echo is that of the first copy, which left after the handshake's round trip.
    t.send({ flags: "A", seq: 1, ack: at(1), ts: [undefined, RTT] });
    t.send({ flags: "A", seq: 1, ack: at(10), ts: [undefined, RTT] });
    expect(sent(t).length).toBeGreaterThanOrEqual(10);
    expect(t.lan.stack.statistics).toMatchObject({ tcpTimeouts: 1, tcpRetransmissions });
  });

  test("a delay that comes again and again costs a retransmission each, not a window", () => {
    const t = trace().established({ mss: MSS, rtt: RTT, wscale: 7 });
    let from = 0;
    for (let spike = 0; spike < 4; spike++) {
      t.write(at(from), 10 * MSS);
      const first = sent(t);
      expect(first.length).toBe(10);
      const { tcpTimeouts } = t.lan.stack.statistics;
      while (t.lan.stack.statistics.tcpTimeouts === tcpTimeouts) t.advance(1);
      expect(sent(t)).toEqual([from]);
      t.write(at(from + 10), 2 * MSS);
      t.lan.all();
      for (let index = from + 1; index <= from + 10; index++) acknowledge(t, index);
      t.advance(RTT);
      acknowledge(t, from + 12);
      for (const index of sent(t)) expect(index).toBeGreaterThanOrEqual(from + 10);
      from += 12;
      // Ordinary round trips, so that the timer is what it was.
      for (let round = 0; round < 30; round++) {
        t.write(at(from), MSS);
        t.lan.all();
        t.advance(RTT);
        from++;
        acknowledge(t, from);
      }
    }
    expect(t.lan.stack.statistics.tcpRetransmissions).toBe(4);
  });
});
