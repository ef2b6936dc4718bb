import { describe, expect, test } from "vitest";
import { Random } from "../testing/random.ts";
import { trace } from "../testing/trace.ts";

describe("data in order", () => {
  test("is handed over in place, and acknowledged after 40 ms when it is little", () => {
    const t = trace().established();
    t.send({ flags: "PA", seq: 1, ack: 1, data: 1 });
    t.expectEvents("data 1");
    t.advance(39);
    t.expectNothing();
    t.advance(1);
    t.expect({ flags: "A", seq: 1, ack: 2 });
    t.advance(10_000);
    t.expectNothing();
  });

  test("is acknowledged at once for every second full segment", () => {
    const t = trace().established();
    t.send({ flags: "A", seq: 1, ack: 1, data: 1460 });
    t.expectNothing();
    t.send({ flags: "A", seq: 1461, ack: 1, data: 1460 });
    t.expect({ flags: "A", ack: 2921 });
    t.send({ flags: "A", seq: 2921, ack: 1, data: 1460 });
    t.expectNothing();
    t.advance(40);
    t.expect({ flags: "A", ack: 4381 });
  });

  test("is acknowledged once for a whole batch", () => {
    const t = trace().established();
    for (let index = 0; index < 20; index++) t.inject({ flags: "A", seq: 1 + index * 1460, ack: 1, data: 1460 });
    t.lan.flush();
    t.expect({ flags: "A", ack: 1 + 20 * 1460 });
    t.expectNothing();
    expect(t.log.receivedBytes).toBe(20 * 1460);
  });

  test("is acknowledged by data that leaves anyway", () => {
    const t = trace().established();
    for (const seq of [1, 1001, 2001, 3001]) t.inject({ flags: "A", seq, ack: 1, data: 1000 });
    t.write(1, 1);
    t.expect({ flags: "PA", seq: 1, ack: 4001, data: 1 });
    t.advance(60);
    t.expectNothing();
  });

  test("stops being handed over when its owner ends the connection", () => {
    const t = trace({}, { reactions: { data: (flow) => flow.abort() } }).established();
    t.inject({ flags: "A", seq: 1, ack: 1, data: 10 });
    t.inject({ flags: "A", seq: 11, ack: 1, data: 10 });
    t.expectEvents("data 10", "closed aborted");
    t.expect({ flags: "RA", seq: 1, ack: 11 });
    t.expect({ flags: "R", seq: 1 });
    t.lan.flush();
    t.advance(1000);
    t.expectNothing();
  });

  test("may arrive with PSH and URG set", () => {
    const t = trace().established();
    t.send({ flags: "PAU", seq: 1, ack: 1, data: 10 });
    t.expectEvents("data 10");
  });

  test("is dropped without ACK", () => {
    const t = trace().established();
    t.send({ flags: "", seq: 1, data: 10 });
    t.send({ flags: "F", seq: 1 });
    t.expectEvents();
    t.advance(1000);
    t.expectNothing();
  });

  test("with a wrong checksum or data offset is dropped and counted", () => {
    const t = trace().established();
    t.send({ flags: "A", seq: 1, ack: 1, data: 10, checksum: 1 });
    expect(t.lan.stack.statistics.dropChecksum).toBe(1);
    t.send({ flags: "A", seq: 1, ack: 1, data: 10, headerLength: 16 });
    t.send({ flags: "A", seq: 1, ack: 1, data: 10, headerLength: 32 });
    expect(t.lan.stack.statistics.dropMalformed).toBe(2);
    t.expectEvents();
    t.advance(1000);
    t.expectNothing();
  });
});

