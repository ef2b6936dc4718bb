import { describe, expect, test } from "vitest";
import { Lan } from "../testing/lan.ts";
import { Random } from "../testing/random.ts";
import { type HandshakeOptions, Peer } from "../testing/trace.ts";
import type { TcpConnection } from "./connection.ts";

const RING = 256;
const FIRST_PORT = 40000;
const MSS = 1460;

const NOTHING_IN_PARTICULAR = new Uint8Array(1 << 19);

/** The guest's receive ring: frames that the stack has sent and the guest has not taken, the oldest first. */
class Guest {
  readonly lan: Lan;
  readonly peers: Peer[];
  /** The flows that are written to. */
  writers: number[];
  /** Where each flow's next byte to write is, and what was acknowledged of it. */
  readonly #written: number[];
  readonly #acknowledged: number[];
  readonly #ring: { readonly flow: number; readonly end: number; readonly at: number }[] = [];
  /** Is told of each frame that the stack sends. */
  onFrame: (flow: number) => void = () => {};
  /** The most frames that were in the ring at once. */
  highest = 0;
  frames = 0;

  constructor(flows: number, handshake: HandshakeOptions = {}) {
    this.lan = new Lan({ tcp: { receiveRing: RING } });
    this.peers = Array.from({ length: flows }, (_, index) => {
      const peer = new Peer(this.lan, { port: FIRST_PORT + index });
      return peer.established({ mss: MSS, wscale: 14, sack: true, ...handshake });
    });
    this.writers = [...this.peers.keys()];
    this.#written = this.peers.map(() => 1);
    this.#acknowledged = this.peers.map(() => 1);
  }

  get connections(): TcpConnection[] {
    return [...this.lan.stack.tcp.connections()];
  }

  /** Segments of each flow that are not acknowledged, nor taken for lost. */
  get inFlight(): number[] {
    const ofPort = new Map(this.connections.map(({ remotePort, sent }) => [remotePort, sent.segmentsInFlight]));
    return this.peers.map(({ port }) => ofPort.get(port) ?? 0);
  }

  /** The flows that are written to have as much to send as they take, or so many bytes more. */
  write(bytes = NOTHING_IN_PARTICULAR.length): void {
    for (const flow of this.writers) {
      this.#written[flow] += this.peers[flow].flow.send(NOTHING_IN_PARTICULAR, 0, bytes);
    }
    this.lan.flush();
    this.#collect();
  }

  /** Takes frames out of the ring and acknowledges them, then lets the stack send. */
  take(frames: number, acknowledges: (flow: number) => boolean = () => true): void {
    const news = new Map<number, number>();
    for (const { flow, end } of this.#ring.splice(0, frames)) {
      if (acknowledges(flow)) news.set(flow, Math.max(end, news.get(flow) ?? 0));
    }
    for (const [flow, ack] of news) {
      this.#acknowledged[flow] = ack;
      this.peers[flow].inject({ flags: "A", seq: 1, ack, win: 65535 });
    }
    this.write();
  }

