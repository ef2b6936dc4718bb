import { describe, expect, test } from "vitest";
import { Random } from "../testing/random.ts";
import { type Peer, trace } from "../testing/trace.ts";

/** Sends `length` bytes from `seq` on in full segments, as one batch. */
function fill(t: Peer, seq: number, length: number, ack = 1): void {
  for (let at = 0; at < length; at += 1460) {
    t.inject({ flags: "A", seq: seq + at, ack, data: Math.min(1460, length - at) });
  }
  t.lan.flush();
}

describe("the window offered", () => {
  test("shrinks with what is not consumed, down to zero", () => {
    const t = trace().established({ consumes: false });
    fill(t, 1, 29_200);
    t.expect({ flags: "A", ack: 29_201, win: 65_535 - 29_200 });
    fill(t, 29_201, 65_535 - 29_200);
    t.expect({ flags: "A", ack: 65_536, win: 0 });
    expect(t.log.receivedBytes).toBe(65_535);
  });

  test("when it is zero, takes no byte and answers each probe", () => {
    const t = trace().established({ consumes: false });
    fill(t, 1, 65_535);
    t.expect({ flags: "A", ack: 65_536, win: 0 });
    for (let probe = 0; probe < 3; probe++) {
      t.advance(1000);
      t.send({ flags: "A", seq: 65_536, ack: 1, data: 1 });
      t.expect({ flags: "A", ack: 65_536, win: 0 });
      t.send({ flags: "A", seq: 65_535, ack: 1 });
      t.expect({ flags: "A", ack: 65_536, win: 0 });
    }
    expect(t.log.receivedBytes).toBe(65_535);
  });

  test("when it is zero, does not take the peer's probes for duplicate acknowledgments", () => {
    const t = trace().established({ consumes: false });
    fill(t, 1, 65_535);
    t.write(1, 1000);
    t.lan.all();
    for (let probe = 0; probe < 5; probe++) {
      t.send({ flags: "A", seq: 65_536, ack: 1, data: 1 });
      t.expect({ flags: "A", seq: 1001, ack: 65_536, win: 0 });
    }
    t.expectNothing();
    expect(t.lan.stack.statistics.tcpFastRetransmissions).toBe(0);
  });

  test("when it is zero, still takes acknowledgments, a reset and a FIN", () => {
    for (const wscale of [undefined, 7]) {
      const t = trace().established({ consumes: false, ...(wscale === undefined ? {} : { wscale }) });
      fill(t, 1, 65_535);
      t.expect({ flags: "A", ack: 65_536, win: 0 });
      t.log.take();
      t.write(1, 100);
      t.expect({ flags: "PA", seq: 1, win: 0, data: 100 });
      t.send({ flags: "A", seq: 65_536, ack: 101 });
      expect(t.flow.sendQueued).toBe(0);
      t.send({ flags: "FA", seq: 65_536, ack: 101 });
      t.expectEvents("end");
      t.expect({ flags: "A", seq: 101, ack: 65_537, win: 0 });
      // Nothing of this side is held back by the closed window.
      t.write(101, 100);
      t.expect({ flags: "PA", seq: 101, ack: 65_537, win: 0, data: 100 });
      t.send({ flags: "A", seq: 65_537, ack: 201 });
      expect(t.flow.sendQueued).toBe(0);
      t.send({ flags: "R", seq: 65_537 });
      t.expectEvents("closed reset");
    }
  });

  test("is told once it has opened by two segments, and not before", () => {
    const t = trace().established({ consumes: false });
    fill(t, 1, 65_535);
    t.expect({ flags: "A", win: 0 });
    t.flow.consumed(2918);
    t.lan.flush();
    t.expectNothing();
    t.flow.consumed(1);
    t.lan.flush();
    t.expect({ flags: "A", seq: 1, ack: 65_536, win: 2920 });
    t.expectNothing();
  });

  test("is not told while the peer has more than half of it left", () => {
    const t = trace().established({ consumes: false });
    fill(t, 1, 29_200);
    t.expect({ flags: "A" });
    t.flow.consumed(29_200);
    t.lan.flush();
    t.expectNothing();
    t.send({ flags: "A", seq: 29_201, ack: 1, data: 1460 });
    t.advance(40);
    t.expect({ flags: "A", win: 65_536 - 1460 });
  });

  test("does not open in small steps when the owner consumes in small steps", () => {
    const t = trace().established({ consumes: false });
    fill(t, 1, 65_535);
    t.expect({ flags: "A", win: 0 });
    let updates = 0;
    for (let byte = 0; byte < 29_200; byte += 10) {
      t.flow.consumed(10);
      t.lan.flush();
      updates += t.lan.all().length;
    }
    expect(updates).toBe(10);
  });

  test("never takes back what was offered while the owner consumes", () => {
    for (const wscale of [undefined, 7]) {
      const random = new Random(3);
      const t = trace().established(wscale === undefined ? {} : { wscale });
      let seq = 1;
      let edge = 65_536;
      for (let round = 0; round < 500; round++) {
        const length = 1 + random.below(1460);
        t.send({ flags: "A", seq, ack: 1, data: length });
        seq += length;
        if (random.oneIn(3)) t.advance(40);
        for (const frame of t.lan.all()) {
          if (frame.kind !== "tcp") continue;
          const next = ((frame.acknowledgment - t.isn) | 0) + (frame.window << (wscale ?? 0));
          expect(next).toBeGreaterThanOrEqual(edge);
          edge = next;
        }
      }
    }
  });

  test("never promises more than there is room for, however small the segments", () => {
    for (const wscale of [undefined, 7]) {
      for (const size of [64, 127, 128, 1460]) {
        const t = trace().established({ consumes: false, ...(wscale === undefined ? {} : { wscale }) });
        let seq = 1;
        let taken = 0;
        for (let count = 0; count < 70_000 / size; count++) {
          t.send({ flags: "A", seq, ack: 1, data: size });
          seq = 1 + t.log.receivedBytes;
          // A duplicate draws an acknowledgment, with the window as it is, at once.
          t.send({ flags: "A", seq: seq - 1, ack: 1 });
          for (const frame of t.lan.all()) {
            if (frame.kind !== "tcp") continue;
            taken = ((frame.acknowledgment - t.isn) | 0) - 1;
            expect(taken + (frame.window << (wscale ?? 0))).toBeLessThanOrEqual(65_536);
          }
        }
        expect(t.log.receivedBytes).toBeLessThanOrEqual(65_536);
        expect(taken).toBeGreaterThanOrEqual(65_535 - 127);
      }
    }
  });

  test("is kept to the byte when the field can no longer say all of it", () => {
    const t = trace().established({ wscale: 7, consumes: false });
    fill(t, 1, 100);
    t.advance(40);
    // 65,535 bytes were offered; 511 units of 128 bytes are less than what is left of them.
    t.expect({ flags: "A", ack: 101, win: 511 });
    fill(t, 101, 65_435);
    t.expect({ flags: "A", ack: 65_536, win: 0 });
    expect(t.log.receivedBytes).toBe(65_535);
  });

  test("does not grow after the peer's FIN", () => {
    const t = trace().established({ wscale: 7 });
    fill(t, 1, 43_800);
    t.log.consumes = false;
    fill(t, 43_801, 29_200);
    t.flow.shutdown();
    t.lan.flush();
    t.send({ flags: "FA", seq: 73_001, ack: 2 });
    expect(t.stateName).toBe("TIME-WAIT");
    t.flow.consumed(29_200);
    expect(t.lan.stack.tcp.reservedBytes).toBe(0);
  });

  test("grows with use when the owner keeps up, within the budget, and gives it back", () => {
    const t = trace({ tcp: { receiveRing: 4096 } }).established({ wscale: 7 });
    const before = t.lan.stack.tcp.reservedBytes;
    let seq = 1;
    for (let round = 0; round < 700; round++) {
      fill(t, seq, 14_600);
      seq += 14_600;
    }
    const [last] = t.lan.all().slice(-1);
    expect(last.kind === "tcp" && last.window << 7).toBeGreaterThan(4 * 1024 * 1024 - 65_536);
    expect(last.kind === "tcp" && last.window << 7).toBeLessThanOrEqual(4 * 1024 * 1024);
    expect(t.lan.stack.tcp.reservedBytes - before).toBe(4 * 1024 * 1024 - 65_536);
    t.flow.abort();
    expect(t.lan.stack.tcp.reservedBytes).toBe(0);
  });

  test("does not grow beyond what the field can say without scaling, nor for an owner that lags", () => {
    const unscaled = trace().established();
    const lagging = trace().established({ wscale: 7, consumes: false });
    for (let seq = 1; seq < 1_000_000; seq += 14_600) {
      fill(unscaled, seq, 14_600);
      fill(lagging, seq, 14_600);
      if (seq > 30_000) lagging.flow.consumed(14_600);
      lagging.lan.flush();
    }
    expect(lagging.log.receivedBytes).toBeGreaterThan(1_000_000);
    expect(unscaled.lan.stack.tcp.reservedBytes).toBe(lagging.lan.stack.tcp.reservedBytes);
    expect(unscaled.lan.stack.tcp.reservedBytes).toBe(2 * (65_536 - 16_384));
  });

  test("is small when the budget is spent", () => {
    const t = trace({ tcp: { bufferBudget: 1000 } });
    t.send({ flags: "S", mss: 1460, wscale: 7 });
    t.accept();
    t.expect({ flags: "SA", win: 16_384 });
    t.send({ flags: "A", seq: 1, ack: 1 });
    expect(t.flow.sendRoom).toBe(16_384);
    expect(t.lan.stack.tcp.reservedBytes).toBe(0);
  });
});
