import { describe, expect, test } from "vitest";
import { Peer, trace } from "../testing/trace.ts";

describe("a reset", () => {
  test("with exactly the next sequence number ends the connection without an answer", () => {
    for (const flags of ["R", "RA"]) {
      const t = trace().established();
      t.send({ flags, seq: 1, ack: 1 });
      t.expectEvents("closed reset");
      t.expectNothing();
      expect(t.lan.stack.tcp.size).toBe(0);
      expect(t.lan.stack.tcp.reservedBytes).toBe(0);
    }
  });

  test("elsewhere in the window is challenged, and not believed", () => {
    const t = trace().established();
    t.send({ flags: "R", seq: 2 });
    t.expect({ flags: "A", seq: 1, ack: 1 });
    t.send({ flags: "RA", seq: 65_534, ack: 1 });
    t.expect({ flags: "A", seq: 1, ack: 1 });
    t.expectEvents();
    expect(t.lan.stack.statistics.tcpChallengeAcks).toBe(2);
  });

  test("outside of the window is dropped", () => {
    const t = trace().established();
    for (const seq of [0, -1000, 65_537, 1_000_000]) t.send({ flags: "R", seq });
    t.expectNothing();
    t.expectEvents();
  });

  test.each([
    ["ESTABLISHED", "reset"],
    ["CLOSE-WAIT", "reset"],
    ["FIN-WAIT-1", "reset"],
    ["FIN-WAIT-2", "reset"],
    ["CLOSING", "finished"],
    ["LAST-ACK", "finished"],
  ])("in %s tells the owner %s", (state, reason) => {
    const t = trace().established();
    const shutdown = () => {
      t.flow.shutdown();
      t.lan.flush();
    };
    let seq = 1;
    const fin = () => {
      t.send({ flags: "FA", seq, ack: 1 });
      seq = 2;
    };
    if (state === "CLOSE-WAIT" || state === "LAST-ACK") fin();
    if (state !== "ESTABLISHED" && state !== "CLOSE-WAIT") shutdown();
    if (state === "FIN-WAIT-2") t.send({ flags: "A", seq, ack: 2 });
    if (state === "CLOSING") fin();
    expect(t.stateName).toBe(state);
    t.log.take();
    t.send({ flags: "R", seq });
    t.expectEvents(`closed ${reason}`);
    expect(t.lan.stack.tcp.size).toBe(0);
  });
});

describe("a SYN on a connection", () => {
  test("is challenged wherever it is, and its reset is believed", () => {
    const t = trace().established();
    for (const seq of [0, 1, 100, 1_000_000]) {
      t.send({ flags: "S", seq, mss: 1460 });
      t.expect({ flags: "A", seq: 1, ack: 1 });
      t.send({ flags: "SA", seq, ack: 1 });
      t.expect({ flags: "A", seq: 1, ack: 1 });
    }
    t.expectEvents();
    t.send({ flags: "R", seq: 1 });
    t.expectEvents("closed reset");
    const again = new Peer(t.lan, { isn: 100 });
    again.send({ flags: "S" });
    again.accept();
    again.expect({ flags: "SA", ack: 1 });
  });

  test("at most a hundred a second are challenged", () => {
    const t = trace().established();
    for (let count = 0; count < 500; count++) t.send({ flags: "S", seq: 0 });
    expect(t.lan.all().length).toBe(100);
    t.advance(100);
    for (let count = 0; count < 500; count++) t.send({ flags: "R", seq: 5 });
    expect(t.lan.all().length).toBe(10);
    expect(t.lan.stack.statistics.tcpChallengeAcks).toBe(110);
    t.expectEvents();
  });
});

describe("an acknowledgment", () => {
  test("of what was never sent is challenged and its segment dropped", () => {
    const t = trace().established();
    t.send({ flags: "A", seq: 1, ack: 2, data: 10 });
    t.expect({ flags: "A", seq: 1, ack: 1 });
    t.send({ flags: "FA", seq: 1, ack: 1_000_000 });
    t.expect({ flags: "A", seq: 1, ack: 1 });
    t.expectEvents();
    expect(t.stateName).toBe("ESTABLISHED");
  });

  test("older than any window is challenged and its segment dropped", () => {
    const t = trace().established();
    t.send({ flags: "A", seq: 1, ack: -70_000, data: 10 });
    t.expect({ flags: "A", seq: 1, ack: 1 });
    t.expectEvents();
  });

  test("that is merely old does not keep its data from being taken", () => {
    const t = trace().established();
    t.write(1, 100);
    t.expect({ flags: "PA", data: 100 });
    t.send({ flags: "A", seq: 1, ack: 101 });
    t.send({ flags: "A", seq: 1, ack: 50, data: 10 });
    t.expectEvents("data 10");
    expect(t.flow.sendQueued).toBe(0);
  });
});

