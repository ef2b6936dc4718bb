import { describe, expect, test } from "vitest";
import type { LanOptions } from "../../testing/lan.ts";
import { type HandshakeOptions, Peer, type PeerOptions, trace } from "../../testing/trace.ts";

/** Has this side close; its FIN is taken. */
function close(t: Peer, seq = 1): void {
  t.flow.shutdown();
  t.lan.flush();
  t.expect({ flags: "FA", seq });
}

/** A connection that this side has closed and whose FIN is acknowledged. */
function finWait2(lan: LanOptions = {}, options: HandshakeOptions = {}, peer: PeerOptions = {}): Peer {
  const t = trace(lan, peer).established(options);
  close(t);
  t.send({ flags: "A", seq: 1, ack: 2 });
  expect(t.stateName).toBe("FIN-WAIT-2");
  return t;
}

/** A connection that both sides have closed, this one first: the next numbers are 2. */
function timeWait(options: HandshakeOptions = {}): Peer {
  const t = finWait2({}, options);
  t.send({ flags: "FA", seq: 1, ack: 2 });
  t.expect({ flags: "A", seq: 2, ack: 2 });
  t.expectEvents("end", "closed finished");
  expect(t.stateName).toBe("TIME-WAIT");
  return t;
}

/** A connection that the peer has closed. */
function closeWait(): Peer {
  const t = trace().established();
  t.send({ flags: "FA", seq: 1, ack: 1 });
  t.expect({ flags: "A", seq: 1, ack: 2 });
  t.expectEvents("end");
  expect(t.stateName).toBe("CLOSE-WAIT");
  return t;
}

describe("fin_wait2_timeout", () => {
  test("FIN-WAIT-2 lasts for as long as the peer has something to send", () => {
    const t = finWait2();
    for (let hour = 0; hour < 5; hour++) {
      t.advance(3_600_000);
      expect(t.stateName).toBe("FIN-WAIT-2");
      t.send({ flags: "PA", seq: 1 + hour * 10, ack: 2, data: 10 });
      t.expectEvents("data 10");
    }
    t.send({ flags: "FA", seq: 51, ack: 2 });
    t.expectEvents("end", "closed finished");
  });

  test("a peer that is gone is found by keep-alive, after which its FIN draws a reset", () => {
    const t = finWait2({ tcp: { keepAliveIdle: 1000, keepAliveInterval: 500, keepAliveProbes: 3 } });
    t.advance(60_000);
    t.expectEvents("closed timeout");
    t.lan.all();
    t.send({ flags: "FA", seq: 1, ack: 2 });
    t.expect({ flags: "R", seq: 2 });
  });
});

describe("fin_wait2_reset", () => {
  test("a reset ends FIN-WAIT-2, and the next SYN begins anew", () => {
    const t = finWait2();
    t.send({ flags: "RA", seq: 1, ack: 2 });
    t.expectEvents("closed reset");
    expect(t.lan.stack.tcp.size).toBe(0);
    const again = new Peer(t.lan, { isn: 1000 });
    again.established();
  });
});

describe("close_wait_state", () => {
  test.each([
    ["SYN", { flags: "S" }],
    ["SYN and ACK", { flags: "SA", ack: 1 }],
    ["ACK", { flags: "A", ack: 1 }],
    ["FIN", { flags: "FA", ack: 1 }],
    ["data", { flags: "A", ack: 1, data: 12 }],
  ])("%s beyond the window draws an acknowledgment, and the close goes on", (_, segment) => {
    const t = closeWait();
    t.send({ ...segment, seq: 2 + 65_535 + 2 });
    t.expect({ flags: "A", seq: 1, ack: 2 });
    t.expectNothing();
    t.expectEvents();
    expect(t.stateName).toBe("CLOSE-WAIT");
    close(t);
    expect(t.stateName).toBe("LAST-ACK");
    t.send({ flags: "A", seq: 2, ack: 2 });
    t.expectEvents("closed finished");
    t.send({ flags: "A", seq: 2, ack: 2, data: 13 });
    t.expect({ flags: "R", seq: 2 });
  });
});

describe("close_wait_state_ack", () => {
  test("the peer goes on acknowledging what this side goes on sending", () => {
    const t = closeWait();
    t.write(1, 3000);
    t.expect({ flags: "A", seq: 1, ack: 2, data: 1460 });
    t.expect({ flags: "A", seq: 1461, ack: 2, data: 1460 });
    t.expect({ flags: "PA", seq: 2921, ack: 2, data: 80 });
    t.send({ flags: "A", seq: 2, ack: 1461 });
    t.send({ flags: "A", seq: 2, ack: 3001 });
    expect(t.flow.sendQueued).toBe(0);
    expect(t.stateName).toBe("CLOSE-WAIT");
    close(t, 3001);
    t.send({ flags: "A", seq: 2, ack: 3002 });
    t.expectEvents("closed finished");
  });
});

