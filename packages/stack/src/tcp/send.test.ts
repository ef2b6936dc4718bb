import { describe, expect, test } from "vitest";
import { pattern } from "../testing/random.ts";
import { type Peer, trace } from "../testing/trace.ts";

/** Takes `count` full segments from `seq` on. */
function expectFull(t: Peer, seq: number, count: number): void {
  for (let index = 0; index < count; index++) t.expect({ flags: "A", seq: seq + index * 1460, data: 1460 });
}

describe("sending", () => {
  test("copies what it takes and sends it in segments, the last with PSH", () => {
    const t = trace().established();
    const bytes = pattern(0, 4000);
    expect(t.flow.send(bytes, 0, 4000)).toBe(4000);
    bytes.fill(0);
    t.lan.flush();
    expectFull(t, 1, 2);
    t.expect({ flags: "PA", seq: 2921, ack: 1, data: 1080 });
    expect(t.flow.sendQueued).toBe(4000);
    t.send({ flags: "A", seq: 1, ack: 4001 });
    expect(t.flow.sendQueued).toBe(0);
    t.advance(100_000);
    t.expectNothing();
  });

  test("waits for no more data: small writes go out at once", () => {
    const t = trace().established();
    t.write(1, 1);
    t.expect({ flags: "PA", seq: 1, data: 1 });
    t.write(2, 1);
    t.expect({ flags: "PA", seq: 2, data: 1 });
  });

  test("begins with ten segments and doubles with each round trip", () => {
    const t = trace().established({ win: 65_535, wscale: 7 });
    t.write(1, 65_536);
    expectFull(t, 1, 10);
    t.expectNothing();
    t.send({ flags: "A", seq: 1, ack: 1 + 2 * 1460 });
    expectFull(t, 1 + 10 * 1460, 4);
    t.expectNothing();
  });

  test("keeps to the peer's window", () => {
    const t = trace().established({ win: 3000 });
    t.write(1, 10_000);
    expectFull(t, 1, 2);
    t.expectNothing();
    t.send({ flags: "A", seq: 1, ack: 2921, win: 1460 });
    expectFull(t, 2921, 1);
    t.expectNothing();
  });

  test("asks its owner for more when half of the buffer is free again, after it took less than was given", () => {
    // No more than the first buffers, so that they do not grow.
    const t = trace({ tcp: { bufferBudget: 2 * (65_536 - 16_384) } }).established();
    expect(t.flow.sendRoom).toBe(65_536);
    expect(t.write(1, 70_000)).toBe(65_536);
    expect(t.flow.send(new Uint8Array(1), 0, 1)).toBe(0);
    expect(t.flow.sendRoom).toBe(0);
    for (let acked = 14_600; acked < 32_768; acked += 2920) t.send({ flags: "A", seq: 1, ack: 1 + acked });
    t.expectEvents();
    t.send({ flags: "A", seq: 1, ack: 1 + 32_768 });
    t.expectEvents("writable");
    t.send({ flags: "A", seq: 1, ack: 1 + 34_000 });
    t.expectEvents();
  });

  test("lets its buffer grow with use, within the budget, and gives it back", () => {
    const t = trace({ tcp: { receiveRing: 10_000 } }).established({ wscale: 14 });
    const before = t.lan.stack.tcp.reservedBytes;
    let written = 0;
    let sent = 0;
    for (let round = 0; round < 100; round++) {
      written += t.write(1 + written, t.flow.sendRoom + 1);
      for (const frame of t.lan.all()) if (frame.kind === "tcp") sent += frame.payload.length;
      t.send({ flags: "A", seq: 1, ack: 1 + sent });
    }
    expect(t.flow.sendRoom + t.flow.sendQueued).toBe(4 * 1024 * 1024);
    expect(t.lan.stack.tcp.reservedBytes - before).toBe(4 * 1024 * 1024 - 65_536);
    t.send({ flags: "R", seq: 1 });
    expect(t.lan.stack.tcp.reservedBytes).toBe(0);
    expect(t.flow.send(new Uint8Array(1), 0, 1)).toBe(0);
    expect(t.flow.sendRoom).toBe(0);
  });

  test("does not let its buffer grow beyond two congestion windows, which a peer's small window keeps small", () => {
    const t = trace().established({ win: 20_000 });
    let written = 0;
    let sent = 0;
    for (let round = 0; round < 400; round++) {
      written += t.write(1 + written, t.flow.sendRoom + 1);
      for (const frame of t.lan.all()) if (frame.kind === "tcp") sent += frame.payload.length;
      t.send({ flags: "A", seq: 1, ack: 1 + sent, win: 20_000 });
    }
    expect(sent).toBeGreaterThan(1_000_000);
    // A congestion window that is not used up stops growing at less than three times what is in flight.
    expect(t.flow.sendRoom + t.flow.sendQueued).toBeLessThanOrEqual(131_072);
  });

  test("does not let its buffer grow for an owner that was held back once, long ago", () => {
    const t = trace().established();
    expect(t.write(1, 70_000)).toBe(65_536);
    let written = 65_536;
    let sent = 0;
    for (let round = 0; sent < 600_000; round++) {
      expect(round).toBeLessThan(1000);
      if (t.flow.sendQueued === 0) written += t.write(1 + written, 10_000);
      for (const frame of t.lan.all()) if (frame.kind === "tcp") sent += frame.payload.length;
      t.send({ flags: "A", seq: 1, ack: 1 + sent });
    }
    expect(t.flow.sendRoom + t.flow.sendQueued).toBe(131_072);
  });

  test("is not counted against the window twice when an acknowledgment is older than the last", () => {
    const t = trace().established();
    t.write(1, 2920);
    expectFull(t, 1, 1);
    t.expect({ flags: "PA", data: 1460 });
    t.send({ flags: "A", seq: 1, ack: 2921 });
    t.send({ flags: "A", seq: 1, ack: 1461 });
    t.expectNothing();
    expect(t.flow.sendQueued).toBe(0);
  });

  test("takes the window of the newest segment, not of one that was overtaken", () => {
    const t = trace().established();
    t.send({ flags: "A", seq: 11, ack: 1, win: 3000, data: 10 });
    t.expect({ flags: "A", ack: 1 });
    t.send({ flags: "A", seq: 1, ack: 1, win: 60_000, data: 10 });
    t.expect({ flags: "A", ack: 21 });
    t.write(1, 5000);
    expectFull(t, 1, 2);
    t.expectNothing();
  });
});

