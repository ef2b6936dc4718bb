import { describe, expect, test } from "vitest";
import { Lan } from "../../testing/lan.ts";
import { Random } from "../../testing/random.ts";
import { Peer, trace } from "../../testing/trace.ts";

const DAY = 24 * 3_600_000;

/** A connection with timestamps, after a second of which the peer's clock shows that much more. */
function withTimestamps(): Peer {
  const t = trace().established({ ts: true });
  t.advance(1000);
  t.send({ flags: "A", seq: 1, ack: 1 });
  t.expectNothing();
  return t;
}

describe("tcp_paws_mechanism", () => {
  test("a segment with an older timestamp is acknowledged and not taken (RFC 7323, 5.3, R1)", () => {
    const t = withTimestamps();
    t.send({ flags: "PA", seq: 1, ack: 1, data: 11, ts: [999, undefined] });
    t.expect({ flags: "A", seq: 1, ack: 1, ts: [undefined, 1000] });
    t.expectEvents();
    t.send({ flags: "PA", seq: 1, ack: 1, data: 11, ts: [1000, undefined] });
    t.expectEvents("data 11");
  });

  test.each([1, 2, 100, 1000, 100_000, 2 ** 31 - 1])("one that is %i ms older is old", (age) => {
    const t = withTimestamps();
    t.send({ flags: "PA", seq: 1, ack: 1, data: 11, ts: [1000 - age, undefined] });
    t.expect({ flags: "A", seq: 1, ack: 1, ts: [undefined, 1000] });
    t.expectEvents();
  });

  test.each([0, 1, 2, 100, 100_000, 2 ** 31 - 1])("one that is %i ms younger is not", (difference) => {
    const t = withTimestamps();
    t.send({ flags: "PA", seq: 1, ack: 1, data: 11, ts: [1000 + difference, undefined] });
    t.expectEvents("data 11");
    t.advance(500);
    t.expect({ flags: "A", seq: 1, ack: 12, ts: [undefined, (1000 + difference) | 0] });
  });

  test("its acknowledgment is not taken either", () => {
    const t = withTimestamps();
    t.write(1, 100);
    t.expect({ flags: "PA", data: 100 });
    t.send({ flags: "A", seq: 1, ack: 101, ts: [500, undefined] });
    expect(t.flow.sendQueued).toBe(100);
    t.send({ flags: "A", seq: 1, ack: 101 });
    expect(t.flow.sendQueued).toBe(0);
  });

  test("its FIN is not taken either", () => {
    const t = withTimestamps();
    t.send({ flags: "FA", seq: 1, ack: 1, ts: [500, undefined] });
    t.expect({ flags: "A", seq: 1, ack: 1 });
    t.expectEvents();
    expect(t.stateName).toBe("ESTABLISHED");
  });

  test("a reset is taken whatever its timestamp (5.2)", () => {
    const t = withTimestamps();
    t.send({ flags: "R", seq: 1, ts: [1, undefined] });
    t.expectEvents("closed reset");
    const none = withTimestamps();
    none.send({ flags: "R", seq: 1, ts: false });
    none.expectEvents("closed reset");
  });

  test("segments out of order have the timestamps of their time, and are taken", () => {
    const t = withTimestamps();
    const early = t.clock;
    t.advance(50);
    t.send({ flags: "A", seq: 101, ack: 1, data: 100 });
    t.expect({ flags: "A", ack: 1, ts: [undefined, 1000] });
    t.send({ flags: "A", seq: 1, ack: 1, data: 100, ts: [early, undefined] });
    t.expectEvents("data 100", "data 100");
  });

  test("a duplicate from before the numbers wrapped is told by its timestamp", () => {
    const t = trace().established({ ts: true });
    t.send({ flags: "A", seq: 1, ack: 1, data: 100 });
    t.advance(1000);
    t.send({ flags: "A", seq: 101, ack: 1, data: 100 });
    t.log.take();
    t.lan.all();
    // As if it had been delayed for as long as a whole round of the sequence numbers took.
    t.send({ flags: "A", seq: 201, ack: 1, data: 100, ts: [500, undefined] });
    t.expect({ flags: "A", ack: 201 });
    t.expectEvents();
  });

  test("after 24 days of silence an old timestamp says nothing, and the next one does (5.5)", () => {
    const t = withTimestamps();
    t.timestamps.checks = false;
    t.advance(25 * DAY);
    // The peer's clock has run past half of its range, so that it looks older.
    const value = (1000 + 2 ** 31 + 5) | 0;
    t.send({ flags: "A", seq: 1, ack: 1, data: 10, ts: [value, undefined] });
    t.expectEvents("data 10");
    t.advance(500);
    t.expect({ flags: "A", ack: 11, ts: [undefined, value] });
    t.send({ flags: "A", seq: 11, ack: 1, data: 10, ts: [value - 1, undefined] });
    t.expectEvents();
  });

  test("after 23 days it still does", () => {
    const t = withTimestamps();
    t.advance(23 * DAY);
    t.send({ flags: "A", seq: 1, ack: 1, data: 10, ts: [900, undefined] });
    t.expectEvents();
  });
});