describe("tcp_close_wait_ack", () => {
  test.each([0, 1, 2])("data %i beyond the right edge of the window draws an acknowledgment", (offset) => {
    const t = closeWait();
    t.send({ flags: "A", seq: 2 + 65_535 + offset, ack: 1, data: 11 });
    t.expect({ flags: "A", seq: 1, ack: 2 });
    t.expectNothing();
    t.expectEvents();
  });

  test.each([1, 2, 100_000])("an acknowledgment of %i bytes that were never sent draws one", (beyond) => {
    const t = closeWait();
    t.send({ flags: "A", seq: 2, ack: 1 + beyond });
    t.expect({ flags: "A", seq: 1, ack: 2 });
    t.expectNothing();
    expect(t.stateName).toBe("CLOSE-WAIT");
  });

  test("an acknowledgment of what was sent draws none", () => {
    const t = closeWait();
    t.send({ flags: "A", seq: 2, ack: 1 });
    t.expectNothing();
  });

  test("a FIN that comes again is acknowledged again", () => {
    const t = closeWait();
    t.send({ flags: "FA", seq: 1, ack: 1 });
    t.expect({ flags: "A", seq: 1, ack: 2 });
    t.expectEvents();
  });
});

describe("tcp_fin_retransmission", () => {
  test.each([
    ["FIN-WAIT-1", false],
    ["LAST-ACK", true],
  ])("in %s the FIN is sent again until it is acknowledged", (state, peerFirst) => {
    const t = peerFirst ? closeWait() : trace().established();
    const seq = peerFirst ? 2 : 1;
    close(t);
    expect(t.stateName).toBe(state);
    for (let time = 0; time < 4; time++) {
      while (t.lan.waiting === 0) t.advance(100);
      expect(t.take()).toMatchObject([{ flags: "FA", seq: 1, ack: seq, data: 0 }]);
    }
    t.send({ flags: "A", seq, ack: 2 });
    t.lan.all();
    t.advance(8000);
    t.expectNothing();
  });

  test("the FIN comes again with the data in front of it that was lost as well", () => {
    const t = trace().established();
    t.write(1, 100);
    t.expect({ flags: "PA", seq: 1, data: 100 });
    close(t, 101);
    t.advance(500);
    const again = t.take();
    expect(again[0]).toMatchObject({ seq: 1, data: 100 });
    t.send({ flags: "A", seq: 1, ack: 101 });
    while (t.lan.waiting === 0 && again.every(({ flags }) => !flags.includes("F"))) t.advance(100);
    t.lan.all();
    t.send({ flags: "A", seq: 1, ack: 102 });
    expect(t.stateName).toBe("FIN-WAIT-2");
  });

  test("in CLOSING the FIN is sent again, too", () => {
    const t = trace().established();
    close(t);
    t.send({ flags: "FA", seq: 1, ack: 1 });
    t.expect({ flags: "A", seq: 2, ack: 2 });
    expect(t.stateName).toBe("CLOSING");
    while (t.lan.waiting === 0) t.advance(100);
    t.expect({ flags: "FA", seq: 1, ack: 2 });
    t.send({ flags: "A", seq: 2, ack: 2 });
    expect(t.stateName).toBe("TIME-WAIT");
  });
});

describe("tcp_linger", () => {
  test("an abort resets the peer at once, and what was not sent never is", () => {
    const t = trace().established({ win: 2000 });
    t.write(1, 5000);
    t.expect({ flags: "A", seq: 1, data: 1460 });
    t.lan.all();
    t.flow.abort();
    t.lan.flush();
    const [reset, ...more] = t.take();
    expect(reset.flags).toBe("RA");
    expect(reset.seq).toBeGreaterThanOrEqual(1461);
    expect(reset.seq).toBeLessThanOrEqual(2001);
    expect(more).toEqual([]);
    t.expectEvents("closed aborted");
    t.advance(100_000);
    t.expectNothing();
  });

  test("a shutdown sends everything first, for however long the peer takes", () => {
    const t = trace().established({ win: 2000 });
    t.write(1, 5000);
    t.flow.shutdown();
    let end = 1;
    for (let round = 0; round < 10 && t.stateName !== "FIN-WAIT-2"; round++) {
      t.lan.flush();
      for (const { seq, data, flags } of t.take()) end = Math.max(end, seq + data + (flags.includes("F") ? 1 : 0));
      t.send({ flags: "A", seq: 1, ack: end });
    }
    expect(end).toBe(5002);
    t.expectEvents();
  });

  test("an abort after the shutdown gives up on what is left", () => {
    const t = trace().established({ win: 2000 });
    t.write(1, 5000);
    t.flow.shutdown();
    t.lan.flush();
    t.lan.all();
    t.flow.abort();
    t.lan.flush();
    expect(t.take()).toMatchObject([{ flags: "RA" }]);
    t.expectEvents("closed aborted");
  });
});