describe("silly window avoidance", () => {
  test("waits until the window is worth a segment", () => {
    const t = trace().established();
    t.write(1, 14_600);
    expectFull(t, 1, 9);
    t.expect({ flags: "PA", data: 1460 });
    t.write(14_601, 10_000);
    t.send({ flags: "A", seq: 1, ack: 14_601, win: 1000 });
    t.expectNothing();
    t.send({ flags: "A", seq: 1, ack: 14_601, win: 1460 });
    t.expect({ flags: "A", seq: 14_601, data: 1460 });
    t.expectNothing();
  });

  test("sends what is left though it is small", () => {
    const t = trace().established();
    t.write(1, 1460);
    t.expect({ flags: "PA", data: 1460 });
    t.send({ flags: "A", seq: 1, ack: 1461, win: 10 });
    t.write(1461, 10);
    t.expect({ flags: "PA", seq: 1461, data: 10 });
  });

  test("fills half of the largest window that a peer with little memory ever offered", () => {
    const t = trace().established({ win: 1000 });
    t.write(1, 2000);
    t.expect({ flags: "A", seq: 1, data: 1000 });
    t.send({ flags: "A", seq: 1, ack: 1001, win: 500 });
    t.expect({ flags: "A", seq: 1001, data: 500 });
    t.send({ flags: "A", seq: 1, ack: 1501, win: 499 });
    t.expectNothing();
  });

  test("sends what fits after a time even when the window stays small", () => {
    const t = trace().established();
    t.write(1, 14_600);
    t.lan.all();
    t.send({ flags: "A", seq: 1, ack: 14_601, win: 1000 });
    t.write(14_601, 3000);
    t.expectNothing();
    t.advance(200);
    t.expect({ flags: "A", seq: 14_601, data: 1000 });
    t.send({ flags: "A", seq: 1, ack: 15_601, win: 1000 });
    t.advance(200);
    t.expect({ flags: "A", seq: 15_601, data: 1000 });
    t.send({ flags: "A", seq: 1, ack: 16_601, win: 1000 });
    t.expect({ flags: "PA", seq: 16_601, data: 1000 });
  });
});

