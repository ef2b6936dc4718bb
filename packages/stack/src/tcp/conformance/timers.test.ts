import { describe, expect, test } from "vitest";
import { type Peer, trace } from "../../testing/trace.ts";

/**
 * Takes what the stack sends next, and how many milliseconds that took. No clock has to be better than 1 ms (RFC 6298,
 * 2, G), so a fraction is as good as a whole one.
 */
function waitForOne(t: Peer): { seq: number; data: number; flags: string; waited: number } {
  const start = t.lan.now;
  t.expectNothing();
  while (t.lan.waiting === 0) {
    if (t.lan.now - start > 1_000_000) throw new Error("nothing was sent");
    t.advance(1);
  }
  const [{ seq, data, flags }, ...more] = t.take();
  expect(more).toEqual([]);
  return { seq, data, flags, waited: t.lan.now - start };
}

function expectAbout(actual: number, expected: number): void {
  expect(actual).toBeGreaterThanOrEqual(Math.floor(expected));
  expect(actual).toBeLessThanOrEqual(Math.ceil(expected) + 1);
}

describe("tcp_user_timeout", () => {
  test("data that stays unacknowledged ends the connection after that time", () => {
    const t = trace().established();
    t.flow.setUserTimeout(5000);
    t.advance(100_000);
    t.write(1, 100);
    t.advance(4999);
    t.expectEvents();
    expect(t.take().length).toBeGreaterThan(2);
    t.advance(1);
    t.expectEvents("closed timeout");
    expect(t.lan.stack.tcp.size).toBe(0);
    t.lan.all();
    t.send({ flags: "A", seq: 1, ack: 101 });
    t.expect({ flags: "R", seq: 101 });
  });

  test("every acknowledgment of something new begins it anew", () => {
    const t = trace().established();
    t.flow.setUserTimeout(5000);
    t.write(1, 100);
    for (let ack = 2; ack < 100; ack += 10) {
      t.advance(4000);
      t.lan.all();
      t.send({ flags: "A", seq: 1, ack });
      t.expectEvents();
    }
    t.send({ flags: "A", seq: 1, ack: 101 });
    t.advance(100_000);
    t.expectEvents();
  });

  test("repetitions of an acknowledgment do not", () => {
    const t = trace().established();
    t.flow.setUserTimeout(5000);
    t.write(1, 100);
    for (let time = 0; time < 6000; time += 500) {
      t.advance(500);
      t.send({ flags: "A", seq: 1, ack: 1 });
    }
    t.expectEvents("closed timeout");
  });

  test("it holds for a FIN as well", () => {
    const t = trace().established();
    t.flow.setUserTimeout(5000);
    t.flow.shutdown();
    t.lan.flush();
    t.advance(4999);
    t.expectEvents();
    t.advance(1);
    t.expectEvents("closed timeout");
  });

  test("it holds from the settings, and is off at first", () => {
    const t = trace({ tcp: { userTimeout: 2000 } }).established();
    t.write(1, 100);
    t.advance(2000);
    t.expectEvents("closed timeout");
    const patient = trace().established();
    patient.write(1, 100);
    patient.advance(100_000);
    patient.expectEvents();
  });
});

