import { describe, expect, test } from "vitest";
import { type Peer, trace } from "../testing/trace.ts";

/** Takes full segments with the given numbers, counted from 0. */
function expectSegments(t: Peer, first: number, last: number): void {
  for (let index = first; index <= last; index++) t.expect({ flags: "A", seq: 1 + index * 1460, data: 1460 });
}

/** A connection with segments 0 to 9 in flight and more to send than fits the window. */
function tenInFlight(): Peer {
  const t = trace().established();
  t.write(1, 60_000);
  expectSegments(t, 0, 9);
  t.expectNothing();
  return t;
}

/** Three duplicates: two new segments by limited transmit (RFC 3042), and then the first one again. */
function loseFirst(t: Peer): void {
  for (let duplicate = 0; duplicate < 3; duplicate++) acknowledge(t, 0);
  expectSegments(t, 10, 11);
  expectSegments(t, 0, 0);
}

/** Acknowledges the segments before `segment`. */
function acknowledge(t: Peer, segment: number): void {
  t.send({ flags: "A", seq: 1, ack: 1 + segment * 1460 });
}

describe("the retransmission timer", () => {
  test("sends the first segment again after the timeout, with back-off, and gives up at last", () => {
    const t = trace().established();
    t.write(1, 100);
    t.expect({ flags: "PA", seq: 1, data: 100 });
    let wait = 200;
    for (let expiry = 1; expiry <= 15; expiry++) {
      t.advance(wait - 1);
      t.expectNothing();
      t.advance(1);
      t.expect({ flags: "PA", seq: 1, ack: 1, data: 100 });
      wait = Math.min(60_000, wait * 2);
    }
    expect(t.lan.stack.statistics).toMatchObject({ tcpTimeouts: 15, tcpRetransmissions: 15 });
    t.advance(59_999);
    t.expectEvents();
    t.advance(1);
    t.expectEvents("closed timeout");
    t.expectNothing();
    expect(t.lan.stack.tcp.size).toBe(0);
    expect(t.lan.stack.tcp.reservedBytes).toBe(0);
  });

  test("goes back to the first lost segment and sends from there as acknowledgments come", () => {
    const t = tenInFlight();
    t.advance(200);
    expectSegments(t, 0, 0);
    t.expectNothing();
    acknowledge(t, 1);
    // Two new segments first, to see whether the old ones are still arriving (RFC 5682, 2.1, step 2b).
    expectSegments(t, 10, 11);
    t.expectNothing();
    acknowledge(t, 1);
    expectSegments(t, 1, 1);
    t.expectNothing();
    acknowledge(t, 2);
    expectSegments(t, 2, 3);
    t.expectNothing();
    acknowledge(t, 4);
    expectSegments(t, 4, 7);
    t.expectNothing();
  });

  test("skips what the peer turns out to have", () => {
    const t = tenInFlight();
    t.advance(200);
    expectSegments(t, 0, 0);
    acknowledge(t, 10);
    expectSegments(t, 10, 11);
    t.expectNothing();
  });

  test("starts anew with each acknowledgment of something new", () => {
    const t = tenInFlight();
    t.advance(150);
    acknowledge(t, 1);
    t.lan.all();
    // SRTT 150 / 8, and 200 on top (Linux's floor).
    t.advance(218);
    t.expectNothing();
    t.advance(1);
    expectSegments(t, 1, 1);
  });

  test("rests when everything is acknowledged", () => {
    const t = trace().established();
    t.write(1, 100);
    t.expect({ flags: "PA", data: 100 });
    t.send({ flags: "A", seq: 1, ack: 101 });
    t.advance(1_000_000);
    t.expectNothing();
    expect(t.lan.stack.statistics.tcpTimeouts).toBe(0);
  });

  test("follows the measured round trip", () => {
    const t = trace();
    t.send({ flags: "S", mss: 1460 });
    t.accept();
    t.expect({ flags: "SA" });
    t.advance(100);
    t.send({ flags: "A", seq: 1, ack: 1 });
    // 100 + 4 * 50 (RFC 6298, 2.2).
    t.write(1, 10);
    t.expect({ flags: "PA", seq: 1, data: 10 });
    t.advance(299);
    t.expectNothing();
    t.advance(1);
    t.expect({ flags: "PA", seq: 1, data: 10 });
  });

  test("measures until all of the measured segment is acknowledged", () => {
    const t = trace().established();
    t.write(1, 100);
    t.expect({ flags: "PA", data: 100 });
    t.advance(100);
    t.send({ flags: "A", seq: 1, ack: 51 });
    t.advance(92);
    t.send({ flags: "A", seq: 1, ack: 101 });
    // SRTT 192 / 8, and 200 on top, which is more than 4 * 192 / 4.
    t.write(101, 10);
    t.expect({ flags: "PA", seq: 101, data: 10 });
    t.advance(223);
    t.expectNothing();
    t.advance(1);
    t.expect({ flags: "PA", seq: 101, data: 10 });
  });

  test("sends what the window still takes when it has shrunk meanwhile", () => {
    const t = trace().established();
    t.write(1, 14_600);
    t.lan.all();
    t.send({ flags: "A", seq: 1, ack: 1, win: 1000 });
    t.expectNothing();
    t.advance(200);
    t.expect({ flags: "A", seq: 1, data: 1000 });
  });

  test("takes no measurement from what was sent twice (Karn's algorithm)", () => {
    const t = trace().established();
    t.write(1, 10);
    t.expect({ flags: "PA", data: 10 });
    t.advance(200);
    t.expect({ flags: "PA", data: 10 });
    t.advance(300);
    t.send({ flags: "A", seq: 1, ack: 11 });
    t.write(11, 10);
    t.expect({ flags: "PA", seq: 11, data: 10 });
    // Without a measurement the timeout stays doubled.
    t.advance(399);
    t.expectNothing();
    t.advance(1);
    t.expect({ flags: "PA", seq: 11, data: 10 });
  });

  test("learns a round trip that is longer than the timeout", () => {
    const t = trace().established();
    for (let index = 0; index < 20; index++) {
      t.write(1 + 10 * index, 10);
      t.lan.all();
      t.advance(300);
      t.lan.all();
      t.send({ flags: "A", seq: 1, ack: 11 + 10 * index });
    }
    expect(t.lan.stack.statistics.tcpTimeouts).toBeLessThan(3);
  });

  test("does not take the duplicates that its own repetitions draw for a loss", () => {
    const t = trace().established();
    t.write(1, 14_600);
    t.lan.all();
    t.advance(200);
    t.lan.all();
    // The peer had received everything but its acknowledgments were late; then it answers what was sent again.
    for (let index = 1; index <= 10; index++) t.send({ flags: "A", seq: 1, ack: 1 + 1460 * index });
    t.write(14_601, 1000);
    t.lan.all();
    for (let index = 0; index < 3; index++) t.send({ flags: "A", seq: 1, ack: 14_601 });
    expect(t.lan.stack.statistics.tcpFastRetransmissions).toBe(0);
  });

  test("takes no measurement from a SYN-ACK that was sent twice", () => {
    const t = trace();
    t.send({ flags: "S", mss: 1460 });
    t.accept();
    t.expect({ flags: "SA" });
    t.advance(100);
    t.send({ flags: "S", mss: 1460 });
    t.expect({ flags: "SA" });
    t.advance(100);
    t.send({ flags: "A", seq: 1, ack: 1 });
    t.write(1, 10);
    t.expect({ flags: "PA", data: 10 });
    t.advance(999);
    t.expectNothing();
    t.advance(1);
    t.expect({ flags: "PA", seq: 1, data: 10 });
  });

  test("has acknowledgments sent meanwhile carry a number that is not old", () => {
    const t = tenInFlight();
    t.advance(200);
    expectSegments(t, 0, 0);
    t.send({ flags: "A", seq: 1, ack: 1, data: 100 });
    t.advance(40);
    t.expect({ flags: "A", seq: 14_601, ack: 101 });
  });

  test("sends a lost FIN again, with the data before it", () => {
    const t = trace().established();
    t.write(1, 100);
    t.flow.shutdown();
    t.lan.flush();
    t.expect({ flags: "PA", seq: 1, data: 100 });
    t.expect({ flags: "FA", seq: 101 });
    t.advance(200);
    t.expect({ flags: "FPA", seq: 1, ack: 1, data: 100 });
    t.send({ flags: "A", seq: 1, ack: 101 });
    // Nothing was measured, so the timeout stays doubled.
    t.advance(399);
    t.expectNothing();
    t.advance(1);
    t.expect({ flags: "FA", seq: 101 });
    t.send({ flags: "A", seq: 1, ack: 102 });
    expect(t.stateName).toBe("FIN-WAIT-2");
  });
});

