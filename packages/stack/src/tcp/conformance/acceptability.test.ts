import { describe, expect, test } from "vitest";
import { Lan } from "../../testing/lan.ts";
import { Peer, type SegmentToSend, trace } from "../../testing/trace.ts";

/** The right edge of the window that every connection here begins with; nothing is consumed. */
const EDGE = 1 + 65_535;

function shutdown(t: Peer): void {
  t.flow.shutdown();
  t.lan.flush();
  t.expect({ flags: "FA", seq: 1 });
}

type StateName = "ESTABLISHED" | "CLOSE-WAIT" | "LAST-ACK" | "FIN-WAIT-1" | "FIN-WAIT-2" | "CLOSING" | "TIME-WAIT";

/** A connection in a state, and the sequence numbers that follow on both sides. */
function inState(state: StateName): { t: Peer; seq: number; ack: number; sent: number } {
  const t = trace().established({ consumes: false });
  let seq = 1;
  let sent = 1;
  // What the peer acknowledges, so that the state stays.
  let ack = 1;
  const peerCloses = () => {
    t.send({ flags: "FA", seq, ack });
    seq = 2;
    t.expect({ flags: "A", seq: sent, ack: 2 });
  };
  if (state === "CLOSE-WAIT" || state === "LAST-ACK") peerCloses();
  if (state !== "ESTABLISHED" && state !== "CLOSE-WAIT") {
    shutdown(t);
    sent = 2;
  }
  if (state === "FIN-WAIT-2" || state === "TIME-WAIT") {
    ack = 2;
    t.send({ flags: "A", seq, ack });
  }
  if (state === "CLOSING" || state === "TIME-WAIT") peerCloses();
  expect(t.stateName).toBe(state);
  t.log.take();
  return { t, seq, ack, sent };
}

describe("tcp_outside_the_window", () => {
  const segments: readonly [string, SegmentToSend, number][] = [
    ["SYN", { flags: "S" }, 0],
    ["SYN and ACK", { flags: "SA", ack: 1 }, 0],
    ["data", { flags: "A", ack: 1, data: 6 }, 0],
    ["SYN", { flags: "S" }, 1],
    ["SYN and ACK", { flags: "SA", ack: 1 }, 1],
    ["ACK", { flags: "A", ack: 1 }, 1],
    ["FIN", { flags: "FA", ack: 1 }, 1],
    ["data", { flags: "A", ack: 1, data: 6 }, 1],
    ["SYN", { flags: "S" }, 2],
    ["SYN and ACK", { flags: "SA", ack: 1 }, 2],
    ["ACK", { flags: "A", ack: 1 }, 2],
    ["FIN", { flags: "FA", ack: 1 }, 2],
    ["data", { flags: "A", ack: 1, data: 6 }, 2],
  ];
  test.each(segments)("%s %o is answered with an acknowledgment, %i beyond the right edge", (_, segment, beyond) => {
    const t = trace().established();
    t.send({ ...segment, seq: EDGE + beyond });
    t.expect({ flags: "A", seq: 1, ack: 1 });
    t.expectNothing();
    t.expectEvents();
    expect(t.stateName).toBe("ESTABLISHED");
  });

  test.each([0, 1, 2, 1_000_000])("a reset is not answered, %i beyond the right edge", (beyond) => {
    const t = trace().established();
    t.send({ flags: "R", seq: EDGE + beyond });
    t.expectNothing();
    t.expectEvents();
  });

  test("of a segment that begins within the window only what fits is taken", () => {
    const t = trace().established({ consumes: false });
    for (let seq = 1; seq < 65_000; seq += 1000) t.inject({ flags: "A", seq, ack: 1, data: 1000 });
    t.lan.flush();
    t.lan.all();
    t.send({ flags: "FA", seq: 65_001, ack: 1, data: 1400 });
    t.expect({ flags: "A", seq: 1, ack: EDGE, win: 0 });
    expect(t.log.receivedBytes).toBe(65_535);
    expect(t.stateName).toBe("ESTABLISHED");
  });

  test("of a segment that begins before the window only what is new is taken", () => {
    const t = trace().established();
    t.send({ flags: "A", seq: 1, ack: 1, data: 100 });
    t.send({ flags: "A", seq: 51, ack: 1, data: 100 });
    t.expectEvents("data 100", "data 50");
    t.send({ flags: "A", seq: 1, ack: 1, data: 150 });
    t.expectEvents();
    expect(t.take().at(-1)).toMatchObject({ flags: "A", ack: 151 });
  });
});