describe("a segment of no connection (RFC 9293, 3.10.7.1)", () => {
  test("with ACK is reset with the number it acknowledges", () => {
    const t = trace();
    for (const flags of ["A", "SA", "FA", "PAU"]) {
      t.send({ flags, seq: 7, ack: 1234, data: 10 });
      t.expect({ flags: "R", seq: 1234, win: 0 });
    }
  });

  test("without ACK is reset with all it carries acknowledged", () => {
    const t = trace();
    t.send({ flags: "F", seq: 7, data: 10 });
    t.expect({ flags: "RA", seq: 0, ack: 18, win: 0 });
    t.send({ flags: "", seq: 7 });
    t.expect({ flags: "RA", seq: 0, ack: 7 });
    t.send({ flags: "P", seq: 7, data: 1 });
    t.expect({ flags: "RA", seq: 0, ack: 8 });
  });

  test("that is a reset is dropped", () => {
    const t = trace();
    for (const flags of ["R", "RA", "RS", "RF"]) t.send({ flags, seq: 7, ack: 9 });
    t.expectNothing();
    expect(t.lan.requests.length).toBe(0);
  });

  test("of one that was reset by us draws another reset, so that a lost one does no harm", () => {
    const t = trace().established();
    t.flow.abort();
    t.expect({ flags: "RA", seq: 1, ack: 1 });
    t.send({ flags: "A", seq: 1, ack: 1, data: 10 });
    t.expect({ flags: "R", seq: 1 });
  });
});

describe("abort", () => {
  test("resets at the end of what was sent, and happens once", () => {
    const t = trace().established();
    t.write(1, 3000);
    t.lan.all();
    t.send({ flags: "A", seq: 1, ack: 1, data: 10 });
    t.log.take();
    t.flow.abort();
    t.flow.abort();
    t.expectEvents("closed aborted");
    t.expect({ flags: "RA", seq: 3001, ack: 11 });
    t.flow.shutdown();
    t.flow.consumed(10);
    expect(t.flow.send(new Uint8Array(1), 0, 1)).toBe(0);
    t.lan.flush();
    t.advance(100_000);
    t.expectNothing();
    expect(t.lan.stack.tcp.reservedBytes).toBe(0);
  });

  test("of all connections resets each, refuses requests and leaves nothing", () => {
    const t = trace().established();
    const closing = new Peer(t.lan, { port: 2 }).established();
    closing.flow.shutdown();
    t.lan.flush();
    closing.expect({ flags: "FA" });
    closing.send({ flags: "FA", seq: 1, ack: 2 });
    closing.expect({ flags: "A" });
    new Peer(t.lan, { port: 3 }).send({ flags: "S" });
    t.lan.stack.tcp.abortAll();
    expect(t.lan.stack.tcp.size).toBe(0);
    expect(t.lan.stack.tcp.reservedBytes).toBe(0);
    const frames = t.lan.all().map((frame) => frame.kind === "tcp" && `${frame.flags} ${frame.destinationPort}`);
    expect(frames.sort()).toEqual(["RA 3", "RA 40000"]);
  });

  test("of any connection by somebody else tells its owner, and resets the peer", () => {
    const t = trace().established();
    const { tcp } = t.lan.stack;
    const other = new Peer(t.lan, { port: 2 }).established();
    const [first] = [...tcp.connections()].filter(({ remotePort }) => remotePort === t.port);
    tcp.end(first);
    t.expectEvents("closed aborted");
    t.expect({ flags: "RA", seq: 1, ack: 1 });
    tcp.end(first);
    t.expectNothing();
    other.expectEvents();
    expect(tcp.size).toBe(1);
  });

  test("of a request by somebody else refuses it, and tells who was to answer it", () => {
    const t = trace();
    t.send({ flags: "S", seq: 0 });
    let cancelled = 0;
    t.request.onCancel = () => cancelled++;
    const [connection] = t.lan.stack.tcp.connections();
    t.lan.stack.tcp.end(connection);
    t.lan.flush();
    t.expect({ flags: "RA", seq: 0, ack: 1 });
    expect(cancelled).toBe(1);
    expect(t.request.accept(t.log)).toBe(null);
    t.request.reject("host-unreachable");
    t.expectNothing();
    expect(t.lan.stack.tcp.size).toBe(0);
  });

  test("of a connection in TIME-WAIT by somebody else forgets it", () => {
    const t = trace().established();
    t.flow.shutdown();
    t.lan.flush();
    t.expect({ flags: "FA" });
    t.send({ flags: "FA", seq: 1, ack: 2 });
    t.expect({ flags: "A" });
    t.expectEvents("end", "closed finished");
    const [connection] = t.lan.stack.tcp.connections();
    t.lan.stack.tcp.end(connection);
    t.expectNothing();
    expect(t.lan.stack.tcp.size).toBe(0);
  });

  test("of all connections leaves out one that another's owner ended meanwhile", () => {
    const flows: Peer[] = [];
    const t = trace({}, { reactions: { closed: () => flows[1].flow.abort() } }).established();
    const other = new Peer(t.lan, { port: 2, reactions: { closed: () => t.flow.abort() } }).established();
    flows.push(t, other);
    t.lan.stack.tcp.abortAll();
    t.expectEvents("closed aborted");
    other.expectEvents("closed aborted");
    expect(t.lan.all().length).toBe(2);
  });
});

describe("detach", () => {
  test("ends every connection without a word and tells each owner once", () => {
    const t = trace().established();
    const half = new Peer(t.lan, { port: 2 });
    half.send({ flags: "S" });
    half.accept();
    t.lan.all();
    t.write(1, 10);
    t.lan.all();
    t.lan.stack.detach();
    t.expectEvents("closed detached");
    half.expectEvents("closed detached");
    expect(t.lan.stack.tcp.size).toBe(0);
    expect(t.lan.stack.tcp.reservedBytes).toBe(0);
    t.advance(1_000_000);
    t.expectNothing();
  });
});
