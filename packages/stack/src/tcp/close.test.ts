import { describe, expect, test } from "vitest";
import { Peer, type PeerOptions, trace } from "../testing/trace.ts";

/** A connection that this side has closed and whose FIN is acknowledged. */
function finWait2(options: PeerOptions = {}): Peer {
  const t = trace({}, options).established();
  t.flow.shutdown();
  t.lan.flush();
  t.expect({ flags: "FA", seq: 1, ack: 1 });
  expect(t.stateName).toBe("FIN-WAIT-1");
  t.send({ flags: "A", seq: 1, ack: 2 });
  expect(t.stateName).toBe("FIN-WAIT-2");
  return t;
}

/** A connection in TIME-WAIT: both numbers are 2. */
function timeWait(): Peer {
  const t = finWait2();
  t.send({ flags: "FA", seq: 1, ack: 2 });
  t.expect({ flags: "A", seq: 2, ack: 2 });
  t.expectEvents("end", "closed finished");
  expect(t.stateName).toBe("TIME-WAIT");
  return t;
}

describe("half-close", () => {
  test("by the peer leaves this side free to send", () => {
    const t = trace().established();
    t.send({ flags: "FA", seq: 1, ack: 1 });
    t.expectEvents("end");
    t.expect({ flags: "A", seq: 1, ack: 2 });
    expect(t.stateName).toBe("CLOSE-WAIT");
    t.advance(600_000);
    t.expectEvents();
    t.write(1, 2000);
    t.expect({ flags: "A", seq: 1, ack: 2, data: 1460 });
    t.expect({ flags: "PA", seq: 1461, ack: 2, data: 540 });
    t.send({ flags: "A", seq: 2, ack: 2001 });
    t.flow.shutdown();
    t.flow.shutdown();
    t.lan.flush();
    t.expect({ flags: "FA", seq: 2001, ack: 2 });
    expect(t.stateName).toBe("LAST-ACK");
    t.send({ flags: "A", seq: 2, ack: 2002 });
    t.expectEvents("closed finished");
    expect(t.lan.stack.tcp.size).toBe(0);
  });

  test("by this side leaves the peer free to send", () => {
    const t = finWait2();
    expect(t.flow.send(new Uint8Array(1), 0, 1)).toBe(0);
    t.advance(600_000);
    t.send({ flags: "PA", seq: 1, ack: 2, data: 1000 });
    t.send({ flags: "PA", seq: 1001, ack: 2, data: 1000 });
    t.expectEvents("data 1000", "data 1000");
    t.advance(40);
    t.expect({ flags: "A", seq: 2, ack: 2001 });
    t.send({ flags: "FPA", seq: 2001, ack: 2, data: 10 });
    t.expectEvents("data 10", "end", "closed finished");
    t.expect({ flags: "A", seq: 2, ack: 2012 });
    expect(t.stateName).toBe("TIME-WAIT");
    expect(t.lan.stack.tcp.reservedBytes).toBe(0);
  });

  test("sends what was queued before the FIN, and the FIN with the last of it", () => {
    const t = trace().established();
    t.flow.send(new Uint8Array(2000), 0, 2000);
    t.flow.shutdown();
    expect(t.flow.sendRoom).toBe(0);
    t.lan.flush();
    expect(t.lan.all().map((frame) => frame.kind === "tcp" && frame.flags)).toEqual(["A", "FPA"]);
  });
});

