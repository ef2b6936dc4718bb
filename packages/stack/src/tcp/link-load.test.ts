import { describe, expect, test } from "vitest";
import { sequenceAdd } from "../sequence.ts";
import { Lan } from "../testing/lan.ts";
import { Random } from "../testing/random.ts";
import { Peer } from "../testing/trace.ts";
import type { TcpConnection } from "./connection.ts";
import { LinkLoad } from "./link-load.ts";
import { Rack } from "./rack.ts";

const RING = 256;
/** What flows may take by what is free: seven eighths of the ring. */
const SHARED = 224;
const SIZE = 1000;

/** Connections that share a link, whose segments only the test acknowledges. */
class Flows {
  readonly load: LinkLoad;
  readonly connections: TcpConnection[] = [];
  /** Who sent what is in flight, the oldest first. */
  readonly order: TcpConnection[] = [];
  readonly #rack = new Rack();

  constructor(count: number, ring = RING) {
    this.load = new LinkLoad(ring);
    const lan = new Lan();
    for (let port = 40000; port < 40000 + count; port++) new Peer(lan, { port }).established();
    this.connections = [...lan.stack.tcp.connections()];
    for (const { sent } of this.connections) sent.countOn(this.load);
  }

  get inFlight(): number[] {
    return this.connections.map(({ sent }) => sent.segmentsInFlight);
  }

  /** Sends one segment when the link has room for it. */
  send(connection: TcpConnection, now = 0): boolean {
    if (!this.load.admits(connection, now)) return false;
    const start = connection.sendNext;
    connection.sendNext = sequenceAdd(start, SIZE);
    connection.sent.push(start, connection.sendNext, now);
    this.order.push(connection);
    return true;
  }

  /** Each has one segment after the other, until the link admits no more. */
  fill(...connections: TcpConnection[]): void {
    while (connections.filter((each) => this.send(each)).length > 0);
    for (let turn = this.load.nextTurn(); turn !== null; turn = this.load.nextTurn()) {
      while (this.send(turn));
      this.load.endTurn(turn);
    }
  }

  acknowledge(connection: TcpConnection): void {
    const { sent } = connection;
    const end = sequenceAdd(sent.startOf(sent.first), SIZE);
    sent.acknowledge(end, end, this.#rack, 0);
    this.order.splice(this.order.indexOf(connection), 1);
  }

  /** The oldest segments of those who acknowledge arrive one after the other, and each time all send what they may. */
  run(segments: number, acknowledges: (connection: TcpConnection) => boolean = () => true): void {
    for (let count = 0; count < segments; count++) {
      const oldest = this.order.find(acknowledges);
      if (oldest === undefined) return;
      this.acknowledge(oldest);
      // Whoever was served last goes last, as the stack's turns do.
      this.fill(...this.connections.filter((each) => each !== oldest && acknowledges(each)), oldest);
    }
  }
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, each) => total + each, 0);
}

/** What all may have in flight together: two frames for each beyond what is shared, and no more than the ring holds. */
function promised(flows: number): number {
  return Math.min(RING, SHARED + 2 * flows);
}

