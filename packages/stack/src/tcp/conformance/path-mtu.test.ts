import { describe, expect, test } from "vitest";
import { parseMac } from "../../address.ts";
import type { ParsedTcp } from "../../testing/frames.ts";
import { GUEST, Lan } from "../../testing/lan.ts";
import { Peer, trace } from "../../testing/trace.ts";

const FRAGMENTATION_NEEDED = 4;
const MINUTE = 60_000;

function sizeOf(segment: ParsedTcp): number {
  return 20 + segment.ipPayload.length;
}

interface Path {
  /** The largest packet that gets through. */
  readonly mtu: number;
  /** Whether what does not is reported. */
  readonly reports: boolean;
}

/**
 * Has the flow send `length` bytes of its stream from `next` on, along a path with a round trip of 100 ms.
 *
 * @returns the sizes of the packets.
 */
function transfer(t: Peer, next: number, length: number, path: Path): number[] {
  expect(t.write(next, length)).toBe(length);
  const sizes: number[] = [];
  const received = new Map<number, number>();
  const start = t.lan.now;
  while (t.flow.sendQueued > 0) {
    if (t.lan.now - start > 10 * MINUTE) throw new Error("the transfer does not come to an end");
    const lost: ParsedTcp[] = [];
    for (const frame of t.lan.all()) {
      if (frame.kind !== "tcp") throw new Error("not a segment");
      sizes.push(sizeOf(frame));
      if (sizeOf(frame) > path.mtu) lost.push(frame);
      else received.set((frame.sequence - (t.stackIsn ?? 0)) | 0, frame.payload.length);
    }
    t.advance(100);
    for (const [seq, length] of [...received].sort(([a], [b]) => a - b)) {
      if (seq <= next) next = Math.max(next, seq + length);
    }
    if (path.reports) for (const segment of lost) t.unreachable(FRAGMENTATION_NEEDED, segment, path.mtu);
    t.send({ flags: "A", seq: 1, ack: next });
  }
  t.lan.all();
  return sizes;
}

/** A connection with ten full segments in flight. */
function tenInFlight(): { t: Peer; segments: ParsedTcp[] } {
  const t = trace().established({ wscale: 7, rtt: 100 });
  t.write(1, 14_600);
  const segments = t.lan.all().filter((frame) => frame.kind === "tcp");
  expect(segments.length).toBe(10);
  return { t, segments };
}

