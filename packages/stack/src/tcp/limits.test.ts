import { describe, expect, test } from "vitest";
import { GUEST, Lan, OUTSIDE } from "../testing/lan.ts";
import { Random } from "../testing/random.ts";
import { Peer, trace } from "../testing/trace.ts";

describe("a full link", () => {
  test("loses nothing: what was refused goes out once there is room", () => {
    const t = trace().established();
    t.lan.link.room = 3;
    t.flow.send(new Uint8Array(14_600), 0, 14_600);
    expect(t.lan.flush()).toBe(false);
    expect(t.lan.all().length).toBe(3);
    t.lan.link.room = 2;
    expect(t.lan.flush()).toBe(false);
    expect(t.lan.all().length).toBe(2);
    t.lan.link.room = 1000;
    expect(t.lan.flush()).toBe(true);
    const rest = t.lan.all();
    expect(rest.length).toBe(5);
    expect(rest[0]).toMatchObject({ sequence: (t.stackIsn! + 1 + 5 * 1460) | 0 });
    expect(t.lan.stack.statistics.tcpRetransmissions).toBe(0);
    expect(t.lan.flush()).toBe(true);
    t.expectNothing();
  });

  test("holds back a SYN-ACK, an acknowledgment, a retransmission, a probe and a FIN until there is room", () => {
    const t = trace();
    const throughFullLink = (act: () => void) => {
      t.lan.link.room = 0;
      act();
      expect(t.lan.flush()).toBe(false);
      t.expectNothing();
      t.lan.link.room = 1000;
      expect(t.lan.flush()).toBe(true);
    };
    t.send({ flags: "S", mss: 1460 });
    throughFullLink(() => t.accept());
    t.expect({ flags: "SA", seq: 0, ack: 1 });
    t.send({ flags: "A", seq: 1, ack: 1 });
    throughFullLink(() => t.send({ flags: "A", seq: 0, ack: 1 }));
    t.expect({ flags: "A", seq: 1, ack: 1 });
    t.write(1, 6000);
    t.lan.all();
    throughFullLink(() => t.advance(200));
    t.expect({ flags: "A", seq: 1, data: 1460 });
    t.send({ flags: "A", seq: 1, ack: 6001, win: 0 });
    t.write(6001, 10);
    throughFullLink(() => t.advance(400));
    t.expect({ flags: "A", seq: 6001, data: 1 });
    t.send({ flags: "A", seq: 1, ack: 6002, win: 65_535 });
    t.expect({ flags: "PA", seq: 6002, data: 9 });
    t.send({ flags: "A", seq: 1, ack: 6011 });
    throughFullLink(() => t.flow.shutdown());
    t.expect({ flags: "FA", seq: 6011 });
    t.expectNothing();
  });

  test("holds back a fast retransmission until there is room", () => {
    const t = trace().established();
    t.write(1, 14_600);
    t.lan.all();
    t.lan.link.room = 0;
    for (let duplicate = 0; duplicate < 3; duplicate++) t.send({ flags: "A", seq: 1, ack: 1 });
    t.lan.link.room = 1000;
    t.lan.flush();
    t.expect({ flags: "A", seq: 1, data: 1460 });
    t.expectNothing();
  });

  test("does not stall a transfer, whatever it takes at a time", () => {
    const random = new Random(5);
    const t = trace().established({ wscale: 7 });
    let written = 0;
    let expected = 1;
    for (let round = 0; expected < 300_000; round++) {
      expect(round).toBeLessThan(10_000);
      t.lan.link.room = random.below(4);
      written += t.write(1 + written, 5000);
      for (const frame of t.lan.all()) {
        if (frame.kind !== "tcp") continue;
        expect((frame.sequence - t.stackIsn!) | 0).toBe(expected);
        expected += frame.payload.length;
      }
      t.lan.link.room = 0;
      t.inject({ flags: "A", seq: 1, ack: expected });
    }
  });
});

