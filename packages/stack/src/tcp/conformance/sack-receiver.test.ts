import { describe, expect, test } from "vitest";
import type { SackBlock } from "../../testing/frames.ts";
import { Random } from "../../testing/random.ts";
import { type Peer, trace } from "../../testing/trace.ts";

/** A connection with selective acknowledgments. */
function selective(options: { ts?: boolean; consumes?: boolean } = {}): Peer {
  return trace().established({ sack: true, ...options });
}

/** Has segments of 100 bytes arrive, counted from 0, each on its own. */
function arrive(t: Peer, ...indexes: number[]): void {
  for (const index of indexes) t.send({ flags: "A", seq: 1 + 100 * index, ack: 1, data: 100 });
}

/** The block of the segments `first` to `last`. */
function block(first: number, last = first): SackBlock {
  return [1 + 100 * first, 1 + 100 * (last + 1)];
}

/** Takes an acknowledgment of what is before segment `ack`, with these blocks. */
function expectAck(t: Peer, ack: number, ...sack: SackBlock[]): void {
  t.expect({ flags: "A", seq: 1, ack: 1 + 100 * ack, sack });
}

describe("RFC 2018, 2: negotiation", () => {
  test("SACK-permitted on a SYN is answered with it", () => {
    const t = trace();
    t.send({ flags: "S", mss: 1460, sackOK: true });
    t.accept();
    t.expect({ flags: "SA", sackOK: true });
  });

  test("without it there are no blocks", () => {
    const t = trace().established();
    arrive(t, 1, 3);
    t.expect({ flags: "A", ack: 1, sack: [] });
    t.expect({ flags: "A", ack: 1, sack: [] });
  });

  test("the stack's SYN offers it, and there are blocks if the SYN-ACK does", () => {
    for (const sack of [true, false]) {
      const t = trace().dialed({ sack });
      arrive(t, 1);
      t.expect({ flags: "A", ack: 1, sack: sack ? [block(1)] : [] });
    }
  });

  test("turned off, it is neither offered nor taken", () => {
    const t = trace({ tcp: { selectiveAcknowledgments: false } });
    t.send({ flags: "S", mss: 1460, sackOK: true });
    t.accept();
    t.expect({ flags: "SA", sackOK: false });
    t.send({ flags: "A", seq: 1, ack: 1 });
    arrive(t, 1);
    t.expect({ flags: "A", ack: 1, sack: [] });
    const dialing = trace({ tcp: { selectiveAcknowledgments: false } });
    dialing.lan.announce();
    dialing.dial();
    dialing.expect({ flags: "S", sackOK: false });
  });
});

