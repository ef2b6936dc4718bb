import { createHash } from "node:crypto";
import {
  type CloseReason,
  type FrameSink,
  type Ipv4,
  parseIpv4,
  parseMac,
  Stack,
  type TcpFlow,
  type TcpHandler,
} from "@hostd/stack";
import { expect, it } from "vitest";

/** More than there are sequence numbers. */
const LENGTH = 2 ** 32 + 50_000_000;
const MTU = 65_520;
const PORT = 80;
const LEFT = parseIpv4("10.0.0.1");
const RIGHT = parseIpv4("10.0.0.2");
const NETWORK = { address: parseIpv4("10.0.0.0"), prefixLength: 24 };
/** How long a frame is under way, in milliseconds. */
const DELAY_MS = 0.05;

/** The bytes of a stream, over and over. The period is prime, so that no block of anything else looks like another. */
const PERIOD = 1_048_573;
const CHUNK = 65_536;
const PATTERN = patternOf(PERIOD + CHUNK);

function patternOf(length: number): Buffer {
  const blocks: Buffer[] = [];
  for (let at = 0; at < PERIOD; at += 32) blocks.push(createHash("sha256").update(String(at)).digest());
  const period = Buffer.concat(blocks).subarray(0, PERIOD);
  return Buffer.concat([period, period]).subarray(0, length);
}

/** Frames on their way to one end, in memory that is used again and again. */
class Wire implements FrameSink {
  readonly bytes = new Uint8Array(SLOTS * SLOT);
  readonly view = new DataView(this.bytes.buffer);
  readonly #lengths = new Int32Array(SLOTS);
  #sent = 0;
  #received = 0;

  get isEmpty(): boolean {
    return this.#sent === this.#received;
  }

  reserve(length: number): number {
    const isFull = this.#sent - this.#received === SLOTS;
    return isFull || length > SLOT ? -1 : (this.#sent % SLOTS) * SLOT;
  }

  commit(length: number): void {
    this.#lengths[this.#sent++ % SLOTS] = length;
  }

  /** Hands over what has been sent so far. */
  deliverTo(stack: Stack): void {
    for (const end = this.#sent; this.#received < end; this.#received++) {
      const slot = this.#received % SLOTS;
      stack.receiveFrame(this.bytes, this.view, slot * SLOT, this.#lengths[slot]);
    }
  }
}

const SLOT = 65_536;
const SLOTS = 512;

/** The owner of one end: writes the stream, closes, and compares every byte that comes with it. */
class End implements TcpHandler {
  received = 0;
  hasEnded = false;
  reason: CloseReason | null = null;
  #written = 0;

  established(flow: TcpFlow): void {
    this.#write(flow);
  }

  writable(flow: TcpFlow): void {
    this.#write(flow);
  }

  data(flow: TcpFlow, bytes: Uint8Array, offset: number, length: number): void {
    const right = this.received % PERIOD;
    const seen = Buffer.from(bytes.buffer, bytes.byteOffset + offset, length);
    if (!seen.equals(PATTERN.subarray(right, right + length))) throw new Error(`other bytes after ${this.received}`);
    this.received += length;
    flow.consumed(length);
  }

  end(): void {
    this.hasEnded = true;
  }

  closed(_flow: TcpFlow, reason: CloseReason): void {
    this.reason = reason;
  }

  #write(flow: TcpFlow): void {
    while (this.#written < LENGTH) {
      const length = Math.min(CHUNK, LENGTH - this.#written);
      const taken = flow.send(PATTERN, this.#written % PERIOD, length);
      this.#written += taken;
      if (taken < length) return;
    }
    flow.shutdown();
  }
}

it("one connection of two stacks carries more bytes each way than there are sequence numbers", {
  timeout: 300_000,
}, () => {
  let now = 1000;
  const make = (address: Ipv4, mac: string, wire: Wire): Stack => {
    const stack = new Stack({
      mac: parseMac(mac),
      addresses: [address],
      network: NETWORK,
      mtu: MTU,
      now: () => now,
      randomBytes: (bytes) => bytes.fill(7),
      wake: () => {},
      handlers: { tcpRequest: () => {}, udpDatagram: () => {}, echoRequest: () => {} },
    });
    stack.attach(wire);
    return stack;
  };
  const [toRight, toLeft] = [new Wire(), new Wire()];
  const left = make(LEFT, "02:00:00:00:00:01", toRight);
  const right = make(RIGHT, "02:00:00:00:00:02", toLeft);
  const [near, far] = [new End(), new End()];
  right.tcpListen(RIGHT, PORT, (request) => void request.accept(far));
  left.tcpDial({ localAddress: LEFT, localPort: 0, remoteAddress: RIGHT, remotePort: PORT }, near);
  const [connection] = left.tcp.connections();
  const began = performance.now();
  while (near.reason === null || far.reason === null) {
    left.flush();
    right.flush();
    if (toLeft.isEmpty && toRight.isEmpty) now = Math.max(now, Math.min(left.nextDeadline, right.nextDeadline));
    now += DELAY_MS;
    toRight.deliverTo(right);
    toLeft.deliverTo(left);
    for (const stack of [left, right]) if (stack.nextDeadline <= now) stack.poll();
  }
  const rate = (2 * LENGTH * 8) / (performance.now() - began) / 1e6;
  console.log(`two stacks in memory: ${(LENGTH / 1e9).toFixed(1)} GB each way at ${rate.toFixed(2)} Gbit/s in all`);
  for (const { received, hasEnded, reason } of [near, far]) {
    expect({ received, hasEnded, reason }).toEqual({ received: LENGTH, hasEnded: true, reason: "finished" });
  }
  expect(connection).toMatchObject({ bytesReceived: LENGTH, bytesSent: LENGTH, retransmittedSegments: 0 });
  for (const { statistics } of [left, right]) {
    expect(statistics).toMatchObject({ tcpRetransmissions: 0, tcpTimeouts: 0, tcpOutOfOrder: 0, dropMalformed: 0 });
  }
});