describe("a FIN", () => {
  test("ahead of a gap is kept until the gap is filled", () => {
    const t = trace().established();
    t.send({ flags: "FA", seq: 101, ack: 1 });
    t.expect({ flags: "A", ack: 1 });
    t.expectEvents();
    expect(t.stateName).toBe("ESTABLISHED");
    t.send({ flags: "A", seq: 1, ack: 1, data: 100 });
    t.expectEvents("data 100", "end");
    t.expect({ flags: "A", ack: 102 });
    expect(t.stateName).toBe("CLOSE-WAIT");
  });

  test("with data ahead of a gap is kept until the gap is filled", () => {
    const t = trace().established();
    t.send({ flags: "FA", seq: 101, ack: 1, data: 100 });
    t.send({ flags: "A", seq: 1, ack: 1, data: 50 });
    t.expectEvents("data 50");
    t.send({ flags: "A", seq: 51, ack: 1, data: 50 });
    t.expectEvents("data 50", "data 100", "end");
    t.lan.all();
    t.send({ flags: "A", seq: 202, ack: 1 });
    expect(t.stateName).toBe("CLOSE-WAIT");
  });

  test("whose data is old counts", () => {
    const t = trace().established();
    t.send({ flags: "A", seq: 1, ack: 1, data: 100 });
    t.send({ flags: "FA", seq: 1, ack: 1, data: 100 });
    t.expectEvents("data 100", "end");
    t.expect({ flags: "A", ack: 102 });
  });

  test("that comes again is acknowledged again and told once", () => {
    const t = trace().established();
    t.send({ flags: "FA", seq: 1, ack: 1, data: 10 });
    t.expectEvents("data 10", "end");
    t.expect({ flags: "A", ack: 12 });
    t.send({ flags: "FA", seq: 1, ack: 1, data: 10 });
    t.expect({ flags: "A", ack: 12 });
    t.send({ flags: "FA", seq: 11, ack: 1 });
    t.expect({ flags: "A", ack: 12 });
    t.expectEvents();
  });

  test("is followed by no data", () => {
    const t = trace().established();
    t.send({ flags: "FA", seq: 1, ack: 1 });
    t.expect({ flags: "A", ack: 2 });
    t.send({ flags: "A", seq: 2, ack: 1, data: 10 });
    t.expectEvents("end");
  });

  test("that acknowledges ours closes at once", () => {
    const t = trace().established();
    t.flow.shutdown();
    t.lan.flush();
    t.expect({ flags: "FA", seq: 1 });
    t.send({ flags: "FA", seq: 1, ack: 2 });
    t.expect({ flags: "A", seq: 2, ack: 2 });
    t.expectEvents("end", "closed finished");
    expect(t.stateName).toBe("TIME-WAIT");
  });

  test("that crosses ours closes once both are acknowledged", () => {
    const t = trace().established();
    t.flow.shutdown();
    t.lan.flush();
    t.expect({ flags: "FA", seq: 1, ack: 1 });
    t.send({ flags: "FA", seq: 1, ack: 1 });
    t.expectEvents("end");
    t.expect({ flags: "A", seq: 2, ack: 2 });
    expect(t.stateName).toBe("CLOSING");
    t.send({ flags: "A", seq: 2, ack: 2 });
    t.expectEvents("closed finished");
    expect(t.stateName).toBe("TIME-WAIT");
  });

  test("that comes again with the acknowledgment of ours ends CLOSING too", () => {
    const t = trace().established();
    t.flow.shutdown();
    t.lan.flush();
    t.expect({ flags: "FA" });
    t.send({ flags: "FA", seq: 1, ack: 1 });
    t.expect({ flags: "A", seq: 2, ack: 2 });
    t.send({ flags: "FA", seq: 1, ack: 2 });
    t.expect({ flags: "A", seq: 2, ack: 2 });
    t.expectEvents("end", "closed finished");
    expect(t.stateName).toBe("TIME-WAIT");
  });
});

describe("TIME-WAIT", () => {
  test("ends after ten seconds", () => {
    const t = timeWait();
    t.advance(9999);
    expect(t.stateName).toBe("TIME-WAIT");
    t.advance(1);
    expect(t.lan.stack.tcp.size).toBe(0);
    t.expectNothing();
    t.send({ flags: "FA", seq: 1, ack: 2 });
    t.expect({ flags: "R", seq: 2 });
  });

  test("acknowledges a FIN that comes again, and starts anew", () => {
    const t = timeWait();
    t.advance(9999);
    t.send({ flags: "FA", seq: 1, ack: 2 });
    t.expect({ flags: "A", seq: 2, ack: 2 });
    t.advance(9999);
    expect(t.stateName).toBe("TIME-WAIT");
    t.advance(1);
    expect(t.lan.stack.tcp.size).toBe(0);
  });

  test("is not moved by acknowledgments nor ended by a reset", () => {
    const t = timeWait();
    t.send({ flags: "A", seq: 2, ack: 2 });
    t.send({ flags: "R", seq: 2 });
    t.expectNothing();
    expect(t.stateName).toBe("TIME-WAIT");
    t.advance(10_000);
    expect(t.lan.stack.tcp.size).toBe(0);
  });

  test("gives way to a newer SYN", () => {
    const t = timeWait();
    const again = new Peer(t.lan, { isn: t.isn + 1000 });
    again.send({ flags: "S" });
    expect(t.lan.requests.length).toBe(2);
    again.accept();
    again.expect({ flags: "SA", ack: 1 });
    expect(t.lan.stack.tcp.size).toBe(1);
  });

  test("challenges an older SYN", () => {
    const t = timeWait();
    const again = new Peer(t.lan, { isn: t.isn - 1000 });
    again.send({ flags: "S" });
    t.expect({ flags: "A", seq: 2, ack: 2 });
    expect(t.lan.requests.length).toBe(1);
  });

  test("does not count against the limit of connections, and is bounded itself", () => {
    const t = trace({ tcp: { maximumConnections: 2 } });
    for (let port = 1; port <= 8300; port++) {
      const peer = new Peer(t.lan, { port });
      peer.established();
      peer.flow.shutdown();
      t.lan.flush();
      peer.send({ flags: "FA", seq: 1, ack: 2 });
      t.lan.all();
    }
    expect(t.lan.stack.tcp.size).toBe(8192);
    t.advance(10_000);
    expect(t.lan.stack.tcp.size).toBe(0);
  });

  test("is over for its owner: nothing it calls has an effect", () => {
    const t = timeWait();
    t.flow.consumed(1000);
    t.flow.shutdown();
    t.flow.abort();
    expect(t.flow.send(new Uint8Array(1), 0, 1)).toBe(0);
    t.lan.flush();
    t.expectNothing();
    t.expectEvents();
    expect(t.stateName).toBe("TIME-WAIT");
    expect(t.lan.stack.tcp.reservedBytes).toBe(0);
  });

  test("ends when the link goes away", () => {
    const t = timeWait();
    t.lan.stack.detach();
    expect(t.lan.stack.tcp.size).toBe(0);
    expect(t.lan.stack.tcp.nextDeadline).toBe(Number.POSITIVE_INFINITY);
    t.expectEvents();
  });
});