describe("tcp_timewait_reset", () => {
  // RFC 1337: a reset would end TIME-WAIT before stray duplicates are gone.
  test.each(["R", "RA"])("%s does not end TIME-WAIT", (flags) => {
    const t = timeWait();
    t.send({ flags, seq: 2, ack: 2 });
    t.expectNothing();
    expect(t.stateName).toBe("TIME-WAIT");
    t.send({ flags: "FA", seq: 1, ack: 2 });
    t.expect({ flags: "A", seq: 2, ack: 2 });
  });
});

describe("RFC 9293, 3.6: simultaneous close", () => {
  test("ends in TIME-WAIT once both FINs are acknowledged", () => {
    const t = trace().established();
    close(t);
    t.send({ flags: "FA", seq: 1, ack: 1 });
    t.expect({ flags: "A", seq: 2, ack: 2 });
    expect(t.stateName).toBe("CLOSING");
    t.expectEvents("end");
    t.send({ flags: "A", seq: 2, ack: 2 });
    t.expectNothing();
    expect(t.stateName).toBe("TIME-WAIT");
    t.expectEvents("closed finished");
    t.advance(120_000);
    expect(t.lan.stack.tcp.size).toBe(0);
  });

  test("with data in front of both FINs loses none of it", () => {
    const t = trace().established();
    t.write(1, 100);
    t.expect({ flags: "PA", seq: 1, data: 100 });
    close(t, 101);
    t.send({ flags: "FPA", seq: 1, ack: 1, data: 50 });
    t.expect({ flags: "A", seq: 102, ack: 52 });
    t.expectEvents("data 50", "end");
    t.send({ flags: "A", seq: 52, ack: 101 });
    expect(t.stateName).toBe("CLOSING");
    t.send({ flags: "A", seq: 52, ack: 102 });
    expect(t.stateName).toBe("TIME-WAIT");
  });
});

describe("RFC 9293, 3.10.7.4, eighth: FIN out of order", () => {
  test.each([
    ["alone", 0],
    ["with data", 60],
  ])("a FIN beyond a gap, %s, is kept until the gap is filled", (_, data) => {
    const t = trace().established();
    t.send({ flags: "FA", seq: 101 - data, ack: 1, data });
    t.expect({ flags: "A", seq: 1, ack: 1 });
    t.expectEvents();
    expect(t.stateName).toBe("ESTABLISHED");
    t.send({ flags: "A", seq: 1, ack: 1, data: 100 - data });
    t.expect({ flags: "A", seq: 1, ack: 102 });
    expect(t.log.take().at(-1)).toBe("end");
    expect(t.log.receivedBytes).toBe(100);
    expect(t.stateName).toBe("CLOSE-WAIT");
  });

  test("a FIN beyond a gap that this side's FIN crosses closes in order", () => {
    const t = trace().established();
    close(t);
    t.send({ flags: "FA", seq: 101, ack: 2 });
    t.expect({ flags: "A", seq: 2, ack: 1 });
    expect(t.stateName).toBe("FIN-WAIT-2");
    t.send({ flags: "A", seq: 1, ack: 2, data: 100 });
    t.expect({ flags: "A", seq: 2, ack: 102 });
    t.expectEvents("data 100", "end", "closed finished");
    expect(t.stateName).toBe("TIME-WAIT");
  });

  test("data beyond a FIN is not part of the stream", () => {
    const t = trace().established();
    t.send({ flags: "FA", seq: 101, ack: 1 });
    t.send({ flags: "A", seq: 102, ack: 1, data: 50 });
    t.lan.all();
    t.send({ flags: "A", seq: 1, ack: 1, data: 100 });
    expect(t.log.receivedBytes).toBe(100);
    expect(t.log.take().at(-1)).toBe("end");
    expect(t.take().at(-1)).toMatchObject({ flags: "A", ack: 102 });
  });

  test("a FIN that a lost FIN's data overlaps counts once", () => {
    const t = trace().established();
    t.send({ flags: "FA", seq: 51, ack: 1, data: 50 });
    t.send({ flags: "FA", seq: 1, ack: 1, data: 100 });
    expect(t.log.receivedBytes).toBe(100);
    t.send({ flags: "FA", seq: 101, ack: 1 });
    expect(t.log.take().filter((event) => event === "end").length).toBe(1);
    expect(t.take().at(-1)).toMatchObject({ flags: "A", ack: 102 });
  });
});

