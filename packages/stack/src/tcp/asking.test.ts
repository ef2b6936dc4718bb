import { describe, expect, test } from "vitest";
import { Lan } from "../testing/lan.ts";
import { type HandshakeOptions, Peer } from "../testing/trace.ts";
import type { TcpFlow } from "./flow.ts";

const RING = 256;
/** What may be queued before owners are asked for no more than can leave. */
const READ_AHEAD = 4 * 1024 * 1024;
const FIRST_BUFFER = 64 * 1024;

/** Puts whatever there is room for into the send buffer, as a relay does whose socket has always more. */
function fillUp(flow: TcpFlow): void {
  for (let space = flow.sendSpace(1 << 20); space !== null; space = flow.sendSpace(1 << 20))
    flow.sendFilled(space.length);
}

/** Flows whose owners have always more to send, and peers that acknowledge what has come when the test has them do so. */
class Sources {
  readonly lan: Lan;
  readonly peers: Peer[];
  /** Bytes that have come to each, and what it has acknowledged of them. */
  readonly received: number[];
  readonly acknowledged: number[];
  /** Whose segments came, in that order. */
  readonly order: number[] = [];

  constructor(count: number, handshake: HandshakeOptions = {}) {
    this.lan = new Lan({ tcp: { receiveRing: RING } });
    this.peers = Array.from({ length: count }, (_, port) => {
      const peer = new Peer(this.lan, { port: port + 1, reactions: { writable: fillUp } });
      return peer.established({ wscale: 7, win: 512, ...handshake });
    });
    this.received = this.peers.map(() => 0);
    this.acknowledged = this.peers.map(() => 0);
    this.lan.all();
    for (const { flow } of this.peers) fillUp(flow);
  }

  /** Lets the stack send. */
  collect(): void {
    this.lan.flush();
    for (const frame of this.lan.all()) {
      if (frame.kind !== "tcp" || frame.payload.length === 0) continue;
      const index = frame.destinationPort - 1;
      const end = ((frame.sequence - (this.peers[index].stackIsn ?? 0)) | 0) - 1 + frame.payload.length;
      this.received[index] = Math.max(this.received[index], end);
      this.order.push(index);
    }
  }

  acknowledge(index: number, win = 512): void {
    this.acknowledged[index] = this.received[index];
    this.peers[index].inject({ flags: "A", seq: 1, ack: 1 + this.received[index], win });
  }

  /** All that has come is acknowledged, in one batch, and the stack sends. */
  round(): void {
    for (const index of this.peers.keys()) if (this.acknowledged[index] < this.received[index]) this.acknowledge(index);
    this.collect();
  }

  get queued(): number {
    return this.peers.reduce((sum, { flow }) => sum + flow.sendQueued, 0);
  }
}

describe("the owners of many flows", () => {
  test("are asked for no more than can leave, so that little waits in the buffers", () => {
    const sources = new Sources(200);
    // What was queued before the first was asked has to leave first.
    for (let round = 0; round < 100; round++) sources.round();
    for (let round = 0; round < 300; round++) {
      sources.round();
      expect(sources.queued).toBeLessThanOrEqual(READ_AHEAD + RING * 1460 + 2 * FIRST_BUFFER);
    }
    for (const received of sources.received) expect(received).toBeGreaterThan(2 * FIRST_BUFFER);
  });

  test("have their turns alike", () => {
    const sources = new Sources(200);
    for (let round = 0; round < 400; round++) sources.round();
    expect(Math.max(...sources.received) / Math.min(...sources.received)).toBeLessThan(1.5);
  });

  test("go on with a turn that the link has cut short, before others are asked", () => {
    const sources = new Sources(200);
    for (let round = 0; round < 100; round++) sources.round();
    sources.order.length = 0;
    for (let cut = 0; cut < 60; cut++) {
      for (const index of sources.peers.keys()) {
        if (sources.acknowledged[index] < sources.received[index]) sources.acknowledge(index);
      }
      sources.lan.link.room = 4;
      sources.collect();
    }
    const changes = sources.order.filter((each, at) => at > 0 && each !== sources.order[at - 1]).length;
    expect(sources.order.length).toBeGreaterThan(200);
    expect(changes).toBeLessThan(sources.order.length / 8);
  });

  test("learn that a window has opened again, though nothing was queued while it was closed", () => {
    const sources = new Sources(200);
    const hasSentAll = (index: number) =>
      sources.peers[index].flow.sendQueued === sources.received[index] - sources.acknowledged[index] &&
      sources.acknowledged[index] < sources.received[index];
    let shut = -1;
    for (let round = 0; round < 200 || shut < 0; round++) {
      sources.round();
      shut = sources.peers.findIndex((_, index) => hasSentAll(index));
    }
    // The update of the window that follows is lost, so only a probe can learn of it.
    sources.acknowledge(shut, 0);
    sources.collect();
    const before = sources.received[shut];
    sources.lan.advance(5000);
    sources.collect();
    expect(sources.received[shut]).toBe(before + 1);
    sources.acknowledge(shut);
    for (let round = 0; round < 400; round++) sources.round();
    expect(sources.received[shut]).toBeGreaterThan(before + FIRST_BUFFER);
  });

  test("of few flows may queue more than can leave at once", () => {
    const sources = new Sources(4, { win: 65_535 });
    for (let round = 0; round < 300; round++) sources.round();
    expect(sources.queued).toBeGreaterThan(2 * RING * 1460);
  });
});