describe("a closed window", () => {
  /** A connection whose peer took 1460 bytes and closed its window, with more waiting. */
  function closed(waiting = 5000): Peer {
    const t = trace().established();
    t.write(1, 1460);
    t.expect({ flags: "PA", data: 1460 });
    t.send({ flags: "A", seq: 1, ack: 1461, win: 0 });
    t.write(1461, waiting);
    t.expectNothing();
    return t;
  }

  test("is probed with one byte, with back-off up to a minute, for as long as the peer answers", () => {
    const t = closed();
    let wait = 200;
    for (let probe = 0; probe < 40; probe++) {
      t.advance(wait - 1);
      t.expectNothing();
      t.advance(1);
      t.expect({ flags: "A", seq: 1461, ack: 1, data: 1 });
      t.send({ flags: "A", seq: 1, ack: 1461, win: 0 });
      wait = Math.min(60_000, wait * 2);
    }
    t.expectEvents();
    t.send({ flags: "A", seq: 1, ack: 1461, win: 65_535 });
    expectFull(t, 1461, 3);
    t.expect({ flags: "PA", seq: 1461 + 3 * 1460, data: 620 });
    t.send({ flags: "A", seq: 1, ack: 6461 });
    expect(t.flow.sendQueued).toBe(0);
    t.advance(100_000);
    t.expectNothing();
  });

  test("leaves no back-off behind once it has opened", () => {
    const t = closed(10);
    for (let probe = 0; probe < 8; probe++) {
      while (t.lan.waiting === 0) t.advance(200);
      t.expect({ flags: "A", seq: 1461, data: 1 });
      t.send({ flags: "A", seq: 1, ack: 1461, win: 0 });
    }
    t.send({ flags: "A", seq: 1, ack: 1461, win: 1000 });
    t.expect({ flags: "PA", seq: 1461, data: 10 });
    t.advance(199);
    t.expectNothing();
    t.advance(1);
    t.expect({ flags: "PA", seq: 1461, data: 10 });
  });

  test("is given up when the peer does not answer fifteen probes", () => {
    const t = closed();
    for (let probe = 0; probe < 15; probe++) {
      while (t.lan.waiting === 0) t.advance(200);
      t.expect({ flags: "A", seq: 1461, data: 1 });
    }
    t.advance(60_000);
    t.expectEvents("closed timeout");
    expect(t.lan.stack.tcp.size).toBe(0);
  });

  test("that takes the byte of the probe opens with it", () => {
    const t = closed(2000);
    t.advance(200);
    t.expect({ flags: "A", seq: 1461, data: 1 });
    t.send({ flags: "A", seq: 1, ack: 1462, win: 65_535 });
    t.expect({ flags: "A", seq: 1462, data: 1460 });
    t.expect({ flags: "PA", seq: 2922, data: 539 });
  });

  test("that takes the byte of the probe and stays closed is probed with the next", () => {
    const t = closed(3);
    t.advance(200);
    t.expect({ flags: "A", seq: 1461, data: 1 });
    t.send({ flags: "A", seq: 1, ack: 1462, win: 0 });
    t.advance(60_000);
    t.expect({ flags: "A", seq: 1462, data: 1 });
    t.send({ flags: "A", seq: 1, ack: 1463, win: 0 });
    t.advance(60_000);
    const last = t.lan.all();
    expect(last.length).toBeGreaterThan(0);
    expect(last[0]).toMatchObject({ flags: "A" });
    t.send({ flags: "A", seq: 1, ack: 1464, win: 0 });
    expect(t.flow.sendQueued).toBe(0);
  });

  test("holds back a FIN, which is then the probe", () => {
    const t = trace().established();
    t.send({ flags: "A", seq: 1, ack: 1, win: 0 });
    t.flow.shutdown();
    t.lan.flush();
    t.expectNothing();
    t.advance(200);
    t.expect({ flags: "FA", seq: 1, ack: 1 });
    expect(t.stateName).toBe("FIN-WAIT-1");
    t.send({ flags: "A", seq: 1, ack: 1, win: 0 });
    t.advance(400);
    t.expect({ flags: "FA", seq: 1, ack: 1 });
    t.send({ flags: "A", seq: 1, ack: 2, win: 0 });
    expect(t.stateName).toBe("FIN-WAIT-2");
    t.advance(100_000);
    t.expectNothing();
  });

  test("from the first segment on is probed as well", () => {
    const t = trace().established({ win: 0 });
    t.write(1, 10);
    t.expectNothing();
    t.advance(200);
    t.expect({ flags: "A", seq: 1, data: 1 });
    t.send({ flags: "A", seq: 1, ack: 1, win: 1000 });
    t.expect({ flags: "PA", seq: 1, data: 10 });
  });

  test("has acknowledgments, and a reset, at the sequence number the peer is at", () => {
    const t = closed();
    t.advance(200);
    t.expect({ flags: "A", seq: 1461, data: 1 });
    t.send({ flags: "A", seq: 1, ack: 1461, win: 0, data: 10 });
    t.advance(40);
    t.expect({ flags: "A", seq: 1461, ack: 11 });
    t.flow.abort();
    t.expect({ flags: "RA", seq: 1461, ack: 11 });
  });

  test("stops being probed when there is nothing left to send", () => {
    const t = closed();
    t.flow.abort();
    t.expect({ flags: "RA" });
    t.advance(100_000);
    t.expectNothing();
  });

  test("with data in flight is first tried by retransmission", () => {
    const t = trace().established();
    t.write(1, 2920);
    expectFull(t, 1, 1);
    t.expect({ flags: "PA", data: 1460 });
    t.send({ flags: "A", seq: 1, ack: 1461, win: 0 });
    t.expectNothing();
    for (let round = 0; round < 30; round++) {
      t.advance(60_000);
      const probes = t.lan.all();
      expect(probes.length).toBeGreaterThan(0);
      t.send({ flags: "A", seq: 1, ack: 1461, win: 0 });
    }
    t.expectEvents();
    t.send({ flags: "A", seq: 1, ack: 1461, win: 65_535 });
    t.expect({ flags: "PA", seq: 1461, data: 1460 });
  });
});
