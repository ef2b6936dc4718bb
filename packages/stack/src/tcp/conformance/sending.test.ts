import { describe, expect, test } from "vitest";
import { Lan } from "../../testing/lan.ts";
import { pattern } from "../../testing/random.ts";
import { Peer, trace } from "../../testing/trace.ts";

/** Gives the flow bytes without letting the stack send. */
function queue(t: Peer, from: number, length: number): void {
  expect(t.flow.send(pattern(from - 1, length), 0, length)).toBe(length);
}

describe("tcp_cork_mss", () => {
  test("what is written in one turn leaves in full segments", () => {
    const t = trace().established({ mss: 500 });
    for (let from = 1; from < 1300; from += 100) queue(t, from, 100);
    t.lan.flush();
    t.expect({ flags: "A", seq: 1, data: 500 });
    t.expect({ flags: "A", seq: 501, data: 500 });
    t.expect({ flags: "PA", seq: 1001, data: 300 });
    t.expectNothing();
  });

  test("with the smallest pieces as well", () => {
    const t = trace().established({ mss: 500 });
    for (let from = 1; from <= 1000; from++) queue(t, from, 1);
    t.lan.flush();
    expect(t.take()).toMatchObject([
      { flags: "A", seq: 1, data: 500 },
      { flags: "PA", seq: 501, data: 500 },
    ]);
  });
});

describe("tcp_nagle", () => {
  test("a small segment waits while anything is unacknowledged, and is filled up", () => {
    const t = trace().established();
    t.flow.setNagle(true);
    t.write(1, 10);
    t.expect({ flags: "PA", seq: 1, data: 10 });
    t.write(11, 10);
    t.expectNothing();
    t.write(21, 1460);
    t.expect({ flags: "A", seq: 11, data: 1460 });
    t.expectNothing();
    t.send({ flags: "A", seq: 1, ack: 11 });
    t.expectNothing();
    t.send({ flags: "A", seq: 1, ack: 1471 });
    t.expect({ flags: "PA", seq: 1471, data: 10 });
  });

  test("full segments do not wait", () => {
    const t = trace().established();
    t.flow.setNagle(true);
    for (let from = 1; from < 5 * 1460; from += 1460) {
      t.write(from, 1460);
      t.expect({ flags: "PA", seq: from, data: 1460 });
    }
  });

  test("a small segment waits for the acknowledgment and no longer", () => {
    const t = trace().established();
    t.flow.setNagle(true);
    t.write(1, 10);
    t.expect({ flags: "PA", seq: 1, data: 10 });
    t.write(11, 10);
    t.write(21, 10);
    t.expectNothing();
    t.send({ flags: "A", seq: 1, ack: 11 });
    t.expect({ flags: "PA", seq: 11, data: 20 });
    t.send({ flags: "A", seq: 1, ack: 31 });
    t.write(31, 10);
    t.expect({ flags: "PA", seq: 31, data: 10 });
  });

  test("turned off, what waited leaves", () => {
    const t = trace().established();
    t.flow.setNagle(true);
    t.write(1, 10);
    t.expect({ flags: "PA", seq: 1, data: 10 });
    t.write(11, 10);
    t.expectNothing();
    t.flow.setNagle(false);
    t.lan.flush();
    t.expect({ flags: "PA", seq: 11, data: 10 });
  });

  test("is off at first", () => {
    const t = trace().established();
    for (let from = 1; from < 100; from += 10) {
      t.write(from, 10);
      t.expect({ flags: "PA", seq: from, data: 10 });
    }
  });

  test("holds back no retransmission", () => {
    const t = trace().established();
    t.flow.setNagle(true);
    t.write(1, 10);
    t.expect({ flags: "PA", seq: 1, data: 10 });
    t.write(11, 10);
    while (t.lan.waiting === 0) t.advance(100);
    expect(t.take()).toMatchObject([{ seq: 1, data: 10 }]);
    t.send({ flags: "A", seq: 1, ack: 11 });
    t.expect({ flags: "PA", seq: 11, data: 10 });
  });
});