describe("fast retransmit", () => {
  test("sends the first segment again on the third duplicate acknowledgment, not before", () => {
    const t = tenInFlight();
    // Limited transmit: the first two duplicates let one new segment go each (RFC 3042).
    acknowledge(t, 0);
    expectSegments(t, 10, 10);
    acknowledge(t, 0);
    expectSegments(t, 11, 11);
    t.expectNothing();
    acknowledge(t, 0);
    expectSegments(t, 0, 0);
    t.expectNothing();
    expect(t.lan.stack.statistics.tcpFastRetransmissions).toBe(1);
  });

  test("lets more duplicates send new data in proportion, and ends with the acknowledgment of all that was in flight", () => {
    const t = tenInFlight();
    loseFirst(t);
    t.expectNothing();
    // Ten were in flight without limited transmit, and CUBIC goes on with seven: from eight on their way it waits for six.
    const perDuplicate = [];
    for (let duplicate = 0; duplicate < 8; duplicate++) {
      acknowledge(t, 0);
      perDuplicate.push(t.lan.all().length);
    }
    expect(perDuplicate).toEqual([0, 0, 1, 1, 1, 1, 1, 1]);
    acknowledge(t, 12);
    expect(t.lan.stack.statistics.tcpTimeouts).toBe(0);
    // The window is the threshold now, with six in flight.
    expectSegments(t, 18, 18);
    t.expectNothing();
  });

  test("sends the next lost segment on a partial acknowledgment (NewReno)", () => {
    const t = tenInFlight();
    loseFirst(t);
    acknowledge(t, 4);
    expectSegments(t, 4, 4);
    t.lan.all();
    acknowledge(t, 7);
    expectSegments(t, 7, 7);
    t.lan.all();
    acknowledge(t, 12);
    t.lan.all();
    expect(t.lan.stack.statistics).toMatchObject({ tcpFastRetransmissions: 1, tcpTimeouts: 0, tcpRetransmissions: 3 });
  });

  test("ends with the timer when the retransmission is lost too", () => {
    const t = tenInFlight();
    loseFirst(t);
    t.advance(199);
    t.expectNothing();
    t.advance(1);
    expectSegments(t, 0, 0);
    // Duplicates of what was sent before the timeout start no second recovery (RFC 6582, 4.1).
    for (let duplicate = 0; duplicate < 5; duplicate++) acknowledge(t, 0);
    t.expectNothing();
  });

  test("is not begun by duplicates of what was sent before a timeout (RFC 6582, 4.1)", () => {
    const t = tenInFlight();
    t.advance(200);
    expectSegments(t, 0, 0);
    for (let duplicate = 0; duplicate < 5; duplicate++) acknowledge(t, 0);
    t.expectNothing();
    expect(t.lan.stack.statistics.tcpFastRetransmissions).toBe(0);
  });

  test("takes no measurement from what it sent again (Karn's algorithm)", () => {
    const t = tenInFlight();
    t.advance(190);
    loseFirst(t);
    t.advance(190);
    acknowledge(t, 10);
    t.lan.all();
    t.advance(199);
    t.expectNothing();
    t.advance(1);
    expectSegments(t, 10, 10);
  });

  test("is not begun by segments that carry data, move the window, or have nothing in flight", () => {
    const t = tenInFlight();
    for (let index = 0; index < 4; index++) {
      t.send({ flags: "A", seq: 1 + index * 10, ack: 1, data: 10 });
      t.send({ flags: "A", seq: 11 + index * 10, ack: 1, win: 30_000 + index });
    }
    t.expect({ flags: "A", ack: 21 });
    t.expect({ flags: "A", ack: 41 });
    t.expectNothing();
    acknowledge(t, 10);
    expect(t.lan.stack.statistics.tcpFastRetransmissions).toBe(0);

    const idle = trace().established();
    for (let index = 0; index < 5; index++) acknowledge(idle, 0);
    idle.expectNothing();
    expect(idle.lan.stack.statistics.tcpFastRetransmissions).toBe(0);
  });

  test("of the last segment does without its FIN, which was not lost", () => {
    const t = trace().established();
    t.write(1, 3 * 1460);
    t.lan.all();
    t.write(4381, 1460);
    t.flow.shutdown();
    t.lan.flush();
    t.lan.all();
    acknowledge(t, 3);
    for (let duplicate = 0; duplicate < 3; duplicate++) acknowledge(t, 3);
    t.expect({ flags: "PA", seq: 4381, data: 1460 });
    t.send({ flags: "A", seq: 1, ack: 5842 });
    expect(t.stateName).toBe("FIN-WAIT-2");
  });
});

describe("the congestion window", () => {
  test("after a pause is at most the initial one", () => {
    const t = trace().established({ wscale: 7 });
    let sent = 0;
    t.write(1, 65_536);
    for (let round = 0; round < 6; round++) {
      for (const frame of t.lan.all()) if (frame.kind === "tcp") sent += frame.payload.length;
      t.send({ flags: "A", seq: 1, ack: 1 + sent });
    }
    expect(sent).toBe(65_536);
    t.advance(201);
    t.write(1 + sent, 65_536);
    expect(t.lan.all().length).toBe(10);
  });
});