describe("RFC 2018, 4: blocks", () => {
  test("a segment beyond a gap is reported at once", () => {
    const t = selective();
    arrive(t, 1);
    expectAck(t, 0, block(1));
  });

  test("what is in order is not", () => {
    const t = selective();
    arrive(t, 0);
    t.advance(500);
    t.expect({ flags: "A", ack: 101, sack: [] });
  });

  test("neighbors are one block, whichever came first", () => {
    const t = selective();
    arrive(t, 2, 3, 1);
    expectAck(t, 0, block(2));
    expectAck(t, 0, block(2, 3));
    expectAck(t, 0, block(1, 3));
    arrive(t, 6, 5, 4);
    expectAck(t, 0, block(6), block(1, 3));
    expectAck(t, 0, block(5, 6), block(1, 3));
    expectAck(t, 0, block(1, 6));
  });

  test("the first block is of the segment that was received last, the others in the order of their reports", () => {
    const t = selective();
    arrive(t, 1, 3, 5, 7);
    expectAck(t, 0, block(1));
    expectAck(t, 0, block(3), block(1));
    expectAck(t, 0, block(5), block(3), block(1));
    expectAck(t, 0, block(7), block(5), block(3), block(1));
    arrive(t, 4);
    expectAck(t, 0, block(3, 5), block(7), block(1));
  });

  test("four blocks fit, the oldest report is left out", () => {
    const t = selective();
    arrive(t, 1, 3, 5, 7, 9);
    for (let index = 0; index < 4; index++) t.lan.next();
    expectAck(t, 0, block(9), block(7), block(5), block(3));
  });

  test("three fit beside timestamps", () => {
    const t = selective({ ts: true });
    arrive(t, 1, 3, 5, 7);
    for (let index = 0; index < 3; index++) t.lan.next();
    expectAck(t, 0, block(7), block(5), block(3));
  });

  test("a gap that is filled in part moves the acknowledgment and leaves the blocks", () => {
    const t = selective();
    arrive(t, 2, 4);
    t.lan.all();
    arrive(t, 0);
    expectAck(t, 1, block(4), block(2));
    arrive(t, 1);
    expectAck(t, 3, block(4));
    arrive(t, 3);
    expectAck(t, 5);
    expect(t.log.receivedBytes).toBe(500);
  });

  test("data that this side sends has the blocks as well", () => {
    const t = selective();
    arrive(t, 1);
    expectAck(t, 0, block(1));
    t.write(1, 10);
    t.expect({ flags: "PA", seq: 1, ack: 1, data: 10, sack: [block(1)] });
  });

  test("full segments of this side leave room for them (RFC 6691)", () => {
    const t = selective();
    arrive(t, 1);
    t.lan.all();
    t.write(1, 5000);
    let end = 1;
    for (const { seq, data, sack } of t.take()) {
      expect(seq).toBe(end);
      expect(data + 4 + 8 * sack.length).toBeLessThanOrEqual(1460 + (sack.length === 0 ? 4 : 0));
      end += data;
    }
    expect(end).toBe(5001);
  });

  test("a block ends where the window does", () => {
    const t = selective({ consumes: false });
    t.send({ flags: "A", seq: 65_000, ack: 1, data: 1000 });
    t.expect({ flags: "A", ack: 1, sack: [[65_000, 65_536]] });
  });

  test("a FIN beyond a gap leaves the blocks of what is in front of it right", () => {
    const t = selective();
    t.send({ flags: "FA", seq: 101, ack: 1, data: 100 });
    const [{ sack }] = t.take();
    expect(sack.length).toBe(1);
    expect(sack[0][0]).toBe(101);
    expect([201, 202]).toContain(sack[0][1]);
    arrive(t, 0);
    t.expect({ flags: "A", ack: 202, sack: [] });
  });

  test("what was reported is never dropped: it is handed over once the gap is filled", () => {
    const random = new Random(7);
    const t = selective();
    const missing = new Set(Array.from({ length: 300 }, (_, index) => index));
    const reported = new Set<number>();
    while (missing.size > 0) {
      const index = random.pick([...missing]);
      missing.delete(index);
      arrive(t, index);
      for (const { sack } of t.take()) {
        for (const [start, end] of sack) for (let at = start; at < end; at += 100) reported.add((at - 1) / 100);
      }
      for (const one of reported) expect(missing.has(one)).toBe(false);
    }
    expect(t.log.receivedBytes).toBe(30_000);
    expect(reported.size).toBeGreaterThan(200);
  });

  test("every report agrees with what has arrived (random order)", () => {
    const random = new Random(11);
    for (let round = 0; round < 20; round++) {
      const t = selective({ ts: round % 2 === 0 });
      const have = new Set<number>();
      const order = Array.from({ length: 40 }, (_, index) => index);
      for (let at = order.length - 1; at > 0; at--) {
        const other = random.below(at + 1);
        [order[at], order[other]] = [order[other], order[at]];
      }
      for (const index of order) {
        have.add(index);
        arrive(t, index);
        for (const { ack, sack } of t.take()) {
          let next = 0;
          while (have.has(next)) next++;
          expect(ack).toBe(1 + 100 * next);
          for (const [start, end] of sack) {
            const [first, last] = [(start - 1) / 100, (end - 1) / 100 - 1];
            for (let each = first; each <= last; each++) expect(have.has(each)).toBe(true);
            // A block is as long as it can be (RFC 2018, 3).
            expect(have.has(first - 1) || have.has(last + 1)).toBe(false);
          }
          if (index > next) expect(sack[0][0] <= 1 + 100 * index && sack[0][1] > 1 + 100 * index).toBe(true);
        }
      }
      expect(t.log.receivedBytes).toBe(4000);
    }
  });
});

