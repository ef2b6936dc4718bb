import { parseIpv4, type StackOptions, type TcpFlow, type TcpHandler } from "@hostd/stack";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { type DriverOptions, type FrameTap, StackDriver } from "./driver.ts";
import { FakePort, joinPorts } from "./testing/fake-port.ts";
import { patternFrame } from "./testing/random.ts";

const GATEWAY = parseIpv4("192.168.65.1");
const GUEST = parseIpv4("192.168.65.3");
const GATEWAY_MAC = Uint8Array.of(2, 0, 0, 0, 0, 1);
const GUEST_MAC = Uint8Array.of(2, 0, 0, 0, 0, 3);
const NETWORK = { address: parseIpv4("192.168.65.0"), prefixLength: 24 };

function stackOptions(changes: Partial<StackOptions> = {}): DriverOptions["stack"] {
  return {
    mac: GATEWAY_MAC,
    addresses: [GATEWAY],
    network: NETWORK,
    mtu: 1500,
    handlers: { tcpRequest: (request) => request.reject("refused"), udpDatagram: () => {}, echoRequest: () => {} },
    ...changes,
  };
}

/** "Who has `target`?" from the guest. */
function arpRequest(target: number): Uint8Array {
  const frame = new Uint8Array(42);
  const view = new DataView(frame.buffer);
  frame.fill(0xff, 0, 6);
  frame.set(GUEST_MAC, 6);
  view.setUint16(12, 0x0806);
  view.setUint16(14, 1);
  view.setUint16(16, 0x0800);
  view.setUint16(18, 0x0604);
  view.setUint16(20, 1);
  frame.set(GUEST_MAC, 22);
  view.setInt32(28, GUEST);
  view.setInt32(38, target);
  return frame;
}

const etherType = (frame: Uint8Array) => (frame[12] << 8) | frame[13];
const arpOperation = (frame: Uint8Array) => frame[21];

const SILENT: TcpHandler = { established() {}, data() {}, end() {}, writable() {}, closed() {} };

/** Makes something leave by itself: a broadcast needs no neighbour. */
function sendBroadcast(driver: StackDriver, length = 10): void {
  driver.stack.udpSend(GATEWAY, 68, -1, 67, new Uint8Array(length), 0, length);
}