describe("an owner that ends the connection from within", () => {
  test("the end, when that was the last thing missing", () => {
    const t = finWait2({ reactions: { end: (flow) => flow.abort() } });
    t.send({ flags: "FA", seq: 1, ack: 2 });
    t.expectEvents("end", "closed aborted");
    t.expect({ flags: "RA", seq: 2, ack: 2 });
    t.expectNothing();
    expect(t.lan.stack.tcp.size).toBe(0);
    expect(t.lan.stack.tcp.nextDeadline).toBe(Number.POSITIVE_INFINITY);
  });

  test("the end, with a shutdown", () => {
    const t = trace({}, { reactions: { end: (flow) => flow.shutdown() } }).established();
    t.send({ flags: "FA", seq: 1, ack: 1 });
    t.expect({ flags: "FA", seq: 1, ack: 2 });
    t.send({ flags: "A", seq: 2, ack: 2 });
    t.expectEvents("end", "closed finished");
  });

  test("being closed, by detaching the whole stack", () => {
    const t: Peer = finWait2({ reactions: { closed: () => t.lan.stack.detach() } });
    t.send({ flags: "FA", seq: 1, ack: 2 });
    t.expectEvents("end", "closed finished");
    expect(t.lan.stack.tcp.size).toBe(0);
    expect(t.lan.stack.tcp.nextDeadline).toBe(Number.POSITIVE_INFINITY);
  });

  test("being established, by abort, shutdown or writing", () => {
    for (const flags of ["A", "PA"]) {
      const t = trace({}, { reactions: { established: (flow) => flow.abort() } });
      t.send({ flags: "S" });
      t.accept();
      t.expect({ flags: "SA" });
      t.send({ flags, seq: 1, ack: 1, data: flags === "A" ? 0 : 10 });
      t.expectEvents("established", "closed aborted");
      t.expect({ flags: "RA", seq: 1 });
      t.expectNothing();
    }
    const shut = trace({}, { reactions: { established: (flow) => flow.shutdown() } });
    shut.send({ flags: "S" });
    shut.accept();
    shut.expect({ flags: "SA" });
    shut.send({ flags: "A", seq: 1, ack: 1 });
    shut.expect({ flags: "FA", seq: 1, ack: 1 });
  });

  test("data that fills a gap in front of a FIN, by abort", () => {
    const t = trace({}, { reactions: { data: (flow) => flow.abort() } }).established();
    t.send({ flags: "FA", seq: 11, ack: 1, data: 10 });
    t.expect({ flags: "A", ack: 1 });
    t.send({ flags: "A", seq: 1, ack: 1, data: 10 });
    t.expectEvents("data 10", "closed aborted");
    t.expect({ flags: "RA", ack: 11 });
    t.expectNothing();
  });

  test("room to write, by abort", () => {
    const t = trace({}, { reactions: { writable: (flow) => flow.abort() } }).established({ wscale: 7 });
    expect(t.write(1, 70_000)).toBe(65_536);
    for (let acked = 14_600; acked <= 40_000; acked += 2920) {
      t.send({ flags: "PA", seq: 1, ack: 1 + acked, data: 0 });
      if (t.log.events.length > 0) break;
    }
    t.expectEvents("writable", "closed aborted");
    t.lan.all();
    t.advance(100_000);
    t.expectNothing();
    expect(t.lan.stack.tcp.reservedBytes).toBe(0);
  });
});
