import { describe, expect, test } from "vitest";
import { Lan } from "../testing/lan.ts";
import { Peer } from "../testing/trace.ts";

const KIB = 1024;
/** What a flow with first buffers of 64 KiB holds of the budget: what they exceed the smallest by. */
const FIRST = 2 * (64 - 16) * KIB;

/** Sends as fast as the peer acknowledges until the send buffer has grown to `size`; all is acknowledged at the end. Returns how many bytes. */
function growTo(peer: Peer, size: number): number {
  const bytes = new Uint8Array(size + 1);
  let acknowledged = 0;
  for (let turn = 0; peer.flow.sendRoom + peer.flow.sendQueued < size || peer.flow.sendQueued > 0; turn++) {
    if (turn > 10_000) throw new Error("the send buffer does not grow");
    if (peer.flow.sendRoom + peer.flow.sendQueued < size) peer.flow.send(bytes, 0, bytes.length);
    peer.lan.flush();
    while (peer.lan.waiting > 0) acknowledged += peer.lan.nextOf("tcp").payload.length;
    peer.send({ flags: "A", seq: 1, ack: 1 + acknowledged });
  }
  return acknowledged;
}

describe("the budget of buffers", () => {
  test("gives a new flow small buffers when it is spent, and its first ones again when there is room", () => {
    const lan = new Lan({ tcp: { bufferBudget: FIRST } });
    const first = new Peer(lan, { port: 1 }).established();
    expect(lan.stack.tcp.reservedBytes).toBe(FIRST);
    const second = new Peer(lan, { port: 2 }).established();
    expect([first.flow.sendRoom, second.flow.sendRoom]).toEqual([64 * KIB, 16 * KIB]);
    first.flow.abort();
    lan.all();
    expect(lan.stack.tcp.reservedBytes).toBe(0);
    expect(new Peer(lan, { port: 3 }).established().flow.sendRoom).toBe(64 * KIB);
  });

  test("takes back what an idle flow's send buffer grew by, for one that needs it", () => {
    const lan = new Lan({ tcp: { bufferBudget: FIRST + 192 * KIB } });
    const idle = new Peer(lan, { port: 1 }).established({ wscale: 14 });
    growTo(idle, 256 * KIB);
    expect(lan.stack.tcp.reservedBytes).toBe(FIRST + 192 * KIB);
    lan.advance(1500);
    expect(idle.flow.sendRoom).toBe(256 * KIB);
    const next = new Peer(lan, { port: 2 }).established();
    expect(next.flow.sendRoom).toBe(64 * KIB);
    expect(idle.flow.sendRoom).toBe(64 * KIB);
    expect(lan.stack.tcp.reservedBytes).toBe(2 * FIRST);
    // It grows again with use.
    expect(idle.flow.send(new Uint8Array(64 * KIB), 0, 64 * KIB)).toBe(64 * KIB);
  });

  test("takes nothing a second time from a flow that has ended", () => {
    const lan = new Lan({ tcp: { bufferBudget: FIRST + 192 * KIB } });
    const ended = new Peer(lan, { port: 1 }).established({ wscale: 14 });
    const sent = growTo(ended, 256 * KIB);
    ended.flow.shutdown();
    lan.flush();
    ended.send({ flags: "FA", seq: 1, ack: 2 + sent });
    lan.all();
    expect(ended.stateName).toBe("TIME-WAIT");
    expect(lan.stack.tcp.reservedBytes).toBe(0);
    lan.advance(1500);
    const rooms = [2, 3, 4, 5].map((port) => new Peer(lan, { port }).established().flow.sendRoom);
    expect(rooms).toEqual([64 * KIB, 64 * KIB, 64 * KIB, 16 * KIB]);
    expect(lan.stack.tcp.reservedBytes).toBe(3 * FIRST);
  });

  test("takes nothing from a flow that is busy, or was a moment ago", () => {
    const lan = new Lan({ tcp: { bufferBudget: FIRST + 192 * KIB } });
    const busy = new Peer(lan, { port: 1 }).established({ wscale: 14 });
    growTo(busy, 256 * KIB);
    expect(new Peer(lan, { port: 2 }).established().flow.sendRoom).toBe(16 * KIB);
    lan.advance(1500);
    busy.flow.send(new Uint8Array(100), 0, 100);
    lan.flush();
    lan.all();
    expect(new Peer(lan, { port: 3 }).established().flow.sendRoom).toBe(16 * KIB);
    expect(busy.flow.sendRoom).toBe(256 * KIB - 100);
  });
});