describe("RFC 7323, 3.2: negotiation", () => {
  test("a SYN with timestamps is answered with them, and its value echoed", () => {
    const t = trace();
    t.advance(77);
    t.send({ flags: "S", mss: 1460, ts: [undefined, undefined] });
    t.accept();
    t.expect({ flags: "SA", seq: 0, ack: 1, ts: [0, 77] });
    t.send({ flags: "A", seq: 1, ack: 1 });
    t.write(1, 10);
    t.expect({ flags: "PA", seq: 1, data: 10, ts: [undefined, 77] });
  });

  test("a SYN without them is answered without, and no later segment has them", () => {
    const t = trace();
    t.send({ flags: "S", mss: 1460, wscale: 7, sackOK: true });
    t.accept();
    t.expect({ flags: "SA", ts: false, sackOK: true, wscale: 7 });
    t.send({ flags: "A", seq: 1, ack: 1 });
    t.write(1, 10);
    t.expect({ flags: "PA", ts: false, data: 10 });
    t.send({ flags: "A", seq: 1, ack: 11, data: 10, ts: [5, 5] });
    t.expectEvents("established", "data 10");
    t.advance(500);
    t.expect({ flags: "A", ts: false });
  });

  test("the stack's own SYN offers them, with nothing to echo", () => {
    const t = trace();
    t.lan.announce();
    t.dial();
    t.expect({ flags: "S", ts: [0, 0], sackOK: true, wscale: 7, mss: 1460 });
    t.advance(50);
    t.send({ flags: "SA", ack: 1, mss: 1460, ts: [undefined, undefined] });
    t.expect({ flags: "A", seq: 1, ack: 1, ts: [undefined, 50] });
    t.write(1, 10);
    t.expect({ flags: "PA", data: 10, ts: [undefined, 50] });
  });

  test("a SYN-ACK without them turns them down", () => {
    const t = trace();
    t.lan.announce();
    t.dial();
    t.expect({ flags: "S", ts: [0, 0] });
    t.send({ flags: "SA", ack: 1, mss: 1460 });
    t.expect({ flags: "A", ts: false });
    t.write(1, 1460);
    t.expect({ flags: "PA", data: 1460, ts: false });
  });

  test("each SYN that is sent again has the time of its own", () => {
    const t = trace();
    t.lan.announce();
    t.dial();
    t.expect({ flags: "S", ts: [0, 0] });
    t.advance(1000);
    const { timestamps } = t.expect({ flags: "S" });
    expect(t.timestamps.relative({ flags: "S", timestamps })).toEqual([expect.any(Number), 0]);
    expect((t.timestamps.relative({ flags: "S", timestamps }) || [0])[0]).toBeGreaterThanOrEqual(1);
  });

  test("a SYN with nothing but timestamps has no other option's value", () => {
    const lan = new Lan();
    new Peer(lan, { port: 1 }).established({ mss: 1000, wscale: 14, sack: true, ts: true });
    const t = new Peer(lan, { port: 2 });
    t.send({ flags: "S", ts: [undefined, undefined] });
    t.accept();
    t.expect({ flags: "SA", wscale: undefined, sackOK: false, ts: [0, 0] });
    t.send({ flags: "A", seq: 1, ack: 1, win: 5000 });
    t.write(1, 10_000);
    // The MSS to assume is 536 (RFC 9293, 3.7.1), and the window is not scaled.
    for (let seq = 1; seq + 524 <= 5001; seq += 524) t.expect({ flags: "A", seq, data: 524 });
    t.expectNothing();
  });

  test("turned off, they are neither offered nor taken", () => {
    const t = trace({ tcp: { timestamps: false } });
    t.send({ flags: "S", mss: 1460, sackOK: true, ts: [undefined, undefined] });
    t.accept();
    t.expect({ flags: "SA", ts: false, sackOK: true });
    const dialing = trace({ tcp: { timestamps: false } });
    dialing.lan.announce();
    dialing.dial();
    dialing.expect({ flags: "S", ts: false, sackOK: true });
  });
});