describe("tcp_retransmits", () => {
  test("what is not acknowledged is sent again, each time after twice the wait", () => {
    const t = trace().established({ rtt: 100 });
    t.write(1, 100);
    t.expect({ flags: "PA", seq: 1, data: 100 });
    let wait = 300;
    for (let time = 0; time < 8; time++) {
      const again = waitForOne(t);
      expect(again).toMatchObject({ seq: 1, data: 100 });
      expectAbout(again.waited, wait);
      wait = Math.min(2 * again.waited, 60_000);
    }
    expect(t.lan.stack.statistics.tcpRetransmissions).toBe(8);
    t.send({ flags: "A", seq: 1, ack: 101 });
    t.advance(1_000_000);
    t.expectNothing();
  });

  test("in the end the connection is given up, after more than 100 s (RFC 9293, 3.8.3, R2)", () => {
    const t = trace().established();
    t.write(1, 100);
    t.advance(100_000);
    t.expectEvents();
    t.advance(3_600_000);
    t.expectEvents("closed timeout");
    expect(t.lan.stack.tcp.size).toBe(0);
    expect(t.lan.stack.tcp.reservedBytes).toBe(0);
  });

  test("a SYN is sent again for three minutes at least (RFC 9293, 3.8.3, MUST-23)", () => {
    const t = trace();
    t.lan.announce();
    t.dial();
    t.advance(180_000);
    t.expectEvents();
    expect(t.take().length).toBeGreaterThan(5);
    t.advance(600_000);
    t.expectEvents("closed timeout");
  });
});

describe("tcp_retransmission", () => {
  test("has the same number, the same data and the same identification", () => {
    const t = trace().established();
    t.write(1, 24);
    const first = t.expect({ flags: "PA", seq: 1, data: 24 });
    t.advance(1000);
    const again = t.expect({ flags: "PA", seq: 1, data: 24 });
    expect(again.identification).toBe(first.identification);
    expect(again.payload).toEqual(first.payload);
  });

  test("acknowledges what has arrived meanwhile", () => {
    const t = trace().established();
    t.write(1, 24);
    t.expect({ flags: "PA", seq: 1, ack: 1, data: 24 });
    t.send({ flags: "A", seq: 1, ack: 1, data: 15 });
    t.advance(100);
    t.lan.all();
    t.advance(900);
    expect(t.take()[0]).toMatchObject({ seq: 1, ack: 16, data: 24 });
  });
});

describe("tcp_info", () => {
  test("the statistics tell of a timeout, after which one segment is sent", () => {
    const t = trace().established({ rtt: 100 });
    t.write(1, 14_600);
    expect(t.take().length).toBe(10);
    t.write(14_601, 14_600);
    t.advance(450);
    expect(t.take()).toMatchObject([{ seq: 1, data: 1460 }]);
    expect(t.lan.stack.statistics).toMatchObject({ tcpTimeouts: 1, tcpRetransmissions: 1, tcpFastRetransmissions: 0 });
  });

  test("without loss they tell of nothing", () => {
    const t = trace().established({ rtt: 10 });
    for (let from = 1; from < 50_000; from += 1000) {
      t.write(from, 1000);
      t.advance(10);
      t.lan.all();
      t.send({ flags: "A", seq: 1, ack: from + 1000 });
    }
    expect(t.lan.stack.statistics).toMatchObject({ tcpTimeouts: 0, tcpRetransmissions: 0, tcpOutOfOrder: 0 });
  });
});