describe("the share of a flow", () => {
  test("that is alone is eight ninths of seven eighths of the ring", () => {
    for (const [ring, share] of [
      // x = 8 * (224 - x): 199 is less than 8 * (224 - 199) = 200, and 200 is not less than 8 * (224 - 200) = 192.
      [256, 200],
      // Seven eighths of 300 are 262: 232 is less than 8 * (262 - 232) = 240, and 233 is not less than 8 * 29 = 232.
      [300, 233],
      // Seven eighths of 1024 are 896: 796 is less than 8 * (896 - 796) = 800, and 797 is not less than 8 * 99 = 792.
      [1024, 797],
    ]) {
      const flows = new Flows(1, ring);
      flows.fill(...flows.connections);
      expect(flows.inFlight).toEqual([share]);
      expect(flows.load.frames).toBe(share);
      flows.run(1000);
      expect(flows.inFlight).toEqual([share]);
    }
  });

  test("is the same for all that begin together", () => {
    for (const [count, share] of [
      // x = 8 * (224 - count * x), so x = 8 * 224 / (1 + 8 * count): 105.4, 71.7, 27.6, 18.5.
      [2, 1792 / 17],
      [3, 1792 / 25],
      [8, 1792 / 65],
      // With more it is less than the sixteen frames of a turn.
      [12, 1792 / 97],
    ]) {
      const flows = new Flows(count);
      flows.fill(...flows.connections);
      expect(Math.max(...flows.inFlight) - Math.min(...flows.inFlight)).toBeLessThanOrEqual(1);
      expect(Math.abs(Math.max(...flows.inFlight) - share)).toBeLessThanOrEqual(1);
    }
  });

  test("becomes the same for one that comes later", () => {
    for (const count of [2, 4, 8]) {
      const flows = new Flows(count);
      for (const each of flows.connections) flows.fill(each);
      // The second: 21 is less than 8 * (224 - 200 - 21) = 24, and 22 is not less than 8 * (224 - 200 - 22) = 16.
      // The third: 1 is less than 8 * (224 - 222 - 1) = 8, then nothing is free. From there on each has its two frames.
      expect(flows.inFlight).toEqual([200, 22, 2, 2, 2, 2, 2, 2].slice(0, count));
      flows.run(20 * RING);
      // One free frame more or less is eight frames of the share.
      expect(Math.max(...flows.inFlight) - Math.min(...flows.inFlight)).toBeLessThanOrEqual(8);
      // What is free is an eighth of a share: 105 / 8 for two flows, and less for more.
      expect(sum(flows.inFlight)).toBeLessThanOrEqual(SHARED);
      expect(sum(flows.inFlight)).toBeGreaterThanOrEqual(SHARED - 16);
    }
  });

  test("grows again when others have sent all they had", () => {
    const flows = new Flows(8);
    flows.fill(...flows.connections);
    for (const each of flows.connections.slice(1)) while (!each.sent.isEmpty) flows.acknowledge(each);
    flows.fill(flows.connections[0]);
    expect(flows.inFlight).toEqual([200, 0, 0, 0, 0, 0, 0, 0]);
  });

  test("stays what it was when the flow stops acknowledging, and the others go on", () => {
    const flows = new Flows(4);
    flows.fill(...flows.connections);
    const before = flows.inFlight;
    const [stopped, ...others] = flows.connections;
    for (let round = 0; round < 20; round++) {
      flows.run(RING, (each) => each !== stopped);
      flows.fill(stopped);
      expect(flows.inFlight[0]).toBeLessThanOrEqual(before[0]);
    }
    // With 54 each, 54 is less than 8 * (224 - 216) = 64, so the first has 55, and 8 * (224 - 217) = 56 gives the second
    // 55 as well. For the others x = 8 * (224 - 55 - 3 * x) is 1352 / 25, so 54 to eight frames.
    expect(before).toEqual([55, 55, 54, 54]);
    for (const each of others) expect(Math.abs(each.sent.segmentsInFlight - 54)).toBeLessThanOrEqual(8);
    expect(flows.load.frames).toBeLessThanOrEqual(SHARED);
  });

  test("of flows that stop one after the other leaves those that go on a part like theirs", () => {
    for (const [count, share] of [
      // 8 * 224 / (1 + 8 * count), as all of them had; what stopped counts like what goes on.
      [8, 1792 / 65],
      [12, 1792 / 97],
    ]) {
      const flows = new Flows(count);
      flows.fill(...flows.connections);
      for (let stopped = 1; stopped <= count - 2; stopped++) {
        const live = flows.connections.slice(stopped);
        flows.run(RING, (each) => live.includes(each));
        flows.fill(...flows.connections);
        for (const each of live) expect(Math.abs(each.sent.segmentsInFlight - share)).toBeLessThanOrEqual(8);
        // A turn may end beyond what is shared.
        expect(flows.load.frames).toBeLessThanOrEqual(RING);
      }
    }
  });

  test("is two frames at least, whoever was first, as long as the ring has two for each", () => {
    for (const count of [2, 8, 16]) {
      const flows = new Flows(count);
      for (const each of flows.connections) flows.fill(each);
      expect(Math.min(...flows.inFlight)).toBeGreaterThanOrEqual(2);
    }
  });
});