describe("data out of order", () => {
  test("draws a duplicate acknowledgment at once, and is handed over when the gap is filled", () => {
    const t = trace().established();
    t.send({ flags: "A", seq: 101, ack: 1, data: 100 });
    t.expect({ flags: "A", ack: 1 });
    t.send({ flags: "A", seq: 301, ack: 1, data: 100 });
    t.expect({ flags: "A", ack: 1 });
    t.expectEvents();
    t.send({ flags: "A", seq: 1, ack: 1, data: 100 });
    t.expectEvents("data 100", "data 100");
    t.expect({ flags: "A", ack: 201 });
    t.send({ flags: "A", seq: 201, ack: 1, data: 100 });
    t.expectEvents("data 100", "data 100");
    t.expect({ flags: "A", ack: 401 });
    expect(t.lan.stack.statistics.tcpOutOfOrder).toBe(2);
  });

  test("that overlaps is handed over once", () => {
    const t = trace().established();
    t.send({ flags: "A", seq: 51, ack: 1, data: 100 });
    t.send({ flags: "A", seq: 101, ack: 1, data: 100 });
    t.send({ flags: "A", seq: 41, ack: 1, data: 200 });
    t.send({ flags: "A", seq: 1, ack: 1, data: 60 });
    expect(t.log.receivedBytes).toBe(240);
  });

  test("has each segment acknowledged at once, also within a batch, and then what the gap's end brings", () => {
    const t = trace().established();
    for (let index = 9; index >= 0; index--) t.inject({ flags: "A", seq: 1 + index * 100, ack: 1, data: 100 });
    t.lan.flush();
    // Ahead of the gap (RFC 5681, 4.2: a duplicate for each), and the whole.
    for (let index = 9; index >= 1; index--) t.expect({ flags: "A", ack: 1 });
    t.expect({ flags: "A", ack: 1001 });
    t.expectNothing();
    expect(t.log.receivedBytes).toBe(1000);
  });

  test("stops being handed over when its owner ends the connection", () => {
    const t = trace({}, { reactions: { data: (flow) => flow.abort() } }).established();
    t.send({ flags: "A", seq: 11, ack: 1, data: 10 });
    t.expect({ flags: "A", ack: 1 });
    t.send({ flags: "A", seq: 1, ack: 1, data: 10 });
    t.expectEvents("data 10", "closed aborted");
    t.expect({ flags: "RA", ack: 11 });
    t.expectNothing();
  });

  test("in any order and with any overlap makes the same stream", () => {
    for (let seed = 0; seed < 30; seed++) {
      const random = new Random(seed);
      const t = trace().established();
      const pieces: [number, number][] = [];
      for (let at = 0; at < 30_000; ) {
        const length = 1 + random.below(1460);
        pieces.push([at, Math.min(length, 30_000 - at)]);
        at += Math.max(1, length - random.below(200));
      }
      for (let index = pieces.length - 1; index > 0; index--) {
        const other = random.below(index + 1);
        [pieces[index], pieces[other]] = [pieces[other], pieces[index]];
      }
      for (const [at, length] of pieces) t.inject({ flags: "A", seq: 1 + at, ack: 1, data: length });
      t.lan.flush();
      const last = t.lan.all().at(-1);
      expect(last).toMatchObject({ kind: "tcp", flags: "A", acknowledgment: (t.isn + 30_001) | 0 });
      expect(t.log.receivedBytes).toBe(30_000);
    }
  });
});

describe("a segment that is not new", () => {
  test("as a duplicate is acknowledged at once and not handed over", () => {
    const t = trace().established();
    t.send({ flags: "A", seq: 1, ack: 1, data: 100 });
    t.expectEvents("data 100");
    t.send({ flags: "A", seq: 1, ack: 1, data: 100 });
    t.expect({ flags: "A", seq: 1, ack: 101 });
    t.expectEvents();
  });

  test("in part is handed over as far as it is new", () => {
    const t = trace().established();
    t.send({ flags: "A", seq: 1, ack: 1, data: 100 });
    t.send({ flags: "A", seq: 51, ack: 1, data: 100 });
    t.expectEvents("data 100", "data 50");
    t.expect({ flags: "A", ack: 151 });
  });

  test("as a keep-alive is acknowledged", () => {
    const t = trace().established();
    t.send({ flags: "A", seq: 0, ack: 1 });
    t.expect({ flags: "A", seq: 1, ack: 1 });
    t.send({ flags: "A", seq: 0, ack: 1, data: Uint8Array.of(0) });
    t.expect({ flags: "A", seq: 1, ack: 1 });
    t.expectEvents();
  });

  test("still brings its acknowledgment", () => {
    const t = trace().established();
    t.send({ flags: "A", seq: 1, ack: 1, data: 100 });
    t.write(1, 100);
    t.expect({ flags: "PA", seq: 1, ack: 101, data: 100 });
    t.send({ flags: "A", seq: 1, ack: 101, data: 100 });
    t.expect({ flags: "A", seq: 101, ack: 101 });
    expect(t.flow.sendQueued).toBe(0);
  });
});

describe("a segment beyond the window", () => {
  test("is answered with an acknowledgment and dropped", () => {
    const t = trace().established({ consumes: false });
    t.send({ flags: "A", seq: 65_537, ack: 1, data: 1 });
    t.expect({ flags: "A", seq: 1, ack: 1 });
    t.send({ flags: "A", seq: 1_000_000, ack: 1, data: 1 });
    t.expect({ flags: "A", seq: 1, ack: 1 });
    t.expectEvents();
  });

  test("in part is taken as far as it fits, without its FIN", () => {
    const t = trace().established({ consumes: false });
    for (let index = 0; index < 44; index++) t.inject({ flags: "A", seq: 1 + index * 1460, ack: 1, data: 1460 });
    t.lan.flush();
    t.expect({ flags: "A", ack: 64_241, win: 65_535 - 64_240 });
    t.log.take();
    t.send({ flags: "FA", seq: 64_241, ack: 1, data: 1460 });
    t.expectEvents("data 1295");
    t.expect({ flags: "A", ack: 65_536, win: 0 });
    expect(t.stateName).toBe("ESTABLISHED");
  });

  test("does not make memory of its acknowledgment", () => {
    const t = trace().established();
    t.write(1, 100);
    t.expect({ flags: "PA", data: 100 });
    t.send({ flags: "A", seq: 1_000_000, ack: 101 });
    t.expect({ flags: "A", ack: 1 });
    expect(t.flow.sendQueued).toBe(100);
  });
});