describe("tcp_splitseg_mss", () => {
  test.each([
    [536, 2 * 536],
    [1000, 2001],
    [1460, 14_600],
    [88, 500],
  ])("with an MSS of %i, %i bytes leave in full segments, the last with PSH", (mss, length) => {
    const t = trace().established({ mss });
    t.write(1, length);
    for (let seq = 1; seq <= length; seq += mss) {
      const data = Math.min(mss, length - seq + 1);
      t.expect({ flags: seq + data > length ? "PA" : "A", seq, ack: 1, data });
    }
    t.expectNothing();
  });

  test("the options of each segment are at the expense of its data (RFC 6691)", () => {
    const t = trace().established({ mss: 1000, ts: true });
    t.write(1, 2500);
    t.expect({ flags: "A", seq: 1, data: 988 });
    t.expect({ flags: "A", seq: 989, data: 988 });
    t.expect({ flags: "PA", seq: 1977, data: 524 });
  });

  test("a segment that has waited for a larger window is split where the window ends", () => {
    const t = trace().established({ mss: 1000, win: 1500 });
    t.write(1, 3000);
    t.expect({ flags: "A", seq: 1, data: 1000 });
    t.expectNothing();
    t.send({ flags: "A", seq: 1, ack: 1001, win: 1500 });
    t.expect({ flags: "A", seq: 1001, data: 1000 });
    t.expectNothing();
    t.send({ flags: "A", seq: 1, ack: 2001, win: 1500 });
    t.expect({ flags: "PA", seq: 2001, data: 1000 });
  });
});

describe("tcp_should_piggyback", () => {
  test("an acknowledgment rides on the answer to the data", () => {
    const t = trace({}, { reactions: { data: (flow) => flow.send(pattern(0, 11), 0, 11) } }).established();
    t.send({ flags: "PA", seq: 1, ack: 1, data: 11 });
    t.expectEvents("data 11");
    t.expect({ flags: "PA", seq: 1, ack: 12, data: 11 });
    t.send({ flags: "A", seq: 12, ack: 12 });
    t.advance(10_000);
    t.expectNothing();
  });

  test("an answer that comes soon still takes the acknowledgment along", () => {
    const t = trace().established();
    t.send({ flags: "PA", seq: 1, ack: 1, data: 11 });
    t.expectNothing();
    t.advance(10);
    t.write(1, 11);
    t.expect({ flags: "PA", seq: 1, ack: 12, data: 11 });
    t.send({ flags: "A", seq: 12, ack: 12 });
    t.advance(10_000);
    t.expectNothing();
  });

  test("without an answer the acknowledgment leaves within half a second (RFC 9293, 3.8.6.3)", () => {
    const t = trace().established();
    t.send({ flags: "PA", seq: 1, ack: 1, data: 11 });
    t.expectNothing();
    t.advance(500);
    t.expect({ flags: "A", seq: 1, ack: 12 });
    t.advance(10_000);
    t.expectNothing();
  });

  test("at least every second full segment is acknowledged at once", () => {
    const t = trace().established();
    for (let seq = 1; seq < 10 * 1460; seq += 2920) {
      t.send({ flags: "A", seq, ack: 1, data: 1460 });
      t.send({ flags: "A", seq: seq + 1460, ack: 1, data: 1460 });
      t.expect({ flags: "A", seq: 1, ack: seq + 2920 });
      t.expectNothing();
    }
  });
});

describe("tcp_send_window_sizes_piggyback", () => {
  test.each([
    ["one that takes all of it", 100, 11],
    ["one of exactly its size", 11, 11],
  ])("the answer with the acknowledgment leaves into a window, %s", (_, win, data) => {
    const t = trace().established({ win });
    t.send({ flags: "PA", seq: 1, ack: 1, data: 11, win });
    t.write(1, 11);
    t.expect({ flags: "PA", seq: 1, ack: 12, data });
    t.expectNothing();
  });

  test("what fits the window leaves with the acknowledgment, the rest once there is room", () => {
    const t = trace().established({ win: 10 });
    t.send({ flags: "PA", seq: 1, ack: 1, data: 11 });
    t.write(1, 15);
    t.expect({ flags: "A", seq: 1, ack: 12, data: 10 });
    t.expectNothing();
    t.send({ flags: "A", seq: 12, ack: 11, win: 10 });
    t.expect({ flags: "PA", seq: 11, ack: 12, data: 5 });
  });

  test("into a closed window the acknowledgment leaves without the answer", () => {
    const t = trace().established({ win: 0 });
    t.send({ flags: "PA", seq: 1, ack: 1, data: 11 });
    t.write(1, 11);
    while (t.lan.waiting === 0) t.advance(10);
    t.expect({ flags: "A", seq: 1, ack: 12 });
    t.send({ flags: "A", seq: 12, ack: 1, win: 100 });
    t.expect({ flags: "PA", seq: 1, ack: 12, data: 11 });
  });
});

