import { once } from "node:events";
import type { Socket } from "node:net";
import { adoptSocket } from "@hostd/native";
import { beforeEach, describe, expect, it } from "vitest";
import { Relay } from "./relay.ts";
import { RelayPool } from "./relay-pool.ts";
import { FakeFlow } from "./testing/fake-flow.ts";
import { settle } from "./testing/peer.ts";
import { socketPair } from "./testing/socket-pair.ts";

const KIB = 1024;
/** What a socket is read by first. */
const FIRST_READ = 8 * KIB;

describe("a relay whose flow had no room", () => {
  let flow: FakeFlow;
  let relay: Relay;
  /** The host's end of the connection. */
  let far: Socket;
  const total = () => flow.sent.reduce((sum, { length }) => sum + length, 0);

  beforeEach(async () => {
    const [near, other] = await socketPair();
    far = other;
    flow = new FakeFlow();
    relay = new Relay(new RelayPool(1024 * KIB, () => {}), {
      relayConnected: () => {},
      relayEstablished: () => {},
      relayFailed: () => {},
      relaySocketClosed: () => {},
      relayEnded: () => {},
    });
    relay.attach(adoptSocket(near, relay.socketOptions()));
    near.destroy();
  });

  /** Has the relay read until the flow is full, while the host has sent `length` bytes. */
  async function fill(length: number, room: number): Promise<void> {
    flow.sendRoom = room;
    far.write(Buffer.alloc(length, 7));
    relay.start(flow);
    while (total() < room) await settle();
    // What the kernel has by then it has for good.
    await settle();
    expect(total()).toBe(room);
  }

  it("reads as much as there is room for at once, when there is room again", async () => {
    await fill(100 * KIB, 16 * KIB);
    flow.sendRoom = 40 * KIB;
    relay.writable(flow);
    expect(total()).toBe(56 * KIB);
    await settle();
    expect(total()).toBe(56 * KIB);
    flow.sendRoom = 1000 * KIB;
    relay.writable(flow);
    expect(total()).toBe(100 * KIB);
  });

  it("waits for the host again when it had less than there is room for", async () => {
    await fill(20 * KIB, 16 * KIB);
    flow.sendRoom = 1000 * KIB;
    relay.writable(flow);
    expect(total()).toBe(20 * KIB);
    far.write(Buffer.alloc(5 * KIB, 7));
    while (total() < 25 * KIB) await settle();
    expect(Buffer.concat(flow.sent).every((byte) => byte === 7)).toBe(true);
  });

  it("tells of the end of the stream behind the last bytes", async () => {
    await fill(20 * KIB, 16 * KIB);
    far.end();
    await settle();
    flow.sendRoom = 1000 * KIB;
    relay.writable(flow);
    expect([total(), flow.shutdowns]).toEqual([20 * KIB, 0]);
    while (flow.shutdowns === 0) await settle();
    expect(total()).toBe(20 * KIB);
  });

  it("does not read for less room than a first read may bring, until there is more", async () => {
    await fill(40 * KIB, 16 * KIB);
    flow.sendRoom = FIRST_READ - 1;
    relay.writable(flow);
    expect(total()).toBe(16 * KIB + FIRST_READ - 1);
    flow.sendRoom = 100 * KIB;
    relay.writable(flow);
    expect(total()).toBe(40 * KIB);
  });

  it("resets the guest's connection when the host resets its own", async () => {
    await fill(20 * KIB, 16 * KIB);
    far.resetAndDestroy();
    await once(far, "close");
    flow.sendRoom = 1000 * KIB;
    relay.writable(flow);
    while (flow.aborts === 0) await settle();
    expect(flow.shutdowns).toBe(0);
  });
});