describe("StackDriver", () => {
  let port: FakePort;
  let faults: (string | null)[];

  beforeEach(() => {
    vi.useFakeTimers({
      toFake: ["setTimeout", "clearTimeout", "setImmediate", "clearImmediate", "performance", "queueMicrotask"],
    });
    port = new FakePort();
    faults = [];
  });

  afterEach(() => {
    vi.useRealTimers();
  });

  function drive(options: Partial<DriverOptions> = {}): StackDriver {
    return new StackDriver({ port, stack: stackOptions(), closed: (fault) => faults.push(fault), ...options });
  }

  const endTurn = () => vi.advanceTimersByTime(0);

  it("sends at the end of the turn what came up in it, in one flush", () => {
    const driver = drive();
    for (let count = 0; count < 5; count++) sendBroadcast(driver);
    expect(port.flushes).toEqual([]);
    endTurn();
    expect(port.flushes.map(({ length }) => length)).toEqual([5]);
    sendBroadcast(driver);
    endTurn();
    expect(port.flushes.map(({ length }) => length)).toEqual([5, 1]);
  });

  it("answers a batch of frames in one flush right behind it", () => {
    drive();
    port.receive(arpRequest(GATEWAY), arpRequest(GATEWAY), arpRequest(GATEWAY));
    expect(port.flushes.map(({ length }) => length)).toEqual([3]);
    expect(port.sent.map(arpOperation)).toEqual([2, 2, 2]);
    // Nothing but the timer is waiting: the turn is over.
    expect(vi.getTimerCount()).toBe(1);
  });

  it("lets flows write at the end of a batch, before the stack sends", () => {
    const order: string[] = [];
    port.onFlush = () => order.push("flush");
    drive({ endBatch: () => order.push("endBatch") });
    port.receive(arpRequest(GATEWAY));
    expect(order).toEqual(["endBatch", "flush"]);
  });

  it("calls the stack when it is due, with one timer", () => {
    const driver = drive();
    expect(vi.getTimerCount()).toBe(1);
    driver.stack.tcpDial({ localAddress: GATEWAY, localPort: 0, remoteAddress: GUEST, remotePort: 80 }, SILENT);
    endTurn();
    expect(port.sent.map(arpOperation)).toEqual([1]);
    vi.advanceTimersByTime(995);
    expect(port.sent).toHaveLength(1);
    vi.advanceTimersByTime(10);
    expect(port.sent.map(arpOperation)).toEqual([1, 1]);
    expect(vi.getTimerCount()).toBe(1);
    vi.advanceTimersByTime(1000);
    expect(port.sent.map(arpOperation)).toEqual([1, 1, 1]);
  });

  it("keeps calling the stack for as long as the link is there", () => {
    const driver = drive();
    const poll = vi.spyOn(driver.stack, "poll");
    vi.advanceTimersByTime(10 * 60_000 + 100);
    expect(poll.mock.calls.length).toBeGreaterThanOrEqual(10);
    expect(poll.mock.calls.length).toBeLessThan(15);
  });

  it("sends the rest when the link takes frames again", () => {
    const driver = drive();
    port.room = 2;
    port.receive(arpRequest(GATEWAY));
    const flow = driver.stack.tcpDial(
      { localAddress: GATEWAY, localPort: 0, remoteAddress: GUEST, remotePort: 80 },
      SILENT,
    );
    sendBroadcast(driver);
    endTurn();
    expect(flow).not.toBeNull();
    expect(port.refusals).toBeGreaterThan(0);
    expect(port.sent).toHaveLength(2);
    port.room = Number.POSITIVE_INFINITY;
    port.consumer?.writable();
    expect(port.sent.slice(2).map(etherType)).toEqual([0x0800]);
  });

  it("ends the connections when the VM is gone, says so once and leaves no timer", () => {
    const driver = drive();
    port.receive(arpRequest(GATEWAY));
    const closed = vi.fn<TcpHandler["closed"]>();
    const tuple = { localAddress: GATEWAY, localPort: 0, remoteAddress: GUEST, remotePort: 80 };
    driver.stack.tcpDial(tuple, { ...SILENT, closed });
    port.leave("a fault");
    expect(faults).toEqual(["a fault"]);
    expect(closed.mock.calls.map(([, reason]) => reason)).toEqual(["detached"]);
    endTurn();
    expect(vi.getTimerCount()).toBe(0);
    const { length } = port.sent;
    sendBroadcast(driver);
    driver.close();
    driver.vanish();
    vi.advanceTimersByTime(120_000);
    expect(port.sent).toHaveLength(length);
    expect(faults).toEqual(["a fault"]);
    expect(vi.getTimerCount()).toBe(0);
  });

  it("shows a tap the frames of both directions in order, and lets it write after each turn", () => {
    const seen: (string | number)[] = [];
    const tap: FrameTap = {
      frame: (bytes, offset, length) => {
        const frame = bytes.subarray(offset, offset + length);
        seen.push(etherType(frame) === 0x0806 ? arpOperation(frame) : "ip");
      },
      flush: () => seen.push("flush"),
    };
    const driver = drive();
    driver.tap = tap;
    port.receive(arpRequest(GATEWAY), arpRequest(GATEWAY));
    expect(seen).toEqual([1, 2, 1, 2, "flush"]);
    sendBroadcast(driver);
    endTurn();
    expect(seen.slice(5)).toEqual(["ip", "flush"]);
    port.leave(null);
    expect(seen.at(-1)).toBe("flush");
  });

  it("shows a tap no frame that the link refused", () => {
    let frames = 0;
    const driver = drive();
    driver.tap = { frame: () => frames++, flush: () => {} };
    port.room = 0;
    sendBroadcast(driver);
    expect(frames).toBe(0);
  });

  it("takes a tap, another one and none while the VM is attached", () => {
    const seen: string[] = [];
    const tap = (name: string): FrameTap => ({
      frame: () => seen.push(name),
      flush: () => seen.push(`${name} flush`),
    });
    const driver = drive();
    const attach = vi.spyOn(driver.stack, "attach");
    port.receive(arpRequest(GATEWAY));
    const [one, two] = [tap("one"), tap("two")];
    driver.tap = one;
    expect(driver.tap).toBe(one);
    port.receive(arpRequest(GATEWAY));
    expect(seen.splice(0)).toEqual(["one", "one", "one flush"]);
    sendBroadcast(driver);
    driver.tap = two;
    endTurn();
    // The turn ends with the other tap; what the first has seen may be written out before.
    expect(seen.splice(0)).toEqual(["one", "one flush", "two flush"]);
    driver.tap = undefined;
    port.receive(arpRequest(GATEWAY));
    expect(seen).toEqual(["two flush"]);
    expect(port.sent).toHaveLength(4);
    // Without a tap the stack builds its frames in the port itself.
    expect(attach.mock.calls.at(-1)).toEqual([port]);
  });

  it("lets a tap be taken away by what it is shown", () => {
    let frames = 0;
    const driver = drive();
    driver.tap = {
      frame: () => {
        frames++;
        driver.tap = undefined;
      },
      flush: () => {},
    };
    sendBroadcast(driver);
    sendBroadcast(driver);
    endTurn();
    expect(frames).toBe(1);
    expect(port.sent).toHaveLength(2);
  });

  it("takes no tap any more once the VM is gone", () => {
    const driver = drive();
    port.leave(null);
    let frames = 0;
    driver.tap = { frame: () => frames++, flush: () => {} };
    sendBroadcast(driver);
    expect(frames).toBe(0);
    expect(driver.tap).toBeUndefined();
  });
});