describe("RFC 1191: a path with a smaller MTU", () => {
  test("what was in flight is sent again at once in segments that fit, without a timeout (6.4)", () => {
    const { t, segments } = tenInFlight();
    t.unreachable(FRAGMENTATION_NEEDED, segments[0], 1000);
    let end = 1;
    for (const { seq, data } of t.take()) {
      expect(seq).toBe(end);
      expect(data).toBeLessThanOrEqual(960);
      end += data;
    }
    expect(end).toBeGreaterThan(1 + 960);
    t.advance(100);
    t.send({ flags: "A", seq: 1, ack: end });
    for (const { seq, data } of t.take()) end = Math.max(end, seq + data);
    expect(end).toBe(14_601);
    expect(t.lan.stack.statistics.tcpTimeouts).toBe(0);
  });

  test.each([
    ["plain", {}],
    ["selective", { sack: true }],
    ["with timestamps", { ts: true, sack: true }],
  ])("a transfer goes through in packets of that size (%s)", (_, options) => {
    const t = trace().established({ wscale: 7, rtt: 100, ...options });
    const sizes = transfer(t, 1, 60_000, { mtu: 1000, reports: true });
    expect(sizes.filter((size) => size > 1000).length).toBeLessThanOrEqual(12);
    expect(Math.max(...sizes.slice(-40))).toBe(1000);
    expect(t.lan.stack.statistics.tcpTimeouts).toBe(0);
    expect(Math.max(...transfer(t, 60_001, 20_000, { mtu: 1000, reports: true }))).toBe(1000);
  });

  test("the path may shrink more than once", () => {
    const t = trace().established({ wscale: 7, rtt: 100 });
    let from = 1;
    for (const mtu of [1400, 1280, 1000, 800, 576]) {
      const sizes = transfer(t, from, 20_000, { mtu, reports: true });
      // Later parts of what was cut are as large as they can be, too.
      expect(sizes.filter((size) => size > mtu).length).toBeLessThanOrEqual(40);
      from += 20_000;
      expect(Math.max(...transfer(t, from, 20_000, { mtu, reports: true }))).toBe(mtu);
      from += 20_000;
    }
    expect(t.lan.stack.statistics.tcpTimeouts).toBe(0);
  });

  test("is not believed below 576 bytes (RFC 9293, 3.7.1: 536 of data)", () => {
    for (const mtu of [68, 100, 296, 575]) {
      const { t, segments } = tenInFlight();
      t.unreachable(FRAGMENTATION_NEEDED, segments[0], mtu);
      const again = t.take();
      expect(again[0]).toMatchObject({ seq: 1, data: 536 });
    }
  });

  test("of a router that does not tell is guessed (5)", () => {
    const { t, segments } = tenInFlight();
    t.unreachable(FRAGMENTATION_NEEDED, segments[0], 0);
    const [first] = t.take();
    expect(first.seq).toBe(1);
    expect(first.data).toBeLessThan(1460);
    expect(first.data).toBeGreaterThanOrEqual(536);
  });

  test("one that is not smaller changes nothing", () => {
    for (const mtu of [1500, 1501, 9000, 65_535]) {
      const { t, segments } = tenInFlight();
      t.unreachable(FRAGMENTATION_NEEDED, segments[0], mtu);
      t.expectNothing();
      t.send({ flags: "A", seq: 1, ack: 14_601 });
      t.write(14_601, 1460);
      t.expect({ flags: "PA", data: 1460 });
    }
  });
});

describe("RFC 5927, 7: forged reports", () => {
  function forged(change: (segment: ParsedTcp) => ParsedTcp): void {
    const { t, segments } = tenInFlight();
    t.unreachable(FRAGMENTATION_NEEDED, change(segments[0]), 600);
    t.expectNothing();
    t.send({ flags: "A", seq: 1, ack: 14_601 });
    t.write(14_601, 1460);
    t.expect({ flags: "PA", seq: 14_601, data: 1460 });
  }

  function withSequence(segment: ParsedTcp, sequence: number): ParsedTcp {
    const ipPayload = segment.ipPayload.slice();
    new DataView(ipPayload.buffer).setInt32(4, sequence);
    return { ...segment, ipPayload };
  }

  test.each([-1_000_000, -1, 14_600, 14_601, 1_000_000])(
    "about a sequence number %i behind what is in flight are ignored",
    (by) => {
      forged((segment) => withSequence(segment, (segment.sequence + by) | 0));
    },
  );

  test("about another port are ignored", () => {
    forged((segment) => {
      const ipPayload = segment.ipPayload.slice();
      ipPayload[3]++;
      return { ...segment, ipPayload };
    });
  });

  test("about what was acknowledged already are ignored", () => {
    const { t, segments } = tenInFlight();
    t.send({ flags: "A", seq: 1, ack: 14_601 });
    t.unreachable(FRAGMENTATION_NEEDED, segments[9], 600);
    t.write(14_601, 1460);
    t.expect({ flags: "PA", seq: 14_601, data: 1460 });
  });

  test("about the last segment in flight are believed", () => {
    const { t, segments } = tenInFlight();
    t.unreachable(FRAGMENTATION_NEEDED, segments[9], 1000);
    expect(t.take()[0].data).toBe(960);
  });
});