describe("RFC 2883: reports of duplicates", () => {
  test("a segment that was acknowledged before is reported below the acknowledgment (4.1, 4.1.1)", () => {
    const t = selective();
    arrive(t, 0, 1);
    t.lan.all();
    arrive(t, 0);
    expectAck(t, 2, block(0));
  });

  test("a part of one is reported as that part (4.2)", () => {
    const t = selective();
    arrive(t, 0, 1);
    t.advance(500);
    t.lan.all();
    t.send({ flags: "A", seq: 101, ack: 1, data: 200 });
    t.expect({ flags: "A", seq: 1, ack: 301, sack: [block(1)] });
    expect(t.log.receivedBytes).toBe(300);
  });

  test("a segment within a block is reported in front of the block (4.1.3)", () => {
    const t = selective();
    arrive(t, 2, 3, 4);
    t.lan.all();
    arrive(t, 3);
    expectAck(t, 0, block(3), block(2, 4));
  });

  test("with other blocks there, the one it lies in is the second (4, 5)", () => {
    const t = selective();
    arrive(t, 2, 3, 6, 7);
    t.lan.all();
    arrive(t, 2);
    expectAck(t, 0, block(2), block(2, 3), block(6, 7));
  });

  test("below the acknowledgment, with gaps beyond it, it is in front of their blocks (4.1.2)", () => {
    const t = selective();
    arrive(t, 0, 1, 3);
    t.lan.all();
    arrive(t, 1);
    expectAck(t, 2, block(1), block(3));
  });

  test("each is reported once (4)", () => {
    const t = selective();
    arrive(t, 0, 1);
    t.lan.all();
    arrive(t, 1);
    expectAck(t, 2, block(1));
    arrive(t, 3);
    expectAck(t, 2, block(3));
    t.write(1, 10);
    t.expect({ flags: "PA", ack: 201, data: 10, sack: [block(3)] });
  });

  test("each duplicate has a report of its own", () => {
    const t = selective();
    arrive(t, 0, 1, 2);
    t.lan.all();
    for (const index of [0, 2, 1, 1]) {
      arrive(t, index);
      expectAck(t, 3, block(index));
    }
  });

  test("it takes the place of a block when there are many", () => {
    const t = selective();
    arrive(t, 1, 3, 5, 7, 9);
    t.lan.all();
    arrive(t, 3);
    const [{ sack }] = t.take();
    expect(sack.length).toBe(4);
    expect(sack[0]).toEqual(block(3));
    expect(sack[1]).toEqual(block(3));
    const withTimestamps = selective({ ts: true });
    arrive(withTimestamps, 1, 3, 5, 7, 9);
    withTimestamps.lan.all();
    arrive(withTimestamps, 3);
    expect(withTimestamps.take()[0].sack.length).toBe(3);
  });

  test("a segment that was only dropped, for lack of a window, is not one", () => {
    const t = selective({ consumes: false });
    for (let seq = 1; seq < 65_536; seq += 1000) {
      t.inject({ flags: "A", seq, ack: 1, data: Math.min(1000, 65_536 - seq) });
    }
    t.lan.flush();
    t.lan.all();
    t.send({ flags: "A", seq: 65_536, ack: 1, data: 100 });
    t.expect({ flags: "A", ack: 65_536, win: 0, sack: [] });
  });

  test("without selective acknowledgments it is acknowledged without a report", () => {
    const t = trace().established();
    arrive(t, 0, 0);
    expect(t.take().at(-1)).toMatchObject({ ack: 101, sack: [] });
  });

  test("a keep-alive's old number draws an acknowledgment, a byte of garbage with it no harm", () => {
    const t = selective();
    arrive(t, 0);
    t.advance(500);
    t.lan.all();
    t.send({ flags: "A", seq: 100, ack: 1 });
    t.expect({ flags: "A", ack: 101, sack: [] });
    t.send({ flags: "A", seq: 100, ack: 1, data: new Uint8Array(1) });
    expect(t.take()).toMatchObject([{ flags: "A", ack: 101 }]);
    expect(t.log.receivedBytes).toBe(100);
  });

  test("the FIN again, alone, is acknowledged", () => {
    const t = selective();
    t.send({ flags: "FA", seq: 1, ack: 1 });
    t.expect({ flags: "A", ack: 2, sack: [] });
    t.send({ flags: "FA", seq: 1, ack: 1 });
    expect(t.take()).toMatchObject([{ flags: "A", ack: 2 }]);
  });
});