  /** Takes what has been on its way for so many milliseconds. */
  takeOlderThan(milliseconds: number): void {
    const first = this.#ring.findIndex(({ at }) => at + milliseconds > this.lan.now);
    this.take(first < 0 ? this.#ring.length : first);
  }

  /** Lets the window of one flow after the other grow until the ring alone holds it back. */
  warmUp(): void {
    for (const [flow] of this.peers.entries()) {
      const connection = this.connections.find(({ remotePort }) => remotePort === this.peers[flow].port);
      if (connection === undefined) throw new Error("there is no such connection");
      const { congestion, sent } = connection;
      const isWarm = () => connection.unsent >= MSS && sent.bytesInFlight + MSS <= congestion.window;
      this.writers = [flow];
      this.write();
      for (let round = 0; round < 60 && !isWarm(); round++) {
        this.lan.advance(0.05);
        this.take(RING / 2);
      }
      expect(isWarm()).toBe(true);
      this.writers = [];
      while (this.#ring.length > 0) this.take(RING);
      expect(sent.isEmpty).toBe(true);
      expect(this.#acknowledged[flow]).toBe(this.#written[flow]);
    }
    this.writers = [...this.peers.keys()];
    this.highest = 0;
    this.frames = 0;
  }

  #collect(): void {
    for (const frame of this.lan.all()) {
      if (frame.kind !== "tcp") throw new Error(`a frame of ${frame.kind}`);
      const flow = frame.destinationPort - FIRST_PORT;
      const start = (frame.sequence - (this.peers[flow].stackIsn ?? 0)) | 0;
      this.#ring.push({ flow, end: start + frame.payload.length, at: this.lan.now });
      this.frames++;
      this.onFrame(flow);
    }
    this.highest = Math.max(this.highest, this.#ring.length);
  }
}

describe("before the first acknowledgment, with large windows of their own and of the peer,", () => {
  test("one flow sends eight ninths of seven eighths of the ring", () => {
    const guest = new Guest(1);
    guest.warmUp();
    guest.write();
    guest.lan.advance(5);
    guest.write();
    // x = 8 * (224 - x): 199 is less than 8 * 25 = 200, and 200 is not less than 8 * 24 = 192.
    expect(guest.frames).toBe(200);
  });

  for (const flows of [2, 8, 16, 64, 100]) {
    test(`${flows} flows that begin together send ${RING} frames at most`, () => {
      const guest = new Guest(flows);
      guest.warmUp();
      guest.write();
      guest.lan.advance(5);
      guest.write();
      if (flows <= 16) expect(Math.min(...guest.inFlight)).toBeGreaterThanOrEqual(2);
      expect(guest.frames).toBe(guest.inFlight.reduce((sum, each) => sum + each, 0));
      expect(guest.highest).toBeLessThanOrEqual(RING);
    });

    test(`${flows} flows that begin one after the other send ${RING} frames at most`, () => {
      const guest = new Guest(flows);
      guest.warmUp();
      for (const flow of guest.peers.keys()) {
        guest.writers = [flow];
        guest.write();
        guest.lan.advance(0.05);
      }
      if (flows <= 16) expect(Math.min(...guest.inFlight)).toBeGreaterThanOrEqual(2);
      expect(guest.frames).toBe(guest.inFlight.reduce((sum, each) => sum + each, 0));
      expect(guest.highest).toBeLessThanOrEqual(RING);
    });
  }
});

describe("a ring that is emptied in bursts", () => {
  for (const flows of [1, 2, 8, 16, 64, 100]) {
    test(`has ${RING} frames at most of ${flows} that send all they may`, () => {
      const guest = new Guest(flows);
      const random = new Random(7);
      for (let burst = 0; burst < 150; burst++) {
        guest.lan.advance(random.below(20) / 20);
        guest.take(1 + random.below(64));
      }
      expect(guest.lan.stack.statistics.tcpRetransmissions).toBe(0);
      // It never ran empty: what was taken went on to be sent.
      expect(guest.frames).toBeGreaterThan(4500);
      expect(guest.highest).toBeLessThanOrEqual(RING);
    });

    test(`has ${RING} frames at most of ${flows} that have something to send now and then`, () => {
      const guest = new Guest(flows);
      guest.warmUp();
      const random = new Random(8);
      for (let burst = 0; burst < 150; burst++) {
        guest.lan.advance(random.below(20) / 20);
        guest.writers = [random.below(flows)];
        guest.write(MSS * (1 + random.below(100)));
        guest.writers = [];
        guest.take(1 + random.below(100));
      }
      expect(guest.lan.stack.statistics.tcpRetransmissions).toBe(0);
      expect(guest.frames).toBeGreaterThan(1500);
      expect(guest.highest).toBeLessThanOrEqual(RING);
    });
  }

  test("goes on serving the flows of which the guest acknowledges something", () => {
    const guest = new Guest(4);
    guest.warmUp();
    for (let burst = 0; burst < 100; burst++) guest.take(32);
    const [before] = guest.inFlight;
    const framesBefore = guest.frames;
    for (let burst = 0; burst < 100; burst++) {
      guest.lan.advance(0.05);
      guest.take(32, (flow) => flow !== 0);
      expect(guest.inFlight[0]).toBeLessThanOrEqual(Math.max(before, 2));
    }
    expect(guest.frames - framesBefore).toBeGreaterThan(90 * 32);
    expect(guest.highest).toBeLessThanOrEqual(RING);
  });
});

describe("more flows than the ring has room for", () => {
  test("take turns: none gets a second one before all have had one", () => {
    const guest = new Guest(300);
    const sent = new Map<number, number>();
    const order: number[] = [];
    guest.onFrame = (flow) => {
      sent.set(flow, (sent.get(flow) ?? 0) + 1);
      if (order.at(-1) !== flow) order.push(flow);
    };
    guest.write();
    for (let burst = 0; burst < 400; burst++) {
      guest.lan.advance(0.05);
      guest.take(32);
    }
    expect(guest.highest).toBeLessThanOrEqual(RING);
    expect(sent.size).toBe(300);
    // Each had some forty frames; the window with which a flow begins is less than a whole turn.
    const counts = [...sent.values()];
    expect(Math.max(...counts) - Math.min(...counts)).toBeLessThanOrEqual(32);
    // Between two turns of a flow nearly all others have theirs.
    const lastTurn = new Map<number, number>();
    let closest = Number.POSITIVE_INFINITY;
    order.forEach((flow, at) => {
      if (at > 600) closest = Math.min(closest, at - (lastTurn.get(flow) ?? 0));
      lastTurn.set(flow, at);
    });
    expect(closest).toBeGreaterThan(200);
  });

  test("leave room for one that sends little now and then", () => {
    const guest = new Guest(301);
    const sparse = 300;
    guest.writers = [...guest.peers.keys()].filter((flow) => flow !== sparse);
    guest.write();
    for (let burst = 0; burst < 100; burst++) {
      guest.lan.advance(0.05);
      guest.take(32);
    }
    for (let message = 0; message < 50; message++) {
      const busy = guest.writers;
      guest.writers = [sparse];
      guest.write(100);
      // It left at once, whoever waits.
      expect(guest.inFlight[sparse]).toBe(1);
      guest.writers = busy;
      for (let burst = 0; burst < 10; burst++) {
        guest.lan.advance(0.05);
        guest.take(32);
      }
    }
    expect(guest.highest).toBeLessThanOrEqual(RING);
  });

  test("are not kept from their turns by flows that nobody acknowledges, once those have timed out", () => {
    const guest = new Guest(330);
    const isDead = (flow: number) => flow < 300;
    guest.write();
    for (let burst = 0; burst < 60; burst++) {
      guest.lan.advance(50);
      guest.take(RING, (flow) => !isDead(flow));
    }
    const framesBefore = guest.frames;
    for (let burst = 0; burst < 100; burst++) {
      guest.lan.advance(0.05);
      guest.take(32, (flow) => !isDead(flow));
    }
    expect(guest.frames - framesBefore).toBeGreaterThan(80 * 32);
  });
});

test("a guest that has been slow for minutes is not taken for one that is far away", () => {
  const guest = new Guest(1);
  guest.write();
  for (let seconds = 0; seconds < 130; seconds += 0.005) {
    guest.lan.advance(5);
    guest.take(1);
  }
  expect(guest.highest).toBeLessThanOrEqual(RING);
});

test("a flow with a long way behind the guest has more in flight than the ring holds, half a ring in a millisecond at most", () => {
  const guest = new Guest(1, { rtt: 100 });
  let [mostAtOnce, mostInFlight] = [0, 0];
  guest.write();
  for (let now = 0; now < 3000; now++) {
    const before = guest.frames;
    guest.lan.advance(1);
    guest.takeOlderThan(100);
    mostAtOnce = Math.max(mostAtOnce, guest.frames - before);
    mostInFlight = Math.max(mostInFlight, guest.inFlight[0]);
  }
  expect(mostInFlight).toBeGreaterThan(4 * RING);
  expect(mostAtOnce).toBeLessThanOrEqual(RING / 2);
  expect(guest.lan.stack.statistics.tcpRetransmissions).toBe(0);
});