describe("several flows", () => {
  test("have turns of 256 KiB each", () => {
    const lan = new Lan({ tcp: { receiveRing: 100_000 } });
    const peers = [1, 2].map((port) => new Peer(lan, { port }).established({ wscale: 14 }));
    // Windows and buffers of several turns.
    for (const peer of peers) {
      let sent = 0;
      while (peer.flow.sendRoom + peer.flow.sendQueued < 2 * 1024 * 1024 || peer.flow.sendQueued > 0) {
        const size = peer.flow.sendRoom + peer.flow.sendQueued;
        if (size < 2 * 1024 * 1024) peer.flow.send(new Uint8Array(size + 1), 0, peer.flow.sendRoom + 1);
        lan.flush();
        while (lan.waiting > 0) {
          sent += lan.nextOf("tcp").payload.length;
          peer.inject({ flags: "A", seq: 1, ack: 1 + sent });
        }
      }
    }
    lan.flush();
    lan.expectNothing();
    for (const peer of peers) peer.flow.send(new Uint8Array(1024 * 1024), 0, 1024 * 1024);
    lan.flush();
    const order = lan.all().map((frame) => (frame.kind === "tcp" ? frame.destinationPort : 0));
    const turns: number[] = [];
    for (const [index, port] of order.entries()) if (index === 0 || port !== order[index - 1]) turns.push(port);
    expect(turns.slice(0, 4)).toEqual([1, 2, 1, 2]);
    expect(turns.length).toBeGreaterThanOrEqual(8);
  });

  test("share a link that takes little at a time", () => {
    const lan = new Lan();
    const peers = [1, 2, 3].map((port) => new Peer(lan, { port }).established());
    for (const peer of peers) peer.flow.send(new Uint8Array(14_600), 0, 14_600);
    const order: number[] = [];
    for (let turn = 0; turn < 30; turn++) {
      lan.link.room = 1;
      lan.flush();
      for (const frame of lan.all()) if (frame.kind === "tcp") order.push(frame.destinationPort);
    }
    expect(order).toEqual(Array.from({ length: 30 }, (_, index) => (index % 3) + 1));
  });

  test("are told apart by each part of the four-tuple", () => {
    const lan = new Lan();
    const peers = [
      new Peer(lan),
      new Peer(lan, { port: 40001 }),
      new Peer(lan, { stackPort: 81 }),
      new Peer(lan, { stackAddress: OUTSIDE + 1 }),
      new Peer(lan, { address: GUEST + 1, mac: Uint8Array.of(2, 0, 0, 0, 0, 3) }),
    ];
    for (const peer of peers) peer.established();
    for (const [index, peer] of peers.entries()) peer.send({ flags: "A", seq: 1, ack: 1, data: 10 + index });
    for (const [index, peer] of peers.entries()) peer.expectEvents(`data ${10 + index}`);
    expect(lan.stack.tcp.size).toBe(5);
  });
});

describe("the limit of connections", () => {
  test("drops a SYN beyond it, turns a dial down, and has room again after a close", () => {
    const lan = new Lan({ tcp: { maximumConnections: 2 } });
    const first = new Peer(lan, { port: 1 }).established();
    new Peer(lan, { port: 2 }).send({ flags: "S" });
    const third = new Peer(lan, { port: 3 });
    third.send({ flags: "S" });
    lan.expectNothing();
    expect(lan.requests.length).toBe(2);
    expect(lan.stack.statistics.dropConnectionLimit).toBe(1);
    const tuple = { localAddress: OUTSIDE, localPort: 80, remoteAddress: GUEST, remotePort: 4 };
    expect(lan.stack.tcpDial(tuple, first.log)).toBeNull();
    first.send({ flags: "R", seq: 1 });
    third.send({ flags: "S" });
    expect(lan.requests.length).toBe(3);
  });
});

describe("memory that was promised", () => {
  test("is all given back, however connections end", () => {
    const random = new Random(11);
    const lan = new Lan();
    for (let port = 1; port <= 300; port++) {
      lan.flush();
      lan.all();
      const peer = new Peer(lan, { port });
      peer.send({ flags: "S", mss: 1460, wscale: 7 });
      switch (random.below(8)) {
        case 0:
          peer.request.reject(random.pick(["refused", "silent", "prohibited"]));
          continue;
        case 1:
          peer.send({ flags: "R", seq: 1 });
          continue;
        case 2:
          continue;
      }
      peer.accept();
      peer.expect({ flags: "SA" });
      if (random.oneIn(8)) continue;
      peer.send({ flags: "A", seq: 1, ack: 1 });
      peer.write(1, random.below(100_000));
      lan.all();
      if (random.oneIn(2)) peer.send({ flags: "A", seq: 1 + random.below(100), ack: 1, data: 100 });
      lan.all();
      switch (random.below(4)) {
        case 0:
          peer.send({ flags: "R", seq: 1 });
          break;
        case 1:
          peer.flow.abort();
          break;
        case 2:
          peer.flow.shutdown();
          break;
      }
    }
    expect(lan.stack.tcp.size).toBeGreaterThan(50);
    expect(lan.stack.tcp.reservedBytes).toBeGreaterThan(0);
    lan.advance(2 * 3_600_000);
    expect(lan.stack.tcp.size).toBe(0);
    expect(lan.stack.tcp.reservedBytes).toBe(0);
    expect(lan.stack.tcp.nextDeadline).toBe(Number.POSITIVE_INFINITY);
  });

  test("stops growing at the budget", () => {
    const lan = new Lan({ tcp: { bufferBudget: 300_000 } });
    for (let port = 1; port <= 10; port++) new Peer(lan, { port }).established({ wscale: 7 });
    expect(lan.stack.tcp.reservedBytes).toBe(3 * 2 * (65_536 - 16_384));
    const sizes = [...lan.stack.tcp.connections()].map((each) => each.sendRoom).sort((a, b) => a - b);
    expect(sizes).toEqual([...Array(7).fill(16_384), ...Array(3).fill(65_536)]);
  });
});

test("the owner is asked once for each time that something begins to wait", () => {
  const t = trace().established();
  const before = t.lan.wakes;
  t.flow.send(new Uint8Array(10), 0, 10);
  t.flow.send(new Uint8Array(10), 0, 10);
  t.flow.shutdown();
  expect(t.lan.wakes).toBe(before + 1);
  t.lan.flush();
  t.flow.consumed(0);
  expect(t.lan.wakes).toBe(before + 1);
});