describe("tcp_outside_the_window_closing", () => {
  const segments: readonly [string, SegmentToSend][] = [
    ["SYN", { flags: "S" }],
    ["SYN and ACK", { flags: "SA", ack: 1 }],
    ["ACK", { flags: "A", ack: 1 }],
    ["FIN", { flags: "FA", ack: 1 }],
    ["data", { flags: "A", ack: 1, data: 6 }],
  ];
  test.each(segments)("%s beyond the window is answered with an acknowledgment in CLOSING", (_, segment) => {
    for (const beyond of [1, 2, 3]) {
      const { t } = inState("CLOSING");
      t.send({ ...segment, seq: EDGE + beyond });
      t.expect({ flags: "A", seq: 2, ack: 2 });
      t.expectNothing();
      expect(t.stateName).toBe("CLOSING");
    }
  });
});

describe("tcp_unacc_seq_ack", () => {
  const states: readonly StateName[] = [
    "ESTABLISHED",
    "CLOSE-WAIT",
    "LAST-ACK",
    "FIN-WAIT-1",
    "FIN-WAIT-2",
    "TIME-WAIT",
  ];
  test.each(states)("in %s a sequence number beyond the window draws an acknowledgment", (state) => {
    for (const beyond of [0, 1, 2]) {
      const { t, seq, ack, sent } = inState(state);
      t.send({ flags: "A", seq: EDGE + 1 + beyond, ack, data: 11 });
      t.expect({ flags: "A", seq: sent, ack: seq });
      t.expectNothing();
      t.expectEvents();
      expect(t.stateName).toBe(state);
    }
  });

  test.each(states.slice(0, -1))("in %s an acknowledgment of what was never sent draws one", (state) => {
    for (const beyond of [1, 2, 1_000_000]) {
      const { t, seq, sent } = inState(state);
      t.send({ flags: "A", seq, ack: sent + beyond, data: 11 });
      t.expect({ flags: "A", seq: sent, ack: seq });
      t.expectNothing();
      t.expectEvents();
      expect(t.stateName).toBe(state);
    }
  });

  test("an acknowledgment of what was sent has the data taken", () => {
    const t = trace().established();
    t.write(1, 10);
    t.expect({ flags: "PA", data: 10 });
    t.send({ flags: "A", seq: 1, ack: 11, data: 11 });
    t.expectEvents("data 11");
    t.advance(500);
    t.expect({ flags: "A", seq: 11, ack: 12 });
  });
});

describe("tcp_unacc_seq_ack_closing", () => {
  test.each([0, 1, 2])("in CLOSING a sequence number %i beyond the window draws an acknowledgment", (beyond) => {
    const { t } = inState("CLOSING");
    t.send({ flags: "A", seq: EDGE + 1 + beyond, ack: 1, data: 11 });
    t.expect({ flags: "A", seq: 2, ack: 2 });
    t.expectNothing();
    expect(t.stateName).toBe("CLOSING");
  });

  test.each([1, 2])("in CLOSING an acknowledgment of %i that were never sent draws one", (beyond) => {
    const { t } = inState("CLOSING");
    t.send({ flags: "A", seq: 2, ack: 2 + beyond });
    t.expect({ flags: "A", seq: 2, ack: 2 });
    t.expectNothing();
    expect(t.stateName).toBe("CLOSING");
  });

  test("in CLOSING the acknowledgment of the FIN draws none", () => {
    const { t } = inState("CLOSING");
    t.send({ flags: "A", seq: 2, ack: 2 });
    t.expectNothing();
    expect(t.stateName).toBe("TIME-WAIT");
  });
});