describe("RFC 1191, 6.3: what was learned is kept for ten minutes", () => {
  function learned(): Lan {
    const t = trace().established({ rtt: 100 });
    transfer(t, 1, 20_000, { mtu: 1000, reports: true });
    return t.lan;
  }

  function firstSegment(peer: Peer): number {
    peer.established();
    peer.write(1, 5000);
    const [{ data }] = peer.take();
    return data;
  }

  test("for the next connection to the same address", () => {
    const lan = learned();
    const next = new Peer(lan, { port: 2 });
    next.send({ flags: "S", mss: 1460 });
    next.accept();
    // What this side can receive is another matter (RFC 9293, 3.7.1).
    next.expect({ flags: "SA", mss: 1460 });
    next.send({ flags: "A", seq: 1, ack: 1 });
    next.write(1, 5000);
    next.expect({ flags: "A", seq: 1, data: 960 });
  });

  test("not for another address", () => {
    const lan = learned();
    expect(firstSegment(new Peer(lan, { address: GUEST + 1, mac: parseMac("52:54:00:00:00:03") }))).toBe(1460);
  });

  test("after nine minutes, but not after ten", () => {
    const lan = learned();
    lan.advance(9 * MINUTE - 10_000);
    lan.all();
    expect(firstSegment(new Peer(lan, { port: 2 }))).toBe(960);
    lan.advance(MINUTE + 20_000);
    lan.all();
    expect(firstSegment(new Peer(lan, { port: 3 }))).toBe(1460);
  });

  test("for another connection that is open, no later than its own first report", () => {
    const lan = new Lan();
    const [first, second] = [1, 2].map((port) => new Peer(lan, { port }).established({ rtt: 100 }));
    transfer(first, 1, 20_000, { mtu: 1000, reports: true });
    const sizes = transfer(second, 1, 20_000, { mtu: 1000, reports: true });
    expect(sizes.filter((size) => size > 1000).length).toBeLessThanOrEqual(10);
    expect(lan.stack.statistics.tcpTimeouts).toBe(0);
  });
});

describe("RFC 8899 and RFC 4821: a path that swallows large packets without a word", () => {
  test.each([
    ["plain", {}],
    ["selective", { sack: true }],
    ["with timestamps", { ts: true, sack: true }],
  ])("after some timeouts of full segments smaller ones are tried, and get through (%s)", (_, options) => {
    const t = trace().established({ wscale: 7, rtt: 100, ...options });
    const sizes = transfer(t, 1, 60_000, { mtu: 1000, reports: false });
    expect(sizes.findIndex((size) => size <= 1000)).toBeGreaterThan(0);
    const start = t.lan.now;
    const later = transfer(t, 60_001, 40_000, { mtu: 1000, reports: false });
    // Now and then a larger one may be tried, but not at the price of a timeout each.
    expect(later.filter((size) => size > 1000).length).toBeLessThanOrEqual(12);
    expect(t.lan.now - start).toBeLessThan(30_000);
  });

  test("not after the first timeout, which may be of anything", () => {
    const t = trace().established({ rtt: 100 });
    t.write(1, 14_600);
    t.lan.all();
    const sizes: number[] = [];
    while (t.lan.stack.statistics.tcpTimeouts < 4) {
      t.advance(10);
      for (const { seq, data } of t.take()) if (seq === 1) sizes.push(data);
    }
    expect(sizes[0]).toBe(1460);
    expect(sizes.some((size) => size < 1460)).toBe(true);
  });

  test("a segment that is small already is not made smaller", () => {
    const t = trace().established({ rtt: 100 });
    t.write(1, 400);
    t.lan.all();
    t.advance(20_000);
    const again = t.take();
    expect(again.length).toBeGreaterThan(3);
    for (const { seq, data } of again) expect({ seq, data }).toEqual({ seq: 1, data: 400 });
  });

  test("the peer's MSS, if it is smaller, is all that counts", () => {
    const t = trace().established({ mss: 536, rtt: 100 });
    expect(Math.max(...transfer(t, 1, 20_000, { mtu: 1000, reports: false }))).toBe(576);
    expect(t.lan.stack.statistics.tcpTimeouts).toBe(0);
  });
});