describe("what all flows have in flight together", () => {
  for (const count of [1, 2, 8, 16, 64, 300]) {
    test(`is ${promised(count)} frames at most when ${count} begin together`, () => {
      const flows = new Flows(count);
      flows.fill(...flows.connections);
      expect(flows.load.frames).toBeLessThanOrEqual(promised(count));
    });

    test(`is ${promised(count)} frames at most when ${count} begin one after the other`, () => {
      const flows = new Flows(count);
      for (const each of flows.connections) flows.fill(each);
      expect(flows.load.frames).toBeLessThanOrEqual(promised(count));
    });

    test(`is ${promised(count)} frames at most when ${count} send and are acknowledged at random`, () => {
      const flows = new Flows(count);
      const random = new Random(count);
      let highest = 0;
      for (let step = 0; step < 4000; step++) {
        const one = flows.connections[random.below(count)];
        const many = random.below(100);
        if (random.below(2) === 0) for (let sent = 0; sent < many && flows.send(one); sent++);
        else for (let taken = 0; taken < many && flows.order.length > 0; taken++) flows.acknowledge(flows.order[0]);
        highest = Math.max(highest, flows.load.frames);
        expect(flows.load.frames).toBe(sum(flows.inFlight));
      }
      expect(highest).toBeLessThanOrEqual(promised(count));
    });
  }
});