describe("RFC 9293, 3.6.1: a SYN in TIME-WAIT", () => {
  test("with a newer sequence number begins a new connection", () => {
    const t = timeWait();
    const next = new Peer(t.lan, { isn: t.isn + 3 });
    next.established();
    next.send({ flags: "A", seq: 1, ack: 1, data: 10 });
    next.expectEvents("data 10");
  });

  test.each([0, 1, -100_000])("with sequence number %i, which is not newer, is acknowledged and begins none", (seq) => {
    const t = timeWait();
    t.send({ flags: "S", seq, mss: 1460 });
    t.expect({ flags: "A", seq: 2, ack: 2 });
    expect(t.lan.requests.length).toBe(1);
    expect(t.stateName).toBe("TIME-WAIT");
  });

  test("a reset that such an acknowledgment draws leaves the port usable", () => {
    // What a host does that has forgotten the connection: RFC 9293, 3.5.1; TIME-WAIT outlasts it or is left (RFC 1337).
    const t = timeWait();
    t.send({ flags: "S", seq: -1000, mss: 1460 });
    t.expect({ flags: "A", seq: 2, ack: 2 });
    t.send({ flags: "R", seq: 2 });
    t.advance(60_000);
    new Peer(t.lan, { isn: t.isn - 1000 }).established();
  });
});

describe("RFC 6191: a SYN in TIME-WAIT with timestamps", () => {
  /** The next connection from the same port, whose sequence number is not newer than the last one's. */
  function older(t: Peer): Peer {
    return new Peer(t.lan, { isn: t.isn - 100_000 });
  }

  test("with a newer timestamp begins a new connection, whatever its sequence number", () => {
    const t = timeWait({ ts: true });
    t.advance(10);
    const next = older(t);
    next.send({ flags: "S", mss: 1460, ts: [t.clock, undefined] });
    next.accept();
    next.expect({ flags: "SA", seq: 0, ack: 1 });
    next.send({ flags: "A", seq: 1, ack: 1, ts: [t.clock, undefined] });
    next.expectEvents("established");
  });

  test.each([
    ["an older", -1],
    ["the same", 0],
  ])("with %s timestamp and an older sequence number does not", (_, difference) => {
    const t = timeWait({ ts: true });
    const last = t.clock;
    t.advance(10);
    const next = older(t);
    next.send({ flags: "S", mss: 1460, ts: [last + difference, undefined] });
    expect(t.lan.requests.length).toBe(1);
    expect(t.stateName).toBe("TIME-WAIT");
  });

  test("with the same timestamp and a newer sequence number does", () => {
    const t = timeWait({ ts: true });
    const next = new Peer(t.lan, { isn: t.isn + 3 });
    next.send({ flags: "S", mss: 1460, ts: [t.clock, undefined] });
    expect(t.lan.requests.length).toBe(2);
  });

  test("without timestamps is judged by its sequence number", () => {
    const t = timeWait({ ts: true });
    t.advance(10);
    older(t).send({ flags: "S", mss: 1460 });
    expect(t.lan.requests.length).toBe(1);
    new Peer(t.lan, { isn: t.isn + 3 }).send({ flags: "S", mss: 1460 });
    expect(t.lan.requests.length).toBe(2);
  });
});

describe("RFC 9293, 3.10.7.4: TIME-WAIT", () => {
  test("begins anew when the peer's FIN comes again", () => {
    const t = timeWait();
    t.advance(9000);
    t.send({ flags: "FA", seq: 1, ack: 2 });
    t.expect({ flags: "A", seq: 2, ack: 2 });
    t.advance(9000);
    expect(t.stateName).toBe("TIME-WAIT");
    t.advance(120_000);
    expect(t.lan.stack.tcp.size).toBe(0);
  });

  test("takes no data", () => {
    const t = timeWait();
    t.send({ flags: "A", seq: 2, ack: 2, data: 10 });
    t.expectEvents();
    expect(t.stateName).toBe("TIME-WAIT");
  });
});