/** Sends all of `data` on a flow, going on whenever there is room. */
class Sender implements TcpHandler {
  flow: TcpFlow | null = null;
  #sent = 0;
  readonly #data: Uint8Array;

  constructor(data: Uint8Array) {
    this.#data = data;
  }

  established(): void {
    this.writable();
  }

  writable(): void {
    this.#sent += this.flow?.send(this.#data, this.#sent, this.#data.length - this.#sent) ?? 0;
    if (this.#sent === this.#data.length) this.flow?.shutdown();
  }

  data(): void {}
  end(): void {}
  closed(): void {}
}

describe("two StackDrivers on one link", () => {
  function pair(request: (received: TcpHandler) => TcpHandler) {
    const left = new FakePort();
    const right = new FakePort();
    joinPorts(left, right);
    const gateway = new StackDriver({
      port: left,
      stack: stackOptions({
        handlers: {
          tcpRequest: (incoming) => incoming.accept(request(SILENT)),
          udpDatagram: () => {},
          echoRequest: () => {},
        },
      }),
    });
    const guest = new StackDriver({ port: right, stack: stackOptions({ mac: GUEST_MAC, addresses: [GUEST] }) });
    gateway.stack.tcpListen(GATEWAY, 80, (incoming) => incoming.accept(request(SILENT)));
    return { left, right, gateway, guest };
  }

  it("lose nothing of a transfer while a link refuses frames every now and then", async () => {
    const data = patternFrame(3_000_000, 9);
    const received: Uint8Array[] = [];
    const ended = Promise.withResolvers<void>();
    const { right, gateway, guest } = pair((handler) => ({
      ...handler,
      data: (flow, bytes, offset, length) => {
        received.push(bytes.slice(offset, offset + length));
        flow.consumed(length);
      },
      end: () => ended.resolve(),
    }));
    // Every few frames the link is full, and has room again some turns later.
    const refill = () => {
      if (right.room > 0) return;
      right.room = 7;
      right.consumer?.writable();
    };
    right.room = 7;
    const timer = setInterval(refill, 1);
    const sender = new Sender(data);
    const tuple = { localAddress: GUEST, localPort: 0, remoteAddress: GATEWAY, remotePort: 80 };
    sender.flow = guest.stack.tcpDial(tuple, sender);
    await ended.promise;
    clearInterval(timer);
    right.room = Number.POSITIVE_INFINITY;
    expect(right.refusals).toBeGreaterThan(10);
    expect(Buffer.compare(Buffer.concat(received), data)).toBe(0);
    // What the link did not take waits; nothing is sent twice for it.
    expect(guest.stack.statistics.tcpRetransmissions).toBe(0);
    guest.vanish();
    gateway.vanish();
  });

  it("reset their connections when one closes, and say nothing when one vanishes", async () => {
    const reasons: string[] = [];
    const { left, gateway, guest } = pair((handler) => ({
      ...handler,
      closed: (_flow, why) => reasons.push(`far ${why}`),
    }));
    const dial = async () => {
      const established = Promise.withResolvers<void>();
      const handler: TcpHandler = {
        ...SILENT,
        established: () => established.resolve(),
        closed: (_flow, why) => reasons.push(`near ${why}`),
      };
      guest.stack.tcpDial({ localAddress: GUEST, localPort: 0, remoteAddress: GATEWAY, remotePort: 80 }, handler);
      await established.promise;
    };
    await dial();
    gateway.close();
    await vi.waitUntil(() => reasons.length === 2);
    expect(reasons.sort()).toEqual(["far aborted", "near reset"]);
    const { length } = left.sent;
    guest.vanish();
    await new Promise((resolve) => setImmediate(resolve));
    expect(left.sent).toHaveLength(length);
  });
});