describe("RFC 6298: the retransmission timer", () => {
  test("is one second before anything was measured (2.1)", () => {
    const t = trace();
    t.lan.announce();
    t.dial();
    t.expect({ flags: "S" });
    expectAbout(waitForOne(t).waited, 1000);
  });

  test.each([
    [20, 220],
    [100, 300],
    [200, 600],
    [1000 / 4, 750],
  ])("with a first round trip of %i ms is %i ms (2.2, with Linux's floor)", (rtt, timeout) => {
    const t = trace().established({ rtt });
    t.write(1, 100);
    t.lan.all();
    expectAbout(waitForOne(t).waited, timeout);
  });

  test("follows the round trips (2.3)", () => {
    const t = trace().established({ rtt: 400 });
    let srtt = 400;
    let rttvar = 200;
    let from = 1;
    for (const roundTrip of [400, 500, 300, 800, 800, 400]) {
      t.write(from, 100);
      t.lan.all();
      t.advance(roundTrip);
      from += 100;
      t.send({ flags: "A", seq: 1, ack: from });
      rttvar = 0.75 * rttvar + 0.25 * Math.abs(srtt - roundTrip);
      srtt = 0.875 * srtt + 0.125 * roundTrip;
    }
    expect(t.lan.stack.statistics.tcpTimeouts).toBe(0);
    t.write(from, 100);
    t.lan.all();
    expectAbout(waitForOne(t).waited, srtt + Math.max(200, 4 * rttvar));
  });

  test("is not longer than a minute (2.5)", () => {
    const t = trace().established({ rtt: 500 });
    t.write(1, 100);
    t.lan.all();
    let longest = 0;
    for (let time = 0; time < 12; time++) longest = Math.max(longest, waitForOne(t).waited);
    expectAbout(longest, 60_000);
  });

  test("begins with the first segment in flight, not with each (5.1)", () => {
    const t = trace().established({ rtt: 100 });
    t.write(1, 100);
    t.advance(200);
    t.write(101, 100);
    t.lan.all();
    const { waited, seq } = waitForOne(t);
    expect(seq).toBe(1);
    expectAbout(waited, 100);
  });

  test("rests when everything is acknowledged (5.2)", () => {
    const t = trace().established({ rtt: 100 });
    t.write(1, 100);
    t.lan.all();
    t.send({ flags: "A", seq: 1, ack: 101 });
    t.advance(1_000_000);
    t.expectNothing();
  });

  test("begins anew with each acknowledgment of something new (5.3)", () => {
    const t = trace().established({ rtt: 100 });
    t.write(1, 100);
    t.write(101, 100);
    t.lan.all();
    t.advance(100);
    t.send({ flags: "A", seq: 1, ack: 101 });
    const { waited, seq } = waitForOne(t);
    expect(seq).toBe(101);
    // SRTT stays 100, RTTVAR is 37.5 now.
    expectAbout(waited, 300);
  });

  test("takes no sample from what was sent twice (3, Karn), so that the doubling stays (5.5)", () => {
    const t = trace().established({ rtt: 100 });
    t.write(1, 100);
    t.lan.all();
    waitForOne(t);
    t.advance(10);
    t.send({ flags: "A", seq: 1, ack: 101 });
    t.write(101, 100);
    t.lan.all();
    expectAbout(waitForOne(t).waited, 600);
  });

  test("with a sample of what was sent once the doubling ends (5.7)", () => {
    const t = trace().established({ rtt: 100 });
    t.write(1, 100);
    t.lan.all();
    waitForOne(t);
    t.send({ flags: "A", seq: 1, ack: 101 });
    t.write(101, 100);
    t.lan.all();
    t.advance(100);
    t.send({ flags: "A", seq: 1, ack: 201 });
    t.write(201, 100);
    t.lan.all();
    expectAbout(waitForOne(t).waited, 300);
  });

  test("with timestamps a sample is taken though the segment was sent twice (RFC 7323, 4.1)", () => {
    const t = trace().established({ rtt: 100, ts: true });
    t.write(1, 100);
    t.lan.all();
    waitForOne(t);
    t.advance(100);
    t.send({ flags: "A", seq: 1, ack: 101 });
    t.write(101, 100);
    t.lan.all();
    expectAbout(waitForOne(t).waited, 300);
  });

  test("is three seconds for the first data when the SYN had to be sent again (5.7)", () => {
    const t = trace();
    t.lan.announce();
    t.dial();
    t.expect({ flags: "S" });
    expect(waitForOne(t).flags).toBe("S");
    t.send({ flags: "SA", seq: 0, ack: 1, mss: 1460 });
    t.expect({ flags: "A" });
    t.write(1, 100);
    t.lan.all();
    expectAbout(waitForOne(t).waited, 3000);
  });

  test("the same holds for a SYN-ACK", () => {
    const t = trace();
    t.send({ flags: "S", mss: 1460 });
    t.accept();
    t.expect({ flags: "SA" });
    expect(waitForOne(t).flags).toBe("SA");
    t.send({ flags: "A", seq: 1, ack: 1 });
    t.write(1, 100);
    t.lan.all();
    expectAbout(waitForOne(t).waited, 3000);
  });
});

