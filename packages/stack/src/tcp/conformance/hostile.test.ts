import { describe, expect, test } from "vitest";
import type { SackBlock } from "../../testing/frames.ts";
import { Lan } from "../../testing/lan.ts";
import { Random } from "../../testing/random.ts";
import { type HandshakeOptions, Peer, trace } from "../../testing/trace.ts";

const MSS = 1000;

function at(index: number): number {
  return 1 + index * MSS;
}

/** A connection with ten segments in flight and more waiting. */
function tenInFlight(options: HandshakeOptions = {}): Peer {
  const t = trace().established({ mss: MSS, rtt: 100, wscale: 7, ...options });
  t.write(1, 60 * MSS);
  expect(t.take().length).toBe(10);
  return t;
}

/** Has what is left of the data arrive in order, as an honest peer would take it; fails when it does not come. */
function finish(t: Peer, acknowledged: number, end: number): void {
  let next = acknowledged;
  const held: { seq: number; data: number }[] = [];
  for (let waited = 0; next < end; waited += 100) {
    if (waited > 300_000) throw new Error(`the data ends at ${next}`);
    held.push(...t.take());
    held.sort((a, b) => a.seq - b.seq);
    for (const { seq, data } of held) if (seq <= next) next = Math.max(next, seq + data);
    t.send({ flags: "A", seq: 1, ack: next });
    t.advance(100);
  }
  expect(t.flow.sendQueued).toBe(0);
}

describe("acknowledgments of what was never sent", () => {
  test("are challenged, and neither move the window nor lose data", () => {
    for (const ack of [at(10) + 1, at(20), at(60), at(61), 2_000_000, 2 ** 31 - 2]) {
      const t = tenInFlight();
      for (let count = 0; count < 3; count++) {
        t.send({ flags: "A", seq: 1, ack, win: 65_535 });
        expect(t.take()).toMatchObject([{ flags: "A", seq: at(10), ack: 1, data: 0 }]);
      }
      // An end that says the same again and again is not answered each time: two such would never fall silent.
      t.send({ flags: "A", seq: 1, ack, win: 65_535 });
      t.expectNothing();
      expect(t.flow.sendQueued).toBe(60 * MSS);
      finish(t, 1, at(60));
    }
  });

  test("with blocks of it do no harm either", () => {
    const t = tenInFlight({ sack: true });
    const blocks: SackBlock[] = [
      [at(10), at(11)],
      [at(9), at(12)],
      [at(50), at(51)],
      [at(100), at(200)],
      [at(5), at(4)],
      [at(5), at(5)],
      [-100_000, -50_000],
      [at(2), at(2) + 2 ** 31],
    ];
    for (const block of blocks) t.send({ flags: "A", seq: 1, ack: 1, sack: [block] });
    t.send({ flags: "A", seq: 1, ack: 1, sack: blocks.slice(0, 4) });
    t.expectNothing();
    expect(t.flow.sendQueued).toBe(60 * MSS);
    t.advance(100);
    finish(t, 1, at(60));
  });

  test("random ones, with random blocks, lose nothing", () => {
    const random = new Random(3);
    for (let round = 0; round < 20; round++) {
      const t = tenInFlight(round % 2 === 0 ? { sack: true } : { sack: true, ts: true, mss: MSS + 12 });
      for (let count = 0; count < 200; count++) {
        const edge = () => random.below(70 * MSS) - 2 * MSS;
        const sack = Array.from({ length: random.below(4) }, (): SackBlock => [edge(), edge()]);
        // What it acknowledges of what was sent, it has to have received.
        t.send({ flags: "A", seq: 1, ack: random.oneIn(2) ? 1 : at(60) + 1 + random.below(1000), sack });
        t.advance(random.below(30));
      }
      t.lan.all();
      t.expectEvents();
      finish(t, 1, at(60));
    }
  });
});