describe("RFC 5961: challenge acknowledgments", () => {
  test("a reset counts only with exactly the next sequence number (3.2)", () => {
    const t = trace().established();
    for (const seq of [2, 3, 30_000, EDGE - 1]) {
      t.send({ flags: "R", seq });
      t.expect({ flags: "A", seq: 1, ack: 1 });
    }
    t.expectEvents();
    t.send({ flags: "R", seq: 1 });
    t.expectEvents("closed reset");
    t.expectNothing();
  });

  test("a reset that answers the challenge has the right number and counts", () => {
    const t = trace().established();
    t.send({ flags: "S", seq: 5000, mss: 1460 });
    const { acknowledgment } = t.expect({ flags: "A", seq: 1, ack: 1 });
    t.send({ flags: "R", seq: (acknowledgment - t.isn) | 0 });
    t.expectEvents("closed reset");
  });

  test("a SYN is challenged, wherever it is, and changes nothing (4.2)", () => {
    const t = trace().established({ wscale: 7 });
    for (const seq of [-1_000_000, 0, 1, 2, EDGE, 1_000_000]) {
      t.send({ flags: "S", seq, mss: 100, wscale: 0, win: 10 });
      t.expect({ flags: "A", seq: 1, ack: 1 });
    }
    t.expectEvents();
    t.write(1, 1460);
    t.expect({ flags: "PA", seq: 1, data: 1460 });
  });

  test("an acknowledgment from outside of what can be is challenged and its data not taken (5.2)", () => {
    const t = trace().established();
    t.write(1, 100);
    t.expect({ flags: "PA", data: 100 });
    for (const ack of [102, 70_000, -70_000, -1_000_000]) {
      t.send({ flags: "A", seq: 1, ack, data: 10 });
      t.expect({ flags: "A", seq: 101, ack: 1 });
    }
    t.expectEvents();
    t.send({ flags: "A", seq: 1, ack: 101, data: 10 });
    t.expectEvents("data 10");
  });

  test("an acknowledgment that is merely old does not keep data from being taken (5.2)", () => {
    const t = trace().established();
    t.write(1, 100);
    t.lan.all();
    t.send({ flags: "A", seq: 1, ack: 101 });
    t.send({ flags: "A", seq: 1, ack: 1, data: 10 });
    t.expectEvents("data 10");
  });

  test("challenges are limited, and go on when time has passed (7)", () => {
    const t = trace().established();
    const draw = (count: number) => {
      for (let sent = 0; sent < count; sent++) t.send({ flags: "R", seq: 5 });
      return t.take().length;
    };
    const atOnce = draw(2000);
    expect(atOnce).toBeGreaterThan(0);
    expect(atOnce).toBeLessThanOrEqual(100);
    expect(draw(1000)).toBe(0);
    t.advance(1000);
    const later = draw(2000);
    expect(later).toBeGreaterThan(0);
    expect(later).toBeLessThanOrEqual(100);
    t.expectEvents();
  });

  test("a reset with the right number counts though the challenges are used up", () => {
    const t = trace().established();
    for (let sent = 0; sent < 1000; sent++) t.send({ flags: "S", seq: 5 });
    t.lan.all();
    t.send({ flags: "R", seq: 1 });
    t.expectEvents("closed reset");
  });
});

describe("RFC 9293, 3.8.5: the urgent pointer", () => {
  test.each([0, 1, 5, 10, 11, 65_535])("of %i leaves the data in its place in the stream", (urgent) => {
    const t = trace().established();
    t.send({ flags: "PAU", seq: 1, ack: 1, data: 10, urgent });
    t.send({ flags: "PA", seq: 11, ack: 1, data: 10 });
    expect(t.log.receivedBytes).toBe(20);
    t.expectEvents("data 10", "data 10");
  });

  test("without data, and without the flag, means nothing", () => {
    const t = trace().established();
    t.send({ flags: "AU", seq: 1, ack: 1, urgent: 100 });
    t.send({ flags: "A", seq: 1, ack: 1, urgent: 100, data: 10 });
    t.expectEvents("data 10");
    t.send({ flags: "FAU", seq: 11, ack: 1, urgent: 7 });
    t.expectEvents("end");
  });

  test("out of order, the data behind it is put in order all the same", () => {
    const t = trace().established();
    t.send({ flags: "AU", seq: 11, ack: 1, data: 10, urgent: 3 });
    t.send({ flags: "AU", seq: 1, ack: 1, data: 10, urgent: 13 });
    expect(t.log.receivedBytes).toBe(20);
  });
});

describe("RFC 9293, 3.10.7.1: a segment for no connection", () => {
  test.each<[string, SegmentToSend, { flags: string; seq: number; ack?: number }]>([
    ["ACK", { flags: "A", seq: 5, ack: 100 }, { flags: "R", seq: 100 }],
    ["FIN and ACK", { flags: "FA", seq: 5, ack: 100 }, { flags: "R", seq: 100 }],
    ["SYN and ACK", { flags: "SA", seq: 5, ack: 100 }, { flags: "R", seq: 100 }],
    ["data without ACK", { flags: "P", seq: 5, data: 10 }, { flags: "RA", seq: 0, ack: 15 }],
    ["FIN without ACK", { flags: "F", seq: 5 }, { flags: "RA", seq: 0, ack: 6 }],
    ["data and FIN without ACK", { flags: "F", seq: 5, data: 10 }, { flags: "RA", seq: 0, ack: 16 }],
  ])("%s is answered by a reset that the sender will believe", (_, segment, reset) => {
    const t = new Peer(new Lan());
    t.send(segment);
    t.expect(reset);
    t.expectNothing();
    expect(t.lan.stack.tcp.size).toBe(0);
  });

  test.each(["R", "RA", "RFA", "SR"])("%s is not answered", (flags) => {
    const t = new Peer(new Lan());
    t.send({ flags, seq: 5, ...(flags.includes("A") ? { ack: 100 } : {}) });
    t.expectNothing();
  });
});