describe("RFC 9293, 3.8.6.2.1: silly window avoidance by the sender", () => {
  test("a segment leaves that is full, or the last, or half of the largest window ever offered", () => {
    const t = trace().established({ win: 4000 });
    t.write(1, 3 * 1460);
    t.expect({ flags: "A", seq: 1, data: 1460 });
    t.expect({ flags: "A", seq: 1461, data: 1460 });
    // 1080 bytes of window are left: no full segment, not the last, not half of 4000.
    t.expectNothing();
    t.send({ flags: "A", seq: 1, ack: 2921, win: 1459 });
    t.expectNothing();
    t.send({ flags: "A", seq: 1, ack: 2921, win: 1460 });
    t.expect({ flags: "PA", seq: 2921, data: 1460 });
  });

  test("half of the largest window is enough for a peer that never has room for a segment", () => {
    const t = trace().established({ win: 1000 });
    t.write(1, 3000);
    t.expect({ flags: "A", seq: 1, data: 1000 });
    t.send({ flags: "A", seq: 1, ack: 1001, win: 499 });
    t.expectNothing();
    t.send({ flags: "A", seq: 1, ack: 1001, win: 500 });
    t.expect({ flags: "A", seq: 1001, data: 500 });
  });

  test("the last bytes go into a small window", () => {
    const t = trace().established();
    t.write(1, 1460);
    t.lan.all();
    t.send({ flags: "A", seq: 1, ack: 1461, win: 20 });
    t.write(1461, 20);
    t.expect({ flags: "PA", seq: 1461, data: 20 });
  });

  test("a window that stays small is used after a while (the override timeout)", () => {
    const t = trace().established();
    t.write(1, 1460);
    t.lan.all();
    t.send({ flags: "A", seq: 1, ack: 1461, win: 500 });
    t.write(1461, 3000);
    t.expectNothing();
    t.advance(1000);
    expect(t.take()[0]).toMatchObject({ seq: 1461, data: 500 });
  });

  test("a window that opens a little at a time is not used a little at a time", () => {
    const t = trace().established();
    t.write(1, 1460);
    t.lan.all();
    t.send({ flags: "A", seq: 1, ack: 1461, win: 0 });
    t.write(1461, 10_000);
    for (let win = 10; win < 1460; win += 10) t.send({ flags: "A", seq: 1, ack: 1461, win });
    t.expectNothing();
    t.send({ flags: "A", seq: 1, ack: 1461, win: 1460 });
    t.expect({ flags: "A", seq: 1461, data: 1460 });
  });
});

describe("the peer's receive ring", () => {
  test("has no more frames in flight than it holds, of all flows together, but some of each", () => {
    const lan = new Lan({ tcp: { receiveRing: 40 } });
    const peers = [1, 2, 3].map((port) => new Peer(lan, { port }).established({ mss: 500, wscale: 7 }));
    const acknowledged = new Map(peers.map((peer) => [peer, 1]));
    let largest = 0;
    for (let round = 0; round < 30; round++) {
      for (const peer of peers) peer.write(acknowledged.get(peer)! + peer.flow.sendQueued, peer.flow.sendRoom);
      const frames = lan.all().filter((frame) => frame.kind === "tcp");
      largest = Math.max(largest, frames.length);
      for (const peer of peers) {
        const own = frames.filter(({ destinationPort }) => destinationPort === peer.port);
        expect(own.length).toBeGreaterThan(0);
        const bytes = own.reduce((sum, { payload }) => sum + payload.length, 0);
        acknowledged.set(peer, acknowledged.get(peer)! + bytes);
      }
      for (const peer of peers) peer.inject({ flags: "A", seq: 1, ack: acknowledged.get(peer)! });
      lan.flush();
    }
    expect(largest).toBeGreaterThan(30);
    // Ten of each may always be.
    expect(largest).toBeLessThanOrEqual(40 + 2 * 10);
  });
});