describe("the options of a SYN are laid out as Linux's are", () => {
  const MSS = [2, 4, 1460 >> 8, 1460 & 255];
  const SCALE = [1, 3, 3, 7];

  function layout(options: readonly number[], timestampsAt: number): (number | undefined)[] {
    return options.map((byte, index) => (index >= timestampsAt && index < timestampsAt + 8 ? undefined : byte));
  }

  function synAck(offer: { mss: number; wscale?: number; sackOK?: boolean; ts?: boolean }): number[] {
    const t = trace();
    const { ts, ...rest } = offer;
    t.send({ flags: "S", ...rest, ts: ts ? [undefined, undefined] : false });
    t.accept();
    return [...t.expect({ flags: "SA" }).options];
  }

  test("all of them: MSS, SACK-permitted, timestamps, window scale", () => {
    const right = [...MSS, 4, 2, 8, 10, ...Array(8).fill(undefined), ...SCALE];
    expect(layout(synAck({ mss: 1460, wscale: 2, sackOK: true, ts: true }), 8)).toEqual(right);
    const t = trace();
    t.lan.announce();
    t.dial();
    expect(layout([...t.expect({ flags: "S" }).options], 8)).toEqual(right);
  });

  test("a SYN-ACK has those that were offered", () => {
    const none = Array(8).fill(undefined);
    expect(synAck({ mss: 1460 })).toEqual(MSS);
    expect(synAck({ mss: 1460, wscale: 2 })).toEqual([...MSS, ...SCALE]);
    expect(synAck({ mss: 1460, sackOK: true })).toEqual([...MSS, 1, 1, 4, 2]);
    expect(synAck({ mss: 1460, wscale: 2, sackOK: true })).toEqual([...MSS, 1, 1, 4, 2, ...SCALE]);
    expect(layout(synAck({ mss: 1460, ts: true }), 8)).toEqual([...MSS, 1, 1, 8, 10, ...none]);
    expect(layout(synAck({ mss: 1460, wscale: 2, ts: true }), 8)).toEqual([...MSS, 1, 1, 8, 10, ...none, ...SCALE]);
  });

  test("later segments have the timestamps in twelve bytes (RFC 7323, appendix A)", () => {
    const t = trace().established({ ts: true });
    t.write(1, 10);
    const { options } = t.expect({ flags: "PA", data: 10 });
    expect(options.length).toBe(12);
    expect([...options.slice(0, 4)]).toEqual([1, 1, 8, 10]);
  });
});

describe("RFC 7323, 3.2 and 4.1: the stack's values", () => {
  test("every segment has them, also those without data, with FIN, and challenges", () => {
    const t = trace().established({ ts: true });
    t.send({ flags: "A", seq: 0, ack: 1 });
    expect(t.take()[0].ts).not.toBe(false);
    t.send({ flags: "R", seq: 5 });
    expect(t.take()[0].ts).not.toBe(false);
    t.write(1, 10);
    expect(t.take()[0].ts).not.toBe(false);
    t.flow.shutdown();
    t.lan.flush();
    expect(t.take()[0]).toMatchObject({ flags: "FA", ts: [expect.any(Number), expect.any(Number)] });
  });

  test("a reset of an abort has them as well (a SHOULD)", () => {
    const t = trace().established({ ts: true });
    t.flow.abort();
    t.lan.flush();
    expect(t.take()[0]).toMatchObject({ flags: "RA", ts: [expect.any(Number), expect.any(Number)] });
  });

  test("they run at 1 ms to 1 s a tick, and never backwards", () => {
    const t = trace().established({ ts: true });
    const valueAt = () => {
      t.send({ flags: "A", seq: 0, ack: 1 });
      const [{ ts }] = t.take();
      return ts === false ? Number.NaN : ts[0];
    };
    let last = valueAt();
    const start = last;
    for (let second = 0; second < 100; second++) {
      t.advance(1000);
      const value = valueAt();
      expect(value - last).toBeGreaterThanOrEqual(1);
      expect(value - last).toBeLessThanOrEqual(1000);
      last = value;
    }
    expect(last - start).toBeGreaterThanOrEqual(100);
  });

  test("they do not tell how long the stack has been running (7)", () => {
    const values = [1, 2, 3, 4, 5, 6].map((seed) => {
      const random = new Random(seed);
      const t = trace({ randomBytes: (bytes) => random.fill(bytes) });
      t.lan.announce();
      t.dial();
      return t.expect({ flags: "S" }).timestamps?.[0];
    });
    expect(new Set(values).size).toBe(6);
  });

  test("they cross the wrap of their own without harm", () => {
    // 49.7 days at 1 ms a tick; the clock of this stack starts just below them.
    for (const startAt of [2 ** 32 - 500, 2 ** 31 - 500]) {
      const t = trace({ startAt }).established({ ts: true, rtt: 100 });
      for (let from = 1; from < 20_000; from += 1000) {
        t.write(from, 1000);
        t.advance(100);
        t.send({ flags: "A", seq: from, ack: from + 1000, data: 1000 });
        t.lan.all();
      }
      expect(t.log.receivedBytes).toBe(20_000);
      expect(t.lan.stack.statistics).toMatchObject({ tcpTimeouts: 0, tcpRetransmissions: 0 });
    }
  });
});

