import { describe, expect, test } from "vitest";
import { type Peer, type SeenSegment, trace } from "../../testing/trace.ts";

/** Sends `length` bytes from `seq` on in full segments, as one batch. */
function fill(t: Peer, seq: number, length: number): void {
  for (let at = 0; at < length; at += 1460) {
    t.inject({ flags: "A", seq: seq + at, ack: 1, data: Math.min(1460, length - at) });
  }
  t.lan.flush();
}

/** A connection whose peer took 1460 bytes and closed its window, with more waiting. */
function closedWindow(waiting = 5000): Peer {
  const t = trace().established();
  t.write(1, 1460);
  t.expect({ flags: "PA", data: 1460 });
  t.send({ flags: "A", seq: 1, ack: 1461, win: 0 });
  t.write(1461, waiting);
  t.expectNothing();
  return t;
}

/** Waits for what the stack sends next. */
function next(t: Peer): SeenSegment[] {
  for (let waited = 0; t.lan.waiting === 0; waited += 10) {
    if (waited > 200_000) throw new Error("nothing was sent");
    t.advance(10);
  }
  return t.take();
}

describe("tcp_window_shrink", () => {
  test("a window that shrinks below what is in flight costs no data", () => {
    const t = trace().established();
    t.write(1, 14_600);
    expect(t.take().length).toBe(10);
    t.send({ flags: "A", seq: 1, ack: 2921, win: 0 });
    t.expectNothing();
    t.expectEvents();
    // RFC 9293, 3.8.6: what is within the new window, and the window itself, are tried again.
    expect(next(t).length).toBeGreaterThan(0);
    t.send({ flags: "A", seq: 1, ack: 2921, win: 65_535 });
    let end = 2921;
    for (let round = 0; round < 50 && t.flow.sendQueued > 0; round++) {
      for (const { seq, data } of t.take()) if (seq <= end) end = Math.max(end, seq + data);
      t.send({ flags: "A", seq: 1, ack: end });
      t.advance(200);
    }
    expect(end).toBe(14_601);
  });

  test("no new data is sent beyond the new edge", () => {
    const t = trace().established();
    t.write(1, 5 * 1460);
    t.lan.all();
    t.send({ flags: "A", seq: 1, ack: 1461, win: 2920 });
    t.write(5 * 1460 + 1, 5 * 1460);
    t.expectNothing();
    t.send({ flags: "A", seq: 1, ack: 4381, win: 2920 });
    t.expectNothing();
    t.send({ flags: "A", seq: 1, ack: 7301, win: 1460 });
    t.expect({ flags: "A", seq: 7301, data: 1460 });
    t.expectNothing();
  });

  test("the acknowledgment of what is beyond the new edge is accepted", () => {
    const t = trace().established();
    t.write(1, 4380);
    t.lan.all();
    t.send({ flags: "A", seq: 1, ack: 1, win: 1000 });
    t.send({ flags: "A", seq: 1, ack: 4381, win: 1000 });
    expect(t.flow.sendQueued).toBe(0);
  });

  test("this side's own window never shrinks, however little is consumed", () => {
    const t = trace().established({ consumes: false });
    let edge = 1 + 65_535;
    for (let seq = 1; seq < 65_536; seq += 1000) {
      t.send({ flags: "A", seq, ack: 1, data: Math.min(1000, 65_536 - seq) });
      t.advance(500);
      for (const { ack, win } of t.take()) {
        expect(ack + win).toBeGreaterThanOrEqual(edge);
        edge = ack + win;
      }
    }
    expect(edge).toBe(65_536);
  });
});

describe("tcp_window_msb_set", () => {
  test.each([0x8000, 0xffff])("a window of %i is not negative", (win) => {
    const t = trace().established({ win });
    t.write(1, 14_600);
    expect(t.take().length).toBe(10);
  });

  test("nor is a scaled one", () => {
    const t = trace().established({ wscale: 14, win: 0xffff });
    t.write(1, 14_600);
    expect(t.take().length).toBe(10);
  });
});