describe("optimistic acknowledgments (Savage et al., 1999)", () => {
  test("one segment acknowledged byte by byte opens the window by no more than that segment (RFC 3465)", () => {
    const whole = tenInFlight();
    whole.send({ flags: "A", seq: 1, ack: at(1) });
    const honest = whole.take().length;
    const t = tenInFlight();
    for (let ack = 2; ack <= at(1); ack++) t.send({ flags: "A", seq: 1, ack });
    expect(t.take().length).toBeLessThanOrEqual(honest);
  });

  test("duplicates are answered one for one at most, within the window, and with one retransmission", () => {
    const t = trace().established({ mss: MSS, rtt: 100, win: 20 * MSS });
    t.write(1, 60 * MSS);
    expect(t.take().length).toBe(10);
    let again = 0;
    for (let duplicate = 0; duplicate < 1000; duplicate++) {
      t.send({ flags: "A", seq: 1, ack: 1 });
      const segments = t.take();
      expect(segments.length).toBeLessThanOrEqual(2);
      for (const { seq, data } of segments) {
        if (seq < at(10)) again++;
        expect(seq + data).toBeLessThanOrEqual(at(20));
      }
    }
    expect(again).toBeLessThanOrEqual(1);
    t.send({ flags: "A", seq: 1, ack: at(10) });
    finish(t, at(10), at(60));
  });

  test("duplicates with selective acknowledgments that tell nothing open nothing", () => {
    const t = tenInFlight({ sack: true });
    for (let duplicate = 0; duplicate < 1000; duplicate++) {
      t.send({ flags: "A", seq: 1, ack: 1, sack: [[at(1), at(2)]] });
    }
    expect(t.take().length).toBeLessThanOrEqual(3);
  });

  test("what is acknowledged before it can have arrived is gone for the one who did it, and for nobody else", () => {
    const t = tenInFlight();
    for (let index = 1; index <= 10; index++) t.send({ flags: "A", seq: 1, ack: at(index) });
    const segments = t.take();
    expect(segments.length).toBeLessThanOrEqual(20);
    for (const { seq } of segments) expect(seq).toBeGreaterThanOrEqual(at(10));
  });
});

describe("windows that shrink", () => {
  test("to nothing and back, again and again, cost no data", () => {
    const random = new Random(17);
    const t = trace().established({ mss: MSS });
    t.write(1, 60 * MSS);
    let next = 1;
    const held: { seq: number; data: number }[] = [];
    for (let round = 0; next < at(60); round++) {
      expect(round).toBeLessThan(3000);
      held.push(...t.take());
      for (const { seq, data } of held.sort((a, b) => a.seq - b.seq)) {
        if (seq <= next) next = Math.max(next, seq + data);
      }
      t.send({ flags: "A", seq: 1, ack: next, win: random.pick([0, 0, 1, 10, 500, 1000, 3000, 20_000]) });
      t.advance(random.below(300));
    }
    t.expectEvents();
  });

  test("of one byte each make no flood of segments", () => {
    const t = trace().established({ mss: MSS });
    t.write(1, 10 * MSS);
    t.lan.all();
    t.send({ flags: "A", seq: 1, ack: at(10), win: 0 });
    t.write(at(10), 10 * MSS);
    let count = 0;
    for (let update = 0; update < 1000; update++) {
      t.send({ flags: "A", seq: 1, ack: at(10), win: update % 2 });
      t.advance(1);
      count += t.take().length;
    }
    // A probe now and then.
    expect(count).toBeLessThan(20);
  });
});

describe("a SYN flood", () => {
  test("leaves the other flows alone, and what it takes is bounded", () => {
    const lan = new Lan({ tcp: { maximumHalfOpen: 100 } });
    const honest = new Peer(lan, { port: 1 }).established();
    let sequence = 1;
    for (let count = 0; count < 5000; count++) {
      const flood = new Peer(lan, { port: 2 + (count % 60_000), stackPort: 81 });
      flood.send({ flags: "S", mss: 1460, wscale: 7, sackOK: true, ts: [undefined, undefined] });
      // Every other one is answered by its owner at once.
      if (count % 2 === 0) flood.accept();
      if (count % 500 === 0) {
        honest.send({ flags: "A", seq: sequence, ack: 1, data: 10 });
        sequence += 10;
      }
    }
    expect(honest.log.receivedBytes).toBe(sequence - 1);
    expect(lan.stack.tcp.size).toBeLessThanOrEqual(101);
    lan.all();
    honest.write(1, 10);
    honest.expect({ flags: "PA", seq: 1, data: 10 });
    honest.send({ flags: "A", seq: sequence, ack: 11 });
    // Somebody honest still gets in, in the middle of it.
    new Peer(lan, { port: 60_001 }).established();
    lan.advance(600_000);
    expect(lan.stack.tcp.size).toBe(2);
  });

  test("of one port again and again makes one request", () => {
    const t = trace();
    for (let count = 0; count < 1000; count++) t.send({ flags: "S", mss: 1460 });
    expect(t.lan.requests.length).toBe(1);
    expect(t.lan.stack.tcp.size).toBe(1);
    t.expectNothing();
  });
});