describe("RFC 9293, 3.8.4: keep-alive", () => {
  const FAST = { keepAliveIdle: 1000, keepAliveInterval: 500, keepAliveProbes: 3 };

  test("is off at first", () => {
    const t = trace().established();
    t.advance(3 * 3_600_000);
    t.expectNothing();
  });

  test("asks with an old sequence number, and is content with any answer", () => {
    const t = trace({ tcp: FAST }).established();
    for (let probe = 0; probe < 5; probe++) {
      t.advance(999);
      t.expectNothing();
      t.advance(1);
      const [segment, ...more] = t.take();
      expect(more).toEqual([]);
      expect(segment).toMatchObject({ flags: "A", seq: 0, ack: 1 });
      expect(segment.data).toBeLessThanOrEqual(1);
      t.send({ flags: "A", seq: 1, ack: 1 });
      t.expectNothing();
    }
    t.expectEvents();
  });

  test("asks again before it gives up (MUST-29)", () => {
    const t = trace({ tcp: FAST }).established();
    t.advance(1000);
    expect(t.take().length).toBe(1);
    for (let probe = 1; probe < 3; probe++) {
      t.advance(499);
      t.expectNothing();
      t.advance(1);
      expect(t.take().length).toBe(1);
    }
    t.expectEvents();
    t.advance(500);
    t.expectEvents("closed timeout");
    expect(t.lan.stack.tcp.size).toBe(0);
    t.advance(10_000);
    expect(t.take().every(({ flags }) => flags.includes("R"))).toBe(true);
  });

  test("does not ask while the peer sends", () => {
    const t = trace({ tcp: FAST }).established();
    for (let index = 0; index < 20; index++) {
      t.advance(900);
      t.send({ flags: "A", seq: 1 + 10 * index, ack: 1, data: 10 });
    }
    for (const { seq } of t.take()) expect(seq).toBe(1);
  });

  test("does not ask while data is in flight, whose retransmission does", () => {
    const t = trace({ tcp: FAST }).established({ rtt: 100 });
    t.write(1, 100);
    t.advance(10_000);
    for (const { seq, data } of t.take()) expect({ seq, data }).toEqual({ seq: 1, data: 100 });
    t.expectEvents();
  });

  test("asks after data as before, one below what was sent last", () => {
    const t = trace({ tcp: FAST }).established();
    t.write(1, 100);
    t.lan.all();
    t.send({ flags: "A", seq: 1, ack: 101 });
    t.advance(1000);
    expect(t.take()).toMatchObject([{ flags: "A", seq: 100, ack: 1 }]);
  });

  test("is set and ended for one connection", () => {
    const t = trace({ tcp: { keepAliveInterval: 500, keepAliveProbes: 3 } }).established();
    t.advance(5000);
    t.flow.setKeepAlive(2000);
    t.advance(1999);
    t.expectNothing();
    t.advance(1);
    expect(t.take().length).toBe(1);
    t.flow.setKeepAlive(0);
    t.advance(100_000);
    t.expectNothing();
    t.expectEvents();
  });

  test("a reset that the probe draws ends the connection", () => {
    const t = trace({ tcp: FAST }).established();
    t.advance(1000);
    t.lan.all();
    t.send({ flags: "R", seq: 1 });
    t.expectEvents("closed reset");
  });

  test("the peer's keep-alives are answered, with a byte of garbage and without", () => {
    const t = trace().established();
    for (let index = 0; index < 3; index++) {
      t.send({ flags: "A", seq: 0, ack: 1 });
      t.expect({ flags: "A", seq: 1, ack: 1 });
      t.send({ flags: "A", seq: 0, ack: 1, data: new Uint8Array(1) });
      t.expect({ flags: "A", seq: 1, ack: 1 });
    }
    t.expectEvents();
  });
});