describe("RFC 7323, 4.1: round trips", () => {
  test("only an acknowledgment that moves the edge gives a sample", () => {
    const t = trace().established({ ts: true, rtt: 100 });
    t.write(1, 100);
    t.lan.all();
    // The peer sends data now and then, with an echo that gets older and older.
    for (let index = 0; index < 3; index++) {
      t.advance(60);
      t.send({ flags: "A", seq: 1 + 10 * index, ack: 1, data: 10, ts: [undefined, 0] });
    }
    t.lan.all();
    t.send({ flags: "A", seq: 31, ack: 101 });
    t.write(101, 100);
    t.lan.all();
    const start = t.lan.now;
    while (t.lan.waiting === 0) t.advance(1);
    // SRTT 110, RTTVAR 57.5.
    expect(t.lan.now - start).toBeGreaterThanOrEqual(110 + 200);
    expect(t.lan.now - start).toBeLessThanOrEqual(110 + 4 * 57.5 + 2);
  });

  test("an echo of what was never sent harms nobody but the one who sent it", () => {
    for (const echo of [-1_000_000, 1_000_000, 2 ** 31 - 1, -(2 ** 31) + 5]) {
      const t = trace().established({ ts: true, rtt: 10 });
      t.write(1, 100);
      t.lan.all();
      t.advance(10);
      t.send({ flags: "A", seq: 1, ack: 101, ts: [undefined, echo] });
      t.write(101, 100);
      t.lan.all();
      t.advance(60_000);
      expect(t.take()[0]).toMatchObject({ seq: 101, data: 100 });
    }
  });
});