describe("tcp_rcv_buf_space", () => {
  test("what the window promised is taken, and not a byte more", () => {
    const t = trace().established({ consumes: false });
    fill(t, 1, 65_535);
    expect(t.log.receivedBytes).toBe(65_535);
    expect(t.take().at(-1)).toMatchObject({ ack: 65_536, win: 0 });
    t.send({ flags: "A", seq: 65_536, ack: 1, data: 100 });
    expect(t.log.receivedBytes).toBe(65_535);
    t.expect({ flags: "A", ack: 65_536, win: 0 });
  });

  test("what arrives beyond a gap counts against it as well", () => {
    const t = trace().established({ consumes: false });
    fill(t, 1461, 80_000);
    t.lan.all();
    t.send({ flags: "A", seq: 1, ack: 1, data: 1460 });
    expect(t.log.receivedBytes).toBe(65_535);
    expect(t.take().at(-1)).toMatchObject({ ack: 65_536, win: 0 });
  });
});

describe("tcp_zero_receive_window", () => {
  test("the window closes as the owner falls behind, and every segment beyond it is answered", () => {
    const t = trace().established({ consumes: false });
    fill(t, 1, 65_535);
    expect(t.take().at(-1)).toMatchObject({ ack: 65_536, win: 0 });
    for (let probe = 0; probe < 5; probe++) {
      t.advance(1000);
      t.send({ flags: "A", seq: 65_536, ack: 1, data: 1 });
      t.expect({ flags: "A", seq: 1, ack: 65_536, win: 0 });
    }
  });

  test("it opens by itself once the owner has read", () => {
    const t = trace().established({ consumes: false });
    fill(t, 1, 65_535);
    t.lan.all();
    t.flow.consumed(65_535);
    t.lan.flush();
    t.expect({ flags: "A", seq: 1, ack: 65_536, win: 65_535 });
    t.expectNothing();
  });

  test("a closed window still takes acknowledgments, a window and a reset (RFC 9293, 3.10.7.4, first)", () => {
    const t = trace().established({ consumes: false });
    fill(t, 1, 65_535);
    t.lan.all();
    t.write(1, 3000);
    t.lan.all();
    t.send({ flags: "A", seq: 65_536, ack: 3001, win: 1460 });
    expect(t.flow.sendQueued).toBe(0);
    t.write(3001, 5000);
    t.expect({ flags: "A", seq: 3001, ack: 65_536, data: 1460 });
    t.expectNothing();
    t.log.take();
    t.send({ flags: "R", seq: 65_536 });
    t.expectEvents("closed reset");
  });
});

describe("tcp_zero_window_probe", () => {
  test("a closed window is probed, and data follows as soon as it opens", () => {
    const t = closedWindow();
    for (let probe = 0; probe < 5; probe++) {
      const [segment, ...more] = next(t);
      expect(more).toEqual([]);
      expect(segment.flags).toContain("A");
      // One byte of new data, or none and an old number: either way the peer has to answer (3.8.6.1).
      expect([0, 1]).toContain(segment.data);
      expect(segment.seq).toBe(segment.data === 1 ? 1461 : 1460);
      t.send({ flags: "A", seq: 1, ack: 1461, win: 0 });
    }
    t.send({ flags: "A", seq: 1, ack: 1461, win: 65_535 });
    for (let seq = 1461; seq < 1461 + 3 * 1460; seq += 1460) t.expect({ flags: "A", seq, data: 1460 });
    t.expect({ flags: "PA", seq: 5841, data: 620 });
    t.send({ flags: "A", seq: 1, ack: 6461 });
    expect(t.flow.sendQueued).toBe(0);
  });

  test("a window that opens without a probe is used at once", () => {
    const t = closedWindow(10);
    t.send({ flags: "A", seq: 1, ack: 1461, win: 10 });
    t.expect({ flags: "PA", seq: 1461, data: 10 });
  });

  test("data from the peer is taken meanwhile", () => {
    const t = closedWindow();
    t.send({ flags: "PA", seq: 1, ack: 1461, win: 0, data: 100 });
    t.expectEvents("data 100");
    while (t.lan.waiting === 0) t.advance(10);
    expect(t.take()[0]).toMatchObject({ ack: 101 });
  });

  test("a FIN waits behind the data, and is sent into the window when it opens", () => {
    const t = closedWindow(10);
    t.flow.shutdown();
    t.lan.flush();
    t.expectNothing();
    next(t);
    t.send({ flags: "A", seq: 1, ack: 1461, win: 100 });
    const sent = t.take();
    expect(sent.map(({ data }) => data).reduce((sum, data) => sum + data, 0)).toBe(10);
    expect(sent.at(-1)?.flags).toContain("F");
  });
});