describe("a flow with a long round trip", () => {
  /** Gives a connection a round trip that does not vary, and decides anew. */
  function withRoundTrip(flows: Flows, connection: TcpConnection, milliseconds: number): void {
    Object.assign(connection.roundTrip, { isKnown: true, lowest: milliseconds, smoothed: milliseconds });
    flows.load.classify(connection);
  }

  /** The only flow, far away, with a congestion window of so many segments. */
  function farAway(roundTrip: number, window: number, slowStart: boolean): { flows: Flows; far: TcpConnection } {
    const flows = new Flows(1);
    const [far] = flows.connections;
    withRoundTrip(flows, far, roundTrip);
    far.congestion.window = window * far.maximumSegment;
    far.congestion.threshold = slowStart ? Number.POSITIVE_INFINITY : 0;
    return { flows, far };
  }

  function admitted(flows: Flows, connection: TcpConnection, now: number): number {
    let count = 0;
    while (flows.send(connection, now)) {
      count++;
      // The queue is not what is tested.
      flows.acknowledge(connection);
    }
    return count;
  }

  test("is not counted on the link, and counts again when a short one is known", () => {
    const flows = new Flows(2);
    const [first, second] = flows.connections;
    for (let count = 0; count < 20; count++) flows.send(first);
    for (let count = 0; count < 30; count++) flows.send(second);
    expect(flows.load.frames).toBe(50);
    withRoundTrip(flows, second, 5.1);
    expect(flows.load.frames).toBe(20);
    withRoundTrip(flows, second, 5.1);
    withRoundTrip(flows, first, 5);
    expect(flows.load.frames).toBe(20);
    withRoundTrip(flows, second, 5);
    expect(flows.load.frames).toBe(50);
  });

  test("is not taken for far away while the link is more than a quarter full", () => {
    const flows = new Flows(2);
    const [first, second] = flows.connections;
    flows.send(first);
    for (let count = 0; count < 64; count++) flows.send(second);
    // 65 of 256 frames are more than a quarter, 64 are not.
    withRoundTrip(flows, first, 50);
    expect([first.isFarAway, flows.load.frames]).toEqual([false, 65]);
    flows.acknowledge(second);
    withRoundTrip(flows, first, 50);
    expect([first.isFarAway, flows.load.frames]).toEqual([true, 63]);
  });

  test("counts again when a short one is known, however full the link is", () => {
    const flows = new Flows(2);
    const [near, far] = flows.connections;
    withRoundTrip(flows, far, 50);
    flows.send(far, 1000);
    flows.fill(near);
    expect(flows.load.frames).toBe(200);
    withRoundTrip(flows, far, 1);
    expect([far.isFarAway, flows.load.frames]).toEqual([false, 201]);
  });

  test("is not far away when it had a short one at any time before", () => {
    const flows = new Flows(1);
    const [connection] = flows.connections;
    const { roundTrip } = connection;
    roundTrip.sample(1, 1000);
    for (let now = 100_000; now <= 400_000; now += 100_000) roundTrip.sample(50, now);
    expect(roundTrip.minimum).toBe(50);
    flows.load.classify(connection);
    expect(connection.isFarAway).toBe(false);
  });

  test("counts on the link while no round trip is known", () => {
    const flows = new Flows(1);
    const [connection] = flows.connections;
    Object.assign(connection.roundTrip, { isKnown: false, lowest: 0, smoothed: 0 });
    flows.load.classify(connection);
    flows.fill(connection);
    expect(flows.load.frames).toBe(200);
  });

  test("is not held back by what is in flight, and takes nothing from the flows that count", () => {
    const flows = new Flows(2);
    const [near, far] = flows.connections;
    withRoundTrip(flows, far, 50);
    far.congestion.window = 4000 * far.maximumSegment;
    flows.fill(near);
    for (let now = 1000; now < 1020; now++) while (flows.send(far, now));
    expect(flows.inFlight[1]).toBeGreaterThan(4 * RING);
    flows.fill(near);
    // As if it were alone.
    expect(flows.inFlight[0]).toBe(200);
    expect(flows.load.frames).toBe(200);
  });

  test("sends its window evenly over a round trip, a fifth faster, or twice as fast in slow start", () => {
    for (const [slowStart, gain] of [
      [false, 1.2],
      [true, 2],
    ] as const) {
      for (const [roundTrip, window] of [
        [50, 200],
        [200, 30],
        [6, 100],
        [400, 4000],
      ] as const) {
        const { flows, far } = farAway(roundTrip, window, slowStart);
        // What has gathered goes first: ten segments, or two milliseconds' worth, half a ring at most.
        const perMillisecond = (gain * window) / roundTrip;
        const burst = Math.min(RING / 2, Math.max(10, 2 * perMillisecond));
        expect(admitted(flows, far, 1000)).toBe(Math.ceil(burst));
        let count = 0;
        for (let now = 1001; now <= 2000; now++) {
          const within = admitted(flows, far, now);
          expect(within).toBeLessThanOrEqual(Math.ceil(burst));
          count += within;
        }
        expect(Math.abs(count - 1000 * perMillisecond)).toBeLessThanOrEqual(1);
      }
    }
  });

  test("sends half a ring at once at most, however large its window", () => {
    const { flows, far } = farAway(6, 10_000, true);
    for (const now of [1000, 1001, 1002.5, 5000]) {
      expect(admitted(flows, far, now)).toBe(RING / 2);
      expect(admitted(flows, far, now)).toBe(0);
    }
  });

  test("is told when it may go on, without being asked again and again", () => {
    const { flows, far } = farAway(100, 10, false);
    admitted(flows, far, 1000);
    let [count, wakes] = [0, 0];
    for (let now = far.paceAt; now <= 2000; now = far.paceAt) {
      count += admitted(flows, far, now);
      wakes++;
      expect(far.paceAt).toBeGreaterThanOrEqual(now + 1);
    }
    expect(Math.abs(count - 120)).toBeLessThanOrEqual(1);
    expect(wakes).toBeLessThanOrEqual(2 * count);
  });
});