describe("RFC 7323, 4.3: which timestamp is echoed", () => {
  test("of two segments that one acknowledgment is for, the earlier one's (A)", () => {
    const t = withTimestamps();
    t.send({ flags: "A", seq: 1, ack: 1, data: 1448, ts: [1010, undefined] });
    t.send({ flags: "A", seq: 1449, ack: 1, data: 1448, ts: [1020, undefined] });
    t.expect({ flags: "A", ack: 2897, ts: [undefined, 1010] });
    t.send({ flags: "A", seq: 2897, ack: 1, data: 1448, ts: [1030, undefined] });
    t.send({ flags: "A", seq: 4345, ack: 1, data: 1448, ts: [1040, undefined] });
    t.expect({ flags: "A", ack: 5793, ts: [undefined, 1030] });
  });

  test("of a whole batch that one acknowledgment is for, the first one's", () => {
    const t = withTimestamps();
    for (let index = 0; index < 6; index++) {
      t.inject({ flags: "A", seq: 1 + 1448 * index, ack: 1, data: 1448, ts: [1010 + index, undefined] });
    }
    t.lan.flush();
    expect(t.take().at(-1)).toMatchObject({ ack: 1 + 6 * 1448, ts: [expect.any(Number), 1010] });
  });

  test("of a segment whose acknowledgment is delayed, its own (A)", () => {
    const t = withTimestamps();
    t.send({ flags: "A", seq: 1, ack: 1, data: 100, ts: [1010, undefined] });
    t.advance(500);
    t.expect({ flags: "A", ack: 101, ts: [undefined, 1010] });
  });

  test("beyond a gap, the last one's that was in order (B)", () => {
    const t = withTimestamps();
    t.send({ flags: "A", seq: 1, ack: 1, data: 100, ts: [1010, undefined] });
    t.advance(500);
    t.expect({ flags: "A", ack: 101, ts: [undefined, 1010] });
    for (const seq of [201, 301, 401]) {
      t.send({ flags: "A", seq, ack: 1, data: 100, ts: [1500 + seq, undefined] });
      t.expect({ flags: "A", ack: 101, ts: [undefined, 1010] });
    }
  });

  test("of the segment that fills a gap, its own (C)", () => {
    const t = withTimestamps();
    t.send({ flags: "A", seq: 101, ack: 1, data: 100, ts: [1010, undefined] });
    t.expect({ flags: "A", ack: 1, ts: [undefined, 1000] });
    t.send({ flags: "A", seq: 1, ack: 1, data: 100, ts: [1200, undefined] });
    t.expect({ flags: "A", ack: 201, ts: [undefined, 1200] });
  });

  test("in turns of gaps and what fills them (the example of 4.3)", () => {
    const t = withTimestamps();
    const arrive = (index: number, value: number, ack: number, echo: number) => {
      t.send({ flags: "A", seq: 1 + 100 * index, ack: 1, data: 100, ts: [value, undefined] });
      if (t.lan.waiting === 0) t.advance(500);
      t.expect({ flags: "A", ack: 1 + 100 * ack, ts: [undefined, echo] });
    };
    arrive(0, 1001, 1, 1001);
    arrive(2, 1003, 1, 1001);
    arrive(1, 1002, 3, 1002);
    arrive(4, 1005, 3, 1002);
    arrive(3, 1004, 5, 1004);
  });

  test("an old duplicate's is not", () => {
    const t = withTimestamps();
    t.send({ flags: "A", seq: 1, ack: 1, data: 100, ts: [1010, undefined] });
    t.advance(500);
    t.lan.all();
    t.send({ flags: "A", seq: 1, ack: 1, data: 50, ts: [1600, undefined] });
    t.expect({ flags: "A", ack: 101, ts: [undefined, 1010] });
  });

  test("that of a bare acknowledgment is", () => {
    const t = withTimestamps();
    t.send({ flags: "A", seq: 1, ack: 1, ts: [1777, undefined] });
    t.write(1, 10);
    t.expect({ flags: "PA", data: 10, ts: [undefined, 1777] });
  });
});

describe("RFC 7323, 3.2: segments without the timestamps that were agreed on", () => {
  test("that are a SYN are challenged like any other, so that a peer that has restarted is not shut out", () => {
    // RFC 5961, 4.2, a MUST, where 3.2 has a SHOULD.
    const t = withTimestamps();
    t.send({ flags: "S", seq: 5000, mss: 1460, ts: false });
    t.expect({ flags: "A", seq: 1, ack: 1 });
  });

  test("are dropped, and end nothing", () => {
    const t = withTimestamps();
    t.send({ flags: "PA", seq: 1, ack: 1, data: 10, ts: false });
    t.send({ flags: "FA", seq: 1, ack: 1, ts: false });
    t.expectEvents();
    expect(t.stateName).toBe("ESTABLISHED");
    t.lan.all();
    t.send({ flags: "PA", seq: 1, ack: 1, data: 10 });
    t.expectEvents("data 10");
  });

  test.each([
    ["too short", [8, 9, 0, 0, 0, 1, 0, 0, 0, 0, 1, 1]],
    ["cut off", [1, 1, 1, 1, 8, 10, 0, 0]],
    ["of no length", [8, 0, 0, 0]],
  ])("as are those with one that is %s", (_, bytes) => {
    const t = withTimestamps();
    t.send({ flags: "PA", seq: 1, ack: 1, data: 10, options: Uint8Array.from(bytes) });
    t.expectEvents();
    expect(t.stateName).toBe("ESTABLISHED");
  });

  test("those in another layout are as good", () => {
    const t = withTimestamps();
    t.timestamps.checks = false;
    const options = Uint8Array.from([8, 10, 0, 0, 0x10, 0, 0, 0, 0, 0, 1, 0]);
    t.send({ flags: "PA", seq: 1, ack: 1, data: 10, options });
    t.expectEvents("data 10");
  });
});