describe("segments of one byte, out of order, by the thousand", () => {
  test("come out in order, once", () => {
    const t = trace().established({ sack: true });
    const count = 20_000;
    for (let index = 1; index < count; index += 2) t.inject({ flags: "A", seq: 1 + index, ack: 1, data: 1 });
    t.lan.flush();
    t.lan.all();
    for (let index = 0; index < count; index += 2) t.inject({ flags: "A", seq: 1 + index, ack: 1, data: 1 });
    t.lan.flush();
    // What did not fit the memory for it comes again.
    for (let round = 0; t.log.receivedBytes < count; round++) {
      expect(round).toBeLessThan(count);
      t.inject({ flags: "A", seq: 1 + t.log.receivedBytes, ack: 1, data: 1 });
    }
    t.lan.flush();
    expect(t.log.receivedBytes).toBe(count);
    expect(t.take().at(-1)).toMatchObject({ flags: "A", ack: 1 + count });
  });

  test("backwards as well", () => {
    const t = trace().established({ sack: true });
    const count = 10_000;
    for (let index = count - 1; index >= 0; index -= 1) t.inject({ flags: "A", seq: 1 + index, ack: 1, data: 1 });
    for (let round = 0; t.log.receivedBytes < count; round++) {
      expect(round).toBeLessThan(count);
      t.inject({ flags: "A", seq: 1 + t.log.receivedBytes, ack: 1, data: 1 });
    }
    expect(t.log.receivedBytes).toBe(count);
  });

  test("in random order, overlapping, are one stream", () => {
    const random = new Random(23);
    const t = trace().established({ sack: true });
    const count = 5000;
    for (let segment = 0; segment < 20_000; segment++) {
      const start = random.below(count);
      const length = 1 + random.below(Math.min(5, count - start));
      t.inject({ flags: "A", seq: 1 + start, ack: 1, data: length });
    }
    for (let index = 0; index < count; index += 100) t.inject({ flags: "A", seq: 1 + index, ack: 1, data: 100 });
    t.lan.flush();
    expect(t.log.receivedBytes).toBe(count);
  });

  test("of many connections stay within a budget, and end with them", () => {
    const lan = new Lan();
    const peers = Array.from({ length: 50 }, (_, index) => new Peer(lan, { port: 1 + index }).established());
    for (const peer of peers) {
      for (let index = 1; index < 2000; index += 2) peer.inject({ flags: "A", seq: 1 + index, ack: 1, data: 1 });
    }
    lan.flush();
    lan.all();
    for (const peer of peers) peer.send({ flags: "R", seq: 1 });
    expect(lan.stack.tcp.size).toBe(0);
    expect(lan.stack.tcp.reservedBytes).toBe(0);
  });
});

describe("options that make no sense", () => {
  test.each([
    ["a block of an odd length", [5, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]],
    ["a block that is cut off", [1, 1, 5, 10, 0, 0, 0, 0]],
    ["blocks beyond the header", [1, 1, 5, 34, 0, 0, 0, 0, 0, 0, 0, 0]],
    ["an MSS on a segment without SYN", [2, 4, 0, 1]],
    ["a window scale on a segment without SYN", [3, 3, 14, 0]],
    ["SACK-permitted on a segment without SYN", [4, 2, 0, 0]],
    ["an unknown one", [253, 4, 1, 2]],
    ["one of length 0", [253, 0, 1, 2]],
    ["one of length 1", [253, 1, 1, 2]],
    ["nothing but no-operations", Array(40).fill(1)],
    ["an end, and garbage behind it", [0, 5, 200, 7]],
  ])("%s: the segment's data is taken, and nothing else is", (_, bytes) => {
    const t = trace().established({ sack: true, wscale: 7, mss: MSS });
    t.send({ flags: "A", seq: 1, ack: 1, data: 10, options: Uint8Array.from(bytes) });
    t.expectEvents("data 10");
    t.write(1, 2 * MSS);
    t.expect({ flags: "A", seq: 1, data: MSS });
    t.expect({ flags: "PA", seq: at(1), data: MSS });
  });

  test("blocks of a peer that did not agree on them say nothing", () => {
    const t = tenInFlight();
    t.advance(100);
    for (let last = 2; last <= 10; last++) t.send({ flags: "A", seq: 1, ack: 1, sack: [[at(1), at(last)]] });
    for (const { seq } of t.take()) if (seq < at(10)) expect(seq).toBe(1);
    t.send({ flags: "A", seq: 1, ack: at(1) });
    finish(t, at(1), at(60));
  });
});

describe("floods of segments for nothing", () => {
  test("old, new and forged ones draw no more than an answer each", () => {
    const random = new Random(29);
    const t = trace().established({ sack: true });
    let answers = 0;
    for (let count = 0; count < 5000; count++) {
      t.send({
        flags: random.pick(["A", "PA", "R", "S", "SA", "", "F", "FPU", "SF", "AU"]),
        seq: 2 + random.below(1_000_000) - 500_000,
        ack: random.below(1_000_000) - 500_000,
        win: random.below(65_536),
      });
      const segments = t.take();
      expect(segments.length).toBeLessThanOrEqual(1);
      answers += segments.length;
      if (t.log.events.some((event) => event.startsWith("closed"))) break;
    }
    expect(answers).toBeLessThanOrEqual(5000);
    expect(t.log.events).toEqual([]);
  });
});