describe("tcp_zero_window_probe_retransmit", () => {
  test("probes are further and further apart, and go on for as long as the peer answers (RFC 9293, 3.8.6.1)", () => {
    const t = closedWindow();
    const gaps: number[] = [];
    let last = t.lan.now;
    for (let probe = 0; probe < 25; probe++) {
      next(t);
      gaps.push(t.lan.now - last);
      last = t.lan.now;
      t.send({ flags: "A", seq: 1, ack: 1461, win: 0 });
    }
    expect(gaps[1]).toBeGreaterThan(1.5 * gaps[0]);
    expect(gaps[2]).toBeGreaterThan(1.5 * gaps[1]);
    expect(gaps[3]).toBeGreaterThan(1.5 * gaps[2]);
    for (const gap of gaps) expect(gap).toBeLessThanOrEqual(60_020);
    t.expectEvents();
    // A lost answer makes no difference.
    next(t);
    next(t);
    t.send({ flags: "A", seq: 1, ack: 1461, win: 65_535 });
    t.expect({ flags: "A", seq: 1461, data: 1460 });
  });

  test("a peer that answers no probe at all is given up in the end", () => {
    const t = closedWindow();
    t.advance(2 * 3_600_000);
    t.lan.all();
    t.expectEvents("closed timeout");
  });

  test("nor is one kept that closed its window with data in flight and is gone", () => {
    const t = trace().established();
    t.write(1, 14_600);
    t.lan.all();
    t.send({ flags: "A", seq: 1, ack: 2921, win: 0 });
    t.advance(3 * 3_600_000);
    t.lan.all();
    t.expectEvents("closed timeout");
  });

  test("a probe that is taken into the closed window is followed by the next byte", () => {
    const t = closedWindow();
    let taken = 1461;
    for (let probe = 0; probe < 3; probe++) {
      const segments = next(t);
      const end = Math.max(...segments.map(({ seq, data }) => seq + data));
      expect(end).toBeLessThanOrEqual(taken + 1);
      taken = Math.max(taken, end);
      t.send({ flags: "A", seq: 1, ack: taken, win: 0 });
    }
    t.send({ flags: "A", seq: 1, ack: taken, win: 65_535 });
    t.expect({ flags: "A", seq: taken, data: 1460 });
  });
});

describe("tcp_zero_window_probe_usertimeout", () => {
  test("probes that are not answered end the connection after the user timeout", () => {
    const t = closedWindow();
    t.flow.setUserTimeout(3000);
    t.advance(10_000);
    expect(t.take().length).toBeGreaterThan(1);
    t.expectEvents("closed timeout");
    t.send({ flags: "A", seq: 1, ack: 1461, win: 65_535 });
    expect(t.take()[0].flags).toBe("R");
  });

  test("without one they end it no sooner than the retransmissions would", () => {
    const t = closedWindow();
    t.advance(100_000);
    t.lan.all();
    t.expectEvents();
  });
});

describe("RFC 9293, 3.8.6.2.2: silly window avoidance by the receiver", () => {
  test("a closed window opens by a segment at least", () => {
    const t = trace().established({ consumes: false });
    fill(t, 1, 65_535);
    t.lan.all();
    for (let consumed = 0; consumed < 20_000; consumed += 100) {
      t.flow.consumed(100);
      t.lan.flush();
    }
    const wins = t.take().map(({ win }) => win);
    expect(wins.length).toBeGreaterThan(0);
    let last = 0;
    for (const win of wins) {
      expect(win - last).toBeGreaterThanOrEqual(1460);
      last = win;
    }
  });

  test("an acknowledgment that has to leave moves the edge by a segment or not at all", () => {
    const t = trace().established({ consumes: false });
    fill(t, 1, 60_000);
    let edge = 65_536;
    t.lan.all();
    for (let consumed = 0; consumed < 10_000; consumed += 100) {
      t.flow.consumed(100);
      // An old segment, which has to be acknowledged.
      t.send({ flags: "A", seq: 0, ack: 1 });
      for (const { ack, win } of t.take()) {
        const moved = ack + win - edge;
        if (moved !== 0) expect(moved).toBeGreaterThanOrEqual(1460);
        edge += moved;
      }
    }
    expect(edge).toBeGreaterThan(65_536 + 5000);
  });
});
